//! What Messages v1 would refuse (`POST /v1/messages`).
//!
//! Fields that nobody has heard of are let through: whether Vonage minds them is not documented.
//! Messages' own `failover` list is refused here, although Vonage takes it: this stand-in does not
//! play it, and to ignore it would be a lie.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::order::{About, Button, ButtonKind, Complaint, Form, Group, Order, Shape, custom_buttons, custom_form};
use crate::contact::Channel;

/// The most characters of a `client_ref`: of the limits that Vonage's pages name the lowest.
pub const CLIENT_REF_CHARS_MAX: usize = 40;
/// The most suggestions of an RCS message, and the most characters of one.
const SUGGESTIONS_MAX: usize = 11;
const SUGGESTION_CHARS_MAX: usize = 25;

/// The most characters of a text (Messages reference, each channel's `text`).
const fn chars_max(channel: Channel) -> usize {
    match channel {
        Channel::Messenger => 640,
        Channel::Sms | Channel::ViberService | Channel::Mms | Channel::Email => 1000,
        Channel::Rcs => 3072,
        Channel::Whatsapp => 4096,
    }
}

/// What can be sent over a channel.
const fn message_types(channel: Channel) -> &'static [&'static str] {
    match channel {
        Channel::Sms | Channel::Email => &["text"],
        Channel::Mms => &["text", "image", "vcard", "audio", "video", "file", "content"],
        Channel::Rcs => &["text", "image", "video", "file", "custom", "card", "carousel"],
        Channel::Whatsapp => &["text", "image", "audio", "video", "file", "template", "sticker", "custom", "reaction"],
        Channel::Messenger => &["text", "image", "audio", "video", "file"],
        Channel::ViberService => &["text", "image", "video", "file"],
    }
}

/// How long a message may wait for its phone, in seconds. The references and the SDKs disagree; these
/// bounds are within all of them.
const fn ttl_bounds(channel: Channel) -> Option<(u64, u64)> {
    match channel {
        Channel::Sms => Some((20, 604_800)),
        Channel::Mms | Channel::Rcs => Some((300, 259_200)),
        Channel::Whatsapp | Channel::Messenger | Channel::ViberService | Channel::Email => None,
    }
}

/// Viber's own bounds, inside of its options.
const VIBER_TTL: (u64, u64) = (30, 259_200);

/// The channel that a request means; other spellings than these are none here.
fn channel(name: &str) -> Option<Channel> {
    Channel::OF_VONAGE.into_iter().find(|channel| match channel {
        Channel::Messenger => name == "messenger",
        Channel::ViberService => name == "viber_service",
        Channel::Whatsapp => name == "whatsapp",
        Channel::Sms => name == "sms",
        Channel::Rcs => name == "rcs",
        Channel::Mms => name == "mms",
        Channel::Email => false,
    })
}

/// Reads a request, or says all that is wrong with it.
pub(super) fn check(body: &Value) -> Result<Order, Vec<Complaint>> {
    let mut complaints = Vec::new();
    let order = Group::open(body, "", &mut complaints).and_then(order);
    match order {
        Some(order) if complaints.is_empty() => Ok(order),
        Some(_) | None => Err(complaints),
    }
}

fn order(mut request: Group<'_, '_>) -> Option<Order> {
    let name = request.text("channel", About::Channel);
    let channel = name.and_then(channel);
    if name.is_some() && channel.is_none() {
        request.complain("channel", About::Channel, "must be one of sms, mms, rcs, whatsapp, messenger, viber_service");
    }
    let Some(channel) = channel else {
        // Without a channel the rest has no rules beyond being there.
        request.text("to", About::Recipient);
        request.text("from", About::Sender);
        request.text("message_type", About::MessageType);
        return None;
    };
    let to = request.recipient("to", channel);
    let from = request.sender("from", channel);
    let message_type = request.text("message_type", About::MessageType);
    let message_type = message_type.filter(|name| {
        let known = message_types(channel);
        if !known.contains(name) {
            request.complain(
                "message_type",
                About::MessageType,
                format!("must be one of {} on {channel}", known.join(", ")),
            );
        }
        known.contains(name)
    });
    if request.has("failover") {
        request.complain("failover", About::Parameters, "is not played by this stand-in");
    }
    let client_ref = client_ref(&mut request);
    let ttl = options(&mut request, channel);
    let (webhook_url, shape) = webhook(&mut request);
    let (text, form, buttons) = content(&mut request, channel, message_type?);
    Some(Order {
        channel,
        to: to?.into(),
        from: from?.into(),
        text,
        form,
        buttons,
        ttl,
        client_ref,
        webhook_url,
        shape,
    })
}

fn client_ref(request: &mut Group<'_, '_>) -> Option<Box<str>> {
    request.get("client_ref")?;
    let text = request.text("client_ref", About::Reference)?;
    if text.chars().count() > CLIENT_REF_CHARS_MAX {
        request.complain(
            "client_ref",
            About::Reference,
            format!("must not be longer than {CLIENT_REF_CHARS_MAX} characters"),
        );
    }
    Some(text.into())
}

fn options(request: &mut Group<'_, '_>, channel: Channel) -> Option<Duration> {
    if request.has("ttl") && ttl_bounds(channel).is_none() {
        request.complain("ttl", About::Parameters, format!("is not a parameter of {channel}"));
    }
    match channel {
        Channel::Messenger => request.messenger_options(),
        Channel::Whatsapp => request.whatsapp_options(),
        Channel::ViberService => return request.viber_options("viber_service", VIBER_TTL),
        Channel::Sms => {
            if let Some(mut options) = request.inner("sms") {
                options.word("encoding_type", &["text", "unicode", "auto"]);
            }
        }
        Channel::Rcs => {
            if let Some(mut options) = request.inner("rcs") {
                let categories = ["authentication", "transaction", "promotion", "service-request", "acknowledgement"];
                options.word("category", &categories);
            }
        }
        Channel::Mms | Channel::Email => {}
    }
    request.seconds("ttl", ttl_bounds(channel)?)
}

fn webhook(request: &mut Group<'_, '_>) -> (Option<Url>, Shape) {
    let shape = match request.word("webhook_version", &["v1", "v0.1"]) {
        Some("v0.1") => Shape::V01,
        Some(_) | None => Shape::V1,
    };
    let text = request.get("webhook_url").is_some().then(|| request.text("webhook_url", About::Parameters)).flatten();
    let url = text.and_then(|text| Url::parse(text).ok()).filter(|url| matches!(url.scheme(), "http" | "https"));
    if text.is_some() && url.is_none() {
        request.complain("webhook_url", About::Parameters, "must be an address that begins with http:// or https://");
    }
    (url, shape)
}

fn content(request: &mut Group<'_, '_>, channel: Channel, message_type: &str) -> (Option<Box<str>>, Form, Vec<Button>) {
    match message_type {
        "text" => {
            let text = request.words("text", chars_max(channel)).map(Box::from);
            (text, Form::Free, suggestions(request, channel))
        }
        "template" => {
            request.template();
            (None, Form::Template, Vec::new())
        }
        "custom" => {
            let custom = request.get("custom");
            if !custom.is_some_and(Value::is_object) {
                request.complain("custom", About::Parameters, "must be an object");
            }
            let buttons = custom.map(custom_buttons).unwrap_or_default();
            (None, custom.map_or(Form::Free, custom_form), buttons)
        }
        other => {
            if !request.has(other) {
                request.complain(other, About::Parameters, "is missing");
            }
            (None, Form::Free, Vec::new())
        }
    }
}

fn suggestions(request: &mut Group<'_, '_>, channel: Channel) -> Vec<Button> {
    let Some(list) = request.get("suggestions") else { return Vec::new() };
    let Some(list) = list.as_array().filter(|list| channel == Channel::Rcs && list.len() <= SUGGESTIONS_MAX) else {
        let reason = format!("must be a list of at most {SUGGESTIONS_MAX}, and only on rcs");
        request.complain("suggestions", About::Parameters, reason);
        return Vec::new();
    };
    let mut buttons = Vec::new();
    for (index, suggestion) in list.iter().enumerate() {
        let text = |key| suggestion.get(key).and_then(Value::as_str);
        let label = text("text").filter(|label| (1..=SUGGESTION_CHARS_MAX).contains(&label.chars().count()));
        match (text("type"), label, text("postback_data")) {
            (Some("reply"), Some(title), Some(payload)) => {
                buttons.push(Button { kind: ButtonKind::Reply, payload: payload.into(), title: title.into() });
            }
            (Some(kind), Some(_), _) if kind != "reply" => {}
            _ => {
                let reason =
                    format!("must have type, text of 1 to {SUGGESTION_CHARS_MAX} characters and postback_data");
                request.complain(&format!("suggestions[{index}]"), About::Parameters, reason);
            }
        }
    }
    buttons
}
