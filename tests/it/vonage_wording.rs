//! What a policy's own wording makes of a message: texts, WhatsApp's approved template, replies that the
//! phone offers, and what Messenger and Viber are told.

use std::collections::BTreeMap;

use callout::contact::Channel;
use callout::escalation::{Backend, Severity, Tone};
use callout::sender::{Notice, Outbound};
use callout::vonage::text::{PARAMETER_CHARS_MAX, compose, confirmation, limit, parameter};
use callout::vonage::{Senders, dispatch, messages};
use callout::wording::{Button, MessengerCategory, WhatsappTemplate, Wording};
use serde_json::{Value, json};

use crate::vonage_fixture::{NUMBER, PSID, late, leg, outbound, saying, senders, template, with_link, worded};

const LINK: &str = "https://abcd1234.ngrok.io/a/0123456789abcdef0123456789abcdef";

fn attempt(channel: Channel) -> Outbound {
    outbound(Backend::Messages, leg(channel, 600), Vec::new())
}

fn workflow(first: Channel) -> Outbound {
    outbound(Backend::Dispatch, leg(first, 600), vec![leg(Channel::Sms, 600)])
}

fn messages_json(outbound: &Outbound, senders: &Senders) -> Value {
    serde_json::to_value(messages::body(outbound, senders).unwrap()).unwrap()
}

/// The first message of the workflow, without its ends.
fn dispatch_message(outbound: &Outbound, senders: &Senders) -> Value {
    serde_json::to_value(dispatch::body(outbound, senders).unwrap()).unwrap()["workflow"][0]["message"].take()
}

fn approved(parameters: &[&str], buttons: &[Button]) -> Wording {
    let whatsapp_template = Some(WhatsappTemplate {
        name: "9b6b4fcb_da19:oncall_alert".into(),
        locale: "en-GB".into(),
        parameters: parameters.iter().map(|text| template(text)).collect(),
        buttons: buttons.to_vec(),
    });
    Wording { whatsapp_template, ..Wording::default() }
}

#[test]
fn each_channel_says_what_the_policy_gave_it_to_say() {
    let text_by_channel = BTreeMap::from([(Channel::Sms, template("{{ code }} {{ message }}"))]);
    let text = template("{{ user }}/{{ severity }}/{{ policy }}/{{ source }}/{{ link }}: {{ message }}");
    let wording = Wording { text, text_by_channel, whatsapp_template: None };
    let code = attempt(Channel::Sms).code;
    for (channel, said) in [
        (Channel::Messenger, "Tony/critical/default//: Main server is down".to_owned()),
        (Channel::Whatsapp, "Tony/critical/default//: Main server is down".to_owned()),
        (Channel::Sms, format!("{code} Main server is down")),
    ] {
        let outbound = worded(attempt(channel), wording.clone());
        assert_eq!(compose(&outbound, channel), format!("{said}\n{code}"));
    }
}

#[test]
fn a_word_that_the_alert_has_nothing_for_is_empty_and_a_posted_text_is_never_a_template() {
    let mut outbound = worded(
        saying(attempt(Channel::Sms), "{{ user }}"),
        Wording { text: template("{{ policy }}{{ source }}|{{ message }}"), ..Wording::default() },
    );
    let raised = std::sync::Arc::make_mut(&mut outbound.raised);
    (raised.policy, raised.source, raised.severity) = (None, None, Severity::Info);
    assert_eq!(compose(&outbound, Channel::Sms), format!("|{{{{ user }}}}\n{}", outbound.code));
}

#[test]
fn whatever_the_wording_is_note_code_and_link_are_never_lost() {
    let wording = Wording { text: template(&"{{ message }} ".repeat(20)), ..Wording::default() };
    for channel in Channel::OF_VONAGE {
        let outbound = worded(saying(attempt(channel), &"サーバー停止 ".repeat(500)), wording.clone());
        let outbound = with_link(late(outbound), LINK);
        let text = compose(&outbound, channel);
        assert!(text.encode_utf16().count() <= limit(channel), "{channel}");
        let tail = format!("…\nSent 15 min late (due 02:15 UTC).\n{}\n{LINK}", outbound.code);
        assert!(text.ends_with(&tail), "{text}");
    }
}

#[test]
fn a_wording_that_leaves_nothing_still_carries_the_code() {
    let wording = Wording { text: template("{{ source }}"), ..Wording::default() };
    let outbound = worded(attempt(Channel::Sms), wording);
    assert_eq!(compose(&outbound, Channel::Sms), outbound.code.to_string());
}

#[test]
fn an_approved_template_without_buttons_is_vonages_own() {
    let outbound = worded(attempt(Channel::Whatsapp), approved(&["{{ severity }}", "{{ code }}: {{ message }}"], &[]));
    let code = outbound.code;
    assert_eq!(
        messages_json(&outbound, &senders()),
        json!({
            "channel": "whatsapp", "message_type": "template", "from": "447700900100", "to": NUMBER,
            "template": {
                "name": "9b6b4fcb_da19:oncall_alert",
                "parameters": ["critical", format!("{code}: Main server is down")]
            },
            "whatsapp": { "policy": "deterministic", "locale": "en-GB" },
            "client_ref": outbound.reference.to_string()
        })
    );
}

#[test]
fn an_approved_template_with_buttons_is_whatsapps_own_and_each_button_says_what_it_means() {
    let buttons = [Button::Next, Button::Acknowledge, Button::Resolve];
    let outbound = worded(attempt(Channel::Whatsapp), approved(&["{{ message }}"], &buttons));
    let code = outbound.code;
    let button = |index: usize, payload: String| {
        json!({
            "type": "button", "sub_type": "quick_reply", "index": index,
            "parameters": [{ "type": "payload", "payload": payload }]
        })
    };
    assert_eq!(
        messages_json(&outbound, &senders()),
        json!({
            "channel": "whatsapp", "message_type": "custom", "from": "447700900100", "to": NUMBER,
            "custom": { "type": "template", "template": {
                "namespace": "9b6b4fcb_da19", "name": "oncall_alert",
                "language": { "policy": "deterministic", "code": "en_GB" },
                "components": [
                    { "type": "body", "parameters": [{ "type": "text", "text": "Main server is down" }] },
                    button(0, format!("next:{code}")), button(1, format!("ack:{code}")), button(2, format!("resolve:{code}"))
                ]
            } },
            "client_ref": outbound.reference.to_string()
        })
    );
}

#[test]
fn on_dispatch_an_approved_template_has_the_form_of_its_specification() {
    let wording = approved(&["{{ message }}"], &[Button::Acknowledge]);
    let outbound = worded(workflow(Channel::Whatsapp), wording);
    assert_eq!(
        dispatch_message(&outbound, &senders()),
        json!({
            "content": { "type": "template", "template": {
                "name": "9b6b4fcb_da19:oncall_alert", "parameters": [{ "default": "Main server is down" }]
            } },
            "whatsapp": { "policy": "deterministic", "locale": "en-GB" }
        })
    );
}

#[test]
fn an_approved_template_changes_no_other_channel() {
    let wording = approved(&["{{ message }}"], &[Button::Acknowledge]);
    for channel in Channel::OF_VONAGE.into_iter().filter(|channel| *channel != Channel::Whatsapp) {
        let body = messages_json(&worded(attempt(channel), wording.clone()), &senders());
        assert_eq!(body, messages_json(&attempt(channel), &senders()), "{channel}");
    }
}

#[test]
fn a_parameter_is_one_line_of_bounded_length_and_never_empty() {
    for (message, said) in [
        ("disk full\r\non\tdb-3", "disk full on db-3"),
        ("a     b\u{a0}\u{0}c ", "a b c"),
        ("\n\t", "-"),
        ("メインサーバー", "メインサーバー"),
    ] {
        let outbound = saying(attempt(Channel::Whatsapp), message);
        assert_eq!(parameter(&outbound, &template("{{ message }}")), said);
    }
    let long = saying(attempt(Channel::Whatsapp), &"🔥".repeat(2_000));
    let said = parameter(&long, &template("{{ message }}"));
    assert!(said.ends_with("🔥…") && said.encode_utf16().count() <= PARAMETER_CHARS_MAX, "{said}");
}

#[test]
fn a_template_says_that_it_comes_late_where_it_tells_of_the_alert() {
    let outbound = late(saying(attempt(Channel::Whatsapp), &"x".repeat(3_000)));
    let said = parameter(&outbound, &template("{{ message }}"));
    assert!(said.ends_with("x… Sent 15 min late (due 02:15 UTC)."), "{said}");
    assert_eq!(said.encode_utf16().count(), PARAMETER_CHARS_MAX);
    assert_eq!(parameter(&outbound, &template("{{ severity }}")), "critical");
}

#[test]
fn an_rcs_message_offers_two_replies_that_fit_on_a_phone() {
    let outbound = attempt(Channel::Rcs);
    let code = outbound.code;
    let body = messages_json(&outbound, &senders());
    assert_eq!(
        body["suggestions"],
        json!([
            { "type": "reply", "text": "I have it", "postback_data": format!("ack:{code}") },
            { "type": "reply", "text": "Next person", "postback_data": format!("next:{code}") }
        ])
    );
    let labels = body["suggestions"].as_array().unwrap().iter().map(|suggestion| suggestion["text"].as_str().unwrap());
    assert!(labels.clone().count() == 2 && labels.clone().all(|label| label.chars().count() <= 25));
    for channel in Channel::OF_VONAGE.into_iter().filter(|channel| *channel != Channel::Rcs) {
        assert_eq!(messages_json(&attempt(channel), &senders()).get("suggestions"), None, "{channel}");
    }
}

#[test]
fn messenger_is_told_what_its_messages_are_for_where_somebody_said_so() {
    for (category, said) in [
        (None, None),
        (Some(MessengerCategory::Response), Some(json!({ "category": "response" }))),
        (Some(MessengerCategory::Update), Some(json!({ "category": "update" }))),
        (
            Some(MessengerCategory::MessageTag("HUMAN_AGENT".into())),
            Some(json!({ "category": "message_tag", "tag": "HUMAN_AGENT" })),
        ),
    ] {
        let senders = Senders { messenger_category: category, ..senders() };
        assert_eq!(messages_json(&attempt(Channel::Messenger), &senders).get("messenger"), said.as_ref());
        assert_eq!(dispatch_message(&workflow(Channel::Messenger), &senders).get("messenger"), said.as_ref());
        assert_eq!(messages_json(&attempt(Channel::Whatsapp), &senders).get("messenger"), None);
    }
}

#[test]
fn a_whatsapp_template_can_carry_the_acknowledge_link() {
    let wording = approved(&["{{ message }}", "{{ acknowledge_link }}"], &[]);
    let linked = worded(with_link(attempt(Channel::Whatsapp), LINK), wording.clone());
    let parameters = &messages_json(&linked, &senders())["template"]["parameters"];
    assert_eq!(*parameters, json!(["Main server is down", LINK]));
    let unlinked = worded(attempt(Channel::Whatsapp), wording);
    let parameters = &messages_json(&unlinked, &senders())["template"]["parameters"];
    assert_eq!(*parameters, json!(["Main server is down", "-"]), "Meta refuses an empty parameter");
}

#[test]
fn on_dispatch_nothing_stands_beside_the_text_that_nobody_asked_for() {
    for channel in [Channel::Messenger, Channel::ViberService, Channel::Whatsapp, Channel::Sms] {
        let message = dispatch_message(&workflow(channel), &senders());
        let keys: Vec<&String> = message.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["content"], "{channel}");
    }
}

fn notice(channel: Channel, tone: Tone, by: &str) -> Notice {
    Notice { leg: leg(channel, 600), by: by.into(), tone, code: attempt(channel).code }
}

#[test]
fn a_confirmation_says_who_has_which_alert() {
    let code = attempt(Channel::Sms).code;
    let said = |tone, by| confirmation(&notice(Channel::Sms, tone, by));
    assert_eq!(said(Tone::Thanks, "Tony"), format!("Thank you, Tony has it\n{code}"));
    assert_eq!(said(Tone::News, "Tony"), format!("Tony has it\n{code}"));
    assert_eq!(said(Tone::News, "山田\n太郎"), format!("山田 太郎 has it\n{code}"));
    let long = said(Tone::News, &"x".repeat(2_000));
    assert!(long.encode_utf16().count() == limit(Channel::Sms) && long.ends_with(&code.to_string()), "{long}");
}

#[test]
fn a_confirmation_names_no_attempt_and_offers_no_reply() {
    let code = attempt(Channel::Sms).code;
    for (channel, from, to) in [
        (Channel::Messenger, "108450971234567", PSID),
        (Channel::ViberService, "15263", NUMBER),
        (Channel::Whatsapp, "447700900100", NUMBER),
        (Channel::Sms, "447700900101", NUMBER),
        (Channel::Rcs, "CalloutOps", NUMBER),
        (Channel::Mms, "447700900101", NUMBER),
    ] {
        let notice = notice(channel, Tone::News, "Tony");
        let senders = senders();
        let body = serde_json::to_value(messages::notice(&notice, &senders).unwrap()).unwrap();
        let (_, ttl_and_options): (Vec<_>, Vec<_>) = body
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .partition(|key| ["channel", "message_type", "from", "to", "text"].contains(key));
        assert!(ttl_and_options.iter().all(|key| ["ttl", "viber_service"].contains(key)), "{ttl_and_options:?}");
        assert_eq!(body["channel"], channel.name());
        assert_eq!((body["from"].as_str(), body["to"].as_str()), (Some(from), Some(to)));
        assert_eq!((&body["message_type"], &body["text"]), (&json!("text"), &json!(format!("Tony has it\n{code}"))));
    }
}
