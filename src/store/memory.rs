//! Keeps alerts in memory: for the demonstration, for trying things out, and for tests.
//!
//! It keeps every promise of [`Store`] but one: what it holds ends with the process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::contact::{Address, Channel};
use crate::escalation::{Alert, Status, broken_promise};
use crate::id::{AlertId, AlertNumber, AttemptRef, ProviderId};
use crate::incoming::Incoming;
use crate::timestamp::Timestamp;

use super::outbox::{Delivery, DeliveryPage, Outbox, Settled, Shelf, Which};
use super::{
    Armed, Claim, ClaimKey, Error, Insert, NotKept, PARKED_MAX, Page, Replay, StatusFilter, Store, Stored, Update,
    findable,
};
use crate::callback::{self, EndpointId, NewDelivery, Subscriptions};

/// Keeps alerts as long as the process lives.
///
/// One plain mutex guards everything: each call holds it for some map operations, none across an
/// await, and a step that must be judged as one (an insert with its keys) is one by construction.
pub struct MemoryStore {
    shelves: Mutex<Shelves>,
    parked_max: usize,
}

impl fmt::Debug for MemoryStore {
    /// Shows nothing of what it holds.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryStore").field("parked_max", &self.parked_max).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shelves {
    alerts: BTreeMap<AlertId, Stored>,
    last_number: u64,
    newest_number: u64,
    by_number: HashMap<AlertNumber, AlertId>,
    open_keys: HashMap<Box<str>, AlertId>,
    unresolved: HashMap<Box<str>, BTreeSet<AlertNumber>>,
    armed: BTreeMap<AlertId, Armed>,
    settled: BTreeSet<(Timestamp, AlertId)>,
    messages: HashMap<ProviderId, AttemptRef>,
    reached: HashMap<(Channel, Box<str>), BTreeSet<AlertNumber>>,
    claims: HashMap<ClaimKey, Replay>,
    claim_ages: BTreeSet<(Timestamp, ClaimKey)>,
    parked: BTreeMap<u64, Parked>,
    parked_under: BTreeMap<ProviderId, BTreeSet<u64>>,
    parked_ages: BTreeSet<(Timestamp, u64)>,
    last_parked: u64,
    secrets: HashMap<Box<str>, [u8; 32]>,
    subscriptions: Arc<Subscriptions>,
    deliveries: Shelf,
}

struct Parked {
    id: ProviderId,
    incoming: Incoming,
    at: Timestamp,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_parked_max(PARKED_MAX)
    }

    /// An empty store that keeps at most `parked_max` webhooks for attempts that are not known yet.
    pub fn with_parked_max(parked_max: usize) -> Self {
        Self { shelves: Mutex::default(), parked_max }
    }

    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        // A panic while it was held can only have come from the allocator; what stands there is whole.
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn next_number(&self) -> Result<AlertNumber, Error> {
        let mut shelves = self.shelves();
        shelves.last_number += 1;
        Ok(AlertNumber(shelves.last_number))
    }

    async fn insert(&self, alert: Arc<Alert>, claim: Option<Claim>) -> Result<Insert, Error> {
        refuse_broken(&alert)?;
        let mut shelves = self.shelves();
        if let Some(replay) = shelves.replay(claim.as_ref()) {
            return Ok(Insert::Replayed(replay));
        }
        if let Some(open) = findable::open_key(&alert).and_then(|key| shelves.open_keys.get(key)) {
            return Ok(Insert::Open(*open));
        }
        if shelves.alerts.contains_key(&alert.id()) || shelves.by_number.contains_key(&alert.raised.number) {
            return Err(Error::Unavailable(Arc::new(NotKept::SecondOfItsName)));
        }
        shelves.by_number.insert(alert.raised.number, alert.id());
        shelves.newest_number = shelves.newest_number.max(alert.raised.number.0);
        shelves.last_number = shelves.last_number.max(alert.raised.number.0);
        Ok(Insert::Inserted(shelves.keep(None, alert, 1, claim)))
    }

    async fn update(&self, seen: &Stored, next: Arc<Alert>, claim: Option<Claim>) -> Result<Update, Error> {
        refuse_broken(&next)?;
        let mut shelves = self.shelves();
        if let Some(replay) = shelves.replay(claim.as_ref()) {
            return Ok(Update::Replayed(replay));
        }
        let kept_version = shelves.alerts.get(&next.id()).map(|stored| stored.version);
        if kept_version != Some(seen.version) {
            return Ok(Update::Stale);
        }
        Ok(Update::Updated(shelves.keep(Some(&seen.alert), next, seen.version + 1, claim)))
    }

    async fn get(&self, id: AlertId) -> Result<Option<Stored>, Error> {
        Ok(self.shelves().alerts.get(&id).cloned())
    }

    async fn claimed(&self, key: &ClaimKey) -> Result<Option<Replay>, Error> {
        Ok(self.shelves().claims.get(key).cloned())
    }

    async fn armed(&self, after: Option<AlertId>, limit: usize) -> Result<Vec<Armed>, Error> {
        let shelves = self.shelves();
        let later = shelves.armed.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        Ok(later.map(|(_, armed)| *armed).take(limit).collect())
    }

    async fn failing(&self, before: Option<AlertId>, limit: usize) -> Result<Vec<AlertId>, Error> {
        let shelves = self.shelves();
        let older = shelves.armed.range((Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded)));
        let fails = |id: &AlertId| shelves.alerts.get(id).is_some_and(|stored| findable::is_failing(&stored.alert));
        Ok(older.rev().map(|(id, _)| *id).filter(fails).take(limit).collect())
    }

    async fn list(&self, page: &Page) -> Result<Vec<Arc<Alert>>, Error> {
        let shelves = self.shelves();
        let older = shelves.alerts.range(..page.before.unwrap_or(AlertId::from_bits(u128::MAX)));
        let newest_first = older.rev().map(|(_, stored)| &stored.alert);
        Ok(newest_first.filter(|alert| belongs_on(page, alert)).take(page.limit).cloned().collect())
    }

    async fn find_message(&self, id: &ProviderId) -> Result<Option<AttemptRef>, Error> {
        Ok(self.shelves().messages.get(id).copied())
    }

    async fn find_number(&self, number: AlertNumber) -> Result<Option<AlertId>, Error> {
        Ok(self.shelves().by_number.get(&number).copied())
    }

    async fn newest_number(&self) -> Result<AlertNumber, Error> {
        Ok(AlertNumber(self.shelves().newest_number))
    }

    async fn find_address(
        &self,
        channel: Channel,
        address: &Address,
        statuses: &[StatusFilter],
        limit: usize,
    ) -> Result<Vec<AlertId>, Error> {
        let shelves = self.shelves();
        let Some(numbers) = shelves.reached.get(&(channel, address.reveal().into())) else { return Ok(Vec::new()) };
        let ids = numbers.iter().rev().filter_map(|number| shelves.by_number.get(number));
        let has_status = |id: &&AlertId| {
            let kept = shelves.alerts.get(id);
            kept.is_some_and(|kept| statuses.contains(&StatusFilter::of(kept.alert.status)))
        };
        Ok(ids.filter(has_status).take(limit).copied().collect())
    }

    async fn find_key(&self, key: &str, limit: usize) -> Result<Vec<AlertId>, Error> {
        let shelves = self.shelves();
        let numbers = shelves.unresolved.get(key).into_iter().flatten().rev();
        Ok(numbers.filter_map(|number| shelves.by_number.get(number)).take(limit).copied().collect())
    }

    async fn release_key(&self, key: &str, held_by: AlertId) -> Result<(), Error> {
        let mut shelves = self.shelves();
        if shelves.open_keys.get(key) == Some(&held_by) {
            shelves.open_keys.remove(key);
            if let Some(number) = shelves.alerts.get(&held_by).map(|stored| stored.alert.raised.number) {
                shelves.no_longer_found_by(key, number);
            }
        }
        Ok(())
    }

    async fn park(&self, id: &ProviderId, incoming: &Incoming, now: Timestamp) -> Result<(), Error> {
        let mut shelves = self.shelves();
        shelves.last_parked += 1;
        let place = shelves.last_parked;
        shelves.parked.insert(place, Parked { id: id.clone(), incoming: incoming.clone(), at: now });
        shelves.parked_under.entry(id.clone()).or_default().insert(place);
        shelves.parked_ages.insert((now, place));
        while shelves.parked.len() > self.parked_max {
            let Some((oldest, _)) = shelves.parked.first_key_value() else { break };
            let oldest = *oldest;
            shelves.forget_parked(oldest);
        }
        Ok(())
    }

    async fn parked(&self, id: &ProviderId) -> Result<Vec<Incoming>, Error> {
        let shelves = self.shelves();
        let places = shelves.parked_under.get(id).into_iter().flatten();
        Ok(places.filter_map(|place| shelves.parked.get(place)).map(|parked| parked.incoming.clone()).collect())
    }

    async fn parked_and_known(&self, limit: usize) -> Result<Vec<ProviderId>, Error> {
        let shelves = self.shelves();
        let known = shelves.parked_under.keys().filter(|id| shelves.messages.contains_key(*id));
        Ok(known.take(limit).cloned().collect())
    }

    async fn unpark(&self, id: &ProviderId) -> Result<(), Error> {
        let mut shelves = self.shelves();
        for place in shelves.parked_under.get(id).cloned().unwrap_or_default() {
            shelves.forget_parked(place);
        }
        Ok(())
    }

    async fn tidy(&self, keys_before: Timestamp, parked_before: Timestamp, limit: usize) -> Result<usize, Error> {
        let mut shelves = self.shelves();
        let old_claims: Vec<_> =
            shelves.claim_ages.iter().take_while(|(at, _)| *at < keys_before).take(limit).cloned().collect();
        for age in &old_claims {
            shelves.claim_ages.remove(age);
            shelves.claims.remove(&age.1);
        }
        let old_parked: Vec<_> =
            shelves.parked_ages.iter().take_while(|(at, _)| *at < parked_before).take(limit).copied().collect();
        for (_, place) in &old_parked {
            shelves.forget_parked(*place);
        }
        Ok(old_claims.len() + old_parked.len())
    }

    async fn forget(&self, settled_before: Timestamp, limit: usize) -> Result<usize, Error> {
        let mut shelves = self.shelves();
        let old = shelves.settled.iter().take_while(|(at, _)| *at < settled_before).take(limit);
        let old: Vec<AlertId> = old.map(|(_, id)| *id).collect();
        for id in &old {
            shelves.forget(*id);
        }
        Ok(old.len())
    }

    async fn forget_plans(&self) -> Result<usize, Error> {
        // The last alert that has a plan takes it along.
        Ok(0)
    }

    async fn secret(&self, name: &str, proposed: [u8; 32]) -> Result<[u8; 32], Error> {
        Ok(*self.shelves().secrets.entry(name.into()).or_insert(proposed))
    }

    async fn probe(&self, _now: Timestamp) -> Result<(), Error> {
        Ok(())
    }

    fn outbox(&self) -> Option<&dyn Outbox> {
        Some(self)
    }

    async fn close(&self) {}

    fn is_sole_owner(&self) -> bool {
        true
    }

    fn is_durable(&self) -> bool {
        false
    }
}

#[async_trait]
impl Outbox for MemoryStore {
    fn subscribe(&self, subscriptions: Arc<Subscriptions>) {
        self.shelves().subscriptions = subscriptions;
    }

    async fn keep(&self, deliveries: Vec<NewDelivery>) -> Result<(), Error> {
        self.shelves().deliveries.keep(deliveries);
        Ok(())
    }

    async fn take(
        &self,
        endpoint: EndpointId,
        now: Timestamp,
        _until: Timestamp,
        held: &BTreeSet<u64>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error> {
        Ok(self.shelves().deliveries.due(endpoint, now, held, limit))
    }

    async fn next_due(&self, endpoint: EndpointId, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        Ok(self.shelves().deliveries.next_due(endpoint, now))
    }

    async fn settle(&self, delivery: &Delivery, settled: Settled) -> Result<(), Error> {
        self.shelves().deliveries.settle(delivery, settled);
        Ok(())
    }

    async fn deliveries(&self, page: DeliveryPage) -> Result<Vec<Delivery>, Error> {
        Ok(self.shelves().deliveries.list(page))
    }

    async fn replay(&self, which: Which, now: Timestamp) -> Result<usize, Error> {
        Ok(self.shelves().deliveries.replay(which, now))
    }

    async fn forget_deliveries(&self, before: Timestamp, max: usize, limit: usize) -> Result<usize, Error> {
        Ok(self.shelves().deliveries.forget(before, max, limit))
    }
}

impl Shelves {
    fn replay(&self, claim: Option<&Claim>) -> Option<Replay> {
        self.claims.get(&claim?.key).cloned()
    }

    fn keep(&mut self, seen: Option<&Alert>, alert: Arc<Alert>, version: u64, claim: Option<Claim>) -> Stored {
        self.keep_open_key(seen, &alert);
        match findable::armed(&alert) {
            Some(armed) => self.armed.insert(alert.id(), armed),
            None => self.armed.remove(&alert.id()),
        };
        if let Some(at) = seen.and_then(findable::settled_at) {
            self.settled.remove(&(at, alert.id()));
        }
        if let Some(at) = findable::settled_at(&alert) {
            self.settled.insert((at, alert.id()));
        }
        for (id, attempt) in findable::new_messages(seen, &alert) {
            // The first stays: no later report can take a message away from its attempt.
            self.messages.entry(id.clone()).or_insert(AttemptRef { alert: alert.id(), attempt });
        }
        self.keep_reached(seen, &alert);
        self.deliveries.keep(callback::told(&self.subscriptions, seen, &alert));
        if let Some(claim) = claim {
            let replay = Replay { fingerprint: claim.fingerprint, outcome: claim.outcome, alert: Arc::clone(&alert) };
            self.claim_ages.insert((claim.at, claim.key.clone()));
            self.claims.insert(claim.key, replay);
        }
        let stored = Stored { alert, version };
        self.alerts.insert(stored.alert.id(), stored.clone());
        stored
    }

    fn keep_open_key(&mut self, seen: Option<&Alert>, alert: &Alert) {
        self.keep_unresolved(alert);
        if let Some(key) = findable::open_key(alert) {
            // An exhausted alert that is acknowledged after all has its key back, unless a newer alert
            // took it in the meantime.
            self.open_keys.entry(key.into()).or_insert(alert.id());
        } else if let Some(key) = seen.and_then(findable::open_key)
            && self.open_keys.get(key) == Some(&alert.id())
        {
            self.open_keys.remove(key);
        }
    }

    fn keep_unresolved(&mut self, alert: &Alert) {
        let (Some(key), number) = (&alert.raised.dedup_key, alert.raised.number) else { return };
        if alert.status == Status::Resolved {
            self.no_longer_found_by(key, number);
        } else {
            self.unresolved.entry(key.clone()).or_default().insert(number);
        }
    }

    fn no_longer_found_by(&mut self, key: &str, number: AlertNumber) {
        let Some(numbers) = self.unresolved.get_mut(key) else { return };
        numbers.remove(&number);
        if numbers.is_empty() {
            self.unresolved.remove(key);
        }
    }

    fn keep_reached(&mut self, seen: Option<&Alert>, alert: &Alert) {
        let number = alert.raised.number;
        if alert.status == Status::Resolved {
            for (channel, address) in findable::reached(alert) {
                self.unreach(channel, address, number);
            }
            return;
        }
        for (channel, address) in findable::newly_reached(seen, alert) {
            self.reached.entry((channel, address.reveal().into())).or_default().insert(number);
        }
    }

    fn forget(&mut self, id: AlertId) {
        let Some(Stored { alert, .. }) = self.alerts.remove(&id) else { return };
        let number = alert.raised.number;
        self.by_number.remove(&number);
        if let Some(at) = findable::settled_at(&alert) {
            self.settled.remove(&(at, id));
        }
        if let Some(key) = findable::open_key(&alert)
            && self.open_keys.get(key) == Some(&id)
        {
            self.open_keys.remove(key);
        }
        if let Some(key) = alert.raised.dedup_key.as_deref() {
            self.no_longer_found_by(key, number);
        }
        for (message, _) in findable::new_messages(None, &alert) {
            if self.messages.get(message).is_some_and(|attempt| attempt.alert == id) {
                self.messages.remove(message);
            }
        }
        for (channel, address) in findable::reached(&alert) {
            self.unreach(channel, address, number);
        }
    }

    fn unreach(&mut self, channel: Channel, address: &Address, number: AlertNumber) {
        let place = (channel, Box::from(address.reveal()));
        if let Some(numbers) = self.reached.get_mut(&place) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.reached.remove(&place);
            }
        }
    }

    fn forget_parked(&mut self, place: u64) {
        let Some(parked) = self.parked.remove(&place) else { return };
        self.parked_ages.remove(&(parked.at, place));
        if let Some(places) = self.parked_under.get_mut(&parked.id) {
            places.remove(&place);
            if places.is_empty() {
                self.parked_under.remove(&parked.id);
            }
        }
    }
}

fn refuse_broken(alert: &Alert) -> Result<(), Error> {
    match broken_promise(alert) {
        None => Ok(()),
        Some(promise) => Err(Error::corrupt_alert(alert.id(), NotKept::Broken(promise))),
    }
}

fn belongs_on(page: &Page, alert: &Alert) -> bool {
    page.status.is_none_or(|status| status == StatusFilter::of(alert.status))
        && page.policy.as_ref().is_none_or(|policy| alert.raised.policy.as_ref() == Some(policy))
}
