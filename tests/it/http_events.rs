//! The timeline of an alert as server-sent events.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::{Callout, PATIENCE, events_of, path_of};

/// A reader of a stream of events.
struct Stream {
    response: Response,
    text: String,
}

/// One event as it came.
#[derive(Debug, PartialEq)]
struct Told {
    id: String,
    event: String,
    data: Value,
}

impl Stream {
    async fn open(callout: &Callout, alert: &Value, last_seen: Option<&str>) -> Self {
        let mut request = callout.request(Method::GET, &format!("{}/events", path_of(alert)));
        if let Some(last_seen) = last_seen {
            request = request.header("Last-Event-ID", last_seen);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        Self { response, text: String::new() }
    }

    /// The next event; none where the stream ends.
    async fn next(&mut self) -> Option<Told> {
        let read = async {
            loop {
                if let Some(end) = self.text.find("\n\n") {
                    let block: String = self.text.drain(..end + 2).collect();
                    return Some(Told::read(&block));
                }
                let bytes = self.response.chunk().await.unwrap()?;
                self.text.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap()
    }

    /// What is told until the stream ends.
    async fn rest(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(told) = self.next().await {
            names.push(told.event);
        }
        names
    }
}

impl Told {
    fn read(block: &str) -> Self {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        Self { id: field("id:"), event: field("event:"), data: serde_json::from_str(&field("data:")).unwrap() }
    }
}

#[tokio::test]
async fn what_is_past_is_told_first_then_what_happens_until_somebody_acknowledges() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let mut stream = Stream::open(&callout, &alert, None).await;
    let raised = Told { id: "1".into(), event: "raised".into(), data: alert["timeline"][0].clone() };
    let sent = Told { id: "2".into(), event: "sent".into(), data: alert["timeline"][1].clone() };
    assert_eq!((stream.next().await, stream.next().await), (Some(raised), Some(sent)));
    callout.report(&callout.vonage.nth(1).await, "delivered").await.is(200);
    assert_eq!(stream.next().await.unwrap().event, "delivered");
    callout.report(&callout.vonage.nth(1).await, "read").await.is(200);
    assert_eq!(stream.rest().await, ["read", "acknowledged"], "and then it ends");
}

#[tokio::test]
async fn an_alert_that_is_over_is_told_whole_and_the_stream_ends() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    callout.press(&format!("{}/acknowledge", path_of(&alert))).await.is(200);
    let alert = callout.press(&format!("{}/resolve", path_of(&alert))).await.is(200).json();
    assert_eq!(Stream::open(&callout, &alert, None).await.rest().await, events_of(&alert));
}

#[tokio::test]
async fn the_stream_ends_when_the_alert_is_exhausted_or_resolved() {
    let callout = Callout::start().await;
    let resolved = callout.raise_any().await;
    let mut stream = Stream::open(&callout, &resolved, None).await;
    callout.press(&format!("{}/resolve", path_of(&resolved))).await.is(200);
    assert_eq!(stream.rest().await, ["raised", "sent", "resolved"]);
    let users = json!([{ "name": "Bo", "channels": [{ "type": "sms", "id_num": "447700900003" }] }]);
    let exhausted = callout.raise(&json!({ "message": "x", "users": users })).await;
    let mut stream = Stream::open(&callout, &exhausted, None).await;
    callout.clock.advance(Duration::from_mins(10));
    assert_eq!(stream.rest().await, ["raised", "sent", "expired", "exhausted"]);
}

#[tokio::test]
async fn whoever_comes_back_is_told_what_was_missed_and_nothing_twice() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    callout.report(&callout.vonage.nth(1).await, "delivered").await.is(200);
    let mut stream = Stream::open(&callout, &alert, Some("2")).await;
    let told = stream.next().await.unwrap();
    assert_eq!((told.id.as_str(), told.event.as_str()), ("3", "delivered"));
    drop(stream);
    callout.press(&format!("{}/resolve", path_of(&alert))).await.is(200);
    assert_eq!(Stream::open(&callout, &alert, Some("3")).await.rest().await, ["resolved"]);
    assert!(Stream::open(&callout, &alert, Some("4")).await.rest().await.is_empty());
}

#[tokio::test]
async fn an_id_that_was_never_given_counts_as_none_or_as_the_newest() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let mut wild = Stream::open(&callout, &alert, Some("18446744073709551615")).await;
    let mut garbled = Stream::open(&callout, &alert, Some("second")).await;
    callout.press(&format!("{}/resolve", path_of(&alert))).await.is(200);
    assert_eq!(wild.rest().await, ["resolved"], "what happens from now on is told");
    assert_eq!(garbled.rest().await, ["raised", "sent", "resolved"]);
}

#[tokio::test]
async fn many_can_listen_and_other_alerts_do_not_disturb_them() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(Stream::open(&callout, &alert, Some("2")).await);
    }
    for _ in 0..20 {
        callout.post("/alerts", &json!({ "message": "another" })).await.is(201);
    }
    callout.press(&format!("{}/acknowledge", path_of(&alert))).await.is(200);
    for mut stream in streams {
        assert_eq!(stream.rest().await, ["acknowledged"]);
    }
}

#[tokio::test]
async fn a_stop_ends_the_streams() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let mut stream = Stream::open(&callout, &alert, None).await;
    let (told, ()) = tokio::join!(stream.rest(), callout.stop());
    assert_eq!(told, ["raised", "sent"]);
}
