//! Requests are told of to whoever collects traces. Where nobody does, a request does not come by here.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::id::AlertId;
use crate::traces::Traces;

/// What is asked all the time by machines, and is about nothing that happens.
const NOT_TOLD_OF: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

pub(super) async fn trace(State(traces): State<Traces>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let told = if NOT_TOLD_OF.contains(&path) { None } else { traces.request(request.headers()) };
    let Some(told) = told else { return next.run(request).await };
    let method = name_of(request.method());
    let pattern = request.extensions().get::<MatchedPath>().map(|matched| matched.as_str().to_owned());
    let asked_for = alert_of(path);
    let response = told.answer(next.run(request)).await;
    let made = response.headers().get(header::LOCATION).and_then(|location| alert_of(location.to_str().ok()?));
    traces.answered(told, method, pattern.as_deref(), response.status().as_u16(), asked_for.or(made));
    response
}

/// The alert that a path of the API is about.
fn alert_of(path: &str) -> Option<AlertId> {
    path.strip_prefix("/alerts/")?.split('/').next()?.parse().ok()
}

/// A caller may invent methods; those are all called the same (OpenTelemetry's conventions for HTTP).
fn name_of(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}
