//! Callers who are slow, silent, rude or many.

use std::time::Duration;

use callout::http::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::engine_frail::{Call, Frail};
use crate::harness::{Answer, Callout, KEY, PATIENCE, Setup, path_of};

/// Limits that a test can wait for.
const SHORT: Limits = Limits {
    head: Duration::from_millis(300),
    request: Duration::from_millis(300),
    unread: Duration::from_millis(300),
    connections: 2,
    spared: Duration::from_millis(300),
    drain: Duration::from_secs(2),
};

/// Three connections, all the time that anybody could want, and no mercy for who has to make room.
const TAKEN: Limits = Limits {
    head: Duration::from_hours(1),
    request: Duration::from_hours(1),
    unread: Duration::from_hours(1),
    connections: 3,
    spared: Duration::ZERO,
    drain: Duration::from_secs(2),
};

async fn with_limits(limits: Limits) -> Callout {
    Setup { limits, ..Setup::default() }.start().await
}

impl Callout {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// A connection that has had an answer and may ask again.
    async fn answered(&self) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(b"HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let head = head_of_answer(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 OK") && !head.contains("connection: close"), "{head}");
        stream
    }

    /// A connection whose request to raise an alert has begun; its body is still to come.
    async fn has_begun_to_post(&self, body: &str) -> TcpStream {
        let mut stream = self.connect().await;
        let head = format!(
            "POST /alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
             expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(head_of_answer(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
        stream
    }

    /// What comes back to these bytes until the connection is closed.
    async fn says_to(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        until_closed(&mut stream).await
    }
}

async fn head_of_answer(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the connection was never closed");
    String::from_utf8(bytes).unwrap()
}

/// The problem in an answer that was read off the wire.
#[track_caller]
fn problem_of(answer: &str, status: u16) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(head.contains("content-type: application/problem+json"), "{answer}");
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["status"], status);
    for field in ["type", "title", "detail"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    problem
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_of_something_is_closed() {
    let callout = with_limits(SHORT).await;
    for beginning in ["", "G", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        assert_eq!(callout.says_to(beginning.as_bytes()).await, "", "{beginning:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_idle_after_an_answer_is_closed() {
    let callout = with_limits(SHORT).await;
    let answer = callout.says_to(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_answered_503() {
    let callout = with_limits(SHORT).await;
    let head = format!(
        "POST /alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{\"message\":"
    );
    let answer = callout.says_to(head.as_bytes()).await;
    let problem = problem_of(&answer, 503);
    assert_eq!(problem["type"], "/problems/timeout");
    assert!(answer.contains("retry-after: 5") && answer.contains("connection: close"), "{answer}");
    assert_eq!(callout.get("/alerts").await.json()["alerts"], json!([]));
}

#[tokio::test]
async fn a_body_that_breaks_off_raises_nothing() {
    let callout = Callout::start().await;
    let mut stream = callout.connect().await;
    let head = format!(
        "POST /alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n5\r\n{{\"mes\r\nnonsense\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    problem_of(&until_closed(&mut stream).await, 400);
    assert_eq!(callout.get("/alerts").await.json()["alerts"], json!([]));
}

#[tokio::test]
async fn what_is_not_http_is_refused_with_a_problem() {
    let callout = Callout::start().await;
    for nonsense in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
        "GET /\u{0} HTTP/1.1\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /alerts HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST /alerts HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n",
    ] {
        let answer = callout.says_to(nonsense.as_bytes()).await;
        assert_eq!(problem_of(&answer, 400)["type"], "/problems/bad-request", "{nonsense:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_with_a_problem() {
    let callout = Callout::start().await;
    let large = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(100_000));
    assert_eq!(problem_of(&callout.says_to(large.as_bytes()).await, 431)["type"], "/problems/head-too-large");
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(101));
    assert_eq!(problem_of(&callout.says_to(many.as_bytes()).await, 431)["type"], "/problems/head-too-large");
    let fits = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    assert!(callout.says_to(fits.as_bytes()).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn requests_in_odd_forms_are_answered_with_problems_too() {
    let callout = Callout::start().await;
    for (request, status) in [
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404),
        ("CONNECT other.example:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404),
        ("GET http://other.example/nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 404),
        ("GET /nothing HTTP/1.0\r\n\r\n", 404),
        ("GET /alerts HTTP/1.1\r\nconnection: close\r\n\r\n", 401),
    ] {
        let answer = callout.says_to(request.as_bytes()).await.replacen("HTTP/1.0", "HTTP/1.1", 1);
        problem_of(&answer, status);
    }
}

#[tokio::test]
async fn a_caller_who_reads_nothing_does_not_keep_its_connection() {
    let callout = with_limits(Limits { request: Duration::from_secs(10), ..SHORT }).await;
    let mut greedy = callout.connect().await;
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    let write = async { while greedy.write_all(&request).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, write).await.expect("the connection of a caller who never reads is closed");
    callout.get("/healthz").await.is(200);
}

#[tokio::test]
async fn connections_over_the_limit_wait_and_get_their_turn() {
    let callout = with_limits(SHORT).await;
    let _silent = (callout.connect().await, callout.connect().await);
    let waiting = futures_util::future::join_all((0..20).map(|_| callout.get("/alerts"))).await;
    assert!(waiting.into_iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn when_all_connections_are_taken_the_longest_idle_one_makes_room() {
    let callout = with_limits(TAKEN).await;
    let body = json!({ "message": "x" }).to_string();
    let mut slow = callout.has_begun_to_post(&body).await;
    let mut silent = callout.connect().await;
    let mut idle = callout.answered().await;

    let _one = callout.answered().await;
    assert_eq!(until_closed(&mut silent).await, "", "it was silent before the other was idle");
    let _two = callout.answered().await;
    assert_eq!(until_closed(&mut idle).await, "");
    let metrics = Answer::of(callout.stranger(reqwest::Method::GET, "/metrics")).await;
    assert!(metrics.text().contains("callout_connections_displaced_total 3\n"), "two, and one for this question");

    slow.write_all(body.as_bytes()).await.unwrap();
    let answer = head_of_answer(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "what was begun is left alone while others are idle: {answer}");
}

#[tokio::test]
async fn a_caller_who_dribbles_makes_room_too() {
    let callout = with_limits(Limits { connections: 1, spared: Duration::from_millis(50), ..TAKEN }).await;
    let mut dribbling = callout.connect().await;
    dribbling.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let mut beat = tokio::time::interval(Duration::from_millis(5));
    let dribble = async {
        while dribbling.write_all(b"x").await.is_ok() {
            beat.tick().await;
        }
    };
    let ((), answer) = tokio::join!(dribble, callout.get("/alerts"));
    answer.is(200);
}

#[tokio::test]
async fn no_connection_is_closed_while_callout_works_on_its_request() {
    let store = Frail::new();
    store.stop_at(Call::Insert);
    let limits = Limits { connections: 1, request: Duration::from_millis(300), ..TAKEN };
    let callout = Setup { limits, ..Setup::in_store(&store) }.start().await;
    let mut working = callout.connect().await;
    let body = json!({ "message": "x" }).to_string();
    let request = format!(
        "POST /alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    working.write_all(request.as_bytes()).await.unwrap();
    let begun = async {
        while store.n_struck() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("callout works on it");
    let (answer, next) = tokio::join!(until_closed(&mut working), callout.get("/alerts"));
    assert_eq!(problem_of(&answer, 503)["type"], "/problems/timeout", "it is told what has become of it");
    next.is(200);
}

#[tokio::test]
async fn while_few_connections_are_left_each_ends_with_its_answer() {
    let callout = with_limits(Limits { connections: 8, head: PATIENCE, request: PATIENCE, ..SHORT }).await;
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let _silent = [callout.connect().await, callout.connect().await, callout.connect().await, callout.connect().await];
    let mut kept = callout.connect().await;
    for _ in 0..2 {
        kept.write_all(b"HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let head = head_of_answer(&mut kept).await;
        assert!(head.starts_with("HTTP/1.1 200 OK") && !head.contains("connection: close"), "{head}");
    }
    let _more = callout.connect().await;
    let answer = callout.says_to(request).await;
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_stop_what_was_begun() {
    let folder = tempfile::tempdir().unwrap();
    let callout = Setup::in_file(&folder.path().join("callout.db")).start().await;
    let body = json!({ "message": "x" }).to_string();
    let request = format!(
        "POST /alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    for n in 1..=20 {
        let mut stream = callout.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        drop(stream);
        callout.vonage.nth(n).await;
    }
}

#[tokio::test]
async fn a_stop_lets_a_request_that_has_begun_come_to_its_end() {
    let callout = Callout::start().await;
    let body = json!({ "message": "x" }).to_string();
    let mut stream = callout.has_begun_to_post(&body).await;
    let address = callout.address();
    let finish = async {
        stream.write_all(body.as_bytes()).await.unwrap();
        until_closed(&mut stream).await
    };
    let ((), answer) = tokio::join!(callout.stop(), finish);
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn a_stop_closes_idle_connections_at_once() {
    let callout = Callout::start().await;
    let mut silent = callout.connect().await;
    let mut idle = callout.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    let stopped = callout.stop();
    let (_, _, ()) = tokio::join!(until_closed(&mut silent), until_closed(&mut idle), stopped);
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let request = format!("GET {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n", path_of(&alert));
    let bytes = format!("{request}\r\n{request}\r\n{request}connection: close\r\n\r\n");
    let answers = callout.says_to(bytes.as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3);
    let answer: Answer = callout.get("/healthz").await;
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}
