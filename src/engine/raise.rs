//! The first door: somebody raises an alert.

use std::sync::{Arc, Mutex, PoisonError};

use crate::escalation::{self, Alert, Event, Ignored, Plan, Raised, Severity};
use crate::id::AlertId;
use crate::store::{Insert, Outcome, Replay};
use crate::timestamp::Timestamp;

use super::apply::{Applied, Planned, Request};
use super::{Engine, Error};

/// How often an alert is raised anew because the one with its dedup key was closed in the meantime.
const RAISE_AGAIN_MAX: usize = 8;

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

/// Makes ids that sort as they were made, also within one millisecond of this process.
#[derive(Debug, Default)]
pub(super) struct Ids(Mutex<Newest>);

#[derive(Debug, Default)]
struct Newest {
    at: Option<Timestamp>,
    sequence: u16,
}

/// A UUID of version 7 has 12 bits behind the milliseconds that may hold a sequence (RFC 9562, section
/// 6.2, method 1). Beyond it, ids of the same millisecond are in no order.
const SEQUENCE_MAX: u16 = 0x0fff;

impl Ids {
    fn next(&self, now: Timestamp, mut random: [u8; 10]) -> AlertId {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.sequence = if newest.at == Some(now) { (newest.sequence + 1).min(SEQUENCE_MAX) } else { 0 };
        newest.at = Some(now);
        let [high, low, ..] = &mut random;
        [*high, *low] = newest.sequence.to_be_bytes();
        AlertId::new(now, random)
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
        let (engine, request) = (self.clone(), request.cloned());
        self.to_the_end(async move { engine.raise_to_the_end(new, request.as_ref()).await }).await
    }

    async fn raise_to_the_end(&self, new: NewAlert, request: Option<&Request>) -> Result<Raising, Error> {
        for _ in 0..RAISE_AGAIN_MAX {
            let now = self.0.clock.now();
            let number = self.0.store.next_number().await?;
            let mut random = [0; 10];
            self.0.chance.fill(&mut random);
            let new = new.clone();
            let id = self.0.ids.next(now, random);
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
            match self.0.store.insert(Arc::new(planned.next), claim).await? {
                Insert::Inserted(stored) => {
                    self.await_what_follows(None, &stored.alert);
                    drop(guard);
                    self.committed(None, &stored, planned.effects, planned.turn);
                    return Ok(Raising::Created(stored.alert));
                }
                Insert::Replayed(replay) => match request {
                    Some(request) => return Ok(Raising::from(request.same(replay)?)),
                    None => return Err(Error::Contended),
                },
                Insert::Open(open) => {
                    drop((guard, planned.turn));
                    match self.apply(open, &Event::Repeated, request).await? {
                        Applied::Moved(alert) | Applied::Replayed(alert) => return Ok(Raising::Repeated(alert)),
                        Applied::Stayed(_, Ignored::NotOpen) => {}
                        Applied::Stayed(_, ignored) => return Err(Error::Impossible(ignored)),
                    }
                }
            }
        }
        Err(Error::Contended)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ids_sort_as_they_were_made_also_within_a_millisecond() {
        let ids = Ids::default();
        let now = Timestamp::from_millis(1_772_331_307_000);
        let mut made: Vec<AlertId> = (0..4_096).map(|_| ids.next(now, [255; 10])).collect();
        made.push(ids.next(now.plus(Duration::from_millis(1)), [0; 10]));
        assert!(made.is_sorted_by(|before, after| before < after));
        assert!(made.iter().all(|id| id.to_string().as_bytes().get(14) == Some(&b'7')));
    }
}
