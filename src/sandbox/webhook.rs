//! The bodies of webhooks, in the shapes in which Vonage writes them.
//!
//! There are five: a status and a reply in Messages v1 (flat) and in v0.1 (nested, with `_links` where
//! a Dispatch workflow is behind it), and Dispatch's final report; and, where an account is set up
//! wrongly, the old SMS API's query.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use url::Url;
use url::form_urlencoded::Serializer;

use super::dispatch::{recipient_key, sender_key, type_name};
use super::faults::{Fault, Faults, Links};
use super::life::Status;
use super::order::{Button, ButtonKind, Order, Shape};
use super::signature::API_KEY;
use crate::contact::Channel;
use crate::timestamp::Timestamp;

/// One webhook, ready to be signed and sent.
#[derive(Clone)]
pub(super) struct Webhook {
    /// Webhooks of one line are sent one after the other.
    pub(super) line: Arc<str>,
    pub(super) kind: WebhookKind,
    /// Where it goes instead of the usual place.
    pub(super) url: Option<Url>,
    pub(super) content: Content,
    pub(super) application: Option<Arc<str>>,
}

/// Which of the service's two addresses a webhook goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookKind {
    /// `/webhooks/status`
    Status,
    /// `/webhooks/inbound`
    Inbound,
}

/// What a webhook carries, and by which method it travels.
#[derive(Clone)]
pub(super) enum Content {
    /// A JSON body, by POST.
    Body(Bytes),
    /// A query, by GET, as the old SMS API does.
    Query(Arc<str>),
}

impl Content {
    pub(super) fn json(value: &Value) -> Self {
        Self::Body(serde_json::to_vec(value).unwrap_or_default().into())
    }
}

/// The message that a webhook is about.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) uuid: &'a str,
    pub(super) dispatch_uuid: Option<&'a str>,
    pub(super) order: &'a Order,
}

/// The word or channel of a status that nobody knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    Status,
    Channel,
}

/// The word for a status that no document knows.
const UNKNOWN_STATUS: &str = "seen";
/// A channel that no document knows.
const UNKNOWN_CHANNEL: &str = "telegram";
/// The price of one message, in ten-thousandths of a euro.
const PRICE: usize = 333;
/// What a workflow costs beside its messages, in ten-thousandths of a euro.
const WORKFLOW_PRICE: usize = 20;

/// The content of a status webhook.
pub(super) fn status(subject: Subject<'_>, status: Status, at: Timestamp, faults: &mut Faults) -> Content {
    if subject.order.channel == Channel::Sms && faults.take(Fault::LegacySms) {
        return legacy_receipt(subject, status, at);
    }
    let shape = shape(subject.order.shape, faults);
    let mut body = match shape {
        Shape::V1 => status_v1(subject, status, faults),
        Shape::V01 => status_v01(subject, status, faults),
    };
    finish(&mut body, shape, at, faults);
    Content::json(&Value::Object(body))
}

/// A status that is like a right one but for one word.
pub(super) fn odd_status(subject: Subject<'_>, oddity: Oddity, at: Timestamp, faults: &mut Faults) -> Content {
    let shape = subject.order.shape;
    let mut body = match shape {
        Shape::V1 => status_v1(subject, Status::Read, faults),
        Shape::V01 => status_v01(subject, Status::Read, faults),
    };
    match (oddity, shape) {
        (Oddity::Status, _) => {
            body.insert("status".to_owned(), json!(UNKNOWN_STATUS));
        }
        (Oddity::Channel, Shape::V1) => {
            body.insert("channel".to_owned(), json!(UNKNOWN_CHANNEL));
        }
        (Oddity::Channel, Shape::V01) => {
            body.insert("to".to_owned(), json!({ "type": UNKNOWN_CHANNEL, "id": "1" }));
        }
    }
    // An unknown channel concerns nobody, so it must not lead to the message by another way.
    if oddity == Oddity::Channel {
        for key in ["client_ref", "_links"] {
            body.remove(key);
        }
        body.insert("message_uuid".to_owned(), json!(format!("{}-{UNKNOWN_CHANNEL}", subject.uuid)));
    }
    finish(&mut body, shape, at, faults);
    Content::json(&Value::Object(body))
}

fn shape(shape: Shape, faults: &mut Faults) -> Shape {
    if faults.take(Fault::OtherShape) { shape.other() } else { shape }
}

fn status_v1(subject: Subject<'_>, status: Status, faults: &mut Faults) -> Map<String, Value> {
    let order = subject.order;
    let mut body = Map::new();
    body.insert("message_uuid".to_owned(), json!(subject.uuid));
    body.insert("to".to_owned(), json!(order.to));
    body.insert("from".to_owned(), json!(order.from));
    body.insert("status".to_owned(), json!(status.word()));
    body.insert("channel".to_owned(), json!(order.channel.name()));
    if let Some(client_ref) = &order.client_ref
        && !faults.take(Fault::NoReference)
    {
        body.insert("client_ref".to_owned(), json!(client_ref));
    }
    match status {
        Status::Failed(_, code) => {
            let title = if faults.take(Fault::IntegerTitle) { json!(code) } else { json!(code.to_string()) };
            let kind = format!("https://developer.vonage.com/api-errors/messages#{code}");
            let error = json!({ "type": kind, "title": title, "detail": reason(code), "instance": subject.uuid });
            body.insert("error".to_owned(), error);
        }
        Status::Delivered => {
            if order.channel != Channel::Rcs {
                body.insert("usage".to_owned(), usage(PRICE));
            }
            if order.channel == Channel::Whatsapp {
                let pricing = json!({ "type": "regular", "pricing_model": "PMP", "category": "utility" });
                body.insert("whatsapp".to_owned(), json!({ "pricing": pricing }));
            }
        }
        Status::Submitted | Status::Read => {}
    }
    if matches!(order.channel, Channel::Sms | Channel::Mms | Channel::Rcs) {
        body.insert("destination".to_owned(), json!({ "network_code": "23410" }));
    }
    if order.channel == Channel::Sms {
        let parts = sms_parts(order.text.as_deref().unwrap_or_default());
        body.insert("sms".to_owned(), json!({ "count_total": parts.to_string() }));
    }
    body
}

fn status_v01(subject: Subject<'_>, status: Status, faults: &mut Faults) -> Map<String, Value> {
    let order = subject.order;
    let mut body = Map::new();
    body.insert("message_uuid".to_owned(), json!(subject.uuid));
    body.insert("to".to_owned(), end(order.channel, recipient_key(order.channel), &order.to));
    body.insert("from".to_owned(), end(order.channel, sender_key(order.channel), &order.from));
    body.insert("status".to_owned(), json!(status.word()));
    if let Some(client_ref) = &order.client_ref
        && !faults.take(Fault::NoReference)
    {
        body.insert("client_ref".to_owned(), json!(client_ref));
    }
    match status {
        Status::Failed(_, code) => {
            body.insert("error".to_owned(), json!({ "code": code, "reason": reason(code) }));
        }
        Status::Delivered => {
            body.insert("usage".to_owned(), usage(PRICE));
        }
        Status::Submitted | Status::Read => {}
    }
    if let Some(uuid) = subject.dispatch_uuid {
        match faults.links() {
            Links::Dispatch => {
                let link = json!({ "href": format!("v0.1/dispatch/{uuid}"), "dispatch_uuid": uuid });
                body.insert("_links".to_owned(), json!({ "dispatch": link }));
            }
            Links::Workflow => {
                let link = json!({ "href": format!("/workflows/{uuid}"), "dispatch_uuid": uuid });
                body.insert("_links".to_owned(), json!({ "workflow": link }));
            }
            Links::Absent => {}
        }
    }
    body
}

fn end(channel: Channel, key: &str, address: &str) -> Value {
    let mut end = Map::new();
    end.insert("type".to_owned(), json!(type_name(channel)));
    end.insert(key.to_owned(), json!(address));
    Value::Object(end)
}

fn usage(ten_thousandths: usize) -> Value {
    json!({ "currency": "EUR", "price": format!("{}.{:04}", ten_thousandths / 10_000, ten_thousandths % 10_000) })
}

/// One message of a workflow, as the final report lists it.
pub(super) struct Listed<'a> {
    pub(super) uuid: &'a str,
    pub(super) channel: Channel,
    pub(super) status: Option<Status>,
}

/// How Dispatch sums a workflow up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A condition was met in time, or the last message was delivered. Nobody need have read it.
    Completed,
    /// The last message failed.
    Error,
}

/// The content of Dispatch's final report.
pub(super) fn report(
    uuid: &str,
    outcome: Outcome,
    messages: &[Listed<'_>],
    at: Timestamp,
    faults: &mut Faults,
) -> Content {
    let status = match outcome {
        Outcome::Completed => "completed",
        Outcome::Error => "error",
    };
    let links: Vec<Value> = messages
        .iter()
        .map(|message| {
            json!({
                "message_uuid": message.uuid,
                "href": format!("v0.1/messages/{}", message.uuid),
                "channel": type_name(message.channel),
                "status": message.status.unwrap_or(Status::Submitted).word(),
            })
        })
        .collect();
    let mut body = Map::new();
    body.insert("dispatch_uuid".to_owned(), json!(uuid));
    body.insert("template".to_owned(), json!("failover"));
    body.insert("status".to_owned(), json!(status));
    body.insert("usage".to_owned(), usage(PRICE * messages.len() + WORKFLOW_PRICE));
    body.insert("_links".to_owned(), json!({ "messages": links }));
    finish(&mut body, Shape::V01, at, faults);
    Content::json(&Value::Object(body))
}

/// Something that a person writes to us.
pub(super) struct Written<'a> {
    pub(super) uuid: &'a str,
    pub(super) channel: Channel,
    /// The person.
    pub(super) from: &'a str,
    /// Our address.
    pub(super) to: &'a str,
    pub(super) words: &'a Words,
    /// The message that is answered.
    pub(super) context: Option<&'a str>,
    pub(super) at: Timestamp,
    pub(super) shape: Shape,
}

/// What was written or pressed.
pub(super) enum Words {
    Text(Box<str>),
    Pressed(Button),
}

/// The content of an inbound webhook.
pub(super) fn inbound(written: &Written<'_>, faults: &mut Faults) -> Content {
    if written.channel == Channel::Sms && faults.take(Fault::LegacySms) {
        return legacy_inbound(written);
    }
    let shape = shape(written.shape, faults);
    let mut body = match shape {
        Shape::V1 => inbound_v1(written, faults),
        Shape::V01 => inbound_v01(written),
    };
    finish(&mut body, shape, written.at, faults);
    Content::json(&Value::Object(body))
}

fn inbound_v1(written: &Written<'_>, faults: &mut Faults) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("channel".to_owned(), json!(written.channel.name()));
    body.insert("message_uuid".to_owned(), json!(written.uuid));
    body.insert("to".to_owned(), json!(written.to));
    body.insert("from".to_owned(), json!(written.from));
    let context = written.context.filter(|_| !faults.take(Fault::NoContext));
    match written.channel {
        Channel::Whatsapp => {
            body.insert("profile".to_owned(), json!({ "name": "Somebody" }));
            body.insert("context_status".to_owned(), json!(if context.is_some() { "available" } else { "none" }));
            if let Some(uuid) = context {
                body.insert("context".to_owned(), json!({ "message_uuid": uuid, "message_from": written.to }));
            }
        }
        Channel::ViberService => {
            if let Some(uuid) = context {
                body.insert("context".to_owned(), json!({ "message_uuid": uuid }));
            }
        }
        Channel::Rcs => {
            body.insert("context_status".to_owned(), json!("none"));
        }
        Channel::Sms => {
            body.insert("usage".to_owned(), usage(0));
            body.insert("origin".to_owned(), json!({ "network_code": "23410" }));
        }
        Channel::Messenger | Channel::Mms | Channel::Email => {}
    }
    let message_type = match written.words {
        Words::Text(text) => {
            body.insert("text".to_owned(), json!(text));
            if written.channel == Channel::Sms {
                let keyword = text.split_whitespace().next().unwrap_or_default().to_uppercase();
                body.insert("sms".to_owned(), json!({ "num_messages": "1", "keyword": keyword }));
            }
            "text"
        }
        Words::Pressed(Button { kind: ButtonKind::Reply, payload, title }) => {
            body.insert("reply".to_owned(), json!({ "id": payload, "title": title }));
            "reply"
        }
        Words::Pressed(Button { kind: ButtonKind::QuickReply, payload, title }) => {
            body.insert("button".to_owned(), json!({ "payload": payload, "text": title }));
            "button"
        }
    };
    body.insert("message_type".to_owned(), json!(message_type));
    body
}

fn inbound_v01(written: &Written<'_>) -> Map<String, Value> {
    let content = match written.words {
        Words::Text(text) => json!({ "type": "text", "text": text }),
        Words::Pressed(button) => {
            json!({ "type": "button", "button": { "payload": button.payload, "text": button.title } })
        }
    };
    let mut message = Map::new();
    message.insert("content".to_owned(), content);
    if written.channel == Channel::Sms {
        message.insert("sms".to_owned(), json!({ "num_messages": "1" }));
    }
    let mut body = Map::new();
    body.insert("message_uuid".to_owned(), json!(written.uuid));
    body.insert("direction".to_owned(), json!("inbound"));
    // Seen from the person, our address is the recipient; its key stays that of our end.
    body.insert("to".to_owned(), end(written.channel, sender_key(written.channel), written.to));
    body.insert("from".to_owned(), end(written.channel, recipient_key(written.channel), written.from));
    body.insert("message".to_owned(), Value::Object(message));
    body
}

fn legacy_receipt(subject: Subject<'_>, status: Status, at: Timestamp) -> Content {
    let (word, code) = match status {
        Status::Submitted => ("accepted", 0),
        Status::Delivered | Status::Read => ("delivered", 0),
        Status::Failed(_, code) => ("failed", code),
    };
    let mut query = Serializer::new(String::new());
    query.append_pair("msisdn", &subject.order.to).append_pair("to", &subject.order.from);
    query.append_pair("network-code", "23410").append_pair("messageId", subject.uuid).append_pair("price", "0.0333");
    query.append_pair("status", word).append_pair("err-code", &code.to_string()).append_pair("api-key", API_KEY);
    if let Some(client_ref) = &subject.order.client_ref {
        query.append_pair("client-ref", client_ref);
    }
    query.append_pair("message-timestamp", &spaced(at));
    Content::Query(query.finish().into())
}

fn legacy_inbound(written: &Written<'_>) -> Content {
    let text = match written.words {
        Words::Text(text) => text,
        Words::Pressed(button) => &button.title,
    };
    let mut query = Serializer::new(String::new());
    query.append_pair("msisdn", written.from).append_pair("to", written.to).append_pair("messageId", written.uuid);
    query.append_pair("text", text).append_pair("type", "text").append_pair("api-key", API_KEY);
    query.append_pair("message-timestamp", &spaced(written.at));
    Content::Query(query.finish().into())
}

/// Adds the time, and whatever the faults do to any body.
fn finish(body: &mut Map<String, Value>, shape: Shape, at: Timestamp, faults: &mut Faults) {
    let written = at.to_string();
    let timestamp = if faults.take(Fault::GarbageTime) {
        "about tea time".to_owned()
    } else if faults.take(Fault::OldTime) {
        format!("{} UTC", spaced(at))
    } else {
        match shape {
            Shape::V1 => format!("{}Z", whole_seconds(&written)),
            Shape::V01 => written,
        }
    };
    body.insert("timestamp".to_owned(), json!(timestamp));
    if faults.take(Fault::ExtraFields) {
        body.insert("moon_phase".to_owned(), json!("waxing"));
        body.insert("nested".to_owned(), json!({ "list": [1, null, { "deep": true }] }));
    }
}

fn whole_seconds(written: &str) -> &str {
    written.split_once('.').map_or(written, |(seconds, _)| seconds)
}

/// `2020-01-01 14:00:00`, as old documents have it.
fn spaced(at: Timestamp) -> String {
    whole_seconds(&at.to_string()).replace('T', " ")
}

/// In how many parts an SMS goes: 160 characters in one or 153 in each of several; 70 and 67 where a
/// character needs Unicode. Accented letters that GSM-7 has are counted as Unicode here, which a
/// stand-in may.
fn sms_parts(text: &str) -> usize {
    let (length, single, part) = if text.is_ascii() {
        let doubled = text.chars().filter(|character| "^{}\\[~]|".contains(*character)).count();
        (text.len() + doubled, 160, 153)
    } else {
        (text.encode_utf16().count(), 70, 67)
    };
    if length <= single { 1 } else { length.div_ceil(part) }
}

/// What Vonage's list of delivery errors says, for the codes that tests and examples use.
const fn reason(code: u16) -> &'static str {
    match code {
        1000 => "Throttled",
        1022 => "Invalid Template",
        1170 => "Invalid or Missing MSISDN Param",
        1180 => "Absent Subscriber Temporary",
        1240 => "Illegal Number",
        1260 => "Destination Unreachable",
        1300 => "Not Part Of Provider Network",
        1340 => "Outside Allowed Window",
        1360 => "TTL Expired",
        1370 => "Expired Access Token",
        _ => "Failed",
    }
}
