//! Whether callout is well.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::engine::Readiness;

use super::App;
use super::problem::Problem;

/// The process is up.
pub(super) async fn alive() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// The store can keep something and the timers run. What the operator should mend is named.
pub(super) async fn ready(State(app): State<App>) -> Result<Response, Problem> {
    match app.engine().readiness().await? {
        Readiness::Stopping => Err(Problem::unavailable("callout is stopping.")),
        Readiness::Ready { is_durable, n_failing, n_quarantined, audited_ago, is_disk_full } => {
            let settings = app.settings();
            let mut warnings = Vec::new();
            if settings.signature_secrets.is_empty() {
                warnings.push("webhooks are not verified: anybody who reaches this service can silence an alert");
            }
            if !is_durable {
                warnings.push("alerts are kept in memory only: they are lost when the process ends");
            }
            if n_failing > 0 {
                warnings.push("sends to Vonage fail; the log says why");
            }
            if n_quarantined > 0 {
                warnings.push("there are alerts that callout cannot work on; the log names them");
            }
            if is_disk_full {
                warnings.push("the disk is full: new alerts are refused");
            }
            let audited_seconds_ago = audited_ago.map(|ago| ago.as_secs());
            let said = json!({ "status": "ready", "warnings": warnings, "audited_seconds_ago": audited_seconds_ago });
            Ok(Json(said).into_response())
        }
    }
}

/// What is counted, as Prometheus reads it.
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    match app.engine().metrics().render() {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
        }
        Err(_) => Err(Problem::internal()),
    }
}
