//! Second looks: coming back to an alert because the store failed.
//!
//! The store may fail for an hour, and in that time one alert is asked for again and again: by its deadline,
//! by each audit, by webhooks that come twice. One of them comes back, or a store that is full would be asked
//! for the same alert hundreds of times a second.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::timestamp::Timestamp;

use super::Engine;
use super::timers::Wake;

/// How long after the store failed an alert is looked at again.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How many second looks wait at one moment. An audit finds what goes without one.
const SECOND_LOOKS_MAX: usize = 1_000_000;

/// The second looks that wait, each with its moment.
#[derive(Debug)]
pub(super) struct SecondLooks {
    waiting: Mutex<BTreeMap<Wake, Timestamp>>,
    n_max: usize,
}

/// What came of a wish to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noted {
    New,
    Already,
    TooMany,
}

impl Default for SecondLooks {
    fn default() -> Self {
        Self::up_to(SECOND_LOOKS_MAX)
    }
}

impl SecondLooks {
    fn up_to(n_max: usize) -> Self {
        Self { waiting: Mutex::default(), n_max }
    }

    /// A critical section holds only map operations, and is never held over an await.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Wake, Timestamp>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, wake: Wake, look_at: Timestamp) -> Noted {
        let mut waiting = self.lock();
        if waiting.contains_key(&wake) {
            return Noted::Already;
        }
        if waiting.len() >= self.n_max {
            return Noted::TooMany;
        }
        waiting.insert(wake, look_at);
        Noted::New
    }

    /// A wake-up has come that was armed for this moment.
    pub(super) fn came(&self, wake: Wake, wake_at: Timestamp) {
        let mut waiting = self.lock();
        if waiting.get(&wake) == Some(&wake_at) {
            waiting.remove(&wake);
        }
    }
}

impl Engine {
    /// Has an alert woken again in a moment for this reason, unless that is to happen anyway.
    pub(super) fn look_again(&self, wake: Wake) {
        let look_at = self.now().plus(LOOK_AFTER);
        match self.0.second_looks.note(wake, look_at) {
            Noted::New => self.0.timers.arm(look_at, wake),
            Noted::Already => {}
            Noted::TooMany => {
                tracing::error!(alert.id = %wake.id, "the store failed for too many alerts at once; this one goes on when an audit finds it");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::timers::WakeWhy;
    use crate::id::AlertId;

    const SOON: Timestamp = Timestamp::from_millis(1_000);
    const LATER: Timestamp = Timestamp::from_millis(2_000);

    fn wake(number: u128) -> Wake {
        Wake::at_its_time(AlertId::from_bits(number))
    }

    #[test]
    fn one_look_comes_back_for_each_reason() {
        let looks = SecondLooks::default();
        assert_eq!(looks.note(wake(1), SOON), Noted::New);
        assert_eq!(looks.note(wake(1), LATER), Noted::Already);
        assert_eq!(looks.note(Wake { why: WakeWhy::Unsure, ..wake(1) }, SOON), Noted::New);
        looks.came(wake(1), LATER);
        assert_eq!(looks.note(wake(1), LATER), Noted::Already, "another wake-up came, not this one");
        looks.came(wake(1), SOON);
        assert_eq!(looks.note(wake(1), LATER), Noted::New);
    }

    #[test]
    fn there_is_a_limit() {
        let looks = SecondLooks::up_to(2);
        assert_eq!([1, 2, 3].map(|number| looks.note(wake(number), SOON)), [Noted::New, Noted::New, Noted::TooMany]);
        looks.came(wake(1), SOON);
        assert_eq!(looks.note(wake(3), SOON), Noted::New);
    }
}
