//! Whose turn it is to send: the queue of attempts that are ready, and the pace at which they may go.
//!
//! Vonage takes about 30 requests a second from an account, so a storm of alerts must wait in line.
//! First messages of an alert go ahead of all others, then the worse alert, then the older one.
//! Nothing here is stored: the queue is read off the alerts again after a restart.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::clock::Clock;
use crate::escalation::{Alert, Severity};
use crate::id::AlertId;
use crate::timestamp::Timestamp;

/// The most sends that are on their way at one moment.
pub const IN_FLIGHT_MAX: usize = 128;
/// How far the pace may run ahead of an even one, to make up for a timer that woke late.
const SLACK_MICROS: i64 = 20_000;
/// How often a node sends that leaves sending to others, to see whether it could do it again.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// The line of attempts that are ready to be sent.
#[derive(Debug)]
pub(super) struct Turns {
    line: Mutex<Line>,
    changed: Notify,
    in_flight: Arc<Semaphore>,
    max_per_second: AtomicU32,
    /// Sends go out only now and then.
    is_trying: AtomicBool,
}

#[derive(Debug, Default)]
struct Line {
    by_rank: BTreeMap<Rank, AlertId>,
    ranks: HashMap<AlertId, Rank>,
    /// When the pace allows the next send, in microseconds since 1970.
    free_at_micros: i64,
    /// Since when somebody has been waiting without anybody's having a turn.
    waits_since: Option<Timestamp>,
}

/// The order of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    order: Order,
    severity: Severity,
    raised_at: Timestamp,
    id: AlertId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    First,
    Later,
}

/// The right to send once. Given back when it is dropped unused, unless a later one has been given out:
/// then the pace has gone on, and a turn given back late would let two sends through at one moment.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    unused: Option<OwnedSemaphorePermit>,
    free_before_micros: i64,
    free_after_micros: i64,
}

impl Turn {
    /// Uses the right up; the permit that comes back must be held while the send is on its way.
    pub(super) fn take(mut self) -> Option<OwnedSemaphorePermit> {
        self.unused.take()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.unused.is_some() {
            let mut line = self.turns.lock();
            if line.free_at_micros == self.free_after_micros {
                line.free_at_micros = self.free_before_micros;
            }
            drop(line);
            self.turns.changed.notify_one();
        }
    }
}

impl Turns {
    pub(super) fn new(max_per_second: u32) -> Arc<Self> {
        Arc::new(Self {
            line: Mutex::new(Line::default()),
            changed: Notify::new(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            max_per_second: AtomicU32::new(max_per_second),
            is_trying: AtomicBool::new(false),
        })
    }

    /// Changes the pace; zero means no limit.
    pub(super) fn set_max_per_second(&self, max_per_second: u32) {
        self.max_per_second.store(max_per_second, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Lets one send out every [`TRY_EVERY`] only, or goes on at full pace. Whether that is a change.
    pub(super) fn set_trying(&self, is_trying: bool) -> bool {
        let is_news = self.is_trying.swap(is_trying, Ordering::Relaxed) != is_trying;
        if is_news && !is_trying {
            // What the last try has cost is not waited for.
            self.lock().free_at_micros = 0;
            self.changed.notify_one();
        }
        is_news
    }

    /// Whether an alert is waiting for its turn here.
    pub(super) fn is_waiting(&self, id: AlertId) -> bool {
        self.lock().ranks.contains_key(&id)
    }

    /// How many attempts are waiting for their turn.
    pub(super) fn n_waiting(&self) -> usize {
        self.lock().by_rank.len()
    }

    /// A critical section holds only map operations, and is never held over an await.
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one send costs, in microseconds of the pace.
    fn cost_micros(&self) -> i64 {
        if self.is_trying.load(Ordering::Relaxed) {
            return i64::try_from(TRY_EVERY.as_micros()).unwrap_or(i64::MAX);
        }
        match self.max_per_second.load(Ordering::Relaxed) {
            0 => 0,
            max_per_second => 1_000_000 / i64::from(max_per_second),
        }
    }

    /// Puts an alert in line, or moves it to where it belongs now.
    pub(super) fn join(&self, alert: &Alert, now: Timestamp) {
        let rank = Rank {
            order: if alert.newest_attempt() == 1 { Order::First } else { Order::Later },
            severity: alert.raised.severity,
            raised_at: alert.raised.at,
            id: alert.id(),
        };
        let mut line = self.lock();
        if let Some(earlier) = line.ranks.insert(rank.id, rank) {
            line.by_rank.remove(&earlier);
        }
        line.by_rank.insert(rank, rank.id);
        line.waits_since.get_or_insert(now);
        drop(line);
        self.changed.notify_one();
    }

    /// Whether an alert is in the line.
    pub(super) fn has(&self, id: AlertId) -> bool {
        self.lock().ranks.contains_key(&id)
    }

    /// Whether somebody could have had a turn since `long_ago` and has not.
    pub(super) fn is_stuck(&self, long_ago: Timestamp) -> bool {
        let line = self.lock();
        let could_go = line.free_at_micros <= long_ago.as_millis().saturating_mul(1_000);
        could_go && line.waits_since.is_some_and(|since| since < long_ago) && self.in_flight.available_permits() > 0
    }

    /// Takes an alert out of the line, if it is there: it is not to be sent any more.
    pub(super) fn leave(&self, id: AlertId) {
        let mut line = self.lock();
        if let Some(rank) = line.ranks.remove(&id) {
            line.by_rank.remove(&rank);
        }
        if line.by_rank.is_empty() {
            line.waits_since = None;
        }
    }

    /// A turn right now, if nobody is waiting and the pace allows it.
    pub(super) fn try_take(self: &Arc<Self>, now: Timestamp) -> Option<Turn> {
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().ok()?;
        let mut line = self.lock();
        if line.by_rank.is_empty() { self.charge(&mut line, permit, now) } else { None }
    }

    fn charge(self: &Arc<Self>, line: &mut Line, permit: OwnedSemaphorePermit, now: Timestamp) -> Option<Turn> {
        let cost_micros = self.cost_micros();
        let now_micros = now.as_millis().saturating_mul(1_000);
        if line.free_at_micros > now_micros {
            return None;
        }
        let free_before_micros = line.free_at_micros;
        line.free_at_micros = free_before_micros.max(now_micros - SLACK_MICROS.min(cost_micros)) + cost_micros;
        let free_after_micros = line.free_at_micros;
        Some(Turn { turns: Arc::clone(self), unused: Some(permit), free_before_micros, free_after_micros })
    }

    /// The next alert in line together with its turn; waits until there is both.
    pub(super) async fn next(self: &Arc<Self>, clock: &dyn Clock) -> Option<(AlertId, Turn)> {
        loop {
            // Registered before the look at the line, so that no change in between is missed.
            let changed = self.changed.notified();
            if self.lock().by_rank.is_empty() {
                changed.await;
                continue;
            }
            let permit = Arc::clone(&self.in_flight).acquire_owned().await.ok()?;
            match self.pop(permit, clock.now()) {
                Popped::Turn(id, turn) => return Some((id, turn)),
                Popped::TooSoon(free_at) => {
                    // A turn that is given back or a new pace may make it sooner.
                    let changed = self.changed.notified();
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = clock.sleep_until(free_at) => {}
                    }
                }
                Popped::Nobody => {}
            }
        }
    }

    fn pop(self: &Arc<Self>, permit: OwnedSemaphorePermit, now: Timestamp) -> Popped {
        let mut line = self.lock();
        let Some(turn) = self.charge(&mut line, permit, now) else {
            return Popped::TooSoon(Timestamp::from_millis(line.free_at_micros.saturating_add(999) / 1_000));
        };
        let Some((rank, id)) = line.by_rank.pop_first() else {
            // Dropping the turn gives it back, which needs the line.
            drop(line);
            return Popped::Nobody;
        };
        line.ranks.remove(&rank.id);
        line.waits_since = (!line.by_rank.is_empty()).then_some(now);
        Popped::Turn(id, turn)
    }
}

/// What a look at the line found.
enum Popped {
    Turn(AlertId, Turn),
    TooSoon(Timestamp),
    Nobody,
}
