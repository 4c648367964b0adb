//! The time: the one place that reads a clock or waits for one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::timestamp::Timestamp;

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The moment now. It never goes back within one process.
    fn now(&self) -> Timestamp;

    /// Returns at `moment` or later, never earlier.
    async fn sleep_until(&self, moment: Timestamp);
}

/// The wall clock as it stood when the process started, carried on by the monotonic one.
///
/// A deadline is a moment of the wall clock, because it must survive a restart and be understood by
/// another node. Within a process it is measured on the monotonic clock, so that stepping the wall
/// clock neither fires a deadline early nor holds one back.
///
/// It can run faster than real time, which the demonstration and the sandbox use; under tokio's
/// paused time it moves exactly with tokio's timers.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    began_at: Timestamp,
    began: tokio::time::Instant,
    speed: u32,
}

impl SteadyClock {
    /// Real time, beginning with the system's wall clock.
    pub fn system() -> Self {
        Self::faster(system_now(), 1)
    }

    /// A clock that shows `began_at` now and runs `speed` times as fast as real time.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn faster(began_at: Timestamp, speed: u32) -> Self {
        Self { began_at, began: tokio::time::Instant::now(), speed: speed.max(1) }
    }

    /// How many times as fast as real time it runs.
    pub const fn speed(&self) -> u32 {
        self.speed
    }
}

#[async_trait]
impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.began_at.plus(self.began.elapsed().saturating_mul(self.speed))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    async fn sleep_until(&self, moment: Timestamp) {
        // Rounding may end a sleep a moment early; the loop makes "never earlier" exact.
        loop {
            let now = self.now();
            if now >= moment {
                return;
            }
            let real = moment.since(now) / self.speed;
            tokio::time::sleep(real.max(Duration::from_micros(100))).await;
        }
    }
}

/// A clock that several processes agree on: this process's own, set ahead or back by what somebody else
/// measures. It never goes back: set back, it stands still until the time has come again.
pub struct SharedClock {
    base: Arc<dyn Clock>,
    /// In milliseconds.
    offset: watch::Sender<i64>,
    /// The latest moment that was shown, in milliseconds since 1970.
    newest: AtomicI64,
}

impl fmt::Debug for SharedClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SharedClock").field("offset", &self.offset()).finish_non_exhaustive()
    }
}

impl SharedClock {
    /// A clock that shows what `base` shows, until it is set.
    pub fn over(base: Arc<dyn Clock>) -> Self {
        Self { base, offset: watch::Sender::new(0), newest: AtomicI64::new(i64::MIN) }
    }

    /// How far it is ahead of this process's own clock, in milliseconds.
    pub fn offset(&self) -> i64 {
        *self.offset.borrow()
    }

    /// Sets how far it is ahead of this process's own clock, in milliseconds. Whoever waits for a moment
    /// waits for it by the new setting.
    pub fn set_offset(&self, offset: i64) {
        self.offset.send_replace(offset);
    }
}

#[async_trait]
impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        let shown = self.base.now().as_millis().saturating_add(self.offset());
        Timestamp::from_millis(self.newest.fetch_max(shown, Ordering::Relaxed).max(shown))
    }

    async fn sleep_until(&self, moment: Timestamp) {
        let mut settings = self.offset.subscribe();
        loop {
            let offset = *settings.borrow_and_update();
            let by_base = Timestamp::from_millis(moment.as_millis().saturating_sub(offset));
            tokio::select! {
                biased;
                _set = settings.changed() => {}
                () = self.base.sleep_until(by_base) => return,
            }
        }
    }
}

/// The system's wall clock, for what must be true of the world outside: tokens and first moments.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn system_now() -> Timestamp {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH.plus(since_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sleep_ends_at_its_moment_and_not_before() {
        let clock = SteadyClock::faster(Timestamp::from_millis(1_000), 1);
        let moment = Timestamp::from_millis(1_000).plus(Duration::from_hours(24 * 365));
        clock.sleep_until(moment).await;
        assert!(clock.now() >= moment);
        assert!(clock.now().since(moment) < Duration::from_millis(5), "late at {}", clock.now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_moves_what_waits_for_it() {
        let base: Arc<dyn Clock> = Arc::new(SteadyClock::faster(Timestamp::from_millis(0), 1));
        let clock = SharedClock::over(Arc::clone(&base));
        clock.set_offset(-1_000);
        let moment = Timestamp::from_millis(60_000);
        let set = async {
            base.sleep_until(Timestamp::from_millis(10_000)).await;
            clock.set_offset(20_000);
        };
        tokio::join!(clock.sleep_until(moment), set);
        let (now, real) = (clock.now(), base.now().as_millis());
        assert!(now >= moment && (40_000..40_010).contains(&real), "{now} at {real}");
        clock.set_offset(0);
        assert_eq!(clock.now(), now, "it does not go back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_faster_clock_shortens_the_wait() {
        let clock = SteadyClock::faster(Timestamp::from_millis(0), 60);
        let real = SteadyClock::faster(Timestamp::from_millis(0), 1);
        clock.sleep_until(Timestamp::from_millis(60_000)).await;
        assert!(real.now() >= Timestamp::from_millis(1_000) && real.now() < Timestamp::from_millis(1_010));
    }
}
