//! The first door: somebody raises an alert.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::chain::Chain;
use crate::escalation::{self, Alert, Event, Ignored, Plan, Raised, Severity};
use crate::id::AlertId;
use crate::store::{self, Insert, Outcome, Replay};
use crate::timestamp::Timestamp;
use crate::traces::{Begun, Deed};

use super::apply::{Applied, Planned, Request};
use super::{Engine, Error};

/// How often an alert is raised anew because the one with its dedup key was closed in the meantime.
const RAISE_AGAIN_MAX: usize = 8;

/// How many repetitions of one alert wait to be counted, each by a commit of its own. A read of the alert and its deadline
/// wait behind them; whoever posts more is told to come again.
pub const REPEATS_WAITING_MAX: usize = 256;

const fn commit_of_it(outcome: &'static str) -> Deed {
    Deed::Commit { event: "raised", outcome }
}

/// What somebody wants to raise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAlert {
    /// The text that people must read.
    pub message: Box<str>,
    /// How bad it is.
    pub severity: Severity,
    /// The policy's name; none for an ad-hoc list of users.
    pub policy: Option<Box<str>>,
    /// Names the problem.
    pub dedup_key: Option<Box<str>>,
    /// Where the alert comes from.
    pub source: Option<Box<str>>,
    /// Where to read more.
    pub link: Option<Box<str>>,
    /// The text of a JSON object.
    pub details: Box<str>,
    /// The way it takes.
    pub plan: Arc<Plan>,
}

/// What raising did.
#[derive(Clone, Debug)]
pub enum Raising {
    /// There is a new alert.
    Created(Arc<Alert>),
    /// An open alert has the dedup key; it was counted there.
    Repeated(Arc<Alert>),
}

impl From<Replay> for Raising {
    fn from(replay: Replay) -> Self {
        match replay.outcome {
            Outcome::Created => Self::Created(replay.alert),
            Outcome::Repeated | Outcome::Changed => Self::Repeated(replay.alert),
        }
    }
}

/// Repetitions that wait to be counted.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<HashMap<AlertId, usize>>);

/// One repetition that waits; dropping it ends that.
struct Repeat<'a> {
    repeats: &'a Repeats,
    id: AlertId,
}

impl Repeats {
    /// A critical section holds one operation, and is never held over an await.
    fn waiting(&self) -> MutexGuard<'_, HashMap<AlertId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None where too many wait already.
    fn begin(&self, id: AlertId) -> Option<Repeat<'_>> {
        let mut waiting = self.waiting();
        let n_waiting = waiting.entry(id).or_default();
        if *n_waiting >= REPEATS_WAITING_MAX {
            return None;
        }
        *n_waiting += 1;
        Some(Repeat { repeats: self, id })
    }
}

impl Drop for Repeat<'_> {
    fn drop(&mut self) {
        let mut waiting = self.repeats.waiting();
        if let Entry::Occupied(mut here) = waiting.entry(self.id) {
            *here.get_mut() -= 1;
            if *here.get() == 0 {
                here.remove();
            }
        }
    }
}

impl Engine {
    /// What this request raised or repeated when it was made before, if it was.
    pub async fn raised_before(&self, request: &Request) -> Result<Option<Raising>, Error> {
        match self.0.store.claimed(&request.key).await? {
            Some(replay) => Ok(Some(request.same(replay)?.into())),
            None => Ok(None),
        }
    }

    /// Raises an alert. When this returns, the alert is as durable as the store can make it; it does not
    /// wait for a message to be sent.
    pub async fn raise(&self, new: NewAlert, request: Option<&Request>) -> Result<Raising, Error> {
        let (engine, request, begun) = (self.clone(), request.cloned(), self.0.traces.begin());
        self.to_the_end(async move { engine.raise_to_the_end(new, request.as_ref(), begun).await }).await
    }

    async fn raise_to_the_end(&self, new: NewAlert, request: Option<&Request>, begun: Begun) -> Result<Raising, Error> {
        for _ in 0..RAISE_AGAIN_MAX {
            let now = self.0.clock.now();
            let number = self.0.store.next_number().await?;
            let new = new.clone();
            let dedup_key = new.dedup_key.clone();
            let id = self.next_id(now);
            let raised = Raised {
                id,
                number,
                message: new.message,
                severity: new.severity,
                policy: new.policy,
                dedup_key: new.dedup_key,
                source: new.source,
                link: new.link,
                details: new.details,
                at: now,
                plan: new.plan,
            };
            let next = escalation::raise(Arc::new(raised));
            let planned = self.with_turn(Planned { next, effects: Vec::new(), turn: None }, now);
            let claim = request.map(|request| request.claim(Outcome::Created, now));
            // Nobody may change the alert before what follows from its being raised is seen to.
            let guard = self.turnstile(id).await;
            let committing = self.0.traces.begin();
            let came = self.0.store.insert(Arc::new(planned.next), claim).await;
            // Where there was such an alert already, this one never was.
            match &came {
                Ok(Insert::Inserted(_)) => self.0.traces.did(committing, id, commit_of_it("committed")),
                Err(_) => self.0.traces.did(committing, id, commit_of_it("unavailable")),
                Ok(Insert::Replayed(_) | Insert::Open(_)) => {}
            }
            match self.kept(id, came)? {
                Insert::Inserted(stored) => {
                    self.await_what_follows(None, &stored.alert);
                    drop(guard);
                    self.0.traces.did(begun, id, Deed::Raise);
                    self.committed(None, &stored, planned.effects, planned.turn);
                    return Ok(Raising::Created(stored.alert));
                }
                Insert::Replayed(replay) => match request {
                    Some(request) => return Ok(Raising::from(request.same(replay)?)),
                    None => return Err(Error::Contended),
                },
                Insert::Open(open) => {
                    drop((guard, planned.turn));
                    let Some(_place) = self.0.repeats.begin(open) else {
                        return Err(Error::Store(store::Error::Busy));
                    };
                    match self.apply(open, &Event::Repeated, request).await {
                        Ok(Applied::Moved(alert)) => return Ok(Raising::Repeated(alert)),
                        Ok(Applied::Replayed(replay)) => return Ok(Raising::from(replay)),
                        Ok(Applied::Stayed(_, Ignored::NotOpen)) => {}
                        Ok(Applied::Stayed(_, ignored)) => return Err(Error::Impossible(ignored)),
                        Err(error @ Error::Store(store::Error::Corrupt { .. })) => {
                            self.let_go_of_key(open, dedup_key.as_deref(), error).await?;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Err(Error::Contended)
    }

    /// An alert that cannot be understood calls nobody, so that it must not keep its problem from being raised. The error
    /// may have been about something else that was looked at with it; then it keeps its key.
    async fn let_go_of_key(&self, open: AlertId, key: Option<&str>, error: Error) -> Result<(), Error> {
        let is_understood = !matches!(self.alert(open).await, Err(Error::Store(store::Error::Corrupt { .. })));
        let Some(key) = key.filter(|_| !is_understood) else { return Err(error) };
        self.0.store.release_key(key, open).await?;
        self.0.metrics.failure();
        tracing::error!(alert.id = %open, error = %Chain(&error),
            "the open alert of a problem that is posted again cannot be understood; its dedup key was taken from it, and the problem is raised anew");
        Ok(())
    }

    /// An id that sorts behind every id this engine gave before, also within one millisecond, so that lists
    /// keep the order in which alerts were raised.
    fn next_id(&self, now: Timestamp) -> AlertId {
        let mut random = [0; 10];
        self.0.chance.fill(&mut random);
        let mut newest = self.0.newest_id.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = AlertId::new(now, random).max(newest.successor());
        *newest
    }
}
