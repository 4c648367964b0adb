//! The calls on alerts.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::{Raising, Request};
use crate::escalation::{Alert, Via};
use crate::hash::sha256;
use crate::id::AttemptNumber;
use crate::store::{ClaimKey, Page, StatusFilter};

use super::App;
use super::auth::Caller;
use super::dashboard;
use super::extract::{ALERT_BODY_MAX, AlertPath, Body, Fields, Query, object};
use super::new_alert;
use super::openapi::schemas;
use super::problem::{FieldError, Problem};
use super::view::AlertView;

/// The most characters of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// The most characters of `by`.
pub const BY_CHARS_MAX: usize = 100;
/// How many alerts a list has when nobody says how many, and the most it can have.
const LIST_DEFAULT: usize = 50;
const LIST_MAX: usize = 200;

/// Raise an alert
///
/// Durable before the answer; does not wait for Vonage. A known `dedup_key` answers 200 with the alert that is open.
#[utoipa::path(post, path = "/alerts", tag = "alerts", security(("key" = [])), request_body = schemas::NewAlert,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = r"^[!-~]([\t -~]*[!-~])?$",
        description = "Sending again with the same key and body within 24 hours gets the first answer again.")),
    responses(
        (status = 201, description = "Raised", body = AlertView, headers(("Location" = String, description = "The alert's path."))),
        (status = 200, description = "Raised before", body = AlertView, headers(("Location" = String, description = "The alert's path."))),
        (status = 422, description = "")))]
pub(super) async fn raise(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body(bytes, _held): Body<ALERT_BODY_MAX>,
) -> Result<Response, Problem> {
    let request = idempotency(&caller, &headers, "POST /alerts", &bytes)?;
    let settings = app.settings();
    let body = object(&headers, &bytes);
    let new = body.and_then(|body| new_alert::read(body, &settings.policies, &settings.channel_rules));
    let raising = match (new, &request) {
        (Ok(new), _) => app.engine().raise(new, request.as_ref()).await?,
        // What was answered once is answered so again, whatever the configuration says by now.
        (Err(problem), Some(request)) => app.engine().raised_before(request).await?.ok_or(problem)?,
        (Err(problem), None) => return Err(problem),
    };
    let (status, alert) = match raising {
        Raising::Created(alert) => (StatusCode::CREATED, alert),
        Raising::Repeated(alert) => (StatusCode::OK, alert),
    };
    let mut response = (status, shown(&alert)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/alerts/{}", alert.id())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// See an alert
///
/// With its attempts and timeline; for a browser (`Accept: text/html`) the live page.
#[utoipa::path(get, path = "/alerts/{id}", tag = "alerts", security(("key" = [])),
    params(("id" = String, Path, description = "The alert's id, or its short code.")),
    responses((status = 200, description = "The alert", content((AlertView = "application/json"), (String = "text/html"))),
        (status = 303, description = "A browser that is not signed in is led to the form")))]
pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    id: Result<AlertPath, Problem>,
    uri: Uri,
) -> Response {
    let alert = match id {
        Ok(AlertPath(id)) => app.engine().alert(id).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    let mut response = if dashboard::wants_page(&headers) {
        dashboard::alert_page(&app, &caller, alert, &uri)
    } else {
        alert.map(|alert| shown(&alert)).into_response()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn shown(alert: &Alert) -> Response {
    Json(AlertView::whole(alert)).into_response()
}

/// One page of alerts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AlertList)]
pub(super) struct List<'a> {
    alerts: Vec<AlertView<'a>>,
    /// For the next page; null on the last.
    #[schema(required = true, format = "uuid")]
    next_cursor: Option<String>,
}

/// List alerts
///
/// Newest first; without attempts and timeline.
#[utoipa::path(get, path = "/alerts", tag = "alerts", security(("key" = [])),
    params(
        ("status" = Option<schemas::AlertStatus>, Query, description = "Only alerts of this status."),
        ("policy" = Option<String>, Query, description = "Only alerts of this policy."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many at most; 50 unless told otherwise."),
        ("cursor" = Option<String>, Query, format = "uuid", description = "The `next_cursor` of an earlier answer.")),
    responses((status = 200, description = "The alerts", body = List), (status = 422, description = "")))]
pub(super) async fn list(State(app): State<App>, query: Query) -> Result<Response, Problem> {
    let page = page(query)?;
    let limit = page.limit;
    // One more than asked for, to know whether there is a next page.
    let alerts = app.engine().list(&Page { limit: limit + 1, ..page }).await?;
    let next_cursor = match alerts.get(limit.saturating_sub(1)) {
        Some(last) if alerts.len() > limit => Some(last.id().to_string()),
        Some(_) | None => None,
    };
    let alerts = alerts.iter().take(limit).map(|alert| AlertView::short(alert)).collect();
    Ok(Json(List { alerts, next_cursor }).into_response())
}

fn page(mut query: Query) -> Result<Page, Problem> {
    let mut errors = Vec::new();
    let status = query.take("status", &mut errors).and_then(|text| {
        let found = STATUSES.into_iter().find(|(name, _)| *name == text).map(|(_, status)| status);
        if found.is_none() {
            let detail = "must be escalating, acknowledged, exhausted or resolved";
            errors.push(FieldError::of_parameter("status", detail));
        }
        found
    });
    let limit = query.limit(LIST_DEFAULT, LIST_MAX, &mut errors);
    let before = query.cursor(&mut errors);
    let policy = query.take("policy", &mut errors).map(String::into_boxed_str);
    query.finish("status, policy, limit and cursor", &mut errors);
    if errors.is_empty() { Ok(Page { status, policy, before, limit }) } else { Err(Problem::invalid(errors)) }
}

pub(super) const STATUSES: [(&str, StatusFilter); 4] = [
    ("escalating", StatusFilter::Escalating),
    ("acknowledged", StatusFilter::Acknowledged),
    ("exhausted", StatusFilter::Exhausted),
    ("resolved", StatusFilter::Resolved),
];

/// Acknowledge an alert
///
/// Somebody has seen it; nobody else is called. Twice is harmless.
#[utoipa::path(post, path = "/alerts/{id}/acknowledge", tag = "alerts", security(("key" = [])),
    params(("id" = String, Path, description = "The alert's id, or its short code.")),
    request_body = Option<schemas::By>,
    responses((status = 200, description = "The alert", body = AlertView), (status = 409, description = ""), (status = 422, description = "")))]
pub(super) async fn acknowledge(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    AlertPath(id): AlertPath,
    headers: HeaderMap,
    Body(bytes, _held): Body<ALERT_BODY_MAX>,
) -> Result<Response, Problem> {
    let wish = wish(&caller, &headers, &bytes, Takes::By)?;
    Ok(shown(&*app.engine().acknowledge(id, &wish.by, Via::Api, None).await?))
}

/// Resolve an alert
///
/// The problem itself is over. Twice is harmless.
#[utoipa::path(post, path = "/alerts/{id}/resolve", tag = "alerts", security(("key" = [])),
    params(("id" = String, Path, description = "The alert's id, or its short code.")),
    request_body = Option<schemas::By>,
    responses((status = 200, description = "The alert", body = AlertView), (status = 422, description = "")))]
pub(super) async fn resolve(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    AlertPath(id): AlertPath,
    headers: HeaderMap,
    Body(bytes, _held): Body<ALERT_BODY_MAX>,
) -> Result<Response, Problem> {
    let wish = wish(&caller, &headers, &bytes, Takes::By)?;
    Ok(shown(&*app.engine().resolve(id, &wish.by).await?))
}

/// Call the next user now
///
/// With `attempt`, only if that one is still current, so that two people who press at once skip one user.
#[utoipa::path(post, path = "/alerts/{id}/escalate", tag = "alerts", security(("key" = [])),
    params(("id" = String, Path, description = "The alert's id, or its short code."),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = r"^[!-~]([\t -~]*[!-~])?$",
            description = "Sending again with the same key and body within 24 hours has no second effect.")),
    request_body = Option<schemas::Escalation>,
    responses((status = 200, description = "The alert", body = AlertView), (status = 409, description = ""), (status = 422, description = "")))]
pub(super) async fn escalate(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    AlertPath(id): AlertPath,
    headers: HeaderMap,
    Body(bytes, _held): Body<ALERT_BODY_MAX>,
) -> Result<Response, Problem> {
    let request = idempotency(&caller, &headers, &format!("POST /alerts/{id}/escalate"), &bytes)?;
    let wish = wish(&caller, &headers, &bytes, Takes::ByAndAttempt)?;
    Ok(shown(&*app.engine().escalate(id, &wish.by, wish.attempt, request.as_ref()).await?))
}

/// What somebody wants of an alert.
struct Wish {
    by: Box<str>,
    attempt: Option<AttemptNumber>,
}

/// Which fields a wish can have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    By,
    ByAndAttempt,
}

fn wish(caller: &Caller, headers: &HeaderMap, bytes: &[u8], takes: Takes) -> Result<Wish, Problem> {
    let mut wish = Wish { by: caller.person().into(), attempt: None };
    if bytes.is_empty() {
        return Ok(wish);
    }
    let mut errors = Vec::new();
    let mut fields = Fields::new("", object(headers, bytes)?);
    if let Some(by) = fields.text("by", BY_CHARS_MAX, &mut errors) {
        wish.by = by;
    }
    if takes == Takes::ByAndAttempt
        && let Some(value) = fields.take("attempt")
    {
        wish.attempt = value.as_u64().and_then(|number| AttemptNumber::try_from(number).ok()).filter(|n| *n > 0);
        if wish.attempt.is_none() {
            let detail = "must be the number of an attempt, from 1".into();
            errors.push(FieldError { pointer: fields.pointer("attempt"), detail });
        }
    }
    fields.finish(&mut errors);
    if errors.is_empty() { Ok(wish) } else { Err(Problem::invalid(errors)) }
}

/// The request's name, if it carries an `Idempotency-Key`. Those of different callers never meet.
fn idempotency(caller: &Caller, headers: &HeaderMap, call: &str, body: &[u8]) -> Result<Option<Request>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()));
    match (key, values.next()) {
        (Some(key), None) => {
            let name = format!("{}\n{call}\n{key}", caller.name());
            Ok(Some(Request { key: ClaimKey(sha256(name.as_bytes())), fingerprint: sha256(body) }))
        }
        (_, _) => Err(Problem::bad_request("An Idempotency-Key has 1 to 255 visible characters and is sent once.")),
    }
}
