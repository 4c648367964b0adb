//! The time: the one place that reads a clock or waits for one.

use std::time::Duration;

use async_trait::async_trait;

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
    async fn a_faster_clock_shortens_the_wait() {
        let clock = SteadyClock::faster(Timestamp::from_millis(0), 60);
        let real = SteadyClock::faster(Timestamp::from_millis(0), 1);
        clock.sleep_until(Timestamp::from_millis(60_000)).await;
        assert!(real.now() >= Timestamp::from_millis(1_000) && real.now() < Timestamp::from_millis(1_010));
    }
}
