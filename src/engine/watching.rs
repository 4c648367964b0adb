//! Watching the engine itself: an auditor, and the question whether everything goes on.
//!
//! Every open alert must have somebody who works on it, a place in the line, or a moment at which it is
//! looked at. Should a defect ever take that away, nobody would notice: an alert that is forgotten makes
//! no noise. So an auditor reads off the store which alerts should have been looked at by now, and wakes
//! and reports those that nobody has. It reads one index and no alert.
//!
//! Being late is no defect by itself: after a start, or when the machine slept, many deadlines have passed
//! at once and are being seen to. So an alert counts as forgotten only when two audits one after the other
//! found it late, and nothing had happened to it in between.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::alarm::Alarm;
use crate::id::AlertId;
use crate::store;
use crate::timestamp::Timestamp;

use super::timers::Wake;
use super::vitals::Room;
use super::{Engine, Error};
use crate::chain::Chain;

/// How often the room on the disk is looked at.
const TEND_EVERY: Duration = Duration::from_secs(10);
/// After how many of these looks the alerts are audited: every 30 seconds.
const TENDINGS_BETWEEN_AUDITS: u32 = 3;
/// How long after its time an alert must have been looked at; the next audit comes as long after.
const AUDIT_GRACE: Duration = Duration::from_secs(30);
/// How many late alerts are remembered until the next audit; beyond it, others are judged once these are not late.
const AUDIT_SUSPECTS_MAX: usize = 10_000;
/// How many late alerts are read at a time.
const AUDIT_PAGE: usize = 1_000;
/// After how long without an audit that passed the engine counts as standing still: three were missed.
const AUDIT_STALE_AFTER: Duration = Duration::from_secs(90);
/// How long something may wait that should happen at once before the engine counts as standing still.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// How long a proof that the store keeps something holds.
pub const READY_KEPT: Duration = Duration::from_secs(1);
/// After how many failures an alert is left alone for longer.
pub(super) const FAILURES_BEFORE_QUARANTINE: u32 = 3;
/// How many alerts are remembered for failing; beyond it they are tried as if it were the first time.
pub const ASIDE_MAX: usize = 10_000;

/// Alerts that the latest audit found late, with the moment at which they should have been looked at.
type Suspects = HashMap<AlertId, Timestamp>;

/// What is known about the engine's own health.
#[derive(Debug, Default)]
pub(super) struct Watch {
    audit: Mutex<Audit>,
    /// When the store last kept something.
    proof: tokio::sync::Mutex<Option<Timestamp>>,
    aside: Mutex<HashMap<AlertId, u32>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Audit {
    /// When this process began to audit.
    began_at: Option<Timestamp>,
    passed_at: Option<Timestamp>,
    /// The latest audit found an alert that nobody worked on.
    has_failed: bool,
    room: Room,
}

/// What stands still.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stuck {
    /// The engine is stopping.
    #[error("callout is stopping")]
    Stopping,
    /// Wake-ups are not brought.
    #[error("wake-ups are overdue and not brought")]
    Timers,
    /// Nobody is given a turn to send.
    #[error("turns to send are not handed out")]
    Turns,
    /// The store does not keep anything.
    #[error("the store keeps nothing")]
    Store(#[source] store::Error),
    /// The store does not answer.
    #[error("the store does not answer")]
    StoreSilent,
    /// The alerts could not be audited, or the audit found an alert that nobody worked on.
    #[error("no audit of the open alerts has passed for a while")]
    Audit,
}

impl Watch {
    /// A critical section holds a few operations, and is never held over an await.
    fn audited(&self) -> MutexGuard<'_, Audit> {
        self.audit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn aside(&self) -> MutexGuard<'_, HashMap<AlertId, u32>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An alert brought callout to fail, or cannot be understood. Returns how often by now.
    pub(super) fn set_aside(&self, id: AlertId) -> u32 {
        let mut aside = self.aside();
        if aside.len() >= ASIDE_MAX && !aside.contains_key(&id) {
            return 1;
        }
        let n_failures = aside.entry(id).or_default();
        *n_failures = n_failures.saturating_add(1);
        *n_failures
    }

    /// Work on the alert succeeded.
    pub(super) fn take_back(&self, id: AlertId) {
        let mut aside = self.aside();
        if !aside.is_empty() {
            aside.remove(&id);
        }
    }

    /// How many alerts are left alone, because working on them fails again and again.
    pub(super) fn n_quarantined(&self) -> usize {
        self.aside().values().filter(|n_failures| **n_failures >= FAILURES_BEFORE_QUARANTINE).count()
    }

    pub(super) fn is_aside(&self, id: AlertId) -> bool {
        self.aside().contains_key(&id)
    }
}

impl Engine {
    pub(super) async fn watch(&self) {
        self.0.watch.audited().began_at.get_or_insert(self.now());
        let mut round = 0_u32;
        let mut suspects = Suspects::new();
        loop {
            self.tend_store().await;
            if round.is_multiple_of(TENDINGS_BETWEEN_AUDITS) {
                self.audit(&mut suspects).await;
            }
            round = round.wrapping_add(1);
            self.0.clock.sleep_until(self.now().plus(TEND_EVERY)).await;
        }
    }

    async fn tend_store(&self) {
        match self.0.store.tend().await {
            Ok(None) => {}
            Ok(Some(disk)) => {
                self.0.watch.audited().room = match (disk.is_full, disk.is_low) {
                    (true, _) => Room::Full,
                    (false, true) => Room::Low,
                    (false, false) => Room::Enough,
                };
                self.0.metrics.disk_free(disk.free_bytes);
                if disk.is_low || disk.is_full {
                    self.0.alarms.raise(Alarm::DiskLow, None, self.now());
                } else {
                    self.0.alarms.over(Alarm::DiskLow, self.now());
                }
            }
            Err(error) => tracing::warn!(error = %Chain(&error), "could not see how much room there is on the disk"),
        }
    }

    async fn audit(&self, suspects: &mut Suspects) {
        match self.wake_the_forgotten(suspects).await {
            Ok(0) => {
                let mut audited = self.0.watch.audited();
                (audited.passed_at, audited.has_failed) = (Some(self.now()), false);
                drop(audited);
                self.0.alarms.over(Alarm::AuditFailed, self.now());
            }
            Ok(_) => self.0.watch.audited().has_failed = true,
            Err(error) => tracing::error!(error = %Chain(&error), "the open alerts could not be audited"),
        }
    }

    /// Wakes every alert that was late at the audit before, is so still, and that nobody works on, and every one that is
    /// open and waits for nothing. Returns how many there were.
    async fn wake_the_forgotten(&self, suspects: &mut Suspects) -> Result<usize, Error> {
        let late_before = self.moment_before(AUDIT_GRACE);
        let were_late = std::mem::take(suspects);
        let mut after = None;
        let mut n_forgotten = 0;
        loop {
            let page = self.0.store.overdue(late_before, after, AUDIT_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for armed in page.iter().filter(|armed| !self.is_looked_after(armed.id)) {
                if suspects.len() < AUDIT_SUSPECTS_MAX {
                    suspects.insert(armed.id, armed.wake_at);
                }
                if were_late.get(&armed.id) != Some(&armed.wake_at) {
                    continue;
                }
                n_forgotten += 1;
                self.wake_forgotten(armed.id);
            }
        }
        let unarmed = self.0.store.unarmed(AUDIT_PAGE).await?;
        for id in unarmed.into_iter().filter(|id| !self.is_looked_after(*id)) {
            n_forgotten += 1;
            self.wake_forgotten(id);
        }
        Ok(n_forgotten)
    }

    fn wake_forgotten(&self, id: AlertId) {
        self.0.metrics.audit_found();
        self.0.alarms.raise(Alarm::AuditFailed, Some(id), self.now());
        tracing::error!(alert.id = %id, "the audit found an open alert that nobody worked on, which only a defect of callout can bring about; it is woken now");
        self.0.timers.arm(self.now(), Wake::at_its_time(id));
    }

    fn is_looked_after(&self, id: AlertId) -> bool {
        let shared = &self.0;
        shared.turns.has(id) || shared.outage.is_held(id) || shared.recording.is_known(id) || shared.watch.is_aside(id)
    }

    /// Proves that the store keeps something, at most once in [`READY_KEPT`], however many ask.
    pub(super) async fn prove_store(&self) -> Result<(), store::Error> {
        let mut proof = self.0.watch.proof.lock().await;
        let now = self.now();
        if proof.is_some_and(|proved_at| now.since(proved_at) < READY_KEPT) {
            return Ok(());
        }
        let outcome = self.0.store.probe(now).await;
        // That it does not is not remembered: it may do so again at any moment.
        *proof = outcome.is_ok().then(|| self.now());
        outcome
    }

    /// How long ago the open alerts passed an audit, if they did since the start.
    pub(super) fn audited_ago(&self) -> Option<Duration> {
        self.0.watch.audited().passed_at.map(|passed_at| self.now().since(passed_at))
    }

    /// Whether an audit should have passed since: one that never did is no better than one that did long ago.
    pub(super) fn is_audit_stale(&self) -> bool {
        let Audit { began_at, passed_at, has_failed: _, room: _ } = *self.0.watch.audited();
        passed_at.or(began_at).is_some_and(|at| self.now().since(at) > AUDIT_STALE_AFTER)
    }

    pub(super) fn room(&self) -> Room {
        self.0.watch.audited().room
    }

    /// Whether everything goes on: wake-ups are brought, turns handed out, commits made, and the open alerts
    /// have passed an audit not long ago. Whoever watches callout from outside is told only while this holds.
    pub async fn advancing(&self) -> Result<(), Stuck> {
        if self.0.stop.is_cancelled() {
            return Err(Stuck::Stopping);
        }
        let long_ago = self.moment_before(STUCK_AFTER);
        if self.0.timers.is_overdue(long_ago) {
            return Err(Stuck::Timers);
        }
        if self.0.turns.is_stuck(long_ago) {
            return Err(Stuck::Turns);
        }
        let limit = self.now().plus(STUCK_AFTER);
        tokio::select! {
            biased;
            proved = self.prove_store() => proved.map_err(Stuck::Store)?,
            () = self.0.clock.sleep_until(limit) => return Err(Stuck::StoreSilent),
        }
        if self.audited_ago().is_none_or(|ago| ago > AUDIT_STALE_AFTER) { Err(Stuck::Audit) } else { Ok(()) }
    }

    /// Whether the latest audit found nothing wrong. What it finds it mends, so that this is no reason to begin anew; but
    /// nobody outside is to be told that all is well.
    pub fn passes_audit(&self) -> bool {
        !self.0.watch.audited().has_failed
    }

    /// Returns when the store has failed for good.
    pub async fn store_failed(&self) {
        self.0.store.failed().await;
        self.0.alarms.raise(Alarm::DiskFailed, None, self.now());
    }

    /// Writes a copy of everything that is kept to a file.
    pub async fn copy_store(&self, to: &std::path::Path) -> Result<(), store::CopyError> {
        self.0.store.copy_to(to).await
    }
}
