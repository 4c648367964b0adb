//! The options of a channel, which both APIs spell alike.

use serde::Serialize;

use crate::contact::Channel;
use crate::wording::MessengerCategory;

use super::settings::Senders;

/// What Viber is told of a message.
#[derive(Serialize)]
pub(super) struct ViberOptions {
    /// The kind that may be sent first and at any hour; the other is advertising.
    category: &'static str,
    ttl: u32,
}

impl ViberOptions {
    /// A message that is forgotten after so many seconds.
    pub(super) const fn lasting(ttl: u32) -> Self {
        Self { category: "transaction", ttl }
    }
}

/// What Facebook is told of a message. Nothing is said unless it is configured; Vonage then takes it
/// for an answer to the user.
#[derive(Serialize)]
pub(super) struct MessengerOptions<'a> {
    category: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
}

impl<'a> MessengerOptions<'a> {
    /// The options of a message on this channel, if it is Messenger and they are configured.
    pub(super) fn of(channel: Channel, senders: &'a Senders) -> Option<Self> {
        if channel != Channel::Messenger {
            return None;
        }
        // One spelling of `message_tag` that Vonage does not know, with a hyphen, was in its Java library.
        Some(match senders.messenger_category.as_ref()? {
            MessengerCategory::Response => Self { category: "response", tag: None },
            MessengerCategory::Update => Self { category: "update", tag: None },
            MessengerCategory::MessageTag(tag) => Self { category: "message_tag", tag: Some(tag) },
        })
    }
}
