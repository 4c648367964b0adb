//! Whether an event gives an alert a reason to go on, and where to: the rules of escalation said once
//! more, in other words than the machine's, so that one can be held against the other.

use std::time::Duration;

use callout::escalation::{
    Alert, Attempt, Backend, Condition, Event, Intent, Progress, Reach, Report, ReportStatus, Status, Step, Trouble,
    WorkflowOutcome,
};
use callout::id::AttemptNumber;
use callout::timestamp::Timestamp;

use super::rules::Seen;

/// Where an alert goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// It stays with the current attempt, or is over already.
    Stay,
    /// To this step of this round.
    To { round: u32, step: u32 },
    /// Nobody is left.
    Exhausted,
}

/// Whom to leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Channel,
    User,
}

/// Where the rules send the alert.
pub(crate) fn due_course(seen: &Seen<'_>) -> Course {
    let Status::Escalating(progress) = seen.before.status else { return Course::Stay };
    match reason(seen, progress) {
        None => Course::Stay,
        Some(leave) => place_after(seen.before, leave),
    }
}

/// Where the machine sent the alert.
pub(crate) fn taken_course(before: &Alert, next: &Alert) -> Course {
    match (&before.status, &next.status, next.attempts.last()) {
        (Status::Escalating(_), Status::Exhausted, _) => Course::Exhausted,
        (_, _, Some(newest)) if next.attempts.len() > before.attempts.len() => {
            Course::To { round: newest.round, step: newest.step }
        }
        (_, _, _) => Course::Stay,
    }
}

fn reason(seen: &Seen<'_>, progress: Progress) -> Option<Leave> {
    let alert = seen.before;
    let newest = alert.attempts.last()?;
    match seen.event {
        Event::TimePassed { reach } => expiry(alert, newest, progress, *reach, seen.now),
        Event::Refused { attempt, try_number, .. } => {
            is_in_flight(alert, progress, *attempt, *try_number).then_some(Leave::Channel)
        }
        Event::Trouble { attempt, try_number, trouble } => {
            let has_had_its_chance = is_in_flight(alert, progress, *attempt, *try_number)
                && is_given_up(newest, alert.step_of(newest)?, trouble, seen.now);
            has_had_its_chance.then_some(Leave::Channel)
        }
        Event::Reported { attempt, report } => {
            (is_current(alert, *attempt) && ends_attempt(alert, newest, report)).then_some(Leave::Channel)
        }
        Event::WorkflowEnded { attempt, outcome, messages } => {
            let is_read = messages.iter().any(|message| message.status == ReportStatus::Read);
            let has_failed = *outcome == WorkflowOutcome::Error
                || messages.iter().any(|message| ends_attempt(alert, newest, message));
            (is_current(alert, *attempt) && newest.tries > 0 && has_failed && !is_read).then_some(Leave::Channel)
        }
        Event::NextUser { attempt, .. } => {
            attempt.is_none_or(|attempt| is_current(alert, attempt)).then_some(Leave::User)
        }
        Event::Replied { attempt, reply } => {
            let is_news = reply.id.as_ref().is_none_or(|id| !alert.answered.contains(id));
            let is_obeyed = reply.intent == Intent::NextUser && is_news && is_from_current_user(alert, *attempt);
            is_obeyed.then_some(Leave::User)
        }
        Event::OutageOver
        | Event::TurnCame
        | Event::SenderLost
        | Event::Accepted { .. }
        | Event::Acknowledge { .. }
        | Event::Resolve { .. }
        | Event::Repeated => None,
    }
}

fn expiry(alert: &Alert, newest: &Attempt, progress: Progress, reach: Reach, now: Timestamp) -> Option<Leave> {
    let Progress::Waiting { until } = progress else { return None };
    let is_spared = alert.step_of(newest)?.last().condition == Condition::Delivered
        && newest.delivered_at.is_some_and(|delivered| Some(delivered) <= newest.expires_at);
    let leave = if is_spared { Leave::User } else { Leave::Channel };
    let would_exhaust = place_after(alert, leave) == Course::Exhausted;
    let is_held = reach == Reach::Blocked || (reach == Reach::Doubtful && would_exhaust);
    (until <= now && !is_held).then_some(leave)
}

fn is_given_up(newest: &Attempt, step: &Step, trouble: &Trouble, now: Timestamp) -> bool {
    let patience = step.window().min(Duration::from_mins(1));
    let failing = newest.failing_since.map_or(Duration::ZERO, |since| now.since(since));
    let failing_here = trouble.failing_here_since.map_or(failing, |since| now.since(since));
    let others_got_through = match (newest.failed_at, trouble.last_accepted_at) {
        (Some(previous), Some(accepted)) => previous < accepted,
        (_, _) => false,
    };
    failing.min(failing_here) >= patience && others_got_through
}

/// Whether a report says that the attempt's only or last message failed.
fn ends_attempt(alert: &Alert, newest: &Attempt, report: &Report) -> bool {
    let has_failed = matches!(report.status, ReportStatus::Rejected | ReportStatus::Undeliverable);
    let concerns_us = match alert.plan().backend() {
        Backend::Messages => match (&report.id, newest.provider_ids.last()) {
            (Some(id), Some(newest_id)) => id == newest_id,
            (_, _) => true,
        },
        Backend::Dispatch => {
            alert.step_of(newest).is_some_and(|step| step.legs().count() <= usize::from(report.leg) + 1)
        }
    };
    newest.tries > 0 && has_failed && concerns_us
}

pub(crate) fn is_current(alert: &Alert, number: AttemptNumber) -> bool {
    matches!(alert.status, Status::Escalating(_)) && alert.newest_attempt() == number
}

fn is_in_flight(alert: &Alert, progress: Progress, number: AttemptNumber, try_number: u32) -> bool {
    let tries = alert.attempts.last().map(|attempt| attempt.tries);
    matches!(progress, Progress::Sending { .. }) && is_current(alert, number) && tries == Some(try_number)
}

fn is_from_current_user(alert: &Alert, number: AttemptNumber) -> bool {
    let user = |attempt: &Attempt| alert.step_of(attempt).map(|step| &step.user);
    match (alert.attempt(number), alert.attempts.last()) {
        (Some(answered), Some(newest)) => answered.tries > 0 && user(answered) == user(newest),
        (_, _) => false,
    }
}

/// Every place that the plan has, in order, and the one that follows.
fn place_after(alert: &Alert, leave: Leave) -> Course {
    let Some(newest) = alert.attempts.last() else { return Course::Exhausted };
    let steps = alert.plan().steps();
    let places = (1..=alert.plan().repeat() + 1).flat_map(|round| (0_u32..).zip(steps).map(move |step| (round, step)));
    let left = alert.step_of(newest).map(|step| step.place);
    places
        .filter(|(round, (index, _))| (*round, *index) > (newest.round, newest.step))
        .find(|(round, (_, step))| leave == Leave::Channel || *round > newest.round || Some(step.place) != left)
        .map_or(Course::Exhausted, |(round, (step, _))| Course::To { round, step })
}
