//! Every misbehaviour, at least once.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

use std::time::Duration;

use callout::clock::Clock;
use callout::contact::Channel;
use callout::sandbox::Letter;
use callout::sandbox::life::Status;
use callout::sandbox::signature::payload_hash;
use serde_json::{Value, json};

use crate::sandbox_stage::{Hook, PATIENCE, START, Stage, claims, sms, whatsapp};

/// Somebody who reads everything at once.
const READER: &str = "{everyone_else: {whatsapp: {read: 1s}, messenger: {read: 1s}}}";

fn workflow() -> Value {
    json!({
        "template": "failover",
        "workflow": [
            {
                "from": { "type": "messenger", "id": "108450971234567" },
                "to": { "type": "messenger", "id": "6542087712345678" },
                "message": { "content": { "type": "text", "text": "Main server is down" } },
                "failover": { "expiry_time": 60, "condition_status": "read" }
            },
            {
                "from": { "type": "sms", "number": "447700900101" },
                "to": { "type": "sms", "number": "447700900001" },
                "message": { "content": { "type": "text", "text": "Main server is down" } }
            }
        ]
    })
}

#[tokio::test]
async fn a_refusal_is_played_as_often_as_was_said_and_at_both_apis() {
    for (fault, status, fragment) in [
        ("401", 401, "unathorized"),
        ("402", 402, "low-balance"),
        ("403", 403, "forbidden"),
        ("404", 404, "not-found"),
        ("429", 429, "1000"),
        ("500", 500, "1000"),
        ("503", 503, "unavailable"),
    ] {
        let stage = Stage::open("", &format!("{fault}=2,silent")).await;
        for (path, body) in [("/v1/messages", sms()), ("/v0.1/dispatch", workflow())] {
            let reply = stage.call("POST", path, &body).await.unwrap();
            assert_eq!(reply.status, status, "{fault} {path}");
            assert!(reply.field("/type").ends_with(&format!("#{fragment}")), "{}", reply.text);
            assert!(reply.headers.get("retry-after").is_none());
        }
        stage.send(&sms()).await;
        let answered: Vec<_> = stage.sandbox.requests().iter().map(|request| request.answered).collect();
        assert_eq!(answered, [Some(status), Some(status), Some(202)]);
        assert_eq!(stage.sandbox.sent().len(), 1);
    }
}

#[tokio::test]
async fn wrong_parameters_can_be_invented() {
    let stage = Stage::open("", "400=2,422=2").await;
    let answer = |path: &'static str, body: Value| {
        let stage = &stage;
        async move { stage.call("POST", path, &body).await.unwrap() }
    };
    let bad = [answer("/v1/messages", sms()).await, answer("/v0.1/dispatch", workflow()).await];
    assert_eq!((bad[0].status, bad[1].status), (400, 400));
    let unprocessable = [answer("/v1/messages", sms()).await, answer("/v0.1/dispatch", workflow()).await];
    assert_eq!((unprocessable[0].status, unprocessable[1].status), (422, 422));
    for [messages, dispatch] in [bad, unprocessable] {
        assert_eq!(messages.body()["invalid_parameters"][0]["name"], json!("to"));
        assert_eq!(dispatch.field("/invalid_parameters/name"), "to");
    }
}

#[tokio::test]
async fn too_many_requests_may_say_how_long_to_wait() {
    let stage = Stage::open("", "retry-after=1,silent").await;
    let reply = stage.call("POST", "/v1/messages", &sms()).await.unwrap();
    assert_eq!((reply.status, reply.headers["retry-after"].to_str().unwrap()), (429, "2"));
    stage.send(&sms()).await;
}

#[tokio::test]
async fn a_gateway_answers_with_a_page() {
    let stage = Stage::open("", "gateway").await;
    let reply = stage.call("POST", "/v1/messages", &sms()).await.unwrap();
    assert_eq!((reply.status, reply.headers["content-type"].to_str().unwrap()), (502, "text/html; charset=utf-8"));
    assert!(stage.sandbox.sent().is_empty());
}

#[tokio::test]
async fn a_garbled_answer_hides_that_the_message_was_accepted() {
    let stage = Stage::open("", "garbled").await;
    let reply = stage.call("POST", "/v1/messages", &sms()).await.unwrap();
    assert_eq!((reply.status, reply.body()), (202, Value::Null));
    stage.expect_statuses(&["submitted", "delivered"]).await;
}

#[tokio::test]
async fn a_broken_connection_after_accepting_loses_the_answer_only() {
    let stage = Stage::open("", "reset=1").await;
    let error = stage.call("POST", "/v1/messages", &sms()).await.err().unwrap();
    assert!(error.is_request() && !error.is_timeout(), "{error:?}");
    let hooks = stage.expect_statuses(&["submitted", "delivered"]).await;
    assert_eq!(hooks[0].field("/client_ref"), "c1.1");
    stage.send(&sms()).await;
}

#[tokio::test]
async fn while_it_is_down_nothing_is_accepted_but_a_script_can_end_it() {
    let stage = Stage::open("", "down").await;
    for path in ["/v1/messages", "/v0.1/dispatch"] {
        assert!(stage.call("POST", path, &sms()).await.is_err());
    }
    assert!(stage.sandbox.sent().is_empty());
    assert_eq!(stage.sandbox.requests().iter().filter(|request| request.answered.is_none()).count(), 2);
    assert_eq!(stage.call("PUT", "/sandbox/faults", &json!({ "faults": "" })).await.unwrap().status, 204);
    stage.send(&sms()).await;
}

#[tokio::test]
async fn a_slow_answer_does_not_hold_up_the_webhooks() {
    let stage = Stage::open("", "slow=5m").await;
    let message = sms();
    let (_, hooks) = tokio::join!(stage.send(&message), stage.expect_statuses(&["submitted", "delivered"]));
    assert!(stage.clock.now().since(START) >= Duration::from_mins(5));
    assert!(hooks[1].happened().since(stage.sandbox.sent()[0].at) < Duration::from_secs(2));
}

#[tokio::test]
async fn the_first_webhook_can_come_before_the_answer() {
    for path in ["/v1/messages", "/v0.1/dispatch"] {
        let stage = Stage::open("", "webhook-first").await;
        let body = if path == "/v1/messages" { sms() } else { workflow() };
        assert_eq!(stage.call("POST", path, &body).await.unwrap().status, 202);
        assert_eq!(stage.hooks().first().map(Hook::status).as_deref(), Some("submitted"), "{path}");
    }
}

#[tokio::test]
async fn a_silent_message_is_accepted_and_never_heard_of_again() {
    let stage = Stage::open(READER, "silent").await;
    stage.send(&whatsapp()).await;
    stage.clock.sleep_until(stage.clock.now().plus(Duration::from_mins(2))).await;
    assert!(stage.hooks().is_empty());
    assert_eq!(stage.sandbox.sent().len(), 1);
}

#[tokio::test]
async fn the_statuses_of_a_message_can_come_in_another_order() {
    for (faults, expected) in
        [("read-first", ["read", "submitted", "delivered"]), ("reversed", ["read", "delivered", "submitted"])]
    {
        let stage = Stage::open(READER, faults).await;
        stage.send(&whatsapp()).await;
        stage.expect_statuses(&expected).await;
    }
}

#[tokio::test]
async fn a_read_can_come_late() {
    let stage = Stage::open(READER, "late=5m").await;
    stage.send(&whatsapp()).await;
    let hooks = stage.expect_statuses(&["submitted", "delivered", "read"]).await;
    assert!(hooks[2].at.since(START) >= Duration::from_mins(5));
}

#[tokio::test]
async fn a_message_can_be_delivered_and_not_read_for_once() {
    let stage = Stage::open(READER, "no-read=1").await;
    stage.send(&whatsapp()).await;
    stage.quiet(2).await;
    stage.send(&whatsapp()).await;
    stage.expect_statuses(&["submitted", "delivered", "submitted", "delivered", "read"]).await;
}

#[tokio::test]
async fn a_message_can_fail_at_once() {
    for (faults, status, code) in [
        ("rejected", "rejected", "1340"),
        ("rejected=1300", "rejected", "1300"),
        ("undeliverable", "undeliverable", "1260"),
    ] {
        let stage = Stage::open(READER, faults).await;
        stage.send(&whatsapp()).await;
        assert_eq!(stage.expect_statuses(&[status]).await[0].field("/error/title"), code);
    }
}

#[tokio::test]
async fn a_webhook_can_come_twice() {
    let stage = Stage::open("", "twice").await;
    stage.send(&sms()).await;
    let hooks = stage.expect_statuses(&["submitted", "submitted", "delivered", "delivered"]).await;
    assert_eq!(hooks[0].bytes, hooks[1].bytes);
    assert_ne!(hooks[0].token, hooks[1].token);
}

#[tokio::test]
async fn dispatch_can_name_the_workflow_in_either_way_or_not_at_all() {
    for (faults, pointer) in [
        ("links=dispatch", Some("/_links/dispatch/dispatch_uuid")),
        ("links=workflow", Some("/_links/workflow/dispatch_uuid")),
        ("links=none", None),
    ] {
        let stage = Stage::open(READER, faults).await;
        let uuid = stage.dispatch(&workflow()).await;
        let hooks = stage.hooks_after(4).await;
        for hook in hooks.iter().take(3) {
            match pointer {
                Some(pointer) => assert_eq!(hook.field(pointer), uuid, "{faults}"),
                None => assert_eq!(hook.body().get("_links"), None, "{faults}"),
            }
        }
    }
}

#[tokio::test]
async fn the_final_report_can_come_before_the_last_status() {
    let stage = Stage::open(READER, "report-early").await;
    stage.dispatch(&workflow()).await;
    let hooks = stage.expect_statuses(&["submitted", "delivered", "completed", "read"]).await;
    assert_eq!(hooks[2].field("/_links/messages/0/status"), "read");
}

#[tokio::test]
async fn the_final_report_can_say_completed_though_nobody_read() {
    let stage = Stage::open(READER, "no-read").await;
    stage.dispatch(&workflow()).await;
    let hooks = stage.hooks_after(5).await;
    let report = hooks.iter().find(|hook| hook.status() == "completed").unwrap();
    assert!(hooks.iter().all(|hook| hook.status() != "read"));
    assert_eq!(report.field("/_links/messages/1/status"), "delivered");
}

#[tokio::test]
async fn the_final_report_can_say_error_or_not_come() {
    let stage = Stage::open(READER, "report-error").await;
    stage.dispatch(&workflow()).await;
    stage.expect_statuses(&["submitted", "delivered", "read", "error"]).await;
    let stage = Stage::open(READER, "no-report").await;
    stage.dispatch(&workflow()).await;
    stage.quiet(3).await;
    assert!(stage.hooks().iter().all(|hook| hook.field("/template").is_empty()));
}

/// The first webhook of a message while this fault is played, and the second, when it is over.
async fn hooks_of(fault: &str) -> (Hook, Hook) {
    let stage = Stage::open("", &format!("{fault}=1")).await;
    stage.send(&sms()).await;
    let hooks = stage.hooks_after(2).await;
    (hooks[0].clone(), hooks[1].clone())
}

#[tokio::test]
async fn a_signature_can_be_missing_or_wrong() {
    let (bad, good) = hooks_of("unsigned").await;
    assert_eq!(bad.token, None);
    let hash =
        |hook: &Hook| claims(hook.token.as_ref().unwrap())["payload_hash"].as_str().unwrap_or_default().to_owned();
    assert_eq!(hash(&good), payload_hash(&good.bytes));

    let (bad, good) = hooks_of("wrong-secret").await;
    assert_eq!(claims(&bad.token.unwrap()), Value::Null);
    assert_eq!(hash(&good), payload_hash(&good.bytes));

    let (bad, good) = hooks_of("altered").await;
    assert_ne!(hash(&bad), payload_hash(&bad.bytes));
    assert_eq!(bad.status(), "submitted");
    assert_eq!(hash(&good), payload_hash(&good.bytes));

    let (bad, good) = hooks_of("no-hash").await;
    assert_eq!(claims(bad.token.as_ref().unwrap())["iss"], json!("Vonage"));
    assert_eq!(hash(&bad), "");
    assert_eq!(hash(&good), payload_hash(&good.bytes));

    let (bad, good) = hooks_of("no-algorithm").await;
    assert!(bad.token.unwrap().ends_with('.'));
    assert_eq!(hash(&good), payload_hash(&good.bytes));
}

#[tokio::test]
async fn a_status_can_come_with_words_that_nobody_knows() {
    let stage = Stage::open("", "unknown-status=1,unknown-channel=1").await;
    let uuid = stage.send(&sms()).await;
    let hooks = stage.hooks_after(4).await;
    let statuses: Vec<String> = hooks.iter().map(Hook::status).collect();
    assert_eq!(statuses, ["seen", "read", "submitted", "delivered"]);
    assert_eq!((hooks[0].field("/message_uuid"), hooks[0].field("/client_ref")), (uuid.clone(), "c1.1".to_owned()));
    assert_eq!(hooks[1].field("/channel"), "telegram");
    assert_ne!(hooks[1].field("/message_uuid"), uuid);
}

#[tokio::test]
async fn a_body_can_have_more_fields_or_strange_times() {
    let (bad, good) = hooks_of("extra-fields").await;
    assert_eq!(bad.field("/moon_phase"), "waxing");
    assert_eq!(good.field("/moon_phase"), "");
    let (bad, good) = hooks_of("garbage-time").await;
    assert_eq!(bad.field("/timestamp"), "about tea time");
    assert!(good.field("/timestamp").starts_with("2026-"));
    let (bad, good) = hooks_of("old-time").await;
    assert!(bad.field("/timestamp").starts_with("2026-03-01 ") && bad.field("/timestamp").ends_with(" UTC"));
    assert!(good.field("/timestamp").ends_with('Z'));
    let (bad, good) = hooks_of("no-client-ref").await;
    assert_eq!((bad.field("/client_ref").as_str(), good.field("/client_ref").as_str()), ("", "c1.1"));
}

#[tokio::test]
async fn an_error_can_have_a_number_for_a_title() {
    let stage = Stage::open("", "integer-title=1,rejected=1300").await;
    stage.send(&sms()).await;
    stage.send(&sms()).await;
    let mut titles: Vec<String> =
        stage.hooks_after(2).await.iter().map(|hook| hook.body()["error"]["title"].to_string()).collect();
    titles.sort_unstable();
    assert_eq!(titles, ["\"1300\"", "1300"]);
}

#[tokio::test]
async fn webhooks_can_have_the_other_apis_shape() {
    let (bad, good) = hooks_of("other-shape").await;
    assert_eq!(bad.body()["to"], json!({ "type": "sms", "number": "447700900001" }));
    assert_eq!(good.field("/to"), "447700900001");
    let stage = Stage::open(READER, "other-shape").await;
    stage.dispatch(&workflow()).await;
    let hooks = stage.hooks_after(1).await;
    assert_eq!((hooks[0].field("/channel"), hooks[0].field("/to")), ("messenger".into(), "6542087712345678".into()));
}

#[tokio::test]
async fn an_sms_can_be_told_of_as_the_old_api_does() {
    let stage = Stage::open("", "legacy-sms").await;
    let uuid = stage.send(&sms()).await;
    let hooks = stage.hooks_after(2).await;
    assert!(hooks.iter().all(|hook| hook.method == "GET" && hook.token.is_none() && hook.bytes.is_empty()));
    for part in ["msisdn=447700900001", "status=delivered", "client-ref=c1.1", &format!("messageId={uuid}")] {
        assert!(hooks[1].query.contains(part), "{part} in {}", hooks[1].query);
    }
    stage.sandbox.reply(&Letter::text(Channel::Sms, "447700900001", "ok then"));
    let hooks = stage.hooks_after(3).await;
    assert_eq!(hooks[2].path, "/below/webhooks/inbound");
    assert!(hooks[2].query.contains("text=ok+then"), "{}", hooks[2].query);
}

#[tokio::test]
async fn a_reply_can_be_stale_or_without_context() {
    let people = "{everyone_else: {whatsapp: {reply: {after: 1s, text: ok}}}}";
    let stage = Stage::open(people, "stale-reply=1,no-context=1").await;
    stage.send(&whatsapp()).await;
    let hooks = stage.hooks_after(3).await;
    let sent = stage.sandbox.sent()[0].at;
    assert!(sent.since(hooks[2].happened()) > Duration::from_mins(59), "{}", hooks[2].field("/timestamp"));
    assert_eq!((hooks[2].field("/context_status").as_str(), hooks[2].body().get("context")), ("none", None));
    stage.send(&whatsapp()).await;
    let hooks = stage.hooks_after(6).await;
    assert!(hooks[5].happened() >= sent);
    assert!(!hooks[5].field("/context/message_uuid").is_empty());
}

#[tokio::test]
async fn faults_can_be_changed_while_it_runs() {
    let stage = Stage::open(READER, "500").await;
    assert_eq!(stage.call("POST", "/v1/messages", &sms()).await.unwrap().status, 500);
    stage.sandbox.set_faults("silent".parse().unwrap());
    let uuid = stage.send(&whatsapp()).await;
    stage.sandbox.report(&uuid, Status::Read).unwrap();
    stage.sandbox.until(PATIENCE, |_| (stage.hooks().len() == 1).then_some(())).await.unwrap();
    assert_eq!(stage.hooks()[0].status(), "read");
}
