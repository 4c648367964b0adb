//! The database's clock, as the moment that all nodes agree on.
//!
//! A deadline is set by one node and may be fired by another. If each trusted its own clock, a node that is
//! ahead would fire early what the others set. So each node measures again and again how far its clock is
//! from the database's, and carries on by its own monotonic clock in between and while the database cannot
//! be reached.
//!
//! When the database's clock itself jumps (somebody sets it, or another server takes over), the nodes notice,
//! because none of their monotonic clocks did; the first one writes down by how much, and all go on as if
//! nothing had happened: no deadline comes early and none is held back.
//!
//! A node whose machine stood still, as a virtual machine does that its host pauses, sees the same and is wrong. So
//! whoever sees the database's clock jump ahead first asks how the others are: where one of them has been there for a
//! while and goes by the database's clock still, it was not that clock that jumped, and the node follows.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::clock::SharedClock;
use crate::timestamp::Timestamp;

use super::asking::Database;
use super::fault::{Fault, Refusal};
use super::{asking, rows, statements};

/// How often the database's clock is looked at.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// A look that took longer says too little.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// A difference from one look to the next, beyond what the looks themselves leave open, that is a jump of the
/// database's clock. What is less is followed.
const JUMP_MIN: Duration = Duration::from_millis(100);
/// Clocks that merely run unevenly differ by less than this part of the time between two looks.
const UNEVEN_MAX: u32 = 1_000;
/// Differences that may come from the look itself are left alone.
const NOISE_MAX: i64 = 5;
/// How often it is looked at before the first deadline is judged; the quickest look counts.
const FIRST_LOOKS: usize = 3;
/// How often a jump is looked at again while others write it down too.
const AGREE_TRIES_MAX: usize = 5;

/// From how far on a jump ahead may be the node's own standstill. Less costs less than finding out.
const STANDSTILL_MIN: Duration = Duration::from_secs(2);
/// How often another node must have said that it is there to be a witness: one that has just started goes by the
/// database's clock whether that jumped or not.
const WITNESS_MEETS_MIN: i64 = 5;

/// What a look at the database's clock found.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// How far the database is ahead of this process, in milliseconds.
    ahead: i64,
    /// By how much all nodes are told to correct it, in milliseconds.
    shift: i64,
    /// How long the look took.
    took: Duration,
    /// When it was taken, by this process's own clock.
    at: Timestamp,
}

impl Look {
    const fn offset(self) -> i64 {
        self.ahead.saturating_add(self.shift)
    }

    /// How wrong this may be by a later moment: the database may have read its clock at any time while it was asked, and
    /// the clocks have run apart since.
    fn unsure_by(&self, moment: Timestamp) -> Duration {
        self.took / 2 + moment.since(self.at) / UNEVEN_MAX
    }

    /// How far the database's clock has jumped since an earlier look, in milliseconds, if it has.
    fn jump_since(&self, earlier: &Self) -> Option<i64> {
        let jump = self.ahead.saturating_sub(earlier.ahead);
        let unsure = self.unsure_by(self.at) + earlier.unsure_by(self.at);
        (u128::from(jump.unsigned_abs()) >= (JUMP_MIN + unsure).as_millis()).then_some(jump)
    }

    /// Whether this says more than the look that the clock was set by: it is the surer one, or both cannot be right.
    fn outdoes(&self, trusted: &Self) -> bool {
        let (own, other) = (self.unsure_by(self.at), trusted.unsure_by(self.at));
        let apart = self.offset().abs_diff(trusted.offset());
        own <= other || u128::from(apart) > (own + other).as_millis()
    }
}

async fn look(database: &Database) -> Result<Look, Fault> {
    let base = database.clock();
    let before = base.now();
    let row = database.rows_once(statements::TIME, &[]).await?.into_iter().next();
    let took = base.now().since(before);
    let Some(row) = row else { return Err(Refusal::Silent.into()) };
    let halfway = before.plus(took / 2);
    let database_says: i64 = rows::value(&row, 0)?;
    Ok(Look {
        ahead: database_says.saturating_sub(halfway.as_millis()),
        shift: rows::value(&row, 1)?,
        took,
        at: before,
    })
}

/// Sets the clock for the first time. What is returned keeps it right.
pub(super) async fn begin(
    database: Arc<Database>,
    clock: Arc<SharedClock>,
    node: Uuid,
) -> Result<impl Future<Output = ()> + Send + 'static, Fault> {
    let mut best = look(&database).await?;
    for _ in 1..FIRST_LOOKS {
        let next = look(&database).await?;
        if next.took < best.took {
            best = next;
        }
    }
    clock.set_offset(best.offset());
    Ok(keep_right(database, clock, node, best))
}

async fn keep_right(database: Arc<Database>, clock: Arc<SharedClock>, node: Uuid, first: Look) {
    let (mut last, mut trusted) = (first, first);
    loop {
        let base = database.clock();
        base.sleep_until(base.now().plus(MEASURE_EVERY)).await;
        let looked = agree(&database, node, last).await;
        // While the database cannot be asked, the monotonic clock carries on.
        let Ok(Some(next)) = looked else { continue };
        last = next;
        // A busy database answers late, and a late answer is no reason to set a clock that was set by a quick one.
        if !next.outdoes(&trusted) {
            continue;
        }
        trusted = next;
        if (next.offset() - clock.offset()).abs() > NOISE_MAX {
            clock.set_offset(next.offset());
        }
    }
}

/// Looks, and makes up for a jump, unless another node does so first. None where a look took too long to mean anything.
async fn agree(database: &Database, node: Uuid, last: Look) -> Result<Option<Look>, Fault> {
    for _ in 0..AGREE_TRIES_MAX {
        let next = look(database).await?;
        if next.took > LOOK_MAX {
            return Ok(None);
        }
        // Where the correction has changed, another node has seen to it.
        let jump = next.jump_since(&last).filter(|_| next.shift == last.shift);
        let Some(jump) = jump else { return Ok(Some(next)) };
        if stood_still(database, node, next, jump).await? {
            tracing::warn!(
                millis = jump,
                "this machine stood still while the database and other nodes went on; this node goes by the database's clock again"
            );
            return Ok(Some(next));
        }
        let shift = next.shift.saturating_sub(jump);
        if database.change(statements::SHIFT_TIME, &[&shift, &next.shift]).await? == 1 {
            tracing::error!(
                jump_millis = jump,
                "the database server's clock jumped; deadlines go on as if it had not. Set it right with a time service; see docs/several-nodes.md"
            );
            return Ok(Some(Look { shift, ..next }));
        }
    }
    Ok(None)
}

/// Whether what looks like a jump of the database's clock is a standstill of this node, because others saw none.
async fn stood_still(database: &Database, node: Uuid, looked: Look, jump: i64) -> Result<bool, Fault> {
    let long = i64::try_from(STANDSTILL_MIN.as_millis()).unwrap_or(i64::MAX);
    if jump <= long {
        return Ok(false);
    }
    let values: asking::Values<'_> = &[&node, &WITNESS_MEETS_MIN, &long, &looked.shift, &jump];
    match database.rows_once(statements::GOES_ON, values).await?.first() {
        Some(row) => rows::value(row, 0),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look that began so many seconds after the first one, took so many milliseconds and found the database so far
    /// ahead.
    fn looked(second: u64, took: u64, ahead: i64) -> Look {
        let at = Timestamp::from_millis(1_000_000).plus(Duration::from_secs(second));
        Look { ahead, shift: 0, took: Duration::from_millis(took), at }
    }

    #[test]
    fn a_late_answer_does_not_move_a_clock_that_a_quick_one_has_set() {
        let quick = looked(0, 2, 1_000);
        assert!(!looked(1, 400, 1_190).outdoes(&quick), "190 of the 400 ms were spent on the way there");
        assert!(!looked(60, 400, 820).outdoes(&quick));
    }

    #[test]
    fn each_quick_answer_is_followed() {
        let quick = looked(0, 2, 1_000);
        assert!(looked(1, 2, 1_003).outdoes(&quick));
        assert!(looked(1, 3, 1_060).outdoes(&quick), "a small correction of the database's clock");
        assert!(looked(1, 2, 1_000).outdoes(&looked(0, 400, 1_190)), "what a late answer had set is set right");
    }

    #[test]
    fn a_late_answer_counts_where_the_clock_must_be_wrong() {
        let quick = looked(0, 2, 1_000);
        assert!(looked(1, 100, 1_080).outdoes(&quick), "no more than 50 ms can come from the way");
        assert!(looked(1, 400, 9_000).outdoes(&quick), "this machine stood still");
    }

    #[test]
    fn where_all_answers_are_late_the_clock_does_not_run_away() {
        let quick = looked(0, 2, 1_000);
        assert!(!looked(30, 100, 1_020).outdoes(&quick));
        assert!(looked(60, 100, 1_020).outdoes(&quick), "after a minute the old setting is no surer");
    }
}
