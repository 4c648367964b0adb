//! What waits to be committed: how much of it there may be, and what goes first.
//!
//! Whoever asks for more than a store can write is refused at once, so that it can say "try again". New
//! alerts are refused first, because nothing has been promised about them yet. What happens to alerts that
//! were accepted (webhooks, outcomes of sends, deadlines, answers) has room that new ones cannot take, and
//! is committed before them: a flood of posts delays no read and no deadline by more than one commit. (Repetitions of
//! one alert happen to it, too; how many of them may wait is said in `engine/raise.rs`.)

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::metrics::StoreMeter;

use super::Error;

/// The most changes that wait.
pub(super) const CHANGES_MAX: usize = 10_000;
/// The most bytes of records that wait.
pub(super) const BYTES_MAX: usize = 64 << 20;
/// New alerts are refused once so many changes wait.
pub(super) const NEW_ALERTS_UNTIL: usize = 7_500;
/// New alerts are refused once so many bytes of records wait.
pub(super) const NEW_ALERTS_UNTIL_BYTES: usize = 48 << 20;

/// The most bytes of records in one commit, where it has more than one change: few enough that the first of them,
/// and a webhook that comes meanwhile, do not wait long.
pub(super) const BATCH_BYTES_MAX: usize = 4 << 20;

/// Which way a change takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// It raises an alert.
    New,
    /// It is about what was accepted before, or keeps the store itself going.
    Accepted,
}

/// Counts what waits.
#[derive(Debug)]
pub(super) struct Budget {
    n_changes: AtomicUsize,
    n_bytes: AtomicUsize,
    /// Whether it was told that something is refused, and still is.
    is_full: AtomicBool,
    meter: StoreMeter,
}

/// A place among what waits. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    budget: Arc<Budget>,
    lane: Lane,
    n_bytes: usize,
}

impl Budget {
    pub(super) fn new(meter: StoreMeter) -> Arc<Self> {
        Arc::new(Self { n_changes: AtomicUsize::new(0), n_bytes: AtomicUsize::new(0), is_full: false.into(), meter })
    }

    /// A place for a change with so many bytes of records.
    pub(super) fn place(self: &Arc<Self>, lane: Lane, n_bytes: usize) -> Result<Place, Error> {
        let (changes_max, bytes_max) = match lane {
            Lane::New => (NEW_ALERTS_UNTIL, NEW_ALERTS_UNTIL_BYTES),
            Lane::Accepted => (CHANGES_MAX, BYTES_MAX),
        };
        self.meter.waiting.inc();
        // Counted first and given back if it is too much, so that nobody slips past a limit.
        let n_changes = self.n_changes.fetch_add(1, Ordering::Relaxed) + 1;
        let all_bytes = self.n_bytes.fetch_add(n_bytes, Ordering::Relaxed).saturating_add(n_bytes);
        let place = Place { budget: Arc::clone(self), lane, n_bytes };
        if n_changes <= changes_max && all_bytes <= bytes_max {
            return Ok(place);
        }
        drop(place);
        self.meter.refused.inc();
        if !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                n_waiting = n_changes,
                n_bytes = all_bytes,
                "more is asked for than can be kept: new alerts are answered 503 until it is less"
            );
        }
        Err(Error::Busy)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let budget = &self.budget;
        budget.meter.waiting.dec();
        let n_changes = budget.n_changes.fetch_sub(1, Ordering::Relaxed);
        let n_bytes = budget.n_bytes.fetch_sub(self.n_bytes, Ordering::Relaxed);
        let has_room = n_changes < NEW_ALERTS_UNTIL / 2 && n_bytes < NEW_ALERTS_UNTIL_BYTES / 2;
        if has_room && budget.is_full.load(Ordering::Relaxed) && budget.is_full.swap(false, Ordering::Relaxed) {
            tracing::info!("there is room for new alerts again");
        }
    }
}

/// Something that has a place.
pub(super) trait Waiting {
    fn place(&self) -> &Place;
}

/// What has been taken from the queue and is not committed yet.
#[derive(Debug)]
pub(super) struct Line<T> {
    accepted: VecDeque<T>,
    new: VecDeque<T>,
}

impl<T: Waiting> Line<T> {
    pub(super) fn new() -> Self {
        Self { accepted: VecDeque::new(), new: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.accepted.is_empty() && self.new.is_empty()
    }

    pub(super) fn join(&mut self, one: T) {
        self.lane_of(&one).push_back(one);
    }

    /// The next ones, at most `n_max`, and at most [`BATCH_BYTES_MAX`] where it is more than one.
    pub(super) fn take(&mut self, n_max: usize) -> Vec<T> {
        let mut taken = Vec::new();
        let mut n_bytes = 0;
        for lane in [&mut self.accepted, &mut self.new] {
            while let Some(next) = lane.front()
                && taken.len() < n_max
                && (taken.is_empty() || n_bytes + next.place().n_bytes <= BATCH_BYTES_MAX)
            {
                n_bytes += next.place().n_bytes;
                taken.extend(lane.pop_front());
            }
        }
        taken
    }

    /// Takes back some that were taken and must wait, before those that came after them.
    pub(super) fn put_back(&mut self, left: Vec<T>) {
        for one in left.into_iter().rev() {
            self.lane_of(&one).push_front(one);
        }
    }

    fn lane_of(&mut self, one: &T) -> &mut VecDeque<T> {
        match one.place().lane {
            Lane::New => &mut self.new,
            Lane::Accepted => &mut self.accepted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(budget: &Arc<Budget>, lane: Lane, n_bytes: usize) -> Vec<Place> {
        std::iter::from_fn(|| budget.place(lane, n_bytes).ok()).collect()
    }

    #[test]
    fn a_flood_of_new_alerts_leaves_room_for_what_was_accepted() {
        let budget = Budget::new(StoreMeter::new());
        let flood = fill(&budget, Lane::New, 100);
        assert_eq!(flood.len(), NEW_ALERTS_UNTIL);
        let accepted = fill(&budget, Lane::Accepted, 100);
        assert_eq!(accepted.len(), CHANGES_MAX - NEW_ALERTS_UNTIL);
        assert_eq!(budget.meter.waiting.get(), i64::try_from(CHANGES_MAX).unwrap());
        assert_eq!(budget.meter.refused.get(), 2);
        drop(accepted);
        assert!(budget.place(Lane::New, 100).is_err(), "the flood is still there");
        drop(flood);
        assert_eq!(fill(&budget, Lane::New, 100).len(), NEW_ALERTS_UNTIL);
        assert_eq!(budget.meter.waiting.get(), 0, "and what is answered waits no more");
    }

    #[test]
    fn large_records_fill_it_before_many_small_ones_do() {
        let budget = Budget::new(StoreMeter::new());
        let flood = fill(&budget, Lane::New, NEW_ALERTS_UNTIL_BYTES / 4);
        assert_eq!(flood.len(), 4);
        assert_eq!(fill(&budget, Lane::Accepted, (BYTES_MAX - NEW_ALERTS_UNTIL_BYTES) / 2).len(), 2);
    }

    impl Waiting for (u32, Place) {
        fn place(&self) -> &Place {
            &self.1
        }
    }

    fn names(taken: Vec<(u32, Place)>) -> Vec<u32> {
        taken.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_was_accepted_goes_first_and_each_lane_keeps_its_order() {
        let budget = Budget::new(StoreMeter::new());
        let mut line = Line::new();
        for n in 1..=3 {
            line.join((n * 10, budget.place(Lane::New, 1).unwrap()));
            line.join((n, budget.place(Lane::Accepted, 1).unwrap()));
        }
        let mut taken = line.take(2);
        line.put_back(vec![taken.pop().unwrap()]);
        assert_eq!(names(taken), [1]);
        line.join((4, budget.place(Lane::Accepted, 1).unwrap()));
        assert_eq!(names(line.take(4)), [2, 3, 4, 10]);
        assert_eq!(names(line.take(4)), [20, 30]);
        assert!(line.is_empty());
    }

    #[test]
    fn a_commit_has_few_large_records_and_always_one() {
        let budget = Budget::new(StoreMeter::new());
        let mut line = Line::new();
        for (name, n_bytes) in
            [(1, BATCH_BYTES_MAX / 2), (2, BATCH_BYTES_MAX / 2), (3, 1), (4, 2 * BATCH_BYTES_MAX), (5, 1)]
        {
            line.join((name, budget.place(Lane::New, n_bytes).unwrap()));
        }
        assert_eq!(names(line.take(100)), [1, 2]);
        assert_eq!(names(line.take(100)), [3]);
        assert_eq!(names(line.take(100)), [4]);
        assert_eq!(names(line.take(100)), [5]);
    }
}
