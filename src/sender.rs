//! The port to whoever carries messages: what it is given, and what it may answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::escalation::{Backend, Failure, Leg, Raised, Step, Tone, TroubleOutcome};
use crate::id::{AttemptRef, ProviderId, ShortCode};
use crate::timestamp::Timestamp;

/// Carries one attempt to whoever delivers messages.
#[async_trait]
pub trait Sender: Send + Sync + 'static {
    /// Sends once, within the sender's own time limits, and says what came of it. It never retries.
    async fn send(&self, outbound: &Outbound) -> Answer;

    /// Tells somebody who was messaged who has the alert; as [`Sender::send`], but nothing comes of
    /// it: no report on it and no answer to it concerns an attempt. A sender may know no such thing.
    async fn tell(&self, _notice: &Notice) -> Answer {
        Answer::Refused(Failure { code: None, detail: "this sender tells nobody".into() })
    }

    /// Takes an RCS message back that nobody has read, where that is possible. Best effort by its
    /// nature: the message may stay where it is. A sender may know no such thing.
    async fn revoke(&self, _message: &ProviderId) -> Answer {
        Answer::Refused(Failure { code: None, detail: "this sender takes nothing back".into() })
    }
}

/// One attempt, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Names the attempt; the same for each try of it.
    pub reference: AttemptRef,
    /// Which of Vonage's ways of sending to use.
    pub backend: Backend,
    /// Whom to reach, and how.
    pub step: Step,
    /// What was posted.
    pub raised: Arc<Raised>,
    /// What people on a phone call the alert.
    pub code: ShortCode,
    /// The acknowledge link of this attempt, where the service knows its public address.
    pub link: Option<Box<str>>,
    /// Set when the message goes out more than five minutes after it was due.
    pub late: Option<Late>,
}

/// Who has an alert, for one person who was messaged about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whom to tell, and where.
    pub leg: Leg,
    /// Who has the alert.
    pub by: Box<str>,
    /// Whether it is the person who is told.
    pub tone: Tone,
    /// What people on a phone call the alert.
    pub code: ShortCode,
}

/// How late a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// When it should have gone out.
    pub due_at: Timestamp,
    /// How long ago that was.
    pub by: Duration,
}

/// What came of a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The message was accepted for processing. It says nothing about a reader.
    Accepted(Option<ProviderId>),
    /// This message or this recipient is at fault; sending it again would not help.
    Refused(Failure),
    /// Something else is at fault; the same attempt must be sent again later.
    Trouble(SendTrouble),
}

/// A failed send that says nothing about the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendTrouble {
    /// What kind of thing is at fault, for the operator.
    pub cause: TroubleCause,
    /// What happened, in words; never an address, a text or a token.
    pub failure: Failure,
    /// Whether the message can have got through all the same.
    pub outcome: TroubleOutcome,
    /// How long the provider asked us to wait.
    pub retry_after: Option<Duration>,
}

/// What kind of thing is at fault when a send fails without saying anything about the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TroubleCause {
    /// Our credentials are refused: somebody must mend the configuration.
    Credentials,
    /// The account has no money left.
    Balance,
    /// We send too fast, or the account's quota is used up.
    RateLimit,
    /// The provider is in trouble.
    Provider,
    /// No connection, or no answer in time.
    Unreachable,
    /// We could not build the request, for example because the private key cannot be used.
    Ourselves,
}

impl TroubleCause {
    /// A word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Balance => "balance",
            Self::RateLimit => "rate_limit",
            Self::Provider => "provider",
            Self::Unreachable => "unreachable",
            Self::Ourselves => "ourselves",
        }
    }
}
