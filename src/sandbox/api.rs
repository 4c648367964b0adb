//! The two APIs, as a caller meets them: `POST /v1/messages`, `PATCH /v1/messages/{uuid}` and
//! `POST /v0.1/dispatch` with or without a slash at the end.
//!
//! A request is judged in this order: the connection, the credentials, the body, the fault that is
//! being played. What passes is accepted with 202.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{patch, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::credentials::{self, Caller, Refusal};
use super::dispatch::{self, Step};
use super::faults::Fault;
use super::messages;
use super::order::Order;
use super::problem::{Problem, REFUSALS};
use super::sent::{Api, Origin};
use super::world::{Beginning, Update, World};
use super::{Request, Sandbox};
use crate::clock::system_now;
use crate::timestamp::Timestamp;

/// The largest body of a request.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long an answer waits for the first webhook, in real time, where a fault wants it to wait.
const FIRST_WEBHOOK_MAX: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Router<Sandbox> {
    Router::new()
        .route("/v1/messages", post(send_message))
        .route("/v1/messages/", post(send_message))
        .route("/v1/messages/{uuid}", patch(update_message))
        .route("/v0.1/dispatch", post(send_workflow))
        .route("/v0.1/dispatch/", post(send_workflow))
        .method_not_allowed_fallback(super::problem::no_such_route)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

async fn send_message(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    sandbox.receive(Api::Messages, &headers, body).await
}

async fn send_workflow(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    sandbox.receive(Api::Dispatch, &headers, body).await
}

/// A request that can be carried out.
enum Wanted {
    Message(Box<Order>),
    Workflow(Vec<Step>),
}

/// What a request is answered.
enum Answer {
    Accepted {
        body: Value,
        message: Option<Arc<str>>,
    },
    Refused(Problem),
    /// A page of a gateway in between.
    Gateway,
    /// Accepted, but not in words that one can read.
    Garbled,
    /// No answer; the connection breaks.
    Broken,
}

impl Answer {
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Accepted { .. } | Self::Garbled => Some(StatusCode::ACCEPTED),
            Self::Refused(problem) => Some(problem.status),
            Self::Gateway => Some(StatusCode::BAD_GATEWAY),
            Self::Broken => None,
        }
    }
}

impl Sandbox {
    async fn receive(&self, api: Api, headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
        let (answer, slow, instance) = self.judge(api, headers, body);
        self.shared.stir();
        if let Some(time) = slow {
            self.shared.clock.sleep_until(self.shared.clock.now().plus(time)).await;
        }
        match answer {
            Answer::Accepted { body, message } => {
                if let Some(uuid) = message {
                    self.first_webhook(&uuid).await;
                }
                (StatusCode::ACCEPTED, Json(body)).into_response()
            }
            Answer::Refused(problem) => problem.answer(api, &instance),
            Answer::Gateway => (StatusCode::BAD_GATEWAY, Html("<html><h1>502 Bad Gateway</h1></html>")).into_response(),
            Answer::Garbled => (StatusCode::ACCEPTED, Html("<html>thank you</html>")).into_response(),
            Answer::Broken => broken(),
        }
    }

    /// Decides what becomes of a request and writes it down, all in one moment.
    fn judge(
        &self,
        api: Api,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> (Answer, Option<Duration>, Arc<str>) {
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        let (bytes, answer) = match body {
            _ if state.world.faults.take(Fault::Down) => (Bytes::new(), Answer::Broken),
            Err(_too_long) => {
                let detail = format!("The body is longer than {BODY_BYTES_MAX} bytes.");
                (Bytes::new(), Answer::Refused(Problem::too_large(detail)))
            }
            Ok(bytes) => {
                let answer = match check(api, headers, &bytes, now) {
                    Err(problem) => Answer::Refused(problem),
                    Ok((wanted, caller)) => {
                        let application = caller.application().map(Arc::from);
                        let origin = Origin { body: bytes.clone(), application };
                        let answer = carry_out(&mut state.world, wanted, origin, now);
                        state.advance(now);
                        answer
                    }
                };
                (bytes, answer)
            }
        };
        let answered = answer.status().map(|status| status.as_u16());
        state.remember(Request { at: now, api, answered, body: bytes });
        let slow = state.world.faults.lasting(Fault::Slow);
        let instance = state.world.id();
        (answer, slow, instance)
    }

    /// Waits until the first webhook about this message was answered.
    async fn first_webhook(&self, uuid: &str) {
        let told = self.until(FIRST_WEBHOOK_MAX, |sandbox| {
            let is_untold = sandbox.shared.state().outbox.has_line(uuid);
            (!is_untold).then_some(())
        });
        if told.await.is_err() {
            tracing::warn!("the first webhook was not answered; the request is answered without");
        }
    }
}

fn check(api: Api, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(Wanted, Caller), Problem> {
    let caller = caller(headers, now).map_err(|refusal| Problem::unauthorized(refusal.to_string()))?;
    let json = is_json(headers).then(|| serde_json::from_slice(body)).ok_or_else(Problem::wrong_type)?;
    let json: Value = json.map_err(|_not_json| Problem::invalid_json(api))?;
    let wanted = match api {
        Api::Messages => messages::check(&json).map(|order| Wanted::Message(Box::new(order))),
        Api::Dispatch => dispatch::check(&json).map(Wanted::Workflow),
    };
    Ok((wanted.map_err(|complaints| Problem::invalid(api, &complaints))?, caller))
}

fn caller(headers: &HeaderMap, now: Timestamp) -> Result<Caller, Refusal> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    credentials::check(header, &[now, system_now()])
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

fn carry_out(world: &mut World, wanted: Wanted, origin: Origin, now: Timestamp) -> Answer {
    let refusing = REFUSALS.map(|(fault, _)| fault);
    let stopping = [refusing.as_slice(), &[Fault::Gateway]].concat();
    if let Some(fault) = world.faults.take_first(&stopping) {
        let refusal = REFUSALS.iter().find(|(refusing, _)| *refusing == fault);
        return refusal.map_or(Answer::Gateway, |(_, problem)| Answer::Refused(problem(api_of(&wanted))));
    }
    let first = world.faults.take(Fault::WebhookFirst);
    let beginning = if first { Beginning::AtOnce } else { Beginning::Natural };
    let (body, message) = match wanted {
        Wanted::Message(order) => {
            let uuid = world.accept_message(*order, origin, now, beginning);
            (json!({ "message_uuid": uuid }), Some(uuid))
        }
        Wanted::Workflow(steps) => {
            let (uuid, message) = world.accept_workflow(steps, origin, now, beginning);
            (json!({ "dispatch_uuid": uuid }), message)
        }
    };
    match world.faults.take_first(&[Fault::Reset, Fault::Garbled]) {
        Some(Fault::Reset) => Answer::Broken,
        Some(_) => Answer::Garbled,
        None => Answer::Accepted { body, message: message.filter(|_| first) },
    }
}

const fn api_of(wanted: &Wanted) -> Api {
    match wanted {
        Wanted::Message(_) => Api::Messages,
        Wanted::Workflow(_) => Api::Dispatch,
    }
}

/// An answer that never comes: its body fails before a byte of it was written, upon which the server
/// closes the connection without having sent the head either.
fn broken() -> Response {
    let nothing =
        futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("a fault is being played")) });
    Response::new(Body::from_stream(nothing))
}

/// Takes an RCS message back or marks a `WhatsApp` message as read. It takes bearer tokens only
/// (Messages reference).
async fn update_message(
    State(sandbox): State<Sandbox>,
    Path(uuid): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let now = sandbox.shared.clock.now();
    let caller = caller(&headers, now).and_then(|caller| match caller {
        Caller::Application(_) => Ok(()),
        Caller::Account => Err(Refusal::BearerOnly),
    });
    let body: Option<Value> = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
    let status = body.as_ref().and_then(|body| body.get("status")).and_then(Value::as_str);
    let mut state = sandbox.shared.state();
    let outcome = match (caller, status) {
        (Err(refusal), _) => Err(Problem::unauthorized(refusal.to_string())),
        (Ok(()), Some("revoked")) => Ok(state.world.revoke(&uuid)),
        (Ok(()), Some("read")) => Ok(state.world.mark_read(&uuid)),
        (Ok(()), Some(_) | None) => Err(Problem::unsupported("`status` must be revoked or read.")),
    };
    let outcome = match outcome {
        Ok(Update::Done) => Ok(()),
        Ok(Update::Unknown) => Err(Problem::not_found("No message with this id is known here.")),
        Ok(Update::Unsupported) => Err(Problem::unsupported("Only RCS can be revoked, only WhatsApp marked as read.")),
        Err(problem) => Err(problem),
    };
    let instance = state.world.id();
    drop(state);
    sandbox.shared.stir();
    match outcome {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(problem) => problem.answer(Api::Messages, &instance),
    }
}
