//! The front door: everything that is reached over HTTP.

mod ack;
mod alerts;
mod auth;
mod connection;
mod events;
mod extract;
mod health;
mod listen;
mod new_alert;
mod problem;
mod view;
mod webhooks;

use std::any::Any;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::config::Policies;
use crate::config::channel::ChannelRules;
use crate::engine::Engine;
use crate::vonage::SignatureSecret;

pub use alerts::{BY_CHARS_MAX, IDEMPOTENCY_KEY_CHARS_MAX};
pub use auth::ApiKey;
pub use extract::{ALERT_BODY_MAX, WEBHOOK_BODY_MAX};
pub use listen::{HEAD_BYTES_MAX, Limits};
pub use new_alert::{DEDUP_KEY_CHARS_MAX, LINK_CHARS_MAX, MESSAGE_CHARS_MAX, SOURCE_CHARS_MAX};

use problem::Problem;

/// The most requests that are worked on at one moment, those included whose callers are gone. Only a
/// store that has stopped answering lets it come to so many; further ones are answered 503.
pub const REQUESTS_MAX: usize = 16_384;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct App(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Engine,
    settings: ArcSwap<Settings>,
    requests: TaskTracker,
    stop: CancellationToken,
}

/// What the configuration says about the front door; replaced as a whole when it is read again.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may be called.
    pub policies: Policies,
    /// The rules for users that are posted with an alert.
    pub channel_rules: ChannelRules,
    /// The key that callers must send.
    pub api_key: ApiKey,
    /// The secrets that webhooks may be signed with; none means that signatures are not asked for.
    pub signature_secrets: Vec<SignatureSecret>,
    /// How old the signature of a webhook may be; any age if it is not set.
    pub signature_age_max: Option<Duration>,
}

impl App {
    /// Streams end when `stop` is cancelled.
    pub fn new(engine: Engine, settings: Settings, stop: CancellationToken) -> Self {
        let settings = ArcSwap::from_pointee(settings);
        Self(Arc::new(Shared { engine, settings, requests: TaskTracker::new(), stop }))
    }

    /// Takes new settings; they count for requests from now on.
    pub fn set(&self, settings: Settings) {
        self.0.settings.store(Arc::new(settings));
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    fn settings(&self) -> Arc<Settings> {
        self.0.settings.load_full()
    }

    fn stop(&self) -> CancellationToken {
        self.0.stop.clone()
    }
}

/// Serves until the app is told to stop, then lets what was begun come to its end.
pub async fn serve(listener: TcpListener, app: &App, limits: Limits) -> io::Result<()> {
    let served = listen::serve(listener, router(app.clone(), limits), limits, app.stop()).await;
    app.0.requests.close();
    if tokio::time::timeout(limits.drain, app.0.requests.wait()).await.is_err() {
        tracing::warn!("some requests did not come to their end in time; nothing was promised to their callers");
    }
    served
}

/// Every path, and everything that a request passes on its way.
fn router(app: App, limits: Limits) -> Router {
    Router::new()
        .route("/alerts", post(alerts::raise).get(alerts::list))
        .route("/alerts/{id}", get(alerts::show))
        .route("/alerts/{id}/events", get(events::listen))
        .route("/alerts/{id}/acknowledge", post(alerts::acknowledge))
        .route("/alerts/{id}/resolve", post(alerts::resolve))
        .route("/alerts/{id}/escalate", post(alerts::escalate))
        .route("/webhooks/status", post(webhooks::receive))
        .route("/webhooks/inbound", post(webhooks::receive))
        .route("/a/{token}", get(ack::show).post(ack::press))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(app.clone(), auth::require_key))
        .layer(DefaultBodyLimit::max(ALERT_BODY_MAX.max(WEBHOOK_BODY_MAX)))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state((app.clone(), limits), to_the_end))
        .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .with_state(app)
}

async fn not_found() -> Problem {
    Problem::not_found("No path of callout is called this.")
}

async fn method_not_allowed() -> Problem {
    Problem::method_not_allowed()
}

/// Works on a request on a task of its own. When its caller hangs up or the time is over, nobody waits
/// for it any more, but it is never left between a commit and what must follow it.
async fn to_the_end(State((app, limits)): State<(App, Limits)>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(limits);
    let requests = &app.0.requests;
    if requests.len() >= REQUESTS_MAX {
        return Problem::unavailable("Too many requests are being worked on.").into_response();
    }
    match tokio::time::timeout(limits.request, requests.spawn(next.run(request))).await {
        Ok(Ok(response)) => response,
        // Its panic was caught within; so the runtime is ending.
        Ok(Err(_lost)) => Problem::internal().into_response(),
        Err(_late) => Problem::timeout().into_response(),
    }
}

fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request made callout panic; the panic itself stands in the log before this line");
    Problem::internal().into_response()
}
