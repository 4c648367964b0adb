//! Keeps alerts in one file, with SQLite.
//!
//! The file is the truth. One thread writes it and answers after the commit; a few connections read
//! it; the alerts that escalate now are also kept decoded in memory, so that an event costs one commit
//! and no read. The database is private to one process: while it is open, nobody else can open it.
//!
//! It keeps messages, names and addresses as they are, because frozen plans need them; the file is
//! made readable for its owner only. It must not lie on a network file system, where locks and
//! fsyncs do not mean what they say.
//!
//! What is deliberately absent: a wait that gathers more writes (they gather while the disk works), a
//! retry of a write that failed (whoever asked decides), and any weaker durability for speed.

mod checkpoint;
mod copying;
mod deeds;
mod fault;
mod forgetting;
mod horizon;
mod live;
mod moving;
mod opening;
mod outbox;
mod plans;
mod readers;
mod room;
mod rows;
mod sealed;
mod timeline;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use rusqlite::InterruptHandle;

use crate::callback::Subscriptions;
use crate::clock::Timeline;
use crate::contact::{Address, Channel};
use crate::escalation::Alert;
use crate::id::{AlertId, AlertNumber, AttemptRef, ProviderId};
use crate::incoming::Incoming;
use crate::metrics::StoreMeter;
use crate::timestamp::Timestamp;

use super::findable::KeyChange;
use super::{
    Armed, Claim, ClaimKey, CopyError, Disk, Error, Insert, Outbox, PARKED_MAX, Page, Replay, StatusFilter, Store,
    Stored, Update, record,
};

pub use copying::{Holding, Restored, copy_closed, look_through as look_through_copy, restore};
pub(in crate::store) use moving::{Part, Source};
pub use opening::OpenError;

use checkpoint::Checkpointer;
use deeds::{InsertAlert, KeepSecret, Park, Probe, ReleaseKey, Tidy, Unpark, UpdateAlert, Version};
use fault::Refusal;
use forgetting::{Forget, ForgetPlans, WatchPlans};
use opening::Opened;
use readers::{N_READERS, Readers};
use room::Room;
use timeline::GoOn;
use writer::{Shared, Writer};

/// Keeps alerts in a file.
#[derive(Debug)]
pub struct SqliteStore {
    // Before the writer, so that its connections are gone when the writer closes the file.
    readers: Readers,
    writer: Writer,
    shared: Arc<Shared>,
    path: Arc<Path>,
    copying: tokio::sync::Mutex<()>,
    look: Mutex<Option<Look>>,
    last_number: AtomicU64,
    subscriptions: ArcSwap<Subscriptions>,
    parked_max: usize,
}

impl SqliteStore {
    /// Opens a database, making it where it is missing. It works on the calling thread.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::with_parked_max(path, PARKED_MAX)
    }

    /// Opens a database that keeps at most `parked_max` webhooks for attempts that are not known yet.
    pub fn with_parked_max(path: &Path, parked_max: usize) -> Result<Self, OpenError> {
        let opened = Opened::open(path)?;
        let unreadable = |fault| opening::unreadable(path, fault);
        let newest = rows::newest_number(&opened.connection).map_err(unreadable)?;
        let is_any_parked = rows::is_any_parked(&opened.connection).map_err(unreadable)?;
        opened.accept(path)?;
        let Opened { connection, ownership, unseen } = opened;
        let readers = (0..N_READERS).map(|_| opening::open_reader(path)).collect::<Result<_, _>>()?;
        if ownership.left() == opening::Left::Never {
            opening::make_sure_of_new(&connection, path)?;
        }
        ownership.mark(opening::Left::Open)?;
        let shared = Arc::new(Shared::new(Room::beside(path)));
        if !is_any_parked {
            shared.nothing_parked();
        }
        let look = match unseen {
            opening::Unseen::Nothing => None,
            opening::Unseen::Everything => Some(Look::begin(opening::open_reader(path)?, Arc::clone(&shared))?),
        };
        let checkpointer =
            Checkpointer::start(opening::open_checkpointer(path)?, Arc::clone(&shared)).map_err(OpenError::Thread)?;
        let writer = Writer::start(connection, checkpointer, Arc::clone(&shared), ownership);
        Ok(Self {
            readers: Readers::new(readers, Arc::clone(&shared)),
            writer: writer.map_err(OpenError::Thread)?,
            shared,
            path: path.into(),
            copying: tokio::sync::Mutex::new(()),
            look: Mutex::new(look),
            last_number: AtomicU64::new(newest.0),
            subscriptions: ArcSwap::default(),
            parked_max,
        })
    }

    /// Refuses new work while the disk is full: what room is left belongs to what has been promised.
    fn refuse_when_full(&self) -> Result<(), Error> {
        if self.shared.room.is_full() { Err(Refusal::DiskFull.into()) } else { Ok(()) }
    }

    async fn ask<D: writer::Deed>(&self, deed: D) -> Result<D::Answer, Error> {
        self.shared.check()?;
        self.writer.ask(deed).await
    }
}

/// A large database is being looked through, on a thread of its own. What is found ends all promises.
struct Look {
    thread: JoinHandle<()>,
    interrupt: InterruptHandle,
}

impl fmt::Debug for Look {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Look").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Look {
    fn begin(connection: rusqlite::Connection, shared: Arc<Shared>) -> Result<Self, OpenError> {
        let interrupt = connection.get_interrupt_handle();
        let look = move || match opening::damage(&connection) {
            Ok(None) => tracing::info!("the database was looked through after the start; it is whole"),
            Ok(Some(reason)) => shared.fail(Refusal::Damaged, &reason),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {}
            Err(error) => tracing::error!(%error, "the database could not be looked through after the start"),
        };
        let thread = std::thread::Builder::new().name("callout-look".to_owned()).spawn(look);
        Ok(Self { thread: thread.map_err(OpenError::Thread)?, interrupt })
    }

    /// Ends it early: while it reads, the log cannot be moved as a whole.
    fn end(self) {
        self.interrupt.interrupt();
        // A thread that panicked has said so already.
        drop(self.thread.join());
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn next_number(&self) -> Result<AlertNumber, Error> {
        // A number that is given and never used is given again after a restart; nobody has seen it.
        Ok(AlertNumber(self.last_number.fetch_add(1, Ordering::Relaxed) + 1))
    }

    async fn insert(&self, alert: Arc<Alert>, claim: Option<Claim>) -> Result<Insert, Error> {
        self.refuse_when_full()?;
        self.last_number.fetch_max(alert.raised.number.0, Ordering::Relaxed);
        let unwritable = |error| Error::corrupt_alert(alert.id(), error);
        let raised = record::write_raised(&alert.raised).map_err(unwritable)?;
        let plan = self.shared.plans.row_of(&alert.raised.plan).map_err(unwritable)?;
        let version = Version::prepare(None, alert, claim, &self.subscriptions.load())?;
        let (insert, _plan) = self.ask(InsertAlert { version, raised, plan }).await?;
        Ok(insert)
    }

    async fn update(&self, seen: &Stored, next: Arc<Alert>, claim: Option<Claim>) -> Result<Update, Error> {
        let key = KeyChange::between(&seen.alert, &next);
        let version = Version::prepare(Some(&seen.alert), next, claim, &self.subscriptions.load())?;
        self.ask(UpdateAlert { version, seen_version: seen.version, key }).await
    }

    async fn get(&self, id: AlertId) -> Result<Option<Stored>, Error> {
        self.shared.check()?;
        let before = match self.shared.live.get(id) {
            Ok(stored) => return Ok(Some(stored)),
            Err(before) => before,
        };
        let read = move |connection: &rusqlite::Connection, shared: &Shared| {
            let found = rows::get(connection, &shared.plans, id)?;
            if let Some(stored) = &found {
                shared.live.offer(stored, before);
            }
            Ok(found)
        };
        self.readers.read(read).await
    }

    async fn claimed(&self, key: &ClaimKey) -> Result<Option<Replay>, Error> {
        let key = key.clone();
        self.readers.read(move |connection, shared| rows::claimed(connection, &shared.plans, &key)).await
    }

    async fn armed(&self, after: Option<AlertId>, limit: usize) -> Result<Vec<Armed>, Error> {
        self.readers.read(move |connection, _| rows::armed(connection, after, limit)).await
    }

    async fn overdue(&self, before: Timestamp, after: Option<AlertId>, limit: usize) -> Result<Vec<Armed>, Error> {
        self.shared.check()?;
        if self.shared.horizon.is_clear(before) {
            return Ok(Vec::new());
        }
        if let Some(look) = self.shared.horizon.begin() {
            let earliest = self.readers.read(|connection, _| rows::earliest(connection)).await?;
            look.found(earliest);
            if before <= earliest {
                return Ok(Vec::new());
            }
        }
        self.readers.read(move |connection, _| rows::overdue(connection, before, after, limit)).await
    }

    async fn unarmed(&self, limit: usize) -> Result<Vec<AlertId>, Error> {
        self.readers.read(move |connection, _| rows::unarmed(connection, limit)).await
    }

    async fn failing(&self, before: Option<AlertId>, limit: usize) -> Result<Vec<AlertId>, Error> {
        self.readers.read(move |connection, _| rows::failing(connection, before, limit)).await
    }

    async fn list(&self, page: &Page) -> Result<Vec<Arc<Alert>>, Error> {
        let page = page.clone();
        self.readers.read(move |connection, shared| rows::list(connection, &shared.plans, &page)).await
    }

    async fn find_message(&self, id: &ProviderId) -> Result<Option<AttemptRef>, Error> {
        let id = id.clone();
        self.readers.read(move |connection, _| rows::find_message(connection, &id)).await
    }

    async fn find_number(&self, number: AlertNumber) -> Result<Option<AlertId>, Error> {
        self.readers.read(move |connection, _| rows::find_number(connection, number)).await
    }

    async fn newest_number(&self) -> Result<AlertNumber, Error> {
        self.readers.read(|connection, _| rows::newest_number(connection)).await
    }

    async fn find_address(
        &self,
        channel: Channel,
        address: &Address,
        statuses: &[StatusFilter],
        limit: usize,
    ) -> Result<Vec<AlertId>, Error> {
        let statuses = statuses.to_vec();
        let address = address.clone();
        self.readers
            .read(move |connection, _| rows::find_address(connection, channel, &address, &statuses, limit))
            .await
    }

    async fn find_key(&self, key: &str, limit: usize) -> Result<Vec<AlertId>, Error> {
        let key = Box::<str>::from(key);
        self.readers.read(move |connection, _| rows::find_key(connection, &key, limit)).await
    }

    async fn release_key(&self, key: &str, held_by: AlertId) -> Result<(), Error> {
        self.ask(ReleaseKey { key: key.into(), held_by }).await
    }

    async fn park(&self, id: &ProviderId, incoming: &Incoming, now: Timestamp) -> Result<(), Error> {
        let record = record::write_incoming(incoming).map_err(|error| Error::corrupt("a webhook", error))?;
        let record = sealed::seal(&record, &[id.as_str().as_bytes()]);
        self.ask(Park { id: id.clone(), record, at: now, parked_max: self.parked_max }).await
    }

    async fn parked(&self, id: &ProviderId) -> Result<Vec<Incoming>, Error> {
        self.shared.check()?;
        if !self.shared.has_parked() {
            return Ok(Vec::new());
        }
        let id = id.clone();
        self.readers.read(move |connection, _| rows::parked(connection, &id)).await
    }

    async fn parked_and_known(&self, limit: usize) -> Result<Vec<ProviderId>, Error> {
        self.readers.read(move |connection, _| rows::parked_and_known(connection, limit)).await
    }

    async fn unpark(&self, id: &ProviderId) -> Result<(), Error> {
        self.ask(Unpark { id: id.clone() }).await
    }

    async fn tidy(&self, keys_before: Timestamp, parked_before: Timestamp, limit: usize) -> Result<usize, Error> {
        self.ask(Tidy { keys_before, parked_before, limit }).await
    }

    async fn forget(&self, settled_before: Timestamp, limit: usize) -> Result<usize, Error> {
        // Read beside the writer, so that it has nothing to do but to delete.
        let old =
            self.readers.read(move |connection, shared| forgetting::old(connection, shared, settled_before, limit));
        let old = old.await?;
        if old.is_empty() { Ok(0) } else { self.ask(Forget { old, settled_before }).await }
    }

    async fn forget_plans(&self) -> Result<usize, Error> {
        self.ask(WatchPlans).await?;
        let found = self.readers.read(|connection, _| forgetting::unused_plans(connection)).await;
        let mut n_forgotten = 0;
        for unused in found.as_deref().unwrap_or_default().chunks(forgetting::PLANS_AT_ONCE) {
            n_forgotten += self.ask(ForgetPlans { unused: unused.to_vec(), are_last: false }).await?;
        }
        // In any case, so that the watch ends.
        self.ask(ForgetPlans { unused: Vec::new(), are_last: true }).await?;
        found.map(|_| n_forgotten)
    }

    async fn secret(&self, name: &str, proposed: [u8; 32]) -> Result<[u8; 32], Error> {
        self.ask(KeepSecret { name: name.into(), proposed }).await
    }

    async fn probe(&self, now: Timestamp) -> Result<(), Error> {
        self.ask(Probe { at: now }).await
    }

    async fn go_on(&self, own: Timeline) -> Result<Timeline, Error> {
        self.ask(GoOn { own }).await
    }

    fn outbox(&self) -> Option<&dyn Outbox> {
        Some(self)
    }

    async fn tend(&self) -> Result<Option<Disk>, Error> {
        let shared = Arc::clone(&self.shared);
        let looked = tokio::task::spawn_blocking(move || shared.room.tend()).await;
        let found = match looked {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(Error::Unavailable(Arc::new(error))),
            Err(_ending) => return Err(Refusal::Closed.into()),
        };
        Ok(Some(Disk {
            free_bytes: found.free_bytes,
            is_low: found.free_bytes < room::DISK_LOW_BYTES,
            is_full: found.is_full,
        }))
    }

    async fn copy_to(&self, to: &Path) -> Result<(), CopyError> {
        // One at a time: each takes room on the disk and keeps the log from being begun anew.
        let _alone = self.copying.lock().await;
        let (shared, path, to) = (Arc::clone(&self.shared), Arc::clone(&self.path), to.to_owned());
        shared.check().map_err(CopyError::Store)?;
        let copied = tokio::task::spawn_blocking(move || {
            let _copying = shared.copying();
            let connection = opening::connect(&path)
                .map_err(|source| CopyError::Failed { path: to.clone(), source: Arc::new(source) })?;
            copying::copy(&connection, &to)
        });
        match copied.await {
            Ok(copied) => copied.map(|_holding| ()),
            Err(_ending) => Err(CopyError::Store(Refusal::Closed.into())),
        }
    }

    async fn failed(&self) {
        self.shared.until_failed().await;
    }

    async fn close(&self) {
        self.readers.close().await;
        let look = self.look.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.writer.finish();
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(look) = look {
                look.end();
            }
            thread.map(JoinHandle::join)
        });
        // A thread that panicked has said so already.
        drop(ended.await);
    }

    fn meter(&self) -> Option<&StoreMeter> {
        Some(&self.shared.meter)
    }

    fn is_sole_owner(&self) -> bool {
        true
    }

    fn is_durable(&self) -> bool {
        true
    }
}
