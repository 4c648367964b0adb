//! What an alert is at one moment. Data only; [`step`](super::step) decides.

use std::sync::Arc;

use crate::contact::Channel;
use crate::id::{AlertId, AlertNumber, AttemptNumber, ProviderId, ShortCode};
use crate::timestamp::Timestamp;

use super::plan::{Plan, Step};

/// How bad the thing is that the alert tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Somebody must act now.
    Critical,
    /// Something is broken.
    Error,
    /// Something will break.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// Every severity, the worst first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::Error, Self::Warning, Self::Info];

    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// What was posted. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Names the alert everywhere.
    pub id: AlertId,
    /// Counts the alerts of the store; people see it as the short code.
    pub number: AlertNumber,
    /// The text that people must read.
    pub message: Box<str>,
    /// How bad it is.
    pub severity: Severity,
    /// The policy's name; none for an ad-hoc list of users.
    pub policy: Option<Box<str>>,
    /// Names the problem, so that posting it again does not page again.
    pub dedup_key: Option<Box<str>>,
    /// Where the alert came from.
    pub source: Option<Box<str>>,
    /// Where to read more.
    pub link: Option<Box<str>>,
    /// Whatever else was posted: the text of a JSON object.
    pub details: Box<str>,
    /// When the alert was accepted.
    pub at: Timestamp,
    /// The frozen way it takes.
    pub plan: Arc<Plan>,
}

/// An alert at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What was posted.
    pub raised: Arc<Raised>,
    /// Where in its life the alert is.
    pub status: Status,
    /// The round it is in, from 1.
    pub round: u32,
    /// Every attempt so far, in order; attempt `n` stands at index `n - 1`. Never empty.
    pub attempts: Vec<Attempt>,
    /// Who said first that it is seen. Stays when the alert is resolved.
    pub acknowledged: Option<Acknowledgement>,
    /// How often the same problem was posted again.
    pub repeats: u32,
    /// When anything about the alert changed last.
    pub updated_at: Timestamp,
    /// The ids of inbound messages that had their effect, so that a second delivery has none.
    pub answered: Vec<ProviderId>,
    /// What has happened, in order.
    pub timeline: Vec<Entry>,
}

/// Where in its life an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Nobody has answered yet; the last attempt is the current one.
    Escalating(Progress),
    /// Somebody read it or answered it.
    Acknowledged,
    /// All rounds are over and nobody did.
    Exhausted,
    /// The problem itself is over.
    Resolved,
}

/// How far the current attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// It is to be sent, from this moment on, as soon as it is its turn.
    Ready {
        /// Not to be sent before.
        from: Timestamp,
        /// Why it is to be sent.
        why: Why,
    },
    /// Somebody has the right to send it until this moment.
    Sending {
        /// When that right ends; then the outcome counts as unknown.
        until: Timestamp,
    },
    /// Vonage has accepted it; a read is awaited until this moment.
    Waiting {
        /// When the wait is over.
        until: Timestamp,
    },
}

/// Why an attempt is ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It has not been sent yet.
    First,
    /// A try failed, and this says nothing about the person.
    Retry,
    /// Whoever was sending it was lost; nobody knows whether it went out.
    Unknown,
}

/// One step being carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The index of its step in the plan.
    pub step: u32,
    /// The round it belongs to.
    pub round: u32,
    /// When it should have gone out.
    pub due_at: Timestamp,
    /// How many sends were begun.
    pub tries: u32,
    /// Since when its tries have been failing; none after one was accepted.
    pub failing_since: Option<Timestamp>,
    /// When its latest failure was.
    pub failed_at: Option<Timestamp>,
    /// How many of its tries ended without anybody knowing whether Vonage got them.
    pub unknown: u32,
    /// When Vonage accepted it.
    pub sent_at: Option<Timestamp>,
    /// Until when a read was or is awaited.
    pub expires_at: Option<Timestamp>,
    /// When Vonage said that it handed the message on.
    pub submitted_at: Option<Timestamp>,
    /// When the message reached the device.
    pub delivered_at: Option<Timestamp>,
    /// When somebody opened it.
    pub read_at: Option<Timestamp>,
    /// How it ended, where it ended without a read; the first ending stays.
    pub ending: Option<Ending>,
    /// What went wrong last.
    pub failure: Option<Failure>,
    /// What Vonage calls it, oldest first: more than one where an unknown send was made again.
    pub provider_ids: Vec<ProviderId>,
    /// On Dispatch, the messages of the workflow that reports have told of.
    pub messages: Vec<LegMessage>,
}

/// How an attempt ended without a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Vonage or the provider refused the message (by webhook).
    Rejected,
    /// The message could not be handed on (by webhook).
    Undeliverable,
    /// Vonage refused the request: this message or recipient is at fault.
    Refused,
    /// It kept failing while others got through.
    Failed,
    /// Nobody read it in time.
    Expired,
    /// A person or an answer made it pointless.
    Superseded,
}

/// One message of a Dispatch workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegMessage {
    /// The index of the channel within the step.
    pub leg: u8,
    /// What Vonage calls the message.
    pub id: ProviderId,
    /// The strongest report so far.
    pub status: ReportStatus,
}

/// What a status webhook says about a message. The order is the order of strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReportStatus {
    /// Handed to the provider.
    Submitted,
    /// Reached the device.
    Delivered,
    /// Refused by Vonage or the provider.
    Rejected,
    /// Could not be handed on.
    Undeliverable,
    /// Opened.
    Read,
}

impl ReportStatus {
    /// The name on the wire and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Undeliverable => "undeliverable",
            Self::Read => "read",
        }
    }
}

/// What went wrong with a send or a message, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// Vonage's code or the HTTP status, where there is one.
    pub code: Option<Box<str>>,
    /// What happened; never an address or a text of an alert.
    pub detail: Box<str>,
}

/// Who said first that the alert is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The user's name, or who the API was told.
    pub by: Box<str>,
    /// How they said it.
    pub via: Via,
    /// The channel, where there is one.
    pub channel: Option<Channel>,
    /// When.
    pub at: Timestamp,
}

impl Acknowledgement {
    /// Who it was by where the API was told nobody's name.
    pub const NOBODY_NAMED: &str = "api";
}

/// How somebody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// Opened the message.
    Read,
    /// Wrote back.
    Reply,
    /// Pressed the button of the acknowledge page.
    Link,
    /// Called the API.
    Api,
}

impl Via {
    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Reply => "reply",
            Self::Link => "link",
            Self::Api => "api",
        }
    }
}

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub happening: Happening,
    /// The attempt that it is about, where it is about one.
    pub attempt: Option<AttemptNumber>,
    /// The channel of the message that it is about, where Vonage named one of several.
    pub channel: Option<Channel>,
    /// Who did it, where a person did.
    pub by: Option<Box<str>>,
    /// More, for a person to read; never an address or what somebody wrote.
    pub detail: Option<Box<str>>,
}

/// What can stand in a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the events of the API, one meaning each, listed in docs/reference.md")]
pub enum Happening {
    Raised,
    Repeated,
    Sent,
    SendFailed,
    Submitted,
    Delivered,
    Read,
    Rejected,
    Undeliverable,
    Refused,
    Expired,
    FailedOver,
    Escalated,
    RoundStarted,
    ResentAfterRestart,
    Reply,
    Acknowledged,
    Exhausted,
    Resolved,
}

impl Happening {
    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Repeated => "repeated",
            Self::Sent => "sent",
            Self::SendFailed => "send_failed",
            Self::Submitted => "submitted",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Rejected => "rejected",
            Self::Undeliverable => "undeliverable",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::FailedOver => "failed_over",
            Self::Escalated => "escalated",
            Self::RoundStarted => "round_started",
            Self::ResentAfterRestart => "resent_after_restart",
            Self::Reply => "reply",
            Self::Acknowledged => "acknowledged",
            Self::Exhausted => "exhausted",
            Self::Resolved => "resolved",
        }
    }

    /// Every name, for reading a stored timeline.
    pub const ALL: [Self; 19] = [
        Self::Raised,
        Self::Repeated,
        Self::Sent,
        Self::SendFailed,
        Self::Submitted,
        Self::Delivered,
        Self::Read,
        Self::Rejected,
        Self::Undeliverable,
        Self::Refused,
        Self::Expired,
        Self::FailedOver,
        Self::Escalated,
        Self::RoundStarted,
        Self::ResentAfterRestart,
        Self::Reply,
        Self::Acknowledged,
        Self::Exhausted,
        Self::Resolved,
    ];
}

impl Alert {
    /// Names the alert.
    pub fn id(&self) -> AlertId {
        self.raised.id
    }

    /// What people on a phone call the alert.
    pub fn code(&self) -> ShortCode {
        ShortCode::of(self.raised.number)
    }

    /// The frozen way it takes.
    pub fn plan(&self) -> &Plan {
        &self.raised.plan
    }

    /// The number of the newest attempt, which is the current one while the alert escalates.
    pub fn newest_attempt(&self) -> AttemptNumber {
        AttemptNumber::try_from(self.attempts.len()).unwrap_or(AttemptNumber::MAX)
    }

    /// The attempt with this number.
    pub fn attempt(&self, number: AttemptNumber) -> Option<&Attempt> {
        self.attempts.get(index_of(number)?)
    }

    /// The attempt with this number, to change.
    pub(super) fn attempt_mut(&mut self, number: AttemptNumber) -> Option<&mut Attempt> {
        self.attempts.get_mut(index_of(number)?)
    }

    /// The step that an attempt carries out.
    pub fn step_of(&self, attempt: &Attempt) -> Option<&Step> {
        self.plan().step(usize::try_from(attempt.step).ok()?)
    }

    /// How far the current attempt is; none once the alert is no longer escalating.
    pub fn progress(&self) -> Option<Progress> {
        match self.status {
            Status::Escalating(progress) => Some(progress),
            Status::Acknowledged | Status::Exhausted | Status::Resolved => None,
        }
    }
}

fn index_of(number: AttemptNumber) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

impl Status {
    /// The name in the API.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Escalating(_) => "escalating",
            Self::Acknowledged => "acknowledged",
            Self::Exhausted => "exhausted",
            Self::Resolved => "resolved",
        }
    }
}
