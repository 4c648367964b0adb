//! When to look at the clock for which alert.
//!
//! A commit that changes when an alert is to be looked at takes the earlier entry out, so that nobody is woken
//! for nothing and a storm leaves nothing behind. An entry that is no longer true all the same leads to a look at
//! the clock that changes nothing. The entries are read off the alerts again after a restart.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::id::AlertId;
use crate::timestamp::Timestamp;

/// How late a wake-up may be before this counts as being behind.
const OVERDUE_AFTER: Duration = Duration::from_secs(1);

/// New entries are few beside those that are there where they are less than one in so many.
const FEW_IN: usize = 16;

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

/// In the order of their moments.
type Entries = BTreeSet<(Timestamp, Wake)>;

/// The wake-ups that this process will bring.
#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: Mutex<Entries>,
    earlier: Notify,
}

impl Timers {
    /// A critical section holds only set operations, and is never held over an await.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn arm(&self, wake_at: Timestamp, wake: Wake) {
        let mut entries = self.lock();
        let is_earliest = entries.first().is_none_or(|(earliest, _)| wake_at < *earliest);
        entries.insert((wake_at, wake));
        drop(entries);
        if is_earliest {
            self.earlier.notify_one();
        }
    }

    pub(super) fn arm_all(&self, new: Vec<(Timestamp, Wake)>) {
        // Made as a whole, which takes less time and room than entry by entry, before anybody waits for it.
        let mut new: Entries = new.into_iter().collect();
        let mut entries = self.lock();
        if new.len() < entries.len() / FEW_IN {
            // To put the two together would be to go through all that are armed already, a million perhaps.
            entries.extend(new);
        } else {
            entries.append(&mut new);
        }
        drop(entries);
        self.earlier.notify_one();
    }

    /// Takes out what is not to be brought any more, if it has not been brought.
    pub(super) fn disarm(&self, wake_at: Timestamp, wake: Wake) {
        self.lock().remove(&(wake_at, wake));
    }

    /// How many entries there are, true or not.
    pub(super) fn n_armed(&self) -> usize {
        self.lock().len()
    }

    /// Whether a wake-up should have been brought a while ago.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.lock().first().is_some_and(|(wake_at, _)| now.since(*wake_at) > OVERDUE_AFTER)
    }

    /// Waits for the earliest wake-up and takes what is due then, at most `limit` of it, each with its moment.
    pub(super) async fn due(&self, clock: &dyn Clock, limit: usize) -> Vec<(Timestamp, Wake)> {
        loop {
            // Registered before the look at the entries, so that no earlier entry in between is missed.
            let earlier = self.earlier.notified();
            let earliest = self.lock().first().map(|(wake_at, _)| *wake_at);
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
        let mut entries = self.lock();
        while due.len() < limit
            && let Some(first) = entries.first()
            && first.0 <= now
        {
            due.extend(entries.pop_first());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SteadyClock;

    fn wake(number: i64) -> (Timestamp, Wake) {
        let id = AlertId::from_bits(u128::try_from(number).unwrap());
        (Timestamp::from_millis(number), Wake::at_its_time(id))
    }

    #[tokio::test]
    async fn many_or_few_that_are_armed_at_once_come_in_the_order_of_their_moments() {
        let timers = Timers::default();
        timers.arm_all((1..=100).rev().map(|number| wake(number * 2)).collect());
        timers.arm_all(vec![wake(7), wake(301)]);
        timers.disarm(wake(4).0, wake(4).1);
        assert_eq!(timers.n_armed(), 101);
        let clock = SteadyClock::system();
        let due = timers.due(&clock, 5).await;
        assert_eq!(due, [2, 6, 7, 8, 10].map(wake));
        assert_eq!(timers.due(&clock, 1_000).await.last(), Some(&wake(301)));
    }
}
