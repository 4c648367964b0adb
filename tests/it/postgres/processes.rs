//! Three real processes on one database, of which some are killed as `kill -9` does.

use std::time::Duration;

use callout::clock::{Clock, SteadyClock};
use callout::timestamp::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::nodes::BUSY;
use super::server::Database;
use crate::harness::{FakeVonage, KEY, Mood, client_ref};
use crate::process::{Process, config, write};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Three nodes that call Tony and, after so many seconds, Anna.
async fn three_nodes(database: &Database, vonage: &FakeVonage, seconds: u32) -> (TempDir, [Process; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(vonage);
    config["store"] = json!(database.address());
    let user = |name: &str, number: &str| json!({ "name": name, "channels": [{ "type": "sms", "id_num": number, "expiry_time": seconds }] });
    config["users"] = json!([user("Tony", "447700900001"), user("Anna", "447700900002")]);
    write(folder.path(), &config);
    let start = async || Process::start(folder.path()).await;
    let nodes = [start().await, start().await, start().await];
    (folder, nodes)
}

async fn raise(node: &Process) -> String {
    let answer = node.post("/alerts", &json!({ "message": "Main server is down" })).await.is(201);
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// The alert as this node shows it, once it is so.
async fn until(node: &Process, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let clock = SteadyClock::system();
    let limit = clock.now().plus(PATIENCE);
    loop {
        let alert = node.call(Method::GET, &format!("/alerts/{id}"), KEY, None).await.is(200).json();
        if is_so(&alert) {
            return alert;
        }
        assert!(clock.now() < limit, "never came: {what}, but {alert:#}");
        clock.sleep_until(clock.now().plus(Duration::from_millis(50))).await;
    }
}

fn moment(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_three_processes_fires_in_time_what_two_killed_ones_armed() {
    let Some(database) = Database::new().await else { return };
    let vonage = FakeVonage::start().await;
    let (_folder, [first, second, third]) = three_nodes(&database, &vonage, 8).await;
    let mut raised = Vec::new();
    for node in [&first, &second, &third, &first, &second, &first] {
        raised.push(raise(node).await);
    }
    for id in &raised {
        until(&third, id, "Tony is messaged", |alert| alert["attempts"][0]["status"] == "sent").await;
    }
    first.signal("KILL");
    second.signal("KILL");
    for id in &raised {
        let is_sent = |alert: &Value| alert["attempts"][1]["status"] == "sent";
        let alert = until(&third, id, "Anna is messaged", is_sent).await;
        let due = moment(&alert["attempts"][0]["expires_at"]);
        let sent_at = moment(&alert["attempts"][1]["sent_at"]);
        assert!(sent_at >= due, "nobody is called early: {alert:#}");
        let late_by = sent_at.since(due);
        assert!(late_by <= Duration::from_secs(2) + BUSY, "late by {late_by:?}: {alert:#}");
    }
    assert_eq!(vonage.sent().len(), raised.len() * 2, "each is messaged once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_a_killed_process_left_half_done_is_made_again_within_thirty_seconds() {
    let Some(database) = Database::new().await else { return };
    let vonage = FakeVonage::start().await;
    let (_folder, [first, second, _third]) = three_nodes(&database, &vonage, 300).await;
    vonage.becomes(Mood::Hangs);
    let id = raise(&first).await;
    vonage.nth(1).await;
    let clock = SteadyClock::system();
    let begun = clock.now();
    first.signal("KILL");
    vonage.becomes(Mood::Accepts);
    let alert = until(&second, &id, "it is sent", |alert| alert["attempts"][0]["status"] == "sent").await;
    let took = clock.now().since(begun);
    assert!(took <= Duration::from_secs(30) + BUSY, "made again after {took:?}");
    assert_eq!(alert["attempts"][0]["tries"], 2, "{alert:#}");
    assert_eq!(alert["attempts"].as_array().unwrap().len(), 1, "nobody else is called");
    let timeline = alert["timeline"].as_array().unwrap();
    assert!(timeline.iter().any(|entry| entry["event"] == "resent_after_restart"), "{alert:#}");
    let sent = vonage.sent();
    assert_eq!(sent.len(), 2, "it is made again once");
    assert_eq!(client_ref(&sent[0]), client_ref(&sent[1]), "as the same attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stood_still_messages_nobody_again_when_it_goes_on() {
    let Some(database) = Database::new().await else { return };
    let vonage = FakeVonage::start().await;
    let (_folder, [first, second, third]) = three_nodes(&database, &vonage, 4).await;
    let id = raise(&first).await;
    until(&second, &id, "Tony is messaged", |alert| alert["attempts"][0]["status"] == "sent").await;
    first.signal("STOP");
    until(&second, &id, "Anna is messaged", |alert| alert["attempts"][1]["status"] == "sent").await;
    third.post(&format!("/alerts/{id}/acknowledge"), &json!({ "by": "Anna" })).await.is(200);
    first.signal("CONT");
    // It answers as soon as it goes on, and says what the others did.
    let alert = until(&first, &id, "it knows", |alert| alert["status"] == "acknowledged").await;
    let clock = SteadyClock::system();
    clock.sleep_until(clock.now().plus(Duration::from_secs(3))).await;
    assert_eq!(vonage.sent().len(), 2, "what it had armed is judged by what is kept: {alert:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_a_newer_schema_forbids_to_write_accept_nothing_and_message_nobody() {
    let Some(database) = Database::new().await else { return };
    let vonage = FakeVonage::start().await;
    let (folder, older) = three_nodes(&database, &vonage, 4).await;
    let id = raise(&older[0]).await;
    until(&older[1], &id, "Tony is messaged", |alert| alert["attempts"][0]["status"] == "sent").await;
    let forbidden = database.forbid_to_write().await;
    let clock = SteadyClock::system();
    clock.sleep_until(clock.now().plus(Duration::from_secs(6))).await;
    for node in &older {
        let refused = node.post("/alerts", &json!({ "message": "Main server is down" })).await.is(503);
        assert!(refused.headers.contains_key("retry-after"), "another node may take it");
        node.call(Method::GET, "/readyz", KEY, None).await.is(503);
        node.call(Method::GET, &format!("/alerts/{id}"), KEY, None).await.is(200);
    }
    assert_eq!(vonage.sent().len(), 1, "Tony's time is over, and nobody else is messaged");
    for node in &older {
        node.signal("TERM");
    }
    // This one stands for the newer callout: it knows the schema.
    forbidden.allow_again().await;
    let newer = Process::start(folder.path()).await;
    until(&newer, &id, "Anna is messaged", |alert| alert["attempts"][1]["status"] == "sent").await;
    assert_eq!(vonage.sent().len(), 2, "everybody once");
}
