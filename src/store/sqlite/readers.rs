//! The connections that only read.
//!
//! A read may wait for the disk, so it runs on a thread that may wait. There are few connections, and
//! whoever finds them all busy waits for one.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::store::Error;

use super::fault::{Fault, Reach, Refusal};
use super::writer::Shared;

/// How many reads run at a time.
pub(super) const N_READERS: usize = 3;

type Idle = Arc<Mutex<Vec<Connection>>>;

/// The reading connections.
#[derive(Debug)]
pub(super) struct Readers {
    idle: Idle,
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>, shared: Arc<Shared>) -> Self {
        let places = Arc::new(Semaphore::new(connections.len()));
        Self { idle: Arc::new(Mutex::new(connections)), places, shared }
    }

    /// Reads something.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection, &Shared) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.shared.check()?;
        let place = match Arc::clone(&self.places).acquire_owned().await {
            Ok(place) => place,
            Err(_closed) => return Err(Refusal::Closed.into()),
        };
        let idle = Arc::clone(&self.idle);
        let shared = Arc::clone(&self.shared);
        let answer = tokio::task::spawn_blocking(move || {
            let lent = Lent::take(idle);
            let Some(connection) = lent.as_ref().and_then(|lent| lent.connection.as_ref()) else {
                return Err(Refusal::Closed.into());
            };
            let answer = question(connection, &shared);
            // Before the place, so that whoever is let in finds it.
            drop(lent);
            drop(place);
            if let Err(fault) = &answer
                && fault.reach() == Reach::Store
            {
                shared.fail(Refusal::DiskFailed, &"the database could not be read");
            }
            answer.map_err(Error::from)
        });
        match answer.await {
            Ok(answer) => answer,
            // The runtime is ending, or the question panicked.
            Err(_not_run) => Err(Refusal::Closed.into()),
        }
    }

    /// Waits until nobody reads, and closes the connections.
    pub(super) async fn close(&self) {
        let all = u32::try_from(N_READERS).unwrap_or(u32::MAX);
        let everybody_out = self.places.acquire_many(all).await;
        self.places.close();
        drop(everybody_out);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A connection that goes back when the question is answered, or has panicked.
struct Lent {
    connection: Option<Connection>,
    idle: Idle,
}

impl Lent {
    fn take(idle: Idle) -> Option<Self> {
        let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Self { connection: Some(connection), idle })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.connection.take());
    }
}
