//! Which kinds of events were seen in which kinds of states, and what came of it.

use std::collections::BTreeSet;

use callout::escalation::{
    Alert, Event, Intent, Progress, Reach, ReportStatus, Status, TroubleOutcome, Verdict, Why, WorkflowOutcome,
};
use callout::id::AttemptNumber;

use super::course::is_current;
use super::rules::Seen;

/// A line of the list: the state before, what happened, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pair {
    before: &'static str,
    event: &'static str,
    about: &'static str,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Stays(callout::escalation::Ignored),
    Is(&'static str),
    Next(&'static str),
}

impl Pair {
    pub(crate) fn of(seen: &Seen<'_>) -> Self {
        let (event, attempt) = kind_of_event(seen.event);
        let about = match attempt {
            None => "",
            Some(number) if is_current(seen.before, number) => " current",
            Some(number) if (1..=seen.before.newest_attempt()).contains(&number) => " earlier",
            Some(_) => " unknown",
        };
        let outcome = match seen.verdict {
            Verdict::Stay(ignored) => Outcome::Stays(*ignored),
            Verdict::Move { next, .. } if next.attempts.len() > seen.before.attempts.len() => {
                Outcome::Next(kind_of_state(next))
            }
            Verdict::Move { next, .. } => Outcome::Is(kind_of_state(next)),
        };
        Self { before: kind_of_state(seen.before), event, about, outcome }
    }
}

/// The list as it is checked in; a star marks what a story tells too.
pub(crate) fn list(walked: &BTreeSet<Pair>, told: &BTreeSet<Pair>) -> String {
    let lines = walked.union(told).map(|pair| {
        let mark = if told.contains(pair) { '*' } else { ' ' };
        let outcome = match pair.outcome {
            Outcome::Stays(ignored) => format!("nothing ({ignored:?})"),
            Outcome::Is(kind) => kind.to_owned(),
            Outcome::Next(kind) => format!("next attempt, {kind}"),
        };
        format!("{mark} {:<13} {:<28} → {outcome}\n", pair.before, format!("{}{}", pair.event, pair.about))
    });
    lines.collect()
}

fn kind_of_state(alert: &Alert) -> &'static str {
    match alert.status {
        Status::Escalating(Progress::Ready { why: Why::First, .. }) => "ready",
        Status::Escalating(Progress::Ready { why: Why::Retry, .. }) => "to retry",
        Status::Escalating(Progress::Ready { why: Why::Unknown, .. }) => "to repeat",
        Status::Escalating(Progress::Sending { .. }) => "sending",
        Status::Escalating(Progress::Waiting { .. }) => "waiting",
        Status::Acknowledged => "acknowledged",
        Status::Exhausted => "exhausted",
        Status::Resolved => "resolved",
    }
}

fn kind_of_event(event: &Event) -> (&'static str, Option<AttemptNumber>) {
    match event {
        Event::TimePassed { reach: Reach::Open } => ("time", None),
        Event::TimePassed { reach: Reach::Doubtful } => ("time, doubtful", None),
        Event::TimePassed { reach: Reach::Blocked } => ("time, blocked", None),
        Event::OutageOver => ("outage over", None),
        Event::TurnCame => ("turn", None),
        Event::SenderLost => ("sender lost", None),
        Event::Accepted { attempt, .. } => ("accepted", Some(*attempt)),
        Event::Refused { attempt, .. } => ("refused", Some(*attempt)),
        Event::Trouble { attempt, trouble, .. } => match trouble.outcome {
            TroubleOutcome::NotSent => ("trouble, not sent", Some(*attempt)),
            TroubleOutcome::Unknown => ("trouble, unknown outcome", Some(*attempt)),
        },
        Event::Reported { attempt, report } => match report.status {
            ReportStatus::Submitted => ("submitted", Some(*attempt)),
            ReportStatus::Delivered => ("delivered", Some(*attempt)),
            ReportStatus::Rejected => ("rejected", Some(*attempt)),
            ReportStatus::Undeliverable => ("undeliverable", Some(*attempt)),
            ReportStatus::Read => ("read", Some(*attempt)),
        },
        Event::WorkflowEnded { attempt, outcome, .. } => match outcome {
            WorkflowOutcome::Completed => ("workflow completed", Some(*attempt)),
            WorkflowOutcome::Error => ("workflow error", Some(*attempt)),
        },
        Event::Replied { attempt, reply } => match reply.intent {
            Intent::Acknowledge => ("reply", Some(*attempt)),
            Intent::NextUser => ("reply, next", Some(*attempt)),
            Intent::Resolve => ("reply, resolve", Some(*attempt)),
            Intent::OptOut => ("reply, stop", Some(*attempt)),
        },
        Event::Acknowledge { .. } => ("acknowledge", None),
        Event::NextUser { attempt, .. } => ("next", *attempt),
        Event::Resolve { .. } => ("resolve", None),
        Event::Repeated => ("repeat", None),
    }
}
