//! What is known about the ways out, to Vonage and to the mail server, judged over all alerts (contract R7 and R8).
//!
//! One alert whose sends fail may be at fault itself; several that fail while nothing is accepted are an
//! outage. During an outage no alert moves on; when it is over, those whose deadline passed meanwhile get
//! a full expiry again. The failing sends go on being tried, and so tell when it is over.
//!
//! Which alerts fail is read off the alerts themselves, at each commit and at the start, so that every
//! alert that counts as failing has a send to come that will tell more. Otherwise an outage could last
//! for ever.
//!
//! Each way is judged by its own sends. A mail server that is down holds nobody up who can be reached through
//! Vonage: an e-mail that keeps failing while Vonage is not known to fail is given up like any failing channel.
//! Only a plan that knows nothing but e-mail waits for the mail server. The other way round, an outage of Vonage is
//! none the shorter for mail that gets through.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::contact::Channel;
use crate::escalation::{Alert, Reach, Step};
use crate::id::AlertId;
use crate::timestamp::Timestamp;

/// How often an outage that goes on is told of again.
const TELL_AGAIN_AFTER: Duration = Duration::from_mins(5);

/// A way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Vonage,
    Email,
}

impl Way {
    /// The way that a step's messages take.
    pub(super) fn of(step: &Step) -> Self {
        if step.first.channel == Channel::Email { Self::Email } else { Self::Vonage }
    }

    /// Whither it leads, for the log.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Vonage => "Vonage",
            Self::Email => "the mail server",
        }
    }

    /// The way that the alert's latest attempt takes.
    fn now(alert: &Alert) -> Self {
        let step = alert.attempts.last().and_then(|attempt| alert.step_of(attempt));
        step.map_or(Self::Vonage, Self::of)
    }

    /// The way whose outage holds the alert where it is.
    fn that_holds(alert: &Alert) -> Self {
        let knows_only_email = || alert.plan().steps().iter().all(|step| Self::of(step) == Self::Email);
        if Self::now(alert) == Self::Email && knows_only_email() { Self::Email } else { Self::Vonage }
    }
}

/// The state of both ways.
#[derive(Debug, Default)]
pub(super) struct Ways {
    vonage: Outage,
    email: Outage,
}

impl Ways {
    fn of(&self, way: Way) -> &Outage {
        match way {
            Way::Vonage => &self.vonage,
            Way::Email => &self.email,
        }
    }

    /// When this way last accepted anything, as far as an attempt of the alert on it is concerned.
    pub(super) fn last_accepted_at(&self, alert: &Alert, now: Timestamp) -> Option<Timestamp> {
        let way = Way::now(alert);
        let is_held_by_another = Way::that_holds(alert) != way;
        if is_held_by_another && self.vonage.reach() == Reach::Open {
            return Some(now);
        }
        self.of(way).last_accepted_at()
    }

    /// How many alerts' sends have been failing.
    pub(super) fn n_failing(&self) -> usize {
        self.vonage.n_failing() + self.email.n_failing()
    }

    /// Since when nothing has got through to Vonage, if several alerts say so.
    pub(super) fn vonage_out_since(&self) -> Option<Timestamp> {
        self.vonage.since()
    }

    /// When Vonage last accepted anything, by this process's knowledge.
    pub(super) fn vonage_accepted_at(&self) -> Option<Timestamp> {
        self.vonage.last_accepted_at()
    }

    /// How many alerts' sends to Vonage have been failing.
    pub(super) fn n_failing_at_vonage(&self) -> usize {
        self.vonage.n_failing()
    }

    /// Whether Vonage is known to be out, so that nothing more need be learnt of it.
    pub(super) fn is_vonage_blocked(&self) -> bool {
        self.vonage.reach() == Reach::Blocked
    }

    /// The judgement on the way to Vonage.
    pub(super) fn vonage(&self) -> Reach {
        self.vonage.reach()
    }

    /// The judgement on the way that may hold this alert.
    pub(super) fn reach(&self, alert: &Alert) -> Reach {
        self.of(Way::that_holds(alert)).reach()
    }

    /// See [`Outage::accepted`].
    pub(super) fn accepted(&self, way: Way, now: Timestamp) -> Ended {
        self.of(way).accepted(now)
    }

    /// See [`Outage::observe`].
    pub(super) fn observe(&self, alert: &Alert, now: Timestamp) -> Vec<AlertId> {
        let way = Way::now(alert);
        let mut held = self.vonage.observe(alert, way == Way::Vonage, now);
        held.extend(self.email.observe(alert, way == Way::Email, now));
        held
    }

    /// See [`Outage::tell`].
    pub(super) fn tell(&self, way: Way, now: Timestamp) -> Tell {
        self.of(way).tell(now)
    }

    /// Whether an alert is held where it is until an outage is over.
    pub(super) fn is_held(&self, id: AlertId) -> bool {
        self.vonage.is_held(id) || self.email.is_held(id)
    }

    /// Alerts whose sends fail on either way, in the order of their ids, beginning after one.
    pub(super) fn failing_after(&self, after: AlertId, limit: usize) -> Vec<AlertId> {
        let mut failing = self.vonage.failing_after(after, limit);
        failing.extend(self.email.failing_after(after, limit));
        failing.sort_unstable();
        failing.truncate(limit);
        failing
    }

    /// Whether nothing got through at this moment on the way that may hold this alert, although something does now.
    pub(super) fn was_blocked_at(&self, alert: &Alert, moment: Timestamp) -> bool {
        self.of(Way::that_holds(alert)).was_blocked_at(moment)
    }

    /// See [`Outage::hold`].
    pub(super) fn hold(&self, alert: &Alert, reach: Reach) -> Holding {
        self.of(Way::that_holds(alert)).hold(alert.id(), reach)
    }
}

/// The state of one way.
#[derive(Debug, Default)]
struct Outage(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last_accepted_at: Option<Timestamp>,
    failing: BTreeSet<AlertId>,
    held: BTreeSet<AlertId>,
    began_at: Option<Timestamp>,
    told_at: Option<Timestamp>,
    /// Since when several alerts have been failing.
    blocked_at: Option<Timestamp>,
    /// From when until when several alerts were failing the last time.
    was_blocked: Option<(Timestamp, Timestamp)>,
}

impl State {
    fn reach(&self) -> Reach {
        match self.failing.len() {
            0 => Reach::Open,
            1 => Reach::Doubtful,
            _ => Reach::Blocked,
        }
    }

    /// The latest send of the alert failed, and none of any alert has been accepted since.
    fn is_failing(&self, alert: &Alert) -> bool {
        let newest = alert.attempts.last().filter(|attempt| attempt.failing_since.is_some());
        let failed_at = newest.and_then(|attempt| attempt.failed_at);
        alert.progress().is_some() && failed_at.is_some_and(|failed_at| Some(failed_at) > self.last_accepted_at)
    }

    fn is_over(&mut self, now: Timestamp) -> Ended {
        let since = self.told_at.take().and(self.began_at.take());
        self.began_at = None;
        Ended { since, held: self.release(now) }
    }

    fn release(&mut self, now: Timestamp) -> Vec<AlertId> {
        if let Some(blocked_at) = self.blocked_at.take() {
            self.was_blocked = Some((blocked_at, now));
        }
        std::mem::take(&mut self.held).into_iter().collect()
    }
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

    /// When anything was last accepted, by this process's knowledge.
    fn last_accepted_at(&self) -> Option<Timestamp> {
        self.lock().last_accepted_at
    }

    /// How many alerts' sends have been failing since the last one that was accepted.
    fn n_failing(&self) -> usize {
        self.lock().failing.len()
    }

    /// Since when nothing has got through, if several alerts say so.
    fn since(&self) -> Option<Timestamp> {
        let state = self.lock();
        state.began_at.filter(|_| state.reach() == Reach::Blocked)
    }

    /// Alerts whose sends fail, in the order of their ids, beginning after one.
    fn failing_after(&self, after: AlertId, limit: usize) -> Vec<AlertId> {
        let state = self.lock();
        state.failing.range((Bound::Excluded(after), Bound::Unbounded)).take(limit).copied().collect()
    }

    /// The judgement on the way.
    fn reach(&self) -> Reach {
        self.lock().reach()
    }

    /// Something was accepted: whatever was wrong is over.
    fn accepted(&self, now: Timestamp) -> Ended {
        let mut state = self.lock();
        state.last_accepted_at = Some(now);
        state.failing.clear();
        state.is_over(now)
    }

    /// Takes notice of an alert as it was committed, whose latest attempt takes this way or not. Returns those that were held and no longer need to
    /// be, because what failed is not wanted any more.
    fn observe(&self, alert: &Alert, takes_it: bool, now: Timestamp) -> Vec<AlertId> {
        let mut state = self.lock();
        if takes_it && state.is_failing(alert) {
            state.began_at.get_or_insert(now);
            state.failing.insert(alert.id());
            if state.reach() == Reach::Blocked {
                state.blocked_at.get_or_insert(now);
            }
            return Vec::new();
        }
        let was_failing = state.failing.remove(&alert.id());
        match state.reach() {
            Reach::Open if was_failing => state.is_over(now).held,
            Reach::Doubtful if was_failing => state.release(now),
            Reach::Open | Reach::Doubtful | Reach::Blocked => Vec::new(),
        }
    }

    /// What the operator should hear now that a send failed.
    fn tell(&self, now: Timestamp) -> Tell {
        let mut state = self.lock();
        let is_time = state.told_at.is_none_or(|told_at| now.since(told_at) >= TELL_AGAIN_AFTER);
        match state.began_at {
            Some(since) if is_time => {
                state.told_at = Some(now);
                Tell::GoesOn { since, n_failing: state.failing.len() }
            }
            Some(_) | None => Tell::Nothing,
        }
    }

    /// Whether several alerts were failing at this moment, until something was accepted.
    fn was_blocked_at(&self, moment: Timestamp) -> bool {
        self.lock().was_blocked.is_some_and(|(from, until)| from <= moment && moment <= until)
    }

    /// Whether an alert is held where it is until an outage is over.
    fn is_held(&self, id: AlertId) -> bool {
        self.lock().held.contains(&id)
    }

    /// The alert's deadline passed and was judged by `reach`; it is held where it is, unless more is
    /// known by now.
    fn hold(&self, id: AlertId, reach: Reach) -> Holding {
        let mut state = self.lock();
        match (reach, state.reach()) {
            (_, Reach::Blocked) | (Reach::Doubtful, Reach::Doubtful) => {
                state.held.insert(id);
                Holding::Yes
            }
            (_, Reach::Open) | (Reach::Open | Reach::Blocked, Reach::Doubtful) => Holding::NoLonger,
        }
    }
}
