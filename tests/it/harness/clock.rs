//! A clock that a test moves by hand.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use callout::clock::Clock;
use callout::timestamp::Timestamp;
use tokio::sync::watch;

use crate::vonage_fixture::NOW;

/// Stands still until it is moved; whoever sleeps wakes exactly when it has been moved far enough.
pub(crate) struct HandClock {
    now: watch::Sender<Timestamp>,
    /// By how many milliseconds the wall clock was set back since.
    wall_behind: AtomicI64,
}

impl HandClock {
    pub(crate) fn new() -> Self {
        Self { now: watch::Sender::new(NOW), wall_behind: AtomicI64::new(0) }
    }

    /// Somebody sets the wall clock back; this one goes on.
    pub(crate) fn wall_set_back(&self, by: Duration) {
        self.wall_behind.store(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Somebody sets the wall clock ahead; this one goes on.
    pub(crate) fn wall_set_ahead(&self, by: Duration) {
        self.wall_behind.store(-i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Moves on to this moment, if it is not past already.
    pub(crate) fn reach(&self, moment: Timestamp) {
        self.now.send_modify(|now| *now = moment.max(*now));
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.now.send_modify(|now| *now = now.plus(duration));
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep_until(&self, moment: Timestamp) {
        let mut now = self.now.subscribe();
        // An error would mean that the clock is gone, and it is being used.
        let _reached = now.wait_for(|now| *now >= moment).await.is_ok();
    }

    fn of_wall(&self, moment: Timestamp) -> Timestamp {
        Timestamp::from_millis(moment.as_millis() + self.wall_behind.load(Ordering::Relaxed))
    }
}
