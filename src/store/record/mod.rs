//! The stored form of alerts, plans and parked webhooks: JSON, with its version inside.
//!
//! An alert is kept as two records, because one never changes and the other is replaced with every
//! event: what was [raised](write_raised) and its [state](write_state). Its plan is a
//! [third](write_plan), shared by all alerts that take the same way and named by its SHA-256.
//!
//! The domain types know nothing of this. The forms here mirror them field by field, so that a
//! field that is added there does not compile until it has a stored form here. Each form that was
//! ever shipped stands in `tests/records` and must load for ever: a field may be added if it has a
//! default; anything else needs a new version number and code that still reads the old one.
//!
//! A record that cannot be read, or that breaks a promise of the escalation, is an [`Error`], never
//! a guess. The errors say where a record is wrong and not what stands there, since what stands
//! there is private. Addresses are kept in full, because a frozen plan must still know them when
//! the configuration does not: whoever can read the database can read the addresses.

mod alert;
mod forms;
mod incoming;
mod plan;
mod wording;

pub use alert::{later_raised, later_state, read_alert, read_raised, write_raised, write_state};
pub(in crate::store) use incoming::legible_incoming;
pub use incoming::{read_incoming, write_incoming};
pub use plan::{PlanHash, StoredPlan, read_plan, write_plan};

use serde::de::DeserializeOwned;

use crate::escalation::PlanError;

/// The version that is written, of every record.
const VERSION: u32 = 1;

/// Why something has no stored form, or a stored form means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not JSON, or not the JSON of this record.
    #[error("the record cannot be read at line {line}, column {column}")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A newer callout wrote it.
    #[error("the record has version {found}; this callout knows versions up to {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// It can be read, but no alert can be like this.
    #[error("the record breaks a promise: {0}")]
    Promise(&'static str),
    /// It can be read, but no plan can be like this.
    #[error("the plan {0}")]
    Plan(#[source] PlanError),
}

impl From<serde_json::Error> for Error {
    /// Keeps the place and drops the words, which would quote what stands there.
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed { line: error.line(), column: error.column() }
    }
}

/// What every record begins with.
#[derive(serde::Deserialize)]
struct Versioned {
    v: u32,
}

/// A record as it was read.
trait Record: DeserializeOwned {
    /// The version that it says it has.
    fn version(&self) -> u32;
}

/// Reads a record, telling one that is too new from one that is broken.
fn read<R: Record>(text: &str) -> Result<R, Error> {
    let found = match serde_json::from_str::<R>(text) {
        Ok(record) if record.version() == VERSION => return Ok(record),
        Ok(record) => record.version(),
        // What a newer callout wrote need not have a form that is known here.
        Err(error) => match serde_json::from_str(text) {
            Ok(Versioned { v }) if v != VERSION => v,
            Ok(Versioned { .. }) | Err(_) => return Err(error.into()),
        },
    };
    Err(Error::Version { found })
}
