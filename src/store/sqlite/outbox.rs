//! The callbacks that wait in the database.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use crate::callback::{EndpointId, NewDelivery, Subscriptions, Topic};
use crate::id::AlertId;
use crate::store::Error;
use crate::store::outbox::{Delivery, DeliveryPage, Outbox, Settled, Which};
use crate::timestamp::Timestamp;

use super::SqliteStore;
use super::fault::Fault;
use super::rows::{self, Nonsense};
use super::writer::{Books, Deed};

/// The columns that [`decode`] reads, in its order.
const COLUMNS: &str = "place, endpoint, alert, topic, event, at, body, tries, due_at, dead, failure";
/// The alert of a delivery that is about none.
const NO_ALERT: [u8; 16] = [0; 16];

/// Keeps new deliveries within the transaction of whatever they tell of.
pub(super) fn keep(connection: &Connection, deliveries: &[NewDelivery]) -> Result<(), Fault> {
    let sql = "INSERT INTO deliveries (endpoint, alert, topic, event, at, body, due_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5)";
    for new in deliveries {
        connection.prepare_cached(sql)?.execute(params![
            new.endpoint.to_bits().cast_signed(),
            new.alert.map_or(NO_ALERT, |alert| alert.to_bits().to_be_bytes()),
            new.topic.name(),
            new.event,
            new.at.as_millis(),
            new.body,
        ])?;
    }
    Ok(())
}

fn decode(row: &Row<'_>) -> rusqlite::Result<Result<Delivery, Nonsense>> {
    let place: i64 = row.get(0)?;
    let endpoint: i64 = row.get(1)?;
    let alert: [u8; 16] = row.get(2)?;
    let topic: String = row.get(3)?;
    let (Ok(place), Some(topic)) = (u64::try_from(place), Topic::named(&topic)) else {
        return Ok(Err(Nonsense::UnknownWord));
    };
    Ok(Ok(Delivery {
        place,
        endpoint: EndpointId::from_bits(endpoint.cast_unsigned()),
        alert: (alert != NO_ALERT).then(|| AlertId::from_bits(u128::from_be_bytes(alert))),
        topic,
        event: row.get(4)?,
        at: Timestamp::from_millis(row.get(5)?),
        body: row.get(6)?,
        tries: row.get(7)?,
        due_at: Timestamp::from_millis(row.get(8)?),
        is_dead: row.get(9)?,
        failure: row.get(10)?,
    }))
}

fn read(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<Delivery>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, decode)?;
    let mut found = Vec::new();
    for row in rows {
        found.push(row?.map_err(|nonsense| Fault::corrupt("a callback", nonsense))?);
    }
    Ok(found)
}

fn due(connection: &Connection, endpoint: EndpointId, now: Timestamp, limit: usize) -> Result<Vec<Delivery>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM deliveries d WHERE endpoint = ?1 AND dead = 0 AND due_at <= ?2 AND NOT EXISTS \
         (SELECT 1 FROM deliveries e WHERE e.endpoint = ?1 AND e.alert = d.alert AND e.dead = 0 AND e.place < d.place) \
         ORDER BY due_at, place LIMIT ?3"
    );
    read(connection, &sql, params![endpoint.to_bits().cast_signed(), now.as_millis(), rows::signed(limit)])
}

fn next_due(connection: &Connection, endpoint: EndpointId, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
    let sql = "SELECT min(due_at) FROM deliveries WHERE endpoint = ?1 AND dead = 0 AND due_at > ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let found: Option<i64> =
        statement.query_row(params![endpoint.to_bits().cast_signed(), now.as_millis()], |row| row.get(0))?;
    Ok(found.map(Timestamp::from_millis))
}

fn list(connection: &Connection, page: DeliveryPage) -> Result<Vec<Delivery>, Fault> {
    let dead = if page.is_dead { "AND dead = 1" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM deliveries WHERE place < ?1 {dead} ORDER BY place DESC LIMIT ?2");
    let before = page.before.map_or(i64::MAX, rows::signed);
    read(connection, &sql, params![before, rows::signed(page.limit)])
}

/// Keeps deliveries that tell of no change of an alert.
struct Keep(Vec<NewDelivery>);

impl Deed for Keep {
    type Answer = ();

    fn n_bytes(&self) -> usize {
        self.0.iter().map(|new| new.body.len()).sum()
    }

    fn carry_out(&self, books: &mut Books<'_>) -> Result<(), Fault> {
        keep(books.connection, &self.0)
    }
}

/// Keeps what came of a delivery.
struct Settle {
    place: u64,
    event: Arc<str>,
    settled: Settled,
}

impl Deed for Settle {
    type Answer = ();

    fn carry_out(&self, books: &mut Books<'_>) -> Result<(), Fault> {
        let place = rows::signed(self.place);
        match &self.settled {
            Settled::Delivered => {
                let sql = "DELETE FROM deliveries WHERE place = ?1 AND event = ?2";
                books.connection.prepare_cached(sql)?.execute(params![place, self.event])?;
            }
            Settled::Later { due_at, failure } => {
                let sql = "UPDATE deliveries SET tries = tries + 1, due_at = ?3, failure = ?4 \
                           WHERE place = ?1 AND event = ?2";
                let due_at = due_at.as_millis();
                books.connection.prepare_cached(sql)?.execute(params![place, self.event, due_at, failure])?;
            }
            Settled::Dead { failure } => {
                let sql = "UPDATE deliveries SET tries = tries + 1, dead = 1, failure = ?3 \
                           WHERE place = ?1 AND event = ?2";
                books.connection.prepare_cached(sql)?.execute(params![place, self.event, failure])?;
            }
        }
        Ok(())
    }
}

/// Lets deliveries that were given up wait again.
struct Again {
    which: Which,
    now: Timestamp,
}

impl Deed for Again {
    type Answer = usize;

    fn carry_out(&self, books: &mut Books<'_>) -> Result<usize, Fault> {
        let place = match self.which {
            Which::All => None,
            Which::At(place) => Some(rows::signed(place)),
        };
        let sql = "UPDATE deliveries SET dead = 0, tries = 0, due_at = ?2 WHERE dead = 1 AND place = ifnull(?1, place)";
        Ok(books.connection.prepare_cached(sql)?.execute(params![place, self.now.as_millis()])?)
    }
}

/// Forgets deliveries that are too old or too many.
struct Forget {
    before: Timestamp,
    max: usize,
    limit: usize,
}

impl Deed for Forget {
    type Answer = usize;

    fn carry_out(&self, books: &mut Books<'_>) -> Result<usize, Fault> {
        let sql = "SELECT count(*) FROM deliveries";
        let n_kept: i64 = books.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        let n_too_many = n_kept.saturating_sub(rows::signed(self.max)).clamp(0, rows::signed(self.limit));
        let sql = "DELETE FROM deliveries WHERE place IN (SELECT place FROM deliveries ORDER BY place LIMIT ?1)";
        let n_crowded_out = books.connection.prepare_cached(sql)?.execute([n_too_many])?;
        // Places count up with time, so that the old ones are found at the beginning.
        let sql =
            "DELETE FROM deliveries WHERE at < ?1 AND place IN (SELECT place FROM deliveries ORDER BY place LIMIT ?2)";
        let limit = rows::signed(self.limit.saturating_sub(n_crowded_out));
        let n_old = books.connection.prepare_cached(sql)?.execute(params![self.before.as_millis(), limit])?;
        Ok(n_crowded_out + n_old)
    }
}

#[async_trait]
impl Outbox for SqliteStore {
    fn subscribe(&self, subscriptions: Arc<Subscriptions>) {
        self.subscriptions.store(subscriptions);
    }

    async fn keep(&self, deliveries: Vec<NewDelivery>) -> Result<(), Error> {
        self.ask(Keep(deliveries)).await
    }

    async fn take(
        &self,
        endpoint: EndpointId,
        now: Timestamp,
        _until: Timestamp,
        held: &BTreeSet<u64>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error> {
        let n_asked = limit + held.len();
        let mut found = self.readers.read(move |connection, _| due(connection, endpoint, now, n_asked)).await?;
        found.retain(|delivery| !held.contains(&delivery.place));
        found.truncate(limit);
        Ok(found)
    }

    async fn next_due(&self, endpoint: EndpointId, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.readers.read(move |connection, _| next_due(connection, endpoint, now)).await
    }

    async fn settle(&self, delivery: &Delivery, settled: Settled) -> Result<(), Error> {
        self.ask(Settle { place: delivery.place, event: Arc::clone(&delivery.event), settled }).await
    }

    async fn deliveries(&self, page: DeliveryPage) -> Result<Vec<Delivery>, Error> {
        self.readers.read(move |connection, _| list(connection, page)).await
    }

    async fn replay(&self, which: Which, now: Timestamp) -> Result<usize, Error> {
        self.ask(Again { which, now }).await
    }

    async fn forget_deliveries(&self, before: Timestamp, max: usize, limit: usize) -> Result<usize, Error> {
        self.ask(Forget { before, max, limit }).await
    }
}
