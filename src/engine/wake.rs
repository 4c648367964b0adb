//! The door of the clock: taking up after a start, waking alerts, handing out turns.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::escalation::{self, Alert, Backend, Event, Ignored, Progress};
use crate::id::{AlertId, AttemptRef};
use crate::traces::Deed;

use super::apply::Applied;
use super::outage::Holding;
use super::timers::{Wake, WakeWhy};
use super::turns::Turn;
use super::{Engine, Error, WAKING_MAX};

/// How many alerts are taken up at a time.
const TAKE_UP_PAGE: usize = 10_000;
/// How many failing alerts are read before it is asked whether more must be known.
const LEARNING_PAGE: usize = 16;
/// How long to wait before work begins again that a defect stopped.
const WORK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long to wait before looking again whether the known outcome of a send is written down.
const RECORDED_BY: Duration = Duration::from_secs(1);

impl Engine {
    /// Where nobody else uses the store, arms every alert that the store has armed. What was being sent is not
    /// being sent by anybody now, and is made ready to be sent again.
    pub(super) async fn take_up(&self) -> Result<(), Error> {
        let shared = &self.0;
        if !shared.store.is_sole_owner() {
            // Other nodes have armed their alerts; what nobody has armed is found when it is due.
            return Ok(());
        }
        let now = shared.clock.now();
        let mut after = None;
        let mut wakes = Vec::new();
        loop {
            let page = shared.store.armed(after, TAKE_UP_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            wakes.extend(page.iter().map(|armed| {
                if armed.sending {
                    (now, Wake { id: armed.id, why: WakeWhy::SenderLost })
                } else {
                    (armed.wake_at, Wake::at_its_time(armed.id))
                }
            }));
        }
        self.learn_of_failing().await?;
        let n_armed = wakes.len();
        // At once: with every page, all that were armed before would be gone through again.
        shared.timers.arm_all(wakes);
        // Whatever has a wake-up is escalating, and nothing else has one.
        self.0.metrics.escalating(i64::try_from(n_armed).unwrap_or(i64::MAX));
        if n_armed > 0 {
            tracing::info!(n_armed, "took up the alerts that were escalating before the start");
        }
        Ok(())
    }

    /// An outage outlives a restart: what was failing when the process before ended counts as failing
    /// until something is accepted. Two alerts are enough for the judgement.
    async fn learn_of_failing(&self) -> Result<(), Error> {
        let mut before = None;
        while !self.0.outage.is_vonage_blocked() {
            let page = self.0.store.failing(before, LEARNING_PAGE).await?;
            let Some(last) = page.last() else { break };
            before = Some(*last);
            for id in page {
                if let Ok(alert) = self.alert(id).await {
                    self.observe_way(&alert);
                }
            }
        }
        Ok(())
    }

    pub(super) fn begin_loops(&self) {
        let among_others = (!self.0.store.is_sole_owner()).then_some(Work::Sweep);
        for work in [Work::Wake, Work::HandOutTurns, Work::Tidy, Work::Watch].into_iter().chain(among_others) {
            let engine = self.clone();
            self.spawn(async move {
                let stop = engine.0.stop.clone();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = engine.work_always(work) => {}
                }
            });
        }
    }

    /// A defect in one round of the work must not end it: nobody would be called any more.
    async fn work_always(&self, work: Work) {
        loop {
            match AssertUnwindSafe(self.work(work)).catch_unwind().await {
                Ok(()) => return,
                Err(_panic) => {
                    self.0.metrics.failure();
                    tracing::error!(?work, "a defect of callout stopped the work on all alerts; it begins again");
                    self.0.clock.sleep_until(self.now().plus(WORK_AGAIN_AFTER)).await;
                }
            }
        }
    }

    async fn work(&self, work: Work) {
        match work {
            Work::Wake => self.wake_what_is_due().await,
            Work::HandOutTurns => self.hand_out_turns().await,
            Work::Tidy => self.tidy_up().await,
            Work::Watch => self.watch().await,
            Work::Sweep => self.sweep_always().await,
        }
    }

    async fn wake_what_is_due(&self) {
        loop {
            for (wake_at, wake) in self.0.timers.due(self.0.clock.as_ref(), WAKING_MAX).await {
                self.0.metrics.woke_late(self.now().since(wake_at));
                self.0.second_looks.came(wake, wake_at);
                let Ok(permit) = Arc::clone(&self.0.waking).acquire_owned().await else { return };
                let engine = self.clone();
                self.spawn(async move {
                    engine.look_after(wake, engine.wake(wake)).await;
                    drop(permit);
                });
            }
        }
    }

    async fn wake(&self, wake: Wake) -> Result<(), Error> {
        let id = wake.id;
        if wake.why == WakeWhy::Unsure {
            return self.look_at_unsure(id).await;
        }
        let alert = self.alert(id).await?;
        let now = self.now();
        let Some(progress) = alert.progress() else {
            // Another node may have seen to it while it was failing here.
            self.observe_way(&alert);
            return Ok(());
        };
        match (progress, wake.why) {
            (Progress::Ready { from, .. }, _) if from <= now => match self.0.own_sends.may_go_at(&alert, now) {
                Some(later) if later > now => self.0.timers.arm(later, Wake::at_its_time(id)),
                Some(_) | None => self.0.turns.join(&alert, now),
            },
            (Progress::Ready { .. }, _) => {}
            (Progress::Sending { .. }, _) if self.0.recording.is_known(id) => {
                self.0.timers.arm(now.plus(RECORDED_BY), Wake::at_its_time(id));
            }
            (Progress::Sending { .. }, WakeWhy::SenderLost) => {
                self.apply(id, &Event::SenderLost, None).await?;
            }
            (Progress::Waiting { .. }, WakeWhy::OutageOver) => {
                self.apply(id, &Event::OutageOver, None).await?;
            }
            (Progress::Sending { .. } | Progress::Waiting { .. }, _) => self.look_at_the_clock(&alert).await?,
        }
        Ok(())
    }

    async fn look_at_the_clock(&self, alert: &Alert) -> Result<(), Error> {
        let id = alert.id();
        // It may be held by another node, which does not know yet that the outage is over, or is dead.
        if !self.0.store.is_sole_owner()
            && let Some(Progress::Waiting { until }) = alert.progress()
            && self.0.outage.was_blocked_at(alert, until)
        {
            self.apply(id, &Event::OutageOver, None).await?;
            return Ok(());
        }
        // Whoever sent it may have ended before it looked at what had waited for that.
        let is_sent = matches!(alert.progress(), Some(Progress::Waiting { .. }));
        if is_sent && alert.plan().backend() == Backend::Dispatch {
            self.look_at_unclear(AttemptRef { alert: id, attempt: alert.newest_attempt() }).await?;
        }
        let reach = self.0.outage.reach(alert);
        let begun = self.0.traces.begin();
        match self.apply(id, &Event::TimePassed { reach }, None).await? {
            Applied::Moved(_) => self.0.traces.did(begun, id, Deed::Deadline { attempt: alert.newest_attempt() }),
            Applied::Stayed(stayed, Ignored::Held) if self.0.outage.hold(&stayed, reach) == Holding::NoLonger => {
                self.wake_after_outage(vec![id]);
            }
            // The clock that nodes share may have been set back a little since the wake-up came.
            Applied::Stayed(stayed, Ignored::NotYetDue) => {
                if let Some(wake_at) = escalation::next_wake(&stayed) {
                    self.0.timers.arm(wake_at, Wake::at_its_time(id));
                }
            }
            Applied::Stayed(..) | Applied::Replayed(_) => {}
        }
        Ok(())
    }

    /// Takes notice of what a commit says about the ways out.
    pub(super) fn observe_way(&self, alert: &Alert) {
        let held = self.0.outage.observe(alert, self.now());
        self.wake_after_outage(held);
    }

    /// Lets alerts go on whose deadline passed during an outage.
    pub(super) fn wake_after_outage(&self, held: Vec<AlertId>) {
        if !held.is_empty() {
            let now = self.now();
            let wakes = held.into_iter().map(|id| (now, Wake { id, why: WakeWhy::OutageOver }));
            self.0.timers.arm_all(wakes.collect());
        }
    }

    async fn hand_out_turns(&self) {
        while let Some((id, turn)) = self.0.turns.next(self.0.clock.as_ref()).await {
            let engine = self.clone();
            self.spawn(async move {
                engine.look_after(Wake::at_its_time(id), engine.have_turn(id, turn)).await;
            });
        }
    }

    async fn have_turn(&self, id: AlertId, turn: Turn) -> Result<(), Error> {
        if self.0.stop.is_cancelled() {
            return Ok(());
        }
        self.apply_in_turn(id, &Event::TurnCame, None, Some(turn)).await?;
        Ok(())
    }
}

/// What is done all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Wake,
    HandOutTurns,
    Tidy,
    Watch,
    /// Only where others use the store too.
    Sweep,
}
