//! The one thread that writes.
//!
//! It takes what waits (up to [`BATCH_MAX`], what is about accepted alerts first), carries it out in one transaction, and
//! answers only after the commit, so that many callers share one fsync and a single caller waits for
//! nothing but its own. It never waits for more to come: while one batch is being committed, the next
//! one gathers by itself.
//!
//! A deed that fails takes nobody along: its batch is rolled back, and each of its deeds has a
//! transaction of its own. After a commit that failed with an I/O error nobody knows what is on the
//! disk; the store refuses everything from then on.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::metrics::StoreMeter;
use crate::store::queue::{Budget, CHANGES_MAX, Lane, Line, Place, Waiting};
use crate::store::{Error, Stored, findable};

use super::checkpoint::Checkpointer;
use super::fault::{Fault, Reach, Refusal, reach_of_failed_sync};
use super::horizon::Horizon;
use super::live::Live;
use super::opening::{Left, Ownership};
use super::plans::Plans;
use super::room::Room;

/// The most deeds of one transaction: enough that the fsync hardly counts, few enough that the first
/// of them does not wait long for the last.
const BATCH_MAX: usize = 512;

/// What the writer and the readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) live: Live,
    pub(super) plans: Plans,
    pub(super) horizon: Horizon,
    pub(super) room: Room,
    pub(super) meter: StoreMeter,
    /// Whether a webhook may be parked. Seldom one is, and every send asks for its own when it was accepted.
    has_parked: AtomicBool,
    /// Set once the disk has failed.
    failed: OnceLock<Refusal>,
    has_failed: CancellationToken,
    /// How many copies are being made; each reads for long.
    n_copying: AtomicUsize,
}

/// Lasts as long as a copy is being made.
pub(super) struct Copying<'a>(&'a Shared);

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        self.0.n_copying.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(room: Room) -> Self {
        Self {
            live: Live::new(),
            plans: Plans::default(),
            horizon: Horizon::default(),
            room,
            meter: StoreMeter::new(),
            has_parked: AtomicBool::new(true),
            failed: OnceLock::new(),
            has_failed: CancellationToken::new(),
            n_copying: AtomicUsize::new(0),
        }
    }

    /// Whether a webhook may be parked; whoever was told that one is kept has made this true.
    pub(super) fn has_parked(&self) -> bool {
        self.has_parked.load(Ordering::Acquire)
    }

    /// A webhook was parked.
    pub(super) fn parked(&self) {
        self.has_parked.store(true, Ordering::Release);
    }

    /// Nothing is parked. Only the writer says so, of what it has committed.
    pub(super) fn nothing_parked(&self) {
        self.has_parked.store(false, Ordering::Release);
    }

    /// A copy is being made until what is returned is dropped.
    pub(super) fn copying(&self) -> Copying<'_> {
        self.n_copying.fetch_add(1, Ordering::Relaxed);
        Copying(self)
    }

    /// Whether somebody reads for so long that the log cannot be begun anew.
    pub(super) fn is_copying(&self) -> bool {
        self.n_copying.load(Ordering::Relaxed) > 0
    }

    /// Returns once nothing can be promised any more.
    pub(super) async fn until_failed(&self) {
        self.has_failed.cancelled().await;
    }

    /// Says why nothing can be promised any more, if that is so.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.failed.get().map_or(Ok(()), |refusal| Err((*refusal).into()))
    }

    /// An alert was committed.
    pub(super) fn publish(&self, stored: &Stored) {
        if let Some(armed) = findable::armed(&stored.alert) {
            self.horizon.lower(armed.wake_at);
        }
        self.live.publish(stored);
    }

    /// Ends all promises.
    pub(super) fn fail(&self, refusal: Refusal, error: &dyn std::fmt::Display) {
        if self.failed.set(refusal).is_ok() {
            tracing::error!(%error, "{refusal}; nothing is accepted any more");
            self.has_failed.cancel();
        }
    }
}

/// What a deed works with.
pub(super) struct Books<'a> {
    pub(super) connection: &'a Connection,
    pub(super) plans: &'a Plans,
    /// How many webhooks are parked, where that has been counted.
    pub(super) n_parked: Option<usize>,
    /// The plans that new alerts have taken since somebody began to look for unused ones.
    pub(super) plans_in_use: &'a mut Option<HashSet<i64>>,
}

impl Books<'_> {
    pub(super) fn count_parked(&mut self) -> Result<usize, Fault> {
        if let Some(n_parked) = self.n_parked {
            return Ok(n_parked);
        }
        let n_parked: i64 = self.connection.query_row("SELECT count(*) FROM parked", [], |row| row.get(0))?;
        let n_parked = usize::try_from(n_parked).unwrap_or(0);
        self.n_parked = Some(n_parked);
        Ok(n_parked)
    }
}

/// Something to be written, and what is answered once it is.
pub(super) trait Deed: Send + 'static {
    /// The answer.
    type Answer: Send;

    /// Which way it takes while it waits.
    fn lane(&self) -> Lane {
        Lane::Accepted
    }

    /// How many bytes of records wait with it.
    fn n_bytes(&self) -> usize {
        0
    }

    /// Does it, within a transaction that others share.
    fn carry_out(&self, books: &mut Books<'_>) -> Result<Self::Answer, Fault>;

    /// Makes known in memory what is on the disk now.
    fn committed(_answer: &Self::Answer, _shared: &Shared) {}
}

/// A deed with whoever waits for it.
struct Errand<D: Deed> {
    deed: D,
    answer: Option<D::Answer>,
    asker: oneshot::Sender<Result<D::Answer, Error>>,
    place: Place,
}

/// An errand whose kind does not matter.
trait AnyErrand: Send {
    fn place(&self) -> &Place;
    fn carry_out(&mut self, books: &mut Books<'_>) -> Result<(), Fault>;
    fn publish(&self, shared: &Shared);
    fn answer(self: Box<Self>);
    fn refuse(self: Box<Self>, error: Error);
}

impl<D: Deed> AnyErrand for Errand<D> {
    fn place(&self) -> &Place {
        &self.place
    }

    fn carry_out(&mut self, books: &mut Books<'_>) -> Result<(), Fault> {
        self.answer = Some(self.deed.carry_out(books)?);
        Ok(())
    }

    fn publish(&self, shared: &Shared) {
        if let Some(answer) = &self.answer {
            D::committed(answer, shared);
        }
    }

    fn answer(self: Box<Self>) {
        let Self { answer, asker, place, .. } = *self;
        drop(place);
        if let Some(answer) = answer {
            // Nobody may be waiting any more; what is done is done.
            drop(asker.send(Ok(answer)));
        }
    }

    fn refuse(self: Box<Self>, error: Error) {
        let Self { asker, place, .. } = *self;
        drop(place);
        drop(asker.send(Err(error)));
    }
}

impl Waiting for Box<dyn AnyErrand> {
    fn place(&self) -> &Place {
        (**self).place()
    }
}

type Queue = SyncSender<Box<dyn AnyErrand>>;

/// The way to the thread. Dropping it lets the thread finish what waits and end, and waits for that.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Mutex<Option<Queue>>,
    budget: Arc<Budget>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread. It holds the database's ownership until it ends.
    pub(super) fn start(
        connection: Connection,
        checkpointer: Checkpointer,
        shared: Arc<Shared>,
        ownership: Ownership,
    ) -> std::io::Result<Self> {
        let (queue, waiting) = sync_channel(CHANGES_MAX);
        let budget = Budget::new(shared.meter.clone());
        let desk = Desk {
            connection,
            checkpointer,
            shared,
            waiting,
            line: Line::new(),
            n_parked: None,
            plans_in_use: None,
            ownership,
        };
        let thread = thread::Builder::new().name("callout-writer".to_owned()).spawn(move || desk.work())?;
        Ok(Self { queue: Mutex::new(Some(queue)), budget, thread: Mutex::new(Some(thread)) })
    }

    /// Has something written; returns once it is as durable as the disk can make it.
    pub(super) async fn ask<D: Deed>(&self, deed: D) -> Result<D::Answer, Error> {
        let place = self.budget.place(deed.lane(), deed.n_bytes())?;
        let (asker, answer) = oneshot::channel();
        self.enqueue(Box::new(Errand { deed, answer: None, asker, place }))?;
        match answer.await {
            Ok(answer) => answer,
            // The thread has ended without an answer, which only a panic in it can bring about.
            Err(_dropped) => Err(Refusal::Closed.into()),
        }
    }

    fn enqueue(&self, errand: Box<dyn AnyErrand>) -> Result<(), Error> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return Err(Refusal::Closed.into()) };
        match queue.try_send(errand) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Error::Busy),
            Err(TrySendError::Disconnected(_)) => Err(Refusal::Closed.into()),
        }
    }

    /// Takes nothing more, lets the thread finish what waits, and hands it out to be waited for.
    pub(super) fn finish(&self) -> Option<JoinHandle<()>> {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(thread) = self.finish() {
            // A thread that panicked has said so already.
            drop(thread.join());
        }
    }
}

/// Whether a batch that found no room may be tried once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tries {
    Left,
    Used,
}

/// Where the thread sits.
struct Desk {
    connection: Connection,
    checkpointer: Checkpointer,
    shared: Arc<Shared>,
    waiting: Receiver<Box<dyn AnyErrand>>,
    line: Line<Box<dyn AnyErrand>>,
    n_parked: Option<usize>,
    plans_in_use: Option<HashSet<i64>>,
    ownership: Ownership,
}

impl Desk {
    fn work(mut self) {
        while self.gather() {
            let batch = self.line.take(BATCH_MAX);
            let n_deeds = batch.len();
            self.carry_out(batch, Tries::Left);
            self.checkpointer.after(n_deeds, &self.connection, &self.shared);
        }
        let is_whole = self.checkpointer.finish(&self.connection, &self.shared);
        if is_whole && let Err(error) = self.ownership.mark(Left::Closed) {
            tracing::warn!(%error, "could not write down that the database was closed; the next start will take it for one that was not");
        }
    }

    /// Has everybody who waits join the line. Returns whether anybody is in it, or ever will be.
    fn gather(&mut self) -> bool {
        if self.line.is_empty() {
            let Ok(first) = self.waiting.recv() else { return false };
            self.line.join(first);
        }
        for errand in self.waiting.try_iter() {
            self.line.join(errand);
        }
        true
    }

    fn carry_out(&mut self, mut batch: Vec<Box<dyn AnyErrand>>, tries: Tries) {
        match self.commit(&mut batch) {
            Ok(()) => self.answer(batch),
            Err((_, Reach::Command)) if batch.len() > 1 => {
                for errand in batch {
                    self.carry_out(vec![errand], tries);
                }
            }
            Err((_, Reach::Room)) if tries == Tries::Left => {
                self.shared.room.run_out();
                // What stands in the log already goes where it belongs, so that the log has room again.
                Checkpointer::make_room(&self.connection, &self.shared);
                self.carry_out(batch, Tries::Used);
            }
            // One of them may fit where all of them do not.
            Err((_, Reach::Room)) if batch.len() > 1 => {
                for errand in batch {
                    self.carry_out(vec![errand], Tries::Used);
                }
            }
            Err((error, _)) => Self::refuse(batch, &error),
        }
    }

    /// Carries out a batch in one transaction. When this fails, nothing of it has happened.
    fn commit(&mut self, batch: &mut [Box<dyn AnyErrand>]) -> Result<(), (Error, Reach)> {
        self.shared.check().map_err(|error| (error, Reach::Store))?;
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(|error| (Fault::from(error).into(), Reach::Batch))?;
        let mut books = Books {
            connection: &transaction,
            plans: &self.shared.plans,
            n_parked: self.n_parked.take(),
            plans_in_use: &mut self.plans_in_use,
        };
        for errand in batch {
            if let Err(fault) = errand.carry_out(&mut books) {
                // What was learnt from a row of this transaction is taken back with it.
                self.shared.plans.forget();
                let reach = fault.reach();
                if reach == Reach::Store {
                    self.shared.fail(Refusal::DiskFailed, &"a statement met an I/O error");
                }
                return Err((fault.into(), reach));
            }
        }
        let n_parked = books.n_parked;
        if let Err(error) = transaction.commit() {
            self.shared.plans.forget();
            self.shared.horizon.forget();
            let reach = reach_of_failed_sync(&error);
            if reach == Reach::Store {
                self.shared.fail(Refusal::DiskFailed, &error);
            }
            return Err((Fault::from(error).into(), reach));
        }
        self.n_parked = n_parked;
        if n_parked == Some(0) {
            // Before those of this batch are made known and answered, so that none is overlooked.
            self.shared.nothing_parked();
        }
        Ok(())
    }

    /// First everything is made known, then everybody is answered, so that whoever has an answer finds
    /// at least what the answer says.
    fn answer(&self, batch: Vec<Box<dyn AnyErrand>>) {
        for errand in &batch {
            errand.publish(&self.shared);
        }
        self.shared.meter.committed(batch.len());
        for errand in batch {
            errand.answer();
        }
    }

    fn refuse(batch: Vec<Box<dyn AnyErrand>>, error: &Error) {
        for errand in batch {
            errand.refuse(error.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use futures_util::future::join_all;

    use super::*;
    use crate::store::queue::NEW_ALERTS_UNTIL;
    use crate::store::sqlite::deeds::{KeepSecret, Probe};
    use crate::store::sqlite::opening;
    use crate::timestamp::Timestamp;

    fn shared_of(path: &Path) -> Shared {
        Shared::new(Room::beside(path))
    }

    fn start(path: &Path, shared: &Arc<Shared>, set: impl FnOnce(&Connection)) -> Writer {
        let ownership = Ownership::take(path).unwrap();
        let connection = opening::open_writer(path, Left::Never).unwrap();
        set(&connection);
        let checkpoints = opening::open_checkpointer(path).unwrap();
        let checkpointer = Checkpointer::start(checkpoints, Arc::clone(shared)).unwrap();
        Writer::start(connection, checkpointer, Arc::clone(shared), ownership).unwrap()
    }

    fn refusal(error: &Error) -> Option<Refusal> {
        match error {
            Error::Unavailable(source) => source.downcast_ref().copied(),
            Error::Busy | Error::Corrupt { .. } => None,
        }
    }

    /// Fills several pages.
    struct WriteMuch;

    impl Deed for WriteMuch {
        type Answer = ();

        fn carry_out(&self, books: &mut Books<'_>) -> Result<(), Fault> {
            let sql = "INSERT INTO secrets VALUES (hex(randomblob(16)), zeroblob(50000))";
            books.connection.execute(sql, [])?;
            Ok(())
        }
    }

    /// Raises an alert, as far as the queue is concerned; says in which place it was carried out.
    struct Post(Arc<AtomicUsize>);

    impl Deed for Post {
        type Answer = usize;

        fn lane(&self) -> Lane {
            Lane::New
        }

        fn carry_out(&self, _books: &mut Books<'_>) -> Result<usize, Fault> {
            Ok(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    /// Happens to an alert that was accepted.
    struct Webhook(Arc<AtomicUsize>);

    impl Deed for Webhook {
        type Answer = usize;

        fn carry_out(&self, _books: &mut Books<'_>) -> Result<usize, Fault> {
            Ok(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    #[tokio::test]
    async fn while_posts_fill_the_queue_a_webhook_gets_in_and_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("callout.db");
        let writer = start(&path, &Arc::new(shared_of(&path)), |_| {});
        // Somebody else writes, so that the writer has to wait and the queue fills.
        let other = opening::open_checkpointer(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let place = Arc::new(AtomicUsize::new(0));
        let n_posts = NEW_ALERTS_UNTIL + 100;
        let mut posts = Box::pin(join_all((0..n_posts).map(|_| writer.ask(Post(Arc::clone(&place))))));
        assert!(futures_util::poll!(&mut posts).is_pending(), "those in the queue wait");
        let mut webhook = Box::pin(writer.ask(Webhook(Arc::clone(&place))));
        assert!(futures_util::poll!(&mut webhook).is_pending(), "there is room for it");
        other.execute_batch("ROLLBACK").unwrap();
        let before_it = webhook.await.unwrap();
        assert!(before_it <= BATCH_MAX, "{before_it} posts went before the webhook");
        let answers = posts.await;
        let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert_eq!(refused.len(), 100);
        assert!(refused.iter().all(|error| matches!(error, Error::Busy)), "{refused:?}");
        writer.ask(Post(place)).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_refuses_what_does_not_fit_and_nothing_else_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("callout.db");
        let writer = start(&path, &Arc::new(shared_of(&path)), |connection| {
            connection.pragma_update(None, "max_page_count", 120).unwrap();
        });
        let mut n_kept = 0;
        let error = loop {
            match writer.ask(WriteMuch).await {
                Ok(()) => n_kept += 1,
                Err(error) => break error,
            }
        };
        assert!(n_kept > 0, "there was room at first");
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        let secret = KeepSecret { name: "links".into(), proposed: [1; 32] };
        assert_eq!(writer.ask(secret).await.unwrap(), [1; 32], "what fits is kept");
    }

    #[tokio::test]
    async fn a_disk_that_failed_is_not_trusted_again() {
        let directory = tempfile::tempdir().unwrap();
        let shared = Arc::new(shared_of(&directory.path().join("callout.db")));
        let writer = start(&directory.path().join("callout.db"), &shared, |_| {});
        writer.ask(Probe { at: Timestamp::EPOCH }).await.unwrap();
        let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        shared.fail(Refusal::DiskFailed, &rusqlite::Error::SqliteFailure(failure, None));
        let error = writer.ask(Probe { at: Timestamp::EPOCH }).await.unwrap_err();
        assert_eq!(refusal(&error), Some(Refusal::DiskFailed), "{error:?}");
        assert!(shared.check().is_err());
    }
}
