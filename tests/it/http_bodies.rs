//! Far more large bodies at once than there is memory for.

use callout::http::{
    ALERT_BODY_MAX, BODY_FREE_BYTES, CALLERS_BODIES_MAX, Limits, WEBHOOK_BODY_MAX, WEBHOOKS_BODIES_MAX,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, Callout, KEY, PATIENCE, Setup};

/// A service that gives callers all the time that a story takes.
async fn patient() -> Callout {
    let limits = Limits { request: PATIENCE * 3, ..Limits::SERVICE };
    Setup { limits, ..Setup::default() }.start().await
}

/// Somebody who has announced a body, was asked for it, and sends nothing of it yet.
struct Announced(TcpStream);

impl Callout {
    async fn announce(&self, path: &str, n_bytes: usize) -> Announced {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
             content-length: {n_bytes}\r\nexpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n", "there is room for it");
        Announced(stream)
    }

    /// Large bodies, as many as there is room for.
    async fn flood(&self, path: &str, each: usize, all: usize) -> Vec<Announced> {
        let n = all / (each - BODY_FREE_BYTES);
        futures_util::future::join_all((0..n).map(|_| self.announce(path, each))).await
    }

    /// Posts an alert without saying how long it is; what it was answered.
    async fn post_in_pieces(&self, alert: &Value) -> String {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        let mut request = format!(
            "POST /alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        )
        .into_bytes();
        for piece in alert.to_string().as_bytes().chunks(5_000) {
            request.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            request.extend(piece);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\n");
        stream.write_all(&request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.truncate(12);
        answer
    }

    async fn refused(&self, of: &str) -> u64 {
        let text = Answer::of(self.stranger(Method::GET, "/metrics")).await.text().to_owned();
        let name = format!("callout_bodies_refused_total{{of=\"{of}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }
}

impl Announced {
    /// Sends the body after all; what it was answered.
    async fn send(mut self, body: &str, n_bytes: usize) -> String {
        let padding = " ".repeat(n_bytes - body.len());
        self.0.write_all(format!("{body}{padding}").as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut answer)).await;
        assert!(read.is_ok_and(|read| read.is_ok()), "it is answered");
        String::from_utf8(answer).unwrap()
    }
}

/// An alert that weighs about this much.
fn alert(n_bytes: usize) -> Value {
    json!({ "message": "The disk is full", "details": { "log": "x".repeat(n_bytes) } })
}

#[track_caller]
fn is_told_to_come_again(answer: &Answer) {
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(answer.header("connection"), "close", "what was not read must not be taken for the next request");
}

#[tokio::test]
async fn a_flood_of_large_posts_keeps_out_no_webhook_and_no_usual_alert() {
    let callout = patient().await;
    let mut flood = callout.flood("/alerts", ALERT_BODY_MAX, CALLERS_BODIES_MAX).await;

    is_told_to_come_again(&callout.post("/alerts", &alert(200_000)).await);
    assert_eq!(callout.refused("callers").await, 1);
    assert_eq!(callout.get("/alerts").await.json()["alerts"], json!([]), "nothing of it was kept");

    let usual = callout.raise(&alert(2_000)).await;
    let sent = callout.vonage.nth(1).await;
    let large = json!({ "message_uuid": sent.id, "to": sent.to(), "from": "447700900100", "status": "read",
        "timestamp": "2026-03-01T02:16:00Z", "channel": sent.channel(), "padding": "x".repeat(WEBHOOK_BODY_MAX / 2) });
    callout.webhook("/webhooks/status", &large).await.is(200);
    callout.until_status(&usual, "acknowledged").await;

    let whole = flood.pop().unwrap().send(&alert(2_000).to_string(), ALERT_BODY_MAX).await;
    assert_eq!(whole, "HTTP/1.1 201", "who found room is served");
    callout.post("/alerts", &alert(200_000)).await.is(201);
    assert_eq!((callout.refused("callers").await, callout.refused("webhooks").await), (1, 0));
}

#[tokio::test]
async fn a_flood_of_large_webhooks_keeps_out_no_usual_webhook_and_no_alert() {
    let callout = patient().await;
    let _flood = callout.flood("/webhooks/status", WEBHOOK_BODY_MAX, WEBHOOKS_BODIES_MAX).await;
    let padded = json!({ "padding": "x".repeat(WEBHOOK_BODY_MAX - 100) });
    is_told_to_come_again(&callout.webhook("/webhooks/status", &padded).await);
    assert_eq!(callout.refused("webhooks").await, 1);
    let raised = callout.raise(&alert(200_000)).await;
    callout.report(&callout.vonage.nth(1).await, "read").await.is(200);
    callout.until_status(&raised, "acknowledged").await;
}

#[tokio::test]
async fn a_body_that_does_not_say_how_long_it_is_takes_what_it_needs_as_it_comes() {
    let callout = patient().await;
    let flood = callout.flood("/alerts", ALERT_BODY_MAX, CALLERS_BODIES_MAX).await;
    assert_eq!(callout.post_in_pieces(&alert(3_000)).await, "HTTP/1.1 201");
    assert_eq!(callout.post_in_pieces(&alert(120_000)).await, "HTTP/1.1 503");
    assert_eq!(callout.refused("callers").await, 1);
    drop(flood);
    // That somebody has left is noticed in its own time.
    let room = async { while callout.post_in_pieces(&alert(120_000)).await != "HTTP/1.1 201" {} };
    tokio::time::timeout(PATIENCE, room).await.expect("who leaves makes room");
    assert_eq!(callout.get("/alerts").await.json()["alerts"][0]["message"], "The disk is full");
}
