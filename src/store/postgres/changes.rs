//! What the writer commits: a change of one alert with everything it is found by, and many of them as the
//! lists that one statement takes.
//!
//! Whoever asks has prepared everything that needs no database, the records above all.

use std::sync::Arc;

use tokio_postgres::Row;
use uuid::Uuid;

use crate::callback::{self, NewDelivery, Subscriptions};
use crate::contact::{Address, Channel};
use crate::escalation::{Alert, Status};
use crate::id::{AlertId, AttemptNumber, ProviderId};
use crate::store::findable::KeyChange;
use crate::store::queue::Lane;
use crate::store::record::StoredPlan;
use crate::store::{Claim, Error, StatusFilter, findable, record};
use crate::timestamp::Timestamp;

use super::asking::{Database, Values};
use super::fault::Fault;
use super::outbox::Told;
use super::rows::{outcome_word, signed, status_word, uuid};
use super::statements;

/// A change of one alert.
pub(super) struct Change {
    alert: Arc<Alert>,
    record: String,
    kind: Kind,
    messages: Vec<(ProviderId, AttemptNumber)>,
    reached: Vec<(Channel, Address)>,
    forgotten: Vec<(Channel, Address)>,
    claim: Option<Claim>,
    deliveries: Vec<NewDelivery>,
}

enum Kind {
    Insert { raised: String, plan: Arc<StoredPlan> },
    Update { seen_version: u64, key: KeyChange },
}

/// What changes have to do with: those with a name in common are not committed together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Alert(AlertId),
    Number(u64),
    DedupKey(Box<str>),
    Claim([u8; 32]),
}

impl Change {
    /// A new alert.
    pub(super) fn insert(
        alert: Arc<Alert>,
        plan: Arc<StoredPlan>,
        claim: Option<Claim>,
        subscriptions: &Subscriptions,
    ) -> Result<Self, Error> {
        let raised = record::write_raised(&alert.raised).map_err(|error| Error::corrupt_alert(alert.id(), error))?;
        Self::prepare(None, alert, Kind::Insert { raised, plan }, claim, subscriptions)
    }

    /// An alert that takes the place of the one that was seen.
    pub(super) fn update(
        seen: &Alert,
        seen_version: u64,
        next: Arc<Alert>,
        claim: Option<Claim>,
        subscriptions: &Subscriptions,
    ) -> Result<Self, Error> {
        let key = KeyChange::between(seen, &next);
        Self::prepare(Some(seen), next, Kind::Update { seen_version, key }, claim, subscriptions)
    }

    fn prepare(
        seen: Option<&Alert>,
        alert: Arc<Alert>,
        kind: Kind,
        claim: Option<Claim>,
        subscriptions: &Subscriptions,
    ) -> Result<Self, Error> {
        let record = record::write_state(&alert).map_err(|error| Error::corrupt_alert(alert.id(), error))?;
        let messages = findable::new_messages(seen, &alert);
        let messages = messages.into_iter().map(|(id, number)| (id.clone(), number)).collect();
        let owned = |places: Vec<(Channel, &Address)>| {
            places.into_iter().map(|(channel, address)| (channel, address.clone())).collect()
        };
        let (reached, forgotten) = match alert.status {
            Status::Resolved => (Vec::new(), owned(findable::reached(&alert))),
            Status::Escalating(_) | Status::Acknowledged | Status::Exhausted => {
                (owned(findable::newly_reached(seen, &alert)), Vec::new())
            }
        };
        let deliveries = callback::told(subscriptions, seen, &alert);
        Ok(Self { alert, record, kind, messages, reached, forgotten, claim, deliveries })
    }

    pub(super) fn id(&self) -> AlertId {
        self.alert.id()
    }

    /// Which way it takes while it waits.
    pub(super) fn lane(&self) -> Lane {
        match self.kind {
            Kind::Insert { .. } => Lane::New,
            Kind::Update { .. } => Lane::Accepted,
        }
    }

    /// How many bytes of records wait with it.
    pub(super) fn n_bytes(&self) -> usize {
        let raised = match &self.kind {
            Kind::Insert { raised, .. } => raised.len(),
            Kind::Update { .. } => 0,
        };
        let told: usize = self.deliveries.iter().map(|delivery| delivery.body.len()).sum();
        self.record.len() + raised + told
    }

    pub(super) fn names(&self) -> Vec<Name> {
        let mut names = vec![Name::Alert(self.id())];
        let takes_key = match self.kind {
            Kind::Insert { .. } => {
                names.push(Name::Number(self.alert.raised.number.0));
                true
            }
            Kind::Update { key, .. } => key != KeyChange::None,
        };
        if takes_key {
            names.extend(self.alert.raised.dedup_key.clone().map(Name::DedupKey));
        }
        names.extend(self.claim.as_ref().map(|claim| Name::Claim(claim.key.0)));
        names
    }
}

/// Changes as the lists that [`statements::COMMIT`] takes; the names are its own.
#[derive(Default)]
pub(super) struct Lists<'a> {
    changes: States<'a>,
    seen: Vec<i64>,
    key_changes: Vec<i64>,
    fresh: States<'a>,
    policies: Vec<Option<&'a str>>,
    plans: Vec<&'a [u8]>,
    raised: Vec<&'a str>,
    way_hashes: Vec<&'a [u8]>,
    way_records: Vec<&'a str>,
    message_ids: Vec<&'a str>,
    message_numbers: Vec<i64>,
    message_attempts: Vec<i64>,
    reached: Places<'a>,
    forgotten: Places<'a>,
    claims: Claims<'a>,
    told: Told<'a>,
}

#[derive(Default)]
struct States<'a> {
    ids: Vec<Uuid>,
    numbers: Vec<i64>,
    statuses: Vec<&'static str>,
    wake_at: Vec<Option<i64>>,
    sending: Vec<bool>,
    failing: Vec<bool>,
    open_keys: Vec<Option<&'a [u8]>>,
    records: Vec<&'a str>,
    settled_at: Vec<Option<i64>>,
}

#[derive(Default)]
struct Places<'a> {
    channels: Vec<&'static str>,
    addresses: Vec<&'a str>,
    numbers: Vec<i64>,
}

#[derive(Default)]
struct Claims<'a> {
    keys: Vec<&'a [u8]>,
    fingerprints: Vec<&'a [u8]>,
    outcomes: Vec<&'static str>,
    numbers: Vec<i64>,
    at: Vec<i64>,
    records: Vec<&'a str>,
}

impl<'a> States<'a> {
    fn push(&mut self, change: &'a Change, open_key: Option<&'a str>) {
        let alert = &change.alert;
        let armed = findable::armed(alert);
        self.ids.push(uuid(alert.id()));
        self.numbers.push(signed(alert.raised.number.0));
        self.statuses.push(status_word(StatusFilter::of(alert.status)));
        self.wake_at.push(armed.map(|armed| armed.wake_at.as_millis()));
        self.sending.push(armed.is_some_and(|armed| armed.sending));
        self.failing.push(findable::is_failing(alert));
        self.open_keys.push(open_key.map(str::as_bytes));
        self.records.push(&change.record);
        self.settled_at.push(findable::settled_at(alert).map(Timestamp::as_millis));
    }
}

impl<'a> Places<'a> {
    fn push(&mut self, number: i64, places: &'a [(Channel, Address)]) {
        for (channel, address) in places {
            self.channels.push(channel.name());
            self.addresses.push(address.reveal());
            self.numbers.push(number);
        }
    }
}

impl<'a> Lists<'a> {
    pub(super) fn of(changes: impl Iterator<Item = &'a Change>) -> Self {
        let mut lists = Self::default();
        for change in changes {
            lists.push(change);
        }
        lists
    }

    fn push(&mut self, change: &'a Change) {
        let raised = &change.alert.raised;
        let number = signed(raised.number.0);
        match &change.kind {
            Kind::Update { seen_version, key } => {
                self.changes.push(change, raised.dedup_key.as_deref());
                self.seen.push(signed(*seen_version));
                self.key_changes.push(match key {
                    KeyChange::None => 0,
                    KeyChange::Spend => 1,
                    KeyChange::Release => 2,
                    KeyChange::Regain => 3,
                });
            }
            Kind::Insert { raised: record, plan } => {
                self.fresh.push(change, findable::open_key(&change.alert));
                self.policies.push(raised.policy.as_deref());
                self.plans.push(&plan.hash.0);
                self.raised.push(record);
                if !self.way_hashes.contains(&plan.hash.0.as_slice()) {
                    self.way_hashes.push(&plan.hash.0);
                    self.way_records.push(&plan.record);
                }
            }
        }
        for (id, attempt) in &change.messages {
            self.message_ids.push(id.as_str());
            self.message_numbers.push(number);
            self.message_attempts.push(i64::from(*attempt));
        }
        self.reached.push(number, &change.reached);
        self.forgotten.push(number, &change.forgotten);
        self.told.push(&change.deliveries);
        if let Some(claim) = &change.claim {
            self.claims.keys.push(&claim.key.0);
            self.claims.fingerprints.push(&claim.fingerprint);
            self.claims.outcomes.push(outcome_word(claim.outcome));
            self.claims.numbers.push(number);
            self.claims.at.push(claim.at.as_millis());
            self.claims.records.push(&change.record);
        }
    }

    /// Puts them to the database. No row means that this callout may not write.
    pub(super) async fn put_to(
        &self,
        database: &Database,
        schema: i64,
        tag: Uuid,
        node: Uuid,
    ) -> Result<Option<Row>, Fault> {
        let Self { changes, fresh, reached, forgotten, claims, told, .. } = self;
        let values: Values<'_> = &[
            &schema,
            &tag,
            &node,
            &changes.ids,
            &self.seen,
            &changes.statuses,
            &changes.wake_at,
            &changes.sending,
            &changes.failing,
            &self.key_changes,
            &changes.open_keys,
            &changes.records,
            &fresh.ids,
            &fresh.numbers,
            &self.policies,
            &self.plans,
            &self.raised,
            &fresh.statuses,
            &fresh.wake_at,
            &fresh.sending,
            &fresh.failing,
            &fresh.open_keys,
            &fresh.records,
            &self.way_hashes,
            &self.way_records,
            &self.message_ids,
            &self.message_numbers,
            &self.message_attempts,
            &reached.channels,
            &reached.addresses,
            &reached.numbers,
            &forgotten.channels,
            &forgotten.addresses,
            &forgotten.numbers,
            &claims.keys,
            &claims.fingerprints,
            &claims.outcomes,
            &claims.numbers,
            &claims.at,
            &claims.records,
            &changes.settled_at,
            &fresh.settled_at,
            &told.endpoints,
            &told.alerts,
            &told.topics,
            &told.events,
            &told.at,
            &told.bodies,
        ];
        Ok(database.rows_once(statements::COMMIT, values).await?.into_iter().next())
    }
}
