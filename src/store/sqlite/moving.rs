//! Reading everything out of a file that nobody else uses, to move it elsewhere.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::hash::sha256;
use crate::store::moving::{Moments, MoveError, Proof, ROWS_AT_A_TIME, Row, TABLES, Table};
use crate::store::record;

use super::OpenError;
use super::opening::{Opened, Ownership};
use super::sealed::{Damaged, unseal};
use super::timeline;

/// The alerts that wait for a moment.
const WAITING: &str = "SELECT CAST(number AS TEXT) FROM states WHERE wake_at IS NOT NULL";
/// How many groups of rows wait to be written.
const WAITING_MAX: usize = 4;

/// A file that is being moved, and kept from everybody else until it is.
pub(in crate::store) struct Source {
    path: PathBuf,
    connection: Connection,
    _ownership: Ownership,
}

/// Rows of a table, or how many it has in all once it has been read.
pub(in crate::store) enum Part {
    /// Some rows.
    Rows(&'static Table, Vec<Row>),
    /// It had so many.
    End(&'static Table, u64),
}

impl Source {
    /// Opens a file that must be there.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, OpenError> {
        std::fs::metadata(path).map_err(|source| OpenError::File { path: path.to_owned(), source })?;
        let opened = Opened::open(path)?;
        opened.accept(path)?;
        let Opened { connection, ownership, unseen: _ } = opened;
        Ok(Self { path: path.to_owned(), connection, _ownership: ownership })
    }

    /// How far the time that the file goes by is ahead of a clock of this machine, in milliseconds.
    pub(in crate::store) fn ahead_of(&self, clock: &dyn Clock) -> Result<i64, MoveError> {
        let Some(own) = clock.timeline() else { return Ok(0) };
        let unreadable = |source| MoveError::Reading { path: self.path.clone(), table: "timeline", source };
        let (kept, is_awaited) = timeline::kept(&self.connection).map_err(unreadable)?;
        Ok(own.clone().or_kept(kept, is_awaited).ahead_of(&own))
    }

    /// Reads all tables on a thread of its own. Ends early when nobody takes the rows any more.
    /// What still waits has its moments so many milliseconds later.
    pub(in crate::store) fn read(self, later: i64) -> (mpsc::Receiver<Part>, JoinHandle<Result<Self, MoveError>>) {
        let (parts, taken) = mpsc::channel(WAITING_MAX);
        let reading = tokio::task::spawn_blocking(move || {
            let translation = self.translation(later)?;
            for table in &TABLES {
                self.read_table(table, &translation, &parts)?;
            }
            Ok(self)
        });
        (taken, reading)
    }

    /// How the moments of this file become the database's.
    fn translation(&self, later: i64) -> Result<Translation, MoveError> {
        if later == 0 {
            return Ok(Translation { later, waiting: HashSet::new() });
        }
        let unreadable = |source| MoveError::Reading { path: self.path.clone(), table: "states", source };
        let mut statement = self.connection.prepare(WAITING).map_err(unreadable)?;
        let waiting = statement.query_map([], |row| row.get(0)).map_err(unreadable)?;
        Ok(Translation { later, waiting: waiting.collect::<rusqlite::Result<_>>().map_err(unreadable)? })
    }

    /// Reads a table to its end. Whoever takes the rows and takes no more has said why.
    fn read_table(
        &self,
        table: &'static Table,
        translation: &Translation,
        parts: &mpsc::Sender<Part>,
    ) -> Result<(), MoveError> {
        let unreadable = |source| MoveError::Reading { path: self.path.clone(), table: table.name, source };
        let n_columns = table.n_columns + usize::from(matches!(table.proof, Proof::Seal(_)));
        let mut statement = self.connection.prepare(table.read).map_err(unreadable)?;
        let mut found = statement.query([]).map_err(unreadable)?;
        let mut n_rows = 0;
        let mut some = Vec::new();
        while let Some(row) = found.next().map_err(unreadable)? {
            let columns = (0..n_columns).map(|column| row.get(column)).collect::<rusqlite::Result<Row>>();
            let mut columns = columns.map_err(unreadable)?;
            let proved = prove(table, &mut columns);
            if proved.and_then(|()| translation.translate(table, &mut columns)).is_err() {
                let row = columns.swap_remove(0).unwrap_or_default().into();
                return Err(MoveError::Damaged { path: self.path.clone(), table: table.name, row });
            }
            some.push(columns);
            n_rows += 1;
            if some.len() >= ROWS_AT_A_TIME
                && parts.blocking_send(Part::Rows(table, std::mem::take(&mut some))).is_err()
            {
                return Ok(());
            }
        }
        if !some.is_empty() && parts.blocking_send(Part::Rows(table, some)).is_err() {
            return Ok(());
        }
        drop(parts.blocking_send(Part::End(table, n_rows)));
        Ok(())
    }

    /// Writes the log back and gives the file another name.
    pub(in crate::store) fn put_away(self) -> Option<PathBuf> {
        let mut name = self.path.clone().into_os_string();
        name.push(".moved");
        let name = PathBuf::from(name);
        let is_written_back = self.connection.pragma_update(None, "journal_mode", "delete").is_ok();
        drop(self.connection);
        if !is_written_back || name.exists() {
            return None;
        }
        std::fs::rename(&self.path, &name).ok().map(|()| name)
    }
}

/// How the moments of a file become those of a database that goes by another time.
struct Translation {
    /// In milliseconds.
    later: i64,
    /// The numbers of the alerts that wait for a moment.
    waiting: HashSet<String>,
}

impl Translation {
    /// Gives what still waits the moments at which it has as much time left. What is over keeps its history as it
    /// was written: nobody knows by which time that was.
    fn translate(&self, table: &Table, row: &mut Row) -> Result<(), Damaged> {
        if self.later == 0 {
            return Ok(());
        }
        let number = row.first().cloned().flatten().unwrap_or_default();
        let mut records = |record: usize, later: fn(&str, i64) -> Result<String, record::Error>| {
            let Some(Some(record)) = row.get_mut(record) else { return Err(Damaged) };
            *record = later(record, self.later).map_err(|_unreadable| Damaged)?;
            Ok(())
        };
        match table.moments {
            Moments::Raised { record } if self.waiting.contains(&number) => records(record, record::later_raised),
            Moments::State { wake_at, record } if self.waiting.contains(&number) => {
                records(record, record::later_state)?;
                self.moments(row, &[wake_at])
            }
            Moments::None | Moments::Raised { .. } | Moments::State { .. } => Ok(()),
            Moments::Columns { moments, over } => {
                let is_over = over.and_then(|over| row.get(over)?.as_deref()) == Some("1");
                if is_over { Ok(()) } else { self.moments(row, moments) }
            }
        }
    }

    fn moments(&self, row: &mut Row, columns: &[usize]) -> Result<(), Damaged> {
        for column in columns {
            let Some(Some(moment)) = row.get_mut(*column) else { continue };
            let millis: i64 = moment.parse().map_err(|_no_moment| Damaged)?;
            *moment = millis.saturating_add(self.later).to_string();
        }
        Ok(())
    }
}

/// The row without what only this file needs, if it is what was written.
fn prove(table: &Table, row: &mut Row) -> Result<(), Damaged> {
    match table.proof {
        Proof::None => Ok(()),
        Proof::Hash(record) => {
            let hash = row.first().and_then(Option::as_deref).and_then(unhex);
            let record = row.get(record).and_then(Option::as_deref);
            let fits = record.is_some_and(|record| hash.as_deref() == Some(&sha256(record.as_bytes())));
            if fits { Ok(()) } else { Err(Damaged) }
        }
        Proof::Seal(record) => {
            let place = row.pop().flatten().as_deref().and_then(unhex).ok_or(Damaged)?;
            let Some(Some(record)) = row.get_mut(record) else { return Err(Damaged) };
            let unsealed = unseal(record, &[&place])?;
            serde_json::from_str::<serde::de::IgnoredAny>(unsealed).map_err(|_no_json| Damaged)?;
            *record = unsealed.to_owned();
            Ok(())
        }
    }
}

/// The bytes behind hexadecimal digits.
fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
