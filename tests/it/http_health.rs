//! Whether callout is well, and what it counts.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use crate::engine_frail::Frail;
use crate::harness::{Answer, Callout, Mood, PATIENCE, Setup};

async fn ask(callout: &Callout, path: &str) -> Answer {
    Answer::of(callout.stranger(Method::GET, path)).await
}

#[tokio::test]
async fn a_service_that_can_work_is_alive_and_ready_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        signature_secret: Some("callout-test-signature-secret-0123456789abcdef"),
        ..Setup::in_file(&folder.path().join("callout.db"))
    };
    let callout = setup.start().await;
    assert_eq!(ask(&callout, "/healthz").await.is(200).json(), json!({ "status": "ok" }));
    let audited = async {
        loop {
            let ready = ask(&callout, "/readyz").await.is(200).json();
            assert_eq!((&ready["status"], &ready["warnings"]), (&json!("ready"), &json!([])), "{ready}");
            if ready["audited_seconds_ago"].is_u64() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, audited).await.expect("the alerts are audited right after the start");
}

#[tokio::test]
async fn a_service_that_cannot_keep_anything_is_alive_but_not_ready() {
    let store = Frail::new();
    let callout = Setup::in_store(&store).start().await;
    store.fail_everything();
    ask(&callout, "/healthz").await.is(200);
    let answer = ask(&callout, "/readyz").await;
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "5");
    store.heal();
    ask(&callout, "/readyz").await.is(200);
}

#[tokio::test]
async fn what_the_operator_should_mend_is_named() {
    let callout = Callout::start().await;
    callout.vonage.becomes(Mood::Fails);
    let alert = callout.post("/alerts", &json!({ "message": "x" })).await.is(201).json();
    callout.until(&alert, "its send fails", |alert| alert["attempts"][0]["status"] == "retrying").await;
    let ready = ask(&callout, "/readyz").await.is(200).json();
    let warnings = ready["warnings"].as_array().unwrap();
    for words in ["webhooks are not verified", "kept in memory only", "sends to Vonage fail"] {
        assert!(warnings.iter().any(|warning| warning.as_str().unwrap().contains(words)), "{words}: {ready}");
    }
}

/// The samples of a text in Prometheus' form, by name and labels.
fn samples_of(text: &str) -> BTreeMap<String, f64> {
    let (body, end) = text.split_at(text.len() - "# EOF\n".len());
    assert_eq!(end, "# EOF\n");
    let mut samples = BTreeMap::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let kind = comment.split(' ').next().unwrap();
            assert!(["HELP", "TYPE", "UNIT"].contains(&kind), "{line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("callout_") || name.starts_with("process_"), "{line}");
        let before = samples.insert(name.to_owned(), value.parse().unwrap());
        assert!(before.is_none(), "{name} stands there twice");
    }
    samples
}

#[tokio::test]
async fn what_happens_is_counted_for_prometheus() {
    let callout = Callout::start().await;
    let alert = callout.raise(&json!({ "message": "x", "dedup_key": "d" })).await;
    callout.post("/alerts", &json!({ "message": "x", "dedup_key": "d" })).await.is(200);
    callout.report(&callout.vonage.nth(1).await, "read").await.is(200);
    callout.report(&callout.vonage.nth(1).await, "read").await.is(200);
    callout.until_status(&alert, "acknowledged").await;
    let request = callout.stranger(Method::GET, "/metrics").header("Accept", "application/openmetrics-text");
    let answer = Answer::of(request).await.is(200);
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let samples = samples_of(answer.text());
    for (name, count) in [
        ("callout_alert_changes_total{change=\"raised\"}", 1.0),
        ("callout_alert_changes_total{change=\"repeated\"}", 1.0),
        ("callout_alert_changes_total{change=\"acknowledged\"}", 1.0),
        ("callout_sends_total{channel=\"messenger\",outcome=\"accepted\"}", 1.0),
        ("callout_webhooks_total{kind=\"read\",outcome=\"effective\"}", 1.0),
        ("callout_webhooks_total{kind=\"read\",outcome=\"ineffective\"}", 1.0),
        ("callout_alerts_escalating", 0.0),
        ("callout_vonage_way{state=\"open\"}", 1.0),
        ("callout_vonage_way{state=\"blocked\"}", 0.0),
        ("callout_raised_to_sent_seconds_count", 1.0),
        ("callout_sent_to_read_seconds_count{channel=\"messenger\"}", 1.0),
        ("callout_raised_to_acknowledged_seconds_count{channel=\"messenger\",via=\"read\"}", 1.0),
        ("callout_sends_waiting", 0.0),
        ("callout_alerts_failing", 0.0),
    ] {
        assert_eq!(samples.get(name), Some(&count), "{name}\n{}", answer.text());
    }
}
