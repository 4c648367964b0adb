//! Everything that can happen to an alert, and everything an alert can ask of the world.

use std::time::Duration;

use crate::contact::Channel;
use crate::id::{AttemptNumber, ProviderId};
use crate::timestamp::Timestamp;

use super::alert::{Alert, Failure, ReportStatus, Via};

/// Something happened that may concern an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time may have passed. It says only "look at the clock": too early or twice is harmless.
    TimePassed {
        /// What is known about the way to Vonage.
        reach: Reach,
    },
    /// The way to Vonage was blocked and is open again.
    OutageOver,
    /// It is this alert's turn to send.
    TurnCame,
    /// Whoever was sending is gone (its process ended), and nobody else can be.
    SenderLost,
    /// Vonage accepted a send.
    Accepted {
        /// The attempt that was sent.
        attempt: AttemptNumber,
        /// What Vonage calls it; none where the answer could not be read.
        id: Option<ProviderId>,
    },
    /// Vonage refused a send: this message or this recipient is at fault.
    Refused {
        /// The attempt that was sent.
        attempt: AttemptNumber,
        /// Which of its tries.
        try_number: u32,
        /// Why.
        failure: Failure,
    },
    /// A send failed in a way that says nothing about the person.
    Trouble {
        /// The attempt that was sent.
        attempt: AttemptNumber,
        /// Which of its tries.
        try_number: u32,
        /// What is known about the trouble.
        trouble: Trouble,
    },
    /// A status webhook came for a message of the alert.
    Reported {
        /// The attempt that the message belongs to.
        attempt: AttemptNumber,
        /// What it says.
        report: Report,
    },
    /// Dispatch's final report on a whole workflow came.
    WorkflowEnded {
        /// The attempt that sent the workflow.
        attempt: AttemptNumber,
        /// Whether Dispatch calls it an error. Its `completed` proves nothing.
        outcome: WorkflowOutcome,
        /// What it says of each message.
        messages: Vec<Report>,
    },
    /// Somebody who was messaged wrote back.
    Replied {
        /// The attempt whose message is answered.
        attempt: AttemptNumber,
        /// The reply.
        reply: Reply,
    },
    /// Somebody says that the alert is seen.
    Acknowledge {
        /// Who.
        by: Box<str>,
        /// How.
        via: Via,
        /// On which channel, where there is one.
        channel: Option<Channel>,
    },
    /// Somebody asks for the next user now.
    NextUser {
        /// Who.
        by: Box<str>,
        /// Only if this attempt is the current one.
        attempt: Option<AttemptNumber>,
    },
    /// The problem itself is over.
    Resolve {
        /// Who says so.
        by: Box<str>,
    },
    /// The same problem was posted again.
    Repeated,
}

impl Event {
    /// A word for those who watch callout work.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TimePassed { .. } => "time_passed",
            Self::OutageOver => "outage_over",
            Self::TurnCame => "turn_came",
            Self::SenderLost => "sender_lost",
            Self::Accepted { .. } => "accepted",
            Self::Refused { .. } => "refused",
            Self::Trouble { .. } => "trouble",
            Self::Reported { .. } => "reported",
            Self::WorkflowEnded { .. } => "workflow_ended",
            Self::Replied { .. } => "replied",
            Self::Acknowledge { .. } => "acknowledge",
            Self::NextUser { .. } => "next_user",
            Self::Resolve { .. } => "resolve",
            Self::Repeated => "repeated",
        }
    }
}

/// What is known about the way to Vonage, judged over all alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Nothing speaks against it.
    Open,
    /// One alert's sends fail and nothing has been accepted since: it may be that alert.
    Doubtful,
    /// Sends of several alerts fail and nothing has been accepted since.
    Blocked,
}

/// A failed send that says nothing about the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong.
    pub failure: Failure,
    /// Whether the message can have reached Vonage all the same.
    pub outcome: TroubleOutcome,
    /// How long Vonage asked us to wait.
    pub retry_after: Option<Duration>,
    /// Moves the next try by up to a fifth either way, in thousandths from -200 to 200, so that
    /// many alerts do not come back at the same moment.
    pub jitter: i16,
    /// When Vonage had last accepted a send of any alert from this process, as this try began.
    pub last_accepted_at: Option<Timestamp>,
    /// Since when this process has seen the attempt fail itself, where others may have too. What they met says
    /// nothing about the attempt: their way may be another.
    pub failing_here_since: Option<Timestamp>,
}

/// Whether a failed send can have reached Vonage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TroubleOutcome {
    /// It certainly did not go through.
    NotSent,
    /// Nobody knows.
    Unknown,
}

/// What a status webhook says about one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What Vonage calls the message.
    pub id: Option<ProviderId>,
    /// The index within the step of the channel it went over.
    pub leg: u8,
    /// What became of it.
    pub status: ReportStatus,
    /// Why it failed, where it failed.
    pub failure: Option<Failure>,
}

/// What Dispatch calls the end of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkflowOutcome {
    /// A condition was met, or the last message was delivered. Not a read.
    Completed,
    /// The last message failed.
    Error,
}

/// What somebody wrote back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What Vonage calls the inbound message, so that a second delivery has no effect.
    pub id: Option<ProviderId>,
    /// The channel it came over.
    pub channel: Channel,
    /// What it asks for.
    pub intent: Intent,
}

/// What a reply asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// "I have seen it": any reply that asks for nothing else.
    Acknowledge,
    /// "Call the next one."
    NextUser,
    /// "It is over."
    Resolve,
    /// "Do not write to me any more": not an answer, but the operator must know.
    OptOut,
}

/// What the machine says to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing changes and nothing is to be written.
    Stay(Ignored),
    /// The alert is this from now on; once that is durable, the effects are to be performed.
    Move {
        /// The alert afterwards.
        next: Alert,
        /// What it asks of the world.
        effects: Vec<Effect>,
    },
}

/// Why an event changed nothing. Late, doubled and early events are the normal case, not errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// Its moment has not come.
    NotYetDue,
    /// The deadline passed while nothing gets through to Vonage: the position is held.
    Held,
    /// It says nothing that is not known already.
    AlreadyKnown,
    /// It is about an attempt that is over.
    OldAttempt,
    /// It is about an attempt that does not exist.
    NoSuchAttempt,
    /// The alert is no longer escalating, so the wish cannot be granted.
    NotEscalating,
    /// The alert is resolved, so the wish cannot be granted.
    AlreadyResolved,
    /// The alert is acknowledged already; saying so again is harmless.
    AlreadyAcknowledged,
    /// The alert is no longer open, so that a repetition raises a new one.
    NotOpen,
}

/// How somebody is told who has the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tone {
    /// "Thank you": it is the very person who answered.
    Thanks,
    /// It is one of the others who were messaged.
    News,
}

/// What an alert asks of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send the current attempt. Only whoever's commit brought this effect may do so.
    Send {
        /// The attempt.
        attempt: AttemptNumber,
        /// Which of its tries, to be echoed in the answer.
        try_number: u32,
    },
    /// Tell somebody who was messaged who has the alert. Best effort: nothing waits for it.
    Tell {
        /// The attempt whose message that person has.
        attempt: AttemptNumber,
        /// The index within the step of the channel it went over.
        leg: u8,
        /// In which words.
        tone: Tone,
    },
    /// Take a message back that nobody needs to read any more. Best effort: nothing waits for it.
    Revoke {
        /// The attempt that it belongs to.
        attempt: AttemptNumber,
        /// What Vonage calls the message.
        id: ProviderId,
    },
}
