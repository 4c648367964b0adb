//! Moving everything from an SQLite file to a PostgreSQL database, so that no running alert is lost.
//!
//! Rows are copied as they are: records keep their bytes, versions and deadlines. It is one transaction, in
//! which everything is counted before it can be seen; whatever goes wrong before its end leaves both stores
//! as they were.
//!
//! Only where the file goes by another time than the database do rows change on their way. A file keeps the
//! timeline on which its deadlines were set, however the machine's wall clock was stepped since ([`Timeline`]); a
//! database goes by its server's clock. So the moments of whatever still waits are translated, that it keep
//! the time that it has left.
//!
//! [`Timeline`]: crate::clock::Timeline

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::chance::Chance;
use crate::clock::Clock;

use super::{PostgresError, PostgresStore, postgres, sqlite};

/// A table, and how its columns are read and written. All of them travel as texts; bytes as hexadecimal digits.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) read: &'static str,
    pub(super) write: &'static str,
    pub(super) n_columns: usize,
    pub(super) proof: Proof,
    pub(super) moments: Moments,
}

/// Which moments of a row count for what is still to come, by the columns that they stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moments {
    /// None.
    None,
    /// Those in these columns, where no column says that the row is over.
    Columns {
        /// Each has a moment, or nothing.
        moments: &'static [usize],
        /// It says "1" when nothing is to come any more.
        over: Option<usize>,
    },
    /// All of a record of what was posted, where the alert still waits for a moment.
    Raised {
        /// The record.
        record: usize,
    },
    /// All of a record of a state, where the alert still waits for a moment.
    State {
        /// When it is to be woken, if it is.
        wake_at: usize,
        /// The record.
        record: usize,
    },
}

/// Clocks that differ by less are taken for the same: then records keep their bytes.
const SAME_TIME_MAX: Duration = Duration::from_secs(1);

/// How a row of a file is told from one that was damaged after it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Only the whole file tells, which was looked through when it was opened.
    None,
    /// The record in this column must have the hash in the first one.
    Hash(usize),
    /// The record in this column carries the seal of the place that one more column names, which is read behind
    /// those that are written. The seal is left behind. A record from before there were seals must be JSON.
    Seal(usize),
}

/// One row, as it travels.
pub(super) type Row = Vec<Option<String>>;

/// How many rows travel together.
pub(super) const ROWS_AT_A_TIME: usize = 500;

/// Everything that is kept. What says only how the files themselves are doing is left behind.
pub(super) const TABLES: [Table; 9] = [
    Table {
        name: "plans",
        read: "SELECT hex(hash), record FROM plans ORDER BY id",
        write: "INSERT INTO callout.plans (hash, record) SELECT decode(a, 'hex'), b \
                FROM unnest($1::text[], $2::text[]) AS t (a, b) ON CONFLICT (hash) DO UPDATE SET record = excluded.record",
        n_columns: 2,
        proof: Proof::Hash(1),
        moments: Moments::None,
    },
    Table {
        name: "alerts",
        read: "SELECT CAST(a.number AS TEXT), hex(a.id), a.policy, hex(p.hash), a.record, \
               printf('%016x', a.number) || hex(a.id) || printf('%016x', a.plan) \
               FROM alerts a LEFT JOIN plans p ON p.id = a.plan ORDER BY a.number",
        write: "INSERT INTO callout.alerts (number, id, policy, plan, record) \
                SELECT a::bigint, b::uuid, c, decode(nullif(d, ''), 'hex'), e \
                FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS t (a, b, c, d, e)",
        n_columns: 5,
        proof: Proof::Seal(4),
        moments: Moments::Raised { record: 4 },
    },
    Table {
        name: "states",
        read: "SELECT CAST(number AS TEXT), hex(id), CAST(version AS TEXT), status, CAST(wake_at AS TEXT), \
               CAST(sending AS TEXT), CAST(failing AS TEXT), \
               CASE WHEN open_key IS NOT NULL THEN hex(open_key) END, \
               CASE WHEN spent_key IS NOT NULL THEN hex(spent_key) END, record, CAST(settled_at AS TEXT), \
               printf('%016x', number) || hex(id) \
               FROM states ORDER BY number",
        write: "INSERT INTO callout.states (number, id, version, status, wake_at, sending, failing, open_key, spent_key, record, settled_at) \
                SELECT a::bigint, b::uuid, c::bigint, d, e::bigint, f = '1', g = '1', decode(h, 'hex'), decode(i, 'hex'), j, k::bigint \
                FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
                            $8::text[], $9::text[], $10::text[], $11::text[]) AS t (a, b, c, d, e, f, g, h, i, j, k)",
        n_columns: 11,
        proof: Proof::Seal(9),
        moments: Moments::State { wake_at: 4, record: 9 },
    },
    Table {
        name: "messages",
        read: "SELECT id, CAST(number AS TEXT), CAST(attempt AS TEXT) FROM messages",
        write: "INSERT INTO callout.messages (id, number, attempt) SELECT a, b::bigint, c::bigint \
                FROM unnest($1::text[], $2::text[], $3::text[]) AS t (a, b, c)",
        n_columns: 3,
        proof: Proof::None,
        moments: Moments::None,
    },
    Table {
        name: "reached",
        read: "SELECT channel, address, CAST(number AS TEXT) FROM reached",
        write: "INSERT INTO callout.reached (channel, address, number) SELECT a, b, c::bigint \
                FROM unnest($1::text[], $2::text[], $3::text[]) AS t (a, b, c)",
        n_columns: 3,
        proof: Proof::None,
        moments: Moments::None,
    },
    Table {
        name: "claims",
        read: "SELECT hex(c.key), hex(c.fingerprint), c.outcome, CAST(c.number AS TEXT), CAST(c.at AS TEXT), c.record, \
               printf('%016x', c.number) || coalesce(hex(a.id), '') FROM claims c LEFT JOIN alerts a ON a.number = c.number",
        write: "INSERT INTO callout.claims (key, fingerprint, outcome, number, at, record) \
                SELECT decode(a, 'hex'), decode(b, 'hex'), c, d::bigint, e::bigint, f \
                FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS t (a, b, c, d, e, f)",
        n_columns: 6,
        proof: Proof::Seal(5),
        moments: Moments::Columns { moments: &[4], over: None },
    },
    Table {
        name: "parked",
        read: "SELECT id, CAST(at AS TEXT), record, hex(id) FROM parked ORDER BY place",
        write: "INSERT INTO callout.parked (id, at, record) SELECT a, b::bigint, c \
                FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS t (a, b, c, place) ORDER BY place",
        n_columns: 3,
        proof: Proof::Seal(2),
        moments: Moments::Columns { moments: &[1], over: None },
    },
    Table {
        name: "deliveries",
        read: "SELECT CAST(endpoint AS TEXT), hex(alert), topic, event, CAST(at AS TEXT), body, CAST(tries AS TEXT), \
               CAST(due_at AS TEXT), CAST(dead AS TEXT), failure FROM deliveries ORDER BY place",
        write: "INSERT INTO callout.deliveries (endpoint, alert, topic, event, at, body, tries, due_at, dead, failure) \
                SELECT a::bigint, b::uuid, c, d, e::bigint, f, g::bigint, h::bigint, i = '1', j \
                FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
                            $8::text[], $9::text[], $10::text[]) WITH ORDINALITY AS t (a, b, c, d, e, f, g, h, i, j, place) ORDER BY place",
        n_columns: 10,
        proof: Proof::None,
        moments: Moments::Columns { moments: &[4, 7], over: Some(8) },
    },
    Table {
        name: "secrets",
        read: "SELECT name, hex(value) FROM secrets",
        write: "INSERT INTO callout.secrets (name, value) SELECT a, decode(b, 'hex') \
                FROM unnest($1::text[], $2::text[]) AS t (a, b) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        n_columns: 2,
        proof: Proof::None,
        moments: Moments::None,
    },
];

/// What was moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// By how many milliseconds the file's time was ahead of the database's, where that made a difference.
    pub ahead_millis: Option<i64>,
    /// How many rows of each table, in the order in which they were written.
    pub rows: Vec<(&'static str, u64)>,
    /// The new name of the file, so that it is not served by accident; none where it could not be renamed.
    pub kept_as: Option<PathBuf>,
}

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The file cannot be used, or somebody else uses it.
    #[error(transparent)]
    From(#[from] super::OpenError),
    /// The file cannot be read to its end.
    #[error("cannot read the table {table} of {}", path.display())]
    Reading {
        /// The file.
        path: PathBuf,
        /// The table.
        table: &'static str,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A row is not what was written.
    #[error("the row {row} of the table {table} in {} was damaged after it was written; nothing was moved", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The table.
        table: &'static str,
        /// Which one, by its first column: the number of an alert, or a name.
        row: Box<str>,
    },
    /// The database cannot be used.
    #[error(transparent)]
    To(#[from] PostgresError),
    /// The database is not empty.
    #[error("the PostgreSQL database holds alerts already; nothing was moved. Name an empty database")]
    HoldsAlerts,
    /// Somebody works on the database.
    #[error(
        "nodes of callout work on the PostgreSQL database; nothing was moved. Stop them first, and wait ten seconds"
    )]
    InUse,
    /// The database could not take a table.
    #[error("the PostgreSQL database did not take the table {table}: {reason}; nothing was moved")]
    Writing {
        /// The table.
        table: &'static str,
        /// Why.
        reason: Box<str>,
    },
    /// Not everything arrived.
    #[error("of {expected} rows of the table {table}, {arrived} arrived; nothing was moved")]
    Miscounted {
        /// The table.
        table: &'static str,
        /// How many there are in the file.
        expected: u64,
        /// How many there are in the database.
        arrived: u64,
    },
}

/// Moves everything that an SQLite file keeps to an empty PostgreSQL database, and gives the file another name.
pub async fn move_to_postgres(
    from: &Path,
    to: &str,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
) -> Result<Moved, MoveError> {
    let source = sqlite::Source::open(from)?;
    let stepped = source.ahead_of(&*clock)?;
    let store = PostgresStore::open(to, Arc::clone(&clock), chance).await?;
    let ahead = clock.now().as_millis().saturating_add(stepped).saturating_sub(store.clock().now().as_millis());
    let ahead = (u128::from(ahead.unsigned_abs()) >= SAME_TIME_MAX.as_millis()).then_some(ahead);
    let (rows, reading) = source.read(ahead.map_or(0, i64::saturating_neg));
    let moved = postgres::take_over(&store, rows).await;
    super::Store::close(&store).await;
    // What the file could not say counts before what was made of it.
    let source = match reading.await {
        Ok(read) => read?,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    };
    let rows = moved?;
    let kept_as = source.put_away();
    Ok(Moved { ahead_millis: ahead, rows, kept_as })
}
