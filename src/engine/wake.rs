//! The door of the clock: taking up after a start, waking alerts, handing out turns, tidying.

use std::sync::Arc;
use std::time::Duration;

use crate::escalation::{Event, Ignored, Progress};
use crate::id::AlertId;

use super::apply::{Applied, Chain};
use super::outage::Holding;
use super::turns::Turn;
use super::{Engine, Error, IDEMPOTENCY_KEPT, PARKED_KEPT, WAKING_MAX};

/// How many alerts are taken up at a time.
const TAKE_UP_PAGE: usize = 10_000;
/// How long to wait before an alert is woken again that could not be worked on.
const WAKE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often what has served its time is forgotten.
const TIDY_EVERY: Duration = Duration::from_mins(1);
/// How much is forgotten at a time, so that nothing waits long for it.
const TIDY_PAGE: usize = 500;

impl Engine {
    /// Arms every alert that the store has armed. Where nobody else uses the store, what was being
    /// sent is not being sent by anybody now, and is made ready to be sent again.
    pub(super) async fn take_up(&self) -> Result<(), Error> {
        let shared = &self.0;
        let mut after = None;
        let mut n_armed = 0_usize;
        loop {
            let page = shared.store.armed(after, TAKE_UP_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            n_armed += page.len();
            let is_lost = |sending: bool| sending && shared.store.is_sole_owner();
            shared
                .timers
                .arm_all(page.iter().filter(|armed| !is_lost(armed.sending)).map(|armed| (armed.wake_at, armed.id)));
            for armed in page.iter().filter(|armed| is_lost(armed.sending)) {
                self.spawn_apply(armed.id, Event::SenderLost);
            }
        }
        if n_armed > 0 {
            tracing::info!(n_armed, "took up the alerts that were escalating before the start");
        }
        Ok(())
    }

    pub(super) fn begin_loops(&self) {
        for work in [Work::Wake, Work::HandOutTurns, Work::Tidy] {
            let engine = self.clone();
            self.0.tracker.spawn(async move {
                let stop = engine.0.stop.clone();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = engine.work(work) => {}
                }
            });
        }
    }

    async fn work(&self, work: Work) {
        match work {
            Work::Wake => self.wake_what_is_due().await,
            Work::HandOutTurns => self.hand_out_turns().await,
            Work::Tidy => self.tidy_up().await,
        }
    }

    async fn wake_what_is_due(&self) {
        loop {
            for id in self.0.timers.due(self.0.clock.as_ref(), WAKING_MAX).await {
                let Ok(permit) = Arc::clone(&self.0.waking).acquire_owned().await else { return };
                let engine = self.clone();
                self.0.tracker.spawn(async move {
                    engine.wake(id).await;
                    drop(permit);
                });
            }
        }
    }

    async fn wake(&self, id: AlertId) {
        match self.look_at_the_clock(id).await {
            Ok(()) => {}
            Err(error @ (Error::NoSuchAlert | Error::Impossible(_) | Error::KeyReused)) => self.could_not(id, &error),
            Err(error @ (Error::Contended | Error::Store(_))) => {
                self.could_not(id, &error);
                self.0.timers.arm(self.0.clock.now().plus(WAKE_AGAIN_AFTER), id);
            }
        }
    }

    async fn look_at_the_clock(&self, id: AlertId) -> Result<(), Error> {
        let alert = self.alert(id).await?;
        match alert.progress() {
            None => Ok(()),
            Some(Progress::Ready { from, .. }) => {
                if from <= self.0.clock.now() {
                    self.0.turns.join(&alert);
                }
                Ok(())
            }
            Some(Progress::Sending { .. } | Progress::Waiting { .. }) => {
                let event = Event::TimePassed { reach: self.0.outage.reach() };
                if let Applied::Stayed(_, Ignored::Held) = self.apply(id, &event, None).await?
                    && self.0.outage.hold(id) == Holding::NoLonger
                {
                    self.spawn_apply(id, Event::OutageOver);
                }
                Ok(())
            }
        }
    }

    async fn hand_out_turns(&self) {
        while let Some((id, turn)) = self.0.turns.next(self.0.clock.as_ref()).await {
            let engine = self.clone();
            self.0.tracker.spawn(async move { engine.have_turn(id, turn).await });
        }
    }

    async fn have_turn(&self, id: AlertId, turn: Turn) {
        if let Err(error) = self.apply_in_turn(id, &Event::TurnCame, None, Some(turn)).await {
            self.could_not(id, &error);
            self.0.timers.arm(self.0.clock.now().plus(WAKE_AGAIN_AFTER), id);
        }
    }

    async fn tidy_up(&self) {
        loop {
            let now = self.0.clock.now();
            self.0.clock.sleep_until(now.plus(TIDY_EVERY)).await;
            if let Err(error) = self.tidy().await {
                tracing::warn!(error = %Chain(&error), "what has served its time could not be forgotten; trying again in a minute");
            }
        }
    }

    async fn tidy(&self) -> Result<(), Error> {
        let now = self.0.clock.now();
        let before = |kept: Duration| {
            let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
            crate::timestamp::Timestamp::from_millis(now.as_millis().saturating_sub(kept))
        };
        while self.0.store.tidy(before(IDEMPOTENCY_KEPT), before(PARKED_KEPT), TIDY_PAGE).await? >= TIDY_PAGE {}
        Ok(())
    }
}

/// What is done all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Wake,
    HandOutTurns,
    Tidy,
}
