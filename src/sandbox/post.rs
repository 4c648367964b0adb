//! The loop that plays what is due and carries the webhooks to the service.
//!
//! One task owns all: it plays, sends, and looks again whenever something changed or became due. It
//! ends with its token; what is on its way then is broken off.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::faults::{Fault, Faults};
use super::outbox::{Delivery, Parcel};
use super::signature::{Issue, Seal, seal};
use super::webhook::{Content, WebhookKind};
use super::{Attempted, Shared};
use crate::timestamp::Timestamp;

/// How many webhooks are on their way at once.
pub const IN_FLIGHT_MAX: usize = 64;
/// How long Vonage waits for a connection (support article on webhook timeouts).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long Vonage waits for an answer (same article).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The client for webhooks. It follows nobody elsewhere and asks no proxy, since the service is near.
pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}

/// A webhook that was sent, and what came of it.
type Flight = (Parcel, Attempted, Delivery);

pub(super) async fn live(shared: &Arc<Shared>, stop: CancellationToken) {
    let mut flights = JoinSet::new();
    loop {
        let next = work(shared, &mut flights);
        let due = async {
            match next {
                Some(moment) => shared.clock.sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(landed) = flights.join_next() => {
                if let Ok((parcel, attempt, delivery)) = landed {
                    let now = shared.clock.now();
                    let mut state = shared.state();
                    state.remember_delivery(attempt);
                    state.outbox.tried(parcel, delivery, now);
                    drop(state);
                    shared.tell();
                }
            }
            () = shared.stirred.notified() => {}
            () = due => {}
        }
    }
}

/// Does all that is due and answers when there is more, unless something changes before.
fn work(shared: &Arc<Shared>, flights: &mut JoinSet<Flight>) -> Option<Timestamp> {
    let now = shared.clock.now();
    let mut state = shared.state();
    let due = state.world.next().is_some_and(|moment| moment <= now);
    state.advance(now);
    while flights.len() < IN_FLIGHT_MAX {
        let Some(parcel) = state.outbox.take_due(now) else { break };
        let envelope = Envelope::of(shared, &parcel, &mut state.world, now);
        let (client, kind) = (shared.client.clone(), parcel.webhook.kind);
        flights.spawn(async move {
            let body = envelope.body.clone().unwrap_or_default();
            let (answered, delivery) = deliver(&client, envelope).await;
            (parcel, Attempted { number: 0, at: now, kind, answered, body }, delivery)
        });
    }
    let next = if flights.len() < IN_FLIGHT_MAX { state.next() } else { None };
    drop(state);
    if due {
        shared.tell();
    }
    next
}

/// A webhook with address and signature.
struct Envelope {
    url: Url,
    token: Option<String>,
    /// None for a GET, whose content is in the address.
    body: Option<Bytes>,
}

impl Envelope {
    /// Each try is signed anew. Whether Vonage does that is not documented; a fresh `jti` on a repeat is
    /// the harder case for whoever tells repeats apart by it.
    fn of(shared: &Shared, parcel: &Parcel, world: &mut super::world::World, now: Timestamp) -> Self {
        let webhook = &parcel.webhook;
        let mut url = webhook.url.clone().unwrap_or_else(|| address(&shared.webhooks, webhook.kind));
        let body = match &webhook.content {
            Content::Body(body) => body.clone(),
            Content::Query(query) => {
                url.set_query(Some(query));
                return Self { url, token: None, body: None };
            }
        };
        let (id, faults) = (world.id(), &mut world.faults);
        let issue = Issue { at: now, id: &id, application: webhook.application.as_deref() };
        let token = shared.secret.as_ref().filter(|_| !faults.take(Fault::Unsigned));
        let token = token.map(|secret| seal(choose_seal(faults), secret, issue, &body));
        let body = if faults.take(Fault::Altered) { altered(&body) } else { body };
        Self { url, token, body: Some(body) }
    }
}

fn choose_seal(faults: &mut Faults) -> Seal {
    if faults.take(Fault::WrongSecret) {
        Seal::OtherSecret
    } else if faults.take(Fault::NoHash) {
        Seal::WithoutHash
    } else if faults.take(Fault::NoAlgorithm) {
        Seal::NoAlgorithm
    } else {
        Seal::Right
    }
}

/// The same JSON in other bytes, so that nothing but the hash tells.
fn altered(body: &Bytes) -> Bytes {
    let mut longer = BytesMut::from(body.as_ref());
    longer.extend_from_slice(b" ");
    longer.freeze()
}

/// The service's address for webhooks of this kind.
fn address(base: &Url, kind: WebhookKind) -> Url {
    let path = match kind {
        WebhookKind::Status => "/webhooks/status",
        WebhookKind::Inbound => "/webhooks/inbound",
    };
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// Sends it once; answers with the HTTP status, where there was one.
async fn deliver(client: &reqwest::Client, envelope: Envelope) -> (Option<u16>, Delivery) {
    let Envelope { url, token, body } = envelope;
    let request = match body {
        Some(body) => client.post(url).header(CONTENT_TYPE, "application/json").body(body),
        None => client.get(url),
    };
    let request = match token {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    };
    match request.send().await {
        Ok(answer) => (Some(answer.status().as_u16()), judge(answer.status())),
        Err(error) => {
            tracing::debug!(timeout = error.is_timeout(), "a webhook found no answer and will be sent again");
            (None, Delivery::Again)
        }
    }
}

/// Vonage repeats on 429 and 5xx and takes 200 to 205 for success (support article on retries, page on
/// webhooks); that all else is final is an inference.
fn judge(status: StatusCode) -> Delivery {
    match status.as_u16() {
        200..=205 => Delivery::Accepted,
        429 | 500..=599 => Delivery::Again,
        other => {
            tracing::warn!(status = other, "the service refused a webhook; it is not sent again");
            Delivery::Refused
        }
    }
}
