//! Opening a database: one owner, the right settings, the newest schema.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::store::Error;

use super::fault::Fault;

/// The oldest SQLite that does not lose writes when two connections meet at a restart of the
/// write-ahead log (sqlite.org, "The WAL-reset bug", fixed in 3.51.3).
const SQLITE_MIN: i32 = 3_051_003;
/// Marks a database as callout's: "call" in ASCII.
const APPLICATION_ID: i32 = 0x6361_6c6c;
/// The steps that make the schema, in order; the database remembers how many it has seen.
const MIGRATIONS: [&str; 2] = [include_str!("../migrations/sqlite/1.sql"), include_str!("../migrations/sqlite/2.sql")];
/// How long a connection waits for another one of this process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of the database the writer keeps at hand, in KiB (negative by SQLite's convention).
const WRITER_CACHE: i32 = -16_384;
/// What the write-ahead log is cut to after it had to grow, in bytes.
const WAL_BYTES_KEPT: i32 = 64 << 20;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two services on one database would both message people.
    #[error("another callout{} has this database open: {}", process(*.pid), path.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// The process that has it open, where it says so.
        pid: Option<u32>,
    },
    /// Its schema has steps that this callout does not know.
    #[error(
        "{} was written by a newer callout (schema {found}; this one knows up to {known}); \
         use that version again, or a backup from before the upgrade",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema that this callout knows.
        known: u32,
    },
    /// Alerts were kept here, and the file is not there any more or holds nothing.
    #[error(
        "{} is gone or empty, though alerts were kept in it; put it back or restore a backup \
         (to begin with nothing, remove {}-owner)",
        path.display(),
        path.display()
    )]
    Gone {
        /// The database.
        path: PathBuf,
    },
    /// There is something else in the file.
    #[error("{} is not a database of callout; name another file, or move this one away", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened, created or locked.
    #[error("cannot open {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite cannot work with the file.
    #[error("cannot use the database {}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// What stands in it cannot be read.
    #[error("cannot read the database {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
    /// This callout was built with an SQLite that may lose data.
    #[error("this callout was built with SQLite {found}, which may lose data; 3.51.3 is the oldest that does not")]
    SqliteTooOld {
        /// The version it was built with.
        found: &'static str,
    },
    /// No thread can be started.
    #[error("cannot start a thread for the database")]
    Thread(#[source] io::Error),
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// Holds a database against every other callout, of this process too, until it is dropped.
///
/// SQLite's own lock (`unix-excl`) keeps other processes out but not this one, and does not know who
/// they are; so a file beside the database is locked as well, and holds the owner's process id.
///
/// The same file remembers that the database was made once, so that one that has vanished is not taken
/// for one that is to be made: nobody would hear of the alerts that were in it.
#[derive(Debug)]
pub(super) struct Ownership {
    locked: File,
}

/// The smallest page that SQLite knows; it takes a file that is shorter for an empty one.
const PAGE_BYTES_LEAST: u64 = 512;
/// The second line of the owner's file once there is a database.
const MADE: &str = "made";

impl Ownership {
    pub(super) fn take(database: &Path) -> Result<Self, OpenError> {
        let mut path = database.as_os_str().to_owned();
        path.push("-owner");
        let path = PathBuf::from(path);
        let failed = |source| OpenError::File { path: database.to_owned(), source };
        let mut file = private_file(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text).ok();
                let pid = read.and_then(|_length| text.lines().next()?.trim().parse().ok());
                return Err(OpenError::InUse { path: database.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let was_made = String::from_utf8_lossy(&text).lines().any(|line| line == MADE);
        let is_there = std::fs::metadata(database).is_ok_and(|file| file.len() >= PAGE_BYTES_LEAST);
        if was_made && !is_there {
            return Err(OpenError::Gone { path: database.to_owned() });
        }
        let mut ownership = Self { locked: file };
        ownership.write(if was_made { MADE } else { "" }).map_err(failed)?;
        Ok(ownership)
    }

    /// From now on there is a database.
    pub(super) fn made(&mut self, database: &Path) -> Result<(), OpenError> {
        self.write(MADE).map_err(|source| OpenError::File { path: database.to_owned(), source })
    }

    fn write(&mut self, state: &str) -> io::Result<()> {
        self.locked.rewind()?;
        let text = format!("{}\n{state}\n", std::process::id());
        self.locked.write_all(text.as_bytes())?;
        // What stood there before may have been longer; it is cut off last, so that the file is never empty.
        self.locked.set_len(u64::try_from(text.len()).unwrap_or(0))
    }
}

/// Opens a file that only its owner may read, making it where it is missing.
fn private_file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Opens the writing connection, and brings the database to the newest schema.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(OpenError::SqliteTooOld { found: rusqlite::version() });
    }
    // SQLite would make it readable to everybody. The files that it puts beside it copy this one's mode.
    private_file(path).map_err(|source| OpenError::File { path: path.to_owned(), source })?;
    let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::InUse { path: path.to_owned(), pid: None }
        }
        Some(ErrorCode::NotADatabase) => OpenError::NotOurs { path: path.to_owned() },
        Some(_) | None => OpenError::Database { path: path.to_owned(), source },
    };
    let mut connection = connect(path).map_err(failed)?;
    check_ours(&connection, path, failed)?;
    set_for_writing(&connection).map_err(failed)?;
    migrate(&mut connection, path, failed)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    let connection = connect(path).map_err(failed)?;
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    Ok(connection)
}

/// Opens a connection that moves what was written from the log to the database.
pub(super) fn open_checkpointer(path: &Path) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    let connection = connect(path).map_err(failed)?;
    set_for_writing(&connection).map_err(failed)?;
    Ok(connection)
}

/// The database was opened, but what it says about its alerts cannot be read.
pub(super) fn unreadable(path: &Path, fault: Fault) -> OpenError {
    OpenError::Unreadable { path: path.to_owned(), source: fault.into() }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(path, flags, c"unix-excl")?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Refuses what is somebody else's, before anything is changed in it.
fn check_ours(
    connection: &Connection,
    path: &Path,
    failed: impl Fn(rusqlite::Error) -> OpenError,
) -> Result<(), OpenError> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(&failed)?;
    let n_tables: u32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(&failed)?;
    let is_new = application == 0 && n_tables == 0;
    if is_new || application == APPLICATION_ID { Ok(()) } else { Err(OpenError::NotOurs { path: path.to_owned() }) }
}

fn set_for_writing(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    // With less, a power cut could take back what was answered.
    connection.pragma_update(None, "synchronous", "full")?;
    // Of effect on macOS only, where a plain fsync does not reach the disk.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    // SQLite would do it within a commit, and would keep quiet about a disk that fails while it does.
    connection.pragma_update(None, "wal_autocheckpoint", 0)
}

fn migrate(
    connection: &mut Connection,
    path: &Path,
    failed: impl Fn(rusqlite::Error) -> OpenError,
) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(&failed)?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    let missing = (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found);
    for (version, migration) in missing {
        transaction.execute_batch(migration).map_err(&failed)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(&failed)?;
        transaction.pragma_update(None, "user_version", version).map_err(&failed)?;
    }
    transaction.commit().map_err(&failed)
}
