//! Opening a database: one owner, the right settings, the newest schema.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::store::Error;

use super::fault::Fault;

/// The oldest SQLite that does not lose writes when two connections meet at a restart of the
/// write-ahead log (sqlite.org, "The WAL-reset bug", fixed in 3.51.3).
const SQLITE_MIN: i32 = 3_051_003;
/// Marks a database as callout's: "call" in ASCII.
pub(super) const APPLICATION_ID: i32 = 0x6361_6c6c;
/// The steps that make the schema, in order; the database remembers how many it has seen.
const MIGRATIONS: [&str; 6] = [
    include_str!("../migrations/sqlite/1.sql"),
    include_str!("../migrations/sqlite/2.sql"),
    include_str!("../migrations/sqlite/3.sql"),
    include_str!("../migrations/sqlite/4.sql"),
    include_str!("../migrations/sqlite/5.sql"),
    include_str!("../migrations/sqlite/6.sql"),
];
/// How large a database may be to be looked through before anything else happens (about 0.2 s); a larger one is looked
/// through while it works.
const LOOKED_THROUGH_FIRST_MAX: u64 = 64 << 20;
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
    /// There is something else in the file.
    #[error("{} is not a database of callout; name another file, or move this one away", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// Alerts were kept here, and now there is nothing.
    #[error(
        "the database {0} is gone or empty, although callout has kept alerts in it; put a copy in its place with \
         `callout restore FILE`, or delete {0}-owner to begin with an empty one",
        path.display()
    )]
    Gone {
        /// The database.
        path: PathBuf,
    },
    /// The process before did not come to its end, and what it wrote last is gone.
    #[error(
        "the log {0}-wal is gone, which held what was written last to the database {0}; find it, or put a copy in \
         place of both with `callout restore --force FILE`",
        path.display()
    )]
    LogGone {
        /// The database.
        path: PathBuf,
    },
    /// Something in it is not what it must be.
    #[error(
        "the database {} is damaged ({reason}); nothing is started, so that no alert is forgotten in silence; put a \
         copy in its place with `callout restore --force FILE`, which keeps the damaged one beside it",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says of it.
        reason: Box<str>,
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

/// How a database was left by whoever had it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nobody is known to have had it.
    Never,
    /// In use: the process ended without closing it.
    Open,
    /// Closed: everything stands in the one file.
    Closed,
}

impl Left {
    const fn word(self) -> &'static str {
        match self {
            Self::Never => "",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }

    fn of(word: Option<&str>) -> Self {
        match word {
            Some("open") => Self::Open,
            // Another word was written by another version, which had a database too.
            Some(_) => Self::Closed,
            None => Self::Never,
        }
    }
}

/// Holds a database against every other callout, of this process too, until it is dropped.
///
/// SQLite's own lock (`unix-excl`) keeps other processes out but not this one, and does not know who
/// they are; so a file beside the database is locked as well, and holds the owner's process id. It also
/// says how the database was left, and so knows that there was one where there is none any more.
#[derive(Debug)]
pub(super) struct Ownership {
    locked: File,
    database: PathBuf,
    left: Left,
}

impl Ownership {
    pub(super) fn take(database: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::File { path: database.to_owned(), source };
        let mut file = private_file(&beside(database, "-owner")).map_err(failed)?;
        let locked = file.try_lock();
        let mut text = String::new();
        let read = file.read_to_string(&mut text);
        let mut words = text.split_whitespace();
        let pid = words.next().and_then(|word| word.parse().ok());
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: database.to_owned(), pid }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let _n_bytes = read.map_err(failed)?;
        let ownership = Self { left: Left::of(words.next()), locked: file, database: database.to_owned() };
        ownership.mark(ownership.left)?;
        Ok(ownership)
    }

    /// How the database was left by whoever had it before.
    pub(super) const fn left(&self) -> Left {
        self.left
    }

    /// Writes down how the database would be found now. Always of one length and in one place, so that it
    /// is never half of anything and needs no room.
    pub(super) fn mark(&self, left: Left) -> Result<(), OpenError> {
        let text = format!("{:<10}\n{:<6}\n", std::process::id(), left.word());
        let written = self.locked.write_all_at(text.as_bytes(), 0).and_then(|()| self.locked.sync_data());
        written.map_err(|source| OpenError::File { path: self.database.clone(), source })
    }
}

/// The name of a file beside another one.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// The smallest page that SQLite knows; it takes a file that is shorter for an empty one.
const PAGE_BYTES_LEAST: u64 = 512;

fn n_bytes(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Refuses to begin where something has been lost: an empty database would forget alerts in silence.
fn refuse_losses(path: &Path, left: Left) -> Result<(), OpenError> {
    let has_log = beside(path, "-wal").exists();
    // Before it has been in use for the first time, a power cut may leave a log and no database: it held nothing.
    if n_bytes(path) < PAGE_BYTES_LEAST && left != Left::Never {
        return Err(OpenError::Gone { path: path.to_owned() });
    }
    if left == Left::Open && !has_log {
        return Err(OpenError::LogGone { path: path.to_owned() });
    }
    Ok(())
}

/// Makes sure of a new database before anything says that there is one: else a power cut in its first moments could leave
/// the word and not the database, which would look like a loss. SQLite itself forces its pages to the disk, because a
/// file of ours on it would end SQLite's locks when it is closed; the names stand in the folder.
pub(super) fn make_sure_of_new(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let unusable = |source| OpenError::Database { path: path.to_owned(), source };
    connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |_moved| Ok(())).map_err(unusable)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| OpenError::File { path: path.to_owned(), source })
}

/// What is still to be looked through once the database is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    /// Nothing.
    Nothing,
    /// The whole of it: it is large.
    Everything,
}

/// Looks through a database, however it was left: a disk may have damaged it since. Deadlines are read from an index alone,
/// so that one which does not fit its table would let people sleep.
fn look_through(connection: &Connection, path: &Path) -> Result<Unseen, OpenError> {
    if path.metadata().is_ok_and(|metadata| metadata.len() > LOOKED_THROUGH_FIRST_MAX) {
        return Ok(Unseen::Everything);
    }
    match damage(connection) {
        Ok(None) => Ok(Unseen::Nothing),
        Ok(Some(reason)) => Err(OpenError::Damaged { path: path.to_owned(), reason }),
        Err(error) => Err(failure(path, Left::Open, error)),
    }
}

/// What SQLite finds wrong with the database, if anything: with its pages, or with an index that does not fit its table.
pub(super) fn damage(connection: &Connection) -> rusqlite::Result<Option<Box<str>>> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then(|| found.into()))
}

/// What it means that SQLite cannot work with the file.
fn failure(path: &Path, left: Left, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse { path, pid: None },
        Some(ErrorCode::NotADatabase) if left == Left::Never => OpenError::NotOurs { path },
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { path, reason: source.to_string().into() }
        }
        Some(_) | None => OpenError::Database { path, source },
    }
}

/// Opens a file that only its owner may read, making it where it is missing.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// A database that is open for writing, and what is known about it.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) ownership: Ownership,
    pub(super) unseen: Unseen,
}

impl Opened {
    /// Takes a database, brings it to the newest schema, and looks through it. Its log is left as
    /// it is until [`Opened::accept`]: SQLite would move it into the database and delete it when whoever is refused
    /// closes its connection, and a later try, or the right callout, would miss it.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let ownership = Ownership::take(path)?;
        let left = ownership.left();
        refuse_losses(path, left)?;
        let connection = open_writer(path, left)?;
        let unseen = look_through(&connection, path)?;
        Ok(Self { connection, ownership, unseen })
    }

    /// Nothing is in the way of using it: from now on closing it moves its log.
    pub(super) fn accept(&self, path: &Path) -> Result<(), OpenError> {
        let failed = |source| OpenError::Database { path: path.to_owned(), source };
        keep_log_when_closed(&self.connection, false).map_err(failed)
    }
}

/// Opens the writing connection, and brings the database to the newest schema. The log stays when it is closed.
pub(super) fn open_writer(path: &Path, left: Left) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(OpenError::SqliteTooOld { found: rusqlite::version() });
    }
    // SQLite would make it readable to everybody. The files that it puts beside it copy this one's mode.
    private_file(path).map_err(|source| OpenError::File { path: path.to_owned(), source })?;
    let failed = |source| failure(path, left, source);
    let mut connection = connect(path).map_err(failed)?;
    keep_log_when_closed(&connection, true).map_err(failed)?;
    check_ours(&connection, path, left, failed)?;
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

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(path, flags, c"unix-excl")?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Each statement has its index, whatever is bound. Without this SQLite understands those of several tables anew each
    // time that something else is bound, which took longer than to answer them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Whether SQLite leaves the log as it is when the last connection is closed, in place of moving it into the database and
/// deleting it.
pub(super) fn keep_log_when_closed(connection: &Connection, is_kept: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_kept).map(|_is_kept| ())
}

/// Refuses what is somebody else's, before anything is changed in it.
fn check_ours(
    connection: &Connection,
    path: &Path,
    left: Left,
    failed: impl Fn(rusqlite::Error) -> OpenError,
) -> Result<(), OpenError> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(&failed)?;
    let n_tables: u32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(&failed)?;
    let is_new = application == 0 && n_tables == 0;
    match left {
        Left::Open | Left::Closed if is_new => Err(OpenError::Gone { path: path.to_owned() }),
        Left::Never | Left::Open | Left::Closed if is_new || application == APPLICATION_ID => Ok(()),
        Left::Never | Left::Open | Left::Closed => Err(OpenError::NotOurs { path: path.to_owned() }),
    }
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

/// The newest schema that this callout knows.
pub(super) fn schema_known() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

fn migrate(
    connection: &mut Connection,
    path: &Path,
    failed: impl Fn(rusqlite::Error) -> OpenError,
) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(&failed)?;
    let known = schema_known();
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
