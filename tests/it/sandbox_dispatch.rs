//! A workflow fails over as Dispatch does.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::time::Duration;

use callout::clock::Clock;
use callout::sandbox::life::Status;
use serde_json::{Value, json};

use crate::sandbox_stage::{Hook, PATIENCE, START, Stage};

/// Messenger with these conditions, then a text message.
fn workflow(expiry: u64, condition: &str) -> Value {
    json!({
        "template": "failover",
        "workflow": [
            {
                "from": { "type": "messenger", "id": "108450971234567" },
                "to": { "type": "messenger", "id": "6542087712345678" },
                "message": { "content": { "type": "text", "text": "Main server is down" } },
                "failover": { "expiry_time": expiry, "condition_status": condition }
            },
            {
                "from": { "type": "sms", "number": "447700900101" },
                "to": { "type": "sms", "number": "447700900001" },
                "message": { "content": { "type": "text", "text": "Main server is down" } }
            }
        ]
    })
}

fn people(messenger: &str, sms: &str) -> String {
    format!(
        "{{people: [{{name: Tony, addresses: {{messenger: '6542087712345678', sms: '447700900001'}}, \
         messenger: {messenger}, sms: {sms}}}]}}"
    )
}

/// Each webhook as a word: channel and status, or the final report's status with its messages. They are
/// put in the order of their times, since webhooks about different messages may overtake each other.
fn words(hooks: &[Hook]) -> Vec<String> {
    let mut hooks = hooks.to_vec();
    hooks.sort_by_key(|hook| hook.field("/timestamp"));
    let word = |hook: &Hook| {
        if hook.field("/template").is_empty() {
            format!("{} {}", hook.field("/to/type"), hook.status())
        } else {
            let body = hook.body();
            let messages = body["_links"]["messages"].as_array().cloned().unwrap_or_default();
            let shown = |message: &Value| format!("{}={}", message["channel"], message["status"]).replace('"', "");
            format!("{}: {}", hook.status(), messages.iter().map(shown).collect::<Vec<_>>().join(" "))
        }
    };
    hooks.iter().map(word).collect()
}

#[tokio::test]
async fn a_read_in_time_completes_the_workflow() {
    let stage = Stage::open(&people("{read: 5s}", "{}"), "").await;
    let uuid = stage.dispatch(&workflow(60, "read")).await;
    let hooks = stage.hooks_after(4).await;
    let expected = ["messenger submitted", "messenger delivered", "messenger read", "completed: messenger=read"];
    assert_eq!(words(&hooks), expected);
    for hook in hooks.iter().take(3) {
        let link = json!({ "href": format!("v0.1/dispatch/{uuid}"), "dispatch_uuid": uuid });
        assert_eq!(hook.body()["_links"], json!({ "dispatch": link }));
        assert_eq!(hook.body()["to"], json!({ "type": "messenger", "id": "6542087712345678" }));
    }
    assert_eq!(hooks[3].field("/dispatch_uuid"), uuid);
    assert_eq!(hooks[3].body()["usage"], json!({ "price": "0.0353", "currency": "EUR" }));
    assert_eq!(stage.sandbox.sent().len(), 1);
}

#[tokio::test]
async fn no_read_in_time_leads_to_the_next_channel_and_its_delivery_completes() {
    let stage = Stage::open(&people("{read: never}", "{delivered: 2s}"), "").await;
    let uuid = stage.dispatch(&workflow(60, "read")).await;
    let hooks = stage.hooks_after(5).await;
    let expected = [
        "messenger submitted",
        "messenger delivered",
        "sms submitted",
        "sms delivered",
        "completed: messenger=delivered sms=delivered",
    ];
    assert_eq!(words(&hooks), expected);
    let sent = stage.sandbox.sent();
    assert_eq!(sent[1].at.since(sent[0].at), Duration::from_mins(1));
    assert!(sent.iter().all(|sent| sent.dispatch_uuid.as_deref() == Some(uuid.as_str())));
    assert_eq!(sent[0].body, sent[1].body);
}

#[tokio::test]
async fn a_delivery_is_enough_where_the_condition_says_so() {
    let stage = Stage::open(&people("{read: never}", "{}"), "").await;
    stage.dispatch(&workflow(60, "delivered")).await;
    let hooks = stage.hooks_after(3).await;
    assert_eq!(words(&hooks)[2], "completed: messenger=delivered");
    stage.clock.sleep_until(stage.clock.now().plus(Duration::from_mins(2))).await;
    assert_eq!(stage.sandbox.sent().len(), 1);
}

#[tokio::test]
async fn a_delivery_after_the_expiry_is_too_late_for_the_condition_but_is_told() {
    let stage = Stage::open(&people("{delivered: 30s}", "{delivered: never}"), "").await;
    stage.dispatch(&workflow(15, "delivered")).await;
    let hooks = stage.hooks_after(3).await;
    assert_eq!(words(&hooks), ["messenger submitted", "sms submitted", "messenger delivered"]);
}

#[tokio::test]
async fn a_message_that_fails_leads_to_the_next_channel_at_once() {
    let stage = Stage::open(&people("{rejected: 1340}", "{}"), "").await;
    stage.dispatch(&workflow(86_400, "read")).await;
    let hooks = stage.hooks_after(4).await;
    assert_eq!(words(&hooks).last().unwrap(), "completed: messenger=rejected sms=delivered");
    let rejected = hooks.iter().find(|hook| hook.status() == "rejected").unwrap();
    assert_eq!(rejected.body()["error"], json!({ "code": 1340, "reason": "Outside Allowed Window" }));
    assert_eq!(stage.sandbox.sent()[1].at, stage.sandbox.sent()[0].at);
}

#[tokio::test]
async fn the_last_message_failing_ends_in_an_error() {
    let stage = Stage::open(&people("{rejected: 1340}", "{undeliverable: {code: 1180, after: 5s}}"), "").await;
    stage.dispatch(&workflow(60, "read")).await;
    let hooks = stage.hooks_after(4).await;
    assert_eq!(words(&hooks).last().unwrap(), "error: messenger=rejected sms=undeliverable");
}

#[tokio::test]
async fn a_last_message_that_never_arrives_leaves_the_workflow_without_a_report() {
    let stage = Stage::open(&people("{rejected: 1340}", "{delivered: never}"), "").await;
    stage.dispatch(&workflow(60, "read")).await;
    stage.quiet(2).await;
    assert!(stage.hooks().iter().all(|hook| hook.field("/template").is_empty()));
}

#[tokio::test]
async fn a_read_of_an_earlier_message_is_told_after_the_report() {
    let stage = Stage::open(&people("{read: 10m}", "{}"), "").await;
    stage.dispatch(&workflow(60, "read")).await;
    let hooks = stage.hooks_after(6).await;
    assert_eq!(words(&hooks).get(4).unwrap(), "completed: messenger=delivered sms=delivered");
    assert_eq!(words(&hooks).get(5).unwrap(), "messenger read");
    assert!(hooks[5].at.since(START) >= Duration::from_mins(10));
}

#[tokio::test]
async fn a_script_can_end_a_step_of_a_workflow() {
    let stage = Stage::open(&people("{delivered: never}", "{}"), "").await;
    stage.dispatch(&workflow(86_400, "read")).await;
    let first = stage.sandbox.sent().remove(0);
    stage.sandbox.report(&first.message_uuid, Status::Read).unwrap();
    stage
        .sandbox
        .until(PATIENCE, |_| words(&stage.hooks()).contains(&"completed: messenger=read".to_owned()).then_some(()))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_address_may_end_in_a_slash() {
    let stage = Stage::open("", "").await;
    let reply = stage.call("POST", "/v0.1/dispatch/", &workflow(60, "read")).await.unwrap();
    assert_eq!(reply.status, 202);
    let body = reply.body();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["dispatch_uuid"]);
}

#[tokio::test]
async fn viber_has_its_old_name_and_a_number_for_the_person() {
    let stage = Stage::open("", "").await;
    let step = json!({
        "from": { "type": "viber_service_msg", "id": "15263" },
        "to": { "type": "viber_service_msg", "number": "447700900001" },
        "message": { "content": { "type": "text", "text": "x" }, "viber_service_msg": { "category": "transaction", "ttl": 120 } }
    });
    stage.dispatch(&json!({ "template": "failover", "workflow": [step] })).await;
    let hooks = stage.hooks_after(3).await;
    assert_eq!(hooks[0].body()["to"], json!({ "type": "viber_service_msg", "number": "447700900001" }));
    assert_eq!(hooks[0].body()["from"], json!({ "type": "viber_service_msg", "id": "15263" }));
    assert_eq!(words(&hooks)[2], "completed: viber_service_msg=delivered");
    assert_eq!(stage.sandbox.sent()[0].channel.name(), "viber_service");
}

#[tokio::test]
async fn what_dispatch_would_refuse_is_refused_and_named() {
    let stage = Stage::open("", "").await;
    let change = |pointer: &str, value: Option<Value>| {
        let mut workflow = workflow(60, "read");
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = workflow.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => parent.insert(key.to_owned(), value),
            None => parent.remove(key),
        };
        workflow
    };
    let expiry = "workflow[0].failover.expiry_time";
    for (workflow, name) in [
        (change("/template", None), "template"),
        (change("/template", Some(json!("fallback"))), "template"),
        (change("/workflow", None), "workflow"),
        (change("/workflow", Some(json!([]))), "workflow"),
        (change("/workflow/0/failover", None), "workflow[0].failover"),
        (change("/workflow/1/failover", Some(json!({}))), "workflow[1].failover"),
        (change("/workflow/0/failover/expiry_time", None), expiry),
        (change("/workflow/0/failover/expiry_time", Some(json!("60"))), expiry),
        (change("/workflow/0/failover/expiry_time", Some(json!(14))), expiry),
        (change("/workflow/0/failover/expiry_time", Some(json!(86_401))), expiry),
        (change("/workflow/0/failover/expiry_time", Some(json!(60.5))), expiry),
        (change("/workflow/0/failover/condition_status", Some(json!("seen"))), "workflow[0].failover.condition_status"),
        (change("/workflow/0/to", Some(json!({ "type": "messenger", "number": "1" }))), "workflow[0].to.number"),
        (change("/workflow/1/to", Some(json!({ "type": "sms", "id": "1" }))), "workflow[1].to.id"),
        (change("/workflow/1/to/type", Some(json!("rcs"))), "workflow[1].to.type"),
        (change("/workflow/1/from/type", Some(json!("whatsapp"))), "workflow[1].from.type"),
        (change("/workflow/1/to/number", Some(json!("+447700900001"))), "workflow[1].to.number"),
        (change("/workflow/1/message", None), "workflow[1].message"),
        (change("/workflow/1/message/content", None), "workflow[1].message.content"),
        (change("/workflow/0/message/content/text", Some(json!("x".repeat(641)))), "workflow[0].message.content.text"),
        (
            change("/workflow/0/message/messenger", Some(json!({ "category": "message_tag" }))),
            "workflow[0].message.messenger.tag",
        ),
    ] {
        let reply = stage.call("POST", "/v0.1/dispatch", &workflow).await.unwrap();
        assert_eq!(reply.status, 400, "{name}: {workflow}");
        assert_eq!(reply.field("/invalid_parameters/name"), name, "{workflow}");
        assert!(!reply.field("/invalid_parameters/reason").is_empty());
        assert_eq!(reply.field("/type"), "https://www.nexmo.com/messages/Errors#InvalidParams");
        assert_eq!(reply.headers["content-type"], "application/problem+json");
    }
    assert!(stage.sandbox.sent().is_empty());
}

#[tokio::test]
async fn the_bounds_of_the_expiry_are_taken() {
    let stage = Stage::open("", "silent").await;
    stage.dispatch(&workflow(15, "read")).await;
    stage.dispatch(&workflow(86_400, "delivered")).await;
}
