//! The alerts that escalate now, decoded, so that an event need not read the disk.
//!
//! The writer is the only one to publish changes, and only after their commit. A reader that finds an
//! alert on the disk may add it, unless something was published meanwhile: what it read could be old
//! by then, and an old version that stayed here would make every later update stale.
//!
//! Not all of them: an alert that waits an hour for its deadline needs a timer and nothing else. So there are two
//! generations. What is used goes to the newer one; when that is full it becomes the older one, and what nobody
//! has used since the last time is read again when it is needed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::escalation::Status;
use crate::id::AlertId;
use crate::store::Stored;

/// How many parts the alerts are divided into, so that callers seldom meet at one lock, and what was read from the disk
/// can nearly always be kept: nothing of its part may have been published meanwhile.
const N_SHARDS: usize = 256;
/// The most alerts kept here, most of them of 1 to 2 KiB: a storm of tens of thousands finds all of its alerts at hand,
/// and a million that wait do not fill the memory.
pub(super) const LIVE_MAX: usize = 128 * 1_024;
/// The most bytes that they take. Details can be as large as a request may be, and after days of rounds an alert has
/// hundreds of attempts.
pub(super) const LIVE_BYTES_MAX: usize = 256 << 20;
/// How much one generation of a part has.
const GENERATION_MAX: usize = LIVE_MAX / N_SHARDS / 2;
const GENERATION_BYTES_MAX: usize = LIVE_BYTES_MAX / N_SHARDS / 2;

/// Alerts at hand. The locks are plain ones, held for one map operation and never across an await.
pub(super) struct Live {
    shards: Box<[Mutex<Shard>]>,
}

impl fmt::Debug for Live {
    /// Shows nothing of what it holds.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Live").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shard {
    newer: Generation,
    older: Generation,
    n_published: u64,
}

#[derive(Default)]
struct Generation {
    alerts: HashMap<AlertId, Stored>,
    n_bytes: usize,
}

/// Remembers how much had been published before the disk was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before(u64);

impl Live {
    pub(super) fn new() -> Self {
        Self { shards: (0..N_SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// The alert, if it is at hand; otherwise what [`Live::offer`] needs after the disk was read.
    pub(super) fn get(&self, id: AlertId) -> Result<Stored, Before> {
        let Some(mut shard) = self.shard(id) else { return Err(Before(0)) };
        shard.get(id).ok_or(Before(shard.n_published))
    }

    /// Keeps at hand what was read from the disk, if it is certainly the newest.
    pub(super) fn offer(&self, stored: &Stored, before: Before) {
        let Some(mut shard) = self.shard(stored.alert.id()) else { return };
        if shard.n_published == before.0 {
            shard.put(stored);
        }
    }

    /// Makes known what was committed.
    pub(super) fn publish(&self, stored: &Stored) {
        let Some(mut shard) = self.shard(stored.alert.id()) else { return };
        shard.n_published += 1;
        shard.put(stored);
    }

    fn shard(&self, id: AlertId) -> Option<MutexGuard<'_, Shard>> {
        // The last bits of an id are random.
        let index = id.to_bits() % u128::try_from(self.shards.len()).ok()?;
        let shard = self.shards.get(usize::try_from(index).ok()?)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shard {
    fn get(&mut self, id: AlertId) -> Option<Stored> {
        if let Some(stored) = self.newer.alerts.get(&id) {
            return Some(stored.clone());
        }
        let stored = self.older.remove(id)?;
        self.add(id, stored.clone());
        Some(stored)
    }

    fn put(&mut self, stored: &Stored) {
        let id = stored.alert.id();
        drop((self.newer.remove(id), self.older.remove(id)));
        match stored.alert.status {
            Status::Escalating(_) => self.add(id, stored.clone()),
            Status::Acknowledged | Status::Exhausted | Status::Resolved => {}
        }
    }

    /// Adds one that is in neither generation.
    fn add(&mut self, id: AlertId, stored: Stored) {
        let n_bytes = n_bytes(&stored);
        let is_full = self.newer.alerts.len() >= GENERATION_MAX || self.newer.n_bytes + n_bytes > GENERATION_BYTES_MAX;
        if is_full {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.n_bytes += n_bytes;
        self.newer.alerts.insert(id, stored);
    }
}

impl Generation {
    fn remove(&mut self, id: AlertId) -> Option<Stored> {
        let removed = self.alerts.remove(&id)?;
        self.n_bytes -= n_bytes(&removed);
        Some(removed)
    }
}

/// What an alert takes that can be much: its texts, attempts and timeline.
fn n_bytes(stored: &Stored) -> usize {
    let alert = &stored.alert;
    let texts = alert.raised.message.len() + alert.raised.details.len();
    texts + size_of_val(&*alert.attempts) + size_of_val(&*alert.timeline)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contact::{Address, Channel};
    use crate::escalation::{Backend, Condition, Event, Leg, Plan, Raised, Recipient, Severity, Verdict, raise, step};
    use crate::id::AlertNumber;
    use crate::timestamp::Timestamp;

    const N_ROUNDS: u32 = 100;

    impl Live {
        /// Whether an alert is at hand, without using it.
        fn is_kept(&self, id: AlertId) -> bool {
            let shard = self.shard(id).unwrap();
            shard.newer.alerts.contains_key(&id) || shard.older.alerts.contains_key(&id)
        }
    }

    fn alert(number: u64) -> Stored {
        alert_with(number, "{}")
    }

    fn alert_with(number: u64, details: &str) -> Stored {
        let address = Address::parse(Channel::Sms, "447700900001").unwrap();
        let leg = Leg { channel: Channel::Sms, address, expiry_seconds: 60, condition: Condition::Read };
        let tony = Recipient { name: "Tony".into(), channels: vec![leg] };
        let raised = Raised {
            // All of them in one shard.
            id: AlertId::from_bits(u128::from(number) * u128::try_from(N_SHARDS).unwrap()),
            number: AlertNumber(number),
            message: "Main server is down".into(),
            severity: Severity::Critical,
            policy: None,
            dedup_key: None,
            source: None,
            link: None,
            details: details.into(),
            at: Timestamp::EPOCH,
            plan: Arc::new(Plan::new(Backend::Messages, &[tony], N_ROUNDS).unwrap()),
        };
        Stored { alert: Arc::new(raise(Arc::new(raised))), version: 1 }
    }

    fn after(stored: &Stored, event: &Event) -> Stored {
        match step(&stored.alert, event, Timestamp::EPOCH) {
            Verdict::Move { next, .. } => Stored { alert: Arc::new(next), version: stored.version + 1 },
            Verdict::Stay(ignored) => panic!("{ignored:?}"),
        }
    }

    #[test]
    fn what_was_read_before_a_change_does_not_hide_the_change() {
        let live = Live::new();
        let old = alert(1);
        let before = live.get(old.alert.id()).unwrap_err();
        let new = after(&old, &Event::Repeated);
        live.publish(&new);
        live.offer(&old, before);
        assert_eq!(live.get(old.alert.id()).unwrap().version, 2);
        live.publish(&after(&new, &Event::Resolve { by: "Tony".into() }));
        live.offer(&old, before);
        let before = live.get(old.alert.id()).expect_err("what is settled is not at hand");
        live.offer(&new, before);
        assert_eq!(live.get(old.alert.id()).unwrap().version, 2, "nothing was published since the disk was read");
    }

    #[test]
    fn beyond_the_limit_those_that_nobody_used_make_room() {
        let live = Live::new();
        let is_at_hand = |number| live.get(alert(number).alert.id()).is_ok();
        let n_alerts = u64::try_from(3 * GENERATION_MAX).unwrap();
        for number in 1..=n_alerts {
            live.publish(&alert(number));
            assert!(is_at_hand(number), "the newest is at hand");
            assert!(is_at_hand(1), "what is used stays at hand");
        }
        let n_at_hand = (1..=n_alerts).filter(|number| live.is_kept(alert(*number).alert.id())).count();
        assert!((GENERATION_MAX..=2 * GENERATION_MAX).contains(&n_at_hand), "{n_at_hand} are at hand");
        assert!(!live.is_kept(alert(2).alert.id()), "what nobody used is not");
    }

    #[test]
    fn large_alerts_make_room_before_many_small_ones_do() {
        let live = Live::new();
        let details = "x".repeat(GENERATION_BYTES_MAX / 4 - 1_000);
        for number in 1..=10 {
            live.publish(&alert_with(number, &details));
            live.publish(&after(&alert_with(number, &details), &Event::Repeated));
        }
        let n_at_hand = (1..=10).filter(|number| live.is_kept(alert(*number).alert.id())).count();
        assert!((4..=8).contains(&n_at_hand), "{n_at_hand} are at hand");
        assert!(live.get(alert(10).alert.id()).is_ok(), "the newest is at hand");
    }

    #[test]
    fn alerts_with_a_long_history_make_room_before_many_with_a_short_one_do() {
        let live = Live::new();
        let numbers = 1..=u64::try_from(2 * GENERATION_MAX).unwrap();
        for number in numbers.clone() {
            let mut stored = alert(number);
            for _ in 0..N_ROUNDS {
                stored = after(&stored, &Event::NextUser { by: "Anna".into(), attempt: None });
            }
            assert!(n_bytes(&stored) > 20_000, "{} bytes", n_bytes(&stored));
            live.publish(&stored);
        }
        let n_at_hand = numbers.filter(|number| live.is_kept(alert(*number).alert.id())).count();
        assert!(n_at_hand * 20_000 < 2 * GENERATION_BYTES_MAX, "{n_at_hand} are at hand");
    }
}
