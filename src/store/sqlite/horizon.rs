//! Until when certainly no alert is late.
//!
//! The auditor asks every half minute which alerts are late, and the index that answers is in the order of ids, so that
//! a change of a moment costs no second index: each answer would go through all live alerts, a million perhaps. So
//! whoever went through all of them remembers the earliest moment, and what is written since lowers it. As long as
//! that lies ahead, nobody is late, and nothing is read.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::timestamp::Timestamp;

/// What is known about the moments of all live alerts. The lock is a plain one, held for a few comparisons.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// No alert has its moment before this, where that is known.
    earliest: Option<Timestamp>,
    /// The look at all of them that is under way, and the earliest moment written since it began, which it may not see.
    under_way: Option<(u64, Timestamp)>,
    n_looks: u64,
}

/// A look at all alerts that is under way. Dropping it ends it without an answer.
#[derive(Debug)]
pub(super) struct Look<'a> {
    horizon: &'a Horizon,
    number: u64,
}

impl Look<'_> {
    /// The look is over, and this is the earliest moment of all.
    pub(super) fn found(self, earliest: Timestamp) {
        self.end(Some(earliest));
    }

    fn end(&self, earliest: Option<Timestamp>) {
        let mut seen = self.horizon.lock();
        if let Some((_, written)) = seen.under_way.take_if(|(number, _)| *number == self.number)
            && let Some(earliest) = earliest
        {
            seen.earliest = Some(earliest.min(written));
        }
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Horizon {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether certainly no alert has its moment before this.
    pub(super) fn is_clear(&self, before: Timestamp) -> bool {
        self.lock().earliest.is_some_and(|earliest| before <= earliest)
    }

    /// Somebody will go through all alerts, and begins to read only after this. None where somebody does already, whose
    /// answer will be remembered.
    pub(super) fn begin(&self) -> Option<Look<'_>> {
        let mut seen = self.lock();
        if seen.under_way.is_some() {
            return None;
        }
        seen.n_looks += 1;
        let number = seen.n_looks;
        seen.under_way = Some((number, Timestamp::MAX));
        Some(Look { horizon: self, number })
    }

    /// An alert that was committed has this moment.
    pub(super) fn lower(&self, wake_at: Timestamp) {
        let mut seen = self.lock();
        seen.earliest = seen.earliest.map(|earliest| earliest.min(wake_at));
        if let Some((_, written)) = &mut seen.under_way {
            *written = wake_at.min(*written);
        }
    }

    /// A commit failed that may have been kept all the same.
    pub(super) fn forget(&self) {
        let mut seen = self.lock();
        (seen.earliest, seen.under_way) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn nobody_is_late_before_the_earliest_moment_that_was_found_or_written_since() {
        let horizon = Horizon::default();
        assert!(!horizon.is_clear(at(1)), "nothing is known yet");
        horizon.begin().unwrap().found(at(100));
        assert!(horizon.is_clear(at(100)) && !horizon.is_clear(at(101)));
        horizon.lower(at(200));
        assert!(horizon.is_clear(at(100)), "a later one changes nothing");
        horizon.lower(at(50));
        assert!(horizon.is_clear(at(50)) && !horizon.is_clear(at(51)));
    }

    #[test]
    fn what_is_written_while_somebody_looks_counts_though_the_look_may_miss_it() {
        let horizon = Horizon::default();
        let look = horizon.begin().unwrap();
        assert!(horizon.begin().is_none(), "one at a time remembers what it found");
        horizon.lower(at(50));
        look.found(at(100));
        assert!(horizon.is_clear(at(50)) && !horizon.is_clear(at(51)));
        horizon.begin().unwrap().found(at(100));
        assert!(horizon.is_clear(at(100)), "the next look saw it go");
    }

    #[test]
    fn a_look_that_failed_and_a_commit_that_failed_leave_nothing_to_go_by() {
        let horizon = Horizon::default();
        drop(horizon.begin().unwrap());
        assert!(!horizon.is_clear(at(0)), "it found nothing out");
        horizon.begin().unwrap().found(at(100));
        let look = horizon.begin().unwrap();
        horizon.forget();
        assert!(!horizon.is_clear(at(0)));
        let next = horizon.begin().unwrap();
        look.found(at(100));
        assert!(!horizon.is_clear(at(0)), "the look may have missed what the commit kept");
        next.found(at(70));
        assert!(horizon.is_clear(at(70)));
    }
}
