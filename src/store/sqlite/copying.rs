//! Copies of a database: made while it is in use, looked through, and put in its place again.
//!
//! A copy has its name only once it is whole: it is written under another one, looked through, written
//! out to the disk, and then renamed. Whatever a copy is put in the place of is moved aside, not deleted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::store::CopyError;
use crate::timestamp::Timestamp;

use super::opening::{self, Left, Ownership, beside, private_file};

/// What a copy was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// How many alerts there are.
    pub n_alerts: u64,
    /// How many of them escalate.
    pub n_escalating: u64,
}

/// What putting a copy in place did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What is there now.
    pub holding: Holding,
    /// Where the database that was there before is now.
    pub aside: Option<PathBuf>,
}

/// Copies the database that a connection has open, while others read and write it.
pub(super) fn copy(connection: &Connection, to: &Path) -> Result<Holding, CopyError> {
    let part = beside(to, ".part");
    let copied = copy_to_part(connection, to, &part).and_then(|holding| {
        finish(&part, to)?;
        Ok(holding)
    });
    if copied.is_err() {
        // What is left over is of no use; it may not be there at all.
        let _removed_or_not = fs::remove_file(&part);
    }
    copied
}

fn copy_to_part(connection: &Connection, to: &Path, part: &Path) -> Result<Holding, CopyError> {
    let failed = |source| CopyError::File { path: to.to_owned(), source };
    remove_if_there(part).map_err(failed)?;
    // SQLite would make it readable to everybody; an empty file it takes as it is.
    private_file(part).map_err(failed)?;
    let name = part.to_str().ok_or_else(|| failed(io::Error::from(io::ErrorKind::InvalidFilename)))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|source| copy_failed(to, source))?;
    look_through(part)
}

/// Copies the database of a service that does not run.
pub fn copy_closed(database: &Path, to: &Path) -> Result<Holding, CopyError> {
    let _ownership = Ownership::take(database).map_err(CopyError::open)?;
    if !database.exists() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        return Err(CopyError::File { path: database.to_owned(), source });
    }
    let failed = |source| copy_failed(to, source);
    let connection = opening::connect(database).map_err(failed)?;
    // Nothing is changed in it, its log neither, so that the next start finds it as it was left.
    opening::keep_log_when_closed(&connection, true).map_err(failed)?;
    copy(&connection, to)
}

/// Looks through a file: whether it is a whole database of callout that this version understands.
pub fn look_through(path: &Path) -> Result<Holding, CopyError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|source| copy_failed(path, source))?;
    examine(&connection, path)
}

fn examine(connection: &Connection, path: &Path) -> Result<Holding, CopyError> {
    let failed = |source| copy_failed(path, source);
    let damaged = |reason: &str| CopyError::Damaged { path: path.to_owned(), reason: reason.into() };
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    if application != opening::APPLICATION_ID {
        return Err(damaged("it is something else"));
    }
    let schema: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if schema > opening::schema_known() {
        return Err(damaged("it was written by a newer callout"));
    }
    if let Some(reason) = opening::damage(connection).map_err(failed)? {
        return Err(damaged(&reason));
    }
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    Ok(Holding {
        n_alerts: count("SELECT count(*) FROM alerts").map_err(failed)?,
        n_escalating: count("SELECT count(*) FROM states WHERE wake_at IS NOT NULL").map_err(failed)?,
    })
}

/// Puts a copy in the place of a database that no service has open. What is there already is moved aside,
/// and only where `may_replace` allows it.
pub fn restore(copy: &Path, database: &Path, may_replace: bool, now: Timestamp) -> Result<Restored, CopyError> {
    let ownership = Ownership::take(database).map_err(CopyError::open)?;
    let is_there = fs::metadata(database).is_ok_and(|metadata| metadata.len() > 0);
    if is_there && !may_replace {
        return Err(CopyError::Exists { path: database.to_owned() });
    }
    let part = beside(database, ".restoring");
    let restored = bring_in(copy, &part).and_then(|holding| {
        let aside =
            move_aside(database, now).map_err(|source| CopyError::File { path: database.to_owned(), source })?;
        finish(&part, database)?;
        Ok(Restored { holding, aside })
    });
    match &restored {
        Ok(_) => ownership.mark(Left::Closed).map_err(CopyError::open)?,
        Err(_) => {
            for leftover in [part.clone(), beside(&part, "-wal")] {
                // It may not be there.
                let _removed_or_not = fs::remove_file(leftover);
            }
        }
    }
    restored
}

/// Copies the file, with the log that stands beside it if there is one, and makes one whole file of both.
fn bring_in(copy: &Path, part: &Path) -> Result<Holding, CopyError> {
    let failed = |path: &Path, source| CopyError::File { path: path.to_owned(), source };
    for end in ["", "-wal"] {
        let (from, to) = (beside(copy, end), beside(part, end));
        remove_if_there(&to).map_err(|source| failed(&to, source))?;
        if end.is_empty() || from.exists() {
            let mut source = File::open(&from).map_err(|source| failed(&from, source))?;
            let mut target = private_file(&to).map_err(|source| failed(&to, source))?;
            io::copy(&mut source, &mut target).map_err(|source| failed(&to, source))?;
        }
    }
    // Before anything of SQLite's touches it: a file that is none of ours is named as it was given.
    let named = |error| match error {
        CopyError::Damaged { reason, .. } => CopyError::Damaged { path: copy.to_owned(), reason },
        other @ (CopyError::Unsupported
        | CopyError::Open(_)
        | CopyError::Exists { .. }
        | CopyError::File { .. }
        | CopyError::Failed { .. }
        | CopyError::Store(_)) => other,
    };
    let connection = opening::connect(part).map_err(|source| named(copy_failed(part, source)))?;
    let holding = examine(&connection, part).map_err(named)?;
    connection.close().map_err(|(_, source)| named(copy_failed(part, source)))?;
    Ok(holding)
}

/// Moves a database and its log out of the way. Returns where the database is now.
fn move_aside(database: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    let aside = beside(database, &format!(".before-restore-{}", now.as_millis()));
    let is_there = database.exists();
    for end in ["-wal", ""] {
        match fs::rename(beside(database, end), beside(&aside, end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(is_there.then_some(aside))
}

/// Writes a whole file out to the disk and gives it its name.
fn finish(part: &Path, name: &Path) -> Result<(), CopyError> {
    let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let finished = File::open(part)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(part, name))
        .and_then(|()| File::open(folder)?.sync_all());
    finished.map_err(|source| CopyError::File { path: name.to_owned(), source })
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn copy_failed(path: &Path, source: rusqlite::Error) -> CopyError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match source.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            CopyError::Damaged { path: path.to_owned(), reason: source.to_string().into() }
        }
        Some(_) | None => CopyError::Failed { path: path.to_owned(), source: std::sync::Arc::new(source) },
    }
}
