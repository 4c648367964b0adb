//! What each shape of webhook is understood as.

use callout::contact::{Address, Channel};
use callout::escalation::{Failure, ReportStatus, WorkflowOutcome};
use callout::id::{AlertId, AttemptRef, ProviderId};
use callout::incoming::{Foreign, InboundMessage, Incoming, MessageStatus, WorkflowEnd};
use callout::timestamp::Timestamp;
use callout::vonage::webhook::{NotJson, read};
use serde_json::{Value, json};

use crate::vonage_fixture::{NOW, NUMBER, PSID};

const MESSAGE: &str = "0f6d6a52-6f0b-4c5e-9a51-2d1f0a1c9e01";
const WORKFLOW: &str = "5b1c0c3e-6a5f-4a3e-9d53-0b9a3f6d7e21";

fn understood(body: &Value) -> Incoming {
    read(body.to_string().as_bytes()).unwrap()
}

#[track_caller]
fn status(body: &Value) -> MessageStatus {
    match understood(body) {
        Incoming::Status(status) => status,
        other @ (Incoming::WorkflowEnd(_) | Incoming::Message(_) | Incoming::Foreign(_)) => panic!("{other:?}"),
    }
}

#[track_caller]
fn message(body: &Value) -> InboundMessage {
    match understood(body) {
        Incoming::Message(message) => message,
        other @ (Incoming::Status(_) | Incoming::WorkflowEnd(_) | Incoming::Foreign(_)) => panic!("{other:?}"),
    }
}

#[track_caller]
fn workflow_end(body: &Value) -> WorkflowEnd {
    match understood(body) {
        Incoming::WorkflowEnd(end) => end,
        other @ (Incoming::Status(_) | Incoming::Message(_) | Incoming::Foreign(_)) => panic!("{other:?}"),
    }
}

fn id(text: &str) -> Option<ProviderId> {
    text.parse().ok()
}

fn address(channel: Channel, text: &str) -> Address {
    Address::parse(channel, text).unwrap()
}

/// A body with one field changed; `null` takes it away.
fn with(body: &Value, field: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[field] = value;
    body
}

fn v1_status() -> Value {
    json!({ "message_uuid": MESSAGE, "to": NUMBER, "from": "447700900100", "timestamp": "2026-03-01T02:15:07Z",
        "status": "read", "channel": "whatsapp" })
}

fn v01_status() -> Value {
    json!({ "message_uuid": MESSAGE, "to": { "type": "viber_service_msg", "number": NUMBER },
        "from": { "type": "viber_service_msg", "id": "15263" }, "timestamp": "2026-03-01T02:15:07.412Z",
        "status": "read", "usage": { "currency": "EUR", "price": "0.0333" },
        "_links": { "dispatch": { "href": format!("v0.1/dispatch/{WORKFLOW}"), "dispatch_uuid": WORKFLOW } } })
}

fn v1_inbound() -> Value {
    json!({ "channel": "sms", "message_uuid": MESSAGE, "to": "447700900100", "from": NUMBER,
        "timestamp": "2026-03-01T02:15:07Z", "message_type": "text", "text": "ack K7M2",
        "sms": { "num_messages": "1", "keyword": "ACK" } })
}

fn v01_inbound() -> Value {
    json!({ "message_uuid": MESSAGE, "timestamp": "2026-03-01T02:15:07.000Z", "direction": "inbound",
        "to": { "type": "sms", "number": "447700900100" }, "from": { "type": "sms", "number": NUMBER },
        "message": { "content": { "type": "text", "text": "ack K7M2" }, "sms": { "num_messages": "1" } } })
}

#[test]
fn a_status_of_messages_v1_names_its_attempt() {
    let reference = AttemptRef { alert: AlertId::new(NOW, [7; 10]), attempt: 3 };
    assert_eq!(
        status(&with(&v1_status(), "client_ref", json!(reference.to_string()))),
        MessageStatus {
            id: id(MESSAGE),
            workflow: None,
            reference: Some(reference),
            channel: Some(Channel::Whatsapp),
            to: Some(address(Channel::Whatsapp, NUMBER)),
            status: ReportStatus::Read,
            failure: None,
        }
    );
}

#[test]
fn a_status_of_dispatch_names_its_workflow() {
    assert_eq!(
        status(&v01_status()),
        MessageStatus {
            id: id(MESSAGE),
            workflow: id(WORKFLOW),
            reference: None,
            channel: Some(Channel::ViberService),
            to: Some(address(Channel::ViberService, NUMBER)),
            status: ReportStatus::Read,
            failure: None,
        }
    );
}

#[test]
fn the_workflow_is_found_under_each_of_its_spellings() {
    for links in [
        json!({ "workflow": { "dispatch_uuid": WORKFLOW, "href": format!("/workflows/{WORKFLOW}") } }),
        json!({ "dispatch": { "dispatch_uuid": WORKFLOW } }),
        json!({ "dispatch": { "href": format!("v0.1/dispatch/{WORKFLOW}") } }),
        json!({ "workflow": { "href": format!("/workflows/{WORKFLOW}/") } }),
        json!({ "workflow": {}, "dispatch": { "href": WORKFLOW } }),
    ] {
        assert_eq!(status(&with(&v01_status(), "_links", links.clone())).workflow, id(WORKFLOW), "{links}");
        assert_eq!(status(&with(&v1_status(), "_links", links.clone())).workflow, id(WORKFLOW), "flat, {links}");
    }
    assert_eq!(status(&with(&v1_status(), "dispatch_uuid", json!(WORKFLOW))).workflow, id(WORKFLOW));
    for workflow in [json!({ "workflow_id": WORKFLOW }), json!({ "id": WORKFLOW, "item_number": "1" })] {
        assert_eq!(status(&with(&v1_status(), "workflow", workflow)).workflow, id(WORKFLOW));
    }
}

#[test]
fn each_status_word_is_known_in_any_case() {
    for (word, expected) in [
        ("submitted", ReportStatus::Submitted),
        ("delivered", ReportStatus::Delivered),
        ("Read", ReportStatus::Read),
        ("REJECTED", ReportStatus::Rejected),
        (" undeliverable ", ReportStatus::Undeliverable),
    ] {
        assert_eq!(status(&with(&v1_status(), "status", json!(word))).status, expected);
    }
}

#[test]
fn a_status_word_that_nobody_knows_is_counted_and_does_no_harm() {
    for word in [json!("seen"), json!("failed"), json!(7), json!({}), json!("")] {
        assert_eq!(understood(&with(&v1_status(), "status", word)), Incoming::Foreign(Foreign::UnknownStatus));
    }
}

#[test]
fn a_read_counts_on_every_channel_under_every_name() {
    for (name, channel, to) in [
        ("messenger", Channel::Messenger, PSID),
        ("viber_service", Channel::ViberService, NUMBER),
        ("viber_service_msg", Channel::ViberService, NUMBER),
        ("viber_sevice_msg", Channel::ViberService, NUMBER),
        ("whatsapp", Channel::Whatsapp, NUMBER),
        ("rcs", Channel::Rcs, NUMBER),
        ("sms", Channel::Sms, NUMBER),
        ("mms", Channel::Mms, NUMBER),
    ] {
        let flat = with(&with(&v1_status(), "channel", json!(name)), "to", json!(to));
        let field = if channel.has_number() { "number" } else { "id" };
        let nested = with(&v01_status(), "to", json!({ "type": name, field: to }));
        for status in [status(&flat), status(&nested)] {
            assert_eq!(status.channel, Some(channel), "{name}");
            assert_eq!(status.to, Some(address(channel, to)), "{name}");
            assert_eq!(status.status, ReportStatus::Read, "{name}");
        }
    }
}

#[test]
fn a_failure_is_told_in_each_form_without_the_address() {
    let failed = |shape: &Value, word: &str, error: Value| {
        status(&with(&with(shape, "status", json!(word)), "error", error)).failure
    };
    let failure =
        |code: Option<&str>, detail: &str| Some(Failure { code: code.map(Into::into), detail: detail.into() });
    let url = "https://developer.vonage.com/api-errors/messages#1340";
    for (error, expected) in [
        (
            json!({ "type": url, "title": "1340", "detail": "Outside Allowed Window" }),
            (Some("1340"), "Outside Allowed Window"),
        ),
        (json!({ "title": 1340, "detail": "Outside" }), (Some("1340"), "Outside")),
        (json!({ "type": url, "title": "Rejected" }), (Some("1340"), "Rejected")),
        (json!({ "code": 1340, "reason": "Outside" }), (Some("1340"), "Outside")),
        (json!({ "code": "1340" }), (Some("1340"), "no reason given")),
        (json!({ "title": "1170", "detail": format!("{NUMBER} is not valid") }), (Some("1170"), "… is not valid")),
        (json!({}), (None, "no reason given")),
    ] {
        assert_eq!(failed(&v1_status(), "rejected", error.clone()), failure(expected.0, expected.1), "{error}");
        assert_eq!(failed(&v01_status(), "undeliverable", error.clone()), failure(expected.0, expected.1), "{error}");
        assert_eq!(failed(&v1_status(), "read", error), None, "a read is no failure");
    }
    assert_eq!(failed(&v1_status(), "rejected", Value::Null), None);
}

#[test]
fn a_status_is_understood_though_much_of_it_makes_no_sense() {
    let odd = json!({ "message_uuid": 12_345, "to": 447_700_900_001_u64, "from": [], "timestamp": "yesterday",
        "status": "delivered", "channel": "carrier_pigeon", "client_ref": "order-17", "error": "none", "_links": [],
        "whatsapp": { "pricing": {} }, "new_field": { "deep": [1, 2, { "x": null }] } });
    let expected = MessageStatus {
        id: id("12345"),
        workflow: None,
        reference: None,
        channel: None,
        to: None,
        status: ReportStatus::Delivered,
        failure: None,
    };
    assert_eq!(status(&odd), expected);
    let number = with(&with(&v1_status(), "to", json!(447_700_900_001_u64)), "message_uuid", json!("not a uuid"));
    assert_eq!(status(&number).to, Some(address(Channel::Whatsapp, NUMBER)));
    assert_eq!(status(&number).id, None, "an id has no space");
    let short = with(&v1_status(), "message_uuid", json!("5MpLz_77"));
    assert_eq!(status(&short).id, id("5MpLz_77"), "an id need not be a UUID");
}

#[test]
fn a_whatsapp_user_without_a_number_is_found_by_the_number_beside() {
    let body = with(&v1_status(), "to", json!("US.13491208655302741918"));
    assert_eq!(status(&body).to, None);
    let body = with(&body, "whatsapp", json!({ "recipient": { "user_id": "US.1349", "wa_id": NUMBER } }));
    assert_eq!(status(&body).to, Some(address(Channel::Whatsapp, NUMBER)));
}

#[test]
fn a_final_report_lists_what_was_tried() {
    let body = json!({ "dispatch_uuid": WORKFLOW, "template": "failover", "status": "completed",
        "timestamp": "2026-03-01T02:19:10.007Z", "usage": { "price": "0.0686", "currency": "EUR" },
        "_links": { "messages": [
            { "message_uuid": "m-1", "href": "v0.1/messages/m-1", "channel": "messenger", "status": "rejected" },
            { "href": "v0.1/messages/m-2", "channel": "viber_sevice_msg", "status": "read" },
            { "message_uuid": "m-3", "channel": "sms", "status": "seen" } ] } });
    let tried = |name: &str, channel, status| MessageStatus {
        id: id(name),
        workflow: id(WORKFLOW),
        reference: None,
        channel: Some(channel),
        to: None,
        status,
        failure: None,
    };
    assert_eq!(
        workflow_end(&body),
        WorkflowEnd {
            workflow: WORKFLOW.parse().unwrap(),
            outcome: WorkflowOutcome::Completed,
            messages: vec![
                tried("m-1", Channel::Messenger, ReportStatus::Rejected),
                tried("m-2", Channel::ViberService, ReportStatus::Read),
            ],
        }
    );
    assert_eq!(workflow_end(&with(&body, "status", json!("error"))).outcome, WorkflowOutcome::Error);
    assert_eq!(workflow_end(&with(&body, "_links", Value::Null)).messages, Vec::new());
}

#[test]
fn a_final_report_of_an_unknown_kind_still_tells_of_its_messages() {
    let body = json!({ "dispatch_uuid": WORKFLOW, "template": "failover", "status": "abandoned",
        "_links": { "messages": [{ "message_uuid": "m-1", "channel": "messenger", "status": "read" }] } });
    assert_eq!(workflow_end(&body).outcome, WorkflowOutcome::Completed, "which proves nothing");
    assert_eq!(workflow_end(&body).messages.len(), 1);
    assert_eq!(understood(&with(&body, "_links", json!({}))), Incoming::Foreign(Foreign::UnknownStatus));
    assert_eq!(understood(&with(&body, "dispatch_uuid", json!("a b"))), Incoming::Foreign(Foreign::UnknownShape));
}

#[test]
fn a_reply_is_understood_in_either_form() {
    let expected = InboundMessage {
        id: id(MESSAGE),
        channel: Channel::Sms,
        from: address(Channel::Sms, NUMBER),
        at: Some(NOW),
        text: Some("ack K7M2".into()),
        payload: None,
        quoted: None,
    };
    assert_eq!(message(&v1_inbound()), expected);
    assert_eq!(message(&v01_inbound()), expected);
}

#[test]
fn a_reply_on_each_channel_comes_from_the_address_that_was_messaged() {
    for (name, channel, from) in [
        ("messenger", Channel::Messenger, PSID),
        ("viber_service", Channel::ViberService, NUMBER),
        ("whatsapp", Channel::Whatsapp, NUMBER),
        ("rcs", Channel::Rcs, NUMBER),
        ("mms", Channel::Mms, NUMBER),
    ] {
        let flat = with(&with(&v1_inbound(), "channel", json!(name)), "from", json!(from));
        let field = if channel.has_number() { "number" } else { "id" };
        let nested = with(&v01_inbound(), "from", json!({ "type": name, field: from }));
        for message in [message(&flat), message(&nested)] {
            assert_eq!((message.channel, message.from), (channel, address(channel, from)), "{name}");
        }
    }
}

#[test]
fn a_pressed_button_brings_what_was_put_into_it() {
    let flat = with(&v1_inbound(), "text", Value::Null);
    for (field, value) in [
        ("reply", json!({ "id": "ack:K7M2", "title": "Acknowledge" })),
        ("button", json!({ "payload": "ack:K7M2", "text": "Acknowledge" })),
        ("button", json!({ "payload": { "id": "ack:K7M2" }, "text": "Acknowledge" })),
        ("postback", json!({ "payload": "ack:K7M2", "title": "Acknowledge" })),
    ] {
        let nested = with(&v01_inbound(), "message", json!({ "content": { "type": "button", field: value } }));
        for message in [message(&with(&flat, field, value.clone())), message(&nested)] {
            assert_eq!(message.payload.as_deref(), Some("ack:K7M2"), "{value}");
            assert_eq!(message.text.as_deref(), Some("Acknowledge"), "{value}");
        }
    }
    let flow = with(&flat, "button", json!({ "payload": { "flow_token": "x" }, "text": "Send" }));
    assert_eq!(message(&flow).payload, None, "a flow's payload is not ours");
}

#[test]
fn a_quoted_message_is_named_whatever_its_id_looks_like() {
    for quoted in [MESSAGE, "1234567890abcdef"] {
        let body = with(&v1_inbound(), "context", json!({ "message_uuid": quoted, "message_from": "447700900100" }));
        assert_eq!(message(&body).quoted, id(quoted));
    }
}

#[test]
fn a_reply_without_words_is_a_reply() {
    for (kind, value) in [("image", json!({ "url": "https://x.example/i.png" })), ("unsupported", json!({}))] {
        let body = with(&with(&v1_inbound(), "text", Value::Null), "sms", Value::Null);
        let body = with(&with(&body, "message_type", json!(kind)), kind, value);
        assert_eq!(message(&body).text, None);
    }
    let keyword_only = with(&v1_inbound(), "text", Value::Null);
    assert_eq!(message(&keyword_only).text.as_deref(), Some("ACK"));
}

#[test]
fn a_moment_is_read_in_each_form_that_was_seen() {
    for text in ["2026-03-01T02:15:07Z", "2026-03-01T02:15:07.000Z", "2026-03-01 02:15:07 UTC", "2026-03-01 02:15:07"] {
        assert_eq!(message(&with(&v1_inbound(), "timestamp", json!(text))).at, Some(NOW), "{text}");
    }
    let tenths = message(&with(&v1_inbound(), "timestamp", json!("2026-03-01T02:15:07.412Z"))).at;
    assert_eq!(tenths, Some(Timestamp::from_millis(NOW.as_millis() + 412)));
    for value in [json!("yesterday"), json!(""), Value::Null, json!(17), json!("2026-13-01 02:15:07 UTC")] {
        assert_eq!(message(&with(&v1_inbound(), "timestamp", value.clone())).at, None, "{value}");
    }
}

#[test]
fn a_sender_that_makes_no_sense_is_counted_and_does_no_harm() {
    for (field, value) in [
        ("from", json!("Alice")),
        ("from", json!({})),
        ("channel", json!("instagram")),
        ("channel", json!({ "type": "sms" })),
    ] {
        assert_eq!(understood(&with(&v1_inbound(), field, value)), Incoming::Foreign(Foreign::UnknownSender));
    }
    assert_eq!(understood(&with(&v01_inbound(), "from", Value::Null)), Incoming::Foreign(Foreign::UnknownSender));
}

#[test]
fn a_whatsapp_writer_without_a_number_is_found_by_the_number_beside() {
    let body = with(&with(&v1_inbound(), "channel", json!("whatsapp")), "from", json!("US.13491208655302741918"));
    assert_eq!(understood(&body), Incoming::Foreign(Foreign::UnknownSender));
    let body = with(&body, "whatsapp", json!({ "sender": { "wa_id": NUMBER } }));
    assert_eq!(message(&body).from, address(Channel::Whatsapp, NUMBER));
}

#[test]
fn the_old_sms_api_is_recognised() {
    let inbound = json!({ "msisdn": NUMBER, "to": "447700900100", "messageId": "0A0000000123ABCD1", "text": "ack",
        "type": "text", "keyword": "ACK", "message-timestamp": "2026-03-01 02:15:07", "api-key": "abcd1234" });
    let receipt = json!({ "msisdn": NUMBER, "to": "447700900100", "network-code": "23410", "messageId": "0A00",
        "price": "0.03", "status": "delivered", "scts": "2603010215", "err-code": "0", "client-ref": "x" });
    for body in [inbound, receipt] {
        assert_eq!(understood(&body), Incoming::Foreign(Foreign::LegacySms));
    }
}

#[test]
fn a_shape_that_nobody_knows_is_counted_and_does_no_harm() {
    for body in [json!({}), json!({ "hello": "world" }), json!({ "status": "read" }), json!({ "message": "text" })] {
        assert_eq!(understood(&body), Incoming::Foreign(Foreign::UnknownShape), "{body}");
    }
    let event = json!({ "channel": "whatsapp", "from": NUMBER, "to": "447700900100", "event": "something new" });
    assert_eq!(understood(&event), Incoming::Foreign(Foreign::UnknownShape), "only what was written is a reply");
}

#[test]
fn what_is_no_json_object_is_an_error() {
    for body in ["[]", "1", "null", "\"read\"", "true"] {
        assert_eq!(read(body.as_bytes()), Err(NotJson::NotAnObject), "{body}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for body in ["", "{", "{]", "status=read", "{\"status\":\"read\"} trailing", "\u{feff}{}", &deep] {
        assert!(matches!(read(body.as_bytes()), Err(NotJson::Syntax { .. })), "{body}");
    }
    assert!(matches!(read(b"{\"text\":\"\xff\"}"), Err(NotJson::Syntax { .. })));
}

#[test]
fn no_cut_or_flipped_webhook_makes_the_reader_fall_over() {
    for body in [v1_status(), v01_status(), v1_inbound(), v01_inbound()] {
        let bytes = body.to_string().into_bytes();
        for index in 0..bytes.len() {
            assert!(read(&bytes[..index]).is_err(), "a cut body is no JSON");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[index] ^= 1 << bit;
                let once = read(&flipped);
                assert_eq!(once, read(&flipped), "what is understood depends on the bytes alone");
            }
        }
    }
}
