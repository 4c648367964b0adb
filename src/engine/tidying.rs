//! Tidying: what a lost process left lying is taken up, and what has served its time is forgotten.
//!
//! None of it is ever urgent, so it goes in small pieces with pauses between them, and old alerts are
//! forgotten only while nobody waits for anything.

use std::time::Duration;

use crate::timestamp::Timestamp;

use super::{Engine, Error, IDEMPOTENCY_KEPT, PARKED_KEPT};
use crate::chain::Chain;

/// How often it is tidied up; for the first time right after the start.
const TIDY_EVERY: Duration = Duration::from_mins(1);
/// How much is tidied up at a time, so that nothing waits long for it.
const TIDY_PAGE: usize = 500;
/// How many alerts are forgotten in one transaction of the store.
const FORGOTTEN_AT_ONCE: usize = 200;
/// How long the store is left alone between two such transactions.
const FORGETTING_PAUSE: Duration = Duration::from_millis(20);
/// After how many rounds of tidying it is looked for plans that nobody has any more.
const ROUNDS_BETWEEN_PLANS: u32 = 60;

impl Engine {
    pub(super) async fn tidy_up(&self) {
        let mut round = 0_u32;
        let mut has_forgotten = false;
        loop {
            match self.tidy().await {
                Ok(n_forgotten) => has_forgotten |= n_forgotten > 0,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "what was left lying could not be tidied up; trying again in a minute");
                }
            }
            if has_forgotten && round.is_multiple_of(ROUNDS_BETWEEN_PLANS) {
                has_forgotten = false;
                if let Err(error) = self.0.store.forget_plans().await {
                    tracing::warn!(error = %Chain(&error), "plans that no alert has any more could not be forgotten; trying again in an hour");
                }
            }
            round = round.wrapping_add(1);
            self.0.clock.sleep_until(self.now().plus(TIDY_EVERY)).await;
        }
    }

    /// Applies the webhooks that a lost process or a failing store left parked, and forgets what has
    /// served its time. Returns how many alerts were forgotten.
    async fn tidy(&self) -> Result<usize, Error> {
        for known in self.0.store.parked_and_known(TIDY_PAGE).await? {
            // What the disk damaged must not keep everything else from being tidied up.
            let _are_applied = self.apply_parked_or_leave(&known).await?;
        }
        let keys_before = self.moment_before(IDEMPOTENCY_KEPT);
        let parked_before = self.moment_before(PARKED_KEPT);
        while self.0.store.tidy(keys_before, parked_before, TIDY_PAGE).await? >= TIDY_PAGE {}
        self.forget_old_alerts().await
    }

    async fn forget_old_alerts(&self) -> Result<usize, Error> {
        let Some(retention) = self.0.settings.load().retention else { return Ok(0) };
        // No idempotency key may outlive the alert that it belongs to.
        let settled_before = self.moment_before(retention.max(IDEMPOTENCY_KEPT));
        let mut n_forgotten = 0;
        while !self.is_behind() {
            let n_now = self.0.store.forget(settled_before, FORGOTTEN_AT_ONCE).await?;
            self.0.metrics.forgotten(n_now);
            n_forgotten += n_now;
            if n_now < FORGOTTEN_AT_ONCE {
                break;
            }
            self.0.clock.sleep_until(self.now().plus(FORGETTING_PAUSE)).await;
        }
        if n_forgotten > 0 {
            tracing::info!(n_forgotten, "forgot alerts that were settled longer ago than they are kept");
        }
        Ok(n_forgotten)
    }

    /// Whether somebody waits for something that could be done now.
    fn is_behind(&self) -> bool {
        self.0.waking.available_permits() == 0 || self.0.timers.is_overdue(self.now())
    }

    pub(super) fn moment_before(&self, span: Duration) -> Timestamp {
        let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.now().as_millis().saturating_sub(span))
    }
}
