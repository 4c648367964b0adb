//! Moving what was written from the write-ahead log into the database.
//!
//! A thread with a connection of its own does it beside the writer, so that no commit waits for it.
//! Only when the log has outgrown that (somebody writes without a pause) the writer does it itself,
//! between two batches. A disk that fails meanwhile ends the store's promises like a failed commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

use super::fault::{Reach, Refusal, reach_of_failed_sync};
use super::writer::Shared;

/// After how many deeds the log is moved, of about 5 pages of 4 KiB each. Four times as many made the slowest commits
/// twice as slow, because more has to be synced at once.
const DEEDS_BETWEEN: usize = 256;
/// How long the log may grow, in pages of 4 KiB, before the writer stops to start it anew.
const WAL_PAGES_MAX: i32 = 16_384;

/// How much the move may get in the way of others.
#[derive(Clone, Copy, Debug)]
enum Mode {
    /// Not at all; what others still read or write stays for the next time.
    Passive,
    /// It waits for readers, so that the log starts anew.
    Restart,
    /// The same, and the log's file is emptied.
    Truncate,
}

impl Mode {
    const fn statement(self) -> &'static str {
        match self {
            Self::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
            Self::Restart => "PRAGMA wal_checkpoint(RESTART)",
            Self::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
        }
    }
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Checkpointer {
    nudges: SyncSender<()>,
    thread: JoinHandle<()>,
    log_is_long: Arc<AtomicBool>,
    n_deeds: usize,
}

impl Checkpointer {
    pub(super) fn start(connection: Connection, shared: Arc<Shared>) -> std::io::Result<Self> {
        // One nudge may wait while the thread works; more would say nothing more.
        let (nudges, received) = sync_channel(1);
        let log_is_long = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&log_is_long);
        let thread = thread::Builder::new()
            .name("callout-checkpoint".to_owned())
            .spawn(move || work(&connection, &received, &flag, &shared))?;
        Ok(Self { nudges, thread, log_is_long, n_deeds: 0 })
    }

    /// The writer has committed this many deeds.
    pub(super) fn after(&mut self, n_deeds: usize, writer: &Connection, shared: &Shared) {
        self.n_deeds += n_deeds;
        if self.n_deeds < DEEDS_BETWEEN {
            return;
        }
        self.n_deeds = 0;
        // While a copy is made, waiting for all readers would be waiting for it.
        if !shared.is_copying() && self.log_is_long.swap(false, Ordering::Relaxed) {
            move_log(writer, Mode::Restart, shared);
            return;
        }
        match self.nudges.try_send(()) {
            // A nudge that waits already will do.
            Ok(()) | Err(TrySendError::Full(())) => {}
            Err(TrySendError::Disconnected(())) => self.log_is_long.store(true, Ordering::Relaxed),
        }
    }

    /// Moves what can be moved, so that the log can be begun anew.
    pub(super) fn make_room(writer: &Connection, shared: &Shared) {
        move_log(writer, if shared.is_copying() { Mode::Passive } else { Mode::Restart }, shared);
    }

    /// Ends the thread and moves what is left. Tells whether everything stands in the database now.
    pub(super) fn finish(self, writer: &Connection, shared: &Shared) -> bool {
        drop(self.nudges);
        // A thread that panicked has said so already.
        drop(self.thread.join());
        move_log(writer, Mode::Truncate, shared) == Some(0) && shared.check().is_ok()
    }
}

fn work(connection: &Connection, nudges: &Receiver<()>, log_is_long: &AtomicBool, shared: &Shared) {
    while nudges.recv().is_ok() {
        let n_pages = move_log(connection, Mode::Passive, shared).unwrap_or(0);
        log_is_long.store(n_pages > WAL_PAGES_MAX, Ordering::Relaxed);
    }
}

/// Moves what can be moved, and returns how many pages the log has then, where that can be told. That somebody is in the way is
/// no error to SQLite, and none here: the next time comes.
fn move_log(connection: &Connection, mode: Mode, shared: &Shared) -> Option<i32> {
    match connection.query_row(mode.statement(), [], |row| row.get(1)) {
        Ok(n_pages) => Some(n_pages),
        Err(error) => {
            match reach_of_failed_sync(&error) {
                Reach::Store => shared.fail(Refusal::DiskFailed, &error),
                // Until the next time everything stands in the log.
                Reach::Batch | Reach::Command | Reach::Room => {
                    tracing::warn!(%error, "the database's log could not be moved");
                }
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::opening;
    use crate::store::sqlite::room::Room;

    #[test]
    fn a_log_that_has_grown_long_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("callout.db");
        let writer = opening::open_writer(&path, opening::Left::Never).unwrap();
        let shared = Arc::new(Shared::new(Room::beside(&path)));
        let connection = opening::open_checkpointer(&path).unwrap();
        let mut checkpointer = Checkpointer::start(connection, Arc::clone(&shared)).unwrap();
        let write = || {
            let sql = "INSERT INTO secrets VALUES (hex(randomblob(16)), zeroblob(200000))";
            writer.execute(sql, []).unwrap();
            directory.path().join("callout.db-wal").metadata().unwrap().len()
        };
        let once = write();
        let twice = write();
        assert!(twice > once, "each write makes the log longer");
        checkpointer.log_is_long.store(true, Ordering::Relaxed);
        checkpointer.after(DEEDS_BETWEEN - 1, &writer, &shared);
        assert!(write() > twice, "it is not looked at after every deed");
        checkpointer.after(1, &writer, &shared);
        let length = directory.path().join("callout.db-wal").metadata().unwrap().len();
        assert_eq!(write(), length, "the old log is written over");
        checkpointer.finish(&writer, &shared);
        assert_eq!(directory.path().join("callout.db-wal").metadata().unwrap().len(), 0);
        shared.check().unwrap();
    }
}
