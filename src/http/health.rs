//! Whether callout is well.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::{Room, Vitals};

use super::problem::Problem;
use super::{App, Settings};

/// That the process is up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    #[schema(pattern = "^ok$")]
    status: &'static str,
}

/// That callout can work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    #[schema(pattern = "^ready$")]
    status: &'static str,
    /// What the operator should mend.
    warnings: Vec<&'static str>,
    /// How long ago the last audit of all open alerts ended well; null before the first.
    #[schema(required = true)]
    audited_seconds_ago: Option<u64>,
}

/// The process is up
#[utoipa::path(get, path = "/healthz", tag = "operating",
    responses((status = 200, description = "It is up", body = Alive)))]
pub(super) async fn alive() -> Response {
    Json(Alive { status: "ok" }).into_response()
}

/// callout can work
///
/// The store can keep something and the timers run. What the operator should mend is named.
#[utoipa::path(get, path = "/readyz", tag = "operating",
    responses((status = 200, description = "It can work", body = Ready)))]
pub(super) async fn ready(State(app): State<App>) -> Result<Response, Problem> {
    let vitals = app.engine().readiness().await?;
    if vitals.is_stopping {
        return Err(Problem::unavailable("callout is stopping."));
    }
    let audited_seconds_ago = vitals.audited_ago.map(|ago| ago.as_secs());
    let warnings = warnings(&vitals, &app.settings());
    Ok(Json(Ready { status: "ready", warnings, audited_seconds_ago }).into_response())
}

/// What the operator should mend, the worst first.
fn warnings(vitals: &Vitals, settings: &Settings) -> Vec<&'static str> {
    let all = [
        (vitals.outage_since.is_some(), "nothing gets through to Vonage; alerts wait where they are"),
        (vitals.n_failing > 0, "sends to Vonage fail; the log says why"),
        (vitals.room == Room::Full, "the disk is full: new alerts are refused"),
        (vitals.room == Room::Low, "there is little room on the disk"),
        (vitals.n_quarantined > 0, "there are alerts that callout cannot work on; the log names them"),
        (vitals.is_audit_stale, "no audit of the open alerts has passed for a while; the log says why"),
        (
            settings.signature_secrets.is_empty(),
            "webhooks are not verified: anybody who reaches this service can silence an alert",
        ),
        (!vitals.is_durable, "alerts are kept in memory only: they are lost when the process ends"),
    ];
    all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, warning)| warning).collect()
}

/// What is counted
///
/// For Prometheus: its own text form, or `OpenMetrics` where the request accepts that.
#[utoipa::path(get, path = "/metrics", tag = "operating",
    responses((status = 200, description = "The figures", content((String = "text/plain"), (String = "application/openmetrics-text")))))]
pub(super) async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (rendered, content_type) = if accepted.into_iter().any(|value| value.contains("application/openmetrics-text")) {
        (app.engine().metrics().render(), "application/openmetrics-text; version=1.0.0; charset=utf-8")
    } else {
        (app.engine().metrics().render_text(), "text/plain; version=0.0.4; charset=utf-8")
    };
    match rendered {
        Ok(text) => Ok(([(header::CONTENT_TYPE, content_type)], text).into_response()),
        Err(_) => Err(Problem::internal()),
    }
}
