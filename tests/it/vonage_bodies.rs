//! What is sent to Vonage: the two request bodies, and the text within each channel's limit.

use std::sync::Arc;

use callout::contact::Channel;
use callout::escalation::{Backend, Condition};
use callout::id::CLIENT_REF_CHARS_MAX;
use callout::sender::Outbound;
use callout::vonage::Senders;
use callout::vonage::dispatch::{self, BodyError};
use callout::vonage::messages::{self, NoSender};
use callout::vonage::text::{Encoding, compose, limit, sms_parts};
use serde_json::{Value, json};

use crate::vonage_fixture::{NUMBER, PSID, late, leg, outbound, saying, senders, with_link};

const LINK: &str = "https://abcd1234.ngrok.io/a/0123456789abcdef0123456789abcdef";

fn dispatch_json(outbound: &Outbound) -> Value {
    serde_json::to_value(dispatch::body(outbound, &senders()).unwrap()).unwrap()
}

fn messages_json(channel: Channel, expiry_seconds: u32) -> Value {
    let outbound = outbound(Backend::Messages, leg(channel, expiry_seconds), Vec::new());
    let mut body = serde_json::to_value(messages::body(&outbound, &senders()).unwrap()).unwrap();
    let client_ref = body["client_ref"].take();
    assert_eq!(client_ref, json!(outbound.reference.to_string()));
    body
}

#[test]
fn a_workflow_is_the_tutorials_with_the_expiry_as_a_number() {
    let mut viber = leg(Channel::ViberService, 300);
    viber.condition = Condition::Delivered;
    let further = vec![viber, leg(Channel::Whatsapp, 120), leg(Channel::Sms, 600)];
    let outbound = outbound(Backend::Dispatch, leg(Channel::Messenger, 600), further);
    let text = format!("[Tony]: Main server is down\n{}", outbound.code);
    let message = json!({ "content": { "type": "text", "text": text } });
    assert_eq!(
        dispatch_json(&outbound),
        json!({
            "template": "failover",
            "workflow": [
                {
                    "from": { "type": "messenger", "id": "108450971234567" },
                    "to": { "type": "messenger", "id": PSID },
                    "message": message,
                    "failover": { "expiry_time": 600, "condition_status": "read" }
                },
                {
                    "from": { "type": "viber_service_msg", "id": "15263" },
                    "to": { "type": "viber_service_msg", "number": NUMBER },
                    "message": message,
                    "failover": { "expiry_time": 300, "condition_status": "delivered" }
                },
                {
                    "from": { "type": "whatsapp", "number": "447700900100" },
                    "to": { "type": "whatsapp", "number": NUMBER },
                    "message": message,
                    "failover": { "expiry_time": 120, "condition_status": "read" }
                },
                {
                    "from": { "type": "sms", "number": "447700900101" },
                    "to": { "type": "sms", "number": NUMBER },
                    "message": message
                }
            ]
        })
    );
}

#[test]
fn each_message_of_a_workflow_is_cut_to_its_own_channels_limit() {
    let attempt = outbound(Backend::Dispatch, leg(Channel::Messenger, 600), vec![leg(Channel::Whatsapp, 600)]);
    let body = dispatch_json(&saying(attempt, &"x".repeat(3_000)));
    let n_chars =
        |index: usize| body["workflow"][index]["message"]["content"]["text"].as_str().unwrap().chars().count();
    assert_eq!(n_chars(0), 640);
    assert!(n_chars(1) > 3_000);
}

#[test]
fn a_workflow_needs_a_sender_for_each_channel_and_knows_no_rcs() {
    let attempt = outbound(Backend::Dispatch, leg(Channel::Messenger, 600), vec![leg(Channel::Sms, 600)]);
    let without_sms = Senders { sms: None, ..senders() };
    assert_eq!(dispatch::body(&attempt, &without_sms).err(), Some(BodyError::NoSender(Channel::Sms)));
    let attempt = outbound(Backend::Dispatch, leg(Channel::Messenger, 600), vec![leg(Channel::Rcs, 600)]);
    assert_eq!(dispatch::body(&attempt, &senders()).err(), Some(BodyError::NotOnDispatch(Channel::Rcs)));
}

#[test]
fn a_message_is_flat_and_names_its_attempt() {
    let outbound = outbound(Backend::Messages, leg(Channel::Messenger, 600), Vec::new());
    let text = format!("[Tony]: Main server is down\n{}", outbound.code);
    let body = serde_json::to_value(messages::body(&outbound, &senders()).unwrap()).unwrap();
    assert_eq!(
        body,
        json!({
            "channel": "messenger", "message_type": "text", "from": "108450971234567", "to": PSID,
            "text": text, "client_ref": outbound.reference.to_string()
        })
    );
    assert!(body["client_ref"].as_str().unwrap().len() <= CLIENT_REF_CHARS_MAX);
}

#[test]
fn each_channel_has_its_own_sender_and_options() {
    for (channel, from, ttl) in [
        (Channel::Messenger, "108450971234567", None),
        (Channel::Whatsapp, "447700900100", None),
        (Channel::ViberService, "15263", None),
        (Channel::Sms, "447700900101", Some(2_000)),
        (Channel::Mms, "447700900101", Some(2_000)),
        (Channel::Rcs, "CalloutOps", Some(2_000)),
    ] {
        let body = messages_json(channel, 2_000);
        assert_eq!(body["channel"], channel.name());
        assert_eq!(body["from"], from);
        assert_eq!(body["message_type"], "text");
        assert_eq!(body.get("ttl"), ttl.map(|ttl: u32| json!(ttl)).as_ref(), "{channel}");
        let viber = (channel == Channel::ViberService).then(|| json!({ "category": "transaction", "ttl": 2_000 }));
        assert_eq!(body.get("viber_service"), viber.as_ref(), "{channel}");
    }
}

#[test]
fn a_ttl_stays_within_what_its_channel_takes() {
    for (channel, least, most) in [
        (Channel::Sms, 1_800, 604_800),
        (Channel::Mms, 300, 259_200),
        (Channel::Rcs, 300, 259_200),
        (Channel::ViberService, 30, 259_200),
    ] {
        for (expiry, ttl) in [(1, least), (least + 1, least + 1), (u32::MAX, most)] {
            let body = messages_json(channel, expiry);
            let sent = if channel == Channel::ViberService { &body["viber_service"]["ttl"] } else { &body["ttl"] };
            assert_eq!(sent, &json!(ttl), "{channel} with an expiry of {expiry} s");
        }
    }
}

#[test]
fn a_message_without_a_sender_cannot_be_made() {
    for channel in Channel::OF_VONAGE {
        let attempt = outbound(Backend::Messages, leg(channel, 600), Vec::new());
        assert_eq!(messages::body(&attempt, &Senders::default()).err(), Some(NoSender(channel)));
    }
}

#[test]
fn note_code_and_link_stand_on_lines_of_their_own() {
    let attempt = with_link(late(outbound(Backend::Messages, leg(Channel::Sms, 600), Vec::new())), LINK);
    let code = attempt.code;
    assert_eq!(
        compose(&attempt, Channel::Sms),
        format!("[Tony]: Main server is down\nSent 15 min late (due 02:15 UTC).\n{code}\n{LINK}")
    );
}

/// Texts of 5000 visible characters in the scripts that the contract names, and in those that are hard to cut.
fn long_texts() -> Vec<String> {
    ["a", "€", "障", "が", "か\u{3099}", "ش", "مُ", "🔥", "👩\u{200D}🚒", "🇯🇵", "e\u{301}", "word ", "line\n"]
        .iter()
        .map(|unit| unit.repeat(5_000))
        .collect()
}

#[test]
fn too_long_is_cut_to_the_limit_and_never_at_the_cost_of_note_code_or_link() {
    for channel in Channel::OF_VONAGE {
        for message in long_texts() {
            let attempt = saying(outbound(Backend::Messages, leg(channel, 600), Vec::new()), &message);
            let attempt = with_link(late(attempt), LINK);
            let text = compose(&attempt, channel);
            let n_units = text.encode_utf16().count();
            assert!(n_units <= limit(channel), "{n_units} on {channel}");
            assert!(n_units > limit(channel) - 16, "no more than needed is cut: {n_units} on {channel}");
            let tail = format!("\nSent 15 min late (due 02:15 UTC).\n{}\n{LINK}", attempt.code);
            let head = text.strip_suffix(&tail).unwrap();
            assert!(head.starts_with("[Tony]: ") && head.ends_with(['…', '.']), "{head}");
        }
    }
}

#[test]
fn what_fits_is_not_changed() {
    for message in ["メインサーバーが停止しました", "الخادم الرئيسي متوقف", "🔥🔥🔥 db-3 👩\u{200D}🚒"]
    {
        for channel in Channel::OF_VONAGE {
            let attempt = saying(outbound(Backend::Messages, leg(channel, 600), Vec::new()), message);
            assert_eq!(compose(&attempt, channel), format!("[Tony]: {message}\n{}", attempt.code));
        }
    }
}

#[test]
fn a_message_of_exactly_the_limit_is_whole_and_one_more_is_cut() {
    let attempt = outbound(Backend::Messages, leg(Channel::Messenger, 600), Vec::new());
    let room = 640 - "[Tony]: ".len() - 1 - attempt.code.to_string().len();
    let whole = compose(&saying(attempt.clone(), &"x".repeat(room)), Channel::Messenger);
    assert_eq!(whole.len(), 640);
    assert!(!whole.contains('…'));
    let cut = compose(&saying(attempt, &"x".repeat(room + 1)), Channel::Messenger);
    assert_eq!(cut.chars().count(), 640);
    assert!(cut.contains("x…\n"));
}

#[test]
fn cutting_a_text_message_does_not_change_its_encoding() {
    let attempt = outbound(Backend::Messages, leg(Channel::Sms, 600), Vec::new());
    let latin = compose(&saying(attempt.clone(), &"disk full ".repeat(500)), Channel::Sms);
    assert_eq!(sms_parts(&latin).encoding, Encoding::Gsm7);
    assert!(latin.contains("...\n"), "{latin}");
    let japanese = compose(&saying(attempt, &"障害".repeat(1_000)), Channel::Sms);
    assert_eq!(sms_parts(&japanese).encoding, Encoding::Ucs2);
    assert!(japanese.contains("…\n"), "{japanese}");
}

#[test]
fn an_absurdly_long_link_and_name_are_still_not_lost_to_each_other() {
    let link = format!("https://example.com/{}/a/token", "x".repeat(700));
    let mut attempt = with_link(outbound(Backend::Messages, leg(Channel::Messenger, 600), Vec::new()), &link);
    assert_eq!(compose(&attempt, Channel::Messenger), format!("{}\n{link}", attempt.code));
    attempt.link = Some(LINK.into());
    attempt.step.user = Arc::from("T".repeat(2_000));
    let text = compose(&attempt, Channel::Messenger);
    assert!(text.ends_with(LINK) && text.chars().count() == 640, "{text}");
}
