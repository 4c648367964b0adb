//! Putting a statement to the database: on a connection that works, within a time, again if that helps.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::chance::Chance;
use crate::clock::Clock;
use crate::timestamp::Timestamp;

use super::fault::{Fault, Reach, Refusal};

/// How often a statement is tried that others or the network stood in the way of.
const TRIES_MAX: u32 = 8;
/// How long to wait before it is tried again; doubles up to the limit, give or take half.
const AGAIN_MIN: Duration = Duration::from_millis(10);
const AGAIN_MAX: Duration = Duration::from_secs(1);
/// How long an answer may take. The server ends a statement after five seconds; who does not answer a second
/// later is not there.
const ANSWER_MAX: Duration = Duration::from_secs(6);

/// How long trying again may go on: who waits for an answer must be told "not now" before it gives up itself.
pub(super) const TRY_FOR_MAX: Duration = Duration::from_secs(8);

/// The values of a statement.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The connections to the database.
pub(super) struct Database {
    pool: Pool,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Database").field("connections", &self.pool.status()).finish_non_exhaustive()
    }
}

impl Database {
    pub(super) fn new(pool: Pool, clock: Arc<dyn Clock>, chance: Arc<dyn Chance>) -> Self {
        Self { pool, clock, chance }
    }

    /// The rows of an answer. Only for what does no harm when it is done twice, since a connection that
    /// breaks does not say whether it was done.
    pub(super) async fn rows(&self, statement: &'static str, values: Values<'_>) -> Result<Vec<Row>, Fault> {
        let mut tries = Tries::begin(self);
        loop {
            match self.rows_once(statement, values).await {
                Err(fault) if tries.go_on(&fault).await => {}
                result => return result,
            }
        }
    }

    /// As [`Database::rows`], for an answer of one row at most.
    pub(super) async fn row(&self, statement: &'static str, values: Values<'_>) -> Result<Option<Row>, Fault> {
        Ok(self.rows(statement, values).await?.into_iter().next())
    }

    /// As [`Database::rows`]; how many rows were changed.
    pub(super) async fn change(&self, statement: &'static str, values: Values<'_>) -> Result<u64, Fault> {
        let mut tries = Tries::begin(self);
        loop {
            let client = self.connection().await;
            let changed = match client {
                Ok(client) => {
                    within(client, async |client: &Object| {
                        let prepared = client.prepare_cached(statement).await?;
                        client.execute(&prepared, values).await
                    })
                    .await
                }
                Err(fault) => Err(fault),
            };
            match changed {
                Err(fault) if tries.go_on(&fault).await => {}
                result => return result,
            }
        }
    }

    /// The rows of an answer, asked for once.
    pub(super) async fn rows_once(&self, statement: &'static str, values: Values<'_>) -> Result<Vec<Row>, Fault> {
        let client = self.connection().await?;
        within(client, async |client: &Object| {
            let prepared = client.prepare_cached(statement).await?;
            client.query(&prepared, values).await
        })
        .await
    }

    /// Has the server read a statement.
    pub(super) async fn understand(&self, statement: &'static str) -> Result<(), Fault> {
        let client = self.connection().await?;
        within(client, async |client: &Object| client.prepare_cached(statement).await.map(drop)).await
    }

    pub(super) async fn connection(&self) -> Result<Object, Fault> {
        Ok(self.pool.get().await?)
    }

    /// Waits before the next try, longer each time and never exactly as long as another node.
    async fn wait_before(&self, n_tries: u32) {
        let wait = AGAIN_MIN.saturating_mul(1 << n_tries.min(10)).min(AGAIN_MAX);
        let mut random = [0; 1];
        self.chance.fill(&mut random);
        let [random] = random;
        let wait = wait.saturating_mul(128 + u32::from(random)) / 256;
        self.clock.sleep_until(self.clock.now().plus(wait)).await;
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(super) fn chance(&self) -> &dyn Chance {
        self.chance.as_ref()
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

/// Counts how often something was tried.
pub(super) struct Tries<'a> {
    database: &'a Database,
    began: Timestamp,
    n_done: u32,
}

impl<'a> Tries<'a> {
    pub(super) fn begin(database: &'a Database) -> Self {
        Self { database, began: database.clock.now(), n_done: 0 }
    }

    /// Whether it is worth another try after this fault; returns when the time for it has come.
    pub(super) async fn go_on(&mut self, fault: &Fault) -> bool {
        self.n_done += 1;
        let has_time = self.database.clock.now().since(self.began) < TRY_FOR_MAX;
        if fault.reach() != Reach::Again || self.n_done >= TRIES_MAX || !has_time {
            return false;
        }
        tracing::debug!(n_tries = self.n_done, ?fault, "a statement is put to the database again");
        self.database.wait_before(self.n_done).await;
        true
    }
}

/// Asks within the time. A connection that broke or keeps silent is not used again.
async fn within<T>(
    client: Object,
    ask: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Fault> {
    let asked: Result<T, Fault> = match timeout(ask(&client)).await {
        Some(answer) => answer.map_err(Fault::from),
        None => Err(Refusal::Silent.into()),
    };
    if asked.as_ref().is_err_and(Fault::spoils_connection) {
        drop(Object::take(client));
    }
    asked
}

async fn timeout<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(ANSWER_MAX, work).await.ok()
}
