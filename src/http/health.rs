//! Whether callout is well.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::Readiness;

use super::App;
use super::problem::Problem;

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
            Ok(Json(Ready { status: "ready", warnings, audited_seconds_ago }).into_response())
        }
    }
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
