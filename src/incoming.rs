//! What comes back from whoever carries messages, after the wire forms have been read.

use std::fmt;

use crate::contact::{Address, Channel};
use crate::escalation::{Failure, ReportStatus, WorkflowOutcome};
use crate::id::{AttemptRef, ProviderId};
use crate::timestamp::Timestamp;

/// One webhook, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// What became of one message.
    Status(MessageStatus),
    /// What became of a whole workflow (Dispatch's final report).
    WorkflowEnd(WorkflowEnd),
    /// Somebody wrote to us.
    Message(InboundMessage),
    /// Nothing that concerns an alert.
    Foreign(Foreign),
}

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageStatus {
    /// What Vonage calls the message.
    pub id: Option<ProviderId>,
    /// What Vonage calls the workflow that the message belongs to (Dispatch only).
    pub workflow: Option<ProviderId>,
    /// The attempt, where the message carried a reference of ours.
    pub reference: Option<AttemptRef>,
    /// The channel, where the webhook names one that we know.
    pub channel: Option<Channel>,
    /// The recipient, where it can be read as an address of the channel.
    pub to: Option<Address>,
    /// What became of it.
    pub status: ReportStatus,
    /// Why it failed, where it failed.
    pub failure: Option<Failure>,
}

/// What became of a whole workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowEnd {
    /// What Vonage calls the workflow.
    pub workflow: ProviderId,
    /// How Vonage sums it up; `completed` proves nothing.
    pub outcome: WorkflowOutcome,
    /// Each message that was tried.
    pub messages: Vec<MessageStatus>,
}

/// Somebody wrote to us. Its `Debug` does not show what.
#[derive(Clone, PartialEq, Eq)]
pub struct InboundMessage {
    /// What Vonage calls the inbound message.
    pub id: Option<ProviderId>,
    /// The channel it came over.
    pub channel: Channel,
    /// Who wrote, as an address of that channel.
    pub from: Address,
    /// When it was written, by Vonage's clock; whole seconds on some channels.
    pub at: Option<Timestamp>,
    /// The words, where there are any.
    pub text: Option<Box<str>>,
    /// What the pressed button carries, where one was pressed.
    pub payload: Option<Box<str>>,
    /// The message that is quoted, where one is.
    pub quoted: Option<ProviderId>,
}

impl fmt::Debug for InboundMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("InboundMessage")
            .field("id", &self.id)
            .field("channel", &self.channel)
            .field("from", &self.from)
            .field("at", &self.at)
            .field("quoted", &self.quoted)
            .finish_non_exhaustive()
    }
}

/// A webhook that concerns no alert. It is answered 200, because sending it again would not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Foreign {
    /// The account's SMS setting is "SMS API" instead of "Messages API"; the operator should know.
    LegacySms,
    /// A status word that we do not know.
    UnknownStatus,
    /// A sender or channel that we cannot make sense of.
    UnknownSender,
    /// A form that we do not know.
    UnknownShape,
}

impl Foreign {
    /// A word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LegacySms => "legacy_sms",
            Self::UnknownStatus => "unknown_status",
            Self::UnknownSender => "unknown_sender",
            Self::UnknownShape => "unknown_shape",
        }
    }
}
