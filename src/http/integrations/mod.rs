//! Other tools' doors: each integration's own address, and the paths that senders have built in.
//!
//! Whoever sends here has the integration's key and no key of the API. A tool is answered 2xx only when what
//! it said is durable. Where it cannot be kept it is answered 503, never 429: Alertmanager sends again after a
//! 5xx only. Saying everything again is harmless, since each problem has its key.

mod goalert;
mod opsgenie;
mod pagerduty;
mod take;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, body::Body as Stream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::{Integration, KeyHash};
use crate::integrations::{Form, Kind, Posted, SealError, Unreadable};

use super::App;
use super::auth::Origin;
use super::body::{self, Held, Whose};
use super::extract::InPath;
use super::openapi::tools;
use super::problem::{Body as ProblemBody, Problem};

pub use take::{COMMITS_AT_ONCE_MAX, LATE_REPEAT_MAX, dedup_key};

use take::Tally;

/// The largest body of a request of a tool, in bytes: Alertmanager sends whole groups.
pub const INTEGRATION_BODY_MAX: usize = 4 * 1024 * 1024;
/// How many keys of one request are looked at.
const PRESENTED_KEYS_MAX: usize = 8;

/// Every path of the tools.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(receive))
        .routes(routes!(receive_with_key))
        .routes(routes!(pagerduty::enqueue))
        .routes(routes!(pagerduty::enqueue_change))
        .routes(routes!(pagerduty::enqueue_first_version))
        .routes(routes!(opsgenie::create))
        .routes(routes!(opsgenie::show))
        .routes(routes!(opsgenie::change))
        .routes(routes!(opsgenie::show_request))
        .routes(routes!(goalert::receive))
}

/// An integration's own address
///
/// What is taken and answered is the kind's: Alertmanager, Grafana and `json` hear how much of what came of it, the
/// others what their tool's own API would answer. PUT is for Grafana only.
#[utoipa::path(method(post, put), path = "/integrations/{name}", tag = "tools",
    security(("integration_key" = []), ("integration_password" = []), ("integration_query" = []), ()),
    params(("name" = String, Path, description = "The integration's name in the configuration.")),
    request_body(content((tools::Posted = "application/json"), (tools::GoalertForm = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "Everything that it said is kept", body = tools::Taken),
        (status = 202, description = "The same, as PagerDuty and Opsgenie say it", body = tools::Accepted),
        (status = 204, description = "The same, as GoAlert says it"),
        (status = 400, description = "Nothing can be made of it", content((ProblemBody = "application/problem+json"), (tools::PagerdutyRefusal = "application/json"))),
        (status = 401, description = "No key of this integration came with it", content((ProblemBody = "application/problem+json"), (tools::PagerdutyRefusal = "application/json")))))]
async fn receive(State(app): State<App>, InPath(name): InPath<String>, request: Request) -> Response {
    receive_named(&app, &name, None, request).await
}

/// The same address with the key in it
///
/// For tools that can be told an address and nothing else.
#[utoipa::path(method(post, put), path = "/integrations/{name}/{*key}", tag = "tools",
    params(("name" = String, Path, description = "The integration's name in the configuration."),
        ("key" = String, Path, description = "The integration's key.")),
    request_body(content((tools::Posted = "application/json"), (tools::GoalertForm = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "Everything that it said is kept", body = tools::Taken),
        (status = 202, description = "The same, as PagerDuty and Opsgenie say it", body = tools::Accepted),
        (status = 204, description = "The same, as GoAlert says it"),
        (status = 400, description = "Nothing can be made of it", content((ProblemBody = "application/problem+json"), (tools::PagerdutyRefusal = "application/json"))),
        (status = 401, description = "")))]
async fn receive_with_key(
    State(app): State<App>,
    InPath((name, key)): InPath<(String, String)>,
    request: Request,
) -> Response {
    receive_named(&app, &name, Some(key), request).await
}

async fn receive_named(app: &App, name: &str, key: Option<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(integration) = app.settings().integrations.iter().find(|known| *known.name == *name).map(Arc::clone)
    else {
        return refused(app, &parts, Problem::not_found("No integration is called this.")).into_response();
    };
    let mut keys = presented(&parts);
    keys.extend(key);
    let kind = integration.form.kind();
    // Whoever speaks PagerDuty's language has the key in the body.
    if kind == Kind::Pagerduty && keys.is_empty() {
        return match of_a_stranger(app, body).await {
            Ok((bytes, _held)) => pagerduty::enqueued(app, &parts, &bytes, Some(&integration)).await,
            Err(problem) => problem.into_response(),
        };
    }
    if !fits(&integration, &keys) {
        return refused(app, &parts, Problem::wrong_integration_key()).into_response();
    }
    if parts.method == Method::PUT && kind != Kind::Grafana {
        return Problem::method_not_allowed().into_response();
    }
    let (bytes, _held) = match whole(app, &integration, body).await {
        Ok(whole) => whole,
        Err(answer) => return *answer,
    };
    let answer = take(app, &integration, &parts, &bytes).await;
    match (kind, answer) {
        (Kind::Pagerduty, answer) => {
            // Where it cannot be read the answer says so already.
            let body = crate::integrations::json(&bytes).unwrap_or_default();
            pagerduty::answer(&body, answer)
        }
        (Kind::Opsgenie, Ok(tally)) => opsgenie::accepted(app, &tally),
        (Kind::Goalert, Ok(tally)) => goalert::answer(&parts, &integration, &tally),
        (Kind::Alertmanager | Kind::Grafana | Kind::Json, Ok(tally)) => Json(tally.counts()).into_response(),
        (_, Err(refusal)) => refusal.into_response(),
    }
}

/// Why nothing came of a request that had the right key.
enum Refusal {
    /// It cannot be understood.
    Unreadable(Unreadable),
    /// Anything else.
    Other(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Other(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Unreadable(unreadable) => Problem::not_understood(&unreadable.reasons).into_response(),
            Self::Other(problem) => problem.into_response(),
        }
    }
}

/// Reads what the tool posted, and does what it says.
async fn take(app: &App, integration: &Arc<Integration>, parts: &Parts, bytes: &Bytes) -> Result<Tally, Refusal> {
    if let Form::Grafana(Some(seal)) = &integration.form {
        let header = |name: &str| parts.headers.get(name)?.to_str().ok();
        if let Err(error) = seal.check(header, bytes) {
            return Err(Refusal::Other(unsealed(app, integration, parts, error)));
        }
    }
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let posted = Posted { body: bytes, content_type, query: parts.uri.query().unwrap_or_default() };
    match integration.form.read(posted) {
        Ok(notices) => Ok(take::take_all(app, integration, notices).await?),
        Err(unreadable) => Err(Refusal::Unreadable(not_understood(app, integration, unreadable))),
    }
}

fn not_understood(app: &App, integration: &Integration, unreadable: Unreadable) -> Unreadable {
    app.engine().metrics().integration(&integration.name, "refused");
    tracing::warn!(
        integration = &*integration.name,
        "a request of the integration `{}` was not understood and answered 400; \
         `callout check --integration {} --sample FILE` says why",
        integration.name,
        integration.name,
    );
    unreadable
}

fn unsealed(app: &App, integration: &Integration, parts: &Parts, error: SealError) -> Problem {
    app.engine().metrics().integration(&integration.name, "unauthorized");
    tracing::warn!(
        integration = &*integration.name,
        reason = %error,
        "a request of the integration `{}` was refused; compare hmac_secret with the contact point of Grafana",
        integration.name,
    );
    if app.failures().are_too_many(Origin::of(&parts.extensions), app.engine().now()) {
        return Problem::too_many("Too many requests came without a valid signature.");
    }
    Problem::bad_signature("The signature does not fit this integration's secret or the body.")
}

/// The whole body of a tool that has shown its integration's key, and what it holds of the budget.
async fn whole(app: &App, integration: &Integration, body: Stream) -> Result<(Bytes, Held), Box<Response>> {
    body::read(app, Whose::Callers, body, INTEGRATION_BODY_MAX).await.map_err(|problem| {
        let is_crowded = problem.status() == StatusCode::SERVICE_UNAVAILABLE;
        Box::new(counted(app, integration, if is_crowded { "unavailable" } else { "refused" }, problem))
    })
}

/// The whole body where the key stands in it.
async fn of_a_stranger(app: &App, body: Stream) -> Result<(Bytes, Held), Problem> {
    body::read(app, Whose::Strangers, body, INTEGRATION_BODY_MAX).await
}

/// Every key that came with a request's head: as bearer token, as password, as Opsgenie's key, or in the query.
fn presented(parts: &Parts) -> Vec<String> {
    let mut keys = Vec::new();
    for value in parts.headers.get_all(header::AUTHORIZATION) {
        let Some((scheme, rest)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else { continue };
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" | "geniekey" => keys.push(rest.trim().to_owned()),
            "basic" => keys.extend(password(rest.trim())),
            _ => {}
        }
    }
    for (name, value) in url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        if matches!(&*name, "key" | "token" | "apiKey") {
            // No key has a space; whoever wrote `+` meant it.
            keys.push(value.replace(' ', "+"));
        }
    }
    keys.truncate(PRESENTED_KEYS_MAX);
    keys
}

fn password(encoded: &str) -> Option<String> {
    let both = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    both.split_once(':').map(|(_user, password)| password.to_owned())
}

/// Whether one of the keys is the integration's. All are compared, each in a time that tells nothing.
fn fits(integration: &Integration, keys: &[String]) -> bool {
    keys.iter().map(|key| integration.key.is(&KeyHash::of(key))).fold(false, |fits, is_it| fits | is_it)
}

/// The integration of this kind that one of the keys belongs to.
fn opened_by(app: &App, kind: Kind, keys: &[String]) -> Option<Arc<Integration>> {
    let settings = app.settings();
    let of_kind = settings.integrations.iter().filter(|integration| integration.form.kind() == kind);
    of_kind.fold(None, |found, integration| if fits(integration, keys) { Some(Arc::clone(integration)) } else { found })
}

/// Counts a request without a valid key, and answers it so or tells its sender to wait.
fn refused(app: &App, parts: &Parts, problem: Problem) -> Problem {
    app.engine().metrics().integration("", "unauthorized");
    if app.failures().are_too_many(Origin::of(&parts.extensions), app.engine().now()) {
        return Problem::too_many("Too many requests came without a valid key.");
    }
    problem
}

fn counted(app: &App, integration: &Integration, outcome: &'static str, problem: Problem) -> Response {
    app.engine().metrics().integration(&integration.name, outcome);
    problem.into_response()
}

/// A JSON answer with its status.
fn json(status: StatusCode, body: serde_json::Value) -> Response {
    (status, Json(body)).into_response()
}
