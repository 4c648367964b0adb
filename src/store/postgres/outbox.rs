//! The callbacks that wait in the database. A node that takes one has it until its lease ends; whoever changes
//! the row first wins.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::callback::{EndpointId, NewDelivery, Subscriptions, Topic};
use crate::id::AlertId;
use crate::store::Error;
use crate::store::outbox::{Delivery, DeliveryPage, Outbox, Settled, Which};
use crate::timestamp::Timestamp;

use super::PostgresStore;
use super::asking::Values;
use super::fault::Fault;
use super::rows::{self, Nonsense, signed, unsigned};
use super::statements;

/// Deliveries as the lists that [`statements::COMMIT`] and [`statements::KEEP_DELIVERIES`] take.
#[derive(Default)]
pub(super) struct Told<'a> {
    pub(super) endpoints: Vec<i64>,
    pub(super) alerts: Vec<Uuid>,
    pub(super) topics: Vec<&'static str>,
    pub(super) events: Vec<&'a str>,
    pub(super) at: Vec<i64>,
    pub(super) bodies: Vec<&'a str>,
}

impl<'a> Told<'a> {
    pub(super) fn push(&mut self, deliveries: &'a [NewDelivery]) {
        for new in deliveries {
            self.endpoints.push(new.endpoint.to_bits().cast_signed());
            self.alerts.push(Uuid::from_u128(new.alert.map_or(0, AlertId::to_bits)));
            self.topics.push(new.topic.name());
            self.events.push(&new.event);
            self.at.push(new.at.as_millis());
            self.bodies.push(&new.body);
        }
    }
}

fn decode(row: &Row) -> Result<Delivery, Fault> {
    let nonsense = |nonsense| Fault::corrupt("a callback", nonsense);
    let place: Option<u64> = unsigned(rows::value(row, 0)?);
    let alert: Uuid = rows::value(row, 2)?;
    let topic: &str = rows::value(row, 3)?;
    let tries: i64 = rows::value(row, 7)?;
    Ok(Delivery {
        place: place.ok_or_else(|| nonsense(Nonsense::OutOfRange))?,
        endpoint: EndpointId::from_bits(rows::value::<i64>(row, 1)?.cast_unsigned()),
        alert: (!alert.is_nil()).then(|| AlertId::from_bits(alert.as_u128())),
        topic: Topic::named(topic).ok_or_else(|| nonsense(Nonsense::UnknownWord))?,
        event: rows::value::<&str>(row, 4)?.into(),
        at: Timestamp::from_millis(rows::value(row, 5)?),
        body: rows::value::<&str>(row, 6)?.into(),
        tries: u32::try_from(tries).unwrap_or(u32::MAX),
        due_at: Timestamp::from_millis(rows::value(row, 8)?),
        is_dead: rows::value(row, 9)?,
        failure: rows::value::<Option<&str>>(row, 10)?.map(Into::into),
    })
}

#[async_trait]
impl Outbox for PostgresStore {
    fn subscribe(&self, subscriptions: Arc<Subscriptions>) {
        self.subscriptions.store(subscriptions);
    }

    async fn keep(&self, deliveries: Vec<NewDelivery>) -> Result<(), Error> {
        let mut told = Told::default();
        told.push(&deliveries);
        self.may_write().await?;
        let Told { endpoints, alerts, topics, events, at, bodies } = &told;
        let values: Values<'_> = &[endpoints, alerts, topics, events, at, bodies];
        self.database.change(statements::KEEP_DELIVERIES, values).await?;
        Ok(())
    }

    async fn take(
        &self,
        endpoint: EndpointId,
        now: Timestamp,
        until: Timestamp,
        held: &BTreeSet<u64>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Error> {
        self.may_write().await?;
        let endpoint = endpoint.to_bits().cast_signed();
        let held: Vec<i64> = held.iter().map(|place| signed(*place)).collect();
        let values: Values<'_> = &[&endpoint, &now.as_millis(), &until.as_millis(), &held, &signed(limit)];
        let rows = self.database.rows(statements::TAKE_DELIVERIES, values).await?;
        let mut taken = rows.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
        taken.sort_by_key(|delivery| (delivery.due_at, delivery.place));
        Ok(taken)
    }

    async fn next_due(&self, endpoint: EndpointId, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let endpoint = endpoint.to_bits().cast_signed();
        match self.database.row(statements::NEXT_DELIVERY, &[&endpoint, &now.as_millis()]).await? {
            Some(row) => Ok(rows::value::<Option<i64>>(&row, 0)?.map(Timestamp::from_millis)),
            None => Ok(None),
        }
    }

    async fn settle(&self, delivery: &Delivery, settled: Settled) -> Result<(), Error> {
        let place = signed(delivery.place);
        let event: &str = &delivery.event;
        let tries = i64::from(delivery.tries.saturating_add(1));
        let change = async |is_dead: bool, due_at: Timestamp, failure: &str| {
            let due_at = due_at.as_millis();
            self.database
                .change(statements::PUT_DELIVERY_OFF, &[&place, &event, &tries, &is_dead, &due_at, &failure])
                .await
        };
        match settled {
            Settled::Delivered => self.database.change(statements::FORGET_DELIVERY, &[&place, &event]).await?,
            Settled::Later { due_at, failure } => change(false, due_at, &failure).await?,
            Settled::Dead { failure } => change(true, delivery.due_at, &failure).await?,
        };
        Ok(())
    }

    async fn deliveries(&self, page: DeliveryPage) -> Result<Vec<Delivery>, Error> {
        let before = page.before.map_or(i64::MAX, signed);
        let rows = self.database.rows(statements::DELIVERIES, &[&before, &page.is_dead, &signed(page.limit)]).await?;
        Ok(rows.iter().map(decode).collect::<Result<_, _>>()?)
    }

    async fn replay(&self, which: Which, now: Timestamp) -> Result<usize, Error> {
        self.may_write().await?;
        let place = match which {
            Which::All => None,
            Which::At(place) => Some(signed(place)),
        };
        let n_replayed = self.database.change(statements::REPLAY_DELIVERIES, &[&place, &now.as_millis()]).await?;
        Ok(usize::try_from(n_replayed).unwrap_or(usize::MAX))
    }

    async fn forget_deliveries(&self, before: Timestamp, max: usize, limit: usize) -> Result<usize, Error> {
        self.may_write().await?;
        let values: Values<'_> = &[&before.as_millis(), &signed(max), &signed(limit)];
        let n_gone = self.database.change(statements::FORGET_DELIVERIES, values).await?;
        Ok(usize::try_from(n_gone).unwrap_or(usize::MAX))
    }
}
