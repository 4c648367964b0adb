//! What people are told of an attempt, in one word.
//!
//! It is read off the attempt and never kept beside it, so that the word and the moments that it
//! sums up cannot disagree.

use super::alert::{Attempt, Ending};

/// An attempt in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttemptStatus {
    /// It is to be sent, or is being sent.
    Sending,
    /// A try failed or its outcome is unknown; it is sent again.
    Retrying,
    /// Vonage has accepted it.
    Sent,
    /// Vonage has handed it on.
    Submitted,
    /// It reached the device.
    Delivered,
    /// Somebody opened it.
    Read,
    /// Vonage or the provider refused the message, as a webhook said.
    Rejected,
    /// The message could not be handed on, as a webhook said.
    Undeliverable,
    /// Vonage refused the request.
    Refused,
    /// It kept failing while others got through.
    Failed,
    /// Nobody read it in time.
    Expired,
    /// A person or an answer made it pointless.
    Superseded,
}

impl AttemptStatus {
    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Retrying => "retrying",
            Self::Sent => "sent",
            Self::Submitted => "submitted",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Rejected => "rejected",
            Self::Undeliverable => "undeliverable",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
        }
    }
}

impl Attempt {
    /// The attempt in one word: a read before everything, then how it ended, then how far it got.
    pub fn status(&self) -> AttemptStatus {
        if self.read_at.is_some() {
            return AttemptStatus::Read;
        }
        match self.ending {
            Some(Ending::Rejected) => return AttemptStatus::Rejected,
            Some(Ending::Undeliverable) => return AttemptStatus::Undeliverable,
            Some(Ending::Refused) => return AttemptStatus::Refused,
            Some(Ending::Failed) => return AttemptStatus::Failed,
            Some(Ending::Expired) => return AttemptStatus::Expired,
            Some(Ending::Superseded) => return AttemptStatus::Superseded,
            None => {}
        }
        if self.delivered_at.is_some() {
            AttemptStatus::Delivered
        } else if self.submitted_at.is_some() {
            AttemptStatus::Submitted
        } else if self.sent_at.is_some() {
            AttemptStatus::Sent
        } else if self.failing_since.is_some() || self.unknown > 0 {
            AttemptStatus::Retrying
        } else {
            AttemptStatus::Sending
        }
    }
}
