//! What people do to an alert through the API: acknowledge, resolve, ask for the next user.

use serde_json::{Value, json};

use crate::harness::{Answer, Callout, Mood, events_of, path_of};

impl Callout {
    /// Somebody calls one of the actions of an alert.
    async fn act(&self, alert: &Value, action: &str, body: &Value) -> Answer {
        self.post(&format!("{}/{action}", path_of(alert)), body).await
    }

    async fn exhausted(&self) -> Value {
        self.vonage.becomes(Mood::Refuses);
        let alert = self.post("/alerts", &json!({ "message": "x" })).await.is(201).json();
        let alert = self.until_status(&alert, "exhausted").await;
        self.vonage.becomes(Mood::Accepts);
        alert
    }
}

#[tokio::test]
async fn acknowledging_ends_the_escalation_and_names_who_did_it() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let answer = callout.act(&alert, "acknowledge", &json!({ "by": "Eve at the desk" })).await.is(200).json();
    assert_eq!((&answer["status"], &answer["current"]), (&json!("acknowledged"), &Value::Null));
    assert_eq!(
        answer["acknowledged"],
        json!({ "by": "Eve at the desk", "via": "api", "channel": null, "at": "2026-03-01T02:15:07.000Z" })
    );
    assert_eq!(answer, callout.alert(&alert).await, "the answer is the alert");
    callout.clock.reach("2026-03-01T05:00:00Z".parse().unwrap());
    assert_eq!(callout.vonage.sent().len(), 1, "nothing more is sent");
}

#[tokio::test]
async fn the_body_may_be_left_out() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let escalated = callout.press(&format!("{}/escalate", path_of(&alert))).await.is(200).json();
    assert_eq!(escalated["current"]["user"], "Ann");
    let acknowledged = callout.press(&format!("{}/acknowledge", path_of(&alert))).await.is(200).json();
    assert_eq!(acknowledged["acknowledged"]["by"], "api");
    let resolved = callout.act(&alert, "resolve", &json!({ "by": null })).await.is(200).json();
    assert_eq!(resolved["status"], "resolved");
    assert_eq!(resolved["acknowledged"], acknowledged["acknowledged"], "who acknowledged stays known");
}

#[tokio::test]
async fn repeating_acknowledge_or_resolve_is_harmless() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    for action in ["acknowledge", "resolve"] {
        let first = callout.act(&alert, action, &json!({ "by": "Eve" })).await.is(200).json();
        let second = callout.act(&alert, action, &json!({ "by": "Mallory" })).await.is(200).json();
        assert_eq!(first, second, "{action}");
    }
}

#[tokio::test]
async fn resolving_is_possible_in_every_status() {
    let callout = Callout::start().await;
    let escalating = callout.raise_any().await;
    let acknowledged = callout.raise_any().await;
    callout.act(&acknowledged, "acknowledge", &json!({})).await.is(200);
    let exhausted = callout.exhausted().await;
    for alert in [escalating, acknowledged, exhausted] {
        let answer = callout.act(&alert, "resolve", &json!({ "by": "Eve" })).await.is(200).json();
        assert_eq!(answer["status"], "resolved");
        let last = answer["timeline"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["event"], &last["by"]), (&json!("resolved"), &json!("Eve")));
    }
}

#[tokio::test]
async fn an_exhausted_alert_can_still_be_acknowledged() {
    let callout = Callout::start().await;
    let alert = callout.exhausted().await;
    let answer = callout.act(&alert, "acknowledge", &json!({})).await.is(200).json();
    assert_eq!(answer["status"], "acknowledged");
}

#[tokio::test]
async fn what_the_status_does_not_allow_is_409_and_changes_nothing() {
    let callout = Callout::start().await;
    let resolved = callout.raise_any().await;
    callout.act(&resolved, "resolve", &json!({})).await.is(200);
    let acknowledged = callout.raise_any().await;
    callout.act(&acknowledged, "acknowledge", &json!({})).await.is(200);
    let exhausted = callout.exhausted().await;
    for (alert, action, why) in [
        (&resolved, "acknowledge", "The alert is resolved."),
        (&resolved, "escalate", "The alert is resolved."),
        (&acknowledged, "escalate", "The alert is not escalating any more."),
        (&exhausted, "escalate", "The alert is not escalating any more."),
    ] {
        let before = callout.alert(alert).await;
        let problem = callout.act(alert, action, &json!({})).await.problem(409, "conflict");
        assert_eq!(problem["detail"], why, "{action}");
        assert_eq!(callout.alert(alert).await, before);
    }
}

#[tokio::test]
async fn escalating_calls_the_next_user_now() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let answer = callout.act(&alert, "escalate", &json!({ "by": "Eve", "attempt": 1 })).await.is(200).json();
    assert_eq!((&answer["current"]["attempt"], &answer["current"]["user"]), (&json!(2), &json!("Ann")));
    assert_eq!(answer["attempts"][0]["status"], "superseded");
    let escalated = answer["timeline"].as_array().unwrap().iter().find(|entry| entry["event"] == "escalated").unwrap();
    assert_eq!(
        (&escalated["by"], &escalated["attempt"], &escalated["user"]),
        (&json!("Eve"), &json!(2), &json!("Ann"))
    );
    assert_eq!(callout.vonage.nth(2).await.channel(), "whatsapp", "Tony's sms is not tried");
    let last = callout.act(&alert, "escalate", &json!({})).await.is(200).json();
    assert_eq!(last["status"], "exhausted", "after the last user nobody is left");
}

#[tokio::test]
async fn escalating_an_attempt_that_is_over_does_nothing() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    callout.act(&alert, "escalate", &json!({ "attempt": 1 })).await.is(200);
    let before =
        callout.until(&alert, "Ann's message is accepted", |alert| alert["attempts"][1]["sent_at"].is_string());
    let before = before.await;
    let answer = callout.act(&alert, "escalate", &json!({ "attempt": 1 })).await.is(200).json();
    assert_eq!(answer, before, "two people who press at once skip one user, not two");
    let problem = callout.act(&alert, "escalate", &json!({ "attempt": 3 })).await.problem(409, "conflict");
    assert_eq!(problem["detail"], "The alert has no such attempt.");
    callout.act(&alert, "acknowledge", &json!({})).await.is(200);
    callout.act(&alert, "escalate", &json!({ "attempt": 1 })).await.is(200);
}

#[tokio::test]
async fn a_hundred_people_who_press_at_once_skip_one_user() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let path = format!("{}/escalate", path_of(&alert));
    let body = json!({ "attempt": 1 });
    let answers = futures_util::future::join_all((0..100).map(|_| callout.post(&path, &body))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let alert = callout.alert(&alert).await;
    assert_eq!((&alert["status"], &alert["current"]["attempt"]), (&json!("escalating"), &json!(2)));
}

#[tokio::test]
async fn a_wrong_body_is_refused_with_everything_that_is_wrong() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let wrong = json!({ "by": 1, "attempt": 0, "why": "x" });
    callout.act(&alert, "escalate", &wrong).await.refuses(&[
        ("/by", "must be a text, not a number"),
        ("/attempt", "number of an attempt, from 1"),
        ("/why", "the fields are by, attempt"),
    ]);
    for action in ["acknowledge", "resolve"] {
        callout.act(&alert, action, &wrong).await.refuses(&[
            ("/by", "must be a text, not a number"),
            ("/attempt", "is not a field here; the fields are by"),
            ("/why", "is not a field here"),
        ]);
    }
    for attempt in [json!(-1), json!("1"), json!(1.5), json!(4_294_967_296_u64), json!([1])] {
        let answer = callout.act(&alert, "escalate", &json!({ "attempt": attempt })).await;
        answer.refuses(&[("/attempt", "number of an attempt, from 1")]);
    }
    let long = json!({ "by": "b".repeat(101) });
    callout.act(&alert, "resolve", &long).await.refuses(&[("/by", "has 101 characters; 100 are allowed")]);
    assert_eq!(events_of(&callout.alert(&alert).await), ["raised", "sent"]);
    callout.act(&alert, "resolve", &json!({ "by": "b".repeat(100) })).await.is(200);
}
