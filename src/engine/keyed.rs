//! Alerts by other names than their ids: what tools call their problems, numbers, and short codes.

use std::sync::Arc;

use crate::escalation::{Alert, Event, Ignored};
use crate::id::{AlertId, AlertNumber, ShortCode};

use super::apply::{Applied, Request};
use super::{Engine, Error};

/// The most alerts of one dedup key that are looked at: one is open, and the others are exhausted.
pub const ALERTS_OF_A_KEY_MAX: usize = 100;

impl Engine {
    /// The alerts with this dedup key that are not resolved, newest first. One that cannot be understood is logged and
    /// left out.
    pub async fn alerts_of(&self, dedup_key: &str) -> Result<Vec<Arc<Alert>>, Error> {
        let mut alerts = Vec::new();
        for id in self.0.store.find_key(dedup_key, ALERTS_OF_A_KEY_MAX).await? {
            alerts.extend(self.legible(id).await?);
        }
        Ok(alerts)
    }

    /// The alert with this number.
    pub async fn numbered(&self, number: AlertNumber) -> Result<Arc<Alert>, Error> {
        let id = self.0.store.find_number(number).await?.ok_or(Error::NoSuchAlert)?;
        self.alert(id).await
    }

    /// The alert that has this short code, if any has.
    pub async fn coded(&self, code: ShortCode) -> Result<Option<AlertId>, Error> {
        let newest = self.0.store.newest_number().await?;
        Ok(self.0.store.find_number(code.number(newest)).await?)
    }

    /// As [`Engine::resolve`], and the request is remembered with it.
    pub async fn resolve_for(&self, id: AlertId, by: &str, request: &Request) -> Result<Arc<Alert>, Error> {
        let event = Event::Resolve { by: by.into() };
        match self.apply_to_the_end(id, event, Some(request.clone())).await? {
            // The key was used for another alert; this one must end all the same.
            Applied::Replayed(_) => self.resolve(id, by).await,
            applied @ (Applied::Moved(_) | Applied::Stayed(..)) => applied.or_harmless(Ignored::AlreadyResolved),
        }
    }

    /// The alert as it stood when this request changed it, if it did.
    pub async fn changed_by(&self, request: &Request) -> Result<Option<Arc<Alert>>, Error> {
        Ok(self.0.store.claimed(&request.key).await?.map(|replay| replay.alert))
    }
}
