//! The front door: everything that is reached over HTTP.

mod ack;
mod alerts;
mod auth;
mod backup;
mod body;
mod connection;
mod dashboard;
mod deliveries;
mod events;
mod extract;
mod health;
mod integrations;
mod listen;
mod new_alert;
mod openapi;
mod pace;
mod place;
mod problem;
mod standalone;
mod traced;
mod view;
mod webhooks;

use std::any::Any;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::channel::ChannelRules;
use crate::config::{Integration, Policies};
use crate::engine::Engine;
use crate::outgoing::Callbacks;
use crate::vonage::SignatureSecret;

pub use alerts::{BY_CHARS_MAX, IDEMPOTENCY_KEY_CHARS_MAX};
pub use auth::{
    ALL_FAILURES_BURST, ALL_FAILURES_PER_SECOND, FAILED_ADDRESSES_MAX, FAILURES_BURST, FAILURES_PER_SECOND, Keys,
};
pub use body::{BODY_FREE_BYTES, CALLERS_BODIES_MAX, STRANGERS_BODIES_MAX, WEBHOOKS_BODIES_MAX};
pub use dashboard::{
    FORM_BYTES_MAX, LIVE_EVERY, LIVE_LIFETIME, LIVE_LOOK_AGAIN, LIVE_STREAMS_MAX, SESSION_BYTES_MAX, SESSION_LIFETIME,
};
pub use extract::{ALERT_BODY_MAX, WEBHOOK_BODY_MAX};
pub use integrations::{COMMITS_AT_ONCE_MAX, INTEGRATION_BODY_MAX, LATE_REPEAT_MAX, dedup_key};
pub use listen::{CONNECTIONS_MAX, HEAD_BYTES_MAX, HEADER_TIMEOUT, Limits, REQUEST_TIMEOUT, SPARED, UNREAD_TIMEOUT};
pub use new_alert::{DEDUP_KEY_CHARS_MAX, LINK_CHARS_MAX, MESSAGE_CHARS_MAX, SOURCE_CHARS_MAX};

use auth::Failures;
use body::Budgets;
use dashboard::SessionKey;
use problem::Problem;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct App(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Engine,
    settings: ArcSwap<Settings>,
    failures: Failures,
    callbacks: Arc<Callbacks>,
    stop: CancellationToken,
    session_key: OnceCell<SessionKey>,
    streams: Arc<Semaphore>,
    budgets: Budgets,
}

/// What the configuration says about the front door; replaced as a whole when it is read again.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may be called.
    pub policies: Policies,
    /// Which tools may raise alerts.
    pub integrations: Vec<Arc<Integration>>,
    /// The rules for users that are posted with an alert.
    pub channel_rules: ChannelRules,
    /// The keys of the API.
    pub keys: Arc<Keys>,
    /// The secrets that webhooks may be signed with; none means that signatures are not asked for.
    pub signature_secrets: Vec<SignatureSecret>,
    /// Where the service is reached from outside, without a slash at the end; none where nobody said so.
    pub public_url: Option<Box<str>>,
    /// How old a webhook's signature may be; none means any age.
    pub signature_age_max: Option<Duration>,
    /// Where a copy of the database may stand while it is made; none where there is no file to copy.
    pub copies_folder: Option<PathBuf>,
}

impl App {
    /// Streams end when `stop` is cancelled.
    pub fn new(engine: Engine, callbacks: Arc<Callbacks>, settings: Settings, stop: CancellationToken) -> Self {
        Self(Arc::new(Shared {
            engine,
            settings: ArcSwap::from_pointee(settings),
            failures: Failures::new(),
            callbacks,
            stop,
            session_key: OnceCell::new(),
            streams: Arc::new(Semaphore::new(LIVE_STREAMS_MAX)),
            budgets: Budgets::new(),
        }))
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

    fn budgets(&self) -> &Budgets {
        &self.0.budgets
    }

    fn callbacks(&self) -> &Callbacks {
        &self.0.callbacks
    }

    fn failures(&self) -> &Failures {
        &self.0.failures
    }

    fn stop(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// What sessions of browsers are made with; asked of the store once.
    async fn session_key(&self) -> Result<&SessionKey, Problem> {
        Ok(self.0.session_key.get_or_try_init(|| dashboard::session_key(&self.0.engine)).await?)
    }

    fn streams(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.streams)
    }
}

/// Where the database can be copied from.
const BACKUP_PATH: &str = "/backup";
/// How long the making of a copy may take; a large database takes seconds.
pub const BACKUP_TIMEOUT: Duration = Duration::from_mins(10);

/// Serves until the app is told to stop, then lets what was begun come to its end.
pub async fn serve(listener: TcpListener, app: &App, limits: Limits) -> io::Result<()> {
    listen::serve(listener, app, router(app.clone(), limits), limits).await
}

/// Every path. What stands here is what `/openapi.json` describes: each handler says above itself what it takes
/// and answers.
fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Shared::openapi())
        .routes(routes!(alerts::raise, alerts::list))
        .routes(routes!(alerts::show))
        .routes(routes!(events::listen))
        .routes(routes!(alerts::acknowledge))
        .routes(routes!(alerts::resolve))
        .routes(routes!(alerts::escalate))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::replay_all))
        .routes(routes!(deliveries::replay))
        .routes(routes!(webhooks::status))
        .routes(routes!(webhooks::inbound))
        .routes(routes!(ack::show, ack::press))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(backup::send))
        .routes(routes!(openapi::description))
        .routes(routes!(openapi::page))
        .merge(integrations::routes())
}

/// The paths, and everything that a request passes on its way.
fn router(app: App, limits: Limits) -> Router {
    let (router, _described) = routes().split_for_parts();
    let traces = app.engine().traces().clone();
    let router = router
        // Pages for people in browsers are no part of the API.
        .merge(dashboard::routes())
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(middleware::from_fn_with_state((app.clone(), limits), pass))
        .layer(CatchPanicLayer::custom(panicked));
    let router =
        if traces.is_on() { router.layer(middleware::from_fn_with_state(traces, traced::trace)) } else { router };
    router.with_state(app)
}

async fn not_found() -> Problem {
    Problem::not_found("No path of callout is called this.")
}

async fn method_not_allowed() -> Problem {
    Problem::method_not_allowed()
}

/// Each request has its time and shows a key where one is needed, and browsers are told how to take the answer. The
/// engine brings to its end what was begun, whether or not anybody waits for it any more.
///
/// One layer for all of it: each layer copies those within it for each request.
async fn pass(State((app, limits)): State<(App, Limits)>, request: Request, next: Next) -> Response {
    let limit = if request.uri().path() == BACKUP_PATH { BACKUP_TIMEOUT } else { limits.request };
    match tokio::time::timeout(limit, auth::with_key(&app, request, next)).await {
        Ok(response) => guarded(response),
        Err(_elapsed) => guarded(out_of_time()),
    }
}

fn out_of_time() -> Response {
    let mut response = Problem::timeout().into_response();
    // What is left of the body is not read, so that the connection cannot be used again. A caller who is not told so
    // may put its next request into it and get no answer.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What browsers are told with each answer, beside what the answer says itself: to keep no copy, to take it for
/// what it is called, to load and run nothing, to show it in no frame and to no other site, and to tell no other
/// site of its address, which may hold a token.
const GUARDS: [(HeaderName, HeaderValue); 6] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

fn guarded(mut response: Response) -> Response {
    for (name, value) in GUARDS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request made callout panic; the panic itself stands in the log before this line");
    guarded(Problem::internal().into_response())
}
