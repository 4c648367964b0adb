//! Other tools raise, acknowledge and resolve alerts in their own words. The people are Tony and Ann of the
//! harness; the tools are configured by reading the configuration again while the service runs.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::engine_frail::{Call, Frail};
use crate::harness::{Answer, Callout, KEY, Setup, events_of, path_of};

pub(crate) const AM: &str = "am-key-0123456789abcdef";
pub(crate) const CLOUD: &str = "cloud-key/with+odd=characters";
pub(crate) const LEGACY: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const GENIE: &str = "11111111-2222-4333-8444-999999999999";
pub(crate) const GO: &str = "goalert-key-0123456789";
pub(crate) const CI: &str = "ci-key-0123456789abcdef";
const SEALED: &str = "sealed-key-0123456789abcdef";

fn integrations() -> Value {
    json!([
        { "name": "prometheus", "kind": "alertmanager", "key": AM, "policy": "quiet" },
        { "name": "cloud", "kind": "grafana", "key": CLOUD },
        { "name": "sealed", "kind": "grafana", "key": SEALED, "hmac_secret": "callout-grafana-secret" },
        { "name": "legacy", "kind": "pagerduty", "key": LEGACY },
        { "name": "genie", "kind": "opsgenie", "key": GENIE },
        { "name": "go", "kind": "goalert", "key": GO },
        { "name": "ci", "kind": "json", "key": CI, "map": {
            "message": "{{ body.title }}", "dedup_key": "{{ body.id }}", "action": "{{ body.state | default('open') }}",
            "severity": "warning", "link": "{{ body.url | default('') }}", "details": { "branch": "{{ body.branch }}" } } },
    ])
}

pub(crate) async fn callout() -> Callout {
    with(Setup::default()).await
}

async fn with(setup: Setup) -> Callout {
    let callout = setup.start().await;
    callout.reload(|file| file["integrations"] = integrations());
    callout
}

/// One alert of a group, as Alertmanager writes it.
fn element(status: &str, instance: &str, began: &str) -> Value {
    let ended = if status == "resolved" { "2026-01-01T05:00:00Z" } else { "0001-01-01T00:00:00Z" };
    json!({
        "status": status, "labels": { "alertname": "DiskNearlyFull", "severity": "error", "instance": instance },
        "annotations": { "summary": format!("{instance} has 2 % left on /var") }, "startsAt": began, "endsAt": ended,
        "generatorURL": "http://prom.example.test/graph?g0.expr=disk", "fingerprint": format!("fp-{instance}"),
    })
}

fn group(elements: &[Value]) -> Value {
    json!({
        "version": "4", "groupKey": "{}:{alertname=\"DiskNearlyFull\"}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "callout", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://am.example.test:9093", "alerts": elements, "notification_reason": "new alerts added",
    })
}

const FIRST: &str = "2026-01-01T00:00:00.123456789Z";

impl Callout {
    async fn says(&self, path: &str, key: &str, body: &Value) -> Answer {
        Answer::of(self.stranger(Method::POST, path).bearer_auth(key).json(body)).await
    }

    async fn am_says(&self, elements: &[Value]) -> Value {
        self.says("/integrations/prometheus", AM, &group(elements)).await.is(200).json()
    }

    /// All alerts, the oldest first, whole.
    async fn alerts(&self) -> Vec<Value> {
        let list = self.get("/alerts?limit=200").await.is(200).json();
        let mut alerts = Vec::new();
        for alert in list["alerts"].as_array().unwrap().iter().rev() {
            alerts.push(self.alert(alert).await);
        }
        alerts
    }

    async fn only_alert(&self) -> Value {
        let mut alerts = self.alerts().await;
        assert_eq!(alerts.len(), 1, "{alerts:#?}");
        alerts.remove(0)
    }

    async fn statuses(&self) -> Vec<String> {
        self.alerts().await.iter().map(|alert| alert["status"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn alertmanager_fires_repeats_and_resolves_and_one_person_is_called_once() {
    let callout = callout().await;
    let said = callout.am_says(&[element("firing", "db-3", FIRST)]).await;
    assert_eq!(said, json!({ "raised": 1, "repeated": 0, "acknowledged": 0, "resolved": 0, "unchanged": 0 }));
    let alert = callout.only_alert().await;
    assert_eq!(alert["message"], "db-3 has 2 % left on /var");
    assert_eq!((&alert["source"], &alert["dedup_key"]), (&json!("prometheus"), &json!("prometheus:fp-db-3")));
    assert_eq!((&alert["severity"], &alert["policy"]), (&json!("error"), &json!("quiet")));
    assert_eq!(alert["link"], "http://prom.example.test/graph?g0.expr=disk");
    assert_eq!(alert["details"]["labels"]["instance"], "db-3");
    callout.until(&alert, "Ann is called", |alert| alert["attempts"][0]["sent_at"].is_string()).await;

    callout.am_says(&[element("firing", "db-3", FIRST)]).await;
    callout.press(&format!("{}/acknowledge", path_of(&alert))).await.is(200);
    for _ in 0..3 {
        assert_eq!(callout.am_says(&[element("firing", "db-3", FIRST)]).await["repeated"], 1);
    }
    let acknowledged = callout.only_alert().await;
    assert_eq!((&acknowledged["status"], &acknowledged["repeats"]), (&json!("acknowledged"), &json!(4)));
    assert_eq!(callout.vonage.sent().len(), 1, "nobody was called again");

    assert_eq!(callout.am_says(&[element("resolved", "db-3", FIRST)]).await["resolved"], 1);
    let resolved = callout.only_alert().await;
    assert_eq!(resolved["status"], "resolved");
    assert_eq!(resolved["timeline"].as_array().unwrap().last().unwrap()["by"], "prometheus");
    assert_eq!(callout.am_says(&[element("resolved", "db-3", FIRST)]).await["unchanged"], 1, "twice is harmless");
}

#[tokio::test]
async fn a_group_is_taken_apart_and_each_alert_has_a_life_of_its_own() {
    let callout = callout().await;
    let all: Vec<Value> = (0..40).map(|n| element("firing", &format!("db-{n:02}"), FIRST)).collect();
    assert_eq!(callout.am_says(&all).await["raised"], 40);
    let half: Vec<Value> =
        (0..40).map(|n| element(if n < 20 { "resolved" } else { "firing" }, &format!("db-{n:02}"), FIRST)).collect();
    let said = callout.am_says(&half).await;
    assert_eq!((&said["resolved"], &said["repeated"]), (&json!(20), &json!(20)));
    let statuses = callout.statuses().await;
    assert_eq!(statuses.iter().filter(|status| *status == "resolved").count(), 20);
    let firing = callout.alerts().await.into_iter().filter(|alert| alert["status"] == "escalating");
    assert!(firing.clone().all(|alert| alert["dedup_key"].as_str() >= Some("prometheus:fp-db-20")));
    assert_eq!(firing.count(), 20);
}

#[tokio::test]
async fn what_the_other_node_of_alertmanager_says_late_changes_nothing() {
    let callout = callout().await;
    let later = "2026-01-01T08:00:00Z";
    callout.am_says(&[element("firing", "db-3", FIRST)]).await;
    callout.am_says(&[element("resolved", "db-3", FIRST)]).await;
    let late = callout.am_says(&[element("firing", "db-3", FIRST)]).await;
    assert_eq!(late["unchanged"], 1, "the same firing, told by the node that was slower");
    assert_eq!(callout.statuses().await, ["resolved"]);

    assert_eq!(callout.am_says(&[element("firing", "db-3", later)]).await["raised"], 1, "this is new trouble");
    let stale = callout.am_says(&[element("resolved", "db-3", FIRST)]).await;
    assert_eq!(stale["unchanged"], 1, "that the earlier trouble is over says nothing of the new one");
    assert_eq!(callout.statuses().await, ["resolved", "escalating"]);
    let mut over = element("resolved", "db-3", later);
    over["endsAt"] = "2026-01-01T09:00:00Z".into();
    assert_eq!(callout.am_says(&[over]).await["resolved"], 1);
    assert_eq!(callout.statuses().await, ["resolved", "resolved"]);
}

#[tokio::test]
async fn trouble_that_comes_back_after_it_was_said_to_be_over_calls_again() {
    let callout = callout().await;
    callout.am_says(&[element("firing", "db-3", FIRST)]).await;
    callout.am_says(&[element("resolved", "db-3", FIRST)]).await;
    // Prometheus was silent for a while, which Alertmanager took for the end; the trouble never ended.
    callout.clock.advance(Duration::from_secs(61));
    assert_eq!(callout.am_says(&[element("firing", "db-3", FIRST)]).await["raised"], 1);
    assert_eq!(callout.statuses().await, ["resolved", "escalating"]);
    callout.am_says(&[element("resolved", "db-3", FIRST)]).await;
    assert_eq!(callout.statuses().await, ["resolved", "resolved"]);
}

#[tokio::test]
async fn new_trouble_under_an_acknowledged_alert_whose_end_was_never_heard_calls_again() {
    let callout = callout().await;
    callout.am_says(&[element("firing", "db-3", FIRST)]).await;
    let alert = callout.only_alert().await;
    let acknowledged = callout.press(&format!("{}/acknowledge", path_of(&alert))).await.is(200).json();
    let at: callout::timestamp::Timestamp = acknowledged["acknowledged"]["at"].as_str().unwrap().parse().unwrap();
    callout.clock.advance(Duration::from_hours(30));
    let began = at.plus(Duration::from_hours(29)).to_string();
    assert_eq!(callout.am_says(&[element("firing", "db-3", &began)]).await["raised"], 1);
    assert_eq!(callout.statuses().await, ["resolved", "escalating"]);
    assert_eq!(callout.am_says(&[element("firing", "db-3", &began)]).await["repeated"], 1);
}

#[tokio::test]
async fn an_alert_that_nobody_answered_is_raised_anew_and_both_end_when_the_tool_says_so() {
    let callout = callout().await;
    callout.am_says(&[element("firing", "db-3", FIRST)]).await;
    let alert = callout.only_alert().await;
    for _ in 0..2 {
        callout.until(&alert, "it waits", |alert| alert["current"]["expires_at"].is_string()).await;
        callout.clock.advance(Duration::from_secs(601));
    }
    callout.until_status(&alert, "exhausted").await;
    assert_eq!(callout.am_says(&[element("firing", "db-3", FIRST)]).await["raised"], 1, "somebody must read it");
    assert_eq!(callout.statuses().await, ["exhausted", "escalating"]);
    callout.am_says(&[element("resolved", "db-3", FIRST)]).await;
    assert_eq!(callout.statuses().await, ["resolved", "resolved"]);
}

#[tokio::test]
async fn whatever_shape_alertmanager_is_made_to_send_only_the_list_is_needed() {
    let callout = callout().await;
    let bare = json!({ "alerts": [{ "labels": { "alertname": "Down", "job": "web", "severity": "page" } }] });
    callout.says("/integrations/prometheus", AM, &bare).await.is(200);
    let alert = callout.only_alert().await;
    assert_eq!((&alert["message"], &alert["severity"]), (&json!("Down (job=web)"), &json!("critical")));
    let same = json!({ "alerts": [{ "labels": { "severity": "page", "job": "web", "alertname": "Down" }, "extra": 1 }], "x": [] });
    assert_eq!(callout.says("/integrations/prometheus", AM, &same).await.is(200).json()["repeated"], 1);
    let over = json!({ "status": "resolved", "alerts": [{ "labels": { "severity": "page", "job": "web", "alertname": "Down" } }] });
    assert_eq!(callout.says("/integrations/prometheus", AM, &over).await.is(200).json()["resolved"], 1);

    let mut truncated = group(&[element("firing", "db-9", FIRST)]);
    truncated["truncatedAlerts"] = 12.into();
    callout.says("/integrations/prometheus", AM, &truncated).await.is(200);
    let last = callout.alerts().await.pop().unwrap();
    assert!(last["message"].as_str().unwrap().ends_with("(12 more alerts of this group were not sent)"), "{last:#}");
    let nothing = callout.says("/integrations/prometheus", AM, &json!({ "alerts": [] })).await.is(200).json();
    assert_eq!(nothing["raised"], 0);
}

#[tokio::test]
async fn what_cannot_be_understood_is_400_and_says_where() {
    let callout = callout().await;
    let at = |path: &'static str, key: &'static str, body: &'static str| {
        let request = callout.stranger(Method::POST, path).bearer_auth(key).body(body);
        async move { Answer::of(request).await.problem(400, "not-understood")["detail"].as_str().unwrap().to_owned() }
    };
    for (path, key, body, says) in [
        ("/integrations/prometheus", AM, "no JSON", "the body is not JSON: line 1, column 2"),
        ("/integrations/prometheus", AM, "{}", "`alerts` is missing or not a list"),
        ("/integrations/prometheus", AM, r#"{"alerts":[{},7]}"#, "`alerts[1]` is not an object"),
        ("/integrations/cloud", CLOUD, r#"{"hello":"world"}"#, "neither `alerts`, nor `ruleId`"),
        ("/integrations/go", GO, "{}", "`summary` is missing"),
        ("/integrations/ci", CI, r#"{"titel":"x"}"#, "the template `message` needs `body.title`"),
    ] {
        let detail = at(path, key, body).await;
        assert!(detail.contains(says), "{path}: {detail}");
    }
    assert_eq!(callout.alerts().await.len(), 0);
    let large = callout.stranger(Method::POST, "/integrations/prometheus").bearer_auth(AM).body(vec![b' '; 5 << 20]);
    Answer::of(large).await.problem(413, "too-large");
}

#[tokio::test]
async fn a_key_is_taken_wherever_a_tool_can_put_it_and_no_other_key_is() {
    let callout = callout().await;
    let body = json!({ "alerts": [{ "labels": { "alertname": "Down" } }] });
    let post = |path: &str| callout.stranger(Method::POST, path).json(&body);
    let encoded: String = url::form_urlencoded::byte_serialize(CLOUD.as_bytes()).collect();
    for request in [
        post("/integrations/cloud").bearer_auth(CLOUD),
        post("/integrations/cloud").basic_auth("anybody", Some(CLOUD)),
        post(&format!("/integrations/cloud?key={encoded}")),
        post(&format!("/integrations/cloud?key={CLOUD}")),
        post(&format!("/integrations/cloud/{CLOUD}")),
        post(&format!("/integrations/cloud/{}", encoded.replace('+', "%20"))),
    ] {
        Answer::of(request).await.is(200);
    }
    for request in [
        post("/integrations/cloud"),
        post("/integrations/cloud").bearer_auth(AM),
        post("/integrations/cloud").bearer_auth(KEY),
        post("/integrations/cloud").basic_auth(CLOUD, Some("password")),
        post("/integrations/cloud?key="),
        post("/integrations/cloud/another"),
        post("/integrations/prometheus").bearer_auth(CLOUD),
        post("/v2/alerts").bearer_auth(CLOUD),
        post("/api/v2/generic/incoming?token=x"),
    ] {
        let answer = Answer::of(request).await;
        answer.problem(401, "unauthorized");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    Answer::of(post("/integrations/nobody").bearer_auth(CLOUD)).await.problem(404, "not-found");
    // A tool's key opens nothing else.
    Answer::of(callout.stranger(Method::GET, "/alerts").bearer_auth(CLOUD)).await.problem(401, "unauthorized");
    Answer::of(callout.stranger(Method::PUT, "/integrations/cloud").bearer_auth(CLOUD).json(&body)).await.is(200);
    let put = callout.stranger(Method::PUT, "/integrations/prometheus").bearer_auth(AM).json(&body);
    Answer::of(put).await.problem(405, "method-not-allowed");
    Answer::of(callout.stranger(Method::GET, "/integrations/cloud").bearer_auth(CLOUD))
        .await
        .problem(405, "method-not-allowed");
}

#[tokio::test]
async fn whoever_guesses_keys_is_told_to_wait_and_a_valid_key_is_not() {
    let callout = callout().await;
    let guess = || Answer::of(callout.stranger(Method::POST, "/integrations/prometheus/guess").body("{}"));
    let mut statuses = Vec::new();
    for _ in 0..120 {
        statuses.push(guess().await.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 100);
    assert_eq!(guess().await.header("retry-after"), "1");
    callout.am_says(&[element("firing", "db-3", FIRST)]).await;
    let event = json!({ "routing_key": "guess", "event_action": "resolve", "dedup_key": "x" });
    Answer::of(callout.stranger(Method::POST, "/v2/enqueue").json(&event)).await.problem(429, "too-many-requests");
}

#[tokio::test]
async fn where_nothing_can_be_kept_the_tool_is_asked_to_say_it_again_and_that_is_harmless() {
    let store = Frail::new();
    let callout = with(Setup::in_store(&store)).await;
    let all: Vec<Value> = (0..10).map(|n| element("firing", &format!("db-{n}"), FIRST)).collect();
    store.fail(Call::Insert, 3);
    let answer = callout.says("/integrations/prometheus", AM, &group(&all)).await;
    answer.problem(503, "unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(callout.alerts().await.len(), 7, "what could be kept is kept");
    let said = callout.am_says(&all).await;
    assert_eq!((&said["raised"], &said["repeated"]), (&json!(3), &json!(7)));
    store.fail(Call::Insert, 1);
    let event = trigger("disk");
    callout.says("/v2/enqueue", "", &event).await.problem(503, "unavailable");
    callout.says("/v2/enqueue", "", &event).await.is(202);
}

#[tokio::test]
async fn grafana_is_read_in_each_of_its_shapes() {
    let callout = callout().await;
    let unified = json!({
        "version": "1", "orgId": 1, "status": "firing", "state": "alerting", "title": "[FIRING:1] Latency",
        "externalURL": "https://grafana.example.test/", "truncatedAlerts": 0, "alerts": [{
            "status": "firing", "labels": { "alertname": "Latency", "severity": "warning" },
            "annotations": { "summary": "p99 over 2 s" }, "startsAt": FIRST, "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "https://grafana.example.test/alerting/grafana/r1/view", "fingerprint": "9d3a77c011fe2b60",
            "dashboardURL": "https://grafana.example.test/d/d1", "values": { "A": 2.31, "B": null },
            "valueString": "[ var='A' value=2.31 ]", "silenceURL": "https://grafana.example.test/silence" }] });
    callout.says("/integrations/cloud", CLOUD, &unified).await.is(200);
    let alert = callout.only_alert().await;
    assert_eq!((&alert["message"], &alert["severity"]), (&json!("p99 over 2 s"), &json!("warning")));
    assert_eq!(alert["link"], "https://grafana.example.test/d/d1");
    assert_eq!(alert["details"]["values"], json!({ "A": 2.31, "B": null }));
    assert_eq!(alert["details"]["valueString"], "[ var='A' value=2.31 ]");
    let mut over = unified;
    over["alerts"][0]["status"] = "resolved".into();
    assert_eq!(callout.says("/integrations/cloud", CLOUD, &over).await.is(200).json()["resolved"], 1);

    let old = |state: &str| {
        json!({ "ruleId": 7, "orgId": 2, "ruleName": "CPU", "title": "[Alerting] CPU", "state": state,
        "ruleUrl": "https://grafana.example.test/d/old", "evalMatches": [{ "metric": "cpu", "value": 99 }] })
    };
    callout.says("/integrations/cloud", CLOUD, &old("alerting")).await.is(200);
    let alert = callout.alerts().await.pop().unwrap();
    assert_eq!((&alert["dedup_key"], &alert["message"]), (&json!("cloud:rule-2-7"), &json!("[Alerting] CPU")));
    assert_eq!(callout.says("/integrations/cloud", CLOUD, &old("pending")).await.is(200).json()["raised"], 0);
    assert_eq!(callout.says("/integrations/cloud", CLOUD, &old("ok")).await.is(200).json()["resolved"], 1);
    let on_call = json!({ "alert_uid": "u-1", "title": "From OnCall", "state": "alerting" });
    assert_eq!(callout.says("/integrations/cloud", CLOUD, &on_call).await.is(200).json()["raised"], 1);
}

#[tokio::test]
async fn what_grafana_must_sign_counts_only_with_its_signature() {
    let callout = callout().await;
    let body = r#"{"status":"firing","alerts":[]}"#;
    let post = || callout.stranger(Method::POST, "/integrations/sealed").bearer_auth(SEALED).body(body);
    let signature = "88fde5ee8a927da6956c97c25577b087e0e5a1c4af84a8311db7a7f61c5e6604";
    Answer::of(post().header("X-Grafana-Alerting-Signature", signature)).await.is(200);
    Answer::of(post()).await.problem(401, "bad-signature");
    Answer::of(post().header("X-Grafana-Alerting-Signature", "00")).await.problem(401, "bad-signature");
    // Grafana can be told of a header with the time, which is signed with the body.
    callout.reload(|file| {
        file["integrations"] = integrations();
        file["integrations"][2]["hmac_timestamp_header"] = "X-Grafana-Time".into();
    });
    Answer::of(post().header("X-Grafana-Alerting-Signature", signature)).await.problem(401, "bad-signature");
    let timed = "65187b88c0f64c518effec0e2166d788470d51d9892be20d54220ee17f11162d";
    let timed = post().header("X-Grafana-Alerting-Signature", timed).header("x-grafana-time", "1767225600");
    Answer::of(timed).await.is(200);
}

fn trigger(key: &str) -> Value {
    json!({
        "routing_key": LEGACY, "event_action": "trigger", "dedup_key": key, "client": "our monitor",
        "client_url": "https://mon.example.test/a/7",
        "payload": { "summary": "db-3 has 2 % left on /var", "source": "db-3", "severity": "Warning",
                     "component": "postgres", "custom_details": { "free_bytes": 41_943_040 } },
    })
}

fn event(action: &str, key: &str) -> Value {
    json!({ "routing_key": LEGACY, "event_action": action, "dedup_key": key, "payload": null })
}

#[tokio::test]
async fn pagerdutys_senders_get_pagerdutys_answers() {
    let callout = callout().await;
    let enqueue = async |body: &Value| Answer::of(callout.stranger(Method::POST, "/v2/enqueue").json(body)).await;
    let success = json!({ "status": "success", "message": "Event processed", "dedup_key": "db-3/disk" });
    assert_eq!(enqueue(&event("resolve", "db-3/disk")).await.is(202).json(), success, "nothing is open");
    assert_eq!(enqueue(&trigger("db-3/disk")).await.is(202).json(), success);
    let alert = callout.only_alert().await;
    assert_eq!((&alert["dedup_key"], &alert["severity"]), (&json!("legacy:db-3/disk"), &json!("warning")));
    assert_eq!((&alert["source"], &alert["link"]), (&json!("legacy"), &json!("https://mon.example.test/a/7")));
    assert_eq!(alert["details"]["custom_details"]["free_bytes"], 41_943_040);
    assert_eq!(enqueue(&event("acknowledge", "db-3/disk")).await.is(202).json(), success);
    let acknowledged = callout.alert(&alert).await;
    assert_eq!(acknowledged["acknowledged"]["by"], "legacy");
    assert_eq!(acknowledged["acknowledged"]["via"], "api");
    enqueue(&trigger("db-3/disk")).await.is(202);
    assert_eq!(callout.alert(&alert).await["repeats"], 1);
    enqueue(&event("resolve", "db-3/disk")).await.is(202);
    enqueue(&trigger("db-3/disk")).await.is(202);
    assert_eq!(callout.statuses().await, ["resolved", "escalating"]);
}

#[tokio::test]
async fn an_event_without_a_key_is_given_one_that_works() {
    let callout = callout().await;
    let mut body = trigger("x");
    body.as_object_mut().unwrap().remove("dedup_key");
    let said = callout.says("/v2/enqueue", "", &body).await.is(202).json();
    callout.says("/v2/enqueue", "", &body).await.is(202);
    let key = said["dedup_key"].as_str().unwrap();
    callout.says("/v2/enqueue", "", &event("resolve", key)).await.is(202);
    assert_eq!(callout.statuses().await, ["resolved", "escalating"], "each event raised its own");
    let others = callout.raise_any().await;
    callout.says("/v2/enqueue", "", &event("resolve", others["id"].as_str().unwrap())).await.is(202);
    assert_eq!(callout.alert(&others).await["status"], "escalating", "no tool ends what it did not raise");
}

#[tokio::test]
async fn what_is_wrong_with_an_event_is_told_as_pagerduty_tells_it() {
    let callout = callout().await;
    let refused = async |path: &str, body: Value| {
        let answer = Answer::of(callout.stranger(Method::POST, path).json(&body)).await;
        let said = answer.json();
        assert_eq!((&said["status"], &said["message"]), (&json!("invalid event"), &json!("Event object is invalid")));
        (
            answer.status,
            said["errors"].as_array().unwrap().iter().map(|e| e.as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        )
    };
    let mut body = trigger("x");
    body["payload"] = json!({ "severity": "purple", "source": "" });
    let (status, errors) = refused("/v2/enqueue", body).await;
    assert_eq!(status, 400);
    assert_eq!(errors[..2], ["'payload.summary' is missing or blank", "'payload.source' is missing or blank"]);
    assert!(errors[2].starts_with("'payload.severity' is invalid (must be one of"), "{errors:?}");
    let (_, errors) = refused("/v2/enqueue", json!({ "routing_key": LEGACY, "event_action": "shout" })).await;
    assert!(errors[0].starts_with("'event_action' is invalid"), "{errors:?}");
    let (_, errors) = refused("/v2/enqueue", json!({ "routing_key": LEGACY, "event_action": "resolve" })).await;
    assert_eq!(errors, ["'dedup_key' is missing or blank"]);
    assert_eq!(refused("/v2/enqueue", json!({ "event_action": "trigger" })).await.0, 400);
    let mut stranger = trigger("x");
    stranger["routing_key"] = AM.into();
    assert_eq!(refused("/v2/enqueue", stranger).await.0, 401);
    assert_eq!(callout.alerts().await.len(), 0);
}

#[tokio::test]
async fn pagerdutys_older_events_and_changes_are_taken_too() {
    let callout = callout().await;
    let path = "/generic/2010-04-15/create_event.json";
    let first = json!({ "service_key": LEGACY, "event_type": "trigger", "incident_key": "srv01/HTTP", "description": "HTTP is down" });
    let said = callout.says(path, "", &first).await.is(200).json();
    assert_eq!(said, json!({ "status": "success", "message": "Event processed", "incident_key": "srv01/HTTP" }));
    assert_eq!(callout.only_alert().await["message"], "HTTP is down");
    let over = json!({ "service_key": LEGACY, "event_type": "resolve", "incident_key": "srv01/HTTP" });
    callout.says(path, "", &over).await.is(200);
    assert_eq!(callout.only_alert().await["status"], "resolved");
    let change = json!({ "routing_key": LEGACY, "payload": { "summary": "deployed", "source": "ci" } });
    let said = callout.says("/v2/change/enqueue", "", &change).await.is(202).json();
    assert_eq!(said["message"], "Change event processed");
    assert_eq!(callout.alerts().await.len(), 1);
    // The same events at the integration's own address, with or without the key before the body.
    callout.says("/integrations/legacy", LEGACY, &trigger("disk")).await.is(202);
    let by_body = callout.stranger(Method::POST, "/integrations/legacy").json(&trigger("disk"));
    Answer::of(by_body).await.is(202);
    assert_eq!(callout.alerts().await.pop().unwrap()["repeats"], 1);
}

#[tokio::test]
async fn opsgenies_senders_get_opsgenies_answers() {
    let callout = callout().await;
    let call = |method: Method, path: &str| {
        callout.stranger(method, path).header("Authorization", format!("GenieKey {GENIE}"))
    };
    let create = json!({ "message": "db-3 has 2 % left on /var", "alias": "db-3/disk", "priority": "P2",
        "description": "grows", "details": { "free": "40 MB" }, "source": "http://am.example.test:9093", "tags": ["disk"] });
    let answer = Answer::of(call(Method::POST, "/v2/alerts").json(&create)).await.is(202).json();
    assert_eq!(answer["result"], "Request will be processed");
    let request = answer["requestId"].as_str().unwrap();
    let alert = callout.only_alert().await;
    assert_eq!((&alert["dedup_key"], &alert["severity"]), (&json!("genie:db-3/disk"), &json!("error")));
    assert_eq!(alert["link"], "http://am.example.test:9093");
    let status = Answer::of(call(Method::GET, &format!("/v2/alerts/requests/{request}"))).await.is(200).json();
    assert_eq!((&status["data"]["success"], &status["data"]["alias"]), (&json!(true), &json!("db-3/disk")));
    assert_eq!(status["data"]["alertId"], alert["id"]);
    Answer::of(call(Method::POST, "/v2/alerts").json(&create)).await.is(202);
    let shown = Answer::of(call(Method::GET, "/v2/alerts/db-3%2Fdisk?identifierType=alias")).await.is(200).json();
    assert_eq!((&shown["data"]["count"], &shown["data"]["status"]), (&json!(2), &json!("open")));
    let tiny = shown["data"]["tinyId"].as_str().unwrap();
    let by = json!({ "user": "maria", "note": "on it" });
    let path = format!("/v2/alerts/{tiny}/acknowledge?identifierType=tiny");
    Answer::of(call(Method::POST, &path).json(&by)).await.is(202);
    assert_eq!(callout.alert(&alert).await["acknowledged"]["by"], "genie");
    Answer::of(
        call(Method::PUT, "/v2/alerts/db-3%2Fdisk/message?identifierType=alias").json(&json!({ "message": "x" })),
    )
    .await
    .is(202);
    Answer::of(call(Method::POST, "/v2/alerts/db-3%2Fdisk/close?identifierType=alias").json(&json!({}))).await.is(202);
    assert_eq!(callout.alert(&alert).await["status"], "resolved");
    Answer::of(call(Method::POST, "/v2/alerts/nobody/close?identifierType=alias").json(&json!({}))).await.is(202);
    let others = callout.raise_any().await;
    Answer::of(call(Method::POST, &format!("/v2/alerts/{}/close", others["id"].as_str().unwrap())).json(&json!({})))
        .await
        .is(202);
    assert_eq!(callout.alert(&others).await["status"], "escalating", "no tool ends what it did not raise");
    assert_eq!(Answer::of(call(Method::POST, "/v2/alerts").json(&json!({ "alias": "x" }))).await.status, 422);
    assert_eq!(Answer::of(call(Method::POST, "/v2/alerts/x/snooze").json(&json!({}))).await.status, 422);
    Answer::of(call(Method::GET, "/v2/alerts/x")).await.is(404);
    Answer::of(callout.stranger(Method::POST, "/v2/alerts").json(&create)).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn goalerts_senders_may_use_the_address_a_form_or_json() {
    let callout = callout().await;
    let path = "/api/v2/generic/incoming";
    let post = |query: &str| callout.stranger(Method::POST, &format!("{path}{query}"));
    let in_address =
        post(&format!("?token={GO}&summary=disk+full&dedup=disk&meta=severity%3Dwarning&meta=service%3Ddb"));
    Answer::of(in_address).await.is(204);
    let alert = callout.only_alert().await;
    assert_eq!((&alert["message"], &alert["dedup_key"]), (&json!("disk full"), &json!("go:disk")));
    assert_eq!((&alert["severity"], &alert["details"]["meta"]["service"]), (&json!("warning"), &json!("db")));
    let form = |text: &'static str| {
        post("").header("content-type", "application/x-www-form-urlencoded").body(format!("token={GO}&{text}"))
    };
    Answer::of(form("summary=disk+full&dedup=disk")).await.is(204);
    assert_eq!(callout.alert(&alert).await["repeats"], 1);
    Answer::of(form("dedup=disk&action=close")).await.is(204);
    assert_eq!(callout.alert(&alert).await["status"], "resolved");
    let in_json = post(&format!("?token={GO}")).json(&json!({ "summary": "no key", "details": "see **runbook**" }));
    let said = Answer::of(in_json.header("accept", "application/json")).await.is(200).json();
    assert!(said["IsNew"] == true && said["AlertID"].is_u64() && said["ServiceID"].is_string(), "{said}");
    let again = post(&format!("?token={GO}")).json(&json!({ "summary": "no key", "details": "see **runbook**" }));
    assert_eq!(Answer::of(again.header("accept", "application/json")).await.is(200).json()["IsNew"], false);
}

#[tokio::test]
async fn any_json_is_read_with_a_template_for_each_field() {
    let callout = callout().await;
    let red = json!({ "title": "main is red", "id": 42, "branch": "main", "url": "https://ci.example/42" });
    callout.says("/integrations/ci", CI, &red).await.is(200);
    let alert = callout.only_alert().await;
    assert_eq!((&alert["message"], &alert["dedup_key"]), (&json!("main is red"), &json!("ci:42")));
    assert_eq!((&alert["severity"], &alert["link"]), (&json!("warning"), &json!("https://ci.example/42")));
    assert_eq!(alert["details"], json!({ "branch": "main" }));
    let mut green = red.clone();
    green["state"] = "fixed".into();
    callout.says("/integrations/ci", CI, &green).await.is(200);
    assert_eq!(callout.only_alert().await["status"], "resolved");
}

#[tokio::test]
async fn texts_and_keys_that_are_too_long_are_shortened_and_never_refused() {
    let callout = callout().await;
    let mut long = trigger(&"k".repeat(3_000));
    long["payload"]["summary"] = "災".repeat(9_000).into();
    long["payload"]["custom_details"] = json!({ "log": "x".repeat(300_000), "host": "db-3" });
    callout.says("/v2/enqueue", "", &long).await.is(202);
    let alert = callout.only_alert().await;
    assert!(alert["message"].as_str().unwrap().ends_with("… (cut; 9000 characters were sent)"));
    assert!(alert["dedup_key"].as_str().unwrap().starts_with("legacy:sha256:"));
    assert!(alert["details"]["callout"].as_str().unwrap().contains("bytes were sent"), "{}", alert["details"]);
    assert_eq!(alert["details"]["custom_details"]["host"], "db-3");
    callout.says("/v2/enqueue", "", &event("resolve", &"k".repeat(3_000))).await.is(202);
    assert_eq!(callout.alert(&alert).await["status"], "resolved");
}

#[tokio::test]
async fn a_change_of_the_integrations_does_not_touch_a_running_alert() {
    let callout = callout().await;
    callout.am_says(&[element("firing", "db-3", FIRST)]).await;
    let alert = callout.only_alert().await;
    callout.reload(|file| {
        file["integrations"] =
            json!([{ "name": "prometheus", "kind": "alertmanager", "key": "another-key-0123456789" }]);
    });
    assert_eq!(callout.alert(&alert).await["policy"], "quiet");
    callout.says("/integrations/prometheus", AM, &group(&[])).await.problem(401, "unauthorized");
    callout.says("/integrations/ci", CI, &json!({})).await.problem(404, "not-found");
    let over = group(&[element("resolved", "db-3", FIRST)]);
    callout.says("/integrations/prometheus", "another-key-0123456789", &over).await.is(200);
    assert_eq!(callout.alert(&alert).await["status"], "resolved");
}

#[tokio::test]
async fn requests_of_tools_are_counted_by_integration() {
    let callout = callout().await;
    callout.am_says(&[element("firing", "db-3", FIRST)]).await;
    callout.says("/integrations/prometheus", AM, &json!({})).await.is(400);
    callout.says("/integrations/prometheus", CI, &json!({})).await.is(401);
    callout.says("/integrations/whatever", CI, &json!({})).await.is(404);
    let metrics = callout.get("/metrics").await;
    let counted = |integration: &str, outcome: &str, n: u32| {
        let line =
            format!("callout_integration_requests_total{{integration=\"{integration}\",outcome=\"{outcome}\"}} {n}");
        assert!(metrics.text().lines().any(|of_metrics| of_metrics == line), "{line}\n{}", metrics.text());
    };
    counted("prometheus", "accepted", 1);
    counted("prometheus", "refused", 1);
    counted("", "unauthorized", 2);
    assert!(!metrics.text().contains("whatever"));
    let alert = callout.only_alert().await;
    assert_eq!(events_of(&alert)[0], "raised");
}
