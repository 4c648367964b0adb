//! A walk over every state that an alert with a small plan can reach, breadth first, so that the
//! first broken rule comes with a shortest way to it.
//!
//! In each state every event is tried, and the clock is moved to just before, exactly to and just
//! after the moment at which it must be looked at. Two states are the same where they differ only in
//! what decides nothing: the timeline, how far back past moments lie, the count of repetitions.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use callout::escalation::{
    Alert, Attempt, Backend, Ending, Event, Intent, Progress, Reach, Reply, Report, ReportStatus, Status, Trouble,
    TroubleOutcome, Verdict, Via, Why, WorkflowOutcome, next_wake,
};
use callout::id::AttemptNumber;
use callout::timestamp::Timestamp;

use super::StepFn;
use super::coverage::Pair;
use super::language::{REPORTS, failure, raise_with, read_id, read_plan, show_moment};
use super::rules::{Seen, broken_rule};

/// How closely states are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// By everything that is known of every attempt.
    Full,
    /// By everything that is known of the current attempt and how the earlier ones ended.
    Current,
}

/// A walk that kept every rule.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) n_states: usize,
    pub(crate) n_steps: usize,
    pub(crate) pairs: BTreeSet<Pair>,
}

/// A rule that was broken, and a shortest way there.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) rule: &'static str,
    pub(crate) way: Vec<String>,
}

/// States whose current attempt was begun more often are checked, but not left again.
const TRIES_MAX: u32 = 2;

/// A machine whose every state is visited for one plan.
pub(crate) struct Walk {
    step: StepFn,
    detail: Detail,
    walked: Walked,
    places: Vec<Place>,
    known: HashSet<Vec<i64>>,
    ahead: VecDeque<usize>,
}

/// A state, and how it was come to.
struct Place {
    alert: Alert,
    now: Timestamp,
    from: Option<usize>,
    by: By,
}

/// What led to a state.
enum By {
    Raising,
    Waiting,
    Event(Event),
}

/// Walks over every state, until a rule is broken.
pub(crate) fn walk(plan: &str, detail: Detail, step: StepFn) -> Result<Walked, Broken> {
    let alert = raise_with(read_plan(plan));
    let now = alert.raised.at;
    let mut walk = Walk {
        step,
        detail,
        walked: Walked::default(),
        places: Vec::new(),
        known: HashSet::new(),
        ahead: VecDeque::new(),
    };
    walk.arrive(Place { alert, now, from: None, by: By::Raising })?;
    while let Some(index) = walk.ahead.pop_front() {
        walk.wait(index)?;
        walk.try_everything(index)?;
    }
    walk.walked.n_states = walk.known.len();
    Ok(walk.walked)
}

impl Walk {
    fn arrive(&mut self, place: Place) -> Result<(), Broken> {
        if !self.known.insert(key(&place.alert, place.now, self.detail)) {
            return Ok(());
        }
        let is_end_of_road = place.alert.attempts.last().is_some_and(|attempt| attempt.tries > TRIES_MAX);
        let index = self.places.len();
        self.places.push(place);
        if !self.ends_by_the_clock_alone(index) {
            return Err(self.broken("the clock alone ends every alert", index, None));
        }
        if !is_end_of_road {
            self.ahead.push_back(index);
        }
        Ok(())
    }

    /// Lets time go by without a word to the machine.
    fn wait(&mut self, index: usize) -> Result<(), Broken> {
        let Place { alert, now, .. } = &self.places[index];
        let Some(wake) = next_wake(alert) else { return Ok(()) };
        let just_before = Timestamp::from_millis(wake.as_millis() - 1);
        let just_after = Timestamp::from_millis(wake.as_millis() + 1);
        let (alert, now) = (alert.clone(), *now);
        for moment in [just_before, wake, just_after].into_iter().filter(|moment| *moment > now) {
            self.arrive(Place { alert: alert.clone(), now: moment, from: Some(index), by: By::Waiting })?;
        }
        Ok(())
    }

    fn try_everything(&mut self, index: usize) -> Result<(), Broken> {
        for event in events(&self.places[index].alert, self.places[index].now, self.detail) {
            let Place { alert: before, now, .. } = &self.places[index];
            let now = *now;
            let verdict = (self.step)(before, &event, now);
            self.walked.n_steps += 1;
            let seen = Seen { before, event: &event, now, verdict: &verdict };
            self.walked.pairs.insert(Pair::of(&seen));
            if let Some(rule) = broken_rule(&seen) {
                return Err(self.broken(rule, index, Some(&event)));
            }
            if acts_twice(self.step, &event, now, &verdict) {
                return Err(self.broken("what is seen twice acts once", index, Some(&event)));
            }
            if let Verdict::Move { next, .. } = verdict {
                self.arrive(Place { alert: next, now, from: Some(index), by: By::Event(event) })?;
            }
        }
        Ok(())
    }

    /// Plays an alert to its end with a world that accepts every send and says nothing else.
    fn ends_by_the_clock_alone(&self, index: usize) -> bool {
        let Place { alert, now, .. } = &self.places[index];
        let (mut alert, mut now) = (alert.clone(), *now);
        let plan = alert.plan().clone();
        let n_rounds = usize::try_from(plan.repeat()).unwrap_or(usize::MAX).saturating_add(1);
        // Each attempt takes a turn, an answer and an expiry; a lost one more of each.
        let n_steps_max = (plan.steps().len() * n_rounds + 1) * 4;
        for _ in 0..n_steps_max {
            let event = match alert.progress() {
                None => return true,
                Some(Progress::Ready { .. }) => Event::TurnCame,
                Some(Progress::Sending { .. }) => Event::Accepted { attempt: alert.newest_attempt(), id: None },
                Some(Progress::Waiting { .. }) => Event::TimePassed { reach: Reach::Open },
            };
            if !matches!(event, Event::Accepted { .. }) {
                now = next_wake(&alert).map_or(now, |wake| wake.max(now));
            }
            match (self.step)(&alert, &event, now) {
                Verdict::Move { next, .. } => alert = next,
                Verdict::Stay(_) => return false,
            }
        }
        alert.progress().is_none()
    }

    fn broken(&self, rule: &'static str, index: usize, event: Option<&Event>) -> Broken {
        let mut way: Vec<String> = event.map(|event| format!("{event:?}")).into_iter().collect();
        let mut next = Some(index);
        while let Some(index) = next {
            let place = &self.places[index];
            let by = match &place.by {
                By::Raising => "raise".to_owned(),
                By::Waiting => "wait".to_owned(),
                By::Event(event) => format!("{event:?}"),
            };
            way.push(format!("{} {by}", show_moment(place.now)));
            next = place.from;
        }
        way.reverse();
        Broken { rule, way }
    }
}

/// Whether an event that moved the alert moves it again when it is told a second time.
///
/// Three things are told twice in earnest: that the problem was posted again, that somebody wants
/// the next user without saying instead of whom (callers who may repeat themselves say it, or give an
/// `Idempotency-Key`), and a reply that Vonage gave no id.
fn acts_twice(step: StepFn, event: &Event, now: Timestamp, verdict: &Verdict) -> bool {
    let is_meant_twice = match event {
        Event::Repeated | Event::NextUser { attempt: None, .. } => true,
        Event::Replied { reply, .. } => reply.id.is_none(),
        _ => false,
    };
    match verdict {
        Verdict::Move { next, .. } if !is_meant_twice => matches!(step(next, event, now), Verdict::Move { .. }),
        Verdict::Move { .. } | Verdict::Stay(_) => false,
    }
}

/// Everything that can happen to an alert in this state, and some things that cannot.
fn events(alert: &Alert, now: Timestamp, detail: Detail) -> Vec<Event> {
    let mut events: Vec<Event> =
        [Reach::Open, Reach::Doubtful, Reach::Blocked].map(|reach| Event::TimePassed { reach }).into();
    events.extend([Event::OutageOver, Event::TurnCame, Event::SenderLost, Event::Repeated]);
    events.push(Event::Acknowledge { by: "Maria".into(), via: Via::Api, channel: None });
    events.push(Event::Resolve { by: "Maria".into() });
    events.push(Event::NextUser { by: "Maria".into(), attempt: None });
    let newest = alert.newest_attempt();
    let numbers: BTreeSet<AttemptNumber> = match detail {
        Detail::Full => (0..=newest + 1).collect(),
        Detail::Current => [newest.saturating_sub(1).max(1), newest].into(),
    };
    for attempt in numbers {
        events.push(Event::NextUser { by: "Maria".into(), attempt: Some(attempt) });
        events_of_sending(alert, attempt, now, &mut events);
        events_of_reports(alert, attempt, &mut events);
        for intent in [Intent::Acknowledge, Intent::NextUser, Intent::Resolve, Intent::OptOut] {
            let channel = callout::contact::Channel::Sms;
            let id = Some(read_id(&format!("r-{attempt}-{intent:?}")));
            events.push(Event::Replied { attempt, reply: Reply { id, channel, intent } });
        }
    }
    events
}

fn events_of_sending(alert: &Alert, attempt: AttemptNumber, now: Timestamp, events: &mut Vec<Event>) {
    let tries = alert.attempt(attempt).map_or(0, |attempt| attempt.tries);
    for id in [None, Some(read_id(&format!("m-{attempt}-1"))), Some(read_id(&format!("m-{attempt}-2")))] {
        events.push(Event::Accepted { attempt, id });
    }
    for try_number in [tries, tries.saturating_sub(1)] {
        let failure = failure(Some("422"), "the recipient is not usable");
        events.push(Event::Refused { attempt, try_number, failure });
    }
    for (try_number, outcome, retry_after, last_accepted_at, failing_here_since) in [
        (tries, TroubleOutcome::NotSent, None, None, None),
        (tries, TroubleOutcome::Unknown, None, Some(now), None),
        (tries, TroubleOutcome::Unknown, None, Some(now), Some(now)),
        (tries, TroubleOutcome::NotSent, Some(Duration::from_hours(1)), Some(now), None),
        (tries.saturating_sub(1), TroubleOutcome::NotSent, None, Some(now), None),
    ] {
        let failure = failure(Some("503"), "Vonage is in trouble");
        let trouble = Trouble { failure, outcome, retry_after, jitter: -200, last_accepted_at, failing_here_since };
        events.push(Event::Trouble { attempt, try_number, trouble });
    }
}

fn events_of_reports(alert: &Alert, attempt: AttemptNumber, events: &mut Vec<Event>) {
    let of = |leg: u8, id: &str, status| Report { id: Some(read_id(id)), leg, status, failure: None };
    let first = format!("m-{attempt}-1");
    let second = format!("m-{attempt}-2");
    for status in REPORTS {
        events.push(Event::Reported { attempt, report: of(0, &first, status) });
        events.push(match alert.plan().backend() {
            Backend::Messages => {
                Event::Reported { attempt, report: Report { id: None, leg: 0, status, failure: None } }
            }
            Backend::Dispatch => Event::Reported { attempt, report: of(1, &second, status) },
        });
    }
    match alert.plan().backend() {
        Backend::Messages => {
            events.push(Event::Reported { attempt, report: of(0, &second, ReportStatus::Rejected) });
        }
        Backend::Dispatch => {
            for messages in [
                vec![],
                vec![of(0, &first, ReportStatus::Rejected), of(1, &second, ReportStatus::Delivered)],
                vec![of(0, &first, ReportStatus::Rejected), of(1, &second, ReportStatus::Rejected)],
                vec![of(0, &first, ReportStatus::Delivered), of(1, &second, ReportStatus::Read)],
                vec![of(1, &second, ReportStatus::Rejected), of(0, &first, ReportStatus::Read)],
            ] {
                for outcome in [WorkflowOutcome::Completed, WorkflowOutcome::Error] {
                    events.push(Event::WorkflowEnded { attempt, outcome, messages: messages.clone() });
                }
            }
        }
    }
}

/// What tells one state from another.
fn key(alert: &Alert, now: Timestamp, detail: Detail) -> Vec<i64> {
    // How late it is matters while a read is awaited only: a message may be delivered too late.
    let ahead = |moment: Timestamp, least: i64| (moment.as_millis() - now.as_millis()).max(least);
    let mut key = match alert.status {
        Status::Escalating(Progress::Ready { from, why: Why::First }) => vec![0, ahead(from, 0)],
        Status::Escalating(Progress::Ready { from, why: Why::Retry }) => vec![1, ahead(from, 0)],
        Status::Escalating(Progress::Ready { from, why: Why::Unknown }) => vec![2, ahead(from, 0)],
        Status::Escalating(Progress::Sending { until }) => vec![3, ahead(until, 0)],
        Status::Escalating(Progress::Waiting { until }) => vec![4, ahead(until, -1)],
        Status::Acknowledged => vec![5],
        Status::Exhausted => vec![6],
        Status::Resolved => vec![7],
    };
    key.push(alert.acknowledged.as_ref().map_or(-1, |acknowledgement| match acknowledgement.via {
        Via::Read => 0,
        Via::Reply => 1,
        Via::Link => 2,
        Via::Api => 3,
    }));
    if alert.progress().is_none() && detail == Detail::Current {
        key.extend(alert.attempts.iter().map(|attempt| i64::from(attempt.tries > 0)));
        return key;
    }
    key.push(i64::from(alert.round));
    let newest = alert.attempts.len() - 1;
    for (index, attempt) in alert.attempts.iter().enumerate() {
        match detail {
            Detail::Full => key_of_attempt(attempt, now, &mut key),
            Detail::Current if index == newest => key_of_attempt(attempt, now, &mut key),
            Detail::Current if index + 1 == newest => key.push(ending_code(attempt)),
            Detail::Current => {}
        }
        key.push(i64::from(attempt.step));
    }
    key
}

fn ending_code(attempt: &Attempt) -> i64 {
    match attempt.ending {
        None => -1,
        Some(Ending::Rejected) => 0,
        Some(Ending::Undeliverable) => 1,
        Some(Ending::Refused) => 2,
        Some(Ending::Failed) => 3,
        Some(Ending::Expired) => 4,
        Some(Ending::Superseded) => 5,
    }
}

fn key_of_attempt(attempt: &Attempt, now: Timestamp, key: &mut Vec<i64>) {
    let in_time = attempt.delivered_at.is_some_and(|delivered| Some(delivered) <= attempt.expires_at);
    let failing = attempt.failing_since.map(|since| now.since(since).min(Duration::from_mins(1)).as_millis());
    key.extend([
        ending_code(attempt),
        i64::from(attempt.tries),
        i64::from(attempt.sent_at.is_some()),
        i64::from(attempt.delivered_at.is_some()) + i64::from(in_time),
        i64::from(attempt.read_at.is_some()),
        i64::from(attempt.failure.is_some()),
        i64::from(attempt.failed_at.is_some()),
        failing.map_or(-1, |millis| i64::try_from(millis).unwrap_or(i64::MAX)),
        attempt.provider_ids.last().map_or(-1, |id| i64::from(id.as_str().ends_with('2'))),
    ]);
    let mut messages: Vec<i64> =
        attempt.messages.iter().map(|message| 10 + i64::from(message.leg) * 10 + strength(message.status)).collect();
    messages.sort_unstable();
    key.extend(messages);
}

fn strength(status: ReportStatus) -> i64 {
    REPORTS.iter().position(|report| *report == status).and_then(|place| i64::try_from(place).ok()).unwrap_or(-1)
}
