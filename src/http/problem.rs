//! Every error that a caller can be shown, as `application/problem+json` (RFC 9457).
//!
//! This is the one file that turns failures into status codes. What goes wrong inside is never shown to
//! a caller; it is logged where it is handled.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine;
use crate::escalation::Ignored;
use crate::store;

use super::extract::escaped;
use super::listen::HEAD_BYTES_MAX;

/// How long a caller should wait before trying again when the store is unavailable, in seconds.
const RETRY_AFTER_SECONDS: &str = "5";
/// How long a caller should wait who comes too often, in seconds. Every limit allows something each second.
const SLOW_DOWN_SECONDS: &str = "1";

/// An error as a caller sees it. Boxed, because it travels in many results and is rare.
#[derive(Debug)]
pub(super) struct Problem(Box<Said>);

#[derive(Debug)]
struct Said {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    headers: Vec<(header::HeaderName, &'static str)>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// Where it stands: a JSON pointer (RFC 6901) into the body, or the name of a query parameter behind a slash.
    pub(super) pointer: String,
    /// What is wrong with it, and what would be right.
    pub(super) detail: String,
}

impl FieldError {
    /// Something is wrong with a parameter of the query.
    pub(super) fn of_parameter(name: &str, detail: &str) -> Self {
        Self { pointer: format!("/{}", escaped(name)), detail: detail.to_owned() }
    }
}

/// An error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body<'a> {
    /// Names the kind of error.
    #[schema(pattern = "^/problems/[a-z-]+$")]
    r#type: String,
    /// The kind of error in words.
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong this time.
    detail: &'a str,
    /// Every field that is wrong.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Said { status, kind, title, detail: detail.into(), errors: Vec::new(), headers: Vec::new() }))
    }

    fn with_header(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The body is not JSON.
    pub(super) fn not_json(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "not-json", "The body is not JSON", detail)
    }

    /// The request itself is malformed.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request is malformed", detail)
    }

    /// Some fields are wrong; all of them are named.
    pub(super) fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] if only.pointer.is_empty() => only.detail.clone(),
            [only] => format!("{}: {}", only.pointer, only.detail),
            several => format!("{} fields are wrong", several.len()),
        };
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Some fields are wrong", detail);
        problem.0.errors = errors;
        problem
    }

    /// No valid key came with the request.
    pub(super) fn unauthorized(detail: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "An API key is needed", detail)
            .with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"callout\"")
    }

    /// No valid key of the integration came with the request.
    pub(super) fn wrong_integration_key() -> Self {
        let detail = "Send the integration's key as bearer token, as password, as ?key= or at the end of the path.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "The integration's key is needed", detail)
            .with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"callout\"")
    }

    /// A tool's request cannot be understood at all.
    pub(super) fn not_understood(reasons: &[String]) -> Self {
        let detail = reasons.join("; ");
        Self::new(StatusCode::BAD_REQUEST, "not-understood", "The request cannot be understood", detail)
    }

    /// The key that came with the request may not do what is asked for.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The API key may not do this", detail)
    }

    /// A browser's session is there, but the wish was not made on a page of ours.
    pub(super) fn from_another_page() -> Self {
        Self::forbidden("The browser does not say that this was wished on a page of callout.")
    }

    /// It comes too often.
    pub(super) fn too_many(detail: &'static str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", detail)
            .with_header(header::RETRY_AFTER, SLOW_DOWN_SECONDS)
    }

    /// A webhook's signature is wrong; sending it again would not help.
    pub(super) fn bad_signature(detail: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "bad-signature", "The signature is wrong", detail)
            .with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"callout webhooks\"")
    }

    /// A webhook came unsigned; Vonage sends it again, signed, when it is answered so.
    pub(super) fn unsigned() -> Self {
        let detail = "This service takes signed webhooks only; send it again with its signature.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unsigned", "The webhook is not signed", detail)
            .with_header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// Nothing is there.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here", detail)
    }

    /// The path is there, but not for this method.
    pub(super) fn method_not_allowed() -> Self {
        let detail = "This path takes other methods; the Allow header names them.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed", detail)
    }

    /// The alert's status does not allow it.
    pub(super) fn conflict(detail: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "The alert's status does not allow it", detail)
    }

    /// The body is larger than this path takes.
    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("The body may have {limit} bytes at most.");
        // The rest of the body is not read, so that the connection cannot be used again.
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
            .with_header(header::CONNECTION, "close")
    }

    /// The body is of another type than JSON.
    pub(super) fn unsupported_media_type() -> Self {
        let detail = "Send JSON with the header Content-Type: application/json.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON", detail)
    }

    /// The request took too long to arrive.
    pub(super) fn timeout() -> Self {
        let detail =
            "The request was not complete, or could not be answered, in time; nothing was promised. Try again.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "It took too long", detail)
            .with_header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// Something that is needed does not work now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not now; try again soon", detail);
        problem.with_header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)
    }

    /// There is no memory left for another large body.
    pub(super) fn crowded() -> Self {
        let problem = Self::unavailable("Too much is being sent at once; nothing of this was kept.");
        // The rest of the body is not read, so that the connection cannot be used again.
        problem.with_header(header::CONNECTION, "close")
    }

    /// callout failed.
    pub(super) fn internal() -> Self {
        let detail = "callout failed; its log says more. Nothing that was accepted is lost.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "callout failed", detail)
    }
}

impl From<engine::Error> for Problem {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::NoSuchAlert => Self::not_found("No alert has this id."),
            engine::Error::Impossible(ignored) => Self::conflict(why_impossible(ignored)),
            engine::Error::KeyReused => Self::invalid(vec![FieldError {
                pointer: String::new(),
                detail: "This Idempotency-Key was used for another request; use a new key for each request.".into(),
            }]),
            engine::Error::Contended => Self::unavailable("The alert is being changed by too many at once."),
            engine::Error::Stopped => Self::unavailable("The service is stopping."),
            // The store itself says so, once for all.
            engine::Error::Store(store::Error::Busy) => {
                Self::unavailable("More is asked for than can be kept at once; nothing of this was.")
            }
            engine::Error::Store(store::Error::Unavailable(source)) => {
                tracing::error!(error = %source, "the store is unavailable; the request was answered 503");
                Self::unavailable("The store is unavailable, so nothing can be promised.")
            }
            engine::Error::Store(error @ store::Error::Corrupt { .. }) => {
                tracing::error!(error = %error, "the store holds something that cannot be understood");
                Self::internal()
            }
        }
    }
}

fn why_impossible(ignored: Ignored) -> &'static str {
    match ignored {
        Ignored::AlreadyResolved => "The alert is resolved.",
        Ignored::AlreadyAcknowledged => "The alert is acknowledged.",
        Ignored::NotEscalating => "The alert is not escalating any more.",
        Ignored::NoSuchAttempt => "The alert has no such attempt.",
        Ignored::NotYetDue | Ignored::Held | Ignored::AlreadyKnown | Ignored::OldAttempt | Ignored::NotOpen => {
            "The alert's status does not allow it now."
        }
    }
}

impl Problem {
    /// The status that it is answered with.
    pub(super) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What went wrong, as a heading.
    pub(super) fn title(&self) -> &'static str {
        self.0.title
    }

    /// What went wrong, and what to do.
    pub(super) fn detail(&self) -> &str {
        &self.0.detail
    }

    fn body(&self) -> Vec<u8> {
        let said = &self.0;
        let body = Body {
            r#type: format!("/problems/{}", said.kind),
            title: said.title,
            status: said.status.as_u16(),
            detail: &said.detail,
            errors: &said.errors,
        };
        // A body of texts and numbers can always be written.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, [(header::CONTENT_TYPE, CONTENT_TYPE)], self.body()).into_response();
        for (name, value) in self.0.headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// What to write in the place of hyper's own refusal of a request that it could not read, if `written`
/// is one: an error of ours has a header that hyper does not know of.
pub(super) fn refusal(written: &[u8]) -> Option<Vec<u8>> {
    let head = written.strip_prefix(b"HTTP/1.1 ").filter(|_| written.ends_with(b"\r\n\r\n"))?;
    let status = StatusCode::from_bytes(head.get(..3)?).ok()?;
    let problem = match status {
        StatusCode::BAD_REQUEST => Problem::bad_request("The request is not HTTP/1.1 that can be read."),
        StatusCode::URI_TOO_LONG => {
            let detail = format!("The path and query may have {} bytes at most.", u16::MAX - 1);
            Problem::new(status, "uri-too-long", "The path is too long", detail)
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let detail = format!("All header fields together may have {HEAD_BYTES_MAX} bytes and be 100 at most.");
            Problem::new(status, "head-too-large", "The header fields are too large", detail)
        }
        _ => return None,
    };
    if written.windows(SIGN_OF_OURS.len()).any(|window| window == SIGN_OF_OURS) {
        return None;
    }
    let body = problem.body();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: {}\r\nconnection: close\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\n\r\n",
        status.as_u16(),
        body.len()
    )
    .into_bytes();
    bytes.extend(body);
    Some(bytes)
}

/// A header that every answer of ours carries.
const SIGN_OF_OURS: &[u8] = b"\r\nx-content-type-options: nosniff\r\n";
/// RFC 9457, section 3.
const CONTENT_TYPE: &str = "application/problem+json";
