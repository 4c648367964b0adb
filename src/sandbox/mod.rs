//! A stand-in for Vonage: both of its APIs, the people behind it, and its webhooks.
//!
//! It plays the other side, for the demonstration, for tests, and for whoever wants to try callout
//! without an account. It takes requests as Vonage documents them and refuses what Vonage would refuse;
//! it lets invented people read, answer or ignore the messages; it fails over as Dispatch does; and it
//! sends signed webhooks and repeats them as Vonage does. On request it misbehaves ([`Faults`]).
//!
//! It shares no code with the way to Vonage that the service uses: a misreading of the documents should
//! show as a difference between the two.
//!
//! What it does not do: it cannot check that a token was signed with the application's key; it does not
//! play Messages' own `failover` list; it sends nothing to anybody. It is no secret-keeper either:
//! `GET /sent` shows addresses and texts, so it belongs on a machine of one's own.
//!
//! Time runs on the [`Clock`] it is given, which may be faster than real; so do its pauses, its expiries
//! and the times in its webhooks. Only the waiting for an answer to a webhook is real time.
//!
//! Limits: [`BODY_BYTES_MAX`] of a request, [`SENT_MAX`] messages and [`REQUESTS_MAX`] requests
//! remembered, [`WAITING_MAX`] webhooks waiting, [`IN_FLIGHT_MAX`] on their way at once.
//!
//! [`SENT_MAX`]: sent::SENT_MAX
//! [`WAITING_MAX`]: outbox::WAITING_MAX
//! [`BODY_BYTES_MAX`]: api::BODY_BYTES_MAX
//! [`IN_FLIGHT_MAX`]: post::IN_FLIGHT_MAX

pub mod api;
mod control;
mod credentials;
mod dispatch;
pub mod faults;
pub mod habits;
pub mod ids;
pub mod life;
pub mod messages;
mod order;
pub mod outbox;
pub mod people;
pub mod post;
mod problem;
pub mod sent;
pub mod signature;
pub mod webhook;
mod world;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use hyper_util::rt::TokioTimer;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use url::Url;

use self::faults::Faults;
use self::habits::People;
use self::ids::Ids;
use self::life::Status;
use self::order::{Button, ButtonKind};
use self::outbox::{Outbox, WebhookCounts};
use self::sent::{Api, Sent};
use self::signature::Secret;
use self::webhook::{Content, Webhook, WebhookKind, Words};
use self::world::{Inbound, World};
use crate::clock::Clock;
use crate::contact::Channel;
use crate::timestamp::Timestamp;

/// The most requests that are remembered, and as many tries of webhooks; the oldest are forgotten first.
pub const REQUESTS_MAX: usize = 10_000;
/// The most bytes of bodies that are kept with them.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a caller may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests may go on after the stand-in was told to stop.
const GRACE: Duration = Duration::from_secs(1);

/// How a stand-in is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The service's address; `/webhooks/status` and `/webhooks/inbound` are below it.
    pub webhooks: Url,
    /// Webhooks are signed with it; without one they go unsigned.
    pub signature_secret: Option<Secret>,
    /// Who reads what after how long.
    pub people: People,
    /// The misbehaviour to play.
    pub faults: Faults,
    /// How ids are made.
    pub ids: Ids,
}

impl Options {
    /// A stand-in that behaves and knows nobody, for the service at `webhooks`.
    pub fn new(webhooks: Url) -> Self {
        let (people, faults, ids) = (People::default(), Faults::default(), Ids::default());
        Self { webhooks, signature_secret: None, people, faults, ids }
    }
}

/// Why a stand-in cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connections to the service cannot be prepared.
    #[error("the client for webhooks cannot be made")]
    Client(#[source] reqwest::Error),
}

/// There is no such message, or it was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no message with this `message_uuid` was sent")]
pub struct UnknownMessage;

/// What was waited for did not happen in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it did not happen within {0:?}")]
pub struct Impatience(pub Duration);

/// A request as it came, accepted or not. Its `Debug` does not show the body.
#[derive(Clone)]
pub struct Request {
    /// When it came.
    pub at: Timestamp,
    /// Which API it was for.
    pub api: Api,
    /// The HTTP status of the answer; none where the connection was broken instead.
    pub answered: Option<u16>,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("at", &self.at)
            .field("api", &self.api)
            .field("answered", &self.answered)
            .finish_non_exhaustive()
    }
}

/// A webhook that was sent once, and how it was answered. Its `Debug` does not show the body.
#[derive(Clone)]
pub struct Attempted {
    /// Counts all tries of all webhooks, from 1.
    pub number: u64,
    /// When it was sent.
    pub at: Timestamp,
    /// What it was about.
    pub kind: WebhookKind,
    /// The HTTP status of the answer; none where no answer came.
    pub answered: Option<u16>,
    /// The body; empty for one that was sent as a GET.
    pub body: Bytes,
}

impl fmt::Debug for Attempted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Attempted")
            .field("number", &self.number)
            .field("at", &self.at)
            .field("kind", &self.kind)
            .field("answered", &self.answered)
            .finish_non_exhaustive()
    }
}

/// Something that a person writes to us, made by a script. Its `Debug` shows neither address nor words.
#[derive(Clone)]
pub struct Letter {
    /// The channel.
    pub channel: Channel,
    /// The person's address.
    pub from: Box<str>,
    /// Our address; where it is not given, that of the newest message to this person.
    pub to: Option<Box<str>>,
    /// What is said.
    pub said: Said,
    /// The message that it answers, where the channel tells.
    pub context: Option<Box<str>>,
    /// When it was written; where it is not given, now.
    pub at: Option<Timestamp>,
}

/// What a person says.
#[derive(Clone, PartialEq, Eq)]
pub enum Said {
    /// Words.
    Text(Box<str>),
    /// A button was pressed.
    Pressed {
        /// What the button carries.
        payload: Box<str>,
        /// The words on it.
        title: Box<str>,
    },
}

impl fmt::Debug for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text(_) => "Text(…)",
            Self::Pressed { .. } => "Pressed(…)",
        })
    }
}

impl Letter {
    /// Plain words from somebody.
    pub fn text(channel: Channel, from: &str, text: &str) -> Self {
        Self { channel, from: from.into(), to: None, said: Said::Text(text.into()), context: None, at: None }
    }

    /// The press of a button.
    pub fn press(channel: Channel, from: &str, payload: &str) -> Self {
        let said = Said::Pressed { payload: payload.into(), title: "Button".into() };
        Self { channel, from: from.into(), to: None, said, context: None, at: None }
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Letter").field("channel", &self.channel).field("at", &self.at).finish_non_exhaustive()
    }
}

/// The stand-in. Clones are handles to the same one.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

struct Shared {
    webhooks: Url,
    secret: Option<Secret>,
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Tells the loop that there is something to do.
    stirred: Notify,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
}

struct State {
    world: World,
    outbox: Outbox,
    requests: VecDeque<Request>,
    request_bytes: usize,
    attempted: VecDeque<Attempted>,
    attempted_bytes: usize,
    n_attempted: u64,
}

impl State {
    fn new(world: World) -> Self {
        Self {
            world,
            outbox: Outbox::default(),
            requests: VecDeque::new(),
            request_bytes: 0,
            attempted: VecDeque::new(),
            attempted_bytes: 0,
            n_attempted: 0,
        }
    }

    /// Keeps how a webhook fared, with the same limits as requests that came.
    fn remember_delivery(&mut self, mut attempted: Attempted) {
        self.n_attempted += 1;
        attempted.number = self.n_attempted;
        self.attempted_bytes += attempted.body.len();
        self.attempted.push_back(attempted);
        while self.attempted.len() > REQUESTS_MAX || self.attempted_bytes > REQUEST_BYTES_MAX {
            let Some(oldest) = self.attempted.pop_front() else { break };
            self.attempted_bytes -= oldest.body.len();
        }
    }

    /// Plays what is due and puts the webhooks into the outbox, as far as there is room.
    fn advance(&mut self, now: Timestamp) {
        self.world.pass(now, self.outbox.room());
        self.collect(now);
    }

    fn remember(&mut self, request: Request) {
        self.request_bytes += request.body.len();
        self.requests.push_back(request);
        while self.requests.len() > REQUESTS_MAX || self.request_bytes > REQUEST_BYTES_MAX {
            let Some(oldest) = self.requests.pop_front() else { break };
            self.request_bytes -= oldest.body.len();
        }
    }

    fn collect(&mut self, now: Timestamp) {
        for webhook in self.world.take_webhooks() {
            self.outbox.put(webhook, now);
        }
    }

    /// When there is something to do, as far as waiting alone brings it.
    fn next(&self) -> Option<Timestamp> {
        let happening = self.world.next().filter(|_| self.outbox.room() > 0);
        happening.into_iter().chain(self.outbox.next()).min()
    }
}

impl Shared {
    /// The state. Nobody holds it across an await, and a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed: the loop looks, and so does everybody who waits.
    fn stir(&self) {
        self.stirred.notify_one();
        self.tell();
    }

    fn tell(&self) {
        self.changes.send_modify(|n_changes| *n_changes = n_changes.wrapping_add(1));
    }
}

impl Sandbox {
    /// A stand-in that lives in the time of `clock`. Nothing happens until it runs.
    pub fn new(options: Options, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let client = post::client().map_err(Error::Client)?;
        let world = World::new(options.people, options.faults, options.ids);
        let state = State::new(world);
        let shared = Shared {
            webhooks: options.webhooks,
            secret: options.signature_secret,
            client,
            clock,
            state: Mutex::new(state),
            stirred: Notify::new(),
            changes: watch::Sender::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Everything it answers over HTTP. Messages move only while [`Sandbox::live`] or [`Sandbox::run`] does.
    pub fn router(&self) -> Router {
        api::routes().merge(control::routes()).fallback(problem::no_such_route).with_state(self.clone())
    }

    /// Listens, plays and delivers webhooks until `stop`.
    pub async fn run(&self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let handle = axum_server::Handle::new();
        let mut server = axum_server::from_tcp(listener.into_std()?)?.http1_only().handle(handle.clone());
        server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        let playing = async {
            self.live(stop).await;
            handle.graceful_shutdown(Some(GRACE));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = server.serve(self.router().into_make_service()) => outcome,
            () = playing => Ok(()),
        }
    }

    /// Plays and delivers webhooks until `stop`, for somebody who serves [`Sandbox::router`] otherwise.
    /// Webhooks that are on their way then are broken off.
    pub async fn live(&self, stop: CancellationToken) {
        post::live(&self.shared, stop).await;
    }

    /// The messages that were sent, the newest last.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent_from(1)
    }

    /// The messages from this number on, the newest last.
    pub fn sent_from(&self, number: u64) -> Vec<Sent> {
        self.shared.state().world.sent().from(number)
    }

    /// The requests that came, refused ones too, the newest last.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.iter().cloned().collect()
    }

    /// The webhooks that were sent, from this try on, the newest last. One that is sent again counts again.
    pub fn attempted_from(&self, number: u64) -> Vec<Attempted> {
        self.shared.state().attempted.iter().filter(|attempted| attempted.number >= number).cloned().collect()
    }

    /// How many webhooks fared how.
    pub fn webhooks(&self) -> WebhookCounts {
        self.shared.state().outbox.counts()
    }

    /// Forgets all messages and requests, and calls off all that was still to happen to them.
    pub fn forget(&self) {
        let mut state = self.shared.state();
        state.world.forget();
        state.outbox.forget();
        state.requests.clear();
        state.request_bytes = 0;
        state.attempted.clear();
        state.attempted_bytes = 0;
        drop(state);
        self.shared.stir();
    }

    /// From now on these faults are played, counted from the beginning.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.state().world.faults = faults;
        self.shared.stir();
    }

    /// Waits until `look` finds something, looking again at each change. `patience` is real time.
    pub async fn until<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, Impatience> {
        let mut changes = self.shared.changes.subscribe();
        let found = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = look(self) {
                    return found;
                }
                // The sender lives as long as `self`, so this cannot fail.
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(patience, found).await.map_err(|_elapsed| Impatience(patience))
    }

    /// Waits for the message with this number, counted from 1. `patience` is real time.
    pub async fn wait_for_sent(&self, number: u64, patience: Duration) -> Result<Sent, Impatience> {
        let is_it = |sent: &Sent| sent.number == number;
        self.until(patience, |sandbox| sandbox.sent_from(number).into_iter().find(is_it)).await
    }

    /// Says by hand what becomes of a message; what would have become of it by itself is called off.
    pub fn report(&self, message_uuid: &str, status: Status) -> Result<(), UnknownMessage> {
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        let known = state.world.report(message_uuid, status, now);
        state.collect(now);
        drop(state);
        self.shared.stir();
        if known { Ok(()) } else { Err(UnknownMessage) }
    }

    /// Somebody writes to us; answers the id of what was written.
    pub fn reply(&self, letter: &Letter) -> Arc<str> {
        let words = match &letter.said {
            Said::Text(text) => Words::Text(text.clone()),
            Said::Pressed { payload, title } => {
                Words::Pressed(Button { kind: ButtonKind::Reply, payload: payload.clone(), title: title.clone() })
            }
        };
        let now = self.shared.clock.now();
        let inbound = Inbound {
            channel: letter.channel,
            from: &letter.from,
            to: letter.to.as_deref(),
            words: &words,
            context: letter.context.as_deref(),
            at: letter.at.unwrap_or(now),
        };
        let mut state = self.shared.state();
        let uuid = state.world.reply(&inbound);
        state.collect(now);
        drop(state);
        self.shared.stir();
        uuid
    }

    /// Sends any body at all as a webhook, signed like the others.
    pub fn post(&self, kind: WebhookKind, body: &Value) {
        let now = self.shared.clock.now();
        let mut state = self.shared.state();
        let line = state.world.id();
        state.world.push_webhook(Webhook { line, kind, url: None, content: Content::json(body), application: None });
        state.collect(now);
        drop(state);
        self.shared.stir();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remember(body: &Bytes, n_requests: usize) -> State {
        let world = World::new(People::default(), Faults::default(), Ids::Seeded(1));
        let mut state = State::new(world);
        for _ in 0..n_requests {
            let at = Timestamp::EPOCH;
            state.remember(Request { at, api: Api::Messages, answered: Some(202), body: body.clone() });
        }
        state
    }

    #[test]
    fn the_oldest_requests_are_forgotten_by_number_and_by_size() {
        assert_eq!(remember(&Bytes::new(), REQUESTS_MAX + 3).requests.len(), REQUESTS_MAX);
        let body = Bytes::from(vec![b' '; api::BODY_BYTES_MAX]);
        let fitting = REQUEST_BYTES_MAX / body.len();
        assert_eq!(remember(&body, fitting + 3).requests.len(), fitting);
    }
}
