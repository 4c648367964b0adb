//! The plan: the policy as it stood when the alert was raised, cut into steps.

use std::sync::Arc;
use std::time::Duration;

use crate::contact::{Address, Channel};
use crate::wording::Wording;

/// Which of Vonage's two ways of sending a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Messages v1: one step for each channel; callout fails over between channels.
    Messages,
    /// Dispatch v0.1: one step for each user; Vonage fails over between that user's channels.
    Dispatch,
}

/// What a message must become within its expiry for a user's further channels to stay unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Somebody opened it.
    Read,
    /// It reached the device. This never acknowledges; it only spares the user's other channels.
    Delivered,
}

/// One channel of one user: where to send, and how long to wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leg {
    /// The kind of channel.
    pub channel: Channel,
    /// Where the user is reached on it.
    pub address: Address,
    /// How long to wait for a read, in whole seconds from the moment Vonage accepted the message.
    pub expiry_seconds: u32,
    /// What spares the user's further channels.
    pub condition: Condition,
}

impl Leg {
    /// How long to wait for a read.
    pub fn expiry(&self) -> Duration {
        Duration::from_secs(u64::from(self.expiry_seconds))
    }
}

/// One thing to send and wait for: one channel of one user, or one user's whole workflow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// The user's place in the policy, from 0. The same person may stand in two places.
    pub place: u16,
    /// The user's name.
    pub user: Arc<str>,
    /// The first channel. A step without a channel cannot be spelled.
    pub first: Leg,
    /// On Dispatch, the user's further channels in order; always empty on Messages.
    pub further: Vec<Leg>,
}

impl Step {
    /// All channels of the step in order.
    pub fn legs(&self) -> impl Iterator<Item = &Leg> {
        std::iter::once(&self.first).chain(&self.further)
    }

    /// The channel that is tried last.
    pub fn last(&self) -> &Leg {
        self.further.last().unwrap_or(&self.first)
    }

    /// How long an attempt at this step waits: the expiry of each of its channels, added up.
    pub fn window(&self) -> Duration {
        self.legs().map(Leg::expiry).sum()
    }

    /// The channel that people are shown for an attempt at this step; none on Dispatch, where
    /// Vonage chooses among several.
    pub fn shown_channel(&self) -> Option<Channel> {
        if self.further.is_empty() { Some(self.first.channel) } else { None }
    }
}

/// A user of a policy, as a plan is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The user's name.
    pub name: Arc<str>,
    /// The user's channels in order.
    pub channels: Vec<Leg>,
}

/// Whether the people who were messaged are told who has the alert, once somebody has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Confirm {
    /// Nobody is told; they see it when they answer or look.
    #[default]
    Nobody,
    /// Whoever answered is thanked, and the others are told who it was.
    Everybody,
}

/// The frozen way an alert will take.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    backend: Backend,
    steps: Vec<Step>,
    repeat: u32,
    wording: Arc<Wording>,
    confirm: Confirm,
}

/// Why no plan can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nobody would be called.
    #[error("has no users")]
    NoUsers,
    /// A user cannot be called.
    #[error("has a user without channels")]
    NoChannels,
    /// Dispatch fails over between channels, so that each user needs two or more.
    #[error("has a user with one channel; Dispatch needs two or more for each user")]
    TooFewChannels,
    /// The plan would send more than [`ATTEMPTS_MAX`] times.
    #[error("would make more than {ATTEMPTS_MAX} attempts in all its rounds")]
    TooLong,
}

/// The most attempts of one alert, all rounds together. It bounds what one alert can cost in
/// money, memory and disk.
pub const ATTEMPTS_MAX: usize = 2_000;

impl Plan {
    /// Cuts a policy's users into steps. `repeat` is how many more rounds follow the first. The
    /// messages have the tutorial's text and nobody is told who has the alert, unless the plan is
    /// given [another wording](Plan::with_wording) and told [to confirm](Plan::with_confirm).
    pub fn new(backend: Backend, recipients: &[Recipient], repeat: u32) -> Result<Self, PlanError> {
        if recipients.is_empty() {
            return Err(PlanError::NoUsers);
        }
        let mut steps = Vec::new();
        for (place, recipient) in recipients.iter().enumerate() {
            let place = u16::try_from(place).map_err(|_too_many| PlanError::TooLong)?;
            let user = Arc::clone(&recipient.name);
            match (backend, recipient.channels.as_slice()) {
                (_, []) => return Err(PlanError::NoChannels),
                (Backend::Dispatch, [_]) => return Err(PlanError::TooFewChannels),
                (Backend::Dispatch, [first, further @ ..]) => {
                    steps.push(Step { place, user, first: first.clone(), further: further.to_vec() });
                }
                (Backend::Messages, legs) => steps.extend(legs.iter().map(|leg| Step {
                    place,
                    user: Arc::clone(&user),
                    first: leg.clone(),
                    further: Vec::new(),
                })),
            }
        }
        Self::from_steps(backend, steps, repeat)
    }

    /// Puts a plan together from steps that were stored.
    pub fn from_steps(backend: Backend, steps: Vec<Step>, repeat: u32) -> Result<Self, PlanError> {
        if steps.is_empty() {
            return Err(PlanError::NoUsers);
        }
        let rounds = usize::try_from(repeat).unwrap_or(usize::MAX).saturating_add(1);
        if steps.len().saturating_mul(rounds) > ATTEMPTS_MAX {
            return Err(PlanError::TooLong);
        }
        Ok(Self { backend, steps, repeat, wording: Arc::default(), confirm: Confirm::default() })
    }

    /// The same plan with messages worded so.
    #[must_use]
    pub fn with_wording(self, wording: Arc<Wording>) -> Self {
        Self { wording, ..self }
    }

    /// The same plan with or without confirmations.
    #[must_use]
    pub fn with_confirm(self, confirm: Confirm) -> Self {
        Self { confirm, ..self }
    }

    /// Which way of sending the plan is made for.
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// The steps of one round, in order; never empty.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How many rounds follow the first.
    pub const fn repeat(&self) -> u32 {
        self.repeat
    }

    /// How the alert's messages are worded; frozen like everything else.
    pub fn wording(&self) -> &Wording {
        &self.wording
    }

    /// Whether those who were messaged are told who has the alert.
    pub const fn confirm(&self) -> Confirm {
        self.confirm
    }

    /// The step at `index`, counted from 0 within a round.
    pub fn step(&self, index: usize) -> Option<&Step> {
        self.steps.get(index)
    }
}
