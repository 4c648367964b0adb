//! What can go wrong with the database, and whom it concerns.

use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::id::AlertId;
use crate::store::{Error, NotKept};

/// Something went wrong while the database was asked.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite could not do it.
    Statement(rusqlite::Error),
    /// A row means nothing.
    Corrupt(Error),
}

/// Whom a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The command that brought it about; others may succeed.
    Command,
    /// Everything that waits now; what comes later may succeed.
    Batch,
    /// Everything that waits now, because there is no room on the disk; when there is, it may succeed.
    Room,
    /// Everything from now on: nobody knows what of the last writes is on the disk.
    Store,
}

/// Why a store that works refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the database has been closed")]
    Closed,
    #[error("the disk is full; callout goes on by itself when there is room")]
    DiskFull,
    #[error("the disk failed while it was written to; callout must be started again")]
    DiskFailed,
    #[error("the database is damaged")]
    Damaged,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Unavailable(Arc::new(refusal))
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Statement(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let error = match fault {
            Fault::Corrupt(error) => return error,
            Fault::Statement(error) => error,
        };
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Self::Unavailable(Arc::new(NotKept::SecondOfItsName)),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { what: "the database file".into(), source: Arc::new(error) }
            }
            Some(_) | None => Self::Unavailable(Arc::new(error)),
        }
    }
}

impl Fault {
    /// A row about an alert means nothing.
    pub(super) fn corrupt_alert(id: AlertId, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Corrupt(Error::corrupt_alert(id, source))
    }

    /// A row about something else means nothing.
    pub(super) fn corrupt(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Corrupt(Error::corrupt(what, source))
    }

    /// Whom a fault concerns that came up while a command was carried out.
    pub(super) fn reach(&self) -> Reach {
        match self {
            Self::Corrupt(_) => Reach::Command,
            Self::Statement(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Reach::Room,
                Some(ErrorCode::SystemIoFailure) => Reach::Store,
                Some(ErrorCode::OutOfMemory) => Reach::Batch,
                Some(_) | None => Reach::Command,
            },
        }
    }
}

/// Whom a fault concerns that came up at the commit itself, or while the log was moved.
///
/// An operating system reports a failed fsync once and may then forget what could not be written, so
/// that trying again would succeed and mean nothing.
pub(super) fn reach_of_failed_sync(error: &rusqlite::Error) -> Reach {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => Reach::Store,
        Some(ErrorCode::DiskFull) => Reach::Room,
        Some(_) | None => Reach::Batch,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn a_failed_fsync_ends_the_store_and_a_full_disk_only_the_batch() {
        assert_eq!(reach_of_failed_sync(&failure(ffi::SQLITE_IOERR_FSYNC)), Reach::Store);
        assert_eq!(reach_of_failed_sync(&failure(ffi::SQLITE_IOERR_WRITE)), Reach::Store);
        assert_eq!(reach_of_failed_sync(&failure(ffi::SQLITE_FULL)), Reach::Room);
        assert_eq!(Fault::from(failure(ffi::SQLITE_FULL)).reach(), Reach::Room);
        assert_eq!(Fault::from(failure(ffi::SQLITE_CONSTRAINT_UNIQUE)).reach(), Reach::Command);
    }
}
