//! A store that works, except when and where a story wants it to fail, to be slow, or to be the place
//! where the process is when it dies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use callout::clock::{Clock, SteadyClock};
use callout::contact::{Address, Channel};
use callout::escalation::Alert;
use callout::id::{AlertId, AlertNumber, AttemptRef, ProviderId};
use callout::incoming::Incoming;
use callout::store::{
    Armed, Claim, ClaimKey, Disk, Error, Insert, LeftBehind, MemoryStore, Others, Page, Replay, StatusFilter, Store,
    Stored, Update,
};
use callout::timestamp::Timestamp;

/// A call to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Insert,
    Update,
    Get,
    FindMessage,
    Park,
    Parked,
    Unpark,
    Probe,
    Audit,
    Other,
}

impl Call {
    /// Every kind that alerts bring about.
    pub(crate) const ALL: [Self; 8] =
        [Self::Insert, Self::Update, Self::Get, Self::FindMessage, Self::Park, Self::Parked, Self::Unpark, Self::Other];
}

/// Whether something happens before the store does what it is asked, or before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Before,
    After,
}

#[derive(Clone)]
enum Effect {
    Stop,
    Fail,
    Refuse,
    Delay(Duration, Arc<SteadyClock>),
    Panic,
}

struct Fault {
    call: Option<Call>,
    place: Place,
    n_before: usize,
    n_times: usize,
    effect: Effect,
}

/// What each of several nodes said last of its own sends.
type Said = Mutex<Vec<Option<Timestamp>>>;

/// The store.
pub(crate) struct Frail {
    inner: Arc<dyn Store>,
    /// What it hears of other nodes, and which of them it is.
    shared: Option<(Arc<Said>, usize)>,
    faults: Mutex<Vec<Fault>>,
    n_struck: Mutex<usize>,
    poisoned: Mutex<Option<AlertId>>,
    damaged: Mutex<Option<AlertId>>,
    unarmed: Mutex<Option<AlertId>>,
    disk: Mutex<Option<Disk>>,
}

impl Frail {
    pub(crate) fn new() -> Arc<Self> {
        Self::over(Arc::new(MemoryStore::new()), None)
    }

    /// So many stores with the same in them, one for each node.
    pub(crate) fn for_nodes(n_nodes: usize) -> Vec<Arc<Self>> {
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let said: Arc<Said> = Arc::new(Mutex::new(vec![None; n_nodes]));
        (0..n_nodes).map(|node| Self::over(Arc::clone(&inner), Some((Arc::clone(&said), node)))).collect()
    }

    fn over(inner: Arc<dyn Store>, shared: Option<(Arc<Said>, usize)>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            shared,
            faults: Mutex::default(),
            n_struck: Mutex::default(),
            poisoned: Mutex::default(),
            damaged: Mutex::default(),
            unarmed: Mutex::default(),
            disk: Mutex::default(),
        })
    }

    /// What it holds, without its frailty.
    pub(crate) fn inner(&self) -> Arc<dyn Store> {
        Arc::clone(&self.inner)
    }

    fn strike(&self, call: Option<Call>, place: Place, n_before: usize, n_times: usize, effect: Effect) {
        self.faults.lock().unwrap().push(Fault { call, place, n_before, n_times, effect });
    }

    /// Whoever makes the call after so many others never gets on.
    pub(crate) fn stop_at_any(&self, place: Place, n_before: usize) {
        self.strike(None, place, n_before, 1, Effect::Stop);
    }

    /// Whoever makes this call never gets on.
    pub(crate) fn stop_at(&self, call: Call) {
        self.strike(Some(call), Place::Before, 0, 1, Effect::Stop);
    }

    /// The call fails so many times.
    pub(crate) fn fail(&self, call: Call, n_times: usize) {
        self.strike(Some(call), Place::Before, 0, n_times, Effect::Fail);
    }

    /// The store has too much to do for the call, once.
    pub(crate) fn refuse(&self, call: Call) {
        self.strike(Some(call), Place::Before, 0, 1, Effect::Refuse);
    }

    /// Every call fails, from now on.
    pub(crate) fn fail_everything(&self) {
        self.strike(None, Place::Before, 0, usize::MAX, Effect::Fail);
    }

    /// The call after so many of its kind takes this long.
    pub(crate) fn delay(&self, call: Call, n_before: usize, time: Duration, clock: &Arc<SteadyClock>) {
        self.strike(Some(call), Place::Before, n_before, 1, Effect::Delay(time, Arc::clone(clock)));
    }

    /// The answer to the call after so many of its kind takes this long.
    pub(crate) fn delay_answer(&self, call: Call, n_before: usize, time: Duration, clock: &Arc<SteadyClock>) {
        self.strike(Some(call), Place::After, n_before, 1, Effect::Delay(time, Arc::clone(clock)));
    }

    /// Every call of this kind takes this long to answer.
    pub(crate) fn slow_down(&self, call: Call, time: Duration, clock: &Arc<SteadyClock>) {
        self.strike(Some(call), Place::After, 0, usize::MAX, Effect::Delay(time, Arc::clone(clock)));
    }

    /// The call brings callout itself to fail, once.
    pub(crate) fn panic_at(&self, call: Call) {
        self.strike(Some(call), Place::Before, 0, 1, Effect::Panic);
    }

    /// Whoever reads this alert fails, until the store is healed.
    pub(crate) fn poison(&self, id: AlertId) {
        *self.poisoned.lock().unwrap() = Some(id);
    }

    /// The disk damages the record of this alert, which cannot be understood until the store is healed.
    pub(crate) fn damage(&self, id: AlertId) {
        *self.damaged.lock().unwrap() = Some(id);
    }

    /// The moment of this alert is lost, until it is written again.
    pub(crate) fn lose_moment(&self, id: AlertId) {
        *self.unarmed.lock().unwrap() = Some(id);
    }

    fn has_moment(&self, id: AlertId) -> bool {
        *self.unarmed.lock().unwrap() != Some(id)
    }

    /// From now on its disk is like this.
    pub(crate) fn stands_on(&self, disk: Disk) {
        *self.disk.lock().unwrap() = Some(disk);
    }

    pub(crate) fn heal(&self) {
        *self.poisoned.lock().unwrap() = None;
        *self.damaged.lock().unwrap() = None;
        self.faults.lock().unwrap().clear();
    }

    /// How often a fault has shown itself.
    pub(crate) fn n_struck(&self) -> usize {
        *self.n_struck.lock().unwrap()
    }

    async fn pass(&self, call: Call, place: Place) -> Result<(), Error> {
        let effect = {
            let mut faults = self.faults.lock().unwrap();
            let mut struck = None;
            for fault in faults.iter_mut() {
                if fault.place != place || fault.call.is_some_and(|only| only != call) {
                    continue;
                }
                if fault.n_before > 0 {
                    fault.n_before -= 1;
                } else if fault.n_times > 0 {
                    fault.n_times -= 1;
                    struck = Some(fault.effect.clone());
                }
            }
            struck
        };
        let Some(effect) = effect else { return Ok(()) };
        *self.n_struck.lock().unwrap() += 1;
        match effect {
            Effect::Stop => std::future::pending().await,
            Effect::Fail => return Err(Error::Unavailable(Arc::new(std::io::Error::other("the story wants it so")))),
            Effect::Refuse => return Err(Error::Busy),
            Effect::Delay(time, clock) => clock.sleep_until(clock.now().plus(time)).await,
            Effect::Panic => panic!("the story wants the store to fail"),
        }
        Ok(())
    }

    async fn around<T>(&self, call: Call, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.pass(call, Place::Before).await?;
        let answer = work.await?;
        self.pass(call, Place::After).await?;
        Ok(answer)
    }
}

#[async_trait]
impl Store for Frail {
    async fn next_number(&self) -> Result<AlertNumber, Error> {
        self.around(Call::Other, self.inner.next_number()).await
    }

    async fn insert(&self, alert: Arc<Alert>, claim: Option<Claim>) -> Result<Insert, Error> {
        self.around(Call::Insert, self.inner.insert(alert, claim)).await
    }

    async fn update(&self, seen: &Stored, next: Arc<Alert>, claim: Option<Claim>) -> Result<Update, Error> {
        self.unarmed.lock().unwrap().take_if(|unarmed| *unarmed == next.id());
        self.around(Call::Update, self.inner.update(seen, next, claim)).await
    }

    async fn get(&self, id: AlertId) -> Result<Option<Stored>, Error> {
        let is_poisoned = *self.poisoned.lock().unwrap() == Some(id);
        assert!(!is_poisoned, "the story wants this alert to be poison");
        if *self.damaged.lock().unwrap() == Some(id) {
            let source = Arc::new(std::io::Error::other("the story wants it to be damaged"));
            return Err(Error::Corrupt { what: "an alert".into(), source });
        }
        self.around(Call::Get, self.inner.get(id)).await
    }

    async fn claimed(&self, key: &ClaimKey) -> Result<Option<Replay>, Error> {
        self.around(Call::Other, self.inner.claimed(key)).await
    }

    async fn armed(&self, after: Option<AlertId>, limit: usize) -> Result<Vec<Armed>, Error> {
        self.around(Call::Other, self.inner.armed(after, limit)).await
    }

    async fn overdue(&self, before: Timestamp, after: Option<AlertId>, limit: usize) -> Result<Vec<Armed>, Error> {
        let mut overdue = self.around(Call::Audit, self.inner.overdue(before, after, limit)).await?;
        overdue.retain(|armed| self.has_moment(armed.id));
        Ok(overdue)
    }

    async fn unarmed(&self, limit: usize) -> Result<Vec<AlertId>, Error> {
        let unarmed = *self.unarmed.lock().unwrap();
        Ok(unarmed.into_iter().take(limit).collect())
    }

    async fn list(&self, page: &Page) -> Result<Vec<Arc<Alert>>, Error> {
        self.around(Call::Other, self.inner.list(page)).await
    }

    async fn find_message(&self, id: &ProviderId) -> Result<Option<AttemptRef>, Error> {
        self.around(Call::FindMessage, self.inner.find_message(id)).await
    }

    async fn find_number(&self, number: AlertNumber) -> Result<Option<AlertId>, Error> {
        self.around(Call::Other, self.inner.find_number(number)).await
    }

    async fn newest_number(&self) -> Result<AlertNumber, Error> {
        self.around(Call::Other, self.inner.newest_number()).await
    }

    async fn find_address(
        &self,
        channel: Channel,
        address: &Address,
        statuses: &[StatusFilter],
        limit: usize,
    ) -> Result<Vec<AlertId>, Error> {
        self.around(Call::Other, self.inner.find_address(channel, address, statuses, limit)).await
    }

    async fn find_key(&self, key: &str, limit: usize) -> Result<Vec<AlertId>, Error> {
        self.around(Call::Other, self.inner.find_key(key, limit)).await
    }

    async fn park(&self, id: &ProviderId, incoming: &Incoming, now: Timestamp) -> Result<(), Error> {
        self.around(Call::Park, self.inner.park(id, incoming, now)).await
    }

    async fn parked(&self, id: &ProviderId) -> Result<Vec<Incoming>, Error> {
        self.around(Call::Parked, self.inner.parked(id)).await
    }

    async fn parked_and_known(&self, limit: usize) -> Result<Vec<ProviderId>, Error> {
        self.around(Call::Other, self.inner.parked_and_known(limit)).await
    }

    async fn release_key(&self, key: &str, held_by: AlertId) -> Result<(), Error> {
        self.around(Call::Other, self.inner.release_key(key, held_by)).await
    }

    async fn unpark(&self, id: &ProviderId) -> Result<(), Error> {
        self.around(Call::Unpark, self.inner.unpark(id)).await
    }

    async fn tidy(&self, keys_before: Timestamp, parked_before: Timestamp, limit: usize) -> Result<usize, Error> {
        self.around(Call::Other, self.inner.tidy(keys_before, parked_before, limit)).await
    }

    async fn forget(&self, settled_before: Timestamp, limit: usize) -> Result<usize, Error> {
        self.around(Call::Other, self.inner.forget(settled_before, limit)).await
    }

    async fn forget_plans(&self) -> Result<usize, Error> {
        self.around(Call::Other, self.inner.forget_plans()).await
    }

    async fn secret(&self, name: &str, proposed: [u8; 32]) -> Result<[u8; 32], Error> {
        self.around(Call::Other, self.inner.secret(name, proposed)).await
    }

    async fn probe(&self, now: Timestamp) -> Result<(), Error> {
        self.around(Call::Probe, self.inner.probe(now)).await
    }

    async fn tend(&self) -> Result<Option<Disk>, Error> {
        Ok(*self.disk.lock().unwrap())
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    fn is_sole_owner(&self) -> bool {
        self.shared.is_none()
    }

    async fn left_behind(&self, looking: &LeftBehind) -> Result<Vec<Armed>, Error> {
        let mut left = self.inner.armed(None, usize::MAX).await?;
        left.retain(|armed| {
            let until = if armed.sending { looking.sending_until } else { looking.waiting_until };
            (armed.wake_at, armed.id) > looking.after && armed.wake_at <= until
        });
        left.sort_by_key(|armed| (armed.wake_at, armed.id));
        left.truncate(looking.limit);
        Ok(left)
    }

    async fn failing(&self, before: Option<AlertId>, limit: usize) -> Result<Vec<AlertId>, Error> {
        self.inner.failing(before, limit).await
    }

    async fn meet_others(&self, accepted_at: Option<Timestamp>) -> Result<Others, Error> {
        let Some((said, node)) = &self.shared else { return Ok(Others::default()) };
        let mut said = said.lock().unwrap();
        said[*node] = accepted_at;
        let others = said.iter().enumerate().filter(|(other, _)| other != node).map(|(_, accepted_at)| *accepted_at);
        Ok(Others { n_others: said.len() - 1, accepted_at: others.max().flatten() })
    }

    fn is_durable(&self) -> bool {
        false
    }
}
