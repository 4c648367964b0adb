//! Which timeline the moments in the file stand on.

use rusqlite::{Connection, OptionalExtension, params};

use crate::clock::Timeline;
use crate::timestamp::Timestamp;

use super::fault::Fault;
use super::writer::{Books, Deed};

/// Whether anything waits for a moment: a deadline, or a callback.
const IS_AWAITED: &str = "SELECT EXISTS (SELECT 1 FROM states WHERE wake_at IS NOT NULL) \
                          OR EXISTS (SELECT 1 FROM deliveries WHERE dead = 0)";

/// The timeline that was kept, and whether anything waits for a moment on it.
pub(super) fn kept(connection: &Connection) -> rusqlite::Result<(Option<Timeline>, bool)> {
    let kept = connection.query_row("SELECT run, began_at FROM timeline", [], |row| {
        Ok(Timeline { run: row.get(0)?, began_at: Timestamp::from_millis(row.get(1)?) })
    });
    Ok((kept.optional()?, connection.query_row(IS_AWAITED, [], |row| row.get(0))?))
}

/// Says on which timeline a process goes on, and keeps that.
pub(super) struct GoOn {
    pub(super) own: Timeline,
}

impl Deed for GoOn {
    type Answer = Timeline;

    fn carry_out(&self, books: &mut Books<'_>) -> Result<Timeline, Fault> {
        let (kept, is_awaited) = kept(books.connection)?;
        let next = self.own.clone().or_kept(kept.clone(), is_awaited);
        if kept.as_ref() != Some(&next) {
            let sql = "INSERT INTO timeline (id, run, began_at) VALUES (1, ?1, ?2) \
                       ON CONFLICT (id) DO UPDATE SET run = ?1, began_at = ?2";
            books.connection.execute(sql, params![next.run, next.began_at.as_millis()])?;
        }
        Ok(next)
    }
}
