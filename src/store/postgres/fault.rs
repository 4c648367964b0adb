//! What can go wrong with the database, and whom it concerns.

use std::sync::Arc;

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::id::AlertId;
use crate::store::{Error, NotKept};

/// Something went wrong while the database was asked.
#[derive(Debug)]
pub(super) enum Fault {
    /// PostgreSQL could not do it, or the connection broke.
    Statement(tokio_postgres::Error),
    /// There is no connection to be had.
    NoConnection(PoolError),
    /// The store refuses.
    Refused(Refusal),
    /// A row means nothing.
    Corrupt(Error),
}

/// Whom a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nobody: the same may succeed at once. Whether it has happened is not known.
    Again,
    /// The command that brought it about; others may succeed.
    Command,
    /// Everything that waits now; what comes later may succeed.
    Batch,
}

/// Why a store that works refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the connections to the database have been closed")]
    Closed,
    #[error("the database does not answer")]
    Silent,
    #[error("the alert with the same dedup key is closed and opened too fast")]
    Contended,
    #[error("a newer callout has changed the database; this one may only read: bring it to the same version")]
    NewerSchema,
}

/// What PostgreSQL says, with its own words for it, which tokio-postgres keeps one level down.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL: {said}")]
struct Said {
    said: Box<str>,
    #[source]
    source: tokio_postgres::Error,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Unavailable(Arc::new(refusal))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Statement(error)
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Closed => Self::Refused(Refusal::Closed),
            PoolError::Backend(error) => Self::Statement(error),
            error @ (PoolError::Timeout(_) | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
                Self::NoConnection(error)
            }
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Corrupt(error) => error,
            Fault::Refused(refusal) => refusal.into(),
            Fault::NoConnection(error) => Self::Unavailable(Arc::new(error)),
            Fault::Statement(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                Self::Unavailable(Arc::new(NotKept::SecondOfItsName))
            }
            Fault::Statement(source) => {
                // Its detail may quote what was to be kept; its message does not.
                let said = match source.as_db_error() {
                    Some(said) => format!("{} ({})", said.message(), said.code().code()),
                    None => "the connection failed".to_owned(),
                };
                Self::Unavailable(Arc::new(Said { said: said.into(), source }))
            }
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

    /// Whom it concerns.
    pub(super) fn reach(&self) -> Reach {
        match self {
            Self::Corrupt(_) => Reach::Command,
            Self::Refused(Refusal::Silent) => Reach::Again,
            Self::Refused(_) | Self::NoConnection(_) => Reach::Batch,
            Self::Statement(error) => error.code().map_or(Reach::Again, reach_of_code),
        }
    }

    /// The constraint that forbids it, by its name.
    pub(super) fn broken_constraint(&self) -> Option<&str> {
        match self {
            Self::Statement(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                error.as_db_error()?.constraint()
            }
            Self::Statement(_) | Self::NoConnection(_) | Self::Refused(_) | Self::Corrupt(_) => None,
        }
    }

    /// Whether the connection is of no use any more: it broke, or it leads to a server that only reads.
    pub(super) fn spoils_connection(&self) -> bool {
        match self {
            Self::Refused(Refusal::Silent) => true,
            Self::Statement(error) => match error.code() {
                None => true,
                Some(code) => {
                    *code == SqlState::READ_ONLY_SQL_TRANSACTION || matches!(code.code().get(..2), Some("57" | "08"))
                }
            },
            Self::Refused(_) | Self::NoConnection(_) | Self::Corrupt(_) => false,
        }
    }
}

/// Whom an error that PostgreSQL names concerns (its appendix "PostgreSQL Error Codes").
fn reach_of_code(code: &SqlState) -> Reach {
    // A statement that was cancelled for its time may have waited for one row that somebody holds.
    if *code == SqlState::QUERY_CANCELED {
        return Reach::Command;
    }
    // It was a replica, or has become one: the next connection may lead to the server that writes.
    if *code == SqlState::READ_ONLY_SQL_TRANSACTION || *code == SqlState::TOO_MANY_CONNECTIONS {
        return Reach::Again;
    }
    // A plan was forgotten while an alert came to have it, or the other way round.
    if *code == SqlState::FOREIGN_KEY_VIOLATION {
        return Reach::Again;
    }
    match code.code().get(..2) {
        // Serialization failures and deadlocks, an administrator's command, a lost connection.
        Some("40" | "57" | "08") => Reach::Again,
        // No room, no memory; an I/O error; no permission.
        Some("53" | "58" | "28" | "3D") => Reach::Batch,
        Some(_) | None => Reach::Command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_succeed_at_once_is_told_from_what_will_not() {
        let reach = |code: &str| reach_of_code(&SqlState::from_code(code));
        for code in ["40001", "40P01", "57P01", "57P02", "57P03", "08006", "25006", "53300"] {
            assert_eq!(reach(code), Reach::Again, "{code}");
        }
        for code in ["57014", "55P03", "23505", "22021", "42P01"] {
            assert_eq!(reach(code), Reach::Command, "{code}");
        }
        for code in ["53100", "53200", "58030"] {
            assert_eq!(reach(code), Reach::Batch, "{code}");
        }
    }
}
