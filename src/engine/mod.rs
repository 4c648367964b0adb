//! The engine runs the machine: it brings events in and carries effects out.
//!
//! Four doors (people at the API, webhooks, the clock, the answers to sends) lead into one corridor,
//! [`Engine::apply`](Engine): load the alert, step, commit, and only then perform the effects. The commit is
//! the claim: an alert that says "sending until" is sent by whoever's commit made it say so. If that process
//! dies, the moment passes and the send is made again; nothing else is needed to recover.
//!
//! The engine decides nothing about an escalation and knows neither HTTP, nor a database, nor Vonage.

mod apply;
mod courtesies;
mod handing_over;
mod keyed;
mod nodes;
mod outage;
mod perform;
mod raise;
mod receive;
mod replies;
mod second_look;
mod tasks;
mod tidying;
mod timers;
mod turns;
mod unclear;
mod vitals;
mod wake;
mod watching;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, MutexGuard, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alarm::Alarms;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::contact::Channel;
use crate::escalation::{Alert, Event, Ignored, Reach, Via};
use crate::id::{AlertId, AttemptNumber};
use crate::link::{LinkKey, Token};
use crate::metrics::{Metrics, Readings};
use crate::sender::Sender;
use crate::store::{self, Page, Store};
use crate::timestamp::Timestamp;
use crate::traces::Traces;

pub use apply::{Applied, Request};
pub use keyed::ALERTS_OF_A_KEY_MAX;
pub use raise::{NewAlert, REPEATS_WAITING_MAX, Raising};
pub use receive::Received;
pub use turns::IN_FLIGHT_MAX;
pub use vitals::{Room, Vitals};
pub use watching::{ASIDE_MAX, READY_KEPT, Stuck};

use courtesies::Courtesies;
use handing_over::OwnSends;
use outage::Ways;
use perform::Recording;
use raise::Repeats;
use second_look::SecondLooks;
use timers::Timers;
use turns::Turns;
use watching::Watch;

/// How many alerts are woken at the same time, so that their commits can share one.
const WAKING_MAX: usize = 512;
/// How many changes a slow listener may fall behind before it must look for itself.
const CHANGES_KEPT: usize = 4_096;
/// Alerts are kept apart by this many locks, so that two rarely wait for each other by accident.
const TURNSTILES: usize = 4_096;
/// How long a stop waits for the sends that are on their way.
pub const DRAIN_MAX: Duration = Duration::from_secs(14);
/// How long an idempotency key is remembered (contract, section 4).
pub const IDEMPOTENCY_KEPT: Duration = Duration::from_hours(24);
/// How long a webhook waits for the attempt that it belongs to.
pub const PARKED_KEPT: Duration = Duration::from_hours(1);

/// Runs the machine. Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    sender: Arc<dyn Sender>,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    metrics: Arc<Metrics>,
    alarms: Arc<Alarms>,
    traces: Traces,
    link_key: LinkKey,
    settings: ArcSwap<Settings>,
    turnstiles: Vec<Mutex<()>>,
    newest_id: std::sync::Mutex<AlertId>,
    timers: Timers,
    turns: Arc<Turns>,
    outage: Ways,
    own_sends: OwnSends,
    courtesies: Courtesies,
    waking: Arc<Semaphore>,
    changes: broadcast::Sender<AlertId>,
    recording: Recording,
    second_looks: SecondLooks,
    repeats: Repeats,
    watch: Watch,
    /// How many other nodes work on the store.
    n_others: AtomicUsize,
    tracker: TaskTracker,
    /// Nothing new begins any more.
    stop: CancellationToken,
    /// Everything ends where it stands.
    end: CancellationToken,
}

/// What an engine is made of.
pub struct Parts {
    /// Where alerts are kept.
    pub store: Arc<dyn Store>,
    /// Who carries messages.
    pub sender: Arc<dyn Sender>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bits.
    pub chance: Arc<dyn Chance>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where the people who run callout are told.
    pub alarms: Arc<Alarms>,
    /// Who is told what was done and how long it took.
    pub traces: Traces,
    /// A secret that is not kept in the store; acknowledge links need it and one that is.
    pub link_secret: [u8; 32],
    /// What can be changed while the engine runs.
    pub settings: Settings,
}

impl fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Parts").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What can be changed while the engine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How many sends may begin in a second; zero means no limit.
    pub max_per_second: u32,
    /// Where the service is reached from outside, without a slash at the end; none means no links.
    pub public_url: Option<Box<str>>,
    /// How long settled alerts are kept, [`IDEMPOTENCY_KEPT`] at least; for ever if it is not set.
    pub retention: Option<Duration>,
}

/// Why the engine could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No alert has this id.
    #[error("there is no such alert")]
    NoSuchAlert,
    /// The alert's status does not allow it.
    #[error("the alert's status does not allow it")]
    Impossible(Ignored),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Others changed the alert again and again; trying again will help.
    #[error("the alert is being changed by too many at once")]
    Contended,
    /// The engine has stopped; whether the wish was granted shows after the next start.
    #[error("the service has stopped")]
    Stopped,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Engine").field("n_waiting", &self.0.turns.n_waiting()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Takes up where the store left off, and begins to work.
    pub async fn start(parts: Parts) -> Result<Self, Error> {
        let Parts { store, sender, clock, chance, metrics, alarms, traces, link_secret, settings } = parts;
        let mut proposed = [0; 32];
        chance.fill(&mut proposed);
        let link_key = LinkKey::new(&store.secret("acknowledge-links", proposed).await?, &link_secret);
        let engine = Self(Arc::new(Shared {
            store,
            sender,
            clock,
            chance,
            metrics,
            alarms,
            traces,
            link_key,
            newest_id: std::sync::Mutex::new(AlertId::from_bits(0)),
            turnstiles: std::iter::repeat_with(|| Mutex::new(())).take(TURNSTILES).collect(),
            timers: Timers::default(),
            turns: Turns::new(settings.max_per_second),
            settings: ArcSwap::from_pointee(settings),
            outage: Ways::default(),
            own_sends: OwnSends::default(),
            courtesies: Courtesies::new(),
            waking: Arc::new(Semaphore::new(WAKING_MAX)),
            changes: broadcast::channel(CHANGES_KEPT).0,
            recording: Recording::default(),
            second_looks: SecondLooks::default(),
            repeats: Repeats::default(),
            watch: Watch::default(),
            n_others: AtomicUsize::new(0),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            end: CancellationToken::new(),
        }));
        engine.take_up().await?;
        engine.begin_loops();
        Ok(engine)
    }

    /// Takes new settings; they count for sends from now on.
    pub fn set(&self, settings: Settings) {
        self.0.settings.store(Arc::new(settings));
        self.set_pace();
    }

    /// Nodes that share a store share the rate, each as much as the others.
    fn set_pace(&self) {
        let n_nodes = u32::try_from(self.0.n_others.load(Ordering::Relaxed).saturating_add(1)).unwrap_or(u32::MAX);
        self.0.turns.set_max_per_second(match self.0.settings.load().max_per_second {
            0 => 0,
            for_all => (for_all / n_nodes).max(1),
        });
    }

    /// The alert as it stands.
    pub async fn alert(&self, id: AlertId) -> Result<Arc<Alert>, Error> {
        match self.0.store.get(id).await? {
            Some(stored) => Ok(stored.alert),
            None => Err(Error::NoSuchAlert),
        }
    }

    /// The alert, where it is there and can be understood: of several that something may be meant for, one that the disk
    /// damaged must not stand before the others.
    pub(super) async fn legible(&self, id: AlertId) -> Result<Option<Arc<Alert>>, Error> {
        match self.alert(id).await {
            Ok(alert) => Ok(Some(alert)),
            Err(Error::NoSuchAlert) => Ok(None),
            Err(error @ Error::Store(store::Error::Corrupt { .. })) => {
                self.could_not(id, &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Alerts, newest first.
    pub async fn list(&self, page: &Page) -> Result<Vec<Arc<Alert>>, Error> {
        Ok(self.0.store.list(page).await?)
    }

    /// The alert and attempt that an acknowledge token belongs to.
    pub async fn opened_by(&self, token: &Token) -> Result<Arc<Alert>, Error> {
        let id = self.0.store.find_number(token.number).await?.ok_or(Error::NoSuchAlert)?;
        let alert = self.alert(id).await?;
        let is_sent = alert.attempt(token.attempt).is_some_and(|attempt| attempt.tries > 0);
        if is_sent && self.0.link_key.opens(token, id) { Ok(alert) } else { Err(Error::NoSuchAlert) }
    }

    /// Somebody says that the alert is seen. Saying so again is harmless.
    pub async fn acknowledge(
        &self,
        id: AlertId,
        by: &str,
        via: Via,
        channel: Option<Channel>,
    ) -> Result<Arc<Alert>, Error> {
        let event = Event::Acknowledge { by: by.into(), via, channel };
        self.apply_to_the_end(id, event, None).await?.or_harmless(Ignored::AlreadyAcknowledged)
    }

    /// The problem itself is over. Saying so again is harmless.
    pub async fn resolve(&self, id: AlertId, by: &str) -> Result<Arc<Alert>, Error> {
        let event = Event::Resolve { by: by.into() };
        self.apply_to_the_end(id, event, None).await?.or_harmless(Ignored::AlreadyResolved)
    }

    /// Goes to the next user now; does nothing when `attempt` is given and is no longer current.
    pub async fn escalate(
        &self,
        id: AlertId,
        by: &str,
        attempt: Option<AttemptNumber>,
        request: Option<&Request>,
    ) -> Result<Arc<Alert>, Error> {
        let event = Event::NextUser { by: by.into(), attempt };
        self.apply_to_the_end(id, event, request.cloned()).await?.or_harmless(Ignored::OldAttempt)
    }

    /// A named secret of the installation, the same for every process on the store; made when it is first asked for.
    pub async fn secret(&self, name: &str) -> Result<[u8; 32], Error> {
        let mut proposed = [0; 32];
        self.0.chance.fill(&mut proposed);
        Ok(self.0.store.secret(name, proposed).await?)
    }

    /// Tells of each alert that changes. Whoever falls behind is told so and must look for itself.
    pub fn changes(&self) -> broadcast::Receiver<AlertId> {
        self.0.changes.subscribe()
    }

    /// The moment now, by the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Where the people who run callout are told of what they must know.
    pub fn alarms(&self) -> &Arc<Alarms> {
        &self.0.alarms
    }

    /// Who is told what was done and how long it took.
    pub fn traces(&self) -> &Traces {
        &self.0.traces
    }

    /// The engine's clock.
    pub fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    /// What is counted, with the figures that are read off brought up to date.
    pub fn metrics(&self) -> &Metrics {
        let shared = &self.0;
        shared.metrics.observe(Readings {
            waiting: shared.turns.n_waiting(),
            armed: shared.timers.n_armed(),
            failing: shared.outage.n_failing(),
            way: match shared.outage.vonage() {
                Reach::Open => "open",
                Reach::Doubtful => "doubtful",
                Reach::Blocked => "blocked",
            },
        });
        shared.metrics.quarantined(shared.watch.n_quarantined());
        &shared.metrics
    }

    /// Stops beginning anything new, waits for the sends that are on their way, and closes the store.
    /// What could not be finished is taken up by the next start.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tracker.close();
        let limit = self.now().plus(DRAIN_MAX);
        tokio::select! {
            biased;
            () = self.0.tracker.wait() => {}
            () = self.0.clock.sleep_until(limit) => {
                tracing::warn!("some sends did not end in time; they are made again after the next start");
            }
        }
        self.abandon();
        self.0.store.close().await;
    }

    /// Drops all work where it stands, as the end of the process would. What was begun is taken up by
    /// the next engine that starts on the store.
    pub fn abandon(&self) {
        self.0.stop.cancel();
        self.0.end.cancel();
    }

    /// Lets one at a time work on an alert in this process. Others' alerts rarely share the lock.
    async fn turnstile(&self, id: AlertId) -> Option<MutexGuard<'_, ()>> {
        let index = u128::try_from(TURNSTILES).ok().and_then(|n_locks| usize::try_from(id.to_bits() % n_locks).ok());
        match self.0.turnstiles.get(index?) {
            Some(turnstile) => Some(turnstile.lock().await),
            None => None,
        }
    }
}
