//! Keeps alerts in a PostgreSQL database that several nodes share.
//!
//! The database is the truth, and nothing is kept outside of it but plans, which never change. One alert's
//! row decides: a change is kept if the row still has the version that was seen, in one statement that is
//! one transaction, so that no transaction is ever open while anybody waits for something else. Nothing is
//! locked for longer than a statement, and nothing depends on being notified.
//!
//! A connection that breaks is replaced; what others or the network stood in the way of is tried again.
//! A commit whose answer was lost is told from one that did not happen (`writer`).
//!
//! Time is the database's (`time`), so that the clocks of the nodes do not matter.

mod address;
mod asking;
mod changes;
mod fault;
mod moving;
mod opening;
mod outbox;
mod plans;
mod rows;
mod statements;
mod time;
mod together;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::callback::Subscriptions;
use crate::chance::Chance;
use crate::clock::{Clock, SharedClock};
use crate::contact::{Address as ContactAddress, Channel};
use crate::escalation::Alert;
use crate::id::{AlertId, AlertNumber, AttemptRef, ProviderId};
use crate::incoming::Incoming;
use crate::metrics::StoreMeter;
use crate::timestamp::Timestamp;

use super::{
    Armed, Claim, ClaimKey, Error, Insert, LeftBehind, Others, Outbox, PARKED_MAX, Page, Replay, StatusFilter, Store,
    Stored, Update, record,
};

pub(in crate::store) use moving::take_over;
pub use opening::PostgresError;

use address::Address;
use asking::Database;
use changes::Change;
use fault::{Fault, Refusal};
use plans::Plans;
use rows::{Nonsense, signed, status_word, unsigned, uuid};
use together::Together;
use writer::{Fate, Writer};

/// How many alert numbers a node takes at a time: the increment of the sequence.
const NUMBERS_AT_A_TIME: u64 = 32;
/// How often an alert is inserted anew because the one with its dedup key was closed in the meantime.
const INSERT_AGAIN_MAX: usize = 8;
/// The oldest parked webhooks make room each time that this part of the most that are kept has come in.
const ROOM_AFTER_ONE_IN: usize = 100;

/// Keeps alerts in a database that several nodes share.
pub struct PostgresStore {
    database: Arc<Database>,
    place: Box<str>,
    node: Uuid,
    plans: Plans,
    subscriptions: ArcSwap<Subscriptions>,
    writer: Writer,
    alerts: Arc<Together<Uuid>>,
    messages: Arc<Together<String>>,
    parked: Arc<Together<String>>,
    clock: Arc<SharedClock>,
    numbers: Mutex<Range<u64>>,
    parked_max: usize,
    n_parked: AtomicUsize,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl fmt::Debug for PostgresStore {
    /// Shows nothing of what it holds.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PostgresStore").field("place", &self.place).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Refuses where a newer callout has forbidden this one to write.
    async fn may_write(&self) -> Result<(), Error> {
        match self.database.row(statements::MAY_WRITE, &[&opening::SCHEMA]).await? {
            Some(_) => Ok(()),
            None => Err(Refusal::NewerSchema.into()),
        }
    }

    /// Opens a database by its address, making the tables where they are missing. `clock` measures time in
    /// this process; which moment it is, the database says ([`PostgresStore::clock`]).
    pub async fn open(address: &str, clock: Arc<dyn Clock>, chance: Arc<dyn Chance>) -> Result<Self, PostgresError> {
        Self::with_parked_max(address, clock, chance, PARKED_MAX).await
    }

    /// Opens a database that keeps at most `parked_max` webhooks for attempts that are not known yet, give or
    /// take a hundredth on each node.
    pub async fn with_parked_max(
        address: &str,
        clock: Arc<dyn Clock>,
        chance: Arc<dyn Chance>,
        parked_max: usize,
    ) -> Result<Self, PostgresError> {
        let address = Address::parse(address)?;
        let pool = opening::pool(&address)?;
        opening::prepare(&pool, &address).await?;
        let mut random = [0; 16];
        chance.fill(&mut random);
        let node = Uuid::from_bytes(random);
        let database = Arc::new(Database::new(pool, Arc::clone(&clock), chance));
        let clock = Arc::new(SharedClock::over(clock));
        let (writer, writing) = Writer::new(Arc::clone(&database), node);
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let measuring = time::begin(Arc::clone(&database), Arc::clone(&clock), node);
        let measuring = measuring.await.map_err(|fault| opening::unreadable(&address.place, fault.into()))?;
        tracker.spawn(writing);
        let alerts = Together::new(&database, statements::GET, 1, &tracker);
        let messages = Together::new(&database, statements::FIND_MESSAGE, 2, &tracker);
        let parked = Together::new(&database, statements::PARKED, 1, &tracker);
        let stopped = stop.clone();
        tracker.spawn(async move {
            let _ended = stopped.run_until_cancelled_owned(measuring).await;
        });
        Ok(Self {
            database,
            place: address.place,
            node,
            plans: Plans::default(),
            subscriptions: ArcSwap::default(),
            writer,
            alerts,
            messages,
            parked,
            clock,
            numbers: Mutex::new(0..0),
            parked_max,
            n_parked: AtomicUsize::new(0),
            tracker,
            stop,
        })
    }

    /// The clock that all nodes of this database share.
    pub fn clock(&self) -> Arc<SharedClock> {
        Arc::clone(&self.clock)
    }

    /// Has the server read every statement that callout puts to it, without carrying any out.
    pub async fn check_statements(&self) -> Result<(), Error> {
        for statement in statements::ALL {
            self.database.understand(statement).await?;
        }
        Ok(())
    }

    fn next_of_taken(&self) -> Option<u64> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    async fn take_numbers(&self) -> Result<(), Fault> {
        let mut n_groups = 1;
        loop {
            let row = self.database.row(statements::TAKE_NUMBERS, &[&signed(n_groups)]).await?;
            let newest = self.newest().await?;
            let first = match &row {
                Some(row) => rows::value::<Option<i64>>(row, 0)?.and_then(unsigned),
                None => None,
            };
            let first = first.ok_or_else(|| Fault::corrupt("the numbers of alerts", Nonsense::OutOfRange))?;
            if first > newest {
                *self.numbers.lock().unwrap_or_else(PoisonError::into_inner) = first..first + NUMBERS_AT_A_TIME;
                return Ok(());
            }
            // Alerts are there whose numbers came from elsewhere, or another node is ahead.
            n_groups = (newest - first) / NUMBERS_AT_A_TIME + 1;
        }
    }

    async fn newest(&self) -> Result<u64, Fault> {
        match self.database.row(statements::NEWEST_NUMBER, &[]).await? {
            Some(row) => Ok(unsigned(rows::value(&row, 0)?).unwrap_or(0)),
            None => Ok(0),
        }
    }

    async fn replay(&self, key: &ClaimKey) -> Result<Option<Replay>, Fault> {
        match self.database.row(statements::CLAIMED, &[&key.0.as_slice()]).await? {
            Some(row) => Ok(Some(rows::replay(&self.database, &self.plans, &row).await?)),
            None => Ok(None),
        }
    }

    /// What the request with this claim did before, if that is why nothing was kept now.
    async fn replay_of(&self, claim: Option<&ClaimKey>) -> Result<Option<Replay>, Fault> {
        match claim {
            Some(key) => self.replay(key).await,
            None => Ok(None),
        }
    }

    async fn find(&self, statement: &'static str, values: asking::Values<'_>) -> Result<Option<AlertId>, Fault> {
        self.database.row(statement, values).await?.map(|row| rows::alert_id(&row, 0)).transpose()
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn next_number(&self) -> Result<AlertNumber, Error> {
        loop {
            if let Some(number) = self.next_of_taken() {
                return Ok(AlertNumber(number));
            }
            self.take_numbers().await?;
        }
    }

    async fn insert(&self, alert: Arc<Alert>, claim: Option<Claim>) -> Result<Insert, Error> {
        let plan = self.plans.written(&alert.raised.plan).map_err(|error| Error::corrupt_alert(alert.id(), error))?;
        let key = claim.as_ref().map(|claim| claim.key.clone());
        for _ in 0..INSERT_AGAIN_MAX {
            // A used key wins over a dedup key that is taken, and the statement cannot tell them apart.
            let change =
                Change::insert(Arc::clone(&alert), Arc::clone(&plan), claim.clone(), &self.subscriptions.load())?;
            if self.writer.ask(change).await? == Fate::Won {
                return Ok(Insert::Inserted(Stored { alert, version: 1 }));
            }
            if let Some(replay) = self.replay_of(key.as_ref()).await? {
                return Ok(Insert::Replayed(replay));
            }
            let open_key = super::findable::open_key(&alert).map(str::as_bytes);
            if let Some(open) = self.find(statements::FIND_OPEN, &[&open_key]).await? {
                return Ok(Insert::Open(open));
            }
        }
        Err(Refusal::Contended.into())
    }

    async fn update(&self, seen: &Stored, next: Arc<Alert>, claim: Option<Claim>) -> Result<Update, Error> {
        let key = claim.as_ref().map(|claim| claim.key.clone());
        if let Some(replay) = self.replay_of(key.as_ref()).await? {
            return Ok(Update::Replayed(replay));
        }
        let change = Change::update(&seen.alert, seen.version, Arc::clone(&next), claim, &self.subscriptions.load())?;
        if self.writer.ask(change).await? == Fate::Won {
            return Ok(Update::Updated(Stored { alert: next, version: seen.version + 1 }));
        }
        Ok(self.replay_of(key.as_ref()).await?.map_or(Update::Stale, Update::Replayed))
    }

    async fn get(&self, id: AlertId) -> Result<Option<Stored>, Error> {
        match self.alerts.ask(uuid(id)).await?.first() {
            Some(row) => Ok(Some(rows::decode(&self.database, &self.plans, row).await?)),
            None => Ok(None),
        }
    }

    async fn claimed(&self, key: &ClaimKey) -> Result<Option<Replay>, Error> {
        Ok(self.replay(key).await?)
    }

    async fn armed(&self, after: Option<AlertId>, limit: usize) -> Result<Vec<Armed>, Error> {
        let after = after.unwrap_or(AlertId::from_bits(0));
        let rows = self.database.rows(statements::ARMED, &[&uuid(after), &signed(limit)]).await?;
        Ok(rows.iter().map(rows::armed).collect::<Result<_, _>>()?)
    }

    async fn list(&self, page: &Page) -> Result<Vec<Arc<Alert>>, Error> {
        let before = uuid(page.before.unwrap_or(AlertId::from_bits(u128::MAX)));
        let limit = signed(page.limit);
        let policy = page.policy.as_deref();
        let database = &self.database;
        let rows = match (page.status, policy) {
            (None, None) => database.rows(statements::LIST_ALL, &[&before, &limit]).await?,
            (None, Some(policy)) => database.rows(statements::LIST_OF_POLICY, &[&before, &limit, &policy]).await?,
            (Some(StatusFilter::Escalating), _) => {
                database.rows(statements::LIST_ESCALATING, &[&before, &limit, &policy]).await?
            }
            (Some(status @ (StatusFilter::Acknowledged | StatusFilter::Exhausted | StatusFilter::Resolved)), _) => {
                let status = status_word(status);
                database.rows(statements::LIST_SETTLED, &[&before, &limit, &policy, &status]).await?
            }
        };
        Ok(rows::alerts(database, &self.plans, &rows).await?)
    }

    async fn find_message(&self, id: &ProviderId) -> Result<Option<AttemptRef>, Error> {
        let rows = self.messages.ask(id.to_string()).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let attempt = rows::value::<i64>(row, 1)?.try_into();
        let attempt = attempt.map_err(|_range| Fault::corrupt("a message", Nonsense::OutOfRange))?;
        Ok(Some(AttemptRef { alert: rows::alert_id(row, 0)?, attempt }))
    }

    async fn find_number(&self, number: AlertNumber) -> Result<Option<AlertId>, Error> {
        Ok(self.find(statements::FIND_NUMBER, &[&signed(number.0)]).await?)
    }

    async fn newest_number(&self) -> Result<AlertNumber, Error> {
        Ok(AlertNumber(self.newest().await?))
    }

    async fn find_address(
        &self,
        channel: Channel,
        address: &ContactAddress,
        statuses: &[StatusFilter],
        limit: usize,
    ) -> Result<Vec<AlertId>, Error> {
        let words: Vec<_> = statuses.iter().map(|status| status_word(*status)).collect();
        let rows = self
            .database
            .rows(statements::FIND_ADDRESS, &[&channel.name(), &address.reveal(), &words, &signed(limit)])
            .await?;
        Ok(rows.iter().map(|row| rows::alert_id(row, 0)).collect::<Result<_, _>>()?)
    }

    async fn find_key(&self, key: &str, limit: usize) -> Result<Vec<AlertId>, Error> {
        let rows = self.database.rows(statements::FIND_KEY, &[&key.as_bytes(), &signed(limit)]).await?;
        Ok(rows.iter().map(|row| rows::alert_id(row, 0)).collect::<Result<_, _>>()?)
    }

    async fn release_key(&self, key: &str, held_by: AlertId) -> Result<(), Error> {
        self.may_write().await?;
        self.database.change(statements::RELEASE_KEY, &[&key.as_bytes(), &uuid(held_by)]).await?;
        Ok(())
    }

    async fn park(&self, id: &ProviderId, incoming: &Incoming, now: Timestamp) -> Result<(), Error> {
        let record = record::write_incoming(incoming).map_err(|error| Error::corrupt("a webhook", error))?;
        self.may_write().await?;
        self.database.change(statements::PARK, &[&id.as_str(), &now.as_millis(), &record]).await?;
        let n_parked = self.n_parked.fetch_add(1, Ordering::Relaxed);
        if n_parked.is_multiple_of((self.parked_max / ROOM_AFTER_ONE_IN).max(1)) {
            self.database.change(statements::MAKE_ROOM, &[&signed(self.parked_max)]).await?;
        }
        Ok(())
    }

    async fn parked(&self, id: &ProviderId) -> Result<Vec<Incoming>, Error> {
        let rows = self.parked.ask(id.to_string()).await?;
        let records = rows.iter().map(|row| rows::value(row, 0)).collect::<Result<Vec<&str>, _>>()?;
        Ok(records.into_iter().filter_map(record::legible_incoming).collect())
    }

    async fn parked_and_known(&self, limit: usize) -> Result<Vec<ProviderId>, Error> {
        let rows = self.database.rows(statements::PARKED_AND_KNOWN, &[&signed(limit)]).await?;
        let ids = rows.iter().map(|row| {
            let id: &str = rows::value(row, 0)?;
            id.parse().map_err(|error| Fault::corrupt("a parked webhook", error))
        });
        Ok(ids.collect::<Result<_, Fault>>()?)
    }

    async fn unpark(&self, id: &ProviderId) -> Result<(), Error> {
        self.may_write().await?;
        self.database.change(statements::UNPARK, &[&id.as_str()]).await?;
        Ok(())
    }

    async fn tidy(&self, keys_before: Timestamp, parked_before: Timestamp, limit: usize) -> Result<usize, Error> {
        let limit = signed(limit);
        let database = &self.database;
        self.may_write().await?;
        let n_keys = database.change(statements::TIDY_CLAIMS, &[&keys_before.as_millis(), &limit]).await?;
        let n_parked = database.change(statements::TIDY_PARKED, &[&parked_before.as_millis(), &limit]).await?;
        database.change(statements::TIDY_COMMITS, &[&(limit.saturating_mul(10))]).await?;
        database.change(statements::TIDY_NODES, &[]).await?;
        Ok(usize::try_from(n_keys + n_parked).unwrap_or(usize::MAX))
    }

    async fn forget(&self, settled_before: Timestamp, limit: usize) -> Result<usize, Error> {
        self.may_write().await?;
        let row = self.database.row(statements::FORGET, &[&settled_before.as_millis(), &signed(limit)]).await?;
        Ok(match row {
            Some(row) => usize::try_from(rows::value::<i64>(&row, 0)?).unwrap_or(0),
            None => 0,
        })
    }

    async fn forget_plans(&self) -> Result<usize, Error> {
        self.may_write().await?;
        let n_forgotten = self.database.change(statements::FORGET_PLANS, &[]).await?;
        Ok(usize::try_from(n_forgotten).unwrap_or(usize::MAX))
    }

    async fn secret(&self, name: &str, proposed: [u8; 32]) -> Result<[u8; 32], Error> {
        loop {
            if let Some(row) = self.database.row(statements::SECRET, &[&name]).await? {
                let kept: &[u8] = rows::value(&row, 0)?;
                let kept = kept.try_into().map_err(|_length| Fault::corrupt("a secret", Nonsense::OutOfRange))?;
                return Ok(kept);
            }
            self.database.change(statements::KEEP_SECRET, &[&name, &proposed.as_slice()]).await?;
        }
    }

    fn outbox(&self) -> Option<&dyn Outbox> {
        Some(self)
    }

    fn meter(&self) -> Option<&StoreMeter> {
        Some(self.writer.meter())
    }

    async fn probe(&self, now: Timestamp) -> Result<(), Error> {
        match self.database.change(statements::PROBE, &[&now.as_millis(), &opening::SCHEMA]).await? {
            0 => Err(Refusal::NewerSchema.into()),
            _ => Ok(()),
        }
    }

    async fn close(&self) {
        self.writer.finish();
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        self.database.close();
    }

    fn is_sole_owner(&self) -> bool {
        false
    }

    fn is_durable(&self) -> bool {
        true
    }

    async fn left_behind(&self, looking: &LeftBehind) -> Result<Vec<Armed>, Error> {
        let (after, id) = looking.after;
        let rows = self
            .database
            .rows(
                statements::OVERDUE,
                &[
                    &after.as_millis(),
                    &uuid(id),
                    &looking.sending_until.max(looking.waiting_until).as_millis(),
                    &looking.waiting_until.as_millis(),
                    &signed(looking.limit),
                ],
            )
            .await?;
        Ok(rows.iter().map(rows::armed).collect::<Result<_, _>>()?)
    }

    async fn unarmed(&self, limit: usize) -> Result<Vec<AlertId>, Error> {
        let rows = self.database.rows(statements::UNARMED, &[&signed(limit)]).await?;
        Ok(rows.iter().map(|row| rows::alert_id(row, 0)).collect::<Result<_, _>>()?)
    }

    async fn failing(&self, before: Option<AlertId>, limit: usize) -> Result<Vec<AlertId>, Error> {
        let before = uuid(before.unwrap_or(AlertId::from_bits(u128::MAX)));
        let rows = self.database.rows(statements::FAILING, &[&before, &signed(limit)]).await?;
        Ok(rows.iter().map(|row| rows::alert_id(row, 0)).collect::<Result<_, _>>()?)
    }

    async fn meet_others(&self, accepted_at: Option<Timestamp>) -> Result<Others, Error> {
        let accepted_at = accepted_at.map(Timestamp::as_millis);
        let by_clock = self.clock.now().as_millis();
        self.database.change(statements::MEET, &[&self.node, &accepted_at, &by_clock]).await?;
        let Some(row) = self.database.row(statements::MET, &[&self.node]).await? else {
            return Ok(Others::default());
        };
        Ok(Others {
            n_others: usize::try_from(rows::value::<i64>(&row, 0)?).unwrap_or(0),
            accepted_at: rows::value::<Option<i64>>(&row, 1)?.map(Timestamp::from_millis),
        })
    }

    async fn newest_news(&self) -> Result<u64, Error> {
        let row = self.database.row(statements::NEWEST_PLACE, &[]).await?;
        Ok(match row {
            Some(row) => unsigned(rows::value(&row, 0)?).unwrap_or(0),
            None => 0,
        })
    }

    async fn news(&self, after: u64, limit: usize) -> Result<Vec<(u64, Vec<AlertId>)>, Error> {
        let rows = self.database.rows(statements::NEWS, &[&signed(after), &self.node, &signed(limit)]).await?;
        let news = rows.iter().map(|row| {
            let place = unsigned(rows::value(row, 0)?).unwrap_or(0);
            let ids: Vec<Uuid> = rows::value(row, 1)?;
            Ok((place, ids.into_iter().map(|id| AlertId::from_bits(id.as_u128())).collect()))
        });
        Ok(news.collect::<Result<_, Fault>>()?)
    }
}
