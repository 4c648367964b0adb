//! What somebody wrote, or which button they pressed.

use std::borrow::Cow;

use crate::incoming::{Foreign, InboundMessage, Incoming};

use super::fields::Fields;

/// An inbound message of Messages v1: everything stands at the top.
pub(super) fn flat(body: Fields<'_>) -> Incoming {
    message(body, body)
}

/// An inbound message of v0.1: what was written stands in `message.content`.
pub(super) fn nested(body: Fields<'_>) -> Incoming {
    let message_field = body.object("message");
    let content = message_field.and_then(|message| message.object("content")).or(message_field);
    message(body, content.unwrap_or(body))
}

fn message(body: Fields<'_>, content: Fields<'_>) -> Incoming {
    let from = body.party("from");
    // WhatsApp may put an id of the user in the place of the number, and the number here.
    let sender = body.object("whatsapp").map(|whatsapp| whatsapp.party("sender"));
    let channel = body.channel("channel").or(from.channel).or(body.party("to").channel);
    let address = channel.and_then(|channel| {
        from.address(channel).or_else(|| sender?.address(channel)).map(|address| (channel, address))
    });
    let Some((channel, from)) = address else {
        return Incoming::Foreign(Foreign::UnknownSender);
    };
    let button = Button::in_content(content);
    let keyword = || body.object("sms")?.word("keyword");
    let text = content.word("text").or(button.label).or_else(keyword);
    Incoming::Message(InboundMessage {
        id: body.id("message_uuid"),
        channel,
        from,
        at: body.moment("timestamp"),
        text: text.map(Into::into),
        payload: button.payload.map(Into::into),
        quoted: body.object("context").and_then(|context| context.id("message_uuid")),
    })
}

/// A button that was pressed.
struct Button<'a> {
    /// What we put into it.
    payload: Option<Cow<'a, str>>,
    /// What stands on it.
    label: Option<Cow<'a, str>>,
}

impl<'a> Button<'a> {
    /// WhatsApp's and RCS' reply buttons come as `reply`, WhatsApp's template buttons as `button`;
    /// how Messenger's come is written nowhere, and `postback` is what Meta calls them.
    fn in_content(content: Fields<'a>) -> Self {
        let mut pressed = Self { payload: None, label: None };
        for part in ["reply", "button", "postback"].into_iter().filter_map(|name| content.object(name)) {
            pressed.payload = pressed.payload.or_else(|| payload(part));
            pressed.label = pressed.label.or_else(|| part.word("title")).or_else(|| part.word("text"));
        }
        pressed
    }
}

/// The payload is a text in all but WhatsApp's Flows, where it is an object that is not ours.
fn payload(part: Fields<'_>) -> Option<Cow<'_, str>> {
    part.word("id").or_else(|| part.word("payload")).or_else(|| {
        let object = part.object("payload")?;
        object.word("id").or_else(|| object.word("payload"))
    })
}
