//! Telling the outside that callout goes on: systemd's watchdog and a heartbeat URL.
//!
//! Both hear from callout only while everything goes on ([`Engine::advancing`]); silence is the alarm, so
//! that a process which is alive and does nothing is noticed like one that is dead.

use std::convert::Infallible;
use std::time::Duration;

use async_trait::async_trait;
use sd_notify::NotifyState;

use crate::chain::Chain;
use crate::clock::Clock;
use crate::engine::{Engine, Stuck};
use crate::heartbeat::Pulse;

/// How often it is looked whether everything goes on.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often it is said in the log that something does not.
const TELL_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// A heartbeat and how often it beats.
pub(super) struct Beating<'a> {
    pub(super) pulse: &'a dyn Pulse,
    pub(super) every: Duration,
}

/// What is watched.
#[async_trait]
pub(super) trait Watched: Sync {
    /// Whether everything goes on.
    async fn look(&self) -> Result<(), Stuck>;

    /// Whether the latest audit found nothing wrong.
    fn passes_audit(&self) -> bool;
}

#[async_trait]
impl Watched for Engine {
    async fn look(&self) -> Result<(), Stuck> {
        self.advancing().await
    }

    fn passes_audit(&self) -> bool {
        self.passes_audit()
    }
}

/// Keeps the vigil for ever.
pub(super) async fn keep(watched: &dyn Watched, clock: &dyn Clock, beating: Option<Beating<'_>>) -> Infallible {
    let mut beat_at = clock.now();
    let mut tell_at = clock.now();
    loop {
        // The first look is not at the start itself, when nothing has had the time to advance.
        clock.sleep_until(clock.now().plus(LOOK_EVERY)).await;
        match watched.look().await {
            Ok(()) => {
                notify(NotifyState::Watchdog);
                if let Some(beating) = &beating
                    && beat_at <= clock.now()
                    && watched.passes_audit()
                {
                    beat_at = clock.now().plus(beating.every);
                    if let Err(error) = beating.pulse.beat().await {
                        tracing::warn!(%error, "the heartbeat URL could not be called; whoever watches it will think that callout is dead");
                    }
                }
            }
            Err(stuck) => {
                if tell_at <= clock.now() {
                    tell_at = clock.now().plus(TELL_AGAIN_AFTER);
                    tracing::error!(error = %Chain(&stuck), "callout does not go on: heartbeat and watchdog hear nothing until it does");
                }
            }
        }
    }
}

/// Tells systemd something, where systemd has started this process.
pub(super) fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::clock::SteadyClock;
    use crate::heartbeat::Missed;
    use crate::timestamp::Timestamp;

    /// Goes on, or does not, as the story wants it, and counts the looks.
    #[derive(Default)]
    struct Work {
        stands_still: AtomicBool,
        fails_audit: AtomicBool,
        n_looks: AtomicUsize,
    }

    #[async_trait]
    impl Watched for Work {
        async fn look(&self) -> Result<(), Stuck> {
            self.n_looks.fetch_add(1, Ordering::Relaxed);
            if self.stands_still.load(Ordering::Relaxed) { Err(Stuck::Audit) } else { Ok(()) }
        }

        fn passes_audit(&self) -> bool {
            !self.fails_audit.load(Ordering::Relaxed)
        }
    }

    /// Writes down when it beat; the first call is lost on the way.
    struct Beats {
        at: Mutex<Vec<Timestamp>>,
        clock: SteadyClock,
    }

    #[async_trait]
    impl Pulse for Beats {
        async fn beat(&self) -> Result<(), Missed> {
            let mut at = self.at.lock().unwrap();
            at.push(self.clock.now());
            if at.len() == 1 { Err(Missed::Refused(503)) } else { Ok(()) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_heartbeat_stops_while_the_audit_fails_and_goes_on_when_it_passes() {
        let began = Timestamp::from_millis(1_772_366_400_000);
        let clock = SteadyClock::faster(began, 1);
        let (work, beats) = (Work::default(), Beats { at: Mutex::default(), clock });
        let every = Duration::from_mins(1);
        let story = async {
            clock.sleep_until(began.plus(Duration::from_secs(130))).await;
            work.stands_still.store(true, Ordering::Relaxed);
            clock.sleep_until(began.plus(Duration::from_secs(602))).await;
            work.stands_still.store(false, Ordering::Relaxed);
            clock.sleep_until(began.plus(Duration::from_secs(632))).await;
            work.fails_audit.store(true, Ordering::Relaxed);
            clock.sleep_until(began.plus(Duration::from_secs(702))).await;
            work.fails_audit.store(false, Ordering::Relaxed);
            clock.sleep_until(began.plus(Duration::from_secs(712))).await;
        };
        tokio::select! {
            never = keep(&work, &clock, Some(Beating { pulse: &beats, every })) => match never {},
            () = story => {}
        }
        let after: Vec<u64> = beats.at.lock().unwrap().iter().map(|at| at.since(began).as_secs()).collect();
        assert_eq!(after, [5, 65, 125, 605, 705], "a call that is lost changes nothing, and nothing is made up for");
        assert_eq!(work.n_looks.load(Ordering::Relaxed), 142, "every five seconds");
    }
}
