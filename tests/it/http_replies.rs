//! Somebody writes back (contract R10), as Vonage brings it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{ANNS_NUMBER, Callout, Setup, TONYS_NUMBER, TONYS_PSID, events_of, path_of};

/// What somebody writes on a channel, in the form of Messages v1.
fn v1(channel: &str, from: &str, text: &str) -> Value {
    json!({ "channel": channel, "message_uuid": format!("in-{}", text.len()), "to": "447700900100", "from": from,
        "timestamp": "2026-03-01T02:16:05Z", "message_type": "text", "text": text })
}

/// The same in the form of v0.1, which a Dispatch application gets.
fn v01(channel: &str, from: &str, text: &str) -> Value {
    let party = |name: &str| match channel {
        "messenger" => json!({ "type": channel, "id": name }),
        _ => json!({ "type": channel, "number": name }),
    };
    json!({ "message_uuid": format!("in-{}", text.len()), "timestamp": "2026-03-01T02:16:05.118Z", "direction": "inbound",
        "to": party("447700900100"), "from": party(from), "message": { "content": { "type": "text", "text": text } } })
}

/// A body with one field changed.
fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn code_of(alert: &Value) -> &str {
    alert["code"].as_str().unwrap()
}

impl Callout {
    async fn hears(&self, body: &Value) {
        self.webhook("/webhooks/inbound", body).await.is(200);
    }

    async fn status_of(&self, alert: &Value) -> String {
        self.alert(alert).await["status"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn any_answer_acknowledges_as_the_user_who_wrote_it() {
    for text in ["ok", "👍", "見ました", "on my way, who is next?", " "] {
        for body in [v1("messenger", TONYS_PSID, text), v01("messenger", TONYS_PSID, text)] {
            let callout = Callout::start().await;
            let alert = callout.raise_any().await;
            callout.hears(&body).await;
            let alert = callout.alert(&alert).await;
            assert_eq!(
                alert["acknowledged"],
                json!({ "by": "Tony", "via": "reply", "channel": "messenger", "at": "2026-03-01T02:15:07.000Z" }),
                "{text}"
            );
            assert_eq!(events_of(&alert), ["raised", "sent", "reply", "acknowledged"]);
        }
    }
}

#[tokio::test]
async fn an_answer_counts_though_the_wall_clock_was_set_back_since_the_start() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    callout.clock.wall_set_back(Duration::from_hours(1));
    let reply = v1("messenger", TONYS_PSID, "ok");
    callout.hears(&with(reply, "timestamp", json!("2026-03-01T01:16:05Z"))).await;
    assert_eq!(callout.status_of(&alert).await, "acknowledged");
}

#[tokio::test]
async fn an_answer_counts_though_somebody_set_the_wall_clock_wrong() {
    for ahead in [true, false] {
        let callout = Callout::start().await;
        let alert = callout.raise_any().await;
        let by = Duration::from_hours(1);
        if ahead {
            callout.clock.wall_set_ahead(by);
        } else {
            callout.clock.wall_set_back(by);
        }
        // Vonage's own clock is right.
        callout.hears(&with(v1("messenger", TONYS_PSID, "ok"), "timestamp", json!("2026-03-01T02:16:05Z"))).await;
        assert_eq!(callout.status_of(&alert).await, "acknowledged", "set ahead: {ahead}");
    }
}

#[tokio::test]
async fn a_picture_without_words_is_an_answer_too() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let picture = json!({ "channel": "messenger", "message_uuid": "in-1", "to": "108450971234567", "from": TONYS_PSID,
        "timestamp": "2026-03-01T02:16:05Z", "message_type": "image", "image": { "url": "https://x.example/1.jpg" } });
    callout.hears(&picture).await;
    assert_eq!(callout.status_of(&alert).await, "acknowledged");
}

#[tokio::test]
async fn the_code_in_the_text_says_which_alert_is_meant_in_any_case() {
    let callout = Callout::start().await;
    let older = callout.raise_any().await;
    let newer = callout.raise_any().await;
    let text = format!("ok, {}!", code_of(&older).to_lowercase());
    callout.hears(&v1("messenger", TONYS_PSID, &text)).await;
    assert_eq!(
        (callout.status_of(&older).await, callout.status_of(&newer).await),
        ("acknowledged".into(), "escalating".into())
    );
    assert!(callout.vonage.nth(1).await.text().contains(code_of(&older)), "each message carries its alert's code");
}

#[tokio::test]
async fn a_button_says_what_is_wanted_and_of_which_alert() {
    for (verb, status) in [("ack", "acknowledged"), ("resolve", "resolved"), ("next", "escalating")] {
        let callout = Callout::start().await;
        let alert = callout.raise(&json!({ "message": "x", "policy": "quiet" })).await;
        let newer = callout.raise(&json!({ "message": "x", "policy": "quiet" })).await;
        let pressed = json!({ "channel": "whatsapp", "message_uuid": "in-1", "to": "447700900100", "from": ANNS_NUMBER,
            "timestamp": "2026-03-01T02:15:20Z", "message_type": "reply",
            "reply": { "id": format!("{verb}:{}", code_of(&alert)), "title": "Button" } });
        let policy_of_one = if verb == "next" { "exhausted" } else { status };
        callout.hears(&pressed).await;
        assert_eq!(callout.status_of(&alert).await, policy_of_one, "{verb}");
        assert_eq!(callout.status_of(&newer).await, "escalating");
    }
}

#[tokio::test]
async fn the_quoted_message_says_which_alert_is_meant() {
    let callout = Callout::start().await;
    let older = callout.raise(&json!({ "message": "x", "policy": "quiet" })).await;
    let newer = callout.raise(&json!({ "message": "x", "policy": "quiet" })).await;
    let quoted = callout.vonage.nth(1).await.id;
    let reply = with(v1("whatsapp", ANNS_NUMBER, "ok"), "context", json!({ "message_uuid": quoted }));
    callout.hears(&reply).await;
    assert_eq!(
        (callout.status_of(&older).await, callout.status_of(&newer).await),
        ("acknowledged".into(), "escalating".into())
    );
}

#[tokio::test]
async fn without_a_hint_the_newest_alert_that_messaged_the_address_is_meant() {
    let callout = Callout::start().await;
    let older = callout.raise_any().await;
    let newer = callout.raise_any().await;
    let of_another = callout.raise(&json!({ "message": "x", "policy": "quiet" })).await;
    callout.hears(&v1("messenger", TONYS_PSID, "ok")).await;
    assert_eq!(
        (callout.status_of(&older).await, callout.status_of(&newer).await),
        ("escalating".into(), "acknowledged".into())
    );
    callout.hears(&v1("messenger", TONYS_PSID, "okay")).await;
    assert_eq!(callout.status_of(&older).await, "acknowledged", "then the newest that is left");
    assert_eq!(callout.status_of(&of_another).await, "escalating");
}

#[tokio::test]
async fn a_stranger_has_no_effect_code_or_not() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    for body in [
        v1("messenger", "9999999999999999", "ok"),
        v1("messenger", "9999999999999999", code_of(&alert)),
        v1("sms", "447700900099", &format!("resolve {}", code_of(&alert))),
        v1("sms", TONYS_NUMBER, "ok, though no sms was sent yet"),
        v1("whatsapp", ANNS_NUMBER, code_of(&alert)),
    ] {
        callout.hears(&body).await;
    }
    assert_eq!(callout.alert(&alert).await, alert);
}

#[tokio::test]
async fn a_reply_that_was_written_before_the_message_has_no_effect() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    callout.hears(&with(v1("messenger", TONYS_PSID, "ok"), "timestamp", json!("2026-03-01T02:14:06Z"))).await;
    assert_eq!(callout.alert(&alert).await, alert);
    let just_in_time = with(v1("messenger", TONYS_PSID, "okay"), "timestamp", json!("2026-03-01T02:14:08Z"));
    callout.hears(&just_in_time).await;
    assert_eq!(callout.status_of(&alert).await, "acknowledged", "clocks may be a minute apart");
}

#[tokio::test]
async fn next_from_the_current_user_calls_the_next_one() {
    for word in ["next", "ESCALATE", "Skip please"] {
        let callout = Callout::start().await;
        let alert = callout.raise_any().await;
        callout.hears(&v1("messenger", TONYS_PSID, word)).await;
        let alert = callout.alert(&alert).await;
        assert_eq!((&alert["status"], &alert["current"]["user"]), (&json!("escalating"), &json!("Ann")), "{word}");
        assert_eq!(callout.vonage.nth(2).await.to(), ANNS_NUMBER, "Tony's sms is not tried");
    }
}

#[tokio::test]
async fn next_from_an_earlier_user_is_recorded_and_changes_nothing() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    let before = callout.comes_to_attempt(&alert, 3).await;
    callout.hears(&v1("messenger", TONYS_PSID, "next")).await;
    let after = callout.alert(&alert).await;
    assert_eq!(after["current"], before["current"]);
    let last = after["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["event"], &last["by"]), (&json!("reply"), &json!("Tony")));
    callout.hears(&v1("messenger", TONYS_PSID, "I have it")).await;
    assert_eq!(callout.status_of(&alert).await, "acknowledged", "any other answer of an earlier user counts");
}

#[tokio::test]
async fn resolve_ends_an_alert_that_is_acknowledged_already() {
    let callout = Callout::start().await;
    let alert = callout.raise_any().await;
    callout.press(&format!("{}/acknowledge", path_of(&alert))).await.is(200);
    callout.hears(&v1("messenger", TONYS_PSID, "ok")).await;
    assert_eq!(callout.status_of(&alert).await, "acknowledged");
    callout.hears(&v1("messenger", TONYS_PSID, "Resolved, it was the fuse")).await;
    let alert = callout.alert(&alert).await;
    assert_eq!(alert["status"], "resolved");
    assert_eq!(alert["timeline"].as_array().unwrap().last().unwrap()["by"], "Tony");
}

#[tokio::test]
async fn an_exhausted_alert_can_be_answered_but_not_passed_on() {
    let callout = Callout::start().await;
    let alert = callout.raise(&json!({ "message": "x", "policy": "quiet" })).await;
    callout.comes_to_attempt(&alert, 2).await;
    callout.clock.advance(Duration::from_mins(10));
    callout.until_status(&alert, "exhausted").await;
    let late = |text: &str| with(v1("viber_service", ANNS_NUMBER, text), "timestamp", json!("2026-03-01T02:45:00Z"));
    callout.hears(&late("next")).await;
    assert_eq!(callout.status_of(&alert).await, "exhausted");
    callout.hears(&late("here I am")).await;
    assert_eq!(callout.alert(&alert).await["acknowledged"]["channel"], "viber_service");
}

#[tokio::test]
async fn a_reply_that_is_delivered_twice_has_its_effect_once() {
    let callout = Callout::start().await;
    let alert = callout
        .raise(&json!({ "message": "x", "users": [
        { "name": "Tony", "channels": [{ "type": "sms", "id_num": TONYS_NUMBER }] },
        { "name": "Tony", "channels": [{ "type": "sms", "id_num": TONYS_NUMBER }] },
        { "name": "Ann", "channels": [{ "type": "sms", "id_num": ANNS_NUMBER }] } ] }))
        .await;
    let next = v1("sms", TONYS_NUMBER, "next");
    callout.hears(&next).await;
    callout.until(&alert, "the second place is called", |alert| alert["attempts"][1]["sent_at"].is_string()).await;
    callout.hears(&next).await;
    let alert = callout.alert(&alert).await;
    assert_eq!((&alert["current"]["attempt"], &alert["current"]["user"]), (&json!(2), &json!("Tony")));
    assert_eq!(events_of(&alert).iter().filter(|event| **event == "reply").count(), 1);
}

#[tokio::test]
async fn on_dispatch_an_answer_on_any_channel_of_the_workflow_counts() {
    let callout = Setup::on_dispatch().start().await;
    let alert = callout.raise_any().await;
    callout.hears(&v01("sms", TONYS_NUMBER, "ok")).await;
    let alert = callout.alert(&alert).await;
    assert_eq!((&alert["acknowledged"]["by"], &alert["acknowledged"]["channel"]), (&json!("Tony"), &json!("sms")));
}
