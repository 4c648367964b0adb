//! One simulated day: nodes, a store, a provider, people, and whatever goes wrong.

mod callers;
mod faults;
mod forger;
mod machines;
mod nodes;
mod provider;
mod verdict;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use callout::clock::{Clock, SteadyClock, Timeline};
use callout::engine::Engine;
use callout::id::AlertId;
use callout::store::MemoryStore;
use callout::timestamp::Timestamp;
use tokio::task::JoinSet;

use crate::bugs::Bug;
use crate::dice::Dice;
use crate::oracle::Broken;
use crate::oracle::history::{AlarmTold, Call, Fault, Moment, PlanTold, Sent, Webhook};
use crate::ports::Life;
pub(crate) use faults::a_fault;
use faults::{Noise, Wrong};
pub(crate) use machines::Found;
use machines::Machine;
pub(crate) use verdict::MARKS;

/// When every day begins: 2026-03-01T02:15:00Z.
const BEGAN: Timestamp = Timestamp::from_millis(1_772_331_300_000);
/// How long the world is quiet at the end of the day.
const QUIET: Duration = Duration::from_mins(10);
/// More than this never happens at one moment; whoever goes on without time passing goes round in circles.
const LINES_OF_A_MOMENT_MAX: u32 = 20_000;

pub(crate) fn moment(at: Timestamp) -> Moment {
    Moment(at.as_millis())
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Default)]
struct Notes {
    plans: BTreeMap<String, PlanTold>,
    client: Vec<Call>,
    sent: Vec<Sent>,
    webhooks: Vec<Webhook>,
    faults: Vec<Fault>,
    alarms: Vec<AlarmTold>,
    poisoned: BTreeMap<String, Moment>,
    marks: BTreeSet<&'static str>,
    hash: u64,
    lines: Option<Vec<String>>,
    /// The moment of the last line, and how many lines have it.
    last: Option<(Timestamp, u32)>,
}

#[derive(Default)]
struct Node {
    engine: Mutex<Option<Engine>>,
    life: Mutex<Arc<Life>>,
    machine: Mutex<Machine>,
}

pub(crate) struct World {
    seed: u64,
    pub(crate) bug: Option<Bug>,
    pub(crate) clock: SteadyClock,
    pub(crate) kept: MemoryStore,
    hours: u64,
    nodes: Vec<Node>,
    dice: Mutex<Dice>,
    noise: Mutex<Noise>,
    wrong: Mutex<Wrong>,
    notes: Mutex<Notes>,
    tasks: Mutex<JoinSet<()>>,
    /// When each node was last there, and when something of it was last accepted.
    met: Mutex<BTreeMap<usize, (Timestamp, Option<Timestamp>)>>,
    /// What the store keeps of the timeline of its moments.
    timeline: Mutex<Option<Timeline>>,
    /// For each line of each alert's timeline, how far the clock was ahead by which it was written.
    aheads: Mutex<BTreeMap<AlertId, Vec<i64>>>,
}

/// What a day came to.
pub(crate) struct Day {
    pub(crate) broken: Vec<Broken>,
    pub(crate) marks: BTreeSet<&'static str>,
    pub(crate) hash: u64,
    pub(crate) lines: Vec<String>,
    pub(crate) n_faults: usize,
    pub(crate) n_alerts: usize,
    pub(crate) n_sent: usize,
}

/// Lives through the day that follows from the seed.
pub(crate) fn live(seed: u64, bug: Option<Bug>, hours: u64, is_told: bool) -> Day {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(World::live(seed, bug, hours, is_told))
}

impl World {
    async fn live(seed: u64, bug: Option<Bug>, hours: u64, is_told: bool) -> Day {
        let mut dice = Dice::new(seed);
        // Days of several nodes take ten times as long to live through, since these look around every second.
        let n_nodes = if dice.permille(100) { dice.one_of(&[2, 3, 4]) } else { 1 };
        let is_rough = dice.permille(500);
        let noise = if is_rough {
            Noise { lost_commit: 10, unknown_commit: 10, send_trouble: 50, send_unanswered: 30, send_refused: 30 }
        } else {
            Noise::default()
        };
        let world = Arc::new(Self {
            seed,
            bug,
            clock: SteadyClock::faster(BEGAN, 1),
            kept: MemoryStore::new(),
            hours,
            nodes: (0..n_nodes).map(|_| Node::default()).collect(),
            dice: Mutex::new(dice),
            noise: Mutex::new(noise),
            wrong: Mutex::default(),
            notes: Mutex::new(Notes { lines: is_told.then(Vec::new), ..Notes::default() }),
            tasks: Mutex::default(),
            met: Mutex::default(),
            timeline: Mutex::default(),
            aheads: Mutex::default(),
        });
        if n_nodes > 1 {
            world.mark("several nodes");
        }
        for node in 0..n_nodes {
            world.spawn(Arc::clone(&world).keep_alive(node));
        }
        world.sleep(millis(100)).await;
        for _ in 0..world.dice().between(3, 8) {
            world.spawn(Arc::clone(&world).raise_some_time());
        }
        for _ in 0..world.dice().between(0, 6) {
            world.spawn(Arc::clone(&world).break_something());
        }
        if n_nodes > 1 && world.dice().permille(500) {
            world.spawn(Arc::clone(&world).lose_the_way());
        }
        world.clock.sleep_until(BEGAN.plus(Duration::from_hours(hours))).await;
        world.mend();
        world.sleep(QUIET).await;
        let day = world.judge().await;
        world.end();
        day
    }

    pub(crate) fn dice(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().unwrap()
    }

    pub(crate) fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    fn wrong(&self) -> MutexGuard<'_, Wrong> {
        self.wrong.lock().unwrap()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    pub(crate) fn mark(&self, what: &'static str) {
        self.notes().marks.insert(what);
    }

    /// Adds a line to what happened; two days with the same lines have the same hash.
    pub(crate) fn trace(&self, line: impl FnOnce() -> String) {
        let now = self.clock.now();
        let line = format!("{now} {}", line());
        let mut notes = self.notes();
        let n_lines = notes.last.filter(|(at, _)| *at == now).map_or(1, |(_, n_lines)| n_lines + 1);
        assert!(n_lines < LINES_OF_A_MOMENT_MAX, "seed {}: it goes round in circles: {line}", self.seed);
        notes.last = Some((now, n_lines));
        for byte in line.bytes() {
            notes.hash = (notes.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        if let Some(lines) = &mut notes.lines {
            lines.push(line);
        }
    }

    pub(crate) fn add_fault(&self, fault: Fault) {
        self.trace(|| format!("fault {:?}", fault.kind));
        self.notes().faults.push(fault);
    }

    async fn sleep(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now().plus(time)).await;
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap().spawn(work);
    }

    fn end(&self) {
        self.tasks.lock().unwrap().abort_all();
        for node in &self.nodes {
            if let Some(engine) = node.engine.lock().unwrap().take() {
                engine.abandon();
            }
        }
    }

    fn is_mended(&self) -> bool {
        self.clock.now() >= BEGAN.plus(Duration::from_hours(self.hours))
    }

    /// A moment of the day, but not of its last hour.
    fn some_time(&self) -> Timestamp {
        let day_ms = (self.hours * 3_600_000).saturating_sub(3_600_000).max(600_000);
        BEGAN.plus(millis(self.dice().between(200, day_ms)))
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            came = work => Some(came),
            () = self.sleep(limit) => None,
        }
    }
}
