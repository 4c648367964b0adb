//! How the engine does, for a person who looks: read off what it knows anyway, so that looking costs nothing.

use crate::timestamp::Timestamp;

use super::Engine;

/// How the engine does at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Whether alerts outlive the process.
    pub is_durable: bool,
    /// Whether it is coming to its end.
    pub is_stopping: bool,
    /// How many attempts wait for their turn to be sent.
    pub n_waiting: usize,
    /// How many deadlines this process watches.
    pub n_armed: usize,
    /// How many alerts' sends to Vonage fail while nothing is accepted.
    pub n_failing: usize,
    /// Since when nothing has got through to Vonage, if that is so.
    pub outage_since: Option<Timestamp>,
    /// When Vonage last accepted anything, by this process's knowledge.
    pub last_accepted_at: Option<Timestamp>,
}

impl Engine {
    /// How the engine does. It asks the store for nothing.
    pub fn vitals(&self) -> Vitals {
        let shared = &self.0;
        Vitals {
            is_durable: shared.store.is_durable(),
            is_stopping: shared.stop.is_cancelled(),
            n_waiting: shared.turns.n_waiting(),
            n_armed: shared.timers.n_armed(),
            n_failing: shared.outage.n_failing_at_vonage(),
            outage_since: shared.outage.vonage_out_since(),
            last_accepted_at: shared.outage.vonage_accepted_at(),
        }
    }
}
