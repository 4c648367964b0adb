//! What the rows of the database mean.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::escalation::{Alert, Plan};
use crate::id::{AlertId, AlertNumber};
use crate::store::{Armed, Replay, Stored, record};
use crate::timestamp::Timestamp;

use crate::store::columns::outcome;
pub(super) use crate::store::columns::{Nonsense, outcome_word, signed, status_word, unsigned};

use super::asking::Database;
use super::fault::Fault;
use super::plans::Plans;
use super::statements;

/// The alert that a row is about: number, id, plan and record of what was raised, version and record of
/// its state.
pub(super) async fn decode(database: &Database, plans: &Plans, row: &Row) -> Result<Stored, Fault> {
    // A row whose id cannot be read is not about any alert; everything else is this alert's.
    let id = alert_id(row, 1)?;
    let out_of_range = || Fault::corrupt_alert(id, Nonsense::OutOfRange);
    let number = unsigned(row.try_get(0)?).ok_or_else(out_of_range)?;
    let (version, state) = (row.try_get::<_, Option<i64>>(4)?, row.try_get::<_, Option<&str>>(5)?);
    let (Some(version), Some(state)) = (version, state) else {
        return Err(Fault::corrupt_alert(id, Nonsense::NoState));
    };
    let version = unsigned(version).ok_or_else(out_of_range)?;
    let hash: [u8; 32] = row.try_get::<_, &[u8]>(2)?.try_into().map_err(|_length| out_of_range())?;
    let plan = plan(database, plans, id, hash).await?;
    let corrupt = |error| Fault::corrupt_alert(id, error);
    let raised = record::read_raised(row.try_get(3)?, id, AlertNumber(number), plan).map_err(corrupt)?;
    let alert = record::read_alert(Arc::new(raised), state).map_err(corrupt)?;
    Ok(Stored { alert: Arc::new(alert), version })
}

async fn plan(database: &Database, plans: &Plans, alert: AlertId, hash: [u8; 32]) -> Result<Arc<Plan>, Fault> {
    if let Some(plan) = plans.get(&hash) {
        return Ok(plan);
    }
    let row = database.row(statements::PLAN, &[&hash.as_slice()]).await?;
    let row = row.ok_or_else(|| Fault::corrupt_alert(alert, Nonsense::NoPlan))?;
    let plan = record::read_plan(row.try_get(0)?).map_err(|error| Fault::corrupt_alert(alert, error))?;
    Ok(plans.learn(hash, plan))
}

/// What an idempotency key was used for, from the columns of [`decode`], a hash and a word.
pub(super) async fn replay(database: &Database, plans: &Plans, row: &Row) -> Result<Replay, Fault> {
    let alert = decode(database, plans, row).await?.alert;
    let fingerprint = row.try_get::<_, &[u8]>(6)?.try_into();
    let fingerprint = fingerprint.map_err(|_length| Fault::corrupt_alert(alert.id(), Nonsense::OutOfRange))?;
    let outcome = outcome(row.try_get(7)?).ok_or_else(|| Fault::corrupt_alert(alert.id(), Nonsense::UnknownWord))?;
    Ok(Replay { fingerprint, outcome, alert })
}

/// The alerts of a list. One that means nothing is left out, loudly, so that it hides no other.
pub(super) async fn alerts(database: &Database, plans: &Plans, rows: &[Row]) -> Result<Vec<Arc<Alert>>, Fault> {
    let mut alerts = Vec::with_capacity(rows.len());
    for row in rows {
        match decode(database, plans, row).await {
            Ok(stored) => alerts.push(stored.alert),
            Err(Fault::Corrupt(error)) => {
                let reason = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, reason, "an alert was left out of a list");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(alerts)
}

pub(super) fn armed(row: &Row) -> Result<Armed, Fault> {
    Ok(Armed { id: alert_id(row, 0)?, wake_at: Timestamp::from_millis(row.try_get(1)?), sending: row.try_get(2)? })
}

pub(super) fn alert_id(row: &Row, index: usize) -> Result<AlertId, Fault> {
    Ok(AlertId::from_bits(value::<Uuid>(row, index)?.as_u128()))
}

pub(super) fn value<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, Fault> {
    Ok(row.try_get(index)?)
}

pub(super) fn uuid(id: AlertId) -> Uuid {
    Uuid::from_u128(id.to_bits())
}
