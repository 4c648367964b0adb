//! How the engine does, for a person who looks: read off what it knows anyway, so that looking costs nothing.

use std::time::Duration;

use crate::timestamp::Timestamp;

use super::{Engine, Error};

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
    /// How many alerts' sends fail while nothing is accepted, whichever way they go.
    pub n_failing: usize,
    /// How many of these go to Vonage.
    pub n_failing_at_vonage: usize,
    /// Since when nothing has got through to Vonage, if that is so.
    pub outage_since: Option<Timestamp>,
    /// When Vonage last accepted anything, by this process's knowledge.
    pub last_accepted_at: Option<Timestamp>,
    /// How many alerts are left alone, because working on them fails again and again.
    pub n_quarantined: usize,
    /// How long ago the open alerts passed an audit; none has since the start if it is not set.
    pub audited_ago: Option<Duration>,
    /// Whether an audit should have passed since.
    pub is_audit_stale: bool,
    /// How much room the disk has.
    pub room: Room,
}

/// How much room the disk has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// Enough, or nobody knows better.
    #[default]
    Enough,
    /// Little.
    Low,
    /// None: new alerts are refused.
    Full,
}

impl Engine {
    /// How the engine does. The store is asked for nothing.
    pub fn vitals(&self) -> Vitals {
        let shared = &self.0;
        Vitals {
            is_durable: shared.store.is_durable(),
            is_stopping: shared.stop.is_cancelled(),
            n_waiting: shared.turns.n_waiting(),
            n_armed: shared.timers.n_armed(),
            n_failing: shared.outage.n_failing(),
            n_failing_at_vonage: shared.outage.n_failing_at_vonage(),
            outage_since: shared.outage.vonage_out_since(),
            last_accepted_at: shared.outage.vonage_accepted_at(),
            n_quarantined: shared.watch.n_quarantined(),
            audited_ago: self.audited_ago(),
            is_audit_stale: self.is_audit_stale(),
            room: self.room(),
        }
    }

    /// How the engine does, once the store has proved that it keeps something; an error where it does not.
    pub async fn readiness(&self) -> Result<Vitals, Error> {
        if !self.0.stop.is_cancelled() {
            self.prove_store().await?;
        }
        Ok(self.vitals())
    }
}
