//! What the database answers: each question that is put to it, and what its rows mean.
//!
//! The writer asks within its transaction and the readers outside of it, with the same functions.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use crate::contact::{Address, Channel};
use crate::escalation::{Alert, Plan};
use crate::hash::sha256;
use crate::id::{AlertId, AlertNumber, AttemptRef, ProviderId};
use crate::incoming::Incoming;
use crate::store::{Armed, ClaimKey, Page, Replay, StatusFilter, Stored, record};
use crate::timestamp::Timestamp;

use crate::store::columns::outcome;
pub(super) use crate::store::columns::{Nonsense, outcome_word, signed, status_word, unsigned};

use super::fault::Fault;
use super::plans::Plans;
use super::sealed::{Damaged, unseal};

/// The columns that [`decode`] reads, in its order.
const COLUMNS: &str = "a.number, a.id, a.plan, a.record, s.version, s.record";

/// Answered by the index alone: it is asked for every live alert at the start.
const ARMED: &str = "SELECT id, wake_at, sending FROM states INDEXED BY armed \
                     WHERE wake_at IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2";

/// As [`ARMED`], for those that are late.
const OVERDUE: &str = "SELECT id, wake_at, sending FROM states INDEXED BY armed \
                       WHERE wake_at IS NOT NULL AND id > ?1 AND wake_at < ?3 ORDER BY id LIMIT ?2";

/// As [`ARMED`], the first moment of all.
const EARLIEST: &str = "SELECT min(wake_at) FROM states INDEXED BY armed WHERE wake_at IS NOT NULL";

/// Open alerts without a moment. The index that answers has settled alerts only, unless something is wrong.
const UNARMED: &str =
    "SELECT id FROM states INDEXED BY settled WHERE wake_at IS NULL AND status = 'escalating' LIMIT ?1";

/// Alerts whose latest send failed.
const FAILING: &str =
    "SELECT id FROM states INDEXED BY failing WHERE failing = 1 AND id < ?1 ORDER BY id DESC LIMIT ?2";

/// An alert as its row has it.
struct AlertRow {
    number: i64,
    id: [u8; 16],
    plan: i64,
    raised: String,
    version: Option<i64>,
    state: Option<String>,
}

impl AlertRow {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            id: row.get(1)?,
            plan: row.get(2)?,
            raised: row.get(3)?,
            version: row.get(4)?,
            state: row.get(5)?,
        })
    }
}

/// The alert that a row of [`COLUMNS`] is about.
fn decode(connection: &Connection, plans: &Plans, row: &Row<'_>) -> Result<Stored, Fault> {
    // A row whose id cannot be read is not about any alert; everything else is this alert's.
    let id = AlertId::from_bits(u128::from_be_bytes(row.get(1)?));
    let row = AlertRow::of(row).map_err(|error| Fault::corrupt_alert(id, error))?;
    debug_assert_eq!(id.to_bits().to_be_bytes(), row.id, "one row is about one alert");
    let (Some(version), Some(state)) = (row.version, row.state) else {
        return Err(Fault::corrupt_alert(id, Nonsense::NoState));
    };
    let version = unsigned(version).ok_or_else(|| Fault::corrupt_alert(id, Nonsense::OutOfRange))?;
    let number = unsigned(row.number).ok_or_else(|| Fault::corrupt_alert(id, Nonsense::OutOfRange))?;
    let plan = plan(connection, plans, id, row.plan)?;
    let corrupt = |error| Fault::corrupt_alert(id, error);
    let row_number = row.number.to_be_bytes();
    let damaged = |error| Fault::corrupt_alert(id, error);
    let raised = unseal(&row.raised, &[&row_number, &row.id, &row.plan.to_be_bytes()]).map_err(damaged)?;
    let raised = record::read_raised(raised, id, AlertNumber(number), plan).map_err(corrupt)?;
    let state = unseal(&state, &[&row_number, &row.id]).map_err(damaged)?;
    let alert = record::read_alert(Arc::new(raised), state).map_err(corrupt)?;
    Ok(Stored { alert: Arc::new(alert), version })
}

fn plan(connection: &Connection, plans: &Plans, alert: AlertId, row: i64) -> Result<Arc<Plan>, Fault> {
    if let Some(plan) = plans.get(row) {
        return Ok(plan);
    }
    let mut statement = connection.prepare_cached("SELECT record, hash FROM plans WHERE id = ?1")?;
    let found: Option<(String, [u8; 32])> =
        statement.query_row([row], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (text, hash) = found.ok_or_else(|| Fault::corrupt_alert(alert, Nonsense::NoPlan))?;
    if sha256(text.as_bytes()) != hash {
        return Err(Fault::corrupt_alert(alert, Damaged));
    }
    let plan = record::read_plan(&text).map_err(|error| Fault::corrupt_alert(alert, error))?;
    Ok(plans.learn(row, Arc::new(plan)))
}

fn of_one() -> String {
    format!("SELECT {COLUMNS} FROM alerts a LEFT JOIN states s ON s.number = a.number WHERE a.id = ?1")
}

pub(super) fn get(connection: &Connection, plans: &Plans, id: AlertId) -> Result<Option<Stored>, Fault> {
    let mut statement = connection.prepare_cached(&of_one())?;
    let mut rows = statement.query([id_bytes(id)])?;
    rows.next()?.map(|row| decode(connection, plans, row)).transpose()
}

pub(super) fn claimed(connection: &Connection, plans: &Plans, key: &ClaimKey) -> Result<Option<Replay>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT a.number, a.id, a.plan, a.record, 1, c.record, c.fingerprint, c.outcome \
         FROM claims c JOIN alerts a ON a.number = c.number WHERE c.key = ?1",
    )?;
    let mut rows = statement.query([key.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let alert = decode(connection, plans, row)?.alert;
    let corrupt = |error| Fault::corrupt_alert(alert.id(), error);
    let fingerprint = row.get(6).map_err(corrupt)?;
    let word: String = row.get(7).map_err(corrupt)?;
    let outcome = outcome(&word).ok_or_else(|| Fault::corrupt_alert(alert.id(), Nonsense::UnknownWord))?;
    Ok(Some(Replay { fingerprint, outcome, alert }))
}

pub(super) fn armed(connection: &Connection, after: Option<AlertId>, limit: usize) -> Result<Vec<Armed>, Fault> {
    let mut statement = connection.prepare_cached(ARMED)?;
    let rows = statement.query_map(params![bytes_after(after), signed(limit)], armed_of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn overdue(
    connection: &Connection,
    before: Timestamp,
    after: Option<AlertId>,
    limit: usize,
) -> Result<Vec<Armed>, Fault> {
    let mut statement = connection.prepare_cached(OVERDUE)?;
    let rows = statement.query_map(params![bytes_after(after), signed(limit), before.as_millis()], armed_of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The earliest moment that any live alert has; the end of time where there is none.
pub(super) fn earliest(connection: &Connection) -> Result<Timestamp, Fault> {
    let earliest: Option<i64> = connection.prepare_cached(EARLIEST)?.query_row([], |row| row.get(0))?;
    Ok(earliest.map_or(Timestamp::MAX, Timestamp::from_millis))
}

pub(super) fn unarmed(connection: &Connection, limit: usize) -> Result<Vec<AlertId>, Fault> {
    let mut statement = connection.prepare_cached(UNARMED)?;
    let rows = statement.query_map([signed(limit)], alert_id)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn failing(connection: &Connection, before: Option<AlertId>, limit: usize) -> Result<Vec<AlertId>, Fault> {
    let mut statement = connection.prepare_cached(FAILING)?;
    let rows = statement.query_map(params![bytes_before(before), signed(limit)], alert_id)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// No id stands behind this.
fn bytes_before(before: Option<AlertId>) -> [u8; 16] {
    before.map_or([u8::MAX; 16], id_bytes)
}

/// An empty blob stands before every id.
fn bytes_after(after: Option<AlertId>) -> Vec<u8> {
    after.map_or_else(Vec::new, |after| id_bytes(after).to_vec())
}

fn armed_of(row: &Row<'_>) -> rusqlite::Result<Armed> {
    let id = AlertId::from_bits(u128::from_be_bytes(row.get(0)?));
    Ok(Armed { id, wake_at: Timestamp::from_millis(row.get(1)?), sending: row.get(2)? })
}

/// The alerts of a page. One that means nothing is left out, loudly, so that it hides no other.
pub(super) fn list(connection: &Connection, plans: &Plans, page: &Page) -> Result<Vec<Arc<Alert>>, Fault> {
    let mut statement = connection.prepare_cached(&question_for(page))?;
    let before = bytes_before(page.before);
    let status = page.status.map(status_word);
    let named: [(&str, &dyn ToSql); 3] = [(":before", &before), (":policy", &page.policy), (":status", &status)];
    for (name, value) in named {
        if let Some(index) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    let mut rows = statement.raw_query();
    let mut alerts = Vec::new();
    while alerts.len() < page.limit
        && let Some(row) = rows.next()?
    {
        match decode(connection, plans, row) {
            Ok(stored) => alerts.push(stored.alert),
            Err(Fault::Corrupt(error)) => {
                let reason = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, reason, "an alert was left out of a list");
            }
            Err(fault @ Fault::Statement(_)) => return Err(fault),
        }
    }
    Ok(alerts)
}

/// The statement for a page, walking the index that has its alerts in order.
fn question_for(page: &Page) -> String {
    let of_policy = if page.policy.is_some() { " AND a.policy = :policy" } else { "" };
    let alerts = match (page.status, &page.policy) {
        (None, None) => "alerts a LEFT JOIN states s ON s.number = a.number WHERE a.id < :before ORDER BY a.id DESC",
        (None, Some(_)) => {
            "alerts a INDEXED BY alerts_of_a_policy LEFT JOIN states s ON s.number = a.number \
             WHERE a.policy = :policy AND a.id < :before ORDER BY a.id DESC"
        }
        (Some(StatusFilter::Escalating), _) => &format!(
            "states s INDEXED BY armed CROSS JOIN alerts a ON a.number = s.number \
                 WHERE s.wake_at IS NOT NULL AND s.id < :before{of_policy} ORDER BY s.id DESC"
        ),
        (Some(StatusFilter::Acknowledged | StatusFilter::Exhausted | StatusFilter::Resolved), _) => &format!(
            "states s INDEXED BY settled CROSS JOIN alerts a ON a.number = s.number WHERE s.wake_at IS NULL \
                 AND s.status = :status AND s.id < :before{of_policy} ORDER BY s.id DESC"
        ),
    };
    format!("SELECT {COLUMNS} FROM {alerts}")
}

pub(super) fn find_message(connection: &Connection, id: &ProviderId) -> Result<Option<AttemptRef>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT a.id, m.attempt FROM messages m JOIN alerts a ON a.number = m.number WHERE m.id = ?1",
    )?;
    let found = statement.query_row([id.as_str()], |row| {
        Ok(AttemptRef { alert: AlertId::from_bits(u128::from_be_bytes(row.get(0)?)), attempt: row.get(1)? })
    });
    Ok(found.optional()?)
}

pub(super) fn find_number(connection: &Connection, number: AlertNumber) -> Result<Option<AlertId>, Fault> {
    let mut statement = connection.prepare_cached("SELECT id FROM alerts WHERE number = ?1")?;
    Ok(statement.query_row([signed(number.0)], alert_id).optional()?)
}

pub(super) fn newest_number(connection: &Connection) -> Result<AlertNumber, Fault> {
    let newest: Option<i64> = connection.query_row("SELECT max(number) FROM alerts", [], |row| row.get(0))?;
    Ok(AlertNumber(newest.and_then(unsigned).unwrap_or(0)))
}

pub(super) fn find_address(
    connection: &Connection,
    channel: Channel,
    address: &Address,
    statuses: &[StatusFilter],
    limit: usize,
) -> Result<Vec<AlertId>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT s.id FROM reached r JOIN states s ON s.number = r.number \
         WHERE r.channel = ?1 AND r.address = ?2 AND s.status IN (?3, ?4, ?5, ?6) \
         ORDER BY r.number DESC LIMIT ?7",
    )?;
    let wanted = |status: StatusFilter| statuses.contains(&status).then(|| status_word(status));
    let ids = statement.query_map(
        params![
            channel.name(),
            address.reveal(),
            wanted(StatusFilter::Escalating),
            wanted(StatusFilter::Acknowledged),
            wanted(StatusFilter::Exhausted),
            wanted(StatusFilter::Resolved),
            signed(limit)
        ],
        alert_id,
    )?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn find_open(connection: &Connection, key: &str) -> Result<Option<AlertId>, Fault> {
    let mut statement = connection.prepare_cached("SELECT id FROM states WHERE open_key = ?1")?;
    Ok(statement.query_row([key], alert_id).optional()?)
}

/// Either index answers alone: an alert has the key as an open one, as a spent one, or as both.
const OF_A_KEY: &str = "SELECT id FROM states WHERE open_key = ?1 OR spent_key = ?1 ORDER BY number DESC LIMIT ?2";

pub(super) fn find_key(connection: &Connection, key: &str, limit: usize) -> Result<Vec<AlertId>, Fault> {
    let mut statement = connection.prepare_cached(OF_A_KEY)?;
    let ids = statement.query_map(params![key, signed(limit)], alert_id)?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// The webhooks that are parked under an id. One that means nothing is left out, loudly, so that it hides no other.
pub(super) fn parked(connection: &Connection, id: &ProviderId) -> Result<Vec<Incoming>, Fault> {
    let mut statement = connection.prepare_cached("SELECT record FROM parked WHERE id = ?1 ORDER BY place")?;
    let mut rows = statement.query([id.as_str()])?;
    let mut webhooks = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        match unseal(&text, &[id.as_str().as_bytes()]) {
            Ok(text) => webhooks.extend(record::legible_incoming(text)),
            Err(error) => tracing::error!(%error, "a parked webhook means nothing and was left out"),
        }
    }
    Ok(webhooks)
}

pub(super) fn is_any_parked(connection: &Connection) -> Result<bool, Fault> {
    Ok(connection.prepare_cached("SELECT 1 FROM parked")?.exists([])?)
}

pub(super) fn parked_and_known(connection: &Connection, limit: usize) -> Result<Vec<ProviderId>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT p.id FROM parked p WHERE EXISTS (SELECT 1 FROM messages m WHERE m.id = p.id) LIMIT ?1",
    )?;
    let ids = statement.query_map([signed(limit)], |row| row.get::<_, String>(0))?;
    let ids: Vec<String> = ids.collect::<rusqlite::Result<_>>()?;
    ids.iter().map(|id| id.parse().map_err(|error| Fault::corrupt("a parked webhook", error))).collect()
}

fn alert_id(row: &Row<'_>) -> rusqlite::Result<AlertId> {
    Ok(AlertId::from_bits(u128::from_be_bytes(row.get(0)?)))
}

pub(super) fn id_bytes(id: AlertId) -> [u8; 16] {
    id.to_bits().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::sqlite::opening;

    fn plan_of(connection: &Connection, question: &str) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {question}")).unwrap();
        let details: Vec<String> = statement.raw_query().mapped(|row| row.get("detail")).map(Result::unwrap).collect();
        details.join("; ")
    }

    #[test]
    fn a_question_is_understood_once_however_often_it_is_put() {
        let directory = tempfile::tempdir().unwrap();
        let connection = opening::open_writer(&directory.path().join("callout.db"), opening::Left::Never).unwrap();
        for bits in 1..=3 {
            assert!(get(&connection, &Plans::default(), AlertId::from_bits(bits)).unwrap().is_none());
            assert!(claimed(&connection, &Plans::default(), &ClaimKey(sha256(&[0]))).unwrap().is_none());
        }
        let statement = connection.prepare_cached(&of_one()).unwrap();
        let n_times = [StatementStatus::Run, StatementStatus::RePrepare].map(|status| statement.get_status(status));
        assert_eq!(n_times, [3, 0]);
    }

    #[test]
    fn no_question_looks_at_more_rows_than_it_answers_with() {
        let directory = tempfile::tempdir().unwrap();
        let connection = opening::open_writer(&directory.path().join("callout.db"), opening::Left::Never).unwrap();
        assert_eq!(plan_of(&connection, ARMED), "SEARCH states USING COVERING INDEX armed (id>?)");
        assert_eq!(plan_of(&connection, EARLIEST), "SEARCH states USING COVERING INDEX armed");
        assert_eq!(plan_of(&connection, UNARMED), "SEARCH states USING INDEX settled (status=?)");
        assert_eq!(plan_of(&connection, FAILING), "SEARCH states USING COVERING INDEX failing (id<?)");
        let of_a_key = plan_of(&connection, OF_A_KEY);
        assert!(
            of_a_key.contains("open_keys (open_key=?)") && of_a_key.contains("spent_keys (spent_key=?)"),
            "{of_a_key}"
        );
        assert!(!of_a_key.contains("SCAN"), "{of_a_key}");
        assert_eq!(plan_of(&connection, OVERDUE), "SEARCH states USING COVERING INDEX armed (id>?)");
        let statuses =
            [StatusFilter::Escalating, StatusFilter::Acknowledged, StatusFilter::Exhausted, StatusFilter::Resolved];
        for status in statuses.map(Some).into_iter().chain([None]) {
            for policy in [None, Some("night".into())] {
                let plan = plan_of(&connection, &question_for(&Page { status, policy, ..Page::default() }));
                assert!(plan.starts_with("SEARCH"), "{plan}");
                assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{plan}");
            }
        }
    }
}
