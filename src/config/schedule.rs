//! Who would be called when, if nobody ever read anything.
//!
//! The times are those of the expiries alone: a message that fails, or a channel whose condition
//! `delivered` is met, makes the next call come earlier or later than shown.

use std::fmt;
use std::time::Duration;

use super::policy::Policies;
use crate::contact::Channel;
use crate::escalation::Backend;

/// A line of the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The policy that the following lines are about.
    Policy {
        /// Its name.
        name: Box<str>,
        /// What sends its messages.
        backend: Backend,
    },
    /// A round begins; only shown where there are several.
    Round(u32),
    /// A user is called.
    Call {
        /// How long after the alert was raised.
        at: Duration,
        /// The user's name.
        user: Box<str>,
        /// The channel.
        channel: Channel,
    },
    /// Nobody is left to call.
    Exhausted {
        /// How long after the alert was raised.
        at: Duration,
    },
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { name, backend: Backend::Messages } => write!(formatter, "{name} (messages):"),
            Self::Policy { name, backend: Backend::Dispatch } => write!(formatter, "{name} (dispatch):"),
            Self::Round(round) => write!(formatter, "round {round}"),
            Self::Call { at, user, channel } => write!(formatter, "{} {user} {channel}", clock(*at)),
            Self::Exhausted { at } => write!(formatter, "{} exhausted", clock(*at)),
        }
    }
}

/// Minutes and seconds, and hours from the first on.
fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours == 0 { format!("{minutes}:{seconds:02}") } else { format!("{hours}:{minutes:02}:{seconds:02}") }
}

/// The schedule of every policy in order.
pub fn lines(policies: &Policies) -> Vec<Line> {
    let mut lines = Vec::new();
    for policy in policies.iter() {
        let plan = &policy.plan;
        lines.push(Line::Policy { name: policy.name.clone(), backend: plan.backend() });
        let mut at = Duration::ZERO;
        for round in 1..=plan.repeat().saturating_add(1) {
            if plan.repeat() > 0 {
                lines.push(Line::Round(round));
            }
            for step in plan.steps() {
                // On Dispatch these are the moments at which Vonage itself fails over.
                for leg in step.legs() {
                    lines.push(Line::Call { at, user: (*step.user).into(), channel: leg.channel });
                    at = at.saturating_add(leg.expiry());
                }
            }
        }
        lines.push(Line::Exhausted { at });
    }
    lines
}
