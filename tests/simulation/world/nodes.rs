//! The processes of the nodes: started, killed and started again, and what they tell each other.

use std::sync::Arc;
use std::time::Duration;

use callout::alarm::{Alarms, Phase, Told};
use callout::chance::SeededChance;
use callout::clock::Clock;
use callout::engine::{self, Engine, Parts, Settings};
use callout::metrics::Metrics;
use callout::store::{Others, Store, clock_of};
use callout::timestamp::Timestamp;
use callout::traces::Traces;
use tokio::sync::broadcast::Receiver;

use super::{BEGAN, World, a_fault, millis, moment};
use crate::bugs::Bug;
use crate::oracle::history::{AlarmTold, Fault, FaultKind};
use crate::ports::{Gate, Life, SimClock, SimSender, SimStore};

/// A node that said nothing for so long is not there.
const PRESENT_FOR: Duration = Duration::from_secs(10);

impl World {
    /// A node says that it is there, and hears of the others.
    pub(crate) fn meet(&self, node: usize, accepted_at: Option<Timestamp>) -> Others {
        let now = self.clock.now();
        let mut met = self.met.lock().unwrap();
        met.insert(node, (now, accepted_at));
        let others = met.iter().filter(|(other, (seen_at, _))| **other != node && now.since(*seen_at) < PRESENT_FOR);
        let accepted: Vec<Option<Timestamp>> = others.map(|(_, (_, accepted_at))| *accepted_at).collect();
        Others { n_others: accepted.len(), accepted_at: accepted.into_iter().max().flatten() }
    }

    /// Starts the node, and starts it again whenever it is killed.
    pub(super) async fn keep_alive(self: Arc<Self>, index: usize) {
        let mut ended: Option<(FaultKind, Timestamp)> = None;
        loop {
            let life = Arc::new(Life::default());
            *self.nodes[index].life.lock().unwrap() = Arc::clone(&life);
            let started = tokio::select! {
                biased;
                () = life.killed.notified() => None,
                started = self.start(index, &life) => Some(started),
            };
            let downtime = match started {
                Some(Ok(engine)) => {
                    self.trace(|| format!("n{index} started"));
                    if let Some((how, at)) = ended.take() {
                        self.was_away(index, how, at);
                    }
                    *self.nodes[index].engine.lock().unwrap() = Some(engine.clone());
                    ended = Some(self.until_it_ends(index, &life, &engine).await);
                    let longest = self.dice().one_of(&[100, 5_000, 60_000, 1_800_000]);
                    self.dice().between(10, longest)
                }
                // Whoever watches over it starts it again.
                Some(Err(_)) => 1_000,
                None => 100,
            };
            ended.get_or_insert((FaultKind::Crash, self.clock.now()));
            if !self.is_mended() {
                let meanwhile = self.dice().between(0, 9);
                match meanwhile {
                    0..=2 => self.step_wall_clock(index),
                    3 => self.boot(index, life.clock_ahead()),
                    _ => {}
                }
            }
            let up_at = self.clock.now().plus(millis(downtime));
            let end = BEGAN.plus(Duration::from_hours(self.hours));
            self.clock.sleep_until(if self.is_mended() { up_at } else { up_at.min(end) }).await;
        }
    }

    /// A process begins: the store is opened, and the engine started over it.
    async fn start(self: &Arc<Self>, index: usize, life: &Arc<Life>) -> Result<Engine, engine::Error> {
        let gate = Gate { world: Arc::clone(self), node: index, life: Arc::clone(life) };
        let seed = self.dice().next();
        let store: Arc<dyn Store> = Arc::new(SimStore { gate: gate.clone() });
        let own: Arc<dyn Clock> = Arc::new(SimClock::begin(gate.clone(), self.found(index)));
        let clock = clock_of(store.as_ref(), own).await?;
        life.began_with(clock.now(), self.clock.now());
        let alarms = Arc::new(Alarms::new(Arc::new(Metrics::new())));
        self.spawn(Arc::clone(self).hear(alarms.listen()));
        let parts = Parts {
            store,
            sender: Arc::new(SimSender { gate }),
            clock,
            chance: Arc::new(SeededChance::new(seed)),
            metrics: Arc::new(Metrics::new()),
            alarms,
            traces: Traces::off(),
            link_secret: [7; 32],
            settings: Settings::default(),
        };
        Engine::start(parts).await
    }

    /// Somebody reads what the people who run callout are told.
    async fn hear(self: Arc<Self>, mut alarms: Receiver<Told>) {
        while let Ok(told) = alarms.recv().await {
            if told.phase == Phase::Raised {
                let (name, alert) = (told.alarm.name().to_owned(), told.alert.map(|alert| alert.to_string()));
                self.trace(|| format!("ALARM {name} {alert:?}"));
                self.notes().alarms.push(AlarmTold { at: moment(self.clock.now()), name, alert });
            }
        }
    }

    /// Waits until the process is killed, or was asked to end and has ended in good order. Returns how it ended, and
    /// when that began.
    async fn until_it_ends(&self, index: usize, life: &Life, engine: &Engine) -> (FaultKind, Timestamp) {
        let is_asked = tokio::select! {
            biased;
            () = life.killed.notified() => false,
            () = life.asked_to_end.notified() => true,
        };
        let began = self.clock.now();
        self.nodes[index].engine.lock().unwrap().take();
        let mut how = FaultKind::Crash;
        if is_asked {
            self.trace(|| format!("n{index} was asked to end"));
            let stop = async {
                if self.bug != Some(Bug::StopsLikeAKill) {
                    engine.stop().await;
                }
            };
            tokio::select! {
                biased;
                () = life.killed.notified() => {}
                () = stop => how = FaultKind::Replaced,
            }
        }
        engine.abandon();
        life.kill();
        self.trace(|| format!("n{index} ended: {how:?}"));
        self.mark(if how == FaultKind::Replaced { "a node was replaced" } else { "a node was killed" });
        (how, began)
    }

    fn was_away(&self, index: usize, how: FaultKind, at: Timestamp) {
        let until = Some(moment(self.clock.now()));
        let node = Some(format!("n{index}"));
        self.add_fault(Fault { node, ..a_fault(how, moment(at), until) });
    }

    /// Some node that a request reaches.
    pub(super) fn some_engine(&self) -> Option<Engine> {
        let node = usize::try_from(self.dice().next()).unwrap_or(0) % self.nodes.len();
        self.nodes[node].engine.lock().unwrap().clone()
    }
}
