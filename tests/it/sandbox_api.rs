//! What the stand-in takes, what it refuses, and what it shows.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use callout::clock::Clock;
use callout::contact::Channel;
use callout::sandbox::Letter;
use callout::sandbox::life::Status;
use callout::sandbox::signature::Secret;
use serde_json::{Value, json};

use crate::sandbox_stage::{APPLICATION, PATIENCE, Stage, claims, sms, whatsapp};

#[tokio::test]
async fn a_message_is_accepted_and_listed_as_it_was_asked_for() {
    let stage = Stage::open("", "").await;
    let uuid = stage.send(&sms()).await;
    let listed = stage.call("GET", "/sent", &Value::Null).await.unwrap().body();
    let sent = &listed["sent"][0];
    assert_eq!(sent["message_uuid"], json!(uuid));
    assert_eq!((&sent["number"], &sent["api"]), (&json!(1), &json!("messages")));
    for key in ["channel", "to", "from", "text", "client_ref"] {
        assert_eq!(sent[key], sms()[key], "{key}");
    }
    assert_eq!(sent["dispatch_uuid"], Value::Null);
    assert_eq!(sent["body"], sms());
    assert_eq!(listed["sent"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_message_is_submitted_and_delivered_and_never_read_by_somebody_unknown() {
    let stage = Stage::open("", "").await;
    let uuid = stage.send(&whatsapp()).await;
    let hooks = stage.expect_statuses(&["submitted", "delivered"]).await;
    for hook in &hooks {
        assert_eq!((hook.method.as_str(), hook.path.as_str()), ("POST", "/below/webhooks/status"));
        assert_eq!(hook.field("/message_uuid"), uuid);
        assert_eq!(hook.field("/channel"), "whatsapp");
        assert_eq!((hook.field("/to"), hook.field("/from")), ("447700900001".into(), "447700900100".into()));
        assert_eq!(hook.field("/client_ref"), "c1.2");
        assert!(hook.field("/timestamp").starts_with("2026-03-01T") && hook.field("/timestamp").len() == 20);
        assert_eq!(claims(hook.token.as_ref().unwrap())["application_id"], json!(APPLICATION));
    }
    stage.quiet(2).await;
}

#[tokio::test]
async fn the_old_shape_is_used_where_the_message_asks_for_it() {
    let stage = Stage::open("", "").await;
    let mut message = sms();
    message["webhook_version"] = json!("v0.1");
    stage.send(&message).await;
    let hooks = stage.expect_statuses(&["submitted", "delivered"]).await;
    assert_eq!(hooks[1].body()["to"], json!({ "type": "sms", "number": "447700900001" }));
    assert_eq!(hooks[1].body()["usage"], json!({ "currency": "EUR", "price": "0.0333" }));
    assert_eq!(hooks[1].body().get("_links"), None);
}

#[tokio::test]
async fn a_message_can_name_its_own_place_for_statuses() {
    let stage = Stage::open("", "").await;
    let other = Stage::open("", "").await;
    let mut message = sms();
    message["webhook_url"] = json!(format!("{}/elsewhere", other.url));
    stage.send(&message).await;
    stage.quiet(2).await;
    assert!(stage.hooks().is_empty());
}

/// What Messages v1 refuses: the message, the parameters it names, and the page it points to.
fn refused_messages() -> Vec<(Value, &'static str, &'static str)> {
    let with = |message: Value, key: &str, value: Value| {
        let mut message = message;
        message[key] = value;
        message
    };
    let without = |key: &str| {
        let mut message = sms();
        message.as_object_mut().unwrap().remove(key);
        message
    };
    let messenger = json!({
        "message_type": "text", "channel": "messenger", "from": "108450971234567", "to": "6542087712345678", "text": "x"
    });
    let viber = json!({
        "message_type": "text", "channel": "viber_service", "from": "15263", "to": "447700900001", "text": "x"
    });
    let rcs = json!({ "message_type": "text", "channel": "rcs", "from": "Ops", "to": "447700900001", "text": "x" });
    let template = |name: &str| {
        json!({ "message_type": "template", "channel": "whatsapp", "from": "447700900100", "to": "447700900001",
                "template": { "name": name, "parameters": ["P1"] } })
    };
    let suggestion = |text: &str| json!([{ "type": "reply", "text": text, "postback_data": "ack:1" }]);
    vec![
        (without("to"), "to", "110"),
        (without("from"), "from", "1120"),
        (without("channel"), "channel", "1100"),
        (without("message_type"), "message_type", "1140"),
        (without("text"), "text", "1150"),
        (with(sms(), "text", json!("")), "text", "1150"),
        (with(sms(), "text", json!("x".repeat(1001))), "text", "1150"),
        (with(whatsapp(), "text", json!("x".repeat(4097))), "text", "1150"),
        (with(messenger.clone(), "text", json!("ü".repeat(641))), "text", "1150"),
        (with(viber.clone(), "text", json!("x".repeat(1001))), "text", "1150"),
        (with(rcs.clone(), "text", json!("x".repeat(3073))), "text", "1150"),
        (with(sms(), "to", json!("+447700900001")), "to", "110"),
        (with(sms(), "to", json!("00447700900001")), "to", "110"),
        (with(sms(), "to", json!(447_700_900_001_u64)), "to", "110"),
        (with(sms(), "to", json!({ "type": "sms", "number": "447700900001" })), "to", "110"),
        (with(messenger.clone(), "to", json!("9".repeat(51))), "to", "110"),
        (with(sms(), "from", json!("Twelve chars")), "from", "1120"),
        (with(sms(), "channel", json!("telegram")), "channel", "1100"),
        (with(viber.clone(), "channel", json!("viber_service_msg")), "channel", "1100"),
        (with(sms(), "message_type", json!("image")), "message_type", "1140"),
        (with(sms(), "client_ref", json!("c".repeat(41))), "client_ref", "1060"),
        (with(sms(), "ttl", json!(19)), "ttl", "1150"),
        (with(sms(), "ttl", json!("600")), "ttl", "1150"),
        (with(whatsapp(), "ttl", json!(600)), "ttl", "1150"),
        (with(rcs.clone(), "ttl", json!(299)), "ttl", "1150"),
        (with(viber.clone(), "viber_service", json!({ "ttl": 29 })), "viber_service.ttl", "1150"),
        (with(messenger.clone(), "messenger", json!({ "category": "message-tag" })), "messenger.category", "1150"),
        (with(messenger, "messenger", json!({ "category": "message_tag" })), "messenger.tag", "1150"),
        (with(viber, "viber_service", json!({ "category": "alert" })), "viber_service.category", "1150"),
        (template("oncall_alert"), "template.name", "1150"),
        (with(template("a:b"), "whatsapp", json!({ "policy": "fallback" })), "whatsapp.policy", "1150"),
        (with(rcs, "suggestions", suggestion(&"x".repeat(26))), "suggestions[0]", "1150"),
        (with(sms(), "suggestions", suggestion("Acknowledge")), "suggestions", "1150"),
        (with(sms(), "failover", json!([sms()])), "failover", "1150"),
        (with(sms(), "webhook_url", json!("ftp://x")), "webhook_url", "1150"),
        (json!([]), "", "1150"),
    ]
}

#[tokio::test]
async fn what_messages_would_refuse_is_refused_and_named() {
    let stage = Stage::open("", "").await;
    for (message, name, page) in refused_messages() {
        let reply = stage.call("POST", "/v1/messages", &message).await.unwrap();
        assert_eq!(reply.status, 422, "{name}: {message}");
        assert_eq!(reply.body()["invalid_parameters"][0]["name"], json!(name), "{message}");
        let kind = format!("https://developer.vonage.com/api-errors/messages#{page}");
        assert_eq!(reply.field("/type"), kind, "{name}: {message}");
        assert!(!reply.field("/title").is_empty() && !reply.field("/instance").is_empty());
    }
    assert!(stage.sandbox.sent().is_empty());
    assert_eq!(stage.sandbox.requests().len(), refused_messages().len());
}

#[tokio::test]
async fn all_that_is_wrong_with_a_message_is_named_at_once() {
    let stage = Stage::open("", "").await;
    let message = json!({ "channel": "sms", "message_type": "text", "to": "x", "ttl": 1 });
    let reply = stage.call("POST", "/v1/messages", &message).await.unwrap().body();
    let list = reply["invalid_parameters"].as_array().unwrap();
    let names: Vec<&str> = list.iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["to", "from", "ttl", "text"]);
}

#[tokio::test]
async fn the_largest_that_is_allowed_is_taken() {
    let stage = Stage::open("", "").await;
    let mut message = sms();
    message["text"] = json!("x".repeat(1000));
    message["client_ref"] = json!("c".repeat(40));
    message["ttl"] = json!(604_800);
    stage.send(&message).await;
    let body = "x".repeat(64 * 1024 + 1);
    let reply = stage.call_as(Some(&stage.bearer()), "POST", "/v1/messages", body).await.unwrap();
    assert_eq!(reply.status, 413);
    assert!(reply.field("/detail").contains("65536"));
}

#[tokio::test]
async fn who_shows_no_good_credentials_is_refused_at_both_apis() {
    let stage = Stage::open("", "").await;
    for path in ["/v1/messages", "/v0.1/dispatch", "/v0.1/dispatch/"] {
        for header in [None, Some("Bearer abc"), Some("Basic !"), Some("Digest x")] {
            let reply = stage.call_as(header, "POST", path, sms().to_string()).await.unwrap();
            assert_eq!(reply.status, 401, "{path} {header:?}");
            assert!(reply.field("/type").ends_with("#unathorized"), "{}", reply.text);
        }
    }
    assert!(stage.sandbox.sent().is_empty());
}

#[tokio::test]
async fn basic_credentials_send_but_their_webhooks_name_no_application() {
    let stage = Stage::open("", "").await;
    let basic = Some("Basic a2V5OnNlY3JldA==");
    let reply = stage.call_as(basic, "POST", "/v1/messages", sms().to_string()).await.unwrap();
    assert_eq!(reply.status, 202);
    let hooks = stage.hooks_after(1).await;
    assert_eq!(claims(hooks[0].token.as_ref().unwrap()).get("application_id"), None);
    assert_eq!(claims(hooks[0].token.as_ref().unwrap())["api_key"], json!("abcd1234"));
}

#[tokio::test]
async fn what_is_no_json_is_refused_in_each_apis_own_way() {
    let stage = Stage::open("", "").await;
    for (path, status) in [("/v1/messages", 422), ("/v0.1/dispatch", 400)] {
        let reply = stage.call_as(Some(&stage.bearer()), "POST", path, "{".to_owned()).await.unwrap();
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.field("/type").ends_with("#invalid-json"), "{}", reply.text);
    }
}

#[tokio::test]
async fn an_rcs_message_that_has_not_arrived_can_be_taken_back() {
    let people = "{people: [{name: Tony, addresses: {rcs: '447700900001'}, rcs: {delivered: 1h, read: 1s}}]}";
    let stage = Stage::open(people, "").await;
    let rcs = json!({ "message_type": "text", "channel": "rcs", "from": "Ops", "to": "447700900001", "text": "x" });
    let uuid = stage.send(&rcs).await;
    stage.expect_statuses(&["submitted"]).await;
    let revoke = json!({ "status": "revoked" });
    let reply = stage.call("PATCH", &format!("/v1/messages/{uuid}"), &revoke).await.unwrap();
    assert_eq!((reply.status, reply.text.as_str()), (202, ""));
    // Two hours later by the stand-in's clock nothing has come of it.
    stage.clock.sleep_until(stage.clock.now().plus(std::time::Duration::from_hours(2))).await;
    assert_eq!(stage.hooks().len(), 1);
}

#[tokio::test]
async fn other_messages_cannot_be_taken_back() {
    let stage = Stage::open("", "").await;
    let uuid = stage.send(&sms()).await;
    let inbound = stage.sandbox.reply(&Letter::text(Channel::Whatsapp, "447700900001", "hello"));
    let status = |uuid: String, status: &'static str| {
        let (stage, path) = (&stage, format!("/v1/messages/{uuid}"));
        async move { stage.call("PATCH", &path, &json!({ "status": status })).await.unwrap().status }
    };
    assert_eq!(status(uuid.clone(), "revoked").await, 422);
    assert_eq!(status(uuid.clone(), "read").await, 422);
    assert_eq!(status(uuid.clone(), "paused").await, 422);
    assert_eq!(status("unknown".to_owned(), "revoked").await, 404);
    assert_eq!(status(inbound.to_string(), "read").await, 202);
    assert_eq!(status(inbound.to_string(), "revoked").await, 422);
    let path = format!("/v1/messages/{uuid}");
    let basic = stage.call_as(Some("Basic a2V5OnNlY3JldA=="), "PATCH", &path, "{}".to_owned()).await.unwrap();
    assert_eq!(basic.status, 401);
}

#[tokio::test]
async fn a_script_can_say_what_becomes_of_a_message() {
    let people = "{people: [{name: Tony, phone: off, addresses: {whatsapp: '447700900001'}}]}";
    let stage = Stage::open(people, "").await;
    let uuid = stage.send(&whatsapp()).await;
    stage.expect_statuses(&["submitted"]).await;
    let report = json!({ "message_uuid": uuid, "status": "read" });
    assert_eq!(stage.call("POST", "/sandbox/report", &report).await.unwrap().status, 202);
    let failed = json!({ "message_uuid": uuid, "status": "undeliverable", "code": 1180 });
    assert_eq!(stage.call("POST", "/sandbox/report", &failed).await.unwrap().status, 202);
    let hooks = stage.expect_statuses(&["submitted", "read", "undeliverable"]).await;
    assert_eq!(hooks[2].field("/error/title"), "1180");
    assert_eq!(stage.sandbox.sent()[0].status.map(Status::word), Some("undeliverable"));
    let unknown = json!({ "message_uuid": "x", "status": "read" });
    assert_eq!(stage.call("POST", "/sandbox/report", &unknown).await.unwrap().status, 404);
    let wrong = json!({ "message_uuid": uuid, "status": "seen" });
    assert_eq!(stage.call("POST", "/sandbox/report", &wrong).await.unwrap().status, 422);
}

#[tokio::test]
async fn a_script_can_write_back() {
    let stage = Stage::open("", "silent").await;
    let uuid = stage.send(&whatsapp()).await;
    let reply = json!({
        "channel": "whatsapp", "from": "447700900001", "payload": "ack:K7M2", "context": uuid, "at": "2026-03-01T01:00:00Z"
    });
    let answer = stage.call("POST", "/sandbox/reply", &reply).await.unwrap();
    assert_eq!(answer.status, 202);
    let hooks = stage.hooks_after(1).await;
    assert_eq!(hooks[0].path, "/below/webhooks/inbound");
    assert_eq!(hooks[0].field("/message_uuid"), answer.field("/message_uuid"));
    assert_eq!(hooks[0].field("/reply/id"), "ack:K7M2");
    assert_eq!(hooks[0].field("/message_type"), "reply");
    assert_eq!(hooks[0].field("/context/message_uuid"), uuid);
    assert_eq!(hooks[0].field("/to"), "447700900100");
    assert_eq!(hooks[0].field("/timestamp"), "2026-03-01T01:00:00Z");
    for wrong in [
        json!({ "channel": "fax", "from": "1", "text": "x" }),
        json!({ "channel": "sms", "from": "1" }),
        json!({ "channel": "sms", "from": "1", "text": "x", "payload": "y" }),
        json!({ "channel": "sms", "from": "1", "text": "x", "at": "soon" }),
        json!({ "channel": "sms", "from": "1", "words": "x" }),
    ] {
        let answer = stage.call("POST", "/sandbox/reply", &wrong).await.unwrap();
        assert_eq!(answer.status, 422, "{wrong}");
        assert!(!answer.field("/detail").is_empty());
    }
}

#[tokio::test]
async fn a_script_can_change_the_faults_and_empty_the_list() {
    let stage = Stage::open("", "silent").await;
    stage.send(&sms()).await;
    let put = |faults: &'static str| {
        let stage = &stage;
        async move { stage.call("PUT", "/sandbox/faults", &json!({ "faults": faults })).await.unwrap() }
    };
    assert_eq!(put("402=1").await.status, 204);
    assert_eq!(stage.call("POST", "/v1/messages", &sms()).await.unwrap().status, 402);
    let refused = put("402,tiwce").await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.field("/detail").contains("`tiwce` is not a fault")
            && refused.field("/detail").contains("webhook-first")
    );
    assert_eq!(stage.call("DELETE", "/sent", &Value::Null).await.unwrap().status, 204);
    assert!(stage.sandbox.sent().is_empty() && stage.sandbox.requests().is_empty());
    stage.send(&sms()).await;
    assert_eq!(stage.sandbox.sent()[0].number, 1);
    let requests = stage.call("GET", "/requests", &Value::Null).await.unwrap().body();
    assert_eq!(requests["requests"][0]["answered"], json!(202));
    assert_eq!(requests["requests"][0]["body"], sms());
    let later = stage.call("GET", "/sent?from=2", &Value::Null).await.unwrap().body();
    assert_eq!(later, json!({ "sent": [] }));
    assert_eq!(stage.call("GET", "/sent?form=2", &Value::Null).await.unwrap().status, 422);
}

#[tokio::test]
async fn the_next_message_can_be_waited_for_and_does_not_have_to_come() {
    let stage = Stage::open("", "").await;
    let sandbox = stage.sandbox.clone();
    let message = sms();
    let (sent, _) = tokio::join!(sandbox.wait_for_sent(1, PATIENCE), stage.send(&message));
    assert_eq!(sent.unwrap().text.as_deref(), Some("[Tony]: Main server is down"));
    assert!(sandbox.wait_for_sent(2, std::time::Duration::from_millis(10)).await.is_err());
}

#[tokio::test]
async fn it_explains_itself_and_says_so_where_nothing_is() {
    let stage = Stage::open("", "").await;
    let help = stage.call("GET", "/", &Value::Null).await.unwrap().text;
    for part in ["/v1/messages", "/v0.1/dispatch", "/sent", "/sandbox/reply", "unknown-status"] {
        assert!(help.contains(part), "{part}");
    }
    for (method, path) in [("GET", "/nowhere"), ("GET", "/v1/messages"), ("PUT", "/sent")] {
        let reply = stage.call(method, path, &Value::Null).await.unwrap();
        assert_eq!(reply.status, 404, "{method} {path}");
        assert!(reply.field("/detail").contains(path));
    }
}

#[tokio::test]
async fn without_a_secret_webhooks_are_not_signed() {
    let stage = Stage::open_with("", "", None).await;
    stage.send(&sms()).await;
    assert!(stage.hooks_after(1).await[0].token.is_none());
}

#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    let stage = Stage::open("", "").await;
    stage.send(&sms()).await;
    stage.close().await;
}

#[tokio::test]
async fn nothing_private_shows_in_debug_output() {
    let stage = Stage::open_with("", "", Some(Secret::new("hush-hush"))).await;
    stage.send(&sms()).await;
    let letter = Letter::text(Channel::Sms, "447700900001", "Main idea");
    let shown = format!("{:?} {:?} {:?} {letter:?}", stage.sandbox, stage.sandbox.sent(), stage.sandbox.requests());
    for private in ["447700900001", "Main", "hush"] {
        assert!(!shown.contains(private), "{private} in {shown}");
    }
}
