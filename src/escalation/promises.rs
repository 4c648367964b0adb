//! What is true of every alert, and of every change of an alert. Tests ask after each step; stores ask
//! before they write and after they read.

use std::collections::BTreeSet;

use crate::contact::Channel;
use crate::id::ProviderId;

use super::alert::{Alert, Attempt, Progress, Status};
use super::event::{Effect, Tone, Verdict};
use super::plan::{ATTEMPTS_MAX, Confirm};

/// The promise that this alert breaks by itself, if it breaks one.
pub fn broken_promise(alert: &Alert) -> Option<&'static str> {
    let Some(newest) = alert.attempts.last() else { return Some("an alert has an attempt") };
    if alert.attempts.len() > ATTEMPTS_MAX {
        return Some("an alert has no more attempts than its plan allows");
    }
    if alert.attempts.iter().any(|attempt| alert.step_of(attempt).is_none()) {
        return Some("each attempt carries out a step of the plan");
    }
    if newest.round != alert.round || alert.round > alert.plan().repeat().saturating_add(1) {
        return Some("the round is the newest attempt's, and one of the plan's");
    }
    if alert.attempts.windows(2).any(|pair| matches!(pair, [earlier, later] if goes_back(earlier, later))) {
        return Some("attempts follow the order of the plan");
    }
    if alert.attempts.iter().rev().skip(1).any(|attempt| attempt.ending.is_none()) {
        return Some("every attempt but the newest has ended");
    }
    if alert.attempts.iter().any(|attempt| attempt.sent_at.is_some() && attempt.tries == 0) {
        return Some("what was sent was begun");
    }
    broken_status(alert, newest)
}

fn broken_status(alert: &Alert, newest: &Attempt) -> Option<&'static str> {
    match alert.status {
        Status::Escalating(progress) => {
            if alert.acknowledged.is_some() {
                return Some("an escalating alert is not acknowledged");
            }
            if newest.ending.is_some() {
                return Some("the current attempt has not ended");
            }
            let is_waiting = matches!(progress, Progress::Waiting { .. });
            if is_waiting && (newest.sent_at.is_none() || newest.expires_at.is_none()) {
                return Some("a wait begins when Vonage has accepted the message");
            }
            if !is_waiting && newest.sent_at.is_some() {
                return Some("what Vonage has accepted is waited for");
            }
            None
        }
        Status::Acknowledged if alert.acknowledged.is_none() => Some("an acknowledged alert says by whom"),
        Status::Exhausted if alert.acknowledged.is_some() => Some("an exhausted alert is not acknowledged"),
        Status::Acknowledged | Status::Exhausted | Status::Resolved => None,
    }
}

fn goes_back(earlier: &Attempt, later: &Attempt) -> bool {
    (later.round, later.step) <= (earlier.round, earlier.step)
}

/// The promise that a verdict breaks, given the alert it was made for.
pub fn broken_transition(before: &Alert, verdict: &Verdict) -> Option<&'static str> {
    let Verdict::Move { next, effects } = verdict else { return None };
    if let Some(promise) = broken_promise(next) {
        return Some(promise);
    }
    if before.raised != next.raised {
        return Some("what was posted never changes");
    }
    if !next.timeline.starts_with(&before.timeline) || next.attempts.len() < before.attempts.len() {
        return Some("history only grows");
    }
    if next.attempts.len() > before.attempts.len() + 1 {
        return Some("one event moves by one step");
    }
    if skips_somebody(before, next) {
        return Some("nobody is skipped");
    }
    let was_sending = matches!(before.status, Status::Escalating(Progress::Sending { .. }));
    let is_sending = matches!(next.status, Status::Escalating(Progress::Sending { .. }));
    let n_sends = effects.iter().filter(|effect| matches!(effect, Effect::Send { .. })).count();
    if n_sends != usize::from(is_sending && !was_sending) {
        return Some("the right to send and the wish to send come together");
    }
    broken_aftermath(before, next, effects).or_else(|| broken_settlement(before, next))
}

/// What is asked for when nobody needs to be called any more.
fn broken_aftermath(before: &Alert, next: &Alert, effects: &[Effect]) -> Option<&'static str> {
    let is_acknowledged_now = before.acknowledged.is_none() && next.status == Status::Acknowledged;
    let mut told = BTreeSet::new();
    let mut n_thanked = 0;
    for effect in effects {
        match effect {
            Effect::Send { .. } => {}
            Effect::Tell { .. } if !is_acknowledged_now || next.plan().confirm() != Confirm::Everybody => {
                return Some("people are told who has the alert when it is acknowledged, if the plan says so");
            }
            Effect::Tell { attempt, leg, tone } => {
                n_thanked += usize::from(*tone == Tone::Thanks);
                let attempt = next.attempt(*attempt).filter(|attempt| attempt.tries > 0);
                let leg = attempt
                    .and_then(|attempt| next.step_of(attempt))
                    .and_then(|step| step.legs().nth(usize::from(*leg)));
                if !leg.is_some_and(|leg| told.insert((leg.channel, &leg.address))) || n_thanked > 1 {
                    return Some("only who was messaged is told who has the alert, and each address once");
                }
            }
            Effect::Revoke { attempt, id } => {
                let attempt = next.attempt(*attempt);
                let is_open = matches!(next.status, Status::Escalating(_) | Status::Exhausted);
                if is_open || !attempt.is_some_and(|attempt| is_unread_rcs(next, attempt, id)) {
                    return Some("only an unread RCS message of a settled alert is taken back");
                }
            }
        }
    }
    None
}

fn is_unread_rcs(alert: &Alert, attempt: &Attempt, id: &ProviderId) -> bool {
    attempt.read_at.is_none()
        && attempt.provider_ids.contains(id)
        && alert.step_of(attempt).is_some_and(|step| step.first.channel == Channel::Rcs)
}

fn broken_settlement(before: &Alert, next: &Alert) -> Option<&'static str> {
    let may_follow = match before.status {
        Status::Escalating(_) => true,
        Status::Acknowledged => matches!(next.status, Status::Acknowledged | Status::Resolved),
        Status::Exhausted => matches!(next.status, Status::Exhausted | Status::Acknowledged | Status::Resolved),
        Status::Resolved => next.status == Status::Resolved,
    };
    if !may_follow {
        return Some("what is settled never escalates again");
    }
    if before.acknowledged.is_some() && before.acknowledged != next.acknowledged {
        return Some("the first acknowledgement stays");
    }
    if before.progress().is_none() && before.attempts.len() != next.attempts.len() {
        return Some("a settled alert begins no attempt");
    }
    None
}

/// A step may be passed over only where a person asked for the next user, or where a delivered
/// message spares the user's other channels; then the steps passed over are all of the same user.
fn skips_somebody(before: &Alert, next: &Alert) -> bool {
    let (Some(from), Some(to)) = (before.attempts.last(), next.attempts.last()) else { return true };
    if before.attempts.len() == next.attempts.len() {
        return false;
    }
    let place = before.step_of(from).map(|step| step.place);
    let steps = before.plan().steps();
    let (from_step, to_step) = (usize_of(from.step), usize_of(to.step));
    let passed = if to.round == from.round {
        steps.get(from_step.saturating_add(1)..to_step)
    } else if to.step == 0 {
        steps.get(from_step.saturating_add(1)..)
    } else {
        return true;
    };
    passed.is_none_or(|passed| passed.iter().any(|step| Some(step.place) != place))
}

fn usize_of(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
