//! Reading everything out of a file that nobody else uses, to move it elsewhere.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::store::moving::{MoveError, ROWS_AT_A_TIME, Row, TABLES, Table};

use super::OpenError;
use super::opening::{self, Ownership};

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
        let ownership = Ownership::take(path)?;
        let left = ownership.left();
        opening::refuse_losses(path, left)?;
        let has_no_log = opening::has_no_log(path);
        let connection = opening::open_writer(path, left)?;
        opening::look_through_unclosed(&connection, path, left, has_no_log)?;
        Ok(Self { path: path.to_owned(), connection, _ownership: ownership })
    }

    /// Reads all tables on a thread of its own. Ends early when nobody takes the rows any more.
    pub(in crate::store) fn read(self) -> (mpsc::Receiver<Part>, JoinHandle<Result<Self, MoveError>>) {
        let (parts, taken) = mpsc::channel(WAITING_MAX);
        let reading = tokio::task::spawn_blocking(move || {
            for table in &TABLES {
                let read = read_table(&self.connection, table, &parts);
                read.map_err(|source| MoveError::Reading { path: self.path.clone(), table: table.name, source })?;
            }
            Ok(self)
        });
        (taken, reading)
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

fn read_table(connection: &Connection, table: &'static Table, parts: &mpsc::Sender<Part>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(table.read)?;
    let mut found = statement.query([])?;
    let mut n_rows = 0;
    let mut some = Vec::new();
    while let Some(row) = found.next()? {
        some.push((0..table.n_columns).map(|column| row.get(column)).collect::<rusqlite::Result<Row>>()?);
        n_rows += 1;
        // Whoever took the rows has said why it takes no more.
        if some.len() >= ROWS_AT_A_TIME && parts.blocking_send(Part::Rows(table, std::mem::take(&mut some))).is_err() {
            return Ok(());
        }
    }
    if !some.is_empty() && parts.blocking_send(Part::Rows(table, some)).is_err() {
        return Ok(());
    }
    drop(parts.blocking_send(Part::End(table, n_rows)));
    Ok(())
}
