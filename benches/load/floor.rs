//! The floor: the least program that answers the same requests.
//!
//! Three of them, by name. `bare` parses and answers. `commit` keeps a row for each alert, and for each webhook
//! an event and a changed row, in SQLite with `synchronous=FULL`, by one thread that commits whatever has
//! gathered. `call` does the same and sends each alert out. It knows no keys, signatures, policies, retries
//! or limits, and writes no log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use callout::clock::system_now;
use rusqlite::Connection;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

/// The most rows in one transaction, and calls on their way, as in callout.
const BATCH_MAX: usize = 512;
const CALLS_MAX: usize = 128;
/// After how many rows another connection moves the log into the database, as in callout.
const ROWS_BETWEEN_CHECKPOINTS: usize = 256;
/// How long the first channel waits.
const EXPIRY_MILLIS: i64 = 3_600_000;

enum Write {
    Alert(String, oneshot::Sender<()>),
    Event { alert: i64, name: String, record: String, done: oneshot::Sender<()> },
}

#[derive(Clone)]
struct Floor {
    writer: Option<Sender<Write>>,
    calls: Option<Calls>,
}

#[derive(Clone)]
struct Calls {
    url: Arc<str>,
    client: reqwest::Client,
    places: Arc<Semaphore>,
}

impl Calls {
    fn begin(self, body: Value) {
        tokio::spawn(async move {
            let place = self.places.acquire().await;
            if let Ok(answer) = self.client.post(self.url.as_ref()).json(&body).send().await {
                let _body = answer.bytes().await;
            }
            drop(place);
        });
    }
}

/// Serves until the process is killed.
pub(crate) async fn serve(kind: &str, database: &str, provider: &str) {
    let writer = (kind != "bare").then(|| {
        let (connection, checkpoints) = (open(database), open(database));
        let (nudge_sender, received) = std::sync::mpsc::sync_channel::<()>(1);
        std::thread::spawn(move || {
            while received.recv().is_ok() {
                let moved = checkpoints.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                moved.expect("a checkpoint");
            }
        });
        let (sender, waiting) = channel();
        std::thread::spawn(move || write(connection, &waiting, &nudge_sender));
        sender
    });
    let calls = (kind == "call").then(|| Calls {
        url: provider.into(),
        client: reqwest::Client::builder().no_proxy().build().expect("a client"),
        places: Arc::new(Semaphore::new(CALLS_MAX)),
    });
    let router = Router::new()
        .route("/alerts", post(alert))
        .route("/webhooks/status", post(event))
        .route("/readyz", get(|| async { "ready" }))
        .with_state(Floor { writer, calls });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    println!("{address}");
    axum::serve(listener, router).await.expect("it serves");
}

fn open(database: &str) -> Connection {
    let connection = Connection::open(database).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE IF NOT EXISTS alerts
                 (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, due INTEGER, record TEXT NOT NULL) STRICT;
             CREATE INDEX IF NOT EXISTS due ON alerts (due, number) WHERE due IS NOT NULL;
             CREATE TABLE IF NOT EXISTS events
                 (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, alert INTEGER NOT NULL, record TEXT NOT NULL)
                 STRICT;",
        )
        .expect("a schema");
    connection
}

fn write(mut connection: Connection, waiting: &Receiver<Write>, nudges: &std::sync::mpsc::SyncSender<()>) {
    let mut n_rows = 0;
    while let Ok(first) = waiting.recv() {
        let mut answers = Vec::new();
        let transaction = connection.transaction().expect("a transaction");
        for write in std::iter::once(first).chain(waiting.try_iter().take(BATCH_MAX - 1)) {
            let (sql, parameters): (_, &[&dyn rusqlite::ToSql]) = match &write {
                Write::Alert(record, _) => (
                    "INSERT INTO alerts (id, due, record) VALUES (?1, ?2, ?3)",
                    &[&Uuid::now_v7().into_bytes(), &(system_now().as_millis() + EXPIRY_MILLIS), record],
                ),
                Write::Event { alert, name, record, .. } => (
                    // A webhook that comes twice counts once.
                    "INSERT OR IGNORE INTO events (name, alert, record) VALUES (?1, ?2, ?3)",
                    &[name, alert, record],
                ),
            };
            transaction.prepare_cached(sql).and_then(|mut row| row.execute(parameters)).expect("a row");
            match write {
                Write::Alert(_, done) => answers.push(done),
                Write::Event { alert, done, .. } => {
                    let sql = "UPDATE alerts SET due = NULL WHERE number = ?1";
                    transaction.prepare_cached(sql).and_then(|mut row| row.execute([alert])).expect("a row");
                    answers.push(done);
                }
            }
        }
        transaction.commit().expect("a commit");
        n_rows += answers.len();
        for answer in answers {
            let _nobody = answer.send(());
        }
        if n_rows >= ROWS_BETWEEN_CHECKPOINTS {
            n_rows = 0;
            let _busy = nudges.try_send(());
        }
    }
}

async fn alert(State(floor): State<Floor>, Json(body): Json<Value>) -> StatusCode {
    if let Some(writer) = &floor.writer {
        let (answer, done) = oneshot::channel();
        writer.send(Write::Alert(body.to_string(), answer)).expect("the writer lives");
        done.await.expect("the writer answers");
    }
    if let Some(calls) = floor.calls {
        calls.begin(body);
    }
    StatusCode::CREATED
}

async fn event(State(floor): State<Floor>, body: Bytes) -> StatusCode {
    let Ok(parsed) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    let word = |name: &str| parsed.get(name).and_then(Value::as_str).unwrap_or_default();
    if let Some(writer) = &floor.writer {
        let (done, answered) = oneshot::channel();
        let alert = word("client_ref").parse().unwrap_or(0);
        let name = format!("{} {}", word("message_uuid"), word("status"));
        writer.send(Write::Event { alert, name, record: parsed.to_string(), done }).expect("the writer lives");
        answered.await.expect("the writer answers");
    }
    if let Some(calls) = floor.calls
        && word("status") == "rejected"
    {
        calls.begin(parsed);
    }
    StatusCode::OK
}
