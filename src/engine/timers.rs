//! When to look at the clock for which alert.
//!
//! Nothing is ever cancelled: an entry that is no longer true leads to a look at the clock that changes
//! nothing. The entries are read off the alerts again after a restart.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::id::AlertId;
use crate::timestamp::Timestamp;

/// How late a wake-up may be before this counts as being behind.
const OVERDUE_AFTER: Duration = Duration::from_secs(1);

/// Whom to wake, and what to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wake {
    pub(super) id: AlertId,
    pub(super) why: WakeWhy,
}

/// Why an alert is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WakeWhy {
    /// It may be time for something.
    ItsTime,
    /// The process before this one ended while it was being sent.
    SenderLost,
    /// It was held, and what held it is over.
    OutageOver,
    /// The store failed at a commit and may have kept it all the same.
    Unsure,
}

impl Wake {
    pub(super) const fn at_its_time(id: AlertId) -> Self {
        Self { id, why: WakeWhy::ItsTime }
    }
}

type Heap = BinaryHeap<Reverse<(Timestamp, Wake)>>;

/// The wake-ups that this process will bring.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: Mutex<Heap>,
    earlier: Notify,
}

impl Timers {
    /// A critical section holds only heap operations, and is never held over an await.
    fn lock(&self) -> MutexGuard<'_, Heap> {
        self.heap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn arm(&self, wake_at: Timestamp, wake: Wake) {
        let mut heap = self.lock();
        let is_earliest = heap.peek().is_none_or(|Reverse((earliest, _))| wake_at < *earliest);
        heap.push(Reverse((wake_at, wake)));
        drop(heap);
        if is_earliest {
            self.earlier.notify_one();
        }
    }

    pub(super) fn arm_all(&self, entries: impl IntoIterator<Item = (Timestamp, Wake)>) {
        self.lock().extend(entries.into_iter().map(Reverse));
        self.earlier.notify_one();
    }

    /// How many entries there are, true or not.
    pub(super) fn n_armed(&self) -> usize {
        self.lock().len()
    }

    /// Whether a wake-up should have been brought a while ago.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.lock().peek().is_some_and(|Reverse((wake_at, _))| now.since(*wake_at) > OVERDUE_AFTER)
    }

    /// Waits for the earliest wake-up and takes what is due then, at most `limit` of it, each with its moment.
    pub(super) async fn due(&self, clock: &dyn Clock, limit: usize) -> Vec<(Timestamp, Wake)> {
        loop {
            // Registered before the look at the heap, so that no earlier entry in between is missed.
            let earlier = self.earlier.notified();
            let earliest = self.lock().peek().map(|Reverse((wake_at, _))| *wake_at);
            match earliest {
                None => earlier.await,
                Some(wake_at) if wake_at <= clock.now() => return self.take_due(clock.now(), limit),
                Some(wake_at) => {
                    tokio::select! {
                        biased;
                        () = earlier => {}
                        () = clock.sleep_until(wake_at) => {}
                    }
                }
            }
        }
    }

    fn take_due(&self, now: Timestamp, limit: usize) -> Vec<(Timestamp, Wake)> {
        let mut due = Vec::new();
        let mut heap = self.lock();
        while due.len() < limit && heap.peek().is_some_and(|Reverse((wake_at, _))| *wake_at <= now) {
            if let Some(Reverse(armed)) = heap.pop() {
                due.push(armed);
            }
        }
        due
    }
}
