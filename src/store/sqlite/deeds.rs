//! What the writer can be asked to do.
//!
//! Whoever asks has prepared everything that needs no database (the records above all), so that the
//! one thread that writes does little else. A deed looks before it writes, sees what earlier deeds of
//! its transaction did, and may be carried out a second time after a rollback.

use std::sync::Arc;

use rusqlite::{OptionalExtension, params};

use crate::callback::{self, NewDelivery, Subscriptions};
use crate::contact::{Address, Channel};
use crate::escalation::{Alert, Status};
use crate::id::{AlertId, AttemptNumber, ProviderId};
use crate::store::findable::KeyChange;
use crate::store::queue::Lane;
use crate::store::{Claim, Error, Insert, StatusFilter, Stored, Update, findable, record};
use crate::timestamp::Timestamp;

use super::fault::Fault;
use super::outbox;
use super::plans::PlanRow;
use super::rows;
use super::sealed::seal;
use super::writer::{Books, Deed, Shared};

/// What is written with each version of an alert.
pub(super) struct Version {
    alert: Arc<Alert>,
    record: String,
    messages: Vec<(ProviderId, AttemptNumber)>,
    reached: Vec<(Channel, Address)>,
    claim: Option<Claim>,
    deliveries: Vec<NewDelivery>,
}

impl Version {
    pub(super) fn prepare(
        seen: Option<&Alert>,
        alert: Arc<Alert>,
        claim: Option<Claim>,
        subscriptions: &Subscriptions,
    ) -> Result<Self, Error> {
        let record = record::write_state(&alert).map_err(|error| Error::corrupt_alert(alert.id(), error))?;
        let number = rows::signed(alert.raised.number.0).to_be_bytes();
        let record = seal(&record, &[&number, &rows::id_bytes(alert.id())]);
        let messages = findable::new_messages(seen, &alert).into_iter().map(|(id, number)| (id.clone(), number));
        let messages = messages.collect();
        let reached = match alert.status {
            Status::Resolved => Vec::new(),
            Status::Escalating(_) | Status::Acknowledged | Status::Exhausted => findable::newly_reached(seen, &alert),
        };
        let reached = reached.into_iter().map(|(channel, address)| (channel, address.clone())).collect();
        let deliveries = callback::told(subscriptions, seen, &alert);
        Ok(Self { alert, record, messages, reached, claim, deliveries })
    }

    /// Keeps everything that is found by something else than the alert's id.
    fn keep_ways_to_it(&self, books: &Books<'_>) -> Result<(), Fault> {
        let number = rows::signed(self.alert.raised.number.0);
        for (id, attempt) in &self.messages {
            // The first stays: no later report can take a message away from its attempt.
            let sql = "INSERT OR IGNORE INTO messages (id, number, attempt) VALUES (?1, ?2, ?3)";
            books.connection.prepare_cached(sql)?.execute(params![id.as_str(), number, attempt])?;
        }
        for (channel, address) in &self.reached {
            let sql = "INSERT OR IGNORE INTO reached (channel, address, number) VALUES (?1, ?2, ?3)";
            books.connection.prepare_cached(sql)?.execute(params![channel.name(), address.reveal(), number])?;
        }
        if let Some(claim) = &self.claim {
            let sql = "INSERT INTO claims (key, fingerprint, outcome, number, at, record) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            books.connection.prepare_cached(sql)?.execute(params![
                claim.key.0,
                claim.fingerprint,
                rows::outcome_word(claim.outcome),
                number,
                claim.at.as_millis(),
                self.record,
            ])?;
        }
        outbox::keep(books.connection, &self.deliveries)
    }

    fn stored(&self, version: u64) -> Stored {
        Stored { alert: Arc::clone(&self.alert), version }
    }
}

/// Keeps a new alert.
pub(super) struct InsertAlert {
    pub(super) version: Version,
    pub(super) raised: String,
    pub(super) plan: PlanRow,
}

/// What came of [`InsertAlert`], and in which row the plan stands.
pub(super) type Inserted = (Insert, Option<i64>);

impl Deed for InsertAlert {
    type Answer = Inserted;

    fn lane(&self) -> Lane {
        Lane::New
    }

    fn n_bytes(&self) -> usize {
        self.raised.len() + self.version.record.len()
    }

    fn carry_out(&self, books: &mut Books<'_>) -> Result<Inserted, Fault> {
        let alert = &self.version.alert;
        if let Some(claim) = &self.version.claim
            && let Some(replay) = rows::claimed(books.connection, books.plans, &claim.key)?
        {
            return Ok((Insert::Replayed(replay), None));
        }
        let open_key = findable::open_key(alert);
        if let Some(key) = open_key
            && let Some(open) = rows::find_open(books.connection, key)?
        {
            return Ok((Insert::Open(open), None));
        }
        let plan = self.plan_row(books)?;
        let number = rows::signed(alert.raised.number.0);
        let sql = "INSERT INTO alerts (number, id, policy, plan, record) VALUES (?1, ?2, ?3, ?4, ?5)";
        let id = rows::id_bytes(alert.id());
        let raised = seal(&self.raised, &[&number.to_be_bytes(), &id, &plan.to_be_bytes()]);
        books.connection.prepare_cached(sql)?.execute(params![number, id, alert.raised.policy, plan, raised])?;
        let armed = findable::armed(alert);
        let sql = "INSERT INTO states (number, id, version, status, wake_at, sending, open_key, record, settled_at, failing) \
                   VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        books.connection.prepare_cached(sql)?.execute(params![
            number,
            id,
            rows::status_word(StatusFilter::of(alert.status)),
            armed.map(|armed| armed.wake_at.as_millis()),
            armed.is_some_and(|armed| armed.sending),
            open_key,
            self.version.record,
            findable::settled_at(alert).map(Timestamp::as_millis),
            findable::is_failing(alert),
        ])?;
        self.version.keep_ways_to_it(books)?;
        Ok((Insert::Inserted(self.version.stored(1)), Some(plan)))
    }

    fn committed((insert, plan): &Inserted, shared: &Shared) {
        if let (Insert::Inserted(stored), Some(plan)) = (insert, plan) {
            shared.plans.learn(*plan, Arc::clone(&stored.alert.raised.plan));
            shared.publish(stored);
        }
    }
}

impl InsertAlert {
    fn plan_row(&self, books: &mut Books<'_>) -> Result<i64, Fault> {
        let row = self.find_or_keep_plan(books)?;
        if let Some(in_use) = &mut books.plans_in_use {
            in_use.insert(row);
        }
        Ok(row)
    }

    fn find_or_keep_plan(&self, books: &Books<'_>) -> Result<i64, Fault> {
        let written;
        let plan = match &self.plan {
            PlanRow::Known(row) => {
                // It may have been forgotten since it was looked up. Rows are never given twice.
                let mut statement = books.connection.prepare_cached("SELECT 1 FROM plans WHERE id = ?1")?;
                if statement.exists([row])? {
                    return Ok(*row);
                }
                let alert = &self.version.alert;
                written = record::write_plan(alert.plan()).map_err(|error| Fault::corrupt_alert(alert.id(), error))?;
                &written
            }
            PlanRow::Unknown(plan) => plan,
        };
        let mut statement = books.connection.prepare_cached("SELECT id FROM plans WHERE hash = ?1")?;
        if let Some(row) = statement.query_row([plan.hash.0], |row| row.get(0)).optional()? {
            return Ok(row);
        }
        let sql = "INSERT INTO plans (hash, record) VALUES (?1, ?2)";
        Ok(books.connection.prepare_cached(sql)?.insert(params![plan.hash.0, plan.record])?)
    }
}

/// Replaces an alert.
pub(super) struct UpdateAlert {
    pub(super) version: Version,
    pub(super) seen_version: u64,
    pub(super) key: KeyChange,
}

impl Deed for UpdateAlert {
    type Answer = Update;

    fn n_bytes(&self) -> usize {
        self.version.record.len()
    }

    fn carry_out(&self, books: &mut Books<'_>) -> Result<Update, Fault> {
        let alert = &self.version.alert;
        if let Some(claim) = &self.version.claim
            && let Some(replay) = rows::claimed(books.connection, books.plans, &claim.key)?
        {
            return Ok(Update::Replayed(replay));
        }
        let number = rows::signed(alert.raised.number.0);
        let armed = findable::armed(alert);
        let sql = "UPDATE states SET version = version + 1, status = ?3, wake_at = ?4, sending = ?5, record = ?6, \
                   settled_at = ?7, failing = ?8 WHERE number = ?1 AND version = ?2";
        let n_changed = books.connection.prepare_cached(sql)?.execute(params![
            number,
            rows::signed(self.seen_version),
            rows::status_word(StatusFilter::of(alert.status)),
            armed.map(|armed| armed.wake_at.as_millis()),
            armed.is_some_and(|armed| armed.sending),
            self.version.record,
            findable::settled_at(alert).map(Timestamp::as_millis),
            findable::is_failing(alert),
        ])?;
        if n_changed == 0 {
            return Ok(Update::Stale);
        }
        self.change_key(books, number)?;
        self.version.keep_ways_to_it(books)?;
        if alert.status == Status::Resolved {
            let sql = "DELETE FROM reached WHERE channel = ?1 AND address = ?2 AND number = ?3";
            for (channel, address) in findable::reached(alert) {
                books.connection.prepare_cached(sql)?.execute(params![channel.name(), address.reveal(), number])?;
            }
        }
        Ok(Update::Updated(self.version.stored(self.seen_version + 1)))
    }

    fn committed(update: &Update, shared: &Shared) {
        match update {
            Update::Updated(stored) => shared.publish(stored),
            Update::Stale | Update::Replayed(_) => {}
        }
    }
}

impl UpdateAlert {
    fn change_key(&self, books: &Books<'_>, number: i64) -> Result<(), Fault> {
        let key = self.version.alert.raised.dedup_key.as_deref();
        match self.key {
            KeyChange::None => {}
            KeyChange::Spend => {
                let sql = "UPDATE states SET open_key = NULL, spent_key = ?2 WHERE number = ?1";
                books.connection.prepare_cached(sql)?.execute(params![number, key])?;
            }
            KeyChange::Release => {
                let sql = "UPDATE states SET open_key = NULL, spent_key = NULL WHERE number = ?1";
                books.connection.prepare_cached(sql)?.execute([number])?;
            }
            KeyChange::Regain => {
                // The spent key stays: it is how this alert is found if a newer one has the open key.
                let sql = "UPDATE OR IGNORE states SET open_key = ?2 WHERE number = ?1";
                books.connection.prepare_cached(sql)?.execute(params![number, key])?;
            }
        }
        Ok(())
    }
}

/// Takes a dedup key from the alert that holds it.
pub(super) struct ReleaseKey {
    pub(super) key: Box<str>,
    pub(super) held_by: AlertId,
}

impl Deed for ReleaseKey {
    type Answer = ();

    fn carry_out(&self, books: &mut Books<'_>) -> Result<(), Fault> {
        let sql = "UPDATE states SET open_key = NULL WHERE open_key = ?1 AND id = ?2";
        books.connection.prepare_cached(sql)?.execute(params![self.key, rows::id_bytes(self.held_by)])?;
        Ok(())
    }
}

/// Keeps a webhook that no attempt is known for.
pub(super) struct Park {
    pub(super) id: ProviderId,
    pub(super) record: String,
    pub(super) at: Timestamp,
    pub(super) parked_max: usize,
}

impl Deed for Park {
    type Answer = ();

    fn n_bytes(&self) -> usize {
        self.record.len()
    }

    fn carry_out(&self, books: &mut Books<'_>) -> Result<(), Fault> {
        let n_before = books.count_parked()?;
        let sql = "INSERT INTO parked (id, at, record) VALUES (?1, ?2, ?3)";
        books.connection.prepare_cached(sql)?.execute(params![self.id.as_str(), self.at.as_millis(), self.record])?;
        let n_too_many = (n_before + 1).saturating_sub(self.parked_max);
        let sql = "DELETE FROM parked WHERE place IN (SELECT place FROM parked ORDER BY place LIMIT ?1)";
        let n_forgotten = match n_too_many {
            0 => 0,
            n_too_many => books.connection.prepare_cached(sql)?.execute([rows::signed(n_too_many)])?,
        };
        books.n_parked = Some((n_before + 1).saturating_sub(n_forgotten));
        Ok(())
    }

    fn committed((): &(), shared: &Shared) {
        shared.parked();
    }
}

/// Forgets the webhooks kept under an id.
pub(super) struct Unpark {
    pub(super) id: ProviderId,
}

impl Deed for Unpark {
    type Answer = ();

    fn carry_out(&self, books: &mut Books<'_>) -> Result<(), Fault> {
        let sql = "DELETE FROM parked WHERE id = ?1";
        let n_forgotten = books.connection.prepare_cached(sql)?.execute([self.id.as_str()])?;
        books.n_parked = books.n_parked.map(|n_parked| n_parked.saturating_sub(n_forgotten));
        Ok(())
    }
}

/// Forgets what has served its time.
pub(super) struct Tidy {
    pub(super) keys_before: Timestamp,
    pub(super) parked_before: Timestamp,
    pub(super) limit: usize,
}

impl Deed for Tidy {
    type Answer = usize;

    fn carry_out(&self, books: &mut Books<'_>) -> Result<usize, Fault> {
        let limit = rows::signed(self.limit);
        let sql = "DELETE FROM claims WHERE rowid IN (SELECT rowid FROM claims WHERE at < ?1 ORDER BY at LIMIT ?2)";
        let n_keys = books.connection.prepare_cached(sql)?.execute([self.keys_before.as_millis(), limit])?;
        let sql = "DELETE FROM parked WHERE place IN (SELECT place FROM parked WHERE at < ?1 ORDER BY at LIMIT ?2)";
        let n_parked = books.connection.prepare_cached(sql)?.execute([self.parked_before.as_millis(), limit])?;
        books.n_parked = books.n_parked.map(|before| before.saturating_sub(n_parked));
        Ok(n_keys + n_parked)
    }
}

/// Keeps a secret, unless one of its name is kept.
pub(super) struct KeepSecret {
    pub(super) name: Box<str>,
    pub(super) proposed: [u8; 32],
}

impl Deed for KeepSecret {
    type Answer = [u8; 32];

    fn carry_out(&self, books: &mut Books<'_>) -> Result<[u8; 32], Fault> {
        let mut statement = books.connection.prepare_cached("SELECT value FROM secrets WHERE name = ?1")?;
        if let Some(kept) = statement.query_row([&self.name], |row| row.get(0)).optional()? {
            return Ok(kept);
        }
        let sql = "INSERT INTO secrets (name, value) VALUES (?1, ?2)";
        books.connection.prepare_cached(sql)?.execute(params![self.name, self.proposed])?;
        Ok(self.proposed)
    }
}

/// Proves that something can be kept.
pub(super) struct Probe {
    pub(super) at: Timestamp,
}

impl Deed for Probe {
    type Answer = ();

    fn carry_out(&self, books: &mut Books<'_>) -> Result<(), Fault> {
        let sql = "INSERT INTO probes (id, at) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET at = ?1";
        books.connection.prepare_cached(sql)?.execute([self.at.as_millis()])?;
        Ok(())
    }
}
