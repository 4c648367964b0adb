//! `GoAlert`'s generic endpoint on its own path, with its own answers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::config::Integration;
use crate::hash::sha256;
use crate::id::AlertId;
use crate::integrations::Kind;

use super::super::App;
use super::take::{Deed, Tally};
use super::{of_a_stranger, opened_by, presented, refused, whole};
use crate::http::openapi::tools;
use crate::http::problem::Problem;

/// `GoAlert`'s generic endpoint
///
/// What it takes may stand in the address, in a form or in JSON.
#[utoipa::path(post, path = "/api/v2/generic/incoming", tag = "tools",
    security(("integration_key" = []), ("integration_password" = []), ("integration_query" = []), ("integration_token" = []), ()),
    params(("summary" = Option<String>, Query, description = "What people must read."),
        ("details" = Option<String>, Query, description = "More of it."),
        ("dedup" = Option<String>, Query, description = "Names the problem."),
        ("action" = Option<String>, Query, description = "`close` or `acknowledge`; anything else raises.")),
    request_body(content((tools::GoalertForm = "application/x-www-form-urlencoded"), (tools::GoalertForm = "application/json"))),
    responses((status = 204, description = "It is kept"),
        (status = 200, description = "It is kept; said where JSON is asked for", body = tools::GoalertTaken),
        (status = 401, description = "")))]
pub(super) async fn receive(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut keys = presented(&parts);
    if !keys.is_empty() {
        let Some(integration) = opened_by(&app, Kind::Goalert, &keys) else { return unknown(&app, &parts) };
        return match whole(&app, &integration, body).await {
            Ok((bytes, _held)) => taken(&app, &parts, &integration, &bytes).await,
            Err(answer) => *answer,
        };
    }
    // The token may stand in the form.
    let (bytes, _held) = match of_a_stranger(&app, body).await {
        Ok(whole) => whole,
        Err(problem) => return problem.into_response(),
    };
    let fields = url::form_urlencoded::parse(&bytes);
    keys.extend(fields.filter(|(name, _)| name == "token").map(|(_, token)| token.into_owned()).take(1));
    match opened_by(&app, Kind::Goalert, &keys) {
        Some(integration) => taken(&app, &parts, &integration, &bytes).await,
        None => unknown(&app, &parts),
    }
}

fn unknown(app: &App, parts: &Parts) -> Response {
    refused(app, parts, Problem::wrong_integration_key()).into_response()
}

async fn taken(app: &App, parts: &Parts, integration: &Arc<Integration>, bytes: &Bytes) -> Response {
    match super::take(app, integration, parts, bytes).await {
        Ok(tally) => answer(parts, integration, &tally),
        Err(refusal) => refusal.into_response(),
    }
}

/// Nothing, or what `GoAlert` would say of the alert where JSON is asked for.
pub(super) fn answer(parts: &Parts, integration: &Integration, tally: &Tally) -> Response {
    let accepts = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(alert) = tally.alert().filter(|_| accepts.contains("application/json")) else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let is_new = tally.0.iter().any(|deed| matches!(deed, Deed::Raised(_)));
    let said = json!({ "AlertID": alert.raised.number.0, "ServiceID": service(integration), "IsNew": is_new });
    super::json(StatusCode::OK, said)
}

/// `GoAlert`'s services have UUIDs; ours is always the same for an integration.
fn service(integration: &Integration) -> String {
    let hash = sha256(integration.name.as_bytes());
    let bits = hash.iter().take(16).fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
    AlertId::from_bits(bits).to_string()
}
