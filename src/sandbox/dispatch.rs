//! What Dispatch v0.1 would refuse (`POST /v0.1/dispatch`).
//!
//! The published schema, taken literally, refuses every workflow (an element with `failover` fits both
//! of its alternatives), so the rule is written out: each element but the last has `failover`, the last
//! has none.

use std::time::Duration;

use serde_json::Value;

use super::order::{About, Button, Complaint, Form, Group, Order, Shape, custom_buttons, custom_form};
use crate::contact::Channel;

/// One element of a workflow.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) order: Order,
    /// None for the last element.
    pub(super) failover: Option<Failover>,
}

/// When Dispatch goes on to the next element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failover {
    pub(super) expiry: Duration,
    pub(super) condition: Condition,
}

/// What must have happened by the expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Delivered,
    Read,
}

/// The bounds of `expiry_time`, in seconds.
const EXPIRY: (u64, u64) = (15, 86_400);
/// The bounds of Viber's `ttl`, in seconds; Messages v1 allows more.
const VIBER_TTL: (u64, u64) = (30, 86_400);

/// The most characters of a text.
const fn chars_max(channel: Channel) -> usize {
    match channel {
        Channel::Messenger => 640,
        Channel::Sms | Channel::ViberService | Channel::Mms | Channel::Rcs | Channel::Email => 1000,
        Channel::Whatsapp => 4096,
    }
}

/// Dispatch's name of a channel, in requests and webhooks.
pub(super) const fn type_name(channel: Channel) -> &'static str {
    match channel {
        Channel::ViberService => "viber_service_msg",
        Channel::Messenger | Channel::Whatsapp | Channel::Sms | Channel::Rcs | Channel::Mms | Channel::Email => {
            channel.name()
        }
    }
}

/// The channel that an element means. RCS is not to be had in Dispatch.
fn channel(name: &str) -> Option<Channel> {
    Channel::OF_VONAGE.into_iter().find(|channel| *channel != Channel::Rcs && type_name(*channel) == name)
}

/// The key under which `to` holds the person's address.
pub(super) const fn recipient_key(channel: Channel) -> &'static str {
    match channel {
        Channel::Messenger => "id",
        Channel::ViberService | Channel::Whatsapp | Channel::Sms | Channel::Rcs | Channel::Mms | Channel::Email => {
            "number"
        }
    }
}

/// The key under which `from` holds our address.
pub(super) const fn sender_key(channel: Channel) -> &'static str {
    match channel {
        Channel::Messenger | Channel::ViberService => "id",
        Channel::Whatsapp | Channel::Sms | Channel::Rcs | Channel::Mms | Channel::Email => "number",
    }
}

/// Reads a request, or says all that is wrong with it.
pub(super) fn check(body: &Value) -> Result<Vec<Step>, Vec<Complaint>> {
    let mut complaints = Vec::new();
    let steps = workflow(body, &mut complaints);
    match steps {
        Some(steps) if complaints.is_empty() => Ok(steps),
        Some(_) | None => Err(complaints),
    }
}

fn workflow(body: &Value, complaints: &mut Vec<Complaint>) -> Option<Vec<Step>> {
    let mut request = Group::open(body, "", complaints)?;
    if request.text("template", About::Parameters).is_some_and(|name| name != "failover") {
        request.complain("template", About::Parameters, "must be failover");
    }
    let elements = request.get("workflow").and_then(Value::as_array).filter(|list| !list.is_empty());
    if elements.is_none() {
        request.complain("workflow", About::Parameters, "must be a list of at least one element");
    }
    let elements = elements?;
    let mut steps = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        let place = if index + 1 == elements.len() { Place::Last } else { Place::Before };
        let element = Group::open(element, &format!("workflow[{index}]"), complaints);
        steps.push(element.and_then(|element| step(element, place)));
    }
    steps.into_iter().collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Last,
}

fn step(mut element: Group<'_, '_>, place: Place) -> Option<Step> {
    let failover = match (place, element.has("failover")) {
        (Place::Last, true) => {
            element.complain("failover", About::Parameters, "must not stand in the last element");
            None
        }
        (Place::Last, false) => None,
        (Place::Before, _) => element.needed("failover").and_then(failover),
    };
    let to_channel = element.needed("to").and_then(|mut to| end(&mut to));
    let from_channel = element.needed("from").and_then(|mut from| end(&mut from));
    if to_channel.is_some() && from_channel.is_some() && to_channel != from_channel {
        element.complain("from.type", About::Parameters, "must be the same as to.type");
    }
    let channel = to_channel?;
    let to = element.inner("to").and_then(|mut to| {
        one_key(&mut to, recipient_key(channel));
        to.recipient(recipient_key(channel), channel).map(Box::from)
    });
    let from = element.inner("from").and_then(|mut from| {
        one_key(&mut from, sender_key(channel));
        from.sender(sender_key(channel), channel).map(Box::from)
    });
    let mut message = element.needed("message")?;
    let ttl = match channel {
        Channel::Messenger => {
            message.messenger_options();
            None
        }
        Channel::Whatsapp => {
            message.whatsapp_options();
            None
        }
        Channel::ViberService => message.viber_options("viber_service_msg", VIBER_TTL),
        Channel::Sms | Channel::Rcs | Channel::Mms | Channel::Email => None,
    };
    let (text, form, buttons) = content(&mut message.needed("content")?, channel)?;
    let (client_ref, webhook_url) = (None, None);
    let shape = Shape::V01;
    let order = Order { channel, to: to?, from: from?, text, form, buttons, ttl, client_ref, webhook_url, shape };
    Some(Step { order, failover })
}

fn failover(mut group: Group<'_, '_>) -> Option<Failover> {
    for key in ["expiry_time", "condition_status"] {
        if !group.has(key) {
            group.complain(key, About::Parameters, "is missing");
        }
    }
    let expiry = group.seconds("expiry_time", EXPIRY);
    let condition = group.word("condition_status", &["delivered", "read"]).map(|word| match word {
        "read" => Condition::Read,
        _ => Condition::Delivered,
    });
    Some(Failover { expiry: expiry?, condition: condition? })
}

/// The channel of `to` or `from`.
fn end(group: &mut Group<'_, '_>) -> Option<Channel> {
    let name = group.text("type", About::Channel)?;
    let channel = channel(name);
    if channel.is_none() {
        group.complain("type", About::Channel, "must be one of messenger, viber_service_msg, whatsapp, sms, mms");
    }
    channel
}

fn one_key(group: &mut Group<'_, '_>, right: &str) {
    let wrong = if right == "id" { "number" } else { "id" };
    if group.has(wrong) {
        group.complain(wrong, About::Parameters, format!("does not belong here, {right} does"));
    }
}

fn content(content: &mut Group<'_, '_>, channel: Channel) -> Option<(Option<Box<str>>, Form, Vec<Button>)> {
    let known = ["text", "image", "audio", "video", "file", "template", "custom"];
    content.text("type", About::MessageType)?;
    match content.word("type", &known)? {
        "text" => Some((content.words("text", chars_max(channel)).map(Box::from), Form::Free, Vec::new())),
        "template" => {
            content.template();
            Some((None, Form::Template, Vec::new()))
        }
        "custom" => {
            let custom = content.get("custom");
            if !custom.is_some_and(Value::is_object) {
                content.complain("custom", About::Parameters, "must be an object");
            }
            let buttons = custom.map(custom_buttons).unwrap_or_default();
            Some((None, custom.map_or(Form::Free, custom_form), buttons))
        }
        other => {
            if !content.has(other) {
                content.complain(other, About::Parameters, "is missing");
            }
            Some((None, Form::Free, Vec::new()))
        }
    }
}
