//! Taking over everything that another store kept.

use deadpool_postgres::Object;
use tokio::sync::mpsc;
use tokio_postgres::types::ToSql;

use crate::store::moving::{MoveError, Row, TABLES, Table};
use crate::store::sqlite::Part;

use super::PostgresStore;
use super::fault::Fault;
use super::rows;

/// Nobody else may write until it is over, and a row that is there may take its time.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '10s'; \
     SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL enable_seqscan = on; \
     LOCK TABLE callout.alerts IN SHARE ROW EXCLUSIVE MODE";
const HOLDS_ALERTS: &str = "SELECT EXISTS (SELECT 1 FROM callout.alerts)";
const IS_IN_USE: &str =
    "SELECT EXISTS (SELECT 1 FROM callout.nodes WHERE seen_at > clock_timestamp() - interval '10 seconds')";

/// Takes over what is read, all of it or nothing. Returns how many rows of each table.
pub(in crate::store) async fn take_over(
    store: &PostgresStore,
    parts: mpsc::Receiver<Part>,
) -> Result<Vec<(&'static str, u64)>, MoveError> {
    let client = store.database.connection().await.map_err(|fault| writing("alerts", &fault))?;
    let taken = take_within(&client, parts).await;
    if taken.is_err() {
        // The server takes everything back when the connection ends.
        drop(Object::take(client));
    }
    taken
}

async fn take_within(client: &Object, mut parts: mpsc::Receiver<Part>) -> Result<Vec<(&'static str, u64)>, MoveError> {
    client.batch_execute(BEGIN).await.map_err(|error| writing("alerts", &error.into()))?;
    if says(client, IS_IN_USE).await? {
        return Err(MoveError::InUse);
    }
    if says(client, HOLDS_ALERTS).await? {
        return Err(MoveError::HoldsAlerts);
    }
    let mut moved = Vec::new();
    while let Some(part) = parts.recv().await {
        match part {
            Part::Rows(table, rows) => write(client, table, &rows).await?,
            Part::End(table, expected) => {
                let arrived = count(client, table).await?;
                if arrived != expected {
                    return Err(MoveError::Miscounted { table: table.name, expected, arrived });
                }
                moved.push((table.name, expected));
            }
        }
    }
    // The reader ended early, and says why.
    if moved.len() < TABLES.len() {
        let table = TABLES.get(moved.len()).map_or("alerts", |table| table.name);
        return Err(MoveError::Writing { table, reason: "the file could not be read to its end".into() });
    }
    client.batch_execute("COMMIT").await.map_err(|error| writing("alerts", &error.into()))?;
    Ok(moved)
}

async fn says(client: &Object, question: &str) -> Result<bool, MoveError> {
    let row = client.query_one(question, &[]).await.map_err(|error| writing("alerts", &error.into()))?;
    rows::value(&row, 0).map_err(|fault| writing("alerts", &fault))
}

async fn write(client: &Object, table: &'static Table, rows: &[Row]) -> Result<(), MoveError> {
    let columns: Vec<Vec<Option<&str>>> = (0..table.n_columns)
        .map(|column| rows.iter().map(|row| row.get(column).and_then(Option::as_deref)).collect())
        .collect();
    let mut values: Vec<&(dyn ToSql + Sync)> = Vec::new();
    for column in &columns {
        values.push(column);
    }
    let written = async {
        let statement = client.prepare_cached(table.write).await?;
        client.execute(&statement, &values).await
    };
    written.await.map(drop).map_err(|error| writing(table.name, &error.into()))
}

/// Secrets that were there before count too, where they have other names.
async fn count(client: &Object, table: &'static Table) -> Result<u64, MoveError> {
    let question = match table.name {
        "plans" => "SELECT count(*) FROM callout.plans",
        "alerts" => "SELECT count(*) FROM callout.alerts",
        "states" => "SELECT count(*) FROM callout.states",
        "messages" => "SELECT count(*) FROM callout.messages",
        "reached" => "SELECT count(*) FROM callout.reached",
        "claims" => "SELECT count(*) FROM callout.claims",
        "parked" => "SELECT count(*) FROM callout.parked",
        "deliveries" => "SELECT count(*) FROM callout.deliveries",
        _ => "SELECT count(*) FROM callout.secrets",
    };
    let failed = |fault: Fault| writing(table.name, &fault);
    let row = client.query_one(question, &[]).await.map_err(|error| failed(error.into()))?;
    let n_rows: i64 = rows::value(&row, 0).map_err(failed)?;
    Ok(rows::unsigned(n_rows).unwrap_or(0))
}

fn writing(table: &'static str, fault: &Fault) -> MoveError {
    let reason = match fault {
        Fault::Statement(error) => match error.as_db_error() {
            Some(said) => said.message().to_owned(),
            None => "the connection failed".to_owned(),
        },
        Fault::NoConnection(error) => error.to_string(),
        Fault::Refused(refusal) => refusal.to_string(),
        Fault::Corrupt(error) => error.to_string(),
    };
    MoveError::Writing { table, reason: reason.into() }
}
