//! The connections that only read.
//!
//! A read may wait for the disk, so it runs on a thread that may wait. There are few connections. Whoever finds them
//! all busy waits in line, and the next one that is free answers all who wait by then in one transaction: after each
//! commit of the writer, a transaction begins by forgetting what the connection had read, which costs more than most
//! answers.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::store::Error;

use super::fault::{Fault, Reach, Refusal};
use super::writer::Shared;

/// How many reads run at a time.
pub(super) const N_READERS: usize = 3;
/// The most questions that are answered in one transaction: a quick one does not wait long for slow ones.
const TOGETHER_MAX: usize = 16;

/// Looks for something, and tells whoever asked.
type Question = Box<dyn FnOnce(&Connection, &Shared) + Send>;

/// The reading connections.
#[derive(Debug)]
pub(super) struct Readers {
    desk: Arc<Mutex<Desk>>,
    /// Those that read.
    at_work: TaskTracker,
    shared: Arc<Shared>,
}

/// As long as a question waits, all connections read.
#[derive(Default)]
struct Desk {
    idle: Vec<Connection>,
    line: VecDeque<Question>,
    is_closed: bool,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Desk").field("n_waiting", &self.line.len()).finish_non_exhaustive()
    }
}

/// A critical section holds only list operations, and is never held over an await.
fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>, shared: Arc<Shared>) -> Self {
        let desk = Desk { idle: connections, ..Desk::default() };
        Self { desk: Arc::new(Mutex::new(desk)), at_work: TaskTracker::new(), shared }
    }

    /// Reads something. What was committed before is found.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection, &Shared) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.shared.check()?;
        let (asker, answer) = oneshot::channel();
        self.ask(Box::new(move |connection, shared| {
            let answer = question(connection, shared);
            if let Err(fault) = &answer
                && fault.reach() == Reach::Store
            {
                shared.fail(Refusal::DiskFailed, &"the database could not be read");
            }
            // Nobody may be waiting any more.
            drop(asker.send(answer.map_err(Error::from)));
        }));
        match answer.await {
            Ok(answer) => answer,
            // The store is closed, the runtime is ending, or the question panicked.
            Err(_dropped) => Err(Refusal::Closed.into()),
        }
    }

    fn ask(&self, question: Question) {
        let mut desk = lock(&self.desk);
        if desk.is_closed {
            return;
        }
        desk.line.push_back(question);
        let Some(connection) = desk.idle.pop() else { return };
        // Before the desk is let go, so that whoever closes it waits for this one.
        let at_work = self.at_work.token();
        drop(desk);
        let reader = Reader { connection: Some(connection), desk: Arc::clone(&self.desk), _at_work: at_work };
        let shared = Arc::clone(&self.shared);
        drop(tokio::task::spawn_blocking(move || reader.work(&shared)));
    }

    /// Waits until nobody reads, and closes the connections.
    pub(super) async fn close(&self) {
        lock(&self.desk).is_closed = true;
        self.at_work.close();
        self.at_work.wait().await;
        let mut desk = lock(&self.desk);
        desk.idle.clear();
        desk.line.clear();
    }
}

/// A connection that answers, until nobody waits any more.
struct Reader {
    connection: Option<Connection>,
    desk: Arc<Mutex<Desk>>,
    /// Let go of once the connection is back.
    _at_work: TaskTrackerToken,
}

impl Reader {
    fn work(mut self, shared: &Shared) {
        while let Some(questions) = self.take() {
            if let Some(connection) = &self.connection {
                answer_together(connection, shared, questions);
            }
        }
    }

    /// Those who wait; the connection is idle again where nobody does.
    fn take(&mut self) -> Option<Vec<Question>> {
        let mut desk = lock(&self.desk);
        if desk.line.is_empty() {
            desk.idle.extend(self.connection.take());
            return None;
        }
        let n_taken = desk.line.len().min(TOGETHER_MAX);
        Some(desk.line.drain(..n_taken).collect())
    }
}

impl Drop for Reader {
    /// Where the runtime ended before it came to work, nobody will answer those who wait.
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let mut desk = lock(&self.desk);
            desk.idle.push(connection);
            desk.line.clear();
        }
    }
}

/// They see what is on the disk when the first of them looks, which is after all of them asked.
fn answer_together(connection: &Connection, shared: &Shared, questions: Vec<Question>) {
    let is_together = questions.len() > 1 && connection.execute_batch("BEGIN").is_ok();
    for question in questions {
        // A panic is the asker's: it has said so in the log, and others are answered.
        drop(catch_unwind(AssertUnwindSafe(|| question(connection, shared))));
    }
    // A failing disk may have ended the transaction already.
    if is_together
        && !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("COMMIT")
    {
        tracing::warn!(%error, "a reading transaction could not be ended");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::store::sqlite::opening;
    use crate::store::sqlite::room::Room;

    /// A database with one connection that reads and one that writes.
    fn library() -> (tempfile::TempDir, Connection, Arc<Readers>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("callout.db");
        let writer = opening::open_writer(&path, opening::Left::Never).unwrap();
        let shared = Arc::new(Shared::new(Room::beside(&path)));
        let readers = Readers::new(vec![opening::open_reader(&path).unwrap()], shared);
        (directory, writer, Arc::new(readers))
    }

    fn n_secrets(connection: &Connection, _shared: &Shared) -> Result<u32, Fault> {
        Ok(connection.query_row("SELECT count(*) FROM secrets", [], |row| row.get(0))?)
    }

    #[tokio::test]
    async fn those_who_wait_for_a_connection_are_answered_together_and_find_what_was_kept_before_they_asked() {
        let (_directory, writer, readers) = library();
        let ((begun, begins), (go_on, may_go_on)) = (channel(), channel::<()>());
        let slow = readers.read(move |connection, shared| {
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
            n_secrets(connection, shared)
        });
        let writes_meanwhile = async {
            tokio::task::spawn_blocking(move || begins.recv()).await.unwrap().unwrap();
            writer.execute("INSERT INTO secrets VALUES ('one', x'00')", []).unwrap();
            let waiting = (0..3).map(|_| readers.read(n_secrets));
            let panicking = readers.read(|_, _| -> Result<u32, Fault> { panic!("a question that panics") });
            let more = (0..3).map(|_| readers.read(n_secrets));
            let waiting = futures_util::future::join_all(waiting.chain(more));
            let let_go = async { go_on.send(()).unwrap() };
            tokio::join!(waiting, panicking, let_go)
        };
        let (slow, (answers, panicked, ())) = tokio::join!(slow, writes_meanwhile);
        assert!(slow.is_ok());
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [1; 6], "all find what was kept before they asked");
        assert!(panicked.is_err(), "a panic is the asker's alone");
        assert_eq!(readers.read(n_secrets).await.unwrap(), 1, "and the connection reads on");
    }

    #[tokio::test]
    async fn once_closed_nobody_is_answered_any_more() {
        let (_directory, _writer, readers) = library();
        assert_eq!(readers.read(n_secrets).await.unwrap(), 0);
        readers.close().await;
        assert!(readers.read(n_secrets).await.is_err());
    }
}
