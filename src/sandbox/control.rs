//! What Vonage does not have: what was sent, and scripts that make things happen.
//!
//! Nothing here asks for credentials; the stand-in listens where only its owner can reach it.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::faults::Faults;
use super::life::Status;
use super::problem::Problem;
use super::sent::{Api, Sent};
use super::webhook::WebhookKind;
use super::{Attempted, Letter, Request, Sandbox};
use crate::contact::Channel;
use crate::timestamp::Timestamp;

/// The code of a failed message where a script gives none: destination unreachable.
const CODE_DEFAULT: u16 = 1260;

pub(super) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/", get(help))
        .route("/sent", get(list_sent).delete(forget))
        .route("/requests", get(list_requests))
        .route("/sandbox/webhooks", get(count_webhooks))
        .route("/sandbox/webhooks/tries", get(list_attempted))
        .route("/sandbox/report", post(report))
        .route("/sandbox/reply", post(reply))
        .route("/sandbox/faults", put(set_faults))
        .method_not_allowed_fallback(super::problem::no_such_route)
}

const HELP: &str = r#"This is callout's stand-in for Vonage. It sends nothing to anybody.

POST   /v1/messages          Messages v1
PATCH  /v1/messages/<uuid>   {"status": "revoked"} or {"status": "read"}
POST   /v0.1/dispatch        Dispatch v0.1

GET    /sent                 the messages that were sent, newest last; ?from=NUMBER skips those before
DELETE /sent                 forget them, and all that was still to happen to them
GET    /requests             the requests that came, refused ones too, newest last
GET    /sandbox/webhooks     how many webhooks went which way
GET    /sandbox/webhooks/tries  each try of each webhook with its answer, newest last; ?from=NUMBER
                             skips those before
POST   /sandbox/report       {"message_uuid": "…", "status": "read"}; a failed one may have a "code"
POST   /sandbox/reply        {"channel": "sms", "from": "447700900001", "text": "ok"}, or "payload" for a
                             button in place of "text"; "to", "context" and "at" may be given
PUT    /sandbox/faults       {"faults": "500=3,twice"}; an empty text ends all

Faults:
"#;

async fn help() -> String {
    format!("{HELP}{}\n", Faults::help())
}

#[derive(Serialize)]
struct SentList {
    sent: Vec<SentView>,
}

#[derive(Serialize)]
struct SentView {
    number: u64,
    at: String,
    api: &'static str,
    channel: &'static str,
    to: Box<str>,
    from: Box<str>,
    text: Option<Box<str>>,
    client_ref: Option<Box<str>>,
    message_uuid: Arc<str>,
    dispatch_uuid: Option<Arc<str>>,
    status: Option<&'static str>,
    body: Option<Box<RawValue>>,
}

impl From<Sent> for SentView {
    fn from(sent: Sent) -> Self {
        Self {
            number: sent.number,
            at: sent.at.to_string(),
            api: sent.api.name(),
            channel: sent.channel.name(),
            to: sent.to,
            from: sent.from,
            text: sent.text,
            client_ref: sent.client_ref,
            message_uuid: sent.message_uuid,
            dispatch_uuid: sent.dispatch_uuid,
            status: sent.status.map(Status::word),
            body: raw(&sent.body),
        }
    }
}

/// A body as it came; none where it is no JSON.
fn raw(body: &Bytes) -> Option<Box<RawValue>> {
    serde_json::from_slice(body).ok()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    from: Option<u64>,
}

async fn list_sent(State(sandbox): State<Sandbox>, since: Result<Query<Since>, QueryRejection>) -> Response {
    match since {
        Ok(Query(since)) => {
            let sent = sandbox.sent_from(since.from.unwrap_or(1).max(1));
            Json(SentList { sent: sent.into_iter().map(SentView::from).collect() }).into_response()
        }
        Err(_) => {
            refuse(Problem::bad_control("The only parameter is `from`, the number of the first message to show."))
        }
    }
}

async fn forget(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.forget();
    StatusCode::NO_CONTENT
}

#[derive(Serialize)]
struct RequestView {
    at: String,
    api: &'static str,
    answered: Option<u16>,
    body: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct RequestList {
    requests: Vec<RequestView>,
}

async fn list_requests(State(sandbox): State<Sandbox>) -> Json<RequestList> {
    let show = |request: Request| RequestView {
        at: request.at.to_string(),
        api: request.api.name(),
        answered: request.answered,
        body: raw(&request.body),
    };
    Json(RequestList { requests: sandbox.requests().into_iter().map(show).collect() })
}

#[derive(Serialize)]
struct AttemptedView {
    number: u64,
    at: String,
    kind: &'static str,
    answered: Option<u16>,
    body: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct AttemptedList {
    tries: Vec<AttemptedView>,
}

async fn list_attempted(State(sandbox): State<Sandbox>, since: Result<Query<Since>, QueryRejection>) -> Response {
    let Ok(Query(since)) = since else {
        return refuse(Problem::bad_control("The only parameter is `from`, the number of the first try to show."));
    };
    let show = |attempted: Attempted| AttemptedView {
        number: attempted.number,
        at: attempted.at.to_string(),
        kind: match attempted.kind {
            WebhookKind::Status => "status",
            WebhookKind::Inbound => "inbound",
        },
        answered: attempted.answered,
        body: raw(&attempted.body),
    };
    let tries = sandbox.attempted_from(since.from.unwrap_or(1)).into_iter().map(show).collect();
    Json(AttemptedList { tries }).into_response()
}

async fn count_webhooks(State(sandbox): State<Sandbox>) -> Response {
    Json(sandbox.webhooks()).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportBody {
    message_uuid: String,
    status: String,
    code: Option<u16>,
}

async fn report(State(sandbox): State<Sandbox>, body: Result<Json<ReportBody>, JsonRejection>) -> Response {
    let Json(body) = match body {
        Ok(body) => body,
        Err(rejection) => return refuse(Problem::bad_control(rejection.body_text())),
    };
    let Some(status) = Status::from_word(&body.status, body.code.unwrap_or(CODE_DEFAULT)) else {
        let detail = "`status` must be one of submitted, delivered, read, rejected, undeliverable.";
        return refuse(Problem::bad_control(detail));
    };
    match sandbox.report(&body.message_uuid, status) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(unknown) => refuse(Problem::not_found(unknown.to_string())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyBody {
    channel: String,
    from: String,
    text: Option<String>,
    payload: Option<String>,
    to: Option<String>,
    context: Option<String>,
    at: Option<String>,
}

impl ReplyBody {
    fn letter(self) -> Result<Letter, &'static str> {
        let channel: Channel = match self.channel.parse() {
            Ok(channel) => channel,
            Err(_) => return Err("`channel` must be one of messenger, viber_service, whatsapp, sms, rcs, mms."),
        };
        let at = match self.at.as_deref().map(str::parse::<Timestamp>) {
            Some(Err(_)) => return Err("`at` must be a moment such as 2026-03-01T02:15:07.412Z."),
            Some(Ok(at)) => Some(at),
            None => None,
        };
        let mut letter = match (self.text, self.payload) {
            (Some(text), None) => Letter::text(channel, &self.from, &text),
            (None, Some(payload)) => Letter::press(channel, &self.from, &payload),
            (Some(_), Some(_)) | (None, None) => return Err("Either `text` or `payload` must be given."),
        };
        letter.to = self.to.map(Into::into);
        letter.context = self.context.map(Into::into);
        letter.at = at;
        Ok(letter)
    }
}

async fn reply(State(sandbox): State<Sandbox>, body: Result<Json<ReplyBody>, JsonRejection>) -> Response {
    let letter = match body {
        Ok(Json(body)) => body.letter().map_err(str::to_owned),
        Err(rejection) => Err(rejection.body_text()),
    };
    match letter {
        Ok(letter) => (StatusCode::ACCEPTED, Json(json!({ "message_uuid": sandbox.reply(&letter) }))).into_response(),
        Err(detail) => refuse(Problem::bad_control(detail)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultsBody {
    faults: String,
}

async fn set_faults(State(sandbox): State<Sandbox>, body: Result<Json<FaultsBody>, JsonRejection>) -> Response {
    let faults = match body {
        Ok(Json(body)) => body.faults.parse::<Faults>().map_err(|error| error.to_string()),
        Err(rejection) => Err(rejection.body_text()),
    };
    match faults {
        Ok(faults) => {
            sandbox.set_faults(faults);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(detail) => refuse(Problem::bad_control(detail)),
    }
}

fn refuse(problem: Problem) -> Response {
    problem.answer(Api::Messages, "")
}
