//! Plans in memory: each once, however many alerts take it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::escalation::Plan;
use crate::store::record::{self, StoredPlan};

/// The most plans at hand; beyond it all are forgotten and come back as they are used. Only lists of
/// users that are posted with each alert can be so many.
const PLANS_MAX: usize = 4_096;

/// The plans at hand, by their hashes, and their records.
#[derive(Debug, Default)]
pub(super) struct Plans {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_hash: HashMap<[u8; 32], Arc<Plan>>,
    written: HashMap<Arc<Plan>, Arc<StoredPlan>>,
}

impl Plans {
    /// The record of a plan.
    pub(super) fn written(&self, plan: &Arc<Plan>) -> Result<Arc<StoredPlan>, record::Error> {
        if let Some(written) = self.known().written.get(plan) {
            return Ok(Arc::clone(written));
        }
        let written = Arc::new(record::write_plan(plan)?);
        let mut known = self.known();
        known.make_room();
        known.written.insert(Arc::clone(plan), Arc::clone(&written));
        Ok(written)
    }

    /// The plan with this hash, if it is at hand.
    pub(super) fn get(&self, hash: &[u8; 32]) -> Option<Arc<Plan>> {
        self.known().by_hash.get(hash).cloned()
    }

    /// Keeps at hand what was read, and returns the one that all alerts share.
    pub(super) fn learn(&self, hash: [u8; 32], plan: Plan) -> Arc<Plan> {
        let mut known = self.known();
        known.make_room();
        Arc::clone(known.by_hash.entry(hash).or_insert_with(|| Arc::new(plan)))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn make_room(&mut self) {
        if self.by_hash.len().max(self.written.len()) >= PLANS_MAX {
            *self = Self::default();
        }
    }
}
