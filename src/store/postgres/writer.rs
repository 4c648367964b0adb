//! The one task that commits changes of alerts.
//!
//! It takes what waits (up to [`BATCH_MAX`], what is about accepted alerts first) and commits it as one statement, so that many
//! callers share one round trip and one fsync, and a single caller waits for nothing but its own. While
//! one batch is on its way, the next one gathers by itself.
//!
//! Each batch carries a random tag that is kept with it. If the connection breaks before the answer, the
//! same batch is put to the database again with the same tag: either it had not happened and happens now,
//! or the tag is there and says what it did. So a lost answer is neither a false "stale" nor a second effect.
//!
//! A change that fails takes nobody along: its batch is halved until it is found. But not once a try had no answer: the
//! batch may be kept yet, and its halves, under tags of their own, would then be told that they came too late.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::id::AlertId;
use crate::metrics::StoreMeter;
use crate::store::Error;
use crate::store::queue::{Budget, CHANGES_MAX, Line, Place, Waiting};

use super::asking::{Database, Tries};
use super::changes::{Change, Lists};
use super::fault::{Fault, Reach, Refusal};
use super::opening::SCHEMA;
use super::{rows, statements};

/// The most changes of one batch: enough that the round trip and the fsync hardly count, few enough that the
/// first of them does not wait long for the last.
const BATCH_MAX: usize = 256;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is kept.
    Won,
    /// Another change was quicker, or something it needs is taken; nothing was kept.
    Lost,
}

/// A change with whoever waits for it.
struct Errand {
    change: Change,
    asker: oneshot::Sender<Result<Fate, Error>>,
    place: Place,
}

impl Waiting for Errand {
    fn place(&self) -> &Place {
        &self.place
    }
}

/// A batch that was not committed, as far as is known.
struct Failed {
    fault: Fault,
    /// A try had no answer, and may be kept after all.
    is_unclear: bool,
}

/// The way to the task.
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Errand>>>,
    budget: Arc<Budget>,
    meter: StoreMeter,
}

impl Writer {
    /// The way to the task, and the task.
    pub(super) fn new(database: Arc<Database>, node: Uuid) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(CHANGES_MAX);
        let meter = StoreMeter::new();
        let budget = Budget::new(meter.clone());
        let desk = Desk { database, node, waiting, line: Line::new(), meter: meter.clone() };
        (Self { queue: Mutex::new(Some(queue)), budget, meter }, desk.work())
    }

    /// What is counted here.
    pub(super) fn meter(&self) -> &StoreMeter {
        &self.meter
    }

    /// Has a change committed; returns once it is as durable as the server can make it.
    pub(super) async fn ask(&self, change: Change) -> Result<Fate, Error> {
        let place = self.budget.place(change.lane(), change.n_bytes())?;
        let (asker, answer) = oneshot::channel();
        self.enqueue(Errand { change, asker, place })?;
        match answer.await {
            Ok(answer) => answer,
            // The task has ended without an answer, which only the end of the runtime can bring about.
            Err(_dropped) => Err(Refusal::Closed.into()),
        }
    }

    fn enqueue(&self, errand: Errand) -> Result<(), Error> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return Err(Refusal::Closed.into()) };
        match queue.try_send(errand) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Error::Busy),
            Err(TrySendError::Closed(_)) => Err(Refusal::Closed.into()),
        }
    }

    /// Takes nothing more; the task finishes what waits and ends.
    pub(super) fn finish(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Where the task sits.
struct Desk {
    database: Arc<Database>,
    node: Uuid,
    waiting: mpsc::Receiver<Errand>,
    line: Line<Errand>,
    meter: StoreMeter,
}

impl Desk {
    async fn work(mut self) {
        while self.gather().await {
            let batch = self.next_batch();
            self.carry_out(batch).await;
        }
    }

    /// Has everybody who waits join the line. Returns whether anybody is in it, or ever will be.
    async fn gather(&mut self) -> bool {
        if self.line.is_empty() {
            let Some(first) = self.waiting.recv().await else { return false };
            self.line.join(first);
        }
        while let Ok(errand) = self.waiting.try_recv() {
            self.line.join(errand);
        }
        true
    }

    /// Takes what can be judged together: of changes that have to do with each other, the first.
    fn next_batch(&mut self) -> Vec<Errand> {
        let mut batch: Vec<Errand> = Vec::new();
        let mut touched = HashSet::new();
        let mut left = Vec::new();
        for errand in self.line.take(BATCH_MAX) {
            let names = errand.change.names();
            if names.iter().all(|name| !touched.contains(name)) {
                batch.push(errand);
            } else {
                left.push(errand);
            }
            // What was put off keeps its place before later ones that have to do with it.
            touched.extend(names);
        }
        self.line.put_back(left);
        batch
    }

    async fn carry_out(&self, batch: Vec<Errand>) {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.commit(&part).await {
                Ok(won) => {
                    self.meter.committed(part.len());
                    Self::answer(part, &won);
                }
                Err(Failed { fault, is_unclear }) => match (fault.reach(), part.len()) {
                    (Reach::Command, 2..) if !is_unclear => {
                        let second_half = part.split_off(part.len() / 2);
                        parts.extend([second_half, part]);
                    }
                    (_, 1) if is_taken(&fault) => Self::answer(part, &HashSet::new()),
                    (Reach::Command | Reach::Batch | Reach::Again, _) => Self::refuse(part, &fault.into()),
                },
            }
        }
    }

    /// Commits a batch, again and again if that helps. Returns the alerts that were changed.
    async fn commit(&self, batch: &[Errand]) -> Result<HashSet<AlertId>, Failed> {
        let lists = Lists::of(batch.iter().map(|errand| &errand.change));
        let mut random = [0; 16];
        self.database.chance().fill(&mut random);
        let tag = Uuid::from_bytes(random);
        let mut tries = Tries::begin(&self.database);
        let mut is_unclear = false;
        loop {
            let asked = lists.put_to(&self.database, SCHEMA, tag, self.node).await;
            let fault = match asked {
                Ok(Some(row)) => return won(&row).map_err(|fault| Failed { fault, is_unclear: true }),
                Ok(None) => return Err(Failed { fault: Refusal::NewerSchema.into(), is_unclear }),
                Err(fault) => fault,
            };
            // If it had happened before, its own rows stand in the way of its happening again.
            if fault.broken_constraint().is_some() {
                match self.database.row(statements::COMMITTED, &[&tag]).await {
                    Ok(Some(row)) => return won(&row).map_err(|fault| Failed { fault, is_unclear: true }),
                    Ok(None) => {}
                    Err(fault) => return Err(Failed { fault, is_unclear: true }),
                }
            }
            is_unclear |= fault.reach() == Reach::Again;
            if !tries.go_on(&fault).await {
                return Err(Failed { fault, is_unclear });
            }
        }
    }

    fn answer(batch: Vec<Errand>, won: &HashSet<AlertId>) {
        for errand in batch {
            let fate = if won.contains(&errand.change.id()) { Fate::Won } else { Fate::Lost };
            drop(errand.place);
            // Nobody may be waiting any more; what is done is done.
            drop(errand.asker.send(Ok(fate)));
        }
    }

    fn refuse(batch: Vec<Errand>, error: &Error) {
        for errand in batch {
            drop(errand.place);
            drop(errand.asker.send(Err(error.clone())));
        }
    }
}

/// An idempotency key or a dedup key was taken while the change was on its way; whoever asked looks by whom.
fn is_taken(fault: &Fault) -> bool {
    matches!(fault.broken_constraint(), Some("claims_pkey" | "open_keys"))
}

fn won(row: &Row) -> Result<HashSet<AlertId>, Fault> {
    let ids: Vec<Uuid> = rows::value(row, 0)?;
    Ok(ids.into_iter().map(|id| AlertId::from_bits(id.as_u128())).collect())
}
