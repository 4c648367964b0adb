//! `PagerDuty`'s Events API on its own paths, with its own answers, so that its senders need another host only.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::config::Integration;
use crate::integrations::{Kind, Unreadable, pagerduty};

use super::super::App;
use super::take::Tally;
use super::{Refusal, fits, of_a_stranger, opened_by, refused};
use crate::http::openapi::tools;
use crate::http::problem::{Body as ProblemBody, Problem};

/// `PagerDuty`'s events
///
/// Events API, version 2; version 1 is taken here too. The key stands in the event.
#[utoipa::path(post, path = "/v2/enqueue", tag = "tools", request_body = tools::PagerdutyEvent,
    responses((status = 202, description = "It is kept", body = tools::PagerdutyAccepted),
        (status = 200, description = "It is kept; said so of version 1", body = tools::PagerdutyAccepted),
        (status = 400, description = "It is no event", content((ProblemBody = "application/problem+json"), (tools::PagerdutyRefusal = "application/json"))),
        (status = 401, description = "The key is no integration's", body = tools::PagerdutyRefusal)))]
pub(super) async fn enqueue(State(app): State<App>, request: Request) -> Response {
    enqueue_any(&app, request).await
}

/// `PagerDuty`'s events of version 1
///
/// What older plug-ins send.
#[utoipa::path(post, path = "/generic/2010-04-15/create_event.json", tag = "tools", request_body = tools::PagerdutyEventV1,
    responses((status = 200, description = "It is kept", body = tools::PagerdutyAccepted),
        (status = 202, description = "It is kept; said so of version 2", body = tools::PagerdutyAccepted),
        (status = 400, description = "It is no event", content((ProblemBody = "application/problem+json"), (tools::PagerdutyRefusal = "application/json"))),
        (status = 401, description = "The key is no integration's", body = tools::PagerdutyRefusal)))]
pub(super) async fn enqueue_first_version(State(app): State<App>, request: Request) -> Response {
    enqueue_any(&app, request).await
}

async fn enqueue_any(app: &App, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match of_a_stranger(app, body).await {
        Ok((bytes, _held)) => enqueued(app, &parts, &bytes, None).await,
        Err(problem) => problem.into_response(),
    }
}

/// An event whose key stands in it; of this integration, or of the one that the key belongs to.
pub(super) async fn enqueued(app: &App, parts: &Parts, bytes: &Bytes, only: Option<&Arc<Integration>>) -> Response {
    match sender(app, parts, bytes, only) {
        Ok((integration, body)) => answer(&body, super::take(app, &integration, parts, bytes).await),
        Err(response) => *response,
    }
}

/// `PagerDuty`'s change events
///
/// Changes are no alerts: they are answered as their senders expect, and not kept.
#[utoipa::path(post, path = "/v2/change/enqueue", tag = "tools", request_body = tools::PagerdutyChange,
    responses((status = 202, description = "It was understood", body = tools::PagerdutyAccepted),
        (status = 400, description = "It is no change", content((ProblemBody = "application/problem+json"), (tools::PagerdutyRefusal = "application/json"))),
        (status = 401, description = "The key is no integration's", body = tools::PagerdutyRefusal)))]
pub(super) async fn enqueue_change(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (bytes, _held) = match of_a_stranger(&app, body).await {
        Ok(whole) => whole,
        Err(problem) => return problem.into_response(),
    };
    let (integration, body) = match sender(&app, &parts, &bytes, None) {
        Ok(sender) => sender,
        Err(response) => return *response,
    };
    match pagerduty::check_change(&body) {
        Ok(()) => {
            app.engine().metrics().integration(&integration.name, "accepted");
            let said = json!({ "status": "success", "message": "Change event processed" });
            super::json(StatusCode::ACCEPTED, said)
        }
        Err(unreadable) => invalid(StatusCode::BAD_REQUEST, &super::not_understood(&app, &integration, unreadable)),
    }
}

/// Whose key the event carries, and the event.
fn sender(
    app: &App,
    parts: &Parts,
    bytes: &Bytes,
    only: Option<&Arc<Integration>>,
) -> Result<(Arc<Integration>, Value), Box<Response>> {
    let told_to_wait_or = |response: Response| {
        let problem = refused(app, parts, Problem::wrong_integration_key());
        Box::new(if problem.status() == StatusCode::TOO_MANY_REQUESTS { problem.into_response() } else { response })
    };
    let body = crate::integrations::json(bytes)
        .map_err(|unreadable| told_to_wait_or(invalid(StatusCode::BAD_REQUEST, &unreadable)))?;
    let Some(key) = pagerduty::routing_key(&body) else {
        let name = if pagerduty::is_first_version(&body) { "service_key" } else { "routing_key" };
        let unreadable = Unreadable { reasons: vec![format!("'{name}' is missing or blank")] };
        return Err(told_to_wait_or(invalid(StatusCode::BAD_REQUEST, &unreadable)));
    };
    let keys = [key.to_owned()];
    let found = match only {
        Some(integration) => fits(integration, &keys).then(|| Arc::clone(integration)),
        None => opened_by(app, Kind::Pagerduty, &keys),
    };
    found.map(|integration| (integration, body)).ok_or_else(|| {
        let unreadable = Unreadable { reasons: vec!["'routing_key' is not that of an integration".to_owned()] };
        let mut response = invalid(StatusCode::UNAUTHORIZED, &unreadable);
        let challenge = HeaderValue::from_static("Bearer realm=\"callout\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        told_to_wait_or(response)
    })
}

/// `PagerDuty`'s answer to an event.
pub(super) fn answer(body: &Value, taken: Result<Tally, Refusal>) -> Response {
    let tally = match taken {
        Ok(tally) => tally,
        Err(Refusal::Unreadable(unreadable)) => return invalid(StatusCode::BAD_REQUEST, &unreadable),
        Err(Refusal::Other(problem)) => return problem.into_response(),
    };
    let is_first_version = pagerduty::is_first_version(body);
    let name = if is_first_version { "incident_key" } else { "dedup_key" };
    let given = body.get(name).filter(|key| !key.is_null()).cloned();
    // Whoever gave none must know by what to acknowledge and resolve it.
    let key = given.or_else(|| Some(tally.alert()?.id().to_string().into()));
    let said = json!({ "status": "success", "message": "Event processed", name: key });
    super::json(if is_first_version { StatusCode::OK } else { StatusCode::ACCEPTED }, said)
}

fn invalid(status: StatusCode, unreadable: &Unreadable) -> Response {
    let said = json!({ "status": "invalid event", "message": "Event object is invalid", "errors": unreadable.reasons });
    super::json(status, said)
}
