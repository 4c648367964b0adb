//! Where alerts are kept.
//!
//! A store decides nothing. It keeps each alert under a version and replaces it only for whoever has
//! seen the newest one, finds alerts by the few keys below, and answers only when what it was asked to
//! keep is as durable as it can make it. All stores pass the same contract suite (`tests/it/stores.rs`).

mod columns;
mod findable;
mod memory;
mod moving;
mod outbox;
mod postgres;
mod queue;
pub mod record;
mod sqlite;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::{Clock, SharedClock, Timeline};
use crate::contact::{Address, Channel};
use crate::escalation::Alert;
use crate::id::{AlertId, AlertNumber, AttemptRef, ProviderId};
use crate::incoming::Incoming;
use crate::metrics::StoreMeter;
use crate::timestamp::Timestamp;

pub use memory::MemoryStore;
pub use moving::{MoveError, Moved, move_to_postgres};
pub use outbox::{DELIVERIES_MAX, Delivery, DeliveryPage, Outbox, Settled, Which};
pub use postgres::{PostgresError, PostgresStore};
pub use sqlite::{Holding, OpenError, Restored, SqliteStore, copy_closed, look_through_copy, restore};

/// Keeps alerts.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// A number that no alert of this store has had.
    async fn next_number(&self) -> Result<AlertNumber, Error>;

    /// Keeps a new alert, unless its dedup key belongs to an alert that is escalating or
    /// acknowledged, or the claimed idempotency key has been used. All three are judged and kept in
    /// one step, however many callers race.
    async fn insert(&self, alert: Arc<Alert>, claim: Option<Claim>) -> Result<Insert, Error>;

    /// Replaces an alert that has not changed since `seen` was read, unless the claimed idempotency
    /// key has been used. Keeps, in the same step, by which messages and addresses it is found.
    async fn update(&self, seen: &Stored, next: Arc<Alert>, claim: Option<Claim>) -> Result<Update, Error>;

    /// The alert with its version.
    async fn get(&self, id: AlertId) -> Result<Option<Stored>, Error>;

    /// What an idempotency key was used for, if it was.
    async fn claimed(&self, key: &ClaimKey) -> Result<Option<Replay>, Error>;

    /// Alerts with a wake-up, ordered by the alert's id, beginning after `after`.
    async fn armed(&self, after: Option<AlertId>, limit: usize) -> Result<Vec<Armed>, Error>;

    /// As [`Store::armed`], those only whose wake-up is before `before`.
    async fn overdue(&self, before: Timestamp, after: Option<AlertId>, limit: usize) -> Result<Vec<Armed>, Error> {
        let mut overdue = Vec::new();
        let mut after = after;
        loop {
            let page = self.armed(after, OVERDUE_PAGE).await?;
            let Some(last) = page.last() else { return Ok(overdue) };
            after = Some(last.id);
            let room = limit.saturating_sub(overdue.len());
            overdue.extend(page.into_iter().filter(|armed| armed.wake_at < before).take(room));
            if overdue.len() >= limit {
                return Ok(overdue);
            }
        }
    }

    /// Escalating alerts without a wake-up, which nobody would work on ever again. Nothing in callout writes such a one, so
    /// that whoever finds one has found a defect; a store in which none can be has none.
    async fn unarmed(&self, _limit: usize) -> Result<Vec<AlertId>, Error> {
        Ok(Vec::new())
    }

    /// Escalating alerts whose latest send failed, newest first, beginning with those older than `before`.
    async fn failing(&self, before: Option<AlertId>, limit: usize) -> Result<Vec<AlertId>, Error>;

    /// Alerts newest first. One that cannot be understood is logged and left out, so that it hides no other.
    async fn list(&self, page: &Page) -> Result<Vec<Arc<Alert>>, Error>;

    /// The attempt that sent a message or workflow.
    async fn find_message(&self, id: &ProviderId) -> Result<Option<AttemptRef>, Error>;

    /// The alert with this number.
    async fn find_number(&self, number: AlertNumber) -> Result<Option<AlertId>, Error>;

    /// The greatest number given to an alert so far; zero before the first.
    async fn newest_number(&self) -> Result<AlertNumber, Error>;

    /// Alerts that have messaged this address on this channel and have one of these statuses, newest
    /// first. Resolved alerts are not found, whatever is asked for.
    async fn find_address(
        &self,
        channel: Channel,
        address: &Address,
        statuses: &[StatusFilter],
        limit: usize,
    ) -> Result<Vec<AlertId>, Error>;

    /// Alerts with this dedup key that are not resolved, newest first: the one that posting the same problem
    /// again would find, and those that are exhausted.
    async fn find_key(&self, key: &str, limit: usize) -> Result<Vec<AlertId>, Error>;

    /// Takes the dedup key from the open alert that holds it, which is not found by it from then on: what that alert says
    /// cannot be understood, and posting the same problem again must raise one that can. Of one that does not hold the
    /// key, nothing changes.
    async fn release_key(&self, key: &str, held_by: AlertId) -> Result<(), Error>;

    /// Keeps a webhook that no attempt is known for yet, under the id by which it may be found later.
    /// The oldest are forgotten beyond [`PARKED_MAX`].
    async fn park(&self, id: &ProviderId, incoming: &Incoming, now: Timestamp) -> Result<(), Error>;

    /// The webhooks kept under an id, oldest first.
    async fn parked(&self, id: &ProviderId) -> Result<Vec<Incoming>, Error>;

    /// Ids with webhooks kept under them although the attempt is known by now: whoever was to apply them
    /// was lost before it could.
    async fn parked_and_known(&self, limit: usize) -> Result<Vec<ProviderId>, Error>;

    /// Forgets the webhooks kept under an id.
    async fn unpark(&self, id: &ProviderId) -> Result<(), Error>;

    /// Forgets what has served its time: idempotency keys given before `keys_before`, parked webhooks
    /// kept before `parked_before`. At most `limit` of each, so that nothing waits long for it.
    /// Returns how many were forgotten.
    async fn tidy(&self, keys_before: Timestamp, parked_before: Timestamp, limit: usize) -> Result<usize, Error>;

    /// Forgets alerts that are acknowledged, exhausted or resolved and have not changed since
    /// `settled_before`, those unchanged for longest first, at most `limit` of them, with their messages
    /// and the addresses that they are found by. Returns how many were forgotten. An alert that escalates
    /// is never forgotten, whatever its age.
    ///
    /// `settled_before` is further back than idempotency keys are kept ([`Store::tidy`]), so that no key
    /// outlives its alert.
    async fn forget(&self, settled_before: Timestamp, limit: usize) -> Result<usize, Error>;

    /// Forgets the frozen plans that no alert has any more. Returns how many.
    async fn forget_plans(&self) -> Result<usize, Error>;

    /// Keeps a named secret of the installation, unless one is kept already; returns the one that is.
    async fn secret(&self, name: &str, proposed: [u8; 32]) -> Result<[u8; 32], Error>;

    /// What this store counts while it works, if it does.
    fn meter(&self) -> Option<&StoreMeter> {
        None
    }

    /// Proves that something can be kept, by keeping something.
    async fn probe(&self, now: Timestamp) -> Result<(), Error>;

    /// On which timeline a process goes on that has the store to itself, if `own` is what its clock says: see
    /// [`Timeline::or_kept`]. What is answered is kept for the next one. Asked once, before anything is kept by it.
    async fn go_on(&self, own: Timeline) -> Result<Timeline, Error> {
        Ok(own)
    }

    /// Where callbacks wait until they are delivered; none if this store keeps none.
    fn outbox(&self) -> Option<&dyn Outbox> {
        None
    }

    /// Looks after the room that there is to keep things in, and says how much it is, where that can be told.
    /// Called every few seconds.
    async fn tend(&self) -> Result<Option<Disk>, Error> {
        Ok(None)
    }

    /// Writes a copy of everything to a file, while others read and write. The copy has been looked through
    /// and is on the disk when this returns; otherwise there is no such file.
    async fn copy_to(&self, _to: &Path) -> Result<(), CopyError> {
        Err(CopyError::Unsupported)
    }

    /// Returns when the store has failed for good: nothing can be promised any more before a new start.
    async fn failed(&self) {
        std::future::pending::<()>().await;
    }

    /// Writes out what is waiting and lets go of files and connections.
    async fn close(&self);

    /// Whether this process alone uses the store, so that a send that was begun and is not being
    /// done by this process is not being done by anybody.
    fn is_sole_owner(&self) -> bool;

    /// Whether what it keeps outlives the process.
    fn is_durable(&self) -> bool;

    /// What nobody has seen to although it was due, in the order of the wake-ups. Asked only where several
    /// processes use the store; the others have nothing of the kind.
    async fn left_behind(&self, _looking: &LeftBehind) -> Result<Vec<Armed>, Error> {
        Ok(Vec::new())
    }

    /// Tells the other processes that use the store that this one is there and when something of it was last
    /// accepted by Vonage, and hears the same of them.
    async fn meet_others(&self, _accepted_at: Option<Timestamp>) -> Result<Others, Error> {
        Ok(Others::default())
    }

    /// Where the changes of other processes begin that come from now on, for [`Store::news`].
    async fn newest_news(&self) -> Result<u64, Error> {
        Ok(0)
    }

    /// What other processes that use the store have changed, each group with its place. A group may turn up
    /// some seconds after one with a greater place.
    async fn news(&self, _after: u64, _limit: usize) -> Result<Vec<(u64, Vec<AlertId>)>, Error> {
        Ok(Vec::new())
    }
}

/// The clock of a process that has a store to itself: its own, set so that what waits in the store keeps the time
/// that it had left, however the wall clock was stepped since the process before read it.
pub async fn clock_of(store: &dyn Store, own: Arc<dyn Clock>) -> Result<Arc<dyn Clock>, Error> {
    let Some(timeline) = own.timeline() else { return Ok(own) };
    let ahead = store.go_on(timeline.clone()).await?.ahead_of(&timeline);
    if ahead == 0 {
        return Ok(own);
    }
    if ahead.unsigned_abs() >= STEP_TOLD {
        tracing::warn!(
            ahead_millis = ahead,
            "the wall clock was stepped since callout began to wait for deadlines; they keep their remaining time, and \
             times are shown as if it had not been stepped until callout is started while nothing waits"
        );
    }
    let clock = SharedClock::over(own);
    clock.set_offset(ahead);
    Ok(Arc::new(clock))
}

/// Which overdue alerts to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// Those with a later wake-up, or with the same one and a greater id.
    pub after: (Timestamp, AlertId),
    /// Alerts that somebody had the right to send, if their wake-up is not later than this.
    pub sending_until: Timestamp,
    /// Other alerts, if their wake-up is not later than this.
    pub waiting_until: Timestamp,
    /// At most this many.
    pub limit: usize,
}

/// The other processes that use the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// How many of them said within the last ten seconds that they are there.
    pub n_others: usize,
    /// When Vonage last accepted something from any of them.
    pub accepted_at: Option<Timestamp>,
}

/// How much room there is for what is still to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// How many bytes may still be written.
    pub free_bytes: u64,
    /// Whether the operator should make room.
    pub is_low: bool,
    /// Whether new alerts are refused, because the room that is left is needed for those that run.
    pub is_full: bool,
}

/// Why a copy could not be made or put in place.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Not every store keeps its things in a file.
    #[error("only an SQLite database can be copied so; PostgreSQL has `pg_dump`, and memory has nothing to copy")]
    Unsupported,
    /// The database is in use, or cannot be opened.
    #[error(transparent)]
    Open(Box<OpenError>),
    /// What is there would be replaced.
    #[error("{} is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It is not what it should be.
    #[error("{} is not a whole database of callout: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// A file cannot be read or written.
    #[error("cannot work with {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database cannot be read, or the copy not be written.
    #[error("cannot copy the database, with {}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The store refuses.
    #[error(transparent)]
    Store(Error),
}

impl CopyError {
    fn open(error: OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}

/// How many wake-ups are looked at in one read by a store that has no better way to find late ones.
const OVERDUE_PAGE: usize = 10_000;

/// From how many milliseconds on a step of the wall clock is told of.
const STEP_TOLD: u64 = 1_000;

/// The most webhooks that are kept for attempts that are not known yet.
pub const PARKED_MAX: usize = 100_000;

/// An alert as it was read, with the version that a replacement must name.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The alert.
    pub alert: Arc<Alert>,
    /// Counts its changes, from 1.
    pub version: u64,
}

/// What came of keeping a new alert.
#[derive(Clone, Debug)]
pub enum Insert {
    /// It is kept.
    Inserted(Stored),
    /// An open alert has its dedup key; nothing was kept.
    Open(AlertId),
    /// The idempotency key has been used; nothing was kept.
    Replayed(Replay),
}

/// What came of replacing an alert.
#[derive(Clone, Debug)]
pub enum Update {
    /// It is replaced.
    Updated(Stored),
    /// It has changed in the meantime; nothing was kept.
    Stale,
    /// The idempotency key has been used; nothing was kept.
    Replayed(Replay),
}

/// Names a request: a hash of who asks, what for, and their `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey(pub [u8; 32]);

/// Uses an idempotency key together with what the request does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Names the request.
    pub key: ClaimKey,
    /// A hash of the request's body, to tell a repetition from another request.
    pub fingerprint: [u8; 32],
    /// What the request will have done.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// What a request with an idempotency key did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It raised an alert.
    Created,
    /// It was counted as a repetition of an open alert.
    Repeated,
    /// It changed an alert.
    Changed,
}

/// What an idempotency key was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// A hash of that request's body.
    pub fingerprint: [u8; 32],
    /// What it did.
    pub outcome: Outcome,
    /// The alert as it stood then.
    pub alert: Arc<Alert>,
}

/// An alert with a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// The alert.
    pub id: AlertId,
    /// When the clock must be looked at for it.
    pub wake_at: Timestamp,
    /// Whether somebody had the right to send when this was kept.
    pub sending: bool,
}

/// Which alerts to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Only those with this status, by its name in the API.
    pub status: Option<StatusFilter>,
    /// Only those of this policy.
    pub policy: Option<Box<str>>,
    /// Only those older than this one.
    pub before: Option<AlertId>,
    /// At most this many.
    pub limit: usize,
}

/// A status without what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the same names as the statuses")]
pub enum StatusFilter {
    Escalating,
    Acknowledged,
    Exhausted,
    Resolved,
}

/// Why a store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// More is asked for than it can write; nothing was kept, and the same call may succeed a moment later.
    #[error("too much waits to be written")]
    Busy,
    /// It cannot be reached or cannot write now; the same call may succeed later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Something it holds cannot be understood; a person must look.
    #[error("the store holds something about {what} that cannot be understood")]
    Corrupt {
        /// What it is about.
        what: Box<str>,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a store did not keep what it was given, where no database can be blamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// Ids and numbers are given once; an alert with this one is kept already.
    #[error("another alert has this id or this number")]
    SecondOfItsName,
    /// The alert itself is wrong, which only a defect of callout can bring about.
    #[error("the alert breaks a promise: {0}")]
    Broken(&'static str),
}

impl Error {
    /// Something about an alert means nothing, or has no stored form.
    fn corrupt_alert(id: AlertId, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::corrupt(&format!("alert {id}"), source)
    }

    /// The same about something else.
    fn corrupt(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Corrupt { what: what.into(), source: Arc::new(source) }
    }
}
