//! What is done for people once an alert is settled: those who were messaged are told who has it, and
//! messages that nobody needs to read are taken back.
//!
//! All of it is best effort. It uses only what the pages of other alerts leave free: a courtesy goes
//! out when nobody is waiting for a turn, few are on their way at once, and one that cannot go out
//! within its patience is dropped. Nothing of it is stored, so that a crash loses it, and nothing that
//! comes of it is an event of any alert; so it can neither delay, nor repeat, nor answer anything.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::escalation::{Acknowledgement, Alert, Tone};
use crate::id::{AlertId, AttemptNumber, ProviderId};
use crate::sender::{Answer, Notice};
use crate::timestamp::Timestamp;

use super::Engine;

/// How many courtesies are on their way at one moment: a small part of
/// [`IN_FLIGHT_MAX`](super::IN_FLIGHT_MAX), so that Vonage's slowness to them holds up no page.
const UNDER_WAY_MAX: usize = 4;
/// How many alerts' courtesies wait at one moment; those of further alerts are dropped.
const WAITING_MAX: usize = 1_000;
/// How long after the alert was settled a courtesy is still worth anything.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often is looked whether the pages leave room.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long to wait before the one more try of a courtesy that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// One thing to do for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Courtesy {
    Tell(Notice),
    Revoke(ProviderId),
}

impl Courtesy {
    /// Tells whoever an attempt messaged who has the alert.
    pub(super) fn tell(alert: &Alert, attempt: AttemptNumber, leg: u8, tone: Tone) -> Option<Self> {
        let by = match alert.acknowledged.as_ref()?.by.as_ref() {
            Acknowledgement::NOBODY_NAMED => "Somebody".into(),
            by => by.into(),
        };
        let leg = alert.step_of(alert.attempt(attempt)?)?.legs().nth(usize::from(leg))?.clone();
        Some(Self::Tell(Notice { leg, by, tone, code: alert.code() }))
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Tell(_) => "confirmation",
            Self::Revoke(_) => "revocation",
        }
    }
}

/// How many courtesies there may be.
#[derive(Debug)]
pub(super) struct Courtesies {
    waiting: Arc<Semaphore>,
    under_way: Arc<Semaphore>,
}

impl Courtesies {
    pub(super) fn new() -> Self {
        Self { waiting: Arc::new(Semaphore::new(WAITING_MAX)), under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)) }
    }
}

impl Engine {
    /// Does these on a task of their own, one after the other, unless the engine stops meanwhile.
    pub(super) fn begin_courtesies(&self, id: AlertId, courtesies: Vec<Courtesy>) {
        if courtesies.is_empty() || self.0.stop.is_cancelled() {
            return;
        }
        let Ok(place) = Arc::clone(&self.0.courtesies.waiting).try_acquire_owned() else {
            tracing::warn!(alert.id = %id, "too many alerts were settled at once; some people are not told who has them");
            return;
        };
        let engine = self.clone();
        let worth_until = self.0.clock.now().plus(PATIENCE);
        self.spawn(async move {
            tokio::select! {
                biased;
                () = engine.0.stop.cancelled() => {}
                () = engine.do_courtesies(id, courtesies, worth_until) => {}
            }
            drop(place);
        });
    }

    async fn do_courtesies(&self, id: AlertId, courtesies: Vec<Courtesy>, worth_until: Timestamp) {
        for courtesy in courtesies {
            let Some(leave) = self.leave_for_courtesy(worth_until).await else {
                tracing::debug!(alert.id = %id, "pages left no room for the confirmations of the alert");
                return;
            };
            let mut answer = self.do_courtesy(&courtesy).await;
            drop(leave);
            if let Answer::Trouble(trouble) = &answer {
                let wait = trouble.retry_after.unwrap_or_default().max(AGAIN_AFTER);
                self.0.clock.sleep_until(self.0.clock.now().plus(wait)).await;
                let Some(leave) = self.leave_for_courtesy(worth_until).await else { return };
                answer = self.do_courtesy(&courtesy).await;
                drop(leave);
            }
            tell(id, &courtesy, &answer);
        }
    }

    async fn do_courtesy(&self, courtesy: &Courtesy) -> Answer {
        match courtesy {
            Courtesy::Tell(notice) => self.0.sender.tell(notice).await,
            Courtesy::Revoke(message) => self.0.sender.revoke(message).await,
        }
    }

    /// Waits until no page is waiting and the pace has room for one more request.
    async fn leave_for_courtesy(&self, worth_until: Timestamp) -> Option<Leave> {
        let place = Arc::clone(&self.0.courtesies.under_way).acquire_owned().await.ok()?;
        loop {
            let now = self.0.clock.now();
            if now > worth_until {
                return None;
            }
            if let Some(turn) = self.0.turns.try_take(now) {
                return Some(Leave { _place: place, _turn: turn.take() });
            }
            self.0.clock.sleep_until(now.plus(LOOK_AGAIN_AFTER)).await;
        }
    }
}

/// The leave to make one request; ends when it is dropped.
struct Leave {
    _place: OwnedSemaphorePermit,
    _turn: Option<OwnedSemaphorePermit>,
}

fn tell(id: AlertId, courtesy: &Courtesy, answer: &Answer) {
    let (outcome, failure) = match answer {
        Answer::Accepted(_) => ("accepted", None),
        Answer::Refused(failure) => ("refused", Some(failure.in_words())),
        Answer::Trouble(trouble) => ("failed", Some(trouble.failure.in_words())),
    };
    tracing::debug!(alert.id = %id, courtesy = courtesy.name(), outcome, failure = failure.as_deref(), "a courtesy was done or not");
}
