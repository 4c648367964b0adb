//! What is known about the way to Vonage, judged over all alerts (contract R7 and R8).
//!
//! One alert whose sends fail may be at fault itself; several that fail while nothing is accepted are an
//! outage. During an outage no alert moves on; when it is over, those whose deadline passed meanwhile get
//! a full expiry again. The failing sends go on being tried, and so tell when it is over.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::escalation::{Alert, Reach};
use crate::id::AlertId;
use crate::timestamp::Timestamp;

/// How often an outage that goes on is told of again.
const TELL_AGAIN_AFTER: Duration = Duration::from_mins(5);

/// The state of the way to Vonage.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last_accepted_at: Option<Timestamp>,
    failing: BTreeSet<AlertId>,
    held: BTreeSet<AlertId>,
    began_at: Option<Timestamp>,
    told_at: Option<Timestamp>,
}

/// What the operator should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// Nothing has got through since then; so many alerts are waiting.
    GoesOn {
        /// Since when.
        since: Timestamp,
        /// How many alerts' sends fail.
        n_failing: usize,
    },
    /// Nothing that was not said already.
    Nothing,
}

/// Whether an alert is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// It is looked at again when the outage is over.
    Yes,
    /// The outage is over already.
    NoLonger,
}

/// What an accepted send ends.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// When the trouble began, if it had been told of.
    pub(super) since: Option<Timestamp>,
    /// Alerts whose deadline passed meanwhile.
    pub(super) held: Vec<AlertId>,
}

impl Outage {
    /// A critical section holds only set operations, and is never held over an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When Vonage last accepted anything, by this process's knowledge.
    pub(super) fn last_accepted_at(&self) -> Option<Timestamp> {
        self.lock().last_accepted_at
    }

    /// How many alerts' sends have been failing since the last one that was accepted.
    pub(super) fn n_failing(&self) -> usize {
        self.lock().failing.len()
    }

    /// The judgement on the way to Vonage as it concerns one alert.
    pub(super) fn reach(&self) -> Reach {
        match self.lock().failing.len() {
            0 => Reach::Open,
            1 => Reach::Doubtful,
            _ => Reach::Blocked,
        }
    }

    /// Something was accepted: whatever was wrong is over.
    pub(super) fn accepted(&self, now: Timestamp) -> Ended {
        let mut state = self.lock();
        state.last_accepted_at = Some(now);
        state.failing.clear();
        let since = state.told_at.take().and(state.began_at.take());
        state.began_at = None;
        Ended { since, held: std::mem::take(&mut state.held).into_iter().collect() }
    }

    /// A send failed without saying anything about the person.
    pub(super) fn failed(&self, id: AlertId, now: Timestamp) -> Tell {
        let mut state = self.lock();
        state.failing.insert(id);
        let since = *state.began_at.get_or_insert(now);
        let is_time = state.told_at.is_none_or(|told_at| now.since(told_at) >= TELL_AGAIN_AFTER);
        if is_time {
            state.told_at = Some(now);
            return Tell::GoesOn { since, n_failing: state.failing.len() };
        }
        Tell::Nothing
    }

    /// The alert's deadline passed, and it is held where it is; unless everything is well again by now.
    pub(super) fn hold(&self, id: AlertId) -> Holding {
        let mut state = self.lock();
        if state.failing.is_empty() {
            return Holding::NoLonger;
        }
        state.held.insert(id);
        Holding::Yes
    }

    /// The alert changed: perhaps its sends no longer fail, because nobody wants them any more.
    /// Returns the alerts that are to be looked at again because nothing fails now.
    pub(super) fn changed(&self, alert: &Alert) -> Vec<AlertId> {
        let is_failing =
            alert.progress().is_some() && alert.attempts.last().is_some_and(|attempt| attempt.failing_since.is_some());
        let mut state = self.lock();
        if is_failing || !state.failing.remove(&alert.id()) || state.failing.len() > 1 {
            return Vec::new();
        }
        if state.failing.is_empty() {
            state.began_at = None;
            state.told_at = None;
        }
        std::mem::take(&mut state.held).into_iter().collect()
    }
}
