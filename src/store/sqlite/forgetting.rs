//! Forgetting what has served its time: settled alerts, and the plans that none of them has any more.
//!
//! What is to be forgotten is found beside the writer, which then only deletes, and only what has not
//! changed in the meantime. The pages that become free are used again, so that a database stops growing
//! once as much is forgotten as is raised; it does not become smaller, because that would cost each
//! commit something for a thing that seldom happens (`callout backup` writes a copy without the gaps).

use std::collections::HashSet;

use rusqlite::{Connection, params};

use crate::contact::{Address, Channel};
use crate::id::{AlertId, ProviderId};
use crate::store::{Error, findable};
use crate::timestamp::Timestamp;

use super::fault::Fault;
use super::rows;
use super::writer::{Books, Deed, Shared};

/// The newest alert stays: the next number is counted from it after a restart.
const OLD: &str = "SELECT number, id FROM states INDEXED BY forgettable \
                   WHERE settled_at < ?1 AND number < (SELECT max(number) FROM alerts) ORDER BY settled_at LIMIT ?2";
/// How many plans are forgotten in one transaction.
pub(super) const PLANS_AT_ONCE: usize = 500;
/// How many alerts are looked at in one read, so that none keeps the log from being begun anew.
const PLANS_PAGE: i64 = 10_000;

/// An alert that is to be forgotten.
#[derive(Debug)]
pub(super) struct Old {
    number: i64,
    /// By what it is found; unknown where the alert cannot be understood.
    ways: Option<Ways>,
}

#[derive(Debug)]
struct Ways {
    messages: Vec<ProviderId>,
    reached: Vec<(Channel, Address)>,
}

/// Alerts that have been settled for long, those settled longest first.
pub(super) fn old(
    connection: &Connection,
    shared: &Shared,
    settled_before: Timestamp,
    limit: usize,
) -> Result<Vec<Old>, Fault> {
    let mut statement = connection.prepare_cached(OLD)?;
    let found = statement.query_map(params![settled_before.as_millis(), rows::signed(limit)], |row| {
        Ok((row.get(0)?, AlertId::from_bits(u128::from_be_bytes(row.get(1)?))))
    })?;
    let found: Vec<(i64, AlertId)> = found.collect::<rusqlite::Result<_>>()?;
    found.into_iter().map(|(number, id)| Ok(Old { number, ways: ways(connection, shared, id)? })).collect()
}

fn ways(connection: &Connection, shared: &Shared, id: AlertId) -> Result<Option<Ways>, Fault> {
    match rows::get(connection, &shared.plans, id) {
        Ok(Some(stored)) => {
            let messages = findable::new_messages(None, &stored.alert);
            let reached = findable::reached(&stored.alert);
            Ok(Some(Ways {
                messages: messages.into_iter().map(|(message, _)| message.clone()).collect(),
                reached: reached.into_iter().map(|(channel, address)| (channel, address.clone())).collect(),
            }))
        }
        Ok(None) => Ok(None),
        Err(Fault::Corrupt(error @ Error::Corrupt { .. })) => {
            tracing::warn!(alert.id = %id, %error, "an alert that nobody could understand is forgotten: it has served its time");
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// Forgets alerts, unless they have changed.
pub(super) struct Forget {
    pub(super) old: Vec<Old>,
    pub(super) settled_before: Timestamp,
}

impl Deed for Forget {
    type Answer = usize;

    fn carry_out(&self, books: &mut Books<'_>) -> Result<usize, Fault> {
        let mut n_forgotten = 0;
        for old in &self.old {
            let sql = "DELETE FROM states WHERE number = ?1 AND settled_at < ?2";
            let is_old = params![old.number, self.settled_before.as_millis()];
            if books.connection.prepare_cached(sql)?.execute(is_old)? == 0 {
                continue;
            }
            books.connection.prepare_cached("DELETE FROM alerts WHERE number = ?1")?.execute([old.number])?;
            old.forget_ways(books.connection)?;
            n_forgotten += 1;
        }
        Ok(n_forgotten)
    }
}

impl Old {
    fn forget_ways(&self, connection: &Connection) -> Result<(), Fault> {
        let Some(ways) = &self.ways else {
            // No index leads there; it is needed only for what cannot be understood.
            connection.prepare_cached("DELETE FROM messages WHERE number = ?1")?.execute([self.number])?;
            connection.prepare_cached("DELETE FROM reached WHERE number = ?1")?.execute([self.number])?;
            return Ok(());
        };
        for message in &ways.messages {
            let sql = "DELETE FROM messages WHERE id = ?1 AND number = ?2";
            connection.prepare_cached(sql)?.execute(params![message.as_str(), self.number])?;
        }
        for (channel, address) in &ways.reached {
            let sql = "DELETE FROM reached WHERE channel = ?1 AND address = ?2 AND number = ?3";
            connection.prepare_cached(sql)?.execute(params![channel.name(), address.reveal(), self.number])?;
        }
        Ok(())
    }
}

/// From now on the writer remembers which plans new alerts take.
pub(super) struct WatchPlans;

impl Deed for WatchPlans {
    type Answer = ();

    fn carry_out(&self, books: &mut Books<'_>) -> Result<(), Fault> {
        *books.plans_in_use = Some(HashSet::new());
        Ok(())
    }
}

/// Plans that no alert had when they were looked for. The newest is left out: its row would be given again.
pub(super) fn unused_plans(connection: &Connection) -> Result<Vec<i64>, Fault> {
    let mut statement = connection.prepare_cached("SELECT id FROM plans WHERE id < (SELECT max(id) FROM plans)")?;
    let plans = statement.query_map([], |row| row.get(0))?;
    let mut unused: HashSet<i64> = plans.collect::<rusqlite::Result<_>>()?;
    let mut last = 0_i64;
    let mut page = connection.prepare_cached("SELECT number, plan FROM alerts WHERE number > ?1 LIMIT ?2")?;
    while !unused.is_empty() {
        let mut n_alerts = 0;
        let mut rows = page.query([last, PLANS_PAGE])?;
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            unused.remove(&row.get(1)?);
            n_alerts += 1;
        }
        if n_alerts < PLANS_PAGE {
            break;
        }
    }
    Ok(unused.into_iter().collect())
}

/// Forgets plans, unless new alerts have taken them meanwhile.
pub(super) struct ForgetPlans {
    pub(super) unused: Vec<i64>,
    /// Whether these are the last, so that nobody needs to watch any more.
    pub(super) are_last: bool,
}

impl Deed for ForgetPlans {
    type Answer = usize;

    fn carry_out(&self, books: &mut Books<'_>) -> Result<usize, Fault> {
        // Nobody watched: the writer was asked by two at once. The next time comes.
        let Some(in_use) = books.plans_in_use.as_ref() else { return Ok(0) };
        let mut n_forgotten = 0;
        for plan in self.unused.iter().filter(|plan| !in_use.contains(plan)) {
            n_forgotten += books.connection.prepare_cached("DELETE FROM plans WHERE id = ?1")?.execute([plan])?;
        }
        if self.are_last {
            *books.plans_in_use = None;
        }
        // Also of those that were looked up and are not used yet: whoever uses one finds that it is gone.
        books.plans.forget();
        Ok(n_forgotten)
    }
}
