//! The request body of Messages v1: one message on one channel.
//!
//! `client_ref` comes back in every report, so that a report finds its attempt even if the answer to
//! the request was lost. Each channel that can forget a message is told to (`ttl`), because a page
//! that arrives a day late helps nobody. RCS offers two replies; WhatsApp's approved template, with or
//! without buttons, takes the place of its text where the wording has one.

use serde::Serialize;

use crate::contact::Channel;
use crate::escalation::Leg;
use crate::id::ShortCode;
use crate::sender::{Notice, Outbound};
use crate::wording::Button;

use super::options::{MessengerOptions, ViberOptions};
use super::settings::Senders;
use super::text;
use super::whatsapp::{Custom, Template, WhatsappOptions, payload};

/// A message, ready to be written as JSON.
#[derive(Serialize)]
#[expect(missing_debug_implementations, reason = "it holds addresses and texts")]
pub struct Body<'a> {
    channel: &'static str,
    from: &'a str,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ref: Option<String>,
    #[serde(flatten)]
    content: Content<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suggestions: Vec<Suggestion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    viber_service: Option<ViberOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messenger: Option<MessengerOptions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whatsapp: Option<WhatsappOptions<'a>>,
}

/// What the message consists of: Vonage names the kind in `message_type` and keeps its parts beside it.
#[derive(Serialize)]
#[serde(tag = "message_type", rename_all = "snake_case")]
enum Content<'a> {
    Text { text: String },
    Template { template: Template<'a, String> },
    Custom { custom: Custom<'a> },
}

/// A reply that the phone offers below an RCS message.
#[derive(Serialize)]
struct Suggestion {
    #[serde(rename = "type")]
    kind: &'static str,
    /// At most 25 characters (Messages API reference, RCS suggestions).
    text: &'static str,
    postback_data: String,
}

/// Nobody is configured to send on this channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no sender is configured for {0}")]
pub struct NoSender(pub Channel);

/// The message of an attempt.
pub fn body<'a>(outbound: &'a Outbound, senders: &'a Senders) -> Result<Body<'a>, NoSender> {
    let leg = &outbound.step.first;
    let template = outbound.raised.plan.wording().whatsapp_template.as_ref();
    let (content, whatsapp) = match (leg.channel, template) {
        (Channel::Whatsapp, Some(template)) if template.buttons.is_empty() => {
            let content = Content::Template { template: Template::of(template, outbound, |parameter| parameter) };
            (content, Some(WhatsappOptions::of(template)))
        }
        (Channel::Whatsapp, Some(template)) => (Content::Custom { custom: Custom::of(template, outbound) }, None),
        (_, _) => (Content::Text { text: text::compose(outbound, leg.channel) }, None),
    };
    let suggestions = match leg.channel {
        Channel::Rcs => suggestions(outbound.code),
        Channel::Messenger
        | Channel::ViberService
        | Channel::Whatsapp
        | Channel::Sms
        | Channel::Mms
        | Channel::Email => Vec::new(),
    };
    let client_ref = Some(outbound.reference.to_string());
    Ok(Body { client_ref, suggestions, whatsapp, ..plain(leg, content, senders)? })
}

/// The message that tells somebody who has an alert. It carries no reference and offers no reply, so
/// that nothing that comes back of it is taken for news of an attempt.
pub fn notice<'a>(notice: &'a Notice, senders: &'a Senders) -> Result<Body<'a>, NoSender> {
    plain(&notice.leg, Content::Text { text: text::confirmation(notice) }, senders)
}

/// A message without anything that not every message has.
fn plain<'a>(leg: &'a Leg, content: Content<'a>, senders: &'a Senders) -> Result<Body<'a>, NoSender> {
    let (ttl, viber_service) = match leg.channel {
        Channel::ViberService => (None, Some(ViberOptions::lasting(ttl(leg, VIBER_TTL)))),
        Channel::Sms => (Some(ttl(leg, SMS_TTL)), None),
        Channel::Mms | Channel::Rcs => (Some(ttl(leg, MMS_AND_RCS_TTL)), None),
        Channel::Messenger | Channel::Whatsapp | Channel::Email => (None, None),
    };
    Ok(Body {
        channel: leg.channel.name(),
        from: senders.of(leg.channel).ok_or(NoSender(leg.channel))?,
        to: leg.address.reveal(),
        client_ref: None,
        content,
        suggestions: Vec::new(),
        ttl,
        viber_service,
        messenger: MessengerOptions::of(leg.channel, senders),
        whatsapp: None,
    })
}

/// The replies that an RCS message offers; the phone sends back what stands behind them.
fn suggestions(code: ShortCode) -> Vec<Suggestion> {
    [("I have it", Button::Acknowledge), ("Next person", Button::Next)]
        .map(|(text, button)| Suggestion { kind: "reply", text, postback_data: payload(button, code) })
        .into()
}

/// The least and the most seconds that a channel's `ttl` may have.
type Bounds = (u32, u32);

/// What the Messages reference allows for `viber_service.ttl`.
const VIBER_TTL: Bounds = (30, 259_200);
/// The reference states no bounds for SMS and advises half an hour or more, since networks try again
/// only every few minutes; Vonage's .NET library, the only one that checks, stops at a week.
const SMS_TTL: Bounds = (1_800, 604_800);
/// What the reference allows for MMS. For RCS it allows more, but Vonage's libraries differ, and
/// these bounds are within all of them.
const MMS_AND_RCS_TTL: Bounds = (300, 259_200);

/// How long a provider may go on trying to deliver: as long as callout waits, as far as the channel
/// allows.
fn ttl(leg: &Leg, (least, most): Bounds) -> u32 {
    leg.expiry_seconds.clamp(least, most)
}
