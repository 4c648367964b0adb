//! The function that decides: time, sends and their answers. Reports stand in `reports.rs`, people in `answers.rs`.

use std::sync::Arc;
use std::time::Duration;

use crate::contact::Channel;
use crate::id::{AttemptNumber, ProviderId};
use crate::timestamp::Timestamp;

use super::alert::{Alert, Attempt, Ending, Entry, Failure, Happening, Progress, Raised, Status, Why};
use super::event::{Effect, Event, Ignored, Reach, Trouble, TroubleOutcome, Verdict};
use super::plan::{Condition, Step};

/// How long whoever began a send has the right to finish it. Longer than every limit on the way:
/// waiting for a connection, the request, and writing its outcome down.
pub const SEND_LEASE: Duration = Duration::from_secs(30);
/// The wait after the first failed try of an attempt; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest wait between two tries, unless Vonage asks for more.
pub const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// The longest `Retry-After` that is honoured.
pub const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);
/// How long an attempt may keep failing, while others get through, before its channel is given up.
pub const FAILING_MAX: Duration = Duration::from_mins(1);
/// How many failed tries of one attempt the timeline tells of; an outage may bring thousands. The one
/// for which a channel is given up is told in any case.
const FAILURES_SHOWN_MAX: usize = 10;
/// How many repeated sends of one attempt the timeline tells of; a process that keeps dying brings more.
const RESENDS_SHOWN_MAX: usize = 10;
/// How many repetitions the timeline tells of; the count goes on.
const REPEATS_SHOWN_MAX: u32 = 20;
/// How many of Vonage's ids are kept for one attempt.
const PROVIDER_IDS_MAX: usize = 16;

/// The alert as it begins: ready to send its first attempt at once.
pub fn raise(raised: Arc<Raised>) -> Alert {
    let now = raised.at;
    let first = Attempt::new(0, 1, now);
    let entry = Entry { at: now, happening: Happening::Raised, attempt: None, channel: None, by: None, detail: None };
    Alert {
        raised,
        status: Status::Escalating(Progress::Ready { from: now, why: Why::First }),
        round: 1,
        attempts: vec![first],
        acknowledged: None,
        repeats: 0,
        updated_at: now,
        answered: Vec::new(),
        timeline: vec![entry],
    }
}

/// When the clock must be looked at again; never, once the alert is no longer escalating.
pub fn next_wake(alert: &Alert) -> Option<Timestamp> {
    match alert.progress()? {
        Progress::Ready { from, .. } => Some(from),
        Progress::Sending { until } | Progress::Waiting { until } => Some(until),
    }
}

/// What an event does to an alert.
pub fn step(alert: &Alert, event: &Event, now: Timestamp) -> Verdict {
    let draft = Draft::of(alert, now);
    match event {
        Event::TimePassed { reach } => draft.time_passed(*reach),
        Event::OutageOver => draft.outage_over(),
        Event::TurnCame => draft.turn_came(),
        Event::SenderLost => draft.sender_lost(),
        Event::Accepted { attempt, id } => draft.accepted(*attempt, id.as_ref()),
        Event::Refused { attempt, try_number, failure } => draft.refused(*attempt, *try_number, failure),
        Event::Trouble { attempt, try_number, trouble } => draft.trouble(*attempt, *try_number, trouble),
        Event::Reported { attempt, report } => draft.reported(*attempt, report),
        Event::WorkflowEnded { attempt, outcome, messages } => draft.workflow_ended(*attempt, *outcome, messages),
        Event::Replied { attempt, reply } => draft.replied(*attempt, reply),
        Event::Acknowledge { by, via, channel } => draft.acknowledge(by, *via, *channel),
        Event::NextUser { by, attempt } => draft.next_user(by, *attempt),
        Event::Resolve { by } => draft.resolve(by),
        Event::Repeated => draft.repeated(),
    }
}

/// Where the alert goes when the current attempt is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The user's next channel, or the next user after the last.
    NextStep,
    /// The next user, whatever channels the current one has left.
    NextUser,
}

/// The alert that comes out, while it is being made.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) alert: Alert,
    pub(super) now: Timestamp,
    pub(super) effects: Vec<Effect>,
}

impl Draft {
    fn of(alert: &Alert, now: Timestamp) -> Self {
        Self { alert: alert.clone(), now, effects: Vec::new() }
    }

    /// Ends the work on an event that changed the alert.
    pub(super) fn moved(mut self) -> Verdict {
        self.alert.updated_at = self.alert.updated_at.max(self.now);
        Verdict::Move { next: self.alert, effects: self.effects }
    }

    /// Adds a line to the timeline and hands it out for more to be said.
    pub(super) fn note(&mut self, happening: Happening, attempt: Option<AttemptNumber>) -> &mut Entry {
        let entry = Entry { at: self.now, happening, attempt, channel: None, by: None, detail: None };
        self.alert.timeline.push_mut(entry)
    }

    /// How often the timeline tells of this for an attempt.
    pub(super) fn times_told(&self, happening: Happening, number: AttemptNumber) -> usize {
        let is_alike = |entry: &&Entry| entry.happening == happening && entry.attempt == Some(number);
        self.alert.timeline.iter().filter(is_alike).count()
    }

    /// Whether this attempt is the one the alert is waiting for.
    pub(super) fn is_current(&self, number: AttemptNumber) -> bool {
        self.alert.progress().is_some() && self.alert.newest_attempt() == number
    }

    fn time_passed(self, reach: Reach) -> Verdict {
        match self.alert.status {
            Status::Escalating(Progress::Sending { until }) if until <= self.now => self.sender_lost(),
            Status::Escalating(Progress::Waiting { until }) if until <= self.now => {
                let target = self.target_at_expiry();
                match reach {
                    Reach::Blocked => Verdict::Stay(Ignored::Held),
                    Reach::Doubtful if self.position_after(target).is_none() => Verdict::Stay(Ignored::Held),
                    Reach::Doubtful | Reach::Open => self.expired(target, until),
                }
            }
            Status::Escalating(_) => Verdict::Stay(Ignored::NotYetDue),
            Status::Acknowledged | Status::Exhausted | Status::Resolved => Verdict::Stay(Ignored::NotEscalating),
        }
    }

    /// Where to go when nobody read the current attempt in time. A message that had to be
    /// `delivered`, and was, spares the user's other channels, as Dispatch would.
    fn target_at_expiry(&self) -> Target {
        let Some(attempt) = self.alert.attempts.last() else { return Target::NextStep };
        let in_time = match (attempt.delivered_at, attempt.expires_at) {
            (Some(delivered), Some(expires)) => delivered <= expires,
            (_, _) => false,
        };
        match self.alert.step_of(attempt) {
            Some(step) if step.last().condition == Condition::Delivered && in_time => Target::NextUser,
            Some(_) | None => Target::NextStep,
        }
    }

    fn expired(mut self, target: Target, until: Timestamp) -> Verdict {
        let current = self.alert.newest_attempt();
        self.end_attempt(current, Ending::Expired);
        self.note(Happening::Expired, Some(current));
        self.advance(target, until, None);
        self.moved()
    }

    fn outage_over(mut self) -> Verdict {
        match self.alert.status {
            Status::Escalating(Progress::Waiting { until }) if until <= self.now => {
                self.wait_from_now();
                self.moved()
            }
            Status::Escalating(_) => Verdict::Stay(Ignored::NotYetDue),
            Status::Acknowledged | Status::Exhausted | Status::Resolved => Verdict::Stay(Ignored::NotEscalating),
        }
    }

    fn turn_came(mut self) -> Verdict {
        let why = match self.alert.status {
            Status::Escalating(Progress::Ready { from, why }) if from <= self.now => why,
            Status::Escalating(_) => return Verdict::Stay(Ignored::NotYetDue),
            Status::Acknowledged | Status::Exhausted | Status::Resolved => {
                return Verdict::Stay(Ignored::NotEscalating);
            }
        };
        let current = self.alert.newest_attempt();
        let Some(attempt) = self.alert.attempt_mut(current) else { return Verdict::Stay(Ignored::NoSuchAttempt) };
        attempt.tries = attempt.tries.saturating_add(1);
        let try_number = attempt.tries;
        if why == Why::Unknown && self.times_told(Happening::ResentAfterRestart, current) < RESENDS_SHOWN_MAX {
            self.note(Happening::ResentAfterRestart, Some(current));
        }
        self.alert.status = Status::Escalating(Progress::Sending { until: self.now.plus(SEND_LEASE) });
        self.effects.push(Effect::Send { attempt: current, try_number });
        self.moved()
    }

    fn sender_lost(mut self) -> Verdict {
        let Status::Escalating(Progress::Sending { .. }) = self.alert.status else {
            return Verdict::Stay(Ignored::NotYetDue);
        };
        let current = self.alert.newest_attempt();
        if let Some(attempt) = self.alert.attempt_mut(current) {
            attempt.unknown = attempt.unknown.saturating_add(1);
        }
        self.alert.status = Status::Escalating(Progress::Ready { from: self.now, why: Why::Unknown });
        self.moved()
    }

    /// Whether a send of this attempt was ever begun; nothing true can be said of one that was not.
    pub(super) fn was_begun(&self, number: AttemptNumber) -> bool {
        self.alert.attempt(number).is_some_and(|attempt| attempt.tries > 0)
    }

    fn accepted(mut self, number: AttemptNumber, id: Option<&ProviderId>) -> Verdict {
        if !self.was_begun(number) {
            return Verdict::Stay(Ignored::NoSuchAttempt);
        }
        let Some(attempt) = self.alert.attempt_mut(number) else { return Verdict::Stay(Ignored::NoSuchAttempt) };
        let is_news = id.is_some_and(|id| attempt.provider_ids.last() != Some(id));
        if !is_news && attempt.sent_at.is_some() {
            return Verdict::Stay(Ignored::AlreadyKnown);
        }
        attempt.learn_newest(id);
        self.was_sent(number);
        if let Some(id) = id {
            self.revoke_late(number, id);
        }
        self.moved()
    }

    /// Notes that Vonage has the message, however that became known, and begins the wait for a read.
    pub(super) fn was_sent(&mut self, number: AttemptNumber) {
        let now = self.now;
        let Some(attempt) = self.alert.attempt_mut(number) else { return };
        attempt.failing_since = None;
        if attempt.ending.is_none() {
            attempt.failure = None;
        }
        if attempt.sent_at.is_none() {
            attempt.sent_at = Some(now);
            self.note(Happening::Sent, Some(number));
        }
        match self.alert.progress() {
            Some(Progress::Ready { .. } | Progress::Sending { .. }) if self.is_current(number) => self.wait_from_now(),
            Some(_) | None => {}
        }
    }

    /// The current attempt waits for a read, from now on, for all of its window.
    fn wait_from_now(&mut self) {
        let current = self.alert.newest_attempt();
        let window = self.window_of(current);
        let until = self.now.plus(window);
        if let Some(attempt) = self.alert.attempt_mut(current) {
            attempt.expires_at = Some(until);
        }
        self.alert.status = Status::Escalating(Progress::Waiting { until });
    }

    /// Whether the answer to this try is still awaited.
    fn is_being_sent(&self, number: AttemptNumber, try_number: u32) -> bool {
        let sending = matches!(self.alert.status, Status::Escalating(Progress::Sending { .. }));
        let tries = self.alert.attempt(number).map_or(0, |attempt| attempt.tries);
        sending && self.is_current(number) && tries == try_number
    }

    fn refused(mut self, number: AttemptNumber, try_number: u32, failure: &Failure) -> Verdict {
        if !self.is_being_sent(number, try_number) {
            return Verdict::Stay(Ignored::OldAttempt);
        }
        self.end_attempt(number, Ending::Refused);
        self.set_failure(number, failure);
        self.note(Happening::Refused, Some(number)).detail = Some(failure.in_words());
        self.advance(Target::NextStep, self.now, None);
        self.moved()
    }

    fn trouble(mut self, number: AttemptNumber, try_number: u32, trouble: &Trouble) -> Verdict {
        if !self.is_being_sent(number, try_number) {
            return Verdict::Stay(Ignored::OldAttempt);
        }
        let now = self.now;
        let patience = self.window_of(number).min(FAILING_MAX);
        let Some(attempt) = self.alert.attempt_mut(number) else { return Verdict::Stay(Ignored::NoSuchAttempt) };
        if trouble.outcome == TroubleOutcome::Unknown {
            attempt.unknown = attempt.unknown.saturating_add(1);
        }
        let failing_since = *attempt.failing_since.get_or_insert(now);
        let others_get_through = match (attempt.failed_at, trouble.last_accepted_at) {
            (Some(previous_failure), Some(accepted)) => accepted > previous_failure,
            (_, _) => false,
        };
        attempt.failed_at = Some(now);
        attempt.failure = Some(trouble.failure.clone());
        let counts_since = failing_since.max(trouble.failing_here_since.unwrap_or(failing_since));
        let is_given_up = now.since(counts_since) >= patience && others_get_through;
        if is_given_up || self.times_told(Happening::SendFailed, number) < FAILURES_SHOWN_MAX {
            self.note(Happening::SendFailed, Some(number)).detail = Some(trouble.failure.in_words());
        }
        if is_given_up {
            self.end_attempt(number, Ending::Failed);
            self.advance(Target::NextStep, now, None);
        } else {
            let from = now.plus(wait_before_retry(try_number, trouble));
            self.alert.status = Status::Escalating(Progress::Ready { from, why: Why::Retry });
        }
        self.moved()
    }

    fn repeated(mut self) -> Verdict {
        match self.alert.status {
            Status::Escalating(_) | Status::Acknowledged => {}
            Status::Exhausted | Status::Resolved => return Verdict::Stay(Ignored::NotOpen),
        }
        self.alert.repeats = self.alert.repeats.saturating_add(1);
        if self.alert.repeats <= REPEATS_SHOWN_MAX {
            self.note(Happening::Repeated, None);
        }
        self.moved()
    }

    /// Marks how an attempt ended; the first ending stays.
    pub(super) fn end_attempt(&mut self, number: AttemptNumber, ending: Ending) {
        if let Some(attempt) = self.alert.attempt_mut(number) {
            attempt.ending.get_or_insert(ending);
        }
    }

    pub(super) fn set_failure(&mut self, number: AttemptNumber, failure: &Failure) {
        if let Some(attempt) = self.alert.attempt_mut(number) {
            attempt.failure = Some(failure.clone());
        }
    }

    fn window_of(&self, number: AttemptNumber) -> Duration {
        let step = self.alert.attempt(number).and_then(|attempt| self.alert.step_of(attempt));
        step.map_or(Duration::ZERO, Step::window)
    }

    /// The round and step that follow the current attempt; none after the last of the last round.
    fn position_after(&self, target: Target) -> Option<(u32, u32)> {
        let current = self.alert.attempts.last()?;
        let place = self.alert.step_of(current)?.place;
        let steps = self.alert.plan().steps();
        let after = usize::try_from(current.step).ok()?.saturating_add(1);
        let next = steps.iter().enumerate().skip(after).find(|(_, step)| match target {
            Target::NextStep => true,
            Target::NextUser => step.place != place,
        });
        match next {
            Some((index, _)) => Some((current.round, u32::try_from(index).ok()?)),
            None if current.round <= self.alert.plan().repeat() => Some((current.round + 1, 0)),
            None => None,
        }
    }

    /// Leaves the current attempt behind. `due_at` is when the next one should go out.
    pub(super) fn advance(&mut self, target: Target, due_at: Timestamp, by: Option<&str>) {
        let by: Option<Box<str>> = by.map(Into::into);
        let Some((round, step)) = self.position_after(target) else {
            self.alert.status = Status::Exhausted;
            self.note(Happening::Exhausted, None).by = by;
            return;
        };
        let place = self.place_of_newest();
        let new_round = round != self.alert.round;
        self.alert.round = round;
        self.alert.attempts.push(Attempt::new(step, round, due_at));
        self.alert.status = Status::Escalating(Progress::Ready { from: self.now, why: Why::First });
        let happening = match (new_round, self.place_of_newest() == place) {
            (true, _) => Happening::RoundStarted,
            (false, true) => Happening::FailedOver,
            (false, false) => Happening::Escalated,
        };
        self.note(happening, Some(self.alert.newest_attempt())).by = by;
    }

    /// The place in the policy of the user whom the newest attempt calls.
    pub(super) fn place_of_newest(&self) -> Option<u16> {
        self.alert.step_of(self.alert.attempts.last()?).map(|step| step.place)
    }

    /// Ends the escalation. What was not accepted by now is not meant to go out any more.
    pub(super) fn settle(&mut self, status: Status) {
        if let Some(Progress::Ready { .. } | Progress::Sending { .. }) = self.alert.progress() {
            self.end_attempt(self.alert.newest_attempt(), Ending::Superseded);
        }
        self.alert.status = status;
    }

    /// The user of an attempt, as the one who did something.
    pub(super) fn user_of(&self, number: AttemptNumber) -> Box<str> {
        let step = self.alert.attempt(number).and_then(|attempt| self.alert.step_of(attempt));
        step.map_or_else(|| "".into(), |step| step.user.as_ref().into())
    }

    /// The channel of one leg of an attempt.
    pub(super) fn channel_of(&self, number: AttemptNumber, leg: u8) -> Option<Channel> {
        let step = self.alert.attempt(number).and_then(|attempt| self.alert.step_of(attempt))?;
        step.legs().nth(usize::from(leg)).map(|leg| leg.channel)
    }
}

/// 0.5 s, doubling with each try up to 15 s, moved by the jitter; or what Vonage asked for, if that is longer.
fn wait_before_retry(try_number: u32, trouble: &Trouble) -> Duration {
    let doublings = try_number.saturating_sub(1).min(16);
    let backoff = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
    let permille = u32::try_from(1_000 + i32::from(trouble.jitter.clamp(-200, 200))).unwrap_or(1_000);
    let backoff = backoff.saturating_mul(permille) / 1_000;
    backoff.max(trouble.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

impl Attempt {
    fn new(step: u32, round: u32, due_at: Timestamp) -> Self {
        Self {
            step,
            round,
            due_at,
            tries: 0,
            failing_since: None,
            failed_at: None,
            unknown: 0,
            sent_at: None,
            expires_at: None,
            submitted_at: None,
            delivered_at: None,
            read_at: None,
            ending: None,
            failure: None,
            provider_ids: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// Remembers what Vonage calls the message that an answer told of: the newest from now on.
    fn learn_newest(&mut self, id: Option<&ProviderId>) {
        let Some(id) = id else { return };
        // A report may have told of it before the answer did.
        self.provider_ids.retain(|known| known != id);
        self.make_room_for_an_id();
        self.provider_ids.push(id.clone());
    }

    /// Remembers what Vonage calls a message that a report told of. It may be one of an earlier try, and so does not
    /// take the place of the newest.
    pub(super) fn learn_reported(&mut self, id: Option<&ProviderId>) {
        let Some(id) = id.filter(|id| !self.provider_ids.contains(id)) else { return };
        self.make_room_for_an_id();
        let before_newest = self.provider_ids.len().saturating_sub(1);
        self.provider_ids.insert(before_newest, id.clone());
    }

    fn make_room_for_an_id(&mut self) {
        if self.provider_ids.len() >= PROVIDER_IDS_MAX {
            self.provider_ids.remove(0);
        }
    }
}

impl Failure {
    /// The failure as one line.
    pub fn in_words(&self) -> Box<str> {
        match &self.code {
            Some(code) => format!("{code}: {}", self.detail).into(),
            None => self.detail.clone(),
        }
    }
}
