//! Opsgenie's alert API on its own paths, with its own answers: always asynchronous, and always the truth here.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::config::Integration;
use crate::engine;
use crate::escalation::{Alert, Severity, Status};
use crate::id::{AlertId, AlertNumber};
use crate::integrations::{Act, Kind};

use super::super::App;
use super::take::{self, Tally};
use super::{Refusal, opened_by, presented, refused, whole};
use crate::http::extract::InPath;
use crate::http::openapi::tools;
use crate::http::problem::Problem;

/// What an answer says of the time it took, which nobody reads.
const TOOK: f64 = 0.001;

/// Opsgenie's alerts
///
/// Creates an alert, or counts a repetition.
#[utoipa::path(post, path = "/v2/alerts", tag = "tools", request_body = tools::OpsgenieAlert,
    security(("integration_genie_key" = []), ("integration_query" = [])),
    responses((status = 202, description = "It is kept", body = tools::OpsgenieAccepted),
        (status = 422, description = "It is no alert", body = tools::OpsgenieRefusal),
        (status = 401, description = "")))]
pub(super) async fn create(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let integration = match sender(&app, &parts) {
        Ok(integration) => integration,
        Err(problem) => return problem.into_response(),
    };
    let (bytes, _held) = match whole(&app, &integration, body).await {
        Ok(whole) => whole,
        Err(answer) => return *answer,
    };
    match super::take(&app, &integration, &parts, &bytes).await {
        Ok(tally) => accepted(&app, &tally),
        Err(Refusal::Unreadable(unreadable)) => {
            let said = json!({
                "message": "Request body is not processable. Please check the errors.",
                "errors": { "body": unreadable.to_string() }, "took": TOOK, "requestId": any_id(&app).to_string(),
            });
            super::json(StatusCode::UNPROCESSABLE_ENTITY, said)
        }
        Err(Refusal::Other(problem)) => problem.into_response(),
    }
}

/// What is done with an Opsgenie alert
///
/// `acknowledge` and `close` do so; notes and other texts are accepted and change nothing, since people have been
/// sent the text that there was; anything else is refused.
#[utoipa::path(method(post, put), path = "/v2/alerts/{identifier}/{verb}", tag = "tools",
    request_body = Option<tools::Posted>,
    security(("integration_genie_key" = []), ("integration_query" = [])),
    params(("identifier" = String, Path, description = "The alert's id, alias or number."),
        ("verb" = tools::OpsgenieVerb, Path, description = "What is done with it."),
        ("identifierType" = Option<tools::OpsgenieIdentifier>, Query, description = "What `identifier` is; `id` unless told otherwise.")),
    responses((status = 202, description = "It is done", body = tools::OpsgenieAccepted),
        (status = 422, description = "callout does not do this", body = tools::OpsgenieRefusal),
        (status = 401, description = "")))]
pub(super) async fn change(
    State(app): State<App>,
    InPath((identifier, verb)): InPath<(String, String)>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let integration = match sender(&app, &parts) {
        Ok(integration) => integration,
        Err(problem) => return problem.into_response(),
    };
    // Read to its end, so that the connection can go on; who did it is this integration here.
    if let Err(answer) = whole(&app, &integration, body).await {
        return *answer;
    }
    let act = match verb.as_str() {
        "acknowledge" => Some(Act::Acknowledge),
        "close" => Some(Act::Resolve),
        // An alert's text is what people were sent; later words change nothing about it.
        "message" | "description" | "notes" | "note" | "priority" | "tags" | "details" => None,
        _ => {
            let reason = format!("callout cannot do this: {}", if verb.len() < 30 { &*verb } else { "…" });
            app.engine().metrics().integration(&integration.name, "refused");
            return failed(&app, StatusCode::UNPROCESSABLE_ENTITY, &reason);
        }
    };
    match changed(&app, &integration, &parts, &identifier, act).await {
        Ok(alert) => {
            app.engine().metrics().integration(&integration.name, "accepted");
            processed(alert.map_or_else(|| any_id(&app), |alert| alert.id()))
        }
        Err(error) => {
            app.engine().metrics().integration(&integration.name, "unavailable");
            Problem::from(error).into_response()
        }
    }
}

async fn changed(
    app: &App,
    integration: &Integration,
    parts: &Parts,
    identifier: &str,
    act: Option<Act>,
) -> Result<Option<Arc<Alert>>, engine::Error> {
    let mut first = None;
    for alert in named(app, integration, parts, identifier).await? {
        if let Some(act) = act {
            take::settle(app, integration, alert.id(), act).await?;
        }
        first.get_or_insert(alert);
        // The others are older alerts of the same alias that nobody answered.
        if act != Some(Act::Resolve) {
            break;
        }
    }
    Ok(first)
}

/// One Opsgenie alert
///
/// What has become of an alert, as Opsgenie tells it.
#[utoipa::path(get, path = "/v2/alerts/{identifier}", tag = "tools",
    security(("integration_genie_key" = []), ("integration_query" = [])),
    params(("identifier" = String, Path, description = "The alert's id, alias or number."),
        ("identifierType" = Option<tools::OpsgenieIdentifier>, Query, description = "What `identifier` is; `id` unless told otherwise.")),
    responses((status = 200, description = "The alert", body = tools::OpsgenieAlertShown),
        (status = 404, description = "There is none", body = tools::OpsgenieRefusal),
        (status = 401, description = "")))]
pub(super) async fn show(State(app): State<App>, InPath(identifier): InPath<String>, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    let integration = match sender(&app, &parts) {
        Ok(integration) => integration,
        Err(problem) => return problem.into_response(),
    };
    match named(&app, &integration, &parts, &identifier).await.map(|alerts| alerts.into_iter().next()) {
        Ok(Some(alert)) => super::json(
            StatusCode::OK,
            json!({ "data": shown(&alert), "took": TOOK, "requestId": any_id(&app).to_string() }),
        ),
        Ok(None) => failed(&app, StatusCode::NOT_FOUND, "Alert with the given identifier does not exist"),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// One Opsgenie request
///
/// A request is called by the id of the alert that it was about.
#[utoipa::path(get, path = "/v2/alerts/requests/{id}", tag = "tools",
    security(("integration_genie_key" = []), ("integration_query" = [])),
    params(("id" = String, Path, description = "The `requestId` of an earlier answer.")),
    responses((status = 200, description = "What came of it", body = tools::OpsgenieRequestShown),
        (status = 404, description = "There is none", body = tools::OpsgenieRefusal),
        (status = 401, description = "")))]
pub(super) async fn show_request(State(app): State<App>, InPath(id): InPath<String>, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    let integration = match sender(&app, &parts) {
        Ok(integration) => integration,
        Err(problem) => return problem.into_response(),
    };
    let found = match id.parse::<AlertId>() {
        Ok(id) => take::by_id(&app, &integration, id).await,
        Err(_) => Ok(None),
    };
    match found {
        Ok(Some(alert)) => {
            let data = json!({
                "success": true, "isSuccess": true, "action": "Create", "status": "Created alert",
                "processedAt": alert.raised.at.to_string(), "integrationId": &*integration.name,
                "alertId": alert.id().to_string(), "alias": alias(&alert),
            });
            super::json(StatusCode::OK, json!({ "data": data, "took": TOOK, "requestId": id }))
        }
        Ok(None) => failed(&app, StatusCode::NOT_FOUND, "Request not found. It might not be processed, yet."),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// Whose key came with the request.
fn sender(app: &App, parts: &Parts) -> Result<Arc<Integration>, Problem> {
    opened_by(app, Kind::Opsgenie, &presented(parts))
        .ok_or_else(|| refused(app, parts, Problem::wrong_integration_key()))
}

/// The alerts that the path names, newest first: by id, unless the query says otherwise.
async fn named(
    app: &App,
    integration: &Integration,
    parts: &Parts,
    identifier: &str,
) -> Result<Vec<Arc<Alert>>, engine::Error> {
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let query: BTreeMap<_, _> = url::form_urlencoded::parse(query).collect();
    match query.get("identifierType").map(AsRef::as_ref) {
        Some("alias") => app.engine().alerts_of(&take::dedup_key(&integration.name, identifier)).await,
        Some("tiny") => {
            let Ok(number) = identifier.parse() else { return Ok(Vec::new()) };
            let found = take::harmless(app.engine().numbered(AlertNumber(number)).await)?;
            let is_ours = |alert: &Arc<Alert>| alert.raised.source.as_deref() == Some(&*integration.name);
            Ok(found.into_iter().filter(is_ours).collect())
        }
        Some(_) | None => match identifier.parse() {
            Ok(id) => Ok(take::by_id(app, integration, id).await?.into_iter().collect()),
            Err(_) => Ok(Vec::new()),
        },
    }
}

/// The answer to what was done; a request is called by the id of its alert.
pub(super) fn accepted(app: &App, tally: &Tally) -> Response {
    processed(tally.alert().map_or_else(|| any_id(app), |alert| alert.id()))
}

fn processed(request: AlertId) -> Response {
    let said = json!({ "result": "Request will be processed", "took": TOOK, "requestId": request.to_string() });
    super::json(StatusCode::ACCEPTED, said)
}

fn failed(app: &App, status: StatusCode, message: &str) -> Response {
    super::json(status, json!({ "message": message, "took": TOOK, "requestId": any_id(app).to_string() }))
}

/// A name for a request that was about no alert.
fn any_id(app: &App) -> AlertId {
    AlertId::new(app.engine().now(), [0; 10])
}

fn alias(alert: &Alert) -> Option<&str> {
    let key = alert.raised.dedup_key.as_deref()?;
    key.split_once(':').map(|(_integration, alias)| alias)
}

fn shown(alert: &Alert) -> Value {
    let is_open = !matches!(alert.status, Status::Resolved);
    let priority = match alert.raised.severity {
        Severity::Critical => "P1",
        Severity::Error => "P2",
        Severity::Warning => "P3",
        Severity::Info => "P5",
    };
    json!({
        "id": alert.id().to_string(), "tinyId": alert.raised.number.0.to_string(), "alias": alias(alert),
        "message": &*alert.raised.message, "status": if is_open { "open" } else { "closed" },
        "acknowledged": alert.acknowledged.is_some(), "isSeen": alert.acknowledged.is_some(), "snoozed": false,
        "count": alert.repeats + 1, "createdAt": alert.raised.at.to_string(),
        "updatedAt": alert.updated_at.to_string(), "lastOccurredAt": alert.updated_at.to_string(),
        "owner": alert.acknowledged.as_ref().map(|acknowledged| &*acknowledged.by), "priority": priority,
        "source": alert.raised.source.as_deref(),
    })
}
