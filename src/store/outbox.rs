//! Where callbacks wait until they are delivered.
//!
//! A store that keeps them writes each in the commit of the change that it tells of. Whoever delivers them reads
//! the first one that waits of each alert and endpoint, and says afterwards what came of it. What was delivered is
//! forgotten at once; what was given up is kept, to be looked at and replayed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use crate::callback::{EndpointId, NewDelivery, Subscriptions, Topic};
use crate::id::AlertId;
use crate::timestamp::Timestamp;

use super::Error;

/// How many deliveries are kept, waiting and given up ones together; beyond it the oldest are forgotten, loudly.
pub const DELIVERIES_MAX: usize = 100_000;

/// Keeps the callbacks of a store.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// From now on, what these endpoints want to hear of is kept for them in the commit of each change.
    fn subscribe(&self, subscriptions: Arc<Subscriptions>);

    /// Keeps callbacks that tell of no change of an alert.
    async fn keep(&self, deliveries: Vec<NewDelivery>) -> Result<(), Error>;

    /// The first waiting delivery of each alert for this endpoint that is due and not `held` by the caller already,
    /// the longest due first. Where several nodes share the store, they are this caller's until `until`; to a sole
    /// owner nobody else could give them.
    async fn take(
        &self,
        endpoint: EndpointId,
        now: Timestamp,
        until: Timestamp,
        held: &BTreeSet<u64>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error>;

    /// When the next delivery for this endpoint is due that is not due yet.
    async fn next_due(&self, endpoint: EndpointId, now: Timestamp) -> Result<Option<Timestamp>, Error>;

    /// Keeps what came of a delivery. One that is gone meanwhile is left alone.
    async fn settle(&self, delivery: &Delivery, settled: Settled) -> Result<(), Error>;

    /// Deliveries that are kept, the newest first.
    async fn deliveries(&self, page: DeliveryPage) -> Result<Vec<Delivery>, Error>;

    /// Lets deliveries that were given up wait again, due now, with all of their tries. Returns how many.
    async fn replay(&self, which: Which, now: Timestamp) -> Result<usize, Error>;

    /// Forgets at most `limit` deliveries that are older than `before` or too many beside `max`. Returns how many.
    async fn forget_deliveries(&self, before: Timestamp, max: usize, limit: usize) -> Result<usize, Error>;
}

/// A callback that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its place: later deliveries have greater ones.
    pub place: u64,
    /// For whom.
    pub endpoint: EndpointId,
    /// The alert that it is about.
    pub alert: Option<AlertId>,
    /// About what.
    pub topic: Topic,
    /// Names the event: the same for each endpoint and each try.
    pub event: Arc<str>,
    /// When it happened.
    pub at: Timestamp,
    /// What is sent.
    pub body: Arc<str>,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next.
    pub due_at: Timestamp,
    /// Whether it was given up.
    pub is_dead: bool,
    /// What went wrong last; never an address, a URL or what was answered.
    pub failure: Option<Box<str>>,
}

impl Delivery {
    /// A delivery that was not tried yet.
    pub fn new(place: u64, new: NewDelivery) -> Self {
        Self {
            place,
            endpoint: new.endpoint,
            alert: new.alert,
            topic: new.topic,
            event: new.event,
            at: new.at,
            body: new.body,
            tries: 0,
            due_at: new.at,
            is_dead: false,
            failure: None,
        }
    }
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The endpoint has it.
    Delivered,
    /// It is tried again.
    Later {
        /// When.
        due_at: Timestamp,
        /// What went wrong.
        failure: Box<str>,
    },
    /// It was tried for long enough.
    Dead {
        /// What went wrong.
        failure: Box<str>,
    },
}

/// Which deliveries to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryPage {
    /// Only those that were given up.
    pub is_dead: bool,
    /// Only those before this place.
    pub before: Option<u64>,
    /// At most this many.
    pub limit: usize,
}

/// Which deliveries to replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Every one that was given up.
    All,
    /// The one at this place.
    At(u64),
}

/// Deliveries in memory, for the store that keeps everything there.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    deliveries: BTreeMap<u64, Delivery>,
    last_place: u64,
}

impl Shelf {
    pub(super) fn keep(&mut self, new: impl IntoIterator<Item = NewDelivery>) {
        for new in new {
            self.last_place += 1;
            self.deliveries.insert(self.last_place, Delivery::new(self.last_place, new));
        }
    }

    fn waiting(&self, endpoint: EndpointId) -> impl Iterator<Item = &Delivery> {
        self.deliveries.values().filter(move |delivery| delivery.endpoint == endpoint && !delivery.is_dead)
    }

    pub(super) fn due(
        &self,
        endpoint: EndpointId,
        now: Timestamp,
        held: &BTreeSet<u64>,
        limit: usize,
    ) -> Vec<Delivery> {
        let mut seen = BTreeSet::new();
        let firsts = self.waiting(endpoint).filter(|delivery| seen.insert(delivery.alert));
        let is_due = |delivery: &&Delivery| delivery.due_at <= now && !held.contains(&delivery.place);
        let mut due: Vec<Delivery> = firsts.filter(is_due).cloned().collect();
        due.sort_by_key(|delivery| (delivery.due_at, delivery.place));
        due.truncate(limit);
        due
    }

    pub(super) fn next_due(&self, endpoint: EndpointId, now: Timestamp) -> Option<Timestamp> {
        self.waiting(endpoint).map(|delivery| delivery.due_at).filter(|due_at| *due_at > now).min()
    }

    pub(super) fn settle(&mut self, delivery: &Delivery, settled: Settled) {
        let Some(kept) = self.deliveries.get_mut(&delivery.place) else { return };
        match settled {
            Settled::Delivered => drop(self.deliveries.remove(&delivery.place)),
            Settled::Later { due_at, failure } => {
                kept.tries += 1;
                kept.due_at = due_at;
                kept.failure = Some(failure);
            }
            Settled::Dead { failure } => {
                kept.tries += 1;
                kept.is_dead = true;
                kept.failure = Some(failure);
            }
        }
    }

    pub(super) fn list(&self, page: DeliveryPage) -> Vec<Delivery> {
        let before = self.deliveries.range(..page.before.unwrap_or(u64::MAX)).rev();
        let wanted = before.map(|(_, delivery)| delivery).filter(|delivery| delivery.is_dead || !page.is_dead);
        wanted.take(page.limit).cloned().collect()
    }

    pub(super) fn replay(&mut self, which: Which, now: Timestamp) -> usize {
        let is_meant = |place: u64| match which {
            Which::All => true,
            Which::At(wanted) => wanted == place,
        };
        let dead = self.deliveries.values_mut().filter(|delivery| delivery.is_dead && is_meant(delivery.place));
        dead.map(|delivery| {
            delivery.is_dead = false;
            delivery.tries = 0;
            delivery.due_at = now;
        })
        .count()
    }

    pub(super) fn forget(&mut self, before: Timestamp, max: usize, limit: usize) -> usize {
        let n_too_many = self.deliveries.len().saturating_sub(max);
        let oldest = self.deliveries.values().enumerate();
        let gone: Vec<u64> = oldest
            .filter(|(index, delivery)| *index < n_too_many || delivery.at < before)
            .map(|(_, delivery)| delivery.place)
            .take(limit)
            .collect();
        for place in &gone {
            self.deliveries.remove(place);
        }
        gone.len()
    }
}
