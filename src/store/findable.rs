//! By what an alert is found, read off the alert itself, so that all stores agree on it.
//!
//! Nothing here looks into a store. A store keeps what these functions say in the same step in which
//! it keeps the alert, and therefore finds an alert by exactly what the alert holds.

use crate::contact::{Address, Channel};
use crate::escalation::{Alert, Attempt, Leg, Progress, Status, Step, next_wake};
use crate::id::{AttemptNumber, ProviderId};
use crate::timestamp::Timestamp;

use super::{Armed, StatusFilter};

impl StatusFilter {
    /// The status of an alert without what it holds.
    pub const fn of(status: Status) -> Self {
        match status {
            Status::Escalating(_) => Self::Escalating,
            Status::Acknowledged => Self::Acknowledged,
            Status::Exhausted => Self::Exhausted,
            Status::Resolved => Self::Resolved,
        }
    }
}

/// The wake-up of an alert, where it has one.
pub(super) fn armed(alert: &Alert) -> Option<Armed> {
    let wake_at = next_wake(alert)?;
    let sending = matches!(alert.status, Status::Escalating(Progress::Sending { .. }));
    Some(Armed { id: alert.id(), wake_at, sending })
}

/// What becomes of the alert's hold on its dedup key. Most updates leave it alone, and an index that
/// is left alone costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyChange {
    /// Nothing.
    None,
    /// It is free for a new alert, but whoever asks for its alerts still finds this one.
    Spend,
    /// It is free for a new alert, and leads here no more.
    Release,
    /// An exhausted alert was acknowledged after all: it has its key back, unless a newer alert has it.
    Regain,
}

impl KeyChange {
    pub(super) fn between(seen: &Alert, next: &Alert) -> Self {
        if next.raised.dedup_key.is_none() {
            return Self::None;
        }
        match (open_key(seen), open_key(next), next.status) {
            (_, _, Status::Resolved) if seen.status != Status::Resolved => Self::Release,
            (Some(_), None, _) => Self::Spend,
            (None, Some(_), _) => Self::Regain,
            (Some(_), Some(_), _) | (None, None, _) => Self::None,
        }
    }
}

/// Since when the alert has been settled without a change, where it is settled.
pub(super) fn settled_at(alert: &Alert) -> Option<Timestamp> {
    match alert.status {
        Status::Escalating(_) => None,
        Status::Acknowledged | Status::Exhausted | Status::Resolved => Some(alert.updated_at),
    }
}

/// Whether the alert waits for a way to Vonage: its latest send failed.
pub(super) fn is_failing(alert: &Alert) -> bool {
    let newest = alert.attempts.last().filter(|attempt| attempt.failing_since.is_some());
    alert.progress().is_some() && newest.is_some_and(|attempt| attempt.failed_at.is_some())
}

/// The dedup key that posting the same problem again would find this alert by: only while it is
/// escalating or acknowledged.
pub(super) fn open_key(alert: &Alert) -> Option<&str> {
    match alert.status {
        Status::Escalating(_) | Status::Acknowledged => alert.raised.dedup_key.as_deref(),
        Status::Exhausted | Status::Resolved => None,
    }
}

/// Each message and workflow that `next` knows and `seen` did not, with the attempt that sent it.
pub(super) fn new_messages<'a>(seen: Option<&'a Alert>, next: &'a Alert) -> Vec<(&'a ProviderId, AttemptNumber)> {
    let mut found = Vec::new();
    for (number, attempt, earlier) in attempts_with_earlier(seen, next) {
        let is_known = |id: &ProviderId| earlier.is_some_and(|earlier| ids(earlier).any(|known| known == id));
        found.extend(ids(attempt).filter(|id| !is_known(id)).map(|id| (id, number)));
    }
    found
}

/// Each way to a person that `next` has used and `seen` had not. A send that was begun counts, since
/// nobody knows that it did not arrive.
pub(super) fn newly_reached<'a>(seen: Option<&'a Alert>, next: &'a Alert) -> Vec<(Channel, &'a Address)> {
    attempts_with_earlier(seen, next)
        .filter(|(_, attempt, earlier)| attempt.tries > 0 && earlier.is_none_or(|earlier| earlier.tries == 0))
        .filter_map(|(_, attempt, _)| next.step_of(attempt))
        .flat_map(Step::legs)
        .map(place)
        .collect()
}

/// Every way to a person that the alert has used.
pub(super) fn reached(alert: &Alert) -> Vec<(Channel, &Address)> {
    newly_reached(None, alert)
}

fn place(leg: &Leg) -> (Channel, &Address) {
    (leg.channel, &leg.address)
}

fn ids(attempt: &Attempt) -> impl Iterator<Item = &ProviderId> {
    attempt.provider_ids.iter().chain(attempt.messages.iter().map(|message| &message.id))
}

fn attempts_with_earlier<'a>(
    seen: Option<&'a Alert>,
    next: &'a Alert,
) -> impl Iterator<Item = (AttemptNumber, &'a Attempt, Option<&'a Attempt>)> + use<'a> {
    (1..).zip(&next.attempts).map(move |(number, attempt)| {
        let earlier = seen.and_then(|seen| seen.attempt(number));
        (number, attempt, earlier)
    })
}
