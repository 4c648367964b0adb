//! How Vonage says no.
//!
//! A problem has `type`, `title`, `detail` and `instance`, and for wrong parameters
//! `invalid_parameters`: one object in Dispatch v0.1, a list in Messages v1. Messages' reference has it
//! as `application/json`, the general page on errors as `application/problem+json`; here Dispatch plays
//! the one and Messages the other, so that nobody depends on either.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::faults::Fault;
use super::order::{About, Complaint};
use super::sent::Api;

/// What `Retry-After` says, in seconds of the caller's time, where it is there.
const RETRY_AFTER_SECONDS: u64 = 2;
/// The pages on errors of every API.
const GENERAL: &str = "https://developer.vonage.com/api-errors";

/// A problem body under this status.
pub(super) struct Problem {
    pub(super) status: StatusCode,
    kind: String,
    title: &'static str,
    detail: String,
    invalid: Option<Value>,
    retry_after: Option<u64>,
}

/// Makes the answer that a fault gives at an API.
type MakeProblem = fn(Api) -> Problem;

/// The faults that refuse a request, with what they answer.
pub(super) const REFUSALS: [(Fault, MakeProblem); 10] = [
    (Fault::BadRequest, |api| Problem { status: StatusCode::BAD_REQUEST, ..Problem::invented(api) }),
    (Fault::Unauthorized, |_| Problem::unauthorized(PLAYED)),
    (Fault::NoBalance, |_| Problem::general(StatusCode::PAYMENT_REQUIRED, "low-balance", LOW_BALANCE, PLAYED)),
    (Fault::Forbidden, |_| Problem::general(StatusCode::FORBIDDEN, "forbidden", "Forbidden", PLAYED)),
    (Fault::NotFound, |_| Problem::not_found(PLAYED)),
    (Fault::Unprocessable, |api| Problem { status: StatusCode::UNPROCESSABLE_ENTITY, ..Problem::invented(api) }),
    (Fault::TooMany, |_| Problem::of_messages(StatusCode::TOO_MANY_REQUESTS, "1000", "Rate Limit Hit")),
    (Fault::TooManyWait, |_| Problem {
        retry_after: Some(RETRY_AFTER_SECONDS),
        ..Problem::of_messages(StatusCode::TOO_MANY_REQUESTS, "1000", "Rate Limit Hit")
    }),
    // The same fragment as above is Vonage's: its examples tell the two apart by the status only.
    (Fault::Internal, |_| Problem::of_messages(StatusCode::INTERNAL_SERVER_ERROR, "1000", "Internal error")),
    (Fault::Unavailable, |_| Problem::general(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable", PLAYED)),
];

/// What a played refusal says.
const PLAYED: &str = "A fault is being played.";
const LOW_BALANCE: &str = "This request could not be performed due to your account balance being low.";

impl Problem {
    fn general(status: StatusCode, fragment: &str, title: &'static str, detail: impl Into<String>) -> Self {
        let kind = format!("{GENERAL}#{fragment}");
        Self { status, kind, title, detail: detail.into(), invalid: None, retry_after: None }
    }

    fn of_messages(status: StatusCode, fragment: &str, title: &'static str) -> Self {
        Self { kind: format!("{GENERAL}/messages#{fragment}"), ..Self::general(status, "", title, PLAYED) }
    }

    /// Wrong parameters where there are none.
    fn invented(api: Api) -> Self {
        let reason = "refused, because a fault is being played".to_owned();
        Self::invalid(api, &[Complaint { about: About::Recipient, name: "to".to_owned(), reason }])
    }

    /// The credentials do not do. The type's name is misspelt at Vonage, too.
    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        let title = "You did not provide correct credentials.";
        Self::general(StatusCode::UNAUTHORIZED, "unathorized", title, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::general(StatusCode::NOT_FOUND, "not-found", "Not found.", detail)
    }

    pub(super) fn unsupported(detail: impl Into<String>) -> Self {
        Self::general(StatusCode::UNPROCESSABLE_ENTITY, "operation-not-supported", "Operation not supported", detail)
    }

    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::general(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
    }

    pub(super) fn wrong_type() -> Self {
        let detail = "The content type must be application/json.";
        Self::general(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type", detail)
    }

    /// A request of a script that cannot be carried out.
    pub(super) fn bad_control(detail: impl Into<String>) -> Self {
        Self::general(StatusCode::UNPROCESSABLE_ENTITY, "invalid-params", "The sandbox cannot do that", detail)
    }

    /// The body is no JSON.
    pub(super) fn invalid_json(api: Api) -> Self {
        let status = match api {
            Api::Messages => StatusCode::UNPROCESSABLE_ENTITY,
            Api::Dispatch => StatusCode::BAD_REQUEST,
        };
        Self::general(status, "invalid-json", "Invalid JSON", "The request body could not be parsed as JSON.")
    }

    /// The request has these mistakes, of which there is at least one.
    pub(super) fn invalid(api: Api, complaints: &[Complaint]) -> Self {
        let list: Vec<Value> = complaints.iter().map(|one| json!({ "name": one.name, "reason": one.reason })).collect();
        match api {
            Api::Dispatch => Self {
                status: StatusCode::BAD_REQUEST,
                kind: "https://www.nexmo.com/messages/Errors#InvalidParams".to_owned(),
                title: "Bad request",
                detail: "The request could not be used.".to_owned(),
                invalid: list.into_iter().next(),
                retry_after: None,
            },
            Api::Messages => {
                let (fragment, title) = page(complaints);
                Self {
                    status: StatusCode::UNPROCESSABLE_ENTITY,
                    kind: format!("{GENERAL}/messages#{fragment}"),
                    title,
                    detail: "The value of one or more parameters is invalid.".to_owned(),
                    invalid: Some(Value::Array(list)),
                    retry_after: None,
                }
            }
        }
    }

    /// The answer, with the `instance` that support would ask for.
    pub(super) fn answer(self, api: Api, instance: &str) -> Response {
        let mut body = json!({ "type": self.kind, "title": self.title, "detail": self.detail, "instance": instance });
        if let (Some(invalid), Some(map)) = (self.invalid, body.as_object_mut()) {
            map.insert("invalid_parameters".to_owned(), invalid);
        }
        let mut response = (self.status, Json(body)).into_response();
        if api == Api::Dispatch {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The page for these mistakes: its own where all are of one kind.
fn page(complaints: &[Complaint]) -> (&'static str, &'static str) {
    let first = complaints.first().map_or(About::Parameters, |one| one.about);
    let same = complaints.iter().all(|one| one.about == first);
    match if same { first } else { About::Parameters } {
        About::Reference => ("1060", "Invalid client reference"),
        About::Channel => ("1100", "Invalid channel"),
        About::Sender => ("1120", "Invalid sender"),
        // The missing digit is Vonage's.
        About::Recipient => ("110", "Invalid recipient"),
        About::MessageType => ("1140", "Invalid message type"),
        About::Parameters => ("1150", "Invalid params"),
    }
}

/// Nothing is here.
pub(super) async fn no_such_route(uri: Uri) -> Response {
    Problem::not_found(format!("There is nothing at {}; GET / shows what there is.", uri.path()))
        .answer(Api::Messages, "")
}
