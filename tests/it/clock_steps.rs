//! The wall clock is stepped while callout is down: what waits in the database keeps the time that it had left.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callout::clock::{Clock, Timeline};
use callout::store::{Insert, SqliteStore, Store, clock_of};
use callout::timestamp::Timestamp;
use tempfile::TempDir;

use crate::alerts::{after_everybody, alert};

/// When the machine was switched on, by a wall clock that is right.
const SWITCHED_ON: Timestamp = Timestamp::from_millis(1_772_300_000_000);

/// A machine whose wall clock somebody steps.
struct Machine {
    directory: TempDir,
    run: &'static str,
    has_run: Duration,
    /// By how much the wall clock is wrong, in milliseconds.
    wrong: i64,
}

/// The clock of a process that begins on the machine as it is.
struct Began(Timeline, Duration);

#[async_trait]
impl Clock for Began {
    fn now(&self) -> Timestamp {
        self.0.began_at.plus(self.1)
    }

    async fn sleep_until(&self, _moment: Timestamp) {
        std::future::pending::<()>().await;
    }

    fn timeline(&self) -> Option<Timeline> {
        Some(self.0.clone())
    }
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, run: "this boot", has_run: Duration::from_secs(1_000), wrong: 0 }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("callout.db")
    }

    /// What the wall clock shows.
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.right().as_millis() + self.wrong)
    }

    /// What it would show if nobody had stepped it.
    fn right(&self) -> Timestamp {
        SWITCHED_ON.plus(self.has_run)
    }

    /// A process begins: its store, and what its clock shows.
    async fn begin(&self) -> (SqliteStore, Timestamp) {
        let store = SqliteStore::open(&self.path()).unwrap();
        let began_at = self.wall().minus(self.has_run);
        let own = Arc::new(Began(Timeline { run: self.run.into(), began_at }, self.has_run));
        let clock = clock_of(&store, own).await.unwrap();
        let now = clock.now();
        (store, now)
    }

    fn pass(&mut self, time: Duration) {
        self.has_run += time;
    }

    fn step_wall_clock(&mut self, millis: i64) {
        self.wrong += millis;
    }
}

const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn a_step_while_callout_is_down_moves_no_deadline() {
    for step in [HOUR, -HOUR, 24 * HOUR, -24 * HOUR, 1_000, -1_000, 1] {
        let mut machine = Machine::new();
        let (store, now) = machine.begin().await;
        assert_eq!(now, machine.wall(), "a new database goes by the wall clock");
        store.insert(alert(1), None).await.unwrap();
        store.close().await;
        drop(store);
        for _ in 0..2 {
            machine.pass(Duration::from_mins(1));
            machine.step_wall_clock(step);
            let (store, now) = machine.begin().await;
            assert_eq!(now, machine.right(), "a minute has passed, whatever the wall clock says ({step})");
            // Killed: what was written is there, and nobody says goodbye.
            drop(store);
        }
    }
}

#[tokio::test]
async fn the_wall_clock_counts_again_from_a_start_on_at_which_nothing_waits() {
    let mut machine = Machine::new();
    let (store, _) = machine.begin().await;
    let Insert::Inserted(stored) = store.insert(alert(1), None).await.unwrap() else { panic!("it is new") };
    store.close().await;
    drop(store);
    machine.step_wall_clock(HOUR);
    let (store, now) = machine.begin().await;
    assert_eq!(now, machine.right());
    store.update(&stored, after_everybody(&stored.alert), None).await.unwrap();
    store.close().await;
    drop(store);
    let (store, now) = machine.begin().await;
    assert_eq!(now, machine.wall(), "everybody was called, nothing waits");
    store.insert(alert(2), None).await.unwrap();
    drop(store);
    machine.step_wall_clock(-HOUR);
    let (_store, now) = machine.begin().await;
    assert_eq!(now, Timestamp::from_millis(machine.wall().as_millis() + HOUR), "and from there it goes on");
}

#[tokio::test]
async fn another_boot_or_another_machine_goes_by_its_own_wall_clock() {
    let mut machine = Machine::new();
    let (store, _) = machine.begin().await;
    store.insert(alert(1), None).await.unwrap();
    drop(store);
    machine.run = "the next boot";
    machine.has_run = Duration::from_secs(30);
    machine.step_wall_clock(HOUR);
    let (_store, now) = machine.begin().await;
    assert_eq!(now, machine.wall());
}
