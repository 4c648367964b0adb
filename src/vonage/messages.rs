//! The request body of Messages v1: one message on one channel.
//!
//! `client_ref` comes back in every report, so that a report finds its attempt even if the answer to
//! the request was lost. Each channel that can forget a message is told to (`ttl`), because a page
//! that arrives a day late helps nobody.

use serde::Serialize;

use crate::contact::Channel;
use crate::escalation::Leg;
use crate::sender::Outbound;

use super::settings::Senders;
use super::text;

/// A message, ready to be written as JSON.
#[derive(Serialize)]
#[expect(missing_debug_implementations, reason = "it holds addresses and texts")]
pub struct Body<'a> {
    channel: &'static str,
    from: &'a str,
    to: &'a str,
    client_ref: String,
    #[serde(flatten)]
    content: Content,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    viber_service: Option<ViberOptions>,
}

/// What the message consists of. Further kinds, such as an approved WhatsApp template, are further
/// variants: Vonage names the kind in `message_type` and keeps its parts beside it.
#[derive(Serialize)]
#[serde(tag = "message_type", rename_all = "snake_case")]
enum Content {
    Text { text: String },
}

#[derive(Serialize)]
struct ViberOptions {
    /// The kind that may be sent first and at any hour; the other is advertising.
    category: &'static str,
    ttl: u32,
}

/// Nobody is configured to send on this channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no sender is configured for {0}")]
pub struct NoSender(pub Channel);

/// The message of an attempt.
pub fn body<'a>(outbound: &'a Outbound, senders: &'a Senders) -> Result<Body<'a>, NoSender> {
    let leg = &outbound.step.first;
    let (ttl, viber_service) = match leg.channel {
        Channel::ViberService => (None, Some(ViberOptions { category: "transaction", ttl: ttl(leg, VIBER_TTL) })),
        Channel::Sms => (Some(ttl(leg, SMS_TTL)), None),
        Channel::Mms | Channel::Rcs => (Some(ttl(leg, MMS_AND_RCS_TTL)), None),
        Channel::Messenger | Channel::Whatsapp => (None, None),
    };
    Ok(Body {
        channel: leg.channel.name(),
        from: senders.of(leg.channel).ok_or(NoSender(leg.channel))?,
        to: leg.address.reveal(),
        client_ref: outbound.reference.to_string(),
        content: Content::Text { text: text::compose(outbound, leg.channel) },
        ttl,
        viber_service,
    })
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
