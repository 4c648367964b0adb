//! Plans in memory: each once, however many alerts take it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::escalation::Plan;
use crate::store::record::{self, StoredPlan};

/// The most plans at hand; beyond it all are forgotten and come back as they are used. Only lists of
/// users that are posted with each alert can be so many.
const PLANS_MAX: usize = 4_096;

/// The plans at hand, and their rows.
#[derive(Debug, Default)]
pub(super) struct Plans {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_row: HashMap<i64, Arc<Plan>>,
    rows: HashMap<Arc<Plan>, i64>,
    /// The same rows by where plans stand in memory: those of the configuration stand in one place, and to look
    /// through a plan takes longer than all else that is done with it. Each is held, so that no other plan comes
    /// to stand in its place.
    by_place: HashMap<usize, (Arc<Plan>, i64)>,
}

impl Known {
    fn row_of(&self, plan: &Arc<Plan>) -> Option<i64> {
        self.row_at(plan).or_else(|| self.rows.get(plan).copied())
    }

    fn row_at(&self, plan: &Arc<Plan>) -> Option<i64> {
        self.by_place.get(&place(plan)).map(|(_, row)| *row)
    }
}

fn place(plan: &Arc<Plan>) -> usize {
    Arc::as_ptr(plan).addr()
}

/// Where the plan of a new alert stands.
#[derive(Debug)]
pub(super) enum PlanRow {
    /// In this row.
    Known(i64),
    /// Perhaps nowhere yet.
    Unknown(StoredPlan),
}

impl Plans {
    /// Where this plan stands.
    pub(super) fn row_of(&self, plan: &Arc<Plan>) -> Result<PlanRow, record::Error> {
        if let Some(row) = self.known().row_of(plan) {
            return Ok(PlanRow::Known(row));
        }
        record::write_plan(plan).map(PlanRow::Unknown)
    }

    /// The plan in this row, if it is at hand.
    pub(super) fn get(&self, row: i64) -> Option<Arc<Plan>> {
        self.known().by_row.get(&row).cloned()
    }

    /// Keeps at hand what certainly stands in this row, and returns the one that all alerts share.
    pub(super) fn learn(&self, row: i64, plan: Arc<Plan>) -> Arc<Plan> {
        let mut known = self.known();
        if let Some(shared) = known.by_row.get(&row)
            && known.row_at(&plan) == Some(row)
        {
            return Arc::clone(shared);
        }
        if known.by_row.len() >= PLANS_MAX || known.by_place.len() >= PLANS_MAX {
            *known = Known::default();
        }
        known.by_place.insert(place(&plan), (Arc::clone(&plan), row));
        let shared = Arc::clone(known.by_row.entry(row).or_insert(plan));
        known.rows.insert(Arc::clone(&shared), row);
        shared
    }

    /// Forgets all of them, because a row that was read may have been taken back.
    pub(super) fn forget(&self) {
        *self.known() = Known::default();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::{Address, Channel};
    use crate::escalation::{Backend, Condition, Leg, Recipient};

    fn plan(user: &str) -> Arc<Plan> {
        let address = Address::parse(Channel::Sms, "447700900001").unwrap();
        let leg = Leg { channel: Channel::Sms, address, expiry_seconds: 60, condition: Condition::Read };
        let user = Recipient { name: user.into(), channels: vec![leg] };
        Arc::new(Plan::new(Backend::Messages, &[user], 0).unwrap())
    }

    #[test]
    fn equal_plans_are_one_in_memory() {
        let plans = Plans::default();
        let first = plans.learn(1, plan("Tony"));
        assert!(Arc::ptr_eq(&first, &plans.learn(1, plan("Tony"))));
        assert!(matches!(plans.row_of(&first), Ok(PlanRow::Known(1))));
        assert!(matches!(plans.row_of(&plan("Tony")), Ok(PlanRow::Known(1))));
        assert!(matches!(plans.row_of(&plan("Anna")), Ok(PlanRow::Unknown(_))));
    }

    #[test]
    fn beyond_the_limit_plans_are_forgotten_and_learnt_again() {
        let plans = Plans::default();
        for row in 1..=i64::try_from(PLANS_MAX).unwrap() + 1 {
            plans.learn(row, plan(&format!("user {row}")));
        }
        assert!(plans.get(1).is_none());
        assert!(plans.known().by_row.len() <= PLANS_MAX);
        plans.learn(1, plan("user 1"));
        assert!(plans.get(1).is_some());
    }
}
