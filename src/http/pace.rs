//! How often something may happen: so many times a second, with a burst.
//!
//! One moment is all that is remembered of the past (the generic cell rate algorithm): the moment at
//! which everything that happened would have been due, had it come evenly.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::timestamp::Timestamp;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    every: Duration,
    ahead: Duration,
}

impl Pace {
    /// So many times a second, and so many at once after a quiet time.
    pub(super) fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let every = Duration::from_secs(1) / per_second.get();
        Self { every, ahead: every * (burst.get() - 1) }
    }

    /// Whether it may happen now. If so, it has: `due` is moved on.
    pub(super) fn allows(self, due: &mut Timestamp, now: Timestamp) -> bool {
        if due.since(now) > self.ahead {
            return false;
        }
        *due = (*due).max(now).plus(self.every);
        true
    }
}

/// A pace for each of many, of whom the longest silent are forgotten.
///
/// Two generations are kept. When the younger one is full it becomes the older one, and what was the
/// older one is forgotten; so there are never more than twice as many as one generation has room for.
#[derive(Debug)]
pub(super) struct PaceOfEach<K> {
    pace: Pace,
    generation_max: usize,
    young: HashMap<K, Timestamp>,
    old: HashMap<K, Timestamp>,
}

impl<K: Eq + Hash> PaceOfEach<K> {
    /// Remembers `n_max` at most.
    pub(super) fn new(pace: Pace, n_max: usize) -> Self {
        Self { pace, generation_max: (n_max / 2).max(1), young: HashMap::new(), old: HashMap::new() }
    }

    /// As [`Pace::allows`], for one of them.
    pub(super) fn allows(&mut self, one: K, now: Timestamp) -> bool {
        if let Some(due) = self.young.get_mut(&one) {
            return self.pace.allows(due, now);
        }
        let mut due = self.old.remove(&one).unwrap_or(Timestamp::EPOCH);
        let allowed = self.pace.allows(&mut due, now);
        if self.young.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(one, due);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_millis(1_772_366_400_000);

    fn pace(per_second: u32, burst: u32) -> Pace {
        Pace::new(NonZeroU32::new(per_second).unwrap(), NonZeroU32::new(burst).unwrap())
    }

    #[test]
    fn after_the_burst_it_goes_on_at_the_pace() {
        let (pace, mut due) = (pace(10, 20), Timestamp::EPOCH);
        let n_at_once = (0..100).filter(|_| pace.allows(&mut due, NOON)).count();
        assert_eq!(n_at_once, 20);
        let of_ten_seconds = (1..=10_000).filter(|n| pace.allows(&mut due, NOON.plus(Duration::from_millis(*n))));
        assert_eq!(of_ten_seconds.count(), 100);
        let after_a_quiet_minute = NOON.plus(Duration::from_mins(1));
        assert_eq!((0..100).filter(|_| pace.allows(&mut due, after_a_quiet_minute)).count(), 20);
    }

    #[test]
    fn each_has_its_own_and_no_more_than_the_most_are_remembered() {
        let mut each = PaceOfEach::new(pace(1, 1), 100);
        assert!(each.allows(0, NOON));
        assert!(!each.allows(0, NOON));
        for other in 1..=10_000 {
            assert!(each.allows(other, NOON), "{other} was not heard of before");
            assert!(!each.allows(0, NOON), "whoever goes on is not forgotten");
            assert!(each.young.len() + each.old.len() <= 101);
        }
    }
}
