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

    /// How its moments are told from what outlives the process; none where nothing does.
    fn timeline(&self) -> Option<Timeline> {
        None
    }

    /// A moment that somebody outside wrote down by the wall clock, as this clock has it. The two differ once the
    /// wall clock was stepped.
    fn of_wall(&self, moment: Timestamp) -> Timestamp {
        moment
    }
}

/// How moments are told from the time that a machine has been running, which goes on evenly while its wall
/// clock is stepped and while no process looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Which run of the machine, from one boot to the next.
    pub run: Box<str>,
    /// The moment at which that run began.
    pub began_at: Timestamp,
}

impl Timeline {
    /// The timeline on which a new process goes on: the one that was kept, as long as something waits for a moment
    /// on it and the machine's run is still the same; otherwise its own, by the wall clock as it stands now.
    #[must_use]
    pub fn or_kept(self, kept: Option<Self>, is_awaited: bool) -> Self {
        kept.filter(|kept| is_awaited && kept.run == self.run).unwrap_or(self)
    }

    /// How far a clock on this timeline is ahead of one on another, in milliseconds.
    pub fn ahead_of(&self, other: &Self) -> i64 {
        self.began_at.as_millis().saturating_sub(other.began_at.as_millis())
    }
}

/// How long a sleep may go on without a look at the clock: after the machine itself has slept, what became due
/// meanwhile is at most so late.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The wall clock as it stood when the process started, carried on evenly.
///
/// A deadline is a moment of the wall clock, because it must survive a restart and be understood by
/// another node. Within a process it is measured on a clock that nobody steps, so that stepping the wall
/// clock neither fires a deadline early nor holds one back.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    began_at: Timestamp,
    began: Began,
    speed: u32,
}

/// What carries it on, as it stood at the start.
#[derive(Clone, Copy, Debug)]
enum Began {
    /// How long the machine had been running, its sleep included.
    Running(Duration),
    /// Tokio's time, which a test can pause.
    Tokio(tokio::time::Instant),
}

impl Began {
    fn elapsed(self) -> Duration {
        match self {
            Self::Running(had_run) => has_run().saturating_sub(had_run),
            Self::Tokio(instant) => instant.elapsed(),
        }
    }
}

impl SteadyClock {
    /// Real time, beginning with the system's wall clock and carried on by the time that the machine has been
    /// running. That includes the time in which it slept: nobody's time stands still meanwhile.
    pub fn system() -> Self {
        Self { began: Began::Running(has_run()), began_at: system_now(), speed: 1 }
    }

    /// A clock that shows `began_at` now and runs `speed` times as fast as real time, for the demonstration and
    /// the sandbox. Under tokio's paused time it moves exactly with tokio's timers.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn faster(began_at: Timestamp, speed: u32) -> Self {
        Self { began_at, began: Began::Tokio(tokio::time::Instant::now()), speed: speed.max(1) }
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
            let mut real = moment.since(now) / self.speed;
            if matches!(self.began, Began::Running(_)) {
                // Tokio's timers stand still while the machine sleeps.
                real = real.min(LOOK_EVERY);
            }
            tokio::time::sleep(real.max(Duration::from_micros(100))).await;
        }
    }

    fn timeline(&self) -> Option<Timeline> {
        match self.began {
            Began::Running(had_run) => Some(Timeline { run: this_run()?, began_at: self.began_at.minus(had_run) }),
            Began::Tokio(_) => None,
        }
    }

    fn of_wall(&self, moment: Timestamp) -> Timestamp {
        match self.began {
            Began::Running(_) => ahead_by(moment, self.now().as_millis().saturating_sub(system_now().as_millis())),
            Began::Tokio(_) => moment,
        }
    }
}

/// A clock that several processes agree on, at the same time or one after the other: this process's own, set ahead
/// or back by what the store says. It never goes back: set back, it stands still until the time has come again.
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
        let shown = ahead_by(self.base.now(), self.offset()).as_millis();
        Timestamp::from_millis(self.newest.fetch_max(shown, Ordering::Relaxed).max(shown))
    }

    fn of_wall(&self, moment: Timestamp) -> Timestamp {
        ahead_by(self.base.of_wall(moment), self.offset())
    }

    async fn sleep_until(&self, moment: Timestamp) {
        let mut settings = self.offset.subscribe();
        loop {
            let offset = *settings.borrow_and_update();
            let by_base = ahead_by(moment, offset.saturating_neg());
            tokio::select! {
                biased;
                _set = settings.changed() => {}
                () = self.base.sleep_until(by_base) => return,
            }
        }
    }
}

const fn ahead_by(moment: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(moment.as_millis().saturating_add(millis))
}

/// How long the machine has been running, its sleep included.
fn has_run() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default()
}

/// Which run of the machine this is, where the system says so: Linux gives each boot an id (`random(4)`), and the time
/// that it has been running is counted apart in each time namespace (`time_namespaces(7)`).
fn this_run() -> Option<Box<str>> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    Some(format!("{} {}", boot.trim(), namespace.display()).into())
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
        assert_eq!(clock.of_wall(Timestamp::from_millis(5_000)), Timestamp::from_millis(25_000));
        clock.set_offset(0);
        assert_eq!(clock.now(), now, "it does not go back");
    }

    #[tokio::test]
    async fn the_systems_clock_sleeps_long_enough_and_knows_the_machines_run() {
        let clock = SteadyClock::system();
        let moment = clock.now().plus(Duration::from_millis(20));
        clock.sleep_until(moment).await;
        assert!(clock.now() >= moment);
        let later = SteadyClock::system();
        if let (Some(one), Some(other)) = (clock.timeline(), later.timeline()) {
            assert_eq!(one.run, other.run, "one run of the machine");
        }
        assert!(cfg!(not(target_os = "linux")) || clock.timeline().is_some());
    }

    #[test]
    fn the_kept_timeline_goes_on_only_while_somebody_waits_in_the_same_run() {
        let of = |run: &str, began_at| Timeline { run: run.into(), began_at: Timestamp::from_millis(began_at) };
        let own = || of("this", 5_000);
        assert_eq!(own().or_kept(Some(of("this", 1_000)), true), of("this", 1_000));
        assert_eq!(own().or_kept(Some(of("this", 1_000)), false), own());
        assert_eq!(own().or_kept(Some(of("other", 1_000)), true), own());
        assert_eq!(own().or_kept(None, true), own());
        assert_eq!(of("this", 1_000).ahead_of(&own()), -4_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_faster_clock_shortens_the_wait() {
        let clock = SteadyClock::faster(Timestamp::from_millis(0), 60);
        let real = SteadyClock::faster(Timestamp::from_millis(0), 1);
        clock.sleep_until(Timestamp::from_millis(60_000)).await;
        assert!(real.now() >= Timestamp::from_millis(1_000) && real.now() < Timestamp::from_millis(1_010));
    }
}
