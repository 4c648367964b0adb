//! What a tool says of one problem, in callout's words.

use serde_json::{Map, Value};

use crate::escalation::Severity;
use crate::timestamp::Timestamp;

/// What a notice wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// There is a problem: raise an alert, or count a repetition of the open one.
    Trigger,
    /// Somebody has seen it.
    Acknowledge,
    /// It is over.
    Resolve,
}

impl Act {
    /// Its name in what callout prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Acknowledge => "acknowledge",
            Self::Resolve => "resolve",
        }
    }
}

/// What a tool says of one problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// What it wants.
    pub act: Act,
    /// What the tool calls the problem; none where it gives it no name.
    pub key: Option<Box<str>>,
    /// The text that people must read; of any length.
    pub message: Box<str>,
    /// How bad it is.
    pub severity: Severity,
    /// Where to read more, an http or https address.
    pub link: Option<Box<str>>,
    /// Whatever else was said.
    pub details: Map<String, Value>,
    /// When the problem began, where the tool tells one time of trouble from the next by it.
    pub began_at: Option<Timestamp>,
    /// When it was over, where the tool says so.
    pub ended_at: Option<Timestamp>,
}

/// Under which name of the details it stands when a problem began; Alertmanager's and Grafana's own.
pub(super) const BEGAN: &str = "startsAt";

/// When the problem of an alert began, by the details that it was raised with.
pub fn began_at(details: &str) -> Option<Timestamp> {
    let details: Value = serde_json::from_str(details).ok()?;
    moment(details.get(BEGAN))
}

/// A moment as tools write it. The year 1 is how Go writes that there is none.
pub(super) fn moment(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok().filter(|moment| *moment > Timestamp::EPOCH)
}
