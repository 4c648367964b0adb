//! A node that cannot get through to Vonage lets the other nodes do it.
//!
//! Where several nodes share a store, the way of one of them may be broken while the others' are good: its network,
//! its name service, its clock. What its own sends meet then says nothing about the persons, nor about Vonage. So each
//! node keeps apart what its own sends have met and what it hears of the others', and does three things:
//!
//! - What failed here is tried by other nodes first, if there are any that take it up; nodes that all fail take turns.
//! - A node whose sends fail while those of others are accepted leaves sending to them. It tries one send every few
//!   seconds, and takes turns again as soon as one gets through, or when nothing has been accepted from the others
//!   for a while. Of nodes that all fail, the one that got through last never counts as such a node, so that there
//!   is always one that sends at full pace.
//! - How long an attempt has been failing is counted by each node for itself: only who gets other messages through
//!   can say that this one is at fault.
//!
//! Nothing of this is kept: a process that starts believes that its way is good. E-mail is not handed over.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::alarm::Alarm;
use crate::escalation::{Alert, Progress, Why};
use crate::id::{AlertId, AttemptNumber, AttemptRef};
use crate::sender::TroubleCause;
use crate::store::Others;
use crate::timestamp::Timestamp;

use super::Engine;
use super::outage::Way;

/// How much later than it is due a retry goes out here for each of the nodes that go first: as long as they need to
/// find it left behind.
const OTHERS_FIRST_FOR: Duration = Duration::from_millis(1_500);
/// How many nodes go first at most, so that those that all fail take turns.
const NODES_FIRST_MAX: u32 = 3;
/// The same where this node leaves sending to the others: they may be busy.
const OTHERS_ALONE_FOR: Duration = Duration::from_secs(10);
/// For how long what was accepted from another node says that the others get through.
const ACCEPTED_RECENTLY: Duration = Duration::from_mins(1);
/// For how long what was accepted from another node is a reason not to call it an outage that sends fail here.
const ACCEPTED_JUST_NOW: Duration = Duration::from_secs(10);
/// How many failing attempts are remembered. Beyond it, an attempt that fails is given up later.
const FAILED_HERE_MAX: usize = 10_000;
/// How long after its latest failure here an attempt is remembered, where there are too many.
const FAILED_HERE_KEPT: Duration = Duration::from_mins(5);
/// How often it is told that this node alone does not get through.
const TELL_AGAIN_AFTER: Duration = Duration::from_mins(5);

/// What this node's own sends have met, and what it hears of the others'.
#[derive(Debug, Default)]
pub(super) struct OwnSends(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    accepted_at: Option<Timestamp>,
    /// When the first send failed on the way to Vonage of those that came after the last one that got there.
    trouble_since: Option<Timestamp>,
    others: Others,
    failed: HashMap<AlertId, FailedHere>,
    told_at: Option<Timestamp>,
}

/// An attempt whose sends failed here.
#[derive(Clone, Copy, Debug)]
struct FailedHere {
    attempt: AttemptNumber,
    since: Timestamp,
    latest: Timestamp,
    latest_try: u32,
}

impl State {
    fn leaves_sending(&self, now: Timestamp) -> bool {
        let (Some(since), Some(accepted_at)) = (self.trouble_since, self.others.accepted_at) else { return false };
        self.others.n_others > 0 && accepted_at > since && now.since(accepted_at) < ACCEPTED_RECENTLY
    }

    /// How many nodes may try the alert's attempt before this one, whose turn is the later the fewer tries ago it
    /// failed here.
    fn n_others_first(&self, alert: &Alert) -> u32 {
        let number = alert.newest_attempt();
        let failed = self.failed.get(&alert.id()).filter(|failed| failed.attempt == number);
        let (Some(failed), Some(attempt)) = (failed, alert.attempt(number)) else { return 0 };
        NODES_FIRST_MAX.saturating_sub(attempt.tries.saturating_sub(failed.latest_try))
    }
}

impl OwnSends {
    /// A critical section holds only map operations, and is never held over an await.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When Vonage last accepted a send of this node.
    pub(super) fn accepted_at(&self) -> Option<Timestamp> {
        self.lock().accepted_at
    }

    /// A send was accepted.
    fn accepted(&self, way: Way, id: AlertId, now: Timestamp) {
        let mut state = self.lock();
        state.failed.remove(&id);
        if way == Way::Vonage {
            state.accepted_at = state.accepted_at.max(Some(now));
            state.trouble_since = None;
        }
    }

    /// A send was refused: it has got there.
    fn refused(&self, way: Way, id: AlertId) {
        let mut state = self.lock();
        state.failed.remove(&id);
        if way == Way::Vonage {
            state.trouble_since = None;
        }
    }

    /// A try of an attempt failed on its way. Returns since when the attempt has been failing here.
    fn failed(&self, way: Way, cause: TroubleCause, of: AttemptRef, latest_try: u32, now: Timestamp) -> Timestamp {
        let mut state = self.lock();
        // Whoever is told to slow down has got there.
        if way == Way::Vonage && cause != TroubleCause::RateLimit {
            state.trouble_since.get_or_insert(now);
        }
        let before = state.failed.get(&of.alert).filter(|before| before.attempt == of.attempt).copied();
        let since = before.map_or(now, |before| before.since);
        if before.is_none() && state.failed.len() >= FAILED_HERE_MAX {
            state.failed.retain(|_, failed| now.since(failed.latest) < FAILED_HERE_KEPT);
        }
        if before.is_some() || state.failed.len() < FAILED_HERE_MAX {
            state.failed.insert(of.alert, FailedHere { attempt: of.attempt, since, latest: now, latest_try });
        }
        since
    }

    /// The other nodes said how they are.
    pub(super) fn heard(&self, others: Others) {
        self.lock().others = others;
    }

    /// Whether this node's sends fail while those of others get through.
    pub(super) fn leaves_sending(&self, now: Timestamp) -> bool {
        self.lock().leaves_sending(now)
    }

    /// Whether what fails here may be due to this node's way alone, so that it would be rash to call it an outage.
    pub(super) fn may_be_alone(&self, now: Timestamp) -> bool {
        let state = self.lock();
        let just_now = state.others.accepted_at.is_some_and(|accepted_at| now.since(accepted_at) < ACCEPTED_JUST_NOW);
        state.leaves_sending(now) || state.others.n_others > 0 && just_now
    }

    /// When this node may take a turn for an alert that is ready from this moment on.
    pub(super) fn may_go_at(&self, alert: &Alert, now: Timestamp) -> Option<Timestamp> {
        let Some(Progress::Ready { from, why }) = alert.progress() else { return None };
        let state = self.lock();
        if why != Why::Retry || state.others.n_others == 0 {
            return Some(from);
        }
        if state.leaves_sending(now) {
            return Some(from.plus(OTHERS_ALONE_FOR));
        }
        let n_first = if state.trouble_since.is_some() { state.n_others_first(alert) } else { 0 };
        Some(from.plus(OTHERS_FIRST_FOR * n_first))
    }

    /// Whether it is time to say that this node alone does not get through.
    fn is_to_be_told(&self, now: Timestamp) -> bool {
        let mut state = self.lock();
        let is_time = state.told_at.is_none_or(|told_at| now.since(told_at) >= TELL_AGAIN_AFTER);
        if is_time {
            state.told_at = Some(now);
        }
        is_time
    }
}

impl Engine {
    /// A send of this node was accepted.
    pub(super) fn own_send_accepted(&self, way: Way, id: AlertId) {
        self.0.own_sends.accepted(way, id, self.now());
        self.take_or_leave_turns();
    }

    /// A send of this node was refused.
    pub(super) fn own_send_refused(&self, way: Way, id: AlertId) {
        self.0.own_sends.refused(way, id);
        self.take_or_leave_turns();
    }

    /// A send of this node failed on its way. Returns since when the attempt has been failing by the sends that
    /// count for it: where others work on the store too, by those of this node.
    pub(super) fn own_send_failed(
        &self,
        way: Way,
        cause: TroubleCause,
        of: AttemptRef,
        try_number: u32,
    ) -> Option<Timestamp> {
        if self.0.store.is_sole_owner() {
            return None;
        }
        let since = self.0.own_sends.failed(way, cause, of, try_number, self.now());
        self.take_or_leave_turns();
        Some(since)
    }

    /// Sends at full pace, or leaves sending to the other nodes but for a try now and then.
    pub(super) fn take_or_leave_turns(&self) {
        if self.0.store.is_sole_owner() {
            return;
        }
        let leaves = self.0.own_sends.leaves_sending(self.now());
        let is_news = self.0.turns.set_trying(leaves);
        match (leaves, is_news) {
            (true, _) if self.0.own_sends.is_to_be_told(self.now()) => {
                self.0.alarms.raise(Alarm::NodeCutOff, None, self.now());
            }
            (false, true) => {
                tracing::info!("this node takes turns to send again");
                self.0.alarms.over(Alarm::NodeCutOff, self.now());
            }
            (true | false, _) => {}
        }
    }
}
