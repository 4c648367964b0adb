//! A bad alert is refused with everything that is wrong with it, each thing where it stands.

use serde_json::json;

use crate::harness::{Callout, Setup};

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let callout = Callout::start().await;
    let answer = callout
        .post(
            "/alerts",
            &json!({ "message": 7, "policy": "nobody", "severity": "high", "dedup_key": "", "source": [],
                "link": "javascript:alert(1)", "details": "none", "mesage": "x", "a/b~c": 1 }),
        )
        .await;
    answer.refuses(&[
        ("/message", "must be a text, not a number"),
        ("/policy", "is not a policy; the policies are default, quiet"),
        ("/severity", "must be one of critical, error, warning, info"),
        ("/dedup_key", "must not be empty"),
        ("/source", "must be a text, not a list"),
        ("/link", "http or https"),
        ("/details", "must be an object, not a text"),
        ("/mesage", "is not a field here"),
        ("/a~1b~0c", "is not a field here"),
    ]);
    assert_eq!(answer.problem(422, "invalid")["detail"], "9 fields are wrong");
    assert!(callout.vonage.sent().is_empty(), "nothing was raised");
}

#[tokio::test]
async fn a_single_wrong_field_stands_in_the_detail_as_well() {
    let callout = Callout::start().await;
    let answer = callout.post("/alerts", &json!({})).await;
    answer.refuses(&[("/message", "is missing")]);
    assert_eq!(answer.problem(422, "invalid")["detail"], "/message: is missing; it is the text that people must read");
}

#[tokio::test]
async fn a_message_must_say_something() {
    let callout = Callout::start().await;
    for message in ["", "   ", "\n\t"] {
        callout.post("/alerts", &json!({ "message": message })).await.refuses(&[("/message", "must not be empty")]);
    }
    callout.post("/alerts", &json!({ "message": null })).await.refuses(&[("/message", "is missing")]);
}

#[tokio::test]
async fn texts_have_limits_and_say_how_far_they_were_missed() {
    let callout = Callout::start().await;
    for (field, limit) in [("dedup_key", 512), ("source", 200), ("policy", 100)] {
        let body = json!({ "message": "x", (field): "k".repeat(limit + 1) });
        let expected = format!("has {} characters; {limit} are allowed", limit + 1);
        callout.post("/alerts", &body).await.refuses(&[(&format!("/{field}"), &expected)]);
    }
    let link = |n_chars: usize| format!("https://x.example/{}", "l".repeat(n_chars - 18));
    callout.post("/alerts", &json!({ "message": "x", "link": link(2_000), "source": "s".repeat(200) })).await.is(201);
    let too_long = callout.post("/alerts", &json!({ "message": "x", "link": link(2_001) })).await;
    too_long.refuses(&[("/link", "has 2001 characters; 2000 are allowed")]);
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused_as_a_whole() {
    let callout = Callout::start().await;
    for body in [json!([]), json!("x"), json!(1), json!(null)] {
        callout.post("/alerts", &body).await.refuses(&[("", "must be a JSON object")]);
    }
}

#[tokio::test]
async fn a_policy_and_users_exclude_each_other() {
    let callout = Callout::start().await;
    let users = json!([{ "name": "Bo", "channels": [{ "type": "sms", "id_num": "447700900003" }] }]);
    let both = callout.post("/alerts", &json!({ "message": "x", "policy": "default", "users": users })).await;
    both.refuses(&[("/users", "cannot stand beside a policy")]);
}

#[tokio::test]
async fn every_mistake_in_a_list_of_users_is_named_where_it_stands() {
    let callout = Callout::start().await;
    let answer = callout
        .post(
            "/alerts",
            &json!({ "message": "x", "users": [
                { "name": "", "channels": [] },
                { "channels": "sms" },
                7,
                { "name": 5, "channels": [
                    { "type": "watsapp", "id_num": "447700900003" },
                    { "type": "sms", "id_num": "none", "expiry_time": 0, "condition_status": "seen", "color": "red" },
                    { "id_num": true, "expiry_time": 1.5 },
                    "sms",
                    { "type": "rcs", "id_num": "447700900003" } ], "phone": "1" },
                { "name": "Cy" },
            ] }),
        )
        .await;
    answer.refuses(&[
        ("/users/0/name", "is empty"),
        ("/users/0/channels", "must not be empty"),
        ("/users/1/name", "is missing"),
        ("/users/1/channels", "must be a list, not a text"),
        ("/users/2", "must be an object, not a number"),
        ("/users/3/name", "must be a text, not a number"),
        ("/users/3/channels/0/type", "did you mean `whatsapp`?"),
        ("/users/3/channels/1/id_num", "only digits can stand here (for example 447700900001)"),
        ("/users/3/channels/1/expiry_time", "from 1 to 86400"),
        ("/users/3/channels/1/condition_status", "is not a condition"),
        ("/users/3/channels/1/color", "is not a field here"),
        ("/users/3/channels/2/type", "missing"),
        ("/users/3/channels/2/id_num", "must be a text or a number, not a truth value"),
        ("/users/3/channels/2/expiry_time", "whole number"),
        ("/users/3/channels/3", "must be an object, not a text"),
        ("/users/3/channels/4/type", "no sender is configured for rcs"),
        ("/users/3/phone", "is not a field here"),
        ("/users/4/channels", "is missing"),
    ]);
}

#[tokio::test]
async fn no_error_repeats_an_address() {
    let callout = Callout::start().await;
    let users = json!([{ "name": "Bo", "channels": [{ "type": "sms", "id_num": "+44 7700 900003 x" }] }]);
    let answer = callout.post("/alerts", &json!({ "message": "x", "users": users })).await;
    answer.refuses(&[("/users/0/channels/0/id_num", "only digits")]);
    assert!(!answer.text().contains("900003"), "{}", answer.text());
}

#[tokio::test]
async fn a_list_of_users_has_limits() {
    let callout = Callout::start().await;
    let channel = json!({ "type": "sms", "id_num": "447700900003" });
    let user = |n_channels: usize| json!({ "name": "Bo", "channels": vec![channel.clone(); n_channels] });
    let post = |users: serde_json::Value| {
        let body = json!({ "message": "x", "users": users });
        async { callout.post("/alerts", &{ body }).await }
    };
    post(json!([])).await.refuses(&[("/users", "must not be empty")]);
    post(json!(vec![user(1); 101])).await.refuses(&[("/users", "has 101 entries; 100 are allowed")]);
    post(json!([user(21)])).await.refuses(&[("/users/0/channels", "has 21 entries; 20 are allowed")]);
    post(json!(vec![user(20); 100])).await.is(201);
}

#[tokio::test]
async fn dispatch_has_rules_of_its_own() {
    let callout = Setup::on_dispatch().start().await;
    let channel = json!({ "type": "sms", "id_num": "447700900003", "expiry_time": 15 });
    let alone = json!({ "message": "x", "users": [{ "name": "Bo", "channels": [channel] }] });
    callout.post("/alerts", &alone).await.refuses(&[("/users", "two or more")]);
    let hasty = json!({ "type": "sms", "id_num": "447700900003", "expiry_time": 14 });
    let hasty = json!({ "message": "x", "users": [{ "name": "Bo", "channels": [channel, hasty] }] });
    callout.post("/alerts", &hasty).await.refuses(&[("/users/0/channels/1/expiry_time", "from 15 to 86400")]);
    let enough = json!({ "message": "x", "users": [{ "name": "Bo", "channels": [channel, channel] }] });
    callout.post("/alerts", &enough).await.is(201);
}
