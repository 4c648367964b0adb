//! What people do with their messages, and how the file says so.

use std::time::Duration;

use callout::sandbox::habits::People;
use serde_json::{Value, json};

use crate::sandbox_stage::{Hook, START, Stage, sms, whatsapp};

/// Tony, with this habit on one channel.
fn tony(channel: &str, habit: &str) -> String {
    format!("{{people: [{{name: Tony, addresses: {{{channel}: '447700900001'}}, {channel}: {habit}}}]}}")
}

#[tokio::test]
async fn whoever_reads_after_a_while_reads_after_that_while() {
    let stage = Stage::open(&tony("whatsapp", "{delivered: 2s, read: 5m}"), "").await;
    stage.send(&whatsapp()).await;
    let hooks = stage.expect_statuses(&["submitted", "delivered", "read"]).await;
    assert!(hooks[2].at.since(START) >= Duration::from_secs(302), "{}", hooks[2].at);
    let read_after = hooks[2].happened().since(stage.sandbox.sent()[0].at);
    assert!((301..=303).contains(&read_after.as_secs()), "{read_after:?}");
}

#[tokio::test]
async fn a_phone_that_is_off_gets_nothing() {
    let people = "{people: [{name: Joe, phone: off, addresses: {sms: '447700900001'}, sms: {delivered: 1s}}]}";
    let stage = Stage::open(people, "").await;
    stage.send(&sms()).await;
    stage.quiet(1).await;
    assert_eq!(stage.hooks()[0].status(), "submitted");
}

#[tokio::test]
async fn a_message_that_outlives_its_time_is_rejected() {
    let people = "{people: [{name: Joe, phone: off, addresses: {sms: '447700900001'}}]}";
    let stage = Stage::open(people, "").await;
    let mut message = sms();
    message["ttl"] = json!(60);
    stage.send(&message).await;
    let hooks = stage.expect_statuses(&["submitted", "rejected"]).await;
    assert_eq!(hooks[1].field("/error/title"), "1360");
    assert!(hooks[1].at.since(START) >= Duration::from_mins(1));
}

#[tokio::test]
async fn a_rejection_comes_at_once_and_carries_its_code() {
    let stage = Stage::open(&tony("viber_service", "{rejected: 1300}"), "").await;
    let viber = json!({
        "message_type": "text", "channel": "viber_service", "from": "15263", "to": "447700900001", "text": "x"
    });
    stage.send(&viber).await;
    let hooks = stage.expect_statuses(&["rejected"]).await;
    assert_eq!(hooks[0].field("/error/title"), "1300");
    assert_eq!(hooks[0].field("/error/type"), "https://developer.vonage.com/api-errors/messages#1300");
}

#[tokio::test]
async fn outside_of_whatsapps_window_only_templates_arrive() {
    let stage = Stage::open(&tony("whatsapp", "{window: closed}"), "").await;
    stage.send(&whatsapp()).await;
    let hooks = stage.expect_statuses(&["rejected"]).await;
    assert_eq!(hooks[0].field("/error/title"), "1340");
    let template = json!({
        "message_type": "template", "channel": "whatsapp", "from": "447700900100", "to": "447700900001",
        "template": { "name": "space:oncall_alert", "parameters": ["P1"] },
        "whatsapp": { "policy": "deterministic", "locale": "en_GB" }
    });
    stage.send(&template).await;
    stage.expect_statuses(&["rejected", "submitted", "delivered"]).await;
}

#[tokio::test]
async fn an_answer_by_text_message_comes_with_its_keyword() {
    let stage = Stage::open(&tony("sms", "{reply: {after: 20s, text: 'ack K7M2'}}"), "").await;
    stage.send(&sms()).await;
    let hooks = stage.hooks_after(3).await;
    let reply = &hooks[2];
    assert_eq!(reply.path, "/below/webhooks/inbound");
    assert_eq!((reply.field("/from"), reply.field("/to")), ("447700900001".into(), "447700900101".into()));
    assert_eq!((reply.field("/text"), reply.field("/sms/keyword")), ("ack K7M2".into(), "ACK".into()));
    assert_eq!(reply.body().get("context"), None);
    assert!(reply.at.since(START) >= Duration::from_secs(21));
}

/// The webhook of the press of `message`'s button.
async fn press(channel: &str, message: &Value) -> Hook {
    let stage = Stage::open(&tony(channel, "{press: {after: 5s, button: 2}}"), "").await;
    stage.send(message).await;
    stage.hooks_after(3).await.remove(2)
}

#[tokio::test]
async fn a_button_of_whatsapp_comes_back_as_a_reply_with_its_id() {
    let button = |id: &str, title: &str| json!({ "type": "reply", "reply": { "id": id, "title": title } });
    let buttons = json!([button("ack:K7M2", "Acknowledge"), button("next:K7M2", "Escalate")]);
    let interactive = json!({ "type": "button", "body": { "text": "x" }, "action": { "buttons": buttons } });
    let mut message = whatsapp();
    message["message_type"] = json!("custom");
    message["custom"] = json!({ "type": "interactive", "interactive": interactive });
    let hook = press("whatsapp", &message).await;
    assert_eq!(hook.field("/message_type"), "reply");
    assert_eq!(hook.body()["reply"], json!({ "id": "next:K7M2", "title": "Escalate" }));
    assert_eq!(hook.field("/context_status"), "available");
    assert!(!hook.field("/context/message_uuid").is_empty());
}

#[tokio::test]
async fn a_button_of_a_whatsapp_template_comes_back_with_its_payload() {
    let button = |payload: &str| {
        json!({ "type": "button", "sub_type": "quick_reply", "index": 0,
                "parameters": [{ "type": "payload", "payload": payload }] })
    };
    let mut message = whatsapp();
    message["message_type"] = json!("custom");
    message["custom"] =
        json!({ "type": "template", "template": { "components": [button("ack:K7M2"), button("next:K7M2")] } });
    let hook = press("whatsapp", &message).await;
    assert_eq!(hook.field("/message_type"), "button");
    assert_eq!(hook.field("/button/payload"), "next:K7M2");
}

#[tokio::test]
async fn a_suggestion_of_rcs_comes_back_as_a_reply() {
    let suggestion = |text: &str, data: &str| json!({ "type": "reply", "text": text, "postback_data": data });
    let message = json!({
        "message_type": "text", "channel": "rcs", "from": "Ops", "to": "447700900001", "text": "x",
        "suggestions": [suggestion("Acknowledge", "ack:K7M2"), suggestion("Escalate", "next:K7M2")]
    });
    let hook = press("rcs", &message).await;
    assert_eq!(hook.body()["reply"], json!({ "id": "next:K7M2", "title": "Escalate" }));
    assert_eq!(hook.field("/context_status"), "none");
}

#[tokio::test]
async fn a_button_that_is_not_there_is_not_pressed() {
    let stage = Stage::open(&tony("whatsapp", "{press: {after: 1s}, read: 2s}"), "").await;
    stage.send(&whatsapp()).await;
    stage.expect_statuses(&["submitted", "delivered", "read"]).await;
}

#[tokio::test]
async fn an_answer_to_a_workflow_comes_in_the_old_shape() {
    let stage = Stage::open(&tony("sms", "{reply: {after: 2s, text: ok}}"), "").await;
    let step = json!({
        "from": { "type": "sms", "number": "447700900101" }, "to": { "type": "sms", "number": "447700900001" },
        "message": { "content": { "type": "text", "text": "x" } }
    });
    stage.dispatch(&json!({ "template": "failover", "workflow": [step] })).await;
    let hooks = stage.hooks_after(4).await;
    let reply = hooks.iter().find(|hook| hook.path.ends_with("inbound")).unwrap();
    assert_eq!(reply.body()["from"], json!({ "type": "sms", "number": "447700900001" }));
    assert_eq!(reply.body()["message"]["content"], json!({ "type": "text", "text": "ok" }));
    assert_eq!(reply.body()["message"]["sms"], json!({ "num_messages": "1" }));
}

#[tokio::test]
async fn everyone_else_can_have_habits_too() {
    let stage = Stage::open("{everyone_else: {whatsapp: {read: 1s}}}", "").await;
    stage.send(&whatsapp()).await;
    stage.expect_statuses(&["submitted", "delivered", "read"]).await;
}

#[test]
fn the_example_file_is_good() {
    let people = People::parse("people.example.yaml", include_str!("../../config/people.example.yaml")).unwrap();
    let names: Vec<&str> = people.known().iter().map(|person| &*person.name).collect();
    assert_eq!(names, ["Tony", "Maria", "Joe"]);
    assert_eq!(people.known()[1].addresses.len(), 4);
}

#[test]
fn json_is_as_good_as_yaml_and_an_empty_file_knows_nobody() {
    let json = r#"{"people": [{"name": "Tony", "addresses": {"sms": "447700900001"}, "sms": {"delivered": 2}}]}"#;
    let yaml = "people:\n- name: Tony\n  addresses: {sms: 447700900001}\n  sms:\n    delivered: 2s\n";
    assert_eq!(People::parse("a.json", json), People::parse("a.yaml", yaml));
    assert_eq!(People::parse("empty", ""), Ok(People::default()));
}

#[test]
fn every_problem_of_a_file_is_told_at_once_with_its_place() {
    let text = r#"
people:
  - name: Tony
    addresses: { sms: "447700900001", fax: "1", messenger: "a b" }
    sms: { read: 5s, delivered: soon, replay: 3 }
    telegram: {}
  - addresses: { whatsapp: "447700900001", sms: "+44 7700 900001" }
    phone: maybe
    whatsapp: { delivered: never, read: 5s, window: ajar }
    viber: { rejected: 13, delivered: 1s, window: closed }
  - name: Ann
    sms: { reply: { text: 5 }, press: { after: 200h, button: 12 } }
  - Bob
everybody: {}
"#;
    let error = People::parse("people.yaml", text).unwrap_err();
    let places: Vec<&str> = error.problems.iter().map(|problem| &*problem.place).collect();
    let mut expected = [
        "everybody",
        "people[0].addresses.fax",
        "people[0].addresses.messenger",
        "people[0].sms.read",
        "people[0].sms.delivered",
        "people[0].sms.replay",
        "people[0].telegram",
        "people[1]",
        "people[1].addresses.sms",
        "people[1].phone",
        "people[1].whatsapp.read",
        "people[1].whatsapp.window",
        "people[1].viber",
        "people[1].viber.delivered",
        "people[1].viber.window",
        "people[1].viber.rejected",
        "people[2]",
        "people[2].sms.reply.after",
        "people[2].sms.reply.text",
        "people[2].sms.press.after",
        "people[2].sms.press.button",
        "people[3]",
    ];
    let mut seen = places.clone();
    seen.sort_unstable();
    expected.sort_unstable();
    let expected: Vec<&str> = expected.into_iter().filter(|place| *place != "people[1].viber").collect();
    assert_eq!(seen, expected, "{error}");
    let shown = error.to_string();
    assert!(
        shown.contains("people.yaml: people[0].sms.read: cannot be: sms never tells that a message was read"),
        "{shown}"
    );
    assert!(shown.contains("people[0].sms.replay: is not known here; known are delivered"), "{shown}");
}

#[test]
fn a_file_that_cannot_be_read_at_all_is_told_so() {
    for text in ["people: [", "- Tony", "people: Tony", "{people: [], people: []}"] {
        let error = People::parse("people.yaml", text).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{text}: {error}");
        assert!(error.to_string().starts_with("people.yaml: "), "{error}");
    }
}
