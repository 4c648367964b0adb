//! What must be true of every single thing a machine does, each rule with a name of its own.
//!
//! The rules look at the alert before, the event, the moment and the verdict, and at nothing else;
//! they repeat on purpose what `src/escalation/promises.rs` promises, from the outside.

use std::time::Duration;

use callout::escalation::{
    Alert, Attempt, Backend, Effect, Entry, Event, Happening, Intent, Progress, Report, ReportStatus, Status, Verdict,
    Via, Why, broken_transition, next_wake,
};
use callout::id::AttemptNumber;
use callout::timestamp::Timestamp;

use super::course::{Course, due_course, is_current, taken_course};

/// One thing that a machine did.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) before: &'a Alert,
    pub(crate) event: &'a Event,
    pub(crate) now: Timestamp,
    pub(crate) verdict: &'a Verdict,
}

/// Says whether a rule is kept.
type Rule = fn(&Seen<'_>) -> bool;

/// Every rule but those on the order, by name.
const RULES: [(&str, Rule); 17] = [
    ("a read acknowledges at once, whatever came before", a_read_wins),
    ("nothing but a person's answer acknowledges", only_people_acknowledge),
    ("people at the API and in replies are obeyed", people_are_obeyed),
    ("what is settled stays settled", settled_stays),
    ("the first acknowledgement stays", first_acknowledgement_stays),
    ("a send is asked for exactly when its turn came", sends_at_their_turn),
    ("the wait begins with acceptance and lasts the whole expiry", whole_expiry),
    ("nothing but the end of an outage moves a deadline", deadlines_stay),
    ("a held alert gets a full expiry when the outage is over", held_alerts_get_time),
    ("a failed send is made again after its backoff", backoff),
    ("a lost send is made again, and the timeline says so", lost_sends_are_repeated),
    ("an early look at the clock changes nothing", early_looks_are_harmless),
    ("a look at the clock is never asked for in the past", wakes_lie_ahead),
    ("a weaker report never undoes a stronger one", moments_stay),
    ("the message of the last answer is the newest", last_answer_names_newest),
    ("the timeline tells each thing once", told_once),
    ("a repetition is counted while the alert is open", repetitions_are_counted),
];

/// The rule that a machine broke with this, if it broke one.
pub(crate) fn broken_rule(seen: &Seen<'_>) -> Option<&'static str> {
    let broken = || RULES.iter().find(|(_, is_kept)| !is_kept(seen)).map(|(name, _)| *name);
    broken_order(seen).or_else(broken).or_else(|| broken_transition(seen.before, seen.verdict))
}

impl Seen<'_> {
    /// The alert afterwards.
    pub(crate) fn after(&self) -> &Alert {
        match self.verdict {
            Verdict::Stay(_) => self.before,
            Verdict::Move { next, .. } => next,
        }
    }

    /// The sends that are asked for. What else is asked for is judged by the promises.
    fn sends(&self) -> Vec<Effect> {
        let effects: &[Effect] = match self.verdict {
            Verdict::Stay(_) => &[],
            Verdict::Move { effects, .. } => effects,
        };
        effects.iter().filter(|effect| matches!(effect, Effect::Send { .. })).cloned().collect()
    }

    fn new_entries(&self) -> &[Entry] {
        self.after().timeline.get(self.before.timeline.len()..).unwrap_or_default()
    }

    fn course(&self) -> Course {
        match self.verdict {
            Verdict::Stay(_) => Course::Stay,
            Verdict::Move { next, .. } => taken_course(self.before, next),
        }
    }

    /// The attempt of the alert before that an event names, if a send of it was begun.
    fn begun(&self, number: AttemptNumber) -> Option<&Attempt> {
        self.before.attempt(number).filter(|attempt| attempt.tries > 0)
    }
}

fn broken_order(seen: &Seen<'_>) -> Option<&'static str> {
    match (due_course(seen), seen.course()) {
        (due, taken) if due == taken => None,
        (Course::Stay, _) => Some("nobody is called before there is a reason"),
        (_, Course::Stay) => Some("whoever is next is called when there is a reason"),
        (_, Course::Exhausted) => Some("an alert is exhausted only after the last round"),
        (_, Course::To { .. }) => Some("the order is kept and nobody is skipped"),
    }
}

/// The attempt whose message somebody opened, if the event says so.
fn opened(event: &Event) -> Option<AttemptNumber> {
    let is_read = |report: &Report| report.status == ReportStatus::Read;
    match event {
        Event::Reported { attempt, report } if is_read(report) => Some(*attempt),
        Event::WorkflowEnded { attempt, messages, .. } if messages.iter().any(is_read) => Some(*attempt),
        _ => None,
    }
}

fn a_read_wins(seen: &Seen<'_>) -> bool {
    let Some(number) = opened(seen.event).filter(|number| seen.begun(*number).is_some()) else { return true };
    let after = seen.after();
    let is_told = after.attempt(number).is_some_and(|attempt| attempt.read_at.is_some());
    match seen.before.status {
        Status::Escalating(_) | Status::Exhausted => {
            let by = after.attempt(number).and_then(|attempt| after.step_of(attempt)).map(|step| &*step.user);
            let acknowledgement = after.acknowledged.as_ref();
            is_told
                && after.status == Status::Acknowledged
                && acknowledgement.is_some_and(|acknowledgement| {
                    acknowledgement.via == Via::Read
                        && Some(&*acknowledgement.by) == by
                        && acknowledgement.at == seen.now
                })
        }
        Status::Acknowledged | Status::Resolved => is_told && after.status == seen.before.status,
    }
}

fn only_people_acknowledge(seen: &Seen<'_>) -> bool {
    if seen.before.acknowledged == seen.after().acknowledged {
        return true;
    }
    match seen.event {
        Event::Acknowledge { .. } => true,
        Event::Replied { attempt, reply } => reply.intent == Intent::Acknowledge && seen.begun(*attempt).is_some(),
        event => opened(event).is_some_and(|number| seen.begun(number).is_some()),
    }
}

fn people_are_obeyed(seen: &Seen<'_>) -> bool {
    let (before, after) = (seen.before.status, seen.after().status);
    let intent = match seen.event {
        Event::Acknowledge { .. } => Intent::Acknowledge,
        Event::Resolve { .. } => Intent::Resolve,
        Event::Replied { attempt, reply } => {
            let is_known = reply.id.as_ref().is_some_and(|id| seen.before.answered.contains(id));
            if seen.begun(*attempt).is_none() || is_known {
                return before == after;
            }
            reply.intent
        }
        _ => return true,
    };
    match (intent, before) {
        (_, Status::Resolved) | (Intent::Resolve, _) => after == Status::Resolved,
        (Intent::Acknowledge, _) => after == Status::Acknowledged,
        // Where it goes is the business of the order.
        (Intent::NextUser, Status::Escalating(_)) => matches!(after, Status::Escalating(_) | Status::Exhausted),
        (Intent::NextUser | Intent::OptOut, _) => after == before,
    }
}

fn settled_stays(seen: &Seen<'_>) -> bool {
    let after = &seen.after().status;
    let is_allowed = match seen.before.status {
        Status::Escalating(_) => true,
        Status::Exhausted => !matches!(after, Status::Escalating(_)),
        Status::Acknowledged => matches!(after, Status::Acknowledged | Status::Resolved),
        Status::Resolved => matches!(after, Status::Resolved),
    };
    let is_over = seen.before.progress().is_none();
    is_allowed && (!is_over || (seen.sends().is_empty() && seen.course() == Course::Stay))
}

fn first_acknowledgement_stays(seen: &Seen<'_>) -> bool {
    seen.before.acknowledged.is_none() || seen.before.acknowledged == seen.after().acknowledged
}

fn sends_at_their_turn(seen: &Seen<'_>) -> bool {
    let turn = match (seen.event, seen.before.progress()) {
        (Event::TurnCame, Some(Progress::Ready { from, .. })) => from <= seen.now,
        (_, _) => false,
    };
    let number = seen.before.newest_attempt();
    let tries = |alert: &Alert| alert.attempt(number).map_or(0, |attempt| attempt.tries);
    let tries_before = tries(seen.before);
    if turn {
        let expected = [Effect::Send { attempt: number, try_number: tries_before + 1 }];
        let is_sending = matches!(seen.after().progress(), Some(Progress::Sending { until }) if until > seen.now);
        seen.sends() == expected && is_sending && tries(seen.after()) == tries_before + 1
    } else {
        seen.sends().is_empty() && tries(seen.after()) == tries_before
    }
}

fn waiting_until(alert: &Alert) -> Option<Timestamp> {
    match alert.progress() {
        Some(Progress::Waiting { until }) => Some(until),
        Some(Progress::Ready { .. } | Progress::Sending { .. }) | None => None,
    }
}

fn window(alert: &Alert) -> Duration {
    let step = alert.attempts.last().and_then(|attempt| alert.step_of(attempt));
    step.map_or(Duration::ZERO, |step| step.legs().map(|leg| Duration::from_secs(leg.expiry_seconds.into())).sum())
}

fn whole_expiry(seen: &Seen<'_>) -> bool {
    let proves_acceptance = |number: AttemptNumber| is_current(seen.before, number) && seen.begun(number).is_some();
    let is_accepted = match seen.event {
        Event::Accepted { attempt, .. } => proves_acceptance(*attempt),
        Event::Reported { attempt, report } => {
            proves_acceptance(*attempt) && matches!(report.status, ReportStatus::Submitted | ReportStatus::Delivered)
        }
        _ => false,
    };
    match (waiting_until(seen.before), waiting_until(seen.after())) {
        (None, None) => !is_accepted,
        (None, Some(until)) => {
            until == seen.now.plus(window(seen.after())) && seen.before.attempts.len() == seen.after().attempts.len()
        }
        (Some(_), _) => true,
    }
}

fn deadlines_stay(seen: &Seen<'_>) -> bool {
    match (waiting_until(seen.before), waiting_until(seen.after())) {
        (Some(before), Some(after)) => before == after || *seen.event == Event::OutageOver,
        (_, _) => true,
    }
}

fn held_alerts_get_time(seen: &Seen<'_>) -> bool {
    match (seen.event, waiting_until(seen.before)) {
        (Event::OutageOver, Some(until)) if until <= seen.now => {
            waiting_until(seen.after()) == Some(seen.now.plus(window(seen.before)))
        }
        (Event::OutageOver, _) => seen.before.status == seen.after().status,
        (_, _) => true,
    }
}

fn backoff(seen: &Seen<'_>) -> bool {
    let Some(Progress::Ready { from, why: Why::Retry }) = seen.after().progress() else { return true };
    let Event::Trouble { try_number, trouble, .. } = seen.event else {
        return seen.before.status == seen.after().status;
    };
    if seen.before.status == seen.after().status {
        return true;
    }
    let doubled = Duration::from_millis(500) * 2_u32.pow((try_number - 1).min(10));
    let pause = from.since(seen.now);
    let backoff = doubled.min(Duration::from_secs(15));
    let asked = trouble.retry_after.unwrap_or_default().min(Duration::from_mins(1));
    let is_jittered = backoff * 4 / 5 <= pause && pause <= backoff * 6 / 5;
    if asked > backoff * 6 / 5 { pause == asked } else { is_jittered || pause == asked }
}

fn lost_sends_are_repeated(seen: &Seen<'_>) -> bool {
    let tells = seen.new_entries().iter().any(|entry| entry.happening == Happening::ResentAfterRestart);
    match (seen.event, seen.before.progress()) {
        (Event::TurnCame, Some(Progress::Ready { why, from })) if from <= seen.now => tells == (why == Why::Unknown),
        (Event::SenderLost, Some(Progress::Sending { .. })) => is_ready_again(seen),
        (Event::TimePassed { .. }, Some(Progress::Sending { until })) if until <= seen.now => is_ready_again(seen),
        (_, _) => !tells,
    }
}

fn is_ready_again(seen: &Seen<'_>) -> bool {
    seen.after().progress() == Some(Progress::Ready { from: seen.now, why: Why::Unknown })
}

fn early_looks_are_harmless(seen: &Seen<'_>) -> bool {
    let is_early = next_wake(seen.before).is_none_or(|wake| wake > seen.now);
    let is_look = matches!(seen.event, Event::TimePassed { .. } | Event::TurnCame | Event::OutageOver);
    !(is_early && is_look) || matches!(seen.verdict, Verdict::Stay(_))
}

fn wakes_lie_ahead(seen: &Seen<'_>) -> bool {
    if seen.before.status == seen.after().status {
        return true;
    }
    match seen.after().progress() {
        None => next_wake(seen.after()).is_none(),
        Some(_) => next_wake(seen.after()).is_some_and(|wake| wake >= seen.now),
    }
}

fn moments_stay(seen: &Seen<'_>) -> bool {
    fn stays<T: PartialEq>(before: Option<&T>, after: Option<&T>) -> bool {
        before.is_none() || before == after
    }
    let pairs = seen.before.attempts.iter().zip(&seen.after().attempts);
    pairs.into_iter().all(|(before, after)| {
        let messages = before.messages.iter().zip(&after.messages);
        stays(before.sent_at.as_ref(), after.sent_at.as_ref())
            && stays(before.submitted_at.as_ref(), after.submitted_at.as_ref())
            && stays(before.delivered_at.as_ref(), after.delivered_at.as_ref())
            && stays(before.read_at.as_ref(), after.read_at.as_ref())
            && stays(before.ending.as_ref(), after.ending.as_ref())
            && messages.into_iter().all(|(before, after)| before.id == after.id && before.status <= after.status)
    })
}

fn last_answer_names_newest(seen: &Seen<'_>) -> bool {
    if let Event::Accepted { attempt, id: Some(id) } = seen.event {
        let answered = seen.after().attempt(*attempt).filter(|answered| answered.tries > 0);
        return answered.is_none_or(|answered| answered.provider_ids.last() == Some(id));
    }
    let pairs = seen.before.attempts.iter().zip(&seen.after().attempts);
    pairs.into_iter().all(|(before, after)| {
        let newest = before.provider_ids.last();
        newest.is_none() || newest == after.provider_ids.last()
    })
}

fn told_once(seen: &Seen<'_>) -> bool {
    let timeline = &seen.after().timeline;
    seen.new_entries().iter().all(|entry| {
        let n_alike = timeline.iter().filter(|other| are_alike(entry, other)).count();
        n_alike <= may_be_told(seen.after(), entry)
    })
}

fn are_alike(entry: &Entry, other: &Entry) -> bool {
    let is_failure = |happening| matches!(happening, Happening::Rejected | Happening::Undeliverable);
    let is_same = entry.happening == other.happening || (is_failure(entry.happening) && is_failure(other.happening));
    is_same && entry.attempt == other.attempt
}

/// How often the timeline may tell of this: each message of a workflow has reports of its own.
fn may_be_told(alert: &Alert, entry: &Entry) -> usize {
    let n_messages = match (alert.plan().backend(), entry.attempt.and_then(|number| alert.attempt(number))) {
        (Backend::Dispatch, Some(attempt)) => alert.step_of(attempt).map_or(1, |step| step.legs().count()),
        (_, _) => 1,
    };
    match entry.happening {
        Happening::Submitted | Happening::Delivered | Happening::Read => n_messages,
        // The report on the workflow as a whole, and a message that was first rejected and then undeliverable.
        Happening::Rejected | Happening::Undeliverable if alert.plan().backend() == Backend::Dispatch => {
            2 * n_messages + 1
        }
        Happening::Repeated | Happening::SendFailed | Happening::ResentAfterRestart | Happening::Reply => usize::MAX,
        _ => 1,
    }
}

fn repetitions_are_counted(seen: &Seen<'_>) -> bool {
    let is_open = matches!(seen.before.status, Status::Escalating(_) | Status::Acknowledged);
    let n_new = u32::from(*seen.event == Event::Repeated && is_open);
    seen.after().repeats == seen.before.repeats + n_new
}
