//! What Vonage's webhooks look like: the forms that its documents show and people received, and what it may put into
//! them that no document tells of.

use callout::contact::Channel;
use callout::escalation::{Backend, Leg};
use callout::id::ProviderId;
use callout::sender::Outbound;
use callout::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::dice::Dice;

const OURS: &str = "447700900100";

/// A message, or a workflow of Dispatch, that webhooks are about.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) outbound: Outbound,
    /// What Vonage calls it.
    pub(super) id: ProviderId,
    /// What makes the names of a workflow's messages its own.
    pub(super) salt: u64,
}

/// How a reply says which alert it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Code,
    Button,
    Quoted,
    Nothing,
}

/// What may be odd about a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oddity {
    UnknownFields,
    UnknownChannel,
    GarbledTime,
    NumbersAsNumbers,
}

impl Oddity {
    /// Each, and how many in a thousand webhooks have it.
    const ALL: [(Self, u64); 4] = [
        (Self::UnknownFields, 200),
        (Self::UnknownChannel, 50),
        (Self::GarbledTime, 50),
        (Self::NumbersAsNumbers, 300),
    ];
}

/// What is odd about one webhook.
struct Oddities(Vec<Oddity>);

impl Oddities {
    fn some(dice: &mut Dice) -> Self {
        Self(
            Oddity::ALL
                .into_iter()
                .filter(|(_, permille)| dice.permille(*permille))
                .map(|(oddity, _)| oddity)
                .collect(),
        )
    }

    fn has(&self, oddity: Oddity) -> bool {
        self.0.contains(&oddity)
    }
}

impl Subject {
    pub(super) fn backend(&self) -> Backend {
        self.outbound.backend
    }

    /// What Vonage calls the message to a channel.
    pub(super) fn message_id(&self, leg: &Leg) -> String {
        match self.backend() {
            Backend::Messages => self.id.to_string(),
            Backend::Dispatch => format!("leg-{:016x}-{}", self.salt, leg.channel.name()),
        }
    }

    /// What became of one message; `word` may be one that nobody knows.
    pub(super) fn status(&self, leg: &Leg, word: &str, at: Timestamp, dice: &mut Dice) -> Value {
        let odd = Oddities::some(dice);
        let has_failed = matches!(word, "rejected" | "undeliverable");
        let code = if odd.has(Oddity::NumbersAsNumbers) { json!(1320) } else { json!("1320") };
        let mut body = json!({ "message_uuid": self.message_id(leg), "status": word, "timestamp": time(at, &odd) });
        match self.backend() {
            Backend::Messages => {
                body["client_ref"] = json!(self.outbound.reference.to_string());
                body["channel"] =
                    if odd.has(Oddity::UnknownChannel) { json!("telegram") } else { json!(leg.channel.name()) };
                (body["to"], body["from"]) = (json!(leg.address.reveal()), json!(OURS));
                if has_failed {
                    body["error"] = json!({ "title": code, "detail": "Message already sent" });
                }
            }
            Backend::Dispatch => {
                body["to"] = end(leg.channel, leg.address.reveal());
                body["from"] = end(leg.channel, OURS);
                let id = self.id.to_string();
                body["_links"] = match dice.between(0, 2) {
                    0 => json!({ "workflow": { "dispatch_uuid": id, "href": format!("/workflows/{id}") } }),
                    1 => json!({ "dispatch": { "href": format!("v0.1/dispatch/{id}") } }),
                    _ => json!({ "dispatch": { "dispatch_uuid": id, "href": format!("v0.1/dispatch/{id}") } }),
                };
                if has_failed {
                    body["error"] = json!({ "code": code, "reason": "Message already sent" });
                }
            }
        }
        with_more(body, &odd)
    }

    /// Dispatch's final report, which lists what became of each message as far as Vonage knows.
    pub(super) fn end(&self, is_error: bool, messages: &[(&Leg, &str)], at: Timestamp, dice: &mut Dice) -> Value {
        let odd = Oddities::some(dice);
        let listed = messages.iter().map(|(leg, word)| {
            let id = self.message_id(leg);
            let mut message = json!({ "channel": type_name(leg.channel), "status": word });
            if dice.permille(500) {
                message["message_uuid"] = json!(id);
            } else {
                message["href"] = json!(format!("v0.1/messages/{id}"));
            }
            message
        });
        let listed: Vec<Value> = listed.collect();
        let messages = match listed.as_slice() {
            [only] if odd.has(Oddity::NumbersAsNumbers) => only.clone(),
            _ => json!(listed),
        };
        let word = if is_error { "error" } else { "completed" };
        let body = json!({ "dispatch_uuid": self.id.to_string(), "template": "failover", "status": word,
            "timestamp": time(at, &odd), "_links": { "messages": messages } });
        with_more(body, &odd)
    }

    /// Somebody answers.
    pub(super) fn reply(&self, leg: &Leg, names: Names, verb: &str, at: Timestamp, dice: &mut Dice) -> Value {
        let odd = Oddities::some(dice);
        let code = &self.outbound.code;
        let (text, button) = match (names, verb) {
            (Names::Code, verb) => (Some(format!("{verb} {code}")), None),
            (Names::Button, "next") => (None, Some(format!("next:{code}"))),
            (Names::Button, "resolved") => (None, Some(format!("resolve:{code}"))),
            (Names::Button, _) => (None, Some(format!("ack:{code}"))),
            (Names::Quoted | Names::Nothing, verb) => (Some(verb.to_owned()), None),
        };
        let id = format!("in-{:016x}", dice.next());
        let mut body = json!({ "message_uuid": id, "timestamp": time(at, &odd) });
        let mut content = json!({});
        if let Some(text) = text {
            (content["message_type"], content["text"]) = (json!("text"), json!(text));
        }
        if let Some(button) = button {
            (content["message_type"], content["reply"]) = (json!("reply"), json!({ "id": button, "title": "Press" }));
        }
        if names == Names::Quoted {
            body["context"] = json!({ "message_uuid": self.message_id(leg), "message_from": OURS });
        }
        match self.backend() {
            Backend::Messages => {
                body["channel"] = json!(leg.channel.name());
                (body["from"], body["to"]) = (json!(leg.address.reveal()), json!(OURS));
                for (field, value) in content.as_object().into_iter().flatten() {
                    body[field] = value.clone();
                }
            }
            Backend::Dispatch => {
                body["from"] = end(leg.channel, leg.address.reveal());
                body["to"] = end(leg.channel, OURS);
                body["message"] = json!({ "content": content });
            }
        }
        with_more(body, &odd)
    }
}

/// A body that concerns no alert, because the account is set to the old SMS API.
pub(super) fn legacy_sms() -> Value {
    json!({ "messageId": "0A0000001234ABCD", "msisdn": OURS, "to": OURS, "text": "ok", "type": "text" })
}

/// One end of a message, in the nested form.
fn end(channel: Channel, name: &str) -> Value {
    match channel {
        Channel::Messenger => json!({ "type": type_name(channel), "id": name }),
        Channel::ViberService | Channel::Whatsapp | Channel::Sms | Channel::Rcs | Channel::Mms | Channel::Email => {
            json!({ "type": type_name(channel), "number": name })
        }
    }
}

/// A channel by its name in the nested forms.
fn type_name(channel: Channel) -> &'static str {
    if channel == Channel::ViberService { "viber_service_msg" } else { channel.name() }
}

/// Some forms have whole seconds.
fn time(at: Timestamp, odd: &Oddities) -> Value {
    if odd.has(Oddity::GarbledTime) {
        return json!("yesterday, about noon");
    }
    let whole = Timestamp::from_millis(at.as_millis() / 1_000 * 1_000);
    json!(if odd.has(Oddity::NumbersAsNumbers) { whole } else { at }.to_string())
}

fn with_more(mut body: Value, odd: &Oddities) -> Value {
    if odd.has(Oddity::UnknownFields) {
        body["since_next_year"] = json!({ "nobody": ["knows", null, 1.5] });
    }
    body
}

/// Whether replies can be pressed there.
pub(super) fn has_buttons(channel: Channel) -> bool {
    match channel {
        Channel::Messenger | Channel::Whatsapp | Channel::Rcs => true,
        Channel::ViberService | Channel::Sms | Channel::Mms | Channel::Email => false,
    }
}
