//! Opening a database: a server that keeps what it says, the right settings, the newest schema.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use crate::store::Error;

use super::address::Address;

/// The steps that make the schema, in order; the database remembers how many it has seen. Each only adds,
/// so that nodes of the version before can go on beside it.
pub(super) const MIGRATIONS: [Migration; 3] = [
    Migration { sql: include_str!("../migrations/postgres/1.sql"), writers_from: 1 },
    Migration { sql: include_str!("../migrations/postgres/2.sql"), writers_from: 1 },
    Migration { sql: include_str!("../migrations/postgres/3.sql"), writers_from: 1 },
];
/// The schema that this callout brings about.
pub(super) const SCHEMA: i64 = 3;
/// How many connections a node keeps.
pub(super) const CONNECTIONS_MAX: usize = 12;
/// How often opening is tried again while other nodes are opening the same new database.
const OPEN_AGAIN_MAX: usize = 20;
/// How long a call waits for a free connection.
const FREE_CONNECTION_WITHIN: Duration = Duration::from_secs(3);

/// A step of the schema.
pub(super) struct Migration {
    sql: &'static str,
    /// The oldest schema whose callout may still write once this step is taken. The others may read.
    writers_from: i64,
}

/// What holds for every connection. Sequential scans and hash joins only ever look good to a planner that
/// has no statistics yet, and a plan that is kept would stay bad when the tables have grown.
const SETTINGS: &str = "
    SET synchronous_commit = on;
    SET statement_timeout = '5s';
    SET lock_timeout = '2s';
    SET idle_in_transaction_session_timeout = '5s';
    SET default_transaction_isolation = 'read committed';
    SET client_min_messages = warning;
    SET enable_seqscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET jit = off";

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The address says something that cannot be followed.
    #[error("the address of the PostgreSQL database cannot be used: {0}")]
    Address(&'static str),
    /// The file of certificates cannot be used.
    #[error("cannot use the certificates in {} (sslrootcert): {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS to the PostgreSQL database")]
    Tls(#[source] rustls::Error),
    /// It cannot be reached, or does not let callout in.
    #[error("cannot connect to the PostgreSQL database at {place}: {reason} ({hint})")]
    Connect {
        /// Where it should be.
        place: Box<str>,
        /// What stands against it.
        reason: Box<str>,
        /// What to do.
        hint: &'static str,
    },
    /// The server would lose what it said it kept.
    #[error("the PostgreSQL server at {place} runs with fsync=off and would lose alerts; switch fsync on")]
    NoFsync {
        /// Where it is.
        place: Box<str>,
    },
    /// The server only reads.
    #[error("the PostgreSQL server at {place} is a read replica; name the primary server")]
    Replica {
        /// Where it is.
        place: Box<str>,
    },
    /// A schema named callout is there and is somebody else's.
    #[error("the database at {place} has a schema named callout that is not callout's; use another database")]
    NotOurs {
        /// Where it is.
        place: Box<str>,
    },
    /// What was asked at the start failed.
    #[error("cannot prepare the PostgreSQL database at {place}: {reason} ({hint})")]
    Prepare {
        /// Where it is.
        place: Box<str>,
        /// What stands against it.
        reason: Box<str>,
        /// What to do.
        hint: &'static str,
    },
    /// What stands in it cannot be read.
    #[error("cannot read the PostgreSQL database at {place}")]
    Unreadable {
        /// Where it is.
        place: Box<str>,
        /// Why.
        #[source]
        source: Error,
    },
}

/// Makes the pool; nothing is connected yet.
pub(super) fn pool(address: &Address) -> Result<Pool, PostgresError> {
    let manager = Manager::from_config(
        address.config.clone(),
        address.tls.clone(),
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    let prepare = Hook::async_fn(|client, _| {
        Box::pin(async move { client.batch_execute(SETTINGS).await.map_err(HookError::Backend) })
    });
    let pool = Pool::builder(manager)
        .max_size(CONNECTIONS_MAX)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait: Some(FREE_CONNECTION_WITHIN),
            create: Some(FREE_CONNECTION_WITHIN * 2),
            recycle: Some(FREE_CONNECTION_WITHIN),
        })
        .post_create(prepare)
        .build();
    pool.map_err(|_no_runtime| PostgresError::Address("no runtime for its connections"))
}

/// Connects for the first time, refuses a server that keeps no promise, and brings the schema up to date.
/// Returns the schema that is there, which a newer callout may have made.
pub(super) async fn prepare(pool: &Pool, address: &Address) -> Result<i64, PostgresError> {
    let place = &address.place;
    let client = pool.get().await.map_err(|error| cannot_connect(place, &error))?;
    let failed = |error: tokio_postgres::Error| cannot_prepare(place, &error);
    check_server(&client, address).await?;
    let mut n_tries = 0;
    loop {
        match migrate(&client, place).await {
            Ok(schema) => return Ok(schema),
            // Two nodes made it at the same time; one of them finds it made when it looks again.
            Err(Trouble::Raced(error)) if n_tries >= OPEN_AGAIN_MAX => return Err(failed(error)),
            Err(Trouble::Raced(_)) => n_tries += 1,
            Err(Trouble::Failed(error)) => return Err(failed(error)),
            Err(Trouble::Cannot(error)) => return Err(error),
        }
    }
}

async fn check_server(client: &Client, address: &Address) -> Result<(), PostgresError> {
    let place = &address.place;
    let question = "SELECT current_setting('fsync', true), current_setting('full_page_writes', true), \
        current_setting('transaction_read_only', true), pg_is_in_recovery(), \
        current_setting('synchronous_standby_names', true), \
        (SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async'), \
        (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'), \
        (SELECT bool_or(ssl) FROM pg_stat_ssl WHERE pid = pg_backend_pid())";
    let Ok(row) = client.query_one(question, &[]).await else {
        tracing::warn!(
            place = &**place,
            "the server does not say how it keeps its data, as PostgreSQL does; callout is tested with PostgreSQL only"
        );
        return Ok(());
    };
    let says = |index: usize, word: &str| text_at(&row, index).as_deref() == Some(word);
    if says(0, "off") {
        return Err(PostgresError::NoFsync { place: place.clone() });
    }
    if says(2, "on") || row.try_get(3).unwrap_or(false) {
        return Err(PostgresError::Replica { place: place.clone() });
    }
    if says(1, "off") {
        tracing::warn!(
            place = &**place,
            "the server runs with full_page_writes=off: a power cut can damage the database"
        );
    }
    let n_async: i64 = row.try_get(5).unwrap_or(0);
    if n_async > 0 && text_at(&row, 4).is_none_or(|names| names.is_empty()) {
        tracing::warn!(
            place = &**place,
            n_async,
            "the server's standbys are asynchronous: a failover can lose the last alerts; see docs/several-nodes.md"
        );
    }
    if says(6, "off") || says(6, "local") {
        tracing::warn!(
            place = &**place,
            "synchronous_commit is off by default on this server; callout switches it on for itself"
        );
    }
    if !address.is_verified {
        let is_encrypted = row.try_get::<_, Option<bool>>(7).ok().flatten().unwrap_or(false);
        tracing::info!(
            place = &**place,
            is_encrypted,
            "the server is not asked to prove who it is; add sslmode=verify-full to the address unless the way there is safe"
        );
    }
    Ok(())
}

fn text_at(row: &Row, index: usize) -> Option<String> {
    row.try_get::<_, Option<String>>(index).ok().flatten()
}

enum Trouble {
    Raced(tokio_postgres::Error),
    Failed(tokio_postgres::Error),
    Cannot(PostgresError),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let raced = [
            SqlState::UNIQUE_VIOLATION,
            SqlState::DUPLICATE_SCHEMA,
            SqlState::DUPLICATE_TABLE,
            SqlState::DUPLICATE_OBJECT,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
        ];
        if error.code().is_some_and(|code| raced.contains(code)) { Self::Raced(error) } else { Self::Failed(error) }
    }
}

/// Takes the steps that are missing, under the lock of one row: whoever comes second finds them taken.
async fn migrate(client: &Client, place: &str) -> Result<i64, Trouble> {
    if let Some((schema, writers_from)) = installed(client, place).await?
        && schema >= SCHEMA
    {
        if writers_from > SCHEMA {
            tracing::error!(
                schema,
                writers_from,
                known = SCHEMA,
                "a newer callout has changed the database: this one answers questions and changes NOTHING; bring it to the same version"
            );
        } else if schema > SCHEMA {
            tracing::warn!(
                schema,
                known = SCHEMA,
                "a newer callout works on this database; this one can go on beside it"
            );
        }
        return Ok(schema);
    }
    client
        .batch_execute(
            "CREATE SCHEMA IF NOT EXISTS callout;
             CREATE TABLE IF NOT EXISTS callout.installation (
                 id           smallint PRIMARY KEY CHECK (id = 1),
                 schema       bigint NOT NULL, -- how many steps it has seen
                 writers_from bigint NOT NULL  -- the oldest schema whose callout may write
             );
             INSERT INTO callout.installation VALUES (1, 0, 0) ON CONFLICT (id) DO NOTHING",
        )
        .await?;
    client.batch_execute("BEGIN").await?;
    match take_missing_steps(client).await {
        Ok(()) => {
            client.batch_execute("COMMIT").await?;
            Ok(SCHEMA)
        }
        Err(error) => {
            client.batch_execute("ROLLBACK").await?;
            Err(error.into())
        }
    }
}

async fn take_missing_steps(client: &Client) -> Result<(), tokio_postgres::Error> {
    let row = client.query_one("SELECT schema FROM callout.installation WHERE id = 1 FOR UPDATE", &[]).await?;
    let found: i64 = row.try_get(0)?;
    let missing = (1..).zip(&MIGRATIONS).filter(|(schema, _)| *schema > found);
    for (schema, migration) in missing {
        client.batch_execute(migration.sql).await?;
        let update = "UPDATE callout.installation SET schema = $1, writers_from = $2 WHERE id = 1";
        client.execute(update, &[&schema, &migration.writers_from]).await?;
    }
    Ok(())
}

/// The schema that is there and the oldest one that may write; none in a database that is new to callout.
async fn installed(client: &Client, place: &str) -> Result<Option<(i64, i64)>, Trouble> {
    let question = "SELECT to_regclass('callout.installation') IS NOT NULL, \
        EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = 'callout')";
    let row = client.query_one(question, &[]).await?;
    if !row.try_get::<_, bool>(0)? {
        if row.try_get(1)? {
            return Err(Trouble::Cannot(PostgresError::NotOurs { place: place.into() }));
        }
        return Ok(None);
    }
    let row = client.query_opt("SELECT schema, writers_from FROM callout.installation WHERE id = 1", &[]).await?;
    Ok(match row {
        Some(row) => Some((row.try_get(0)?, row.try_get(1)?)),
        None => None,
    })
}

fn cannot_connect(place: &str, error: &PoolError) -> PostgresError {
    let (reason, code): (String, Option<SqlState>) = match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            (in_words(error), error.code().cloned())
        }
        PoolError::Timeout(_) => ("it does not answer".to_owned(), None),
        error @ (PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
            (error.to_string(), None)
        }
    };
    if reason.contains("does not allow writes") || reason.contains("read-only") || reason.contains("read only") {
        return PostgresError::Replica { place: place.into() };
    }
    let hint = match code {
        Some(code) if code == SqlState::INVALID_CATALOG_NAME => "make the database first: createdb NAME",
        Some(code) if matches!(code.code().get(..2), Some("28")) => "check user, password and pg_hba.conf",
        Some(_) => "see the server's log",
        None if reason.contains("certificate") || reason.contains("TLS") || reason.contains("tls") => {
            "check sslmode and sslrootcert in the address"
        }
        None => "is it running, and does its address lead there from this machine?",
    };
    PostgresError::Connect { place: place.into(), reason: reason.into(), hint }
}

fn cannot_prepare(place: &str, error: &tokio_postgres::Error) -> PostgresError {
    let hint = match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            "the user needs the right to create a schema: GRANT CREATE ON DATABASE … TO …"
        }
        Some(_) | None => "see the server's log",
    };
    PostgresError::Prepare { place: place.into(), reason: in_words(error).into(), hint }
}

/// An error with everything that led to it.
fn in_words(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return said.message().to_owned();
    }
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

/// The database was opened, but what it says about its alerts cannot be read.
pub(super) fn unreadable(place: &str, source: Error) -> PostgresError {
    PostgresError::Unreadable { place: place.into(), source }
}
