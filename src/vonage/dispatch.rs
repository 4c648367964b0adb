//! The request body of Dispatch v0.1: one user's whole workflow.
//!
//! It is the body of Vonage's own tutorial on multi-user failover: a `failover` on each element but
//! the last. Only `expiry_time` differs: the tutorial writes it as a text, the specification wants an
//! integer, and an integer is sent. Nothing stands beside the text unless somebody asks for it:
//! Messenger's category is said where it is configured, and an approved WhatsApp template takes the
//! place of the text where the wording has one. Viber's `ttl` is left out on purpose: whoever has
//! Dispatch has the tutorial's body working, and Vonage itself fails over at the expiry.

use serde::Serialize;

use crate::contact::Channel;
use crate::escalation::{Condition, Leg};
use crate::sender::Outbound;

use super::options::MessengerOptions;
use super::settings::Senders;
use super::text;
use super::whatsapp::{Template, WhatsappOptions};

/// A workflow, ready to be written as JSON.
#[derive(Serialize)]
#[expect(missing_debug_implementations, reason = "it holds addresses and texts")]
pub struct Body<'a> {
    template: &'static str,
    workflow: Vec<Element<'a>>,
}

#[derive(Serialize)]
struct Element<'a> {
    from: Party<'a>,
    to: Party<'a>,
    message: Message<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failover: Option<Failover>,
}

/// One end of a message. Whether it is an `id` or a `number` depends on the channel and on the end.
#[derive(Serialize)]
struct Party<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    name: Name<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Name<'a> {
    Id(&'a str),
    Number(&'a str),
}

#[derive(Serialize)]
struct Message<'a> {
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messenger: Option<MessengerOptions<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whatsapp: Option<WhatsappOptions<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    Text { text: String },
    Template { template: Template<'a, Parameter> },
}

/// A parameter of a template as Dispatch's specification has it; Messages takes plain texts.
#[derive(Serialize)]
struct Parameter {
    default: String,
}

#[derive(Serialize)]
struct Failover {
    expiry_time: u32,
    condition_status: &'static str,
}

/// Why no workflow can be made of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Nobody is configured to send on this channel.
    #[error("no sender is configured for {0}")]
    NoSender(Channel),
    /// Dispatch cannot send on this channel; it was never extended beyond the five it began with.
    #[error("Dispatch does not know the channel {0}")]
    NotOnDispatch(Channel),
}

/// The workflow of an attempt.
pub fn body<'a>(outbound: &'a Outbound, senders: &'a Senders) -> Result<Body<'a>, BodyError> {
    let n_failovers = outbound.step.further.len();
    let workflow = outbound
        .step
        .legs()
        .enumerate()
        .map(|(index, leg)| {
            let failover = (index < n_failovers).then_some(Failover {
                expiry_time: leg.expiry_seconds,
                condition_status: match leg.condition {
                    Condition::Read => "read",
                    Condition::Delivered => "delivered",
                },
            });
            element(leg, outbound, senders, failover)
        })
        .collect::<Result<_, _>>()?;
    Ok(Body { template: "failover", workflow })
}

fn element<'a>(
    leg: &'a Leg,
    outbound: &'a Outbound,
    senders: &'a Senders,
    failover: Option<Failover>,
) -> Result<Element<'a>, BodyError> {
    let kind = kind(leg.channel).ok_or(BodyError::NotOnDispatch(leg.channel))?;
    let sender = senders.of(leg.channel).ok_or(BodyError::NoSender(leg.channel))?;
    let address = leg.address.reveal();
    let (from, to) = match leg.channel {
        Channel::Messenger => (Name::Id(sender), Name::Id(address)),
        Channel::ViberService => (Name::Id(sender), Name::Number(address)),
        Channel::Whatsapp | Channel::Sms | Channel::Rcs | Channel::Mms | Channel::Email => {
            (Name::Number(sender), Name::Number(address))
        }
    };
    let template = outbound.raised.plan.wording().whatsapp_template.as_ref();
    let template = template.filter(|_template| leg.channel == Channel::Whatsapp);
    let content = match template {
        // Buttons are there too; pressed, they send their labels back, which are read as any reply.
        Some(template) => {
            Content::Template { template: Template::of(template, outbound, |default| Parameter { default }) }
        }
        None => Content::Text { text: text::compose(outbound, leg.channel) },
    };
    let message = Message {
        content,
        messenger: MessengerOptions::of(leg.channel, senders),
        whatsapp: template.map(WhatsappOptions::of),
    };
    Ok(Element { from: Party { kind, name: from }, to: Party { kind, name: to }, message, failover })
}

/// What Dispatch calls a channel; none where it cannot send on it.
const fn kind(channel: Channel) -> Option<&'static str> {
    match channel {
        Channel::Messenger => Some("messenger"),
        Channel::ViberService => Some("viber_service_msg"),
        Channel::Whatsapp => Some("whatsapp"),
        Channel::Sms => Some("sms"),
        Channel::Mms => Some("mms"),
        Channel::Rcs | Channel::Email => None,
    }
}
