//! A test of the tests: machines with one deliberate bug each, and which rule or story finds it.
//!
//! Each bug is the true machine with its question or its answer bent a little, as a slip in the code
//! would. The rule named beside it is the one that the walk over every state reports; a bug that the
//! walk lets pass would show here, as would one that no story notices.

#![expect(clippy::wildcard_enum_match_arm, reason = "a bug bends the events that it is about")]

use std::time::Duration;

use callout::escalation::{
    Alert, Effect, Ending, Event, Happening, Ignored, Intent, Progress, Reach, Report, ReportStatus, Status, Verdict,
    Why, WorkflowOutcome, next_wake, step,
};
use callout::timestamp::Timestamp;

use crate::machine::StepFn;
use crate::machine::story;
use crate::machine::walk::{Detail, walk};

/// A deliberately wrong machine.
struct Bug {
    name: &'static str,
    machine: StepFn,
    /// A small plan that has whatever the bug needs to show.
    plan: &'static str,
    /// The rule that the walk finds broken.
    breaks: &'static str,
}

const BUGS: &[Bug] = &[
    Bug { name: "skips a user", machine: skips_a_user, plan: USERS, breaks: ORDER },
    Bug { name: "makes two steps at once", machine: makes_two_steps_at_once, plan: USERS, breaks: ORDER },
    Bug { name: "forgets that there are rounds", machine: forgets_rounds, plan: ROUNDS, breaks: EXHAUSTED },
    Bug { name: "is exhausted before the last user", machine: gives_up_early, plan: USERS, breaks: EXHAUSTED },
    Bug { name: "spares no channel after a delivery", machine: ignores_the_condition, plan: USERS, breaks: ORDER },
    Bug { name: "spares channels at the delivery", machine: spares_at_once, plan: ROUNDS, breaks: EARLY },
    Bug { name: "lets an early timer fire", machine: fires_early, plan: ROUNDS, breaks: EARLY_LOOK },
    Bug { name: "goes on during an outage", machine: ignores_the_outage, plan: ROUNDS, breaks: EARLY },
    Bug { name: "is exhausted in doubt", machine: ignores_doubt, plan: ROUNDS, breaks: EARLY },
    Bug { name: "gives up while nothing gets through", machine: gives_up_in_an_outage, plan: ROUNDS, breaks: EARLY },
    Bug { name: "counts what failed elsewhere", machine: counts_what_failed_elsewhere, plan: ROUNDS, breaks: EARLY },
    Bug { name: "takes an answer to an earlier try", machine: mixes_up_tries, plan: ROUNDS, breaks: EARLY },
    Bug { name: "moves on a failure of an earlier message", machine: mixes_up_attempts, plan: USERS, breaks: EARLY },
    Bug { name: "obeys an earlier user's next", machine: obeys_anybody, plan: USERS, breaks: EARLY },
    Bug { name: "takes `completed` for the end", machine: completed_is_the_end, plan: WORKFLOW, breaks: EARLY },
    Bug { name: "never gives a channel up", machine: never_gives_up, plan: ROUNDS, breaks: LATE },
    Bug { name: "waits out a rejected message", machine: waits_out_failures, plan: ROUNDS, breaks: LATE },
    Bug { name: "sends a refused message again", machine: repeats_refused, plan: ROUNDS, breaks: LATE },
    Bug { name: "overlooks the expiry by a moment", machine: fires_late, plan: ROUNDS, breaks: CLOCK },
    Bug { name: "counts delivered as read", machine: delivered_is_read, plan: ROUNDS, breaks: PEOPLE_ONLY },
    Bug { name: "counts `completed` as read", machine: completed_is_read, plan: WORKFLOW, breaks: PEOPLE_ONLY },
    Bug { name: "loses the late read", machine: loses_late_reads, plan: USERS, breaks: READ },
    Bug { name: "loses the read after exhausted", machine: loses_reads_after_exhausted, plan: ROUNDS, breaks: READ },
    Bug { name: "lets a read reopen what is resolved", machine: reopens_resolved, plan: ROUNDS, breaks: READ },
    Bug { name: "moves after acknowledgement", machine: moves_after_acknowledgement, plan: ROUNDS, breaks: SETTLED },
    Bug {
        name: "sends again after acknowledgement",
        machine: sends_after_acknowledgement,
        plan: ROUNDS,
        breaks: SETTLED,
    },
    Bug { name: "forgets who was first", machine: forgets_the_first, plan: ROUNDS, breaks: FIRST },
    Bug { name: "forgets to send", machine: forgets_to_send, plan: ROUNDS, breaks: SEND },
    Bug { name: "sends twice", machine: sends_twice, plan: ROUNDS, breaks: SEND },
    Bug { name: "counts no tries", machine: counts_no_tries, plan: ROUNDS, breaks: SEND },
    Bug {
        name: "measures the expiry from the send",
        machine: measures_from_the_send,
        plan: ROUNDS,
        breaks: WHOLE_EXPIRY,
    },
    Bug { name: "restarts the wait at the delivery", machine: restarts_the_wait, plan: ROUNDS, breaks: DEADLINE },
    Bug { name: "gives no time after an outage", machine: gives_no_time, plan: ROUNDS, breaks: HELD },
    Bug { name: "tries again at once", machine: tries_again_at_once, plan: ROUNDS, breaks: BACKOFF },
    Bug { name: "leaves lost sends alone", machine: leaves_lost_sends, plan: ROUNDS, breaks: LOST },
    Bug { name: "repeats lost sends silently", machine: repeats_silently, plan: ROUNDS, breaks: LOST },
    Bug { name: "undoes a rejection", machine: undoes_a_rejection, plan: USERS, breaks: WEAKER },
    Bug { name: "obeys a doubled reply twice", machine: obeys_twice, plan: ROUNDS, breaks: TWICE },
    Bug { name: "tells of every delivery", machine: tells_twice, plan: ROUNDS, breaks: ONCE },
];

const ORDER: &str = "the order is kept and nobody is skipped";
const EXHAUSTED: &str = "an alert is exhausted only after the last round";
const EARLY: &str = "nobody is called before there is a reason";
const LATE: &str = "whoever is next is called when there is a reason";
const EARLY_LOOK: &str = "an early look at the clock changes nothing";
const CLOCK: &str = "the clock alone ends every alert";
const PEOPLE_ONLY: &str = "nothing but a person's answer acknowledges";
const READ: &str = "a read acknowledges at once, whatever came before";
const SETTLED: &str = "what is settled stays settled";
const FIRST: &str = "the first acknowledgement stays";
const SEND: &str = "a send is asked for exactly when its turn came";
const WHOLE_EXPIRY: &str = "the wait begins with acceptance and lasts the whole expiry";
const DEADLINE: &str = "nothing but the end of an outage moves a deadline";
const HELD: &str = "a held alert gets a full expiry when the outage is over";
const BACKOFF: &str = "a failed send is made again after its backoff";
const LOST: &str = "a lost send is made again, and the timeline says so";
const WEAKER: &str = "a weaker report never undoes a stronger one";
const TWICE: &str = "what is seen twice acts once";
const ONCE: &str = "the timeline tells each thing once";

const ROUNDS: &str = "plan messages, repeat 1\n  Tony: messenger 0:02";
const USERS: &str = "plan messages, repeat 0\n  Tony: messenger 0:02 delivered, sms 2:00\n  Michael: rcs 0:30";
const WORKFLOW: &str = "plan dispatch, repeat 0\n  Tony: messenger 0:15, sms 0:30";

#[test]
fn the_walk_finds_every_planted_bug_by_the_rule_it_breaks() {
    let mut problems = Vec::new();
    for bug in BUGS {
        match walk(bug.plan, Detail::Current, bug.machine).err() {
            None => problems.push(format!("`{}` is not found by the walk", bug.name)),
            Some(broken) if broken.rule != bug.breaks => {
                problems.push(format!("`{}` breaks `{}`, not `{}`", bug.name, broken.rule, bug.breaks));
            }
            Some(_) => {}
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn some_story_goes_differently_with_every_planted_bug() {
    let stories = story::all();
    for bug in BUGS {
        let notices = |(_, text): &&(String, String)| story::play(text, bug.machine).text != *text;
        assert!(stories.iter().any(|story| notices(&story)), "no story notices `{}`", bug.name);
    }
}

/// The true verdict with the alert afterwards bent.
fn bent(alert: &Alert, event: &Event, now: Timestamp, bend: impl FnOnce(&mut Alert, &mut Vec<Effect>)) -> Verdict {
    match step(alert, event, now) {
        Verdict::Stay(ignored) => Verdict::Stay(ignored),
        Verdict::Move { mut next, mut effects } => {
            bend(&mut next, &mut effects);
            Verdict::Move { next, effects }
        }
    }
}

fn is_report(event: &Event, status: ReportStatus) -> bool {
    matches!(event, Event::Reported { report, .. } if report.status == status)
}

fn skips_a_user(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        let n_steps = u32::try_from(next.plan().steps().len()).unwrap_or(u32::MAX);
        if let Some(newest) = next.attempts.last_mut().filter(|_| alert.attempts.len() == 1)
            && newest.step > 0
            && newest.step + 1 < n_steps
        {
            newest.step += 1;
        }
    })
}

fn makes_two_steps_at_once(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let verdict = step(alert, event, now);
    match (&verdict, event) {
        (Verdict::Move { next, .. }, Event::TimePassed { .. }) if next.attempts.len() > alert.attempts.len() => {
            match step(next, &Event::NextUser { by: "".into(), attempt: None }, now) {
                Verdict::Stay(_) => verdict,
                moved @ Verdict::Move { .. } => moved,
            }
        }
        (_, _) => verdict,
    }
}

fn forgets_rounds(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        if next.round > alert.round {
            next.attempts.pop();
            next.round = alert.round;
            next.status = Status::Exhausted;
        }
    })
}

fn gives_up_early(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        if next.attempts.len() > 2 && next.attempts.len() > alert.attempts.len() {
            next.attempts.pop();
            next.round = alert.round;
            next.status = Status::Exhausted;
        }
    })
}

fn ignores_the_condition(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let mut undelivered = alert.clone();
    if let (Event::TimePassed { .. }, Some(newest)) = (event, undelivered.attempts.last_mut()) {
        newest.delivered_at = None;
    }
    match step(&undelivered, event, now) {
        Verdict::Stay(ignored) => Verdict::Stay(ignored),
        Verdict::Move { mut next, effects } => {
            for (after, before) in next.attempts.iter_mut().zip(&alert.attempts) {
                after.delivered_at = after.delivered_at.or(before.delivered_at);
            }
            Verdict::Move { next, effects }
        }
    }
}

fn spares_at_once(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let verdict = step(alert, event, now);
    match &verdict {
        Verdict::Move { next, .. } if is_report(event, ReportStatus::Delivered) && next.progress().is_some() => {
            match next_wake(next) {
                Some(wake) => step(next, &Event::TimePassed { reach: Reach::Open }, wake),
                None => verdict,
            }
        }
        Verdict::Move { .. } | Verdict::Stay(_) => verdict,
    }
}

fn fires_early(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let is_look = matches!(event, Event::TimePassed { .. });
    let wake = next_wake(alert).filter(|_| is_look).unwrap_or(now);
    let is_close = wake.since(now) <= Duration::from_millis(1);
    step(alert, event, if is_close { wake.max(now) } else { now })
}

fn fires_late(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    match (event, alert.progress()) {
        (Event::TimePassed { .. }, Some(Progress::Waiting { until })) if until == now => {
            Verdict::Stay(Ignored::NotYetDue)
        }
        (_, _) => step(alert, event, now),
    }
}

fn ignores_the_outage(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    match event {
        Event::TimePassed { reach: Reach::Blocked } => step(alert, &Event::TimePassed { reach: Reach::Open }, now),
        event => step(alert, event, now),
    }
}

fn ignores_doubt(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    match event {
        Event::TimePassed { reach: Reach::Doubtful } => step(alert, &Event::TimePassed { reach: Reach::Open }, now),
        event => step(alert, event, now),
    }
}

/// The true verdict for a trouble that knows of this last accepted send.
fn with_last_accepted(alert: &Alert, event: &Event, now: Timestamp, last: Option<Timestamp>) -> Verdict {
    let mut event = event.clone();
    if let Event::Trouble { trouble, .. } = &mut event {
        trouble.last_accepted_at = last;
    }
    step(alert, &event, now)
}

fn gives_up_in_an_outage(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    with_last_accepted(alert, event, now, Some(now))
}

fn counts_what_failed_elsewhere(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let mut event = event.clone();
    if let Event::Trouble { trouble, .. } = &mut event {
        trouble.failing_here_since = None;
    }
    step(alert, &event, now)
}

fn never_gives_up(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    with_last_accepted(alert, event, now, None)
}

fn mixes_up_tries(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let mut event = event.clone();
    if let Event::Refused { attempt, try_number, .. } = &mut event {
        *try_number = alert.attempt(*attempt).map_or(0, |attempt| attempt.tries);
    }
    step(alert, &event, now)
}

fn mixes_up_attempts(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let is_failure = is_report(event, ReportStatus::Rejected) || is_report(event, ReportStatus::Undeliverable);
    match event {
        Event::Reported { attempt, report } if is_failure && *attempt < alert.newest_attempt() => {
            let report = Report { id: None, ..report.clone() };
            step(alert, &Event::Reported { attempt: alert.newest_attempt(), report }, now)
        }
        event => step(alert, event, now),
    }
}

fn obeys_anybody(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let newest = alert.newest_attempt();
    let is_begun = alert.attempt(newest).is_some_and(|attempt| attempt.tries > 0);
    match event {
        Event::Replied { attempt, reply } if reply.intent == Intent::NextUser && *attempt < newest && is_begun => {
            step(alert, &Event::Replied { attempt: newest, reply: reply.clone() }, now)
        }
        event => step(alert, event, now),
    }
}

fn completed_is_the_end(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let mut event = event.clone();
    if let Event::WorkflowEnded { outcome, .. } = &mut event {
        *outcome = WorkflowOutcome::Error;
    }
    step(alert, &event, now)
}

fn waits_out_failures(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    if is_report(event, ReportStatus::Rejected) || is_report(event, ReportStatus::Undeliverable) {
        return Verdict::Stay(Ignored::AlreadyKnown);
    }
    step(alert, event, now)
}

fn repeats_refused(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    match (event, alert.progress()) {
        (Event::Refused { attempt, .. }, Some(Progress::Sending { .. })) if *attempt == alert.newest_attempt() => {
            step(alert, &Event::SenderLost, now)
        }
        (_, _) => step(alert, event, now),
    }
}

fn delivered_is_read(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let mut event = event.clone();
    if let Event::Reported { report, .. } = &mut event
        && report.status == ReportStatus::Delivered
    {
        report.status = ReportStatus::Read;
    }
    step(alert, &event, now)
}

fn completed_is_read(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    match event {
        Event::WorkflowEnded { attempt, outcome: WorkflowOutcome::Completed, .. } => {
            let report = Report { id: None, leg: 0, status: ReportStatus::Read, failure: None };
            step(alert, &Event::Reported { attempt: *attempt, report }, now)
        }
        event => step(alert, event, now),
    }
}

fn loses_late_reads(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    match event {
        Event::Reported { attempt, report }
            if report.status == ReportStatus::Read && *attempt < alert.newest_attempt() =>
        {
            Verdict::Stay(Ignored::OldAttempt)
        }
        event => step(alert, event, now),
    }
}

fn loses_reads_after_exhausted(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    if alert.status == Status::Exhausted && is_report(event, ReportStatus::Read) {
        return Verdict::Stay(Ignored::NotEscalating);
    }
    step(alert, event, now)
}

fn reopens_resolved(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        if alert.status == Status::Resolved && is_report(event, ReportStatus::Read) {
            next.status = Status::Acknowledged;
        }
    })
}

fn moves_after_acknowledgement(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        if alert.status == Status::Acknowledged && is_report(event, ReportStatus::Submitted) {
            next.status = Status::Escalating(Progress::Ready { from: now, why: Why::First });
        }
    })
}

fn sends_after_acknowledgement(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, effects| {
        if alert.status == Status::Acknowledged && matches!(event, Event::Accepted { .. }) {
            effects.push(Effect::Send { attempt: next.newest_attempt(), try_number: 1 });
        }
    })
}

fn forgets_the_first(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let mut next = alert.clone();
    match (event, &mut next.acknowledged) {
        (Event::Acknowledge { by, .. }, Some(first)) if first.by != *by && alert.status == Status::Acknowledged => {
            first.by.clone_from(by);
            Verdict::Move { next, effects: Vec::new() }
        }
        (_, _) => step(alert, event, now),
    }
}

fn forgets_to_send(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |_, effects| effects.clear())
}

fn sends_twice(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |_, effects| {
        let again = effects.clone();
        effects.extend(again);
    })
}

fn counts_no_tries(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        if let (Event::TurnCame, Some(newest)) = (event, next.attempts.last_mut())
            && newest.tries > 1
        {
            newest.tries -= 1;
        }
    })
}

fn measures_from_the_send(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        if let (Some(Progress::Sending { until: lease }), Status::Escalating(Progress::Waiting { until })) =
            (alert.progress(), &mut next.status)
        {
            let left = lease.since(now);
            *until = Timestamp::from_millis(until.as_millis() - 30_000).plus(left + Duration::from_millis(1));
        }
    })
}

fn restarts_the_wait(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        if let Status::Escalating(Progress::Waiting { until }) = &mut next.status
            && is_report(event, ReportStatus::Delivered)
            && next_wake(alert) == Some(*until)
        {
            *until = until.plus(Duration::from_secs(1));
        }
    })
}

fn gives_no_time(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    match event {
        Event::OutageOver => Verdict::Stay(Ignored::NotYetDue),
        event => step(alert, event, now),
    }
}

fn tries_again_at_once(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        if let Status::Escalating(Progress::Ready { from, why: Why::Retry }) = &mut next.status {
            *from = now;
        }
    })
}

fn leaves_lost_sends(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    match (event, alert.progress()) {
        (Event::TimePassed { .. }, Some(Progress::Sending { .. })) => Verdict::Stay(Ignored::NotYetDue),
        (_, _) => step(alert, event, now),
    }
}

fn repeats_silently(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        next.timeline.retain(|entry| entry.happening != Happening::ResentAfterRestart);
    })
}

fn undoes_a_rejection(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        if is_report(event, ReportStatus::Delivered) {
            for attempt in &mut next.attempts {
                if attempt.ending == Some(Ending::Rejected) {
                    attempt.ending = Some(Ending::Expired);
                }
            }
        }
    })
}

fn obeys_twice(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| next.answered.clear())
}

fn tells_twice(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    bent(alert, event, now, |next, _| {
        if is_report(event, ReportStatus::Delivered)
            && let Some(entry) = next.timeline.last().cloned()
        {
            next.timeline.push(entry);
        }
    })
}
