//! Telling the outside that callout goes on: systemd's watchdog and a heartbeat URL.
//!
//! Both hear from callout only while everything goes on ([`Engine::advancing`]); silence is the alarm, so
//! that a process which is alive and does nothing is noticed like one that is dead.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::chain::Chain;
use crate::clock::Clock;
use crate::engine::Engine;
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

/// Keeps the vigil for ever.
pub(super) async fn keep(engine: &Engine, clock: &dyn Clock, beating: Option<Beating<'_>>) -> Infallible {
    let mut beat_at = clock.now();
    let mut tell_at = clock.now();
    loop {
        // The first look is not at the start itself, when nothing has had the time to advance.
        clock.sleep_until(clock.now().plus(LOOK_EVERY)).await;
        match engine.advancing().await {
            Ok(()) => {
                notify(NotifyState::Watchdog);
                if let Some(beating) = &beating
                    && beat_at <= clock.now()
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
