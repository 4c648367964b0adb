//! What must be known to reach Vonage. The key shows nothing of itself in `Debug`.

use std::time::Duration;

use url::Url;

use crate::contact::Channel;
use crate::escalation::SEND_LEASE;
use crate::wording::MessengerCategory;

use super::token::PrivateKey;

/// How to reach Vonage, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Vonage's API begins, `https://api.nexmo.com` outside of tests and demonstrations. A
    /// path in it is kept in front of the API's own paths.
    pub base_url: Url,
    /// As [`Settings::base_url`], for revoking RCS messages: that is possible only at the host of the
    /// region where the agent is at home (Vonage's guide on RCS message revocation).
    pub rcs_url: Url,
    /// The application in whose name messages are sent; its webhooks get the reports.
    pub application_id: Box<str>,
    /// The application's private key.
    pub private_key: PrivateKey,
    /// Whom messages come from.
    pub senders: Senders,
    /// How long a send may take.
    pub time_limits: TimeLimits,
}

/// Whom messages come from, for each channel that is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Senders {
    /// The id of the Facebook page.
    pub messenger: Option<Box<str>>,
    /// What Facebook is told the page's messages are for; nothing where it is not set.
    pub messenger_category: Option<MessengerCategory>,
    /// The id of the Viber service.
    pub viber_service: Option<Box<str>>,
    /// The WhatsApp business number.
    pub whatsapp: Option<Box<str>>,
    /// The number or name that text messages come from; multimedia messages come from it too.
    pub sms: Option<Box<str>>,
    /// The id of the RCS agent.
    pub rcs: Option<Box<str>>,
}

impl Senders {
    /// Whom messages of this channel come from, where that is known.
    pub fn of(&self, channel: Channel) -> Option<&str> {
        match channel {
            Channel::Messenger => self.messenger.as_deref(),
            Channel::ViberService => self.viber_service.as_deref(),
            Channel::Whatsapp => self.whatsapp.as_deref(),
            Channel::Sms | Channel::Mms => self.sms.as_deref(),
            Channel::Rcs => self.rcs.as_deref(),
            Channel::Email => None,
        }
    }
}

/// How long a send may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// From the beginning until there is a connection, the name's resolution and TLS included.
    pub connect: Duration,
    /// From the beginning until the answer's last byte.
    pub request: Duration,
}

impl TimeLimits {
    /// What the service uses. Vonage usually answers within a second; ten are generous, and leave
    /// room within the time for which a send belongs to one process.
    pub const SERVICE: Self = Self { connect: Duration::from_secs(3), request: Duration::from_secs(10) };
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self::SERVICE
    }
}

// A send that outlives its lease would be made a second time while the first still runs.
const _: () = assert!(TimeLimits::SERVICE.request.as_millis() < SEND_LEASE.as_millis());
