//! A clock that a test moves by hand.

use std::time::Duration;

use async_trait::async_trait;
use callout::clock::Clock;
use callout::timestamp::Timestamp;
use tokio::sync::watch;

use crate::vonage_fixture::NOW;

/// Stands still until it is moved; whoever sleeps wakes exactly when it has been moved far enough.
pub(crate) struct HandClock(watch::Sender<Timestamp>);

impl HandClock {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(NOW))
    }

    /// Moves on to this moment, if it is not past already.
    pub(crate) fn reach(&self, moment: Timestamp) {
        self.0.send_modify(|now| *now = moment.max(*now));
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.0.send_modify(|now| *now = now.plus(duration));
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    async fn sleep_until(&self, moment: Timestamp) {
        let mut now = self.0.subscribe();
        // An error would mean that the clock is gone, and it is being used.
        let _reached = now.wait_for(|now| *now >= moment).await.is_ok();
    }
}
