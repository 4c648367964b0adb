//! Delivering callbacks: each endpoint by a loop of its own, so that a slow one holds up no other and none holds
//! up an escalation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::alarm::{Alarm, Alarms, Told};
use crate::callback::{self, EndpointId, NewDelivery, Subscriptions, Topic};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::id::AlertId;
use crate::metrics::Metrics;
use crate::store::{self, DELIVERIES_MAX, Delivery, DeliveryPage, Settled, Store, Which};
use crate::target::Allowed;
use crate::timestamp::Timestamp;

use super::alarms::AlarmMail;
use super::names::Names;
use super::post::{CALLBACK_TIMEOUT, Line, Tried};
use super::signature::SigningKey;

/// How long a callback waits after each failed try; after the last it is given up (Standard Webhooks' own example).
pub const CALLBACK_WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];
/// The longest `Retry-After` of an endpoint that is honoured.
pub const CALLBACK_RETRY_AFTER_MAX: Duration = Duration::from_hours(24);
/// Callbacks on their way to one endpoint at one moment.
pub const CALLBACKS_IN_FLIGHT_MAX: usize = 8;
/// How long callbacks are kept, waiting, given up or of an endpoint that is configured no longer.
pub const DELIVERIES_KEPT: Duration = Duration::from_hours(720);
/// After a failure an endpoint is left alone for so long, whatever waits for it.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long changes gather before the outbox is looked at for them.
const GATHER: Duration = Duration::from_millis(50);
/// How often the outbox is looked at even if nobody says that something is there.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How often what is too old is forgotten, and how much of it at a time.
const FORGET_EVERY: Duration = Duration::from_mins(10);
const FORGET_PAGE: usize = 500;
/// How often, and after how long each time, what came of a try is written down if the store refuses.
const SETTLE_TRIES_MAX: usize = 10;
const SETTLE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a delivery belongs to the node that took it: longer than a try can take.
const LEASE: Duration = Duration::from_secs(30);
const _: () = assert!(LEASE.as_secs() >= CALLBACK_TIMEOUT.as_secs() * 2, "a try and writing down what came of it");

/// An endpoint as the configuration has it.
#[derive(Debug)]
pub struct Endpoint {
    /// Where callbacks go.
    pub url: Url,
    /// What they are signed with.
    pub keys: Vec<SigningKey>,
    /// What it wants to hear of.
    pub topics: Vec<Topic>,
    /// What it may lead to although it is not the world outside.
    pub allowed: Allowed,
}

impl Endpoint {
    /// What people are shown of it: the host, since the rest of a URL may hold a token.
    fn shown(&self) -> String {
        format!("{}://{}", self.url.scheme(), self.url.host_str().unwrap_or_default())
    }

    fn id(&self) -> EndpointId {
        EndpointId::of(self.url.as_str())
    }
}

/// What delivering needs.
pub struct CallbackParts {
    /// Where callbacks wait.
    pub store: Arc<dyn Store>,
    /// The time that waits are measured by.
    pub clock: Arc<dyn Clock>,
    /// The time of the world outside, by which receivers judge how old a callback is.
    pub wall_clock: fn() -> Timestamp,
    /// Random bits, for the jitter.
    pub chance: Arc<dyn Chance>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where the people who run callout are told.
    pub alarms: Arc<Alarms>,
    /// From names to addresses.
    pub names: Arc<dyn Names>,
    /// Says that an alert has changed.
    pub changes: broadcast::Receiver<AlertId>,
}

impl std::fmt::Debug for CallbackParts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CallbackParts").finish_non_exhaustive()
    }
}

/// Delivers callbacks until it is stopped.
#[derive(Debug)]
pub struct Callbacks {
    shared: Arc<Shared>,
    generation: Mutex<CancellationToken>,
    shown: ArcSwap<BTreeMap<EndpointId, String>>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    wall_clock: fn() -> Timestamp,
    chance: Arc<dyn Chance>,
    metrics: Arc<Metrics>,
    alarms: Arc<Alarms>,
    names: Arc<dyn Names>,
    changes: broadcast::Receiver<AlertId>,
    /// Counts up when there may be something to deliver that no change of an alert tells of.
    look: watch::Sender<u64>,
    subscriptions: ArcSwap<Subscriptions>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("subscriptions", &self.subscriptions).finish_non_exhaustive()
    }
}

/// Why callbacks cannot be delivered.
#[derive(Debug, thiserror::Error)]
pub enum CallbackError {
    /// The HTTP client cannot be set up, for example because the system has no usable certificates.
    #[error("the HTTP client for callbacks cannot be set up")]
    Client(#[source] reqwest::Error),
    /// The store keeps no callbacks.
    #[error("this store cannot keep callbacks")]
    NoOutbox,
}

impl Callbacks {
    /// Begins to deliver to these endpoints.
    pub fn start(
        parts: CallbackParts,
        endpoints: Vec<Endpoint>,
        public_url: Option<Box<str>>,
    ) -> Result<Self, CallbackError> {
        let CallbackParts { store, clock, wall_clock, chance, metrics, alarms, names, changes } = parts;
        let told = alarms.listen();
        let look = watch::channel(0).0;
        let subscriptions = ArcSwap::default();
        let shared = Shared { store, clock, wall_clock, chance, metrics, alarms, names, changes, look, subscriptions };
        let callbacks = Self {
            shared: Arc::new(shared),
            generation: Mutex::default(),
            shown: ArcSwap::default(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        callbacks.set(endpoints, public_url)?;
        if callbacks.shared.store.outbox().is_some() {
            callbacks.spawn(Arc::clone(&callbacks.shared).tell_of_alarms(told));
            callbacks.spawn(Arc::clone(&callbacks.shared).forget());
        }
        Ok(callbacks)
    }

    /// Delivers to these endpoints from now on. What is on its way comes to its end; an endpoint that said it is
    /// gone gets another chance.
    pub fn set(&self, endpoints: Vec<Endpoint>, public_url: Option<Box<str>>) -> Result<(), CallbackError> {
        let subscribed = endpoints.iter().map(|endpoint| (endpoint.id(), endpoint.topics.clone())).collect();
        let subscriptions = Arc::new(Subscriptions { endpoints: subscribed, public_url });
        let lines = endpoints.into_iter().map(|endpoint| Addressee::new(endpoint, &self.shared.names));
        let lines: Vec<Addressee> = lines.collect::<Result<_, _>>().map_err(CallbackError::Client)?;
        match self.shared.store.outbox() {
            Some(outbox) => outbox.subscribe(Arc::clone(&subscriptions)),
            None if lines.is_empty() => {}
            None => return Err(CallbackError::NoOutbox),
        }
        self.shared.subscriptions.store(subscriptions);
        self.shown.store(Arc::new(lines.iter().map(|line| (line.id, line.shown.clone())).collect()));
        let generation = self.stop.child_token();
        let before =
            std::mem::replace(&mut *self.generation.lock().unwrap_or_else(PoisonError::into_inner), generation.clone());
        before.cancel();
        for line in lines {
            let shared = Arc::clone(&self.shared);
            let generation = generation.clone();
            drop(self.tracker.spawn(async move { shared.deliver(Arc::new(line), generation).await }));
        }
        Ok(())
    }

    /// Mails alarms for as long as callbacks are delivered.
    pub fn accompany(&self, mail: Arc<AlarmMail>) {
        let told = self.shared.alarms.listen();
        self.spawn(async move { mail.carry(told).await });
    }

    /// Deliveries that are kept, the newest first.
    pub async fn deliveries(&self, page: DeliveryPage) -> Result<Vec<Delivery>, store::Error> {
        match self.shared.store.outbox() {
            Some(outbox) => outbox.deliveries(page).await,
            None => Ok(Vec::new()),
        }
    }

    /// Lets deliveries that were given up be tried again, beginning now. Returns how many.
    pub async fn replay(&self, which: Which) -> Result<usize, store::Error> {
        let Some(outbox) = self.shared.store.outbox() else { return Ok(0) };
        let n_replayed = outbox.replay(which, self.shared.clock.now()).await?;
        self.shared.look_again();
        Ok(n_replayed)
    }

    /// What people are shown of an endpoint: its host, or its id if it is configured no longer.
    pub fn shown(&self, endpoint: EndpointId) -> String {
        let shown = self.shown.load();
        shown.get(&endpoint).cloned().unwrap_or_else(|| format!("{endpoint} (not configured)"))
    }

    /// Looks at once whether something waits, for example after a replay.
    pub fn look(&self) {
        self.shared.look_again();
    }

    /// Begins nothing more, and waits for what is on its way.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        drop(self.tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        }));
    }
}

/// An endpoint with the way to it.
#[derive(Debug)]
struct Addressee {
    id: EndpointId,
    shown: String,
    line: Line,
}

impl Addressee {
    fn new(endpoint: Endpoint, names: &Arc<dyn Names>) -> Result<Self, reqwest::Error> {
        let (id, shown) = (endpoint.id(), endpoint.shown());
        let line = Line::new(endpoint.url, endpoint.keys, endpoint.allowed, Arc::clone(names))?;
        Ok(Self { id, shown, line })
    }
}

/// What an endpoint's loop remembers.
#[derive(Debug, Default)]
struct Round {
    in_flight: BTreeSet<u64>,
    rest_until: Option<Timestamp>,
    is_gone: bool,
}

impl Round {
    fn free_places(&self, now: Timestamp) -> usize {
        let rests = self.is_gone || self.rest_until.is_some_and(|until| now < until);
        if rests { 0 } else { CALLBACKS_IN_FLIGHT_MAX.saturating_sub(self.in_flight.len()) }
    }
}

/// What a try means for the endpoint's loop.
#[derive(Clone, Copy, Debug)]
struct Done {
    place: u64,
    rest: Option<Duration>,
    is_gone: bool,
}

impl Shared {
    fn look_again(&self) {
        self.look.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The loop of one endpoint.
    async fn deliver(self: Arc<Self>, addressee: Arc<Addressee>, cancel: CancellationToken) {
        let mut changes = self.changes.resubscribe();
        let mut look = self.look.subscribe();
        let mut tries: JoinSet<Done> = JoinSet::new();
        let mut round = Round::default();
        loop {
            let next_look = self.begin_what_is_due(&addressee, &mut round, &mut tries).await;
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(done) = tries.join_next(), if !tries.is_empty() => self.note(done.ok(), &mut round, &addressee),
                change = changes.recv() => {
                    match change {
                        Ok(_) | Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => break,
                    }
                    self.clock.sleep_until(self.clock.now().plus(GATHER)).await;
                    changes = self.changes.resubscribe();
                }
                _ = look.changed() => {}
                () = self.clock.sleep_until(next_look) => {}
            }
        }
        while tries.join_next().await.is_some() {}
    }

    /// Returns when to look again.
    async fn begin_what_is_due(
        self: &Arc<Self>,
        addressee: &Arc<Addressee>,
        round: &mut Round,
        tries: &mut JoinSet<Done>,
    ) -> Timestamp {
        let now = self.clock.now();
        let mut next_look = now.plus(LOOK_EVERY);
        next_look = round.rest_until.filter(|until| now < *until).map_or(next_look, |until| until.min(next_look));
        let n_free = round.free_places(now);
        let Some(outbox) = self.store.outbox().filter(|_| n_free > 0) else { return next_look };
        let due = match outbox.take(addressee.id, now, now.plus(LEASE), &round.in_flight, n_free).await {
            Ok(due) => due,
            Err(error) => {
                tracing::debug!(%error, "callbacks cannot be read now; looking again");
                return now.plus(REST_AFTER_FAILURE);
            }
        };
        for delivery in due {
            round.in_flight.insert(delivery.place);
            let (shared, addressee) = (Arc::clone(self), Arc::clone(addressee));
            tries.spawn(async move { shared.try_once(&addressee, &delivery).await });
        }
        match outbox.next_due(addressee.id, now).await {
            Ok(Some(due_at)) => next_look.min(due_at),
            Ok(None) | Err(_) => next_look,
        }
    }

    fn note(&self, done: Option<Done>, round: &mut Round, addressee: &Addressee) {
        let Some(done) = done else {
            // A defect stopped a try; nobody knows which, and whatever waits is looked at anew.
            round.in_flight.clear();
            round.rest_until = Some(self.clock.now().plus(REST_AFTER_FAILURE));
            return;
        };
        round.in_flight.remove(&done.place);
        if let Some(rest) = done.rest {
            round.rest_until = Some(self.clock.now().plus(rest));
        }
        if done.is_gone && !round.is_gone {
            round.is_gone = true;
            tracing::error!(
                endpoint = addressee.shown,
                "an endpoint of callbacks answered 410 Gone and gets nothing more until a reload; mend the receiver or take it out of `callbacks`"
            );
            self.alarms.raise(Alarm::EndpointGone, None, self.clock.now());
        }
    }

    async fn try_once(&self, addressee: &Addressee, delivery: &Delivery) -> Done {
        let tried = addressee.line.post(delivery, (self.wall_clock)()).await;
        let now = self.clock.now();
        let mut done = Done { place: delivery.place, rest: None, is_gone: false };
        let settled = match tried {
            Tried::Delivered => Settled::Delivered,
            Tried::Gone => {
                done.is_gone = true;
                Settled::Later { due_at: now.plus(REST_AFTER_FAILURE), failure: "HTTP 410".into() }
            }
            Tried::Failed { failure, retry_after } => {
                let asked = retry_after.unwrap_or_default().min(CALLBACK_RETRY_AFTER_MAX);
                done.rest = Some(asked.max(REST_AFTER_FAILURE));
                self.later(delivery, failure, asked, now)
            }
        };
        self.tell(addressee, delivery, &settled, now);
        self.settle(delivery, settled).await;
        done
    }

    fn later(&self, delivery: &Delivery, failure: Box<str>, asked: Duration, now: Timestamp) -> Settled {
        let wait = usize::try_from(delivery.tries).ok().and_then(|n_tries| CALLBACK_WAITS.get(n_tries));
        let Some(wait) = wait else { return Settled::Dead { failure } };
        let mut random = [0; 2];
        self.chance.fill(&mut random);
        // Between nine and eleven tenths, so that what failed together does not come back together.
        let wait = wait.saturating_mul(900 + u32::from(u16::from_le_bytes(random) % 201)) / 1000;
        Settled::Later { due_at: now.plus(wait.max(asked)), failure }
    }

    fn tell(&self, addressee: &Addressee, delivery: &Delivery, settled: &Settled, now: Timestamp) {
        let topic = delivery.topic.name();
        match settled {
            Settled::Delivered => self.metrics.callback(topic, "delivered"),
            Settled::Later { due_at, failure } => {
                self.metrics.callback(topic, "failed");
                tracing::warn!(alert.id = delivery.alert.map(tracing::field::display), endpoint = addressee.shown, event = &*delivery.event, %failure, next_try = %due_at, "a callback failed; it is tried again");
            }
            Settled::Dead { failure } => {
                self.metrics.callback(topic, "dead");
                tracing::error!(alert.id = delivery.alert.map(tracing::field::display), endpoint = addressee.shown, event = &*delivery.event, %failure, "a callback was given up; mend the receiver, then use `callout deliveries replay {}`", delivery.place);
                // An alarm about an alarm that cannot be told would go the same way.
                if delivery.topic != Topic::Alarm {
                    self.alarms.raise(Alarm::DeliveryDead, None, now);
                }
            }
        }
    }

    /// Writes down what came of a try. If the store cannot do it for long, the callback is made once more.
    async fn settle(&self, delivery: &Delivery, settled: Settled) {
        let Some(outbox) = self.store.outbox() else { return };
        for _ in 0..SETTLE_TRIES_MAX {
            match outbox.settle(delivery, settled.clone()).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "what came of a callback cannot be written down yet"),
            }
            self.clock.sleep_until(self.clock.now().plus(SETTLE_AGAIN_AFTER)).await;
        }
    }

    /// Puts alarms among the callbacks.
    async fn tell_of_alarms(self: Arc<Self>, mut told: broadcast::Receiver<Told>) {
        loop {
            let told = match told.recv().await {
                Ok(told) => told,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let subscriptions = self.subscriptions.load();
            let deliveries = self.of_alarm(&subscriptions, told);
            if let Some(outbox) = self.store.outbox().filter(|_| !deliveries.is_empty()) {
                match outbox.keep(deliveries).await {
                    Ok(()) => self.look_again(),
                    Err(error) => {
                        tracing::warn!(alarm = told.alarm.name(), %error, "an alarm could not be kept for callbacks");
                    }
                }
            }
        }
    }

    fn of_alarm(&self, subscriptions: &Subscriptions, told: Told) -> Vec<NewDelivery> {
        let mut random = [0; 16];
        self.chance.fill(&mut random);
        let event: Arc<str> = format!("alm_{:032x}", u128::from_le_bytes(random)).into();
        let names = (told.alarm.name(), told.phase.name());
        let words = (told.alarm.sentence(), told.alarm.advice());
        let body: Arc<str> = callback::alarm_body(subscriptions, names, words, told.alert, told.at).into();
        let wanting = subscriptions.wanting(Topic::Alarm);
        wanting
            .map(|endpoint| NewDelivery {
                endpoint,
                alert: told.alert,
                topic: Topic::Alarm,
                event: Arc::clone(&event),
                at: told.at,
                body: Arc::clone(&body),
            })
            .collect()
    }

    /// Forgets what is too old, or too much.
    async fn forget(self: Arc<Self>) {
        loop {
            let now = self.clock.now();
            let kept = i64::try_from(DELIVERIES_KEPT.as_millis()).unwrap_or(i64::MAX);
            let before = Timestamp::from_millis(now.as_millis().saturating_sub(kept));
            let mut n_forgotten = 0;
            while let Some(outbox) = self.store.outbox() {
                match outbox.forget_deliveries(before, DELIVERIES_MAX, FORGET_PAGE).await {
                    Ok(n_gone) => n_forgotten += n_gone,
                    Err(_later) => break,
                }
                if n_forgotten == 0 || n_forgotten % FORGET_PAGE != 0 {
                    break;
                }
            }
            if n_forgotten > 0 {
                tracing::error!(
                    n_forgotten,
                    "callbacks were forgotten undelivered: they were older than 30 days, or too many waited"
                );
            }
            self.clock.sleep_until(now.plus(FORGET_EVERY)).await;
        }
    }
}
