//! The machines that the nodes run on: a wall clock that anybody may step, and the time that they have been running,
//! which goes on evenly.

use std::time::Duration;

use callout::clock::{Clock, Timeline};
use callout::escalation::Alert;
use callout::timestamp::Timestamp;

use super::{BEGAN, World};

/// How far a wall clock is stepped at most; it may be this far ahead or behind.
const STEPS: [u64; 4] = [2_000, 60_000, 3_600_000, 14_400_000];
/// Where several nodes share a store they go by its clock, which each of them knows to so many milliseconds.
pub(super) const CLOCKS_APART_MS: i64 = 5;

/// What a process finds on its machine when it begins.
pub(crate) struct Found {
    /// How far its clock is ahead of the true time, in milliseconds.
    pub(crate) ahead: i64,
    pub(crate) timeline: Option<Timeline>,
}

/// One machine.
pub(super) struct Machine {
    /// How far its wall clock is ahead of the true time, in milliseconds.
    wall_ahead: i64,
    n_boots: u32,
    booted: Timestamp,
}

impl Machine {
    /// What its run since it was booted is called.
    fn run(&self, node: usize) -> Box<str> {
        format!("boot {} of n{node}", self.n_boots).into()
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self { wall_ahead: 0, n_boots: 1, booted: BEGAN.minus(Duration::from_hours(5)) }
    }
}

fn plus(moment: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(moment.as_millis() + millis)
}

impl World {
    /// What the wall clock of a node's machine shows.
    pub(crate) fn wall(&self, node: usize) -> Timestamp {
        plus(self.clock.now(), self.nodes[node].machine.lock().unwrap().wall_ahead)
    }

    /// What a process begins with that starts now.
    pub(super) fn found(&self, node: usize) -> Found {
        if self.n_nodes() > 1 {
            // How far the node is from the database's clock was measured, which nobody steps here.
            let apart = 2 * u64::try_from(CLOCKS_APART_MS).unwrap();
            let ahead = i64::try_from(self.dice().between(0, apart)).unwrap() - CLOCKS_APART_MS;
            return Found { ahead, timeline: None };
        }
        let machine = self.nodes[node].machine.lock().unwrap();
        let run = machine.run(node);
        let began_at = plus(machine.booted, machine.wall_ahead);
        Found { ahead: machine.wall_ahead, timeline: Some(Timeline { run, began_at }) }
    }

    /// Somebody sets the wall clock of a machine, ahead, back, or right.
    pub(super) fn step_wall_clock(&self, node: usize) {
        let ahead = {
            let mut dice = self.dice();
            let longest = dice.one_of(&STEPS);
            let far = i64::try_from(dice.between(1, longest)).unwrap();
            dice.one_of(&[0, far, -far])
        };
        if self.was_booted_since(node) {
            return;
        }
        let is_up = self.nodes[node].engine.lock().unwrap().is_some();
        self.mark(if is_up { "a clock was stepped under a node" } else { "a clock was stepped under nobody" });
        self.trace(|| format!("n{node} has its wall clock {ahead} ms ahead"));
        self.nodes[node].machine.lock().unwrap().wall_ahead = ahead;
    }

    /// Whether the machine was booted since a process last kept a timeline. Then nothing tells a step of its wall clock
    /// from time that has passed, so that it is not stepped before one has.
    fn was_booted_since(&self, node: usize) -> bool {
        let kept = self.timeline.lock().unwrap();
        kept.as_ref().is_some_and(|kept| kept.run != self.nodes[node].machine.lock().unwrap().run(node))
    }

    /// The machine is booted while its node is down. Nothing measures the time in between but the wall clock; where
    /// that was stepped meanwhile, nobody could tell, so that such a machine is left alone.
    pub(super) fn boot(&self, node: usize, clock_ahead: i64) {
        let mut machine = self.nodes[node].machine.lock().unwrap();
        if machine.wall_ahead == clock_ahead {
            machine.n_boots += 1;
            machine.booted = self.clock.now();
            drop(machine);
            self.mark("a machine was booted");
        }
    }

    /// The store's timeline, for a process that begins with its own: see [`callout::store::Store::go_on`].
    pub(crate) fn go_on(&self, own: Timeline, is_awaited: bool) -> Timeline {
        let mut kept = self.timeline.lock().unwrap();
        let next = own.or_kept(kept.take(), is_awaited);
        *kept = Some(next.clone());
        next
    }

    /// By a clock that was so far ahead, an alert was written down with all of its timeline.
    pub(crate) fn written_down(&self, alert: &Alert, clock_ahead: i64) {
        let mut aheads = self.aheads.lock().unwrap();
        aheads.entry(alert.id()).or_default().resize(alert.timeline.len(), clock_ahead);
    }
}
