//! The floors: the least programs that do the same durable work, measured in the same run.
//!
//! They know no policies, keys, signatures, retries or audit. `bare` parses and answers. `commit` keeps a
//! row for each request in SQLite, with full synchronisation, and answers after the commit; what waits
//! shares one. `call` does that and makes one call to the provider for each alert.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use rusqlite::Connection;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

/// The most rows in one transaction, and calls on their way, as in callout.
const BATCH_MAX: usize = 512;
const CALLS_MAX: usize = 128;

enum Write {
    Alert(String, oneshot::Sender<()>),
    Event(i64, String, oneshot::Sender<()>),
}

#[derive(Clone)]
struct Floor {
    writer: Option<Sender<Write>>,
    provider: Option<(Arc<str>, reqwest::Client, Arc<Semaphore>)>,
}

/// Serves until the process is killed. `kind` is bare, commit or call.
pub(crate) async fn serve(kind: &str, database: &str, provider: &str) {
    let writer = (kind != "bare").then(|| {
        let connection = open(database);
        let (sender, receiver) = channel();
        std::thread::spawn(move || write(connection, &receiver));
        sender
    });
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let provider = (kind == "call").then(|| (Arc::from(provider), client, Arc::new(Semaphore::new(CALLS_MAX))));
    let router = Router::new()
        .route("/alerts", post(alert))
        .route("/webhooks/status", post(event))
        .route("/healthz", get(|| async { "up" }))
        .with_state(Floor { writer, provider });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    println!("{address}");
    axum::serve(listener, router).await.expect("it serves");
}

fn open(database: &str) -> Connection {
    let connection = Connection::open(database).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE alerts (id INTEGER PRIMARY KEY, due INTEGER, record TEXT NOT NULL) STRICT;
             CREATE INDEX due ON alerts (due, id) WHERE due IS NOT NULL;
             CREATE TABLE events (id INTEGER PRIMARY KEY, alert INTEGER NOT NULL, record TEXT NOT NULL) STRICT;",
        )
        .expect("a schema");
    connection
}

fn write(mut connection: Connection, waiting: &Receiver<Write>) {
    while let Ok(first) = waiting.recv() {
        let mut answers = Vec::new();
        let transaction = connection.transaction().expect("a transaction");
        for write in std::iter::once(first).chain(waiting.try_iter().take(BATCH_MAX - 1)) {
            match write {
                Write::Alert(record, answer) => {
                    let sql = "INSERT INTO alerts (due, record) VALUES (1, ?1)";
                    transaction.prepare_cached(sql).and_then(|mut row| row.execute([record])).expect("a row");
                    answers.push(answer);
                }
                Write::Event(alert, record, answer) => {
                    let sql = "INSERT INTO events (alert, record) VALUES (?1, ?2)";
                    transaction.prepare_cached(sql).and_then(|mut row| row.execute((alert, record))).expect("a row");
                    let sql = "UPDATE alerts SET due = NULL WHERE id = ?1";
                    transaction.prepare_cached(sql).and_then(|mut row| row.execute([alert])).expect("a row");
                    answers.push(answer);
                }
            }
        }
        transaction.commit().expect("a commit");
        for answer in answers {
            let _nobody = answer.send(());
        }
    }
}

async fn alert(State(floor): State<Floor>, Json(body): Json<Value>) -> StatusCode {
    if let Some(writer) = &floor.writer {
        let (answer, done) = oneshot::channel();
        writer.send(Write::Alert(body.to_string(), answer)).expect("the writer lives");
        done.await.expect("the writer answers");
    }
    if let Some((url, client, places)) = floor.provider {
        tokio::spawn(async move {
            let place = places.acquire().await;
            let sent = client.post(url.as_ref()).json(&body).send().await;
            if let Ok(answer) = sent {
                let _body = answer.bytes().await;
            }
            drop(place);
        });
    }
    StatusCode::CREATED
}

async fn event(State(floor): State<Floor>, body: Bytes) -> StatusCode {
    let Ok(parsed) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    if let Some(writer) = &floor.writer {
        let (answer, done) = oneshot::channel();
        // The generator numbers its alerts from 1, as the rows are.
        let alert = parsed["client_ref"].as_str().and_then(|number| number.parse().ok()).unwrap_or(1);
        writer.send(Write::Event(alert, parsed.to_string(), answer)).expect("the writer lives");
        done.await.expect("the writer answers");
    }
    StatusCode::OK
}
