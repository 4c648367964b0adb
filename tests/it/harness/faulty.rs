//! A store that can be made unavailable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use callout::contact::{Address, Channel};
use callout::escalation::Alert;
use callout::id::{AlertId, AlertNumber, AttemptRef, ProviderId};
use callout::incoming::Incoming;
use callout::store::{Armed, Claim, ClaimKey, Error, Insert, MemoryStore, Page, Replay, Store, Stored, Update};
use callout::timestamp::Timestamp;

/// A memory store behind a switch.
pub(crate) struct FaultyStore {
    inner: MemoryStore,
    is_down: AtomicBool,
}

impl FaultyStore {
    pub(crate) fn new() -> Self {
        Self { inner: MemoryStore::new(), is_down: AtomicBool::new(false) }
    }

    pub(crate) fn goes_down(&self) {
        self.is_down.store(true, Ordering::SeqCst);
    }

    pub(crate) fn comes_back(&self) {
        self.is_down.store(false, Ordering::SeqCst);
    }

    fn up(&self) -> Result<&MemoryStore, Error> {
        if self.is_down.load(Ordering::SeqCst) {
            let disk = std::io::Error::other("the disk /secret/path is full");
            Err(Error::Unavailable(Arc::new(disk)))
        } else {
            Ok(&self.inner)
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn next_number(&self) -> Result<AlertNumber, Error> {
        self.up()?.next_number().await
    }

    async fn insert(&self, alert: Arc<Alert>, claim: Option<Claim>) -> Result<Insert, Error> {
        self.up()?.insert(alert, claim).await
    }

    async fn update(&self, seen: &Stored, next: Arc<Alert>, claim: Option<Claim>) -> Result<Update, Error> {
        self.up()?.update(seen, next, claim).await
    }

    async fn get(&self, id: AlertId) -> Result<Option<Stored>, Error> {
        self.up()?.get(id).await
    }

    async fn claimed(&self, key: &ClaimKey) -> Result<Option<Replay>, Error> {
        self.up()?.claimed(key).await
    }

    async fn armed(&self, after: Option<AlertId>, limit: usize) -> Result<Vec<Armed>, Error> {
        self.up()?.armed(after, limit).await
    }

    async fn list(&self, page: &Page) -> Result<Vec<Arc<Alert>>, Error> {
        self.up()?.list(page).await
    }

    async fn find_message(&self, id: &ProviderId) -> Result<Option<AttemptRef>, Error> {
        self.up()?.find_message(id).await
    }

    async fn find_number(&self, number: AlertNumber) -> Result<Option<AlertId>, Error> {
        self.up()?.find_number(number).await
    }

    async fn newest_number(&self) -> Result<AlertNumber, Error> {
        self.up()?.newest_number().await
    }

    async fn find_address(&self, channel: Channel, address: &Address, limit: usize) -> Result<Vec<AlertId>, Error> {
        self.up()?.find_address(channel, address, limit).await
    }

    async fn park(&self, id: &ProviderId, incoming: &Incoming, now: Timestamp) -> Result<(), Error> {
        self.up()?.park(id, incoming, now).await
    }

    async fn parked(&self, id: &ProviderId) -> Result<Vec<Incoming>, Error> {
        self.up()?.parked(id).await
    }

    async fn unpark(&self, id: &ProviderId) -> Result<(), Error> {
        self.up()?.unpark(id).await
    }

    async fn tidy(&self, keys_before: Timestamp, parked_before: Timestamp, limit: usize) -> Result<usize, Error> {
        self.up()?.tidy(keys_before, parked_before, limit).await
    }

    async fn secret(&self, name: &str, proposed: [u8; 32]) -> Result<[u8; 32], Error> {
        self.up()?.secret(name, proposed).await
    }

    async fn probe(&self, now: Timestamp) -> Result<(), Error> {
        self.up()?.probe(now).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    fn is_sole_owner(&self) -> bool {
        true
    }

    fn is_durable(&self) -> bool {
        false
    }
}
