//! One simulated day: nodes, a store, a provider, people, and whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use callout::alarm::Alarms;
use callout::chance::SeededChance;
use callout::clock::{Clock, SteadyClock};
use callout::contact::{Address, Channel};
use callout::engine::{self, Engine, NewAlert, Parts, Raising, Request, Settings};
use callout::escalation::{
    Alert, Backend, Condition, Failure, Leg, Plan, Progress, Recipient, ReportStatus, Severity, TroubleOutcome, Via,
};
use callout::id::{AlertId, ProviderId};
use callout::incoming::{InboundMessage, Incoming, MessageStatus};
use callout::metrics::Metrics;
use callout::sender::{Answer, Outbound, SendTrouble, TroubleCause};
use callout::store::{ClaimKey, MemoryStore, Others, Page, Store};
use callout::timestamp::Timestamp;
use tokio::task::JoinSet;

use crate::bugs::Bug;
use crate::dice::Dice;
use crate::oracle::history::{
    AcknowledgedShown, AlertShown, AttemptShown, BackendTold, Call, CallKind, ChannelTold, ConditionTold, CurrentShown,
    EntryShown, Fault, FaultKind, History, Moment, PlanTold, Provider, Sent, SentOutcome, UserTold, Wants, Webhook,
    WebhookKind,
};
use crate::oracle::{Broken, judge};
use crate::ports::{Gate, Life, SimClock, SimSender, SimStore};

/// When every day begins: 2026-03-01T02:15:00Z.
const BEGAN: Timestamp = Timestamp::from_millis(1_772_331_300_000);
/// How long the world is quiet at the end of the day.
const QUIET: Duration = Duration::from_mins(10);
/// Vonage gives a webhook so long to be answered.
const WEBHOOK_ANSWER_MAX: Duration = Duration::from_secs(15);
/// How long after a fault something may still be late: a lease, and what follows it.
const RECOVERY_MS: i64 = 40_000;
/// Vonage sends a webhook again after so long, doubling, up to a quarter of an hour.
const WEBHOOK_AGAIN_MIN: Duration = Duration::from_secs(5);
const WEBHOOK_AGAIN_MAX: Duration = Duration::from_mins(15);

/// A node that said nothing for so long is not there.
const PRESENT_FOR: Duration = Duration::from_secs(10);
/// More than this never happens at one moment; whoever goes on without time passing goes round in circles.
const LINES_OF_A_MOMENT_MAX: u32 = 20_000;

pub(crate) fn moment(at: Timestamp) -> Moment {
    Moment(at.as_millis())
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How rough the day is, in thousandths of all calls.
#[derive(Clone, Copy, Default)]
pub(crate) struct Noise {
    pub(crate) lost_commit: u64,
    pub(crate) unknown_commit: u64,
    send_trouble: u64,
    send_unanswered: u64,
    send_refused: u64,
}

/// How the provider takes requests for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Down {
    Unreachable,
    Hangs,
    Errors,
    Credentials,
    Balance,
    RateLimit,
}

/// What is wrong at the moment.
#[derive(Default)]
struct Wrong {
    provider: Option<Down>,
    store: Option<&'static str>,
    only_writes: bool,
    store_takes_ms: u64,
    cut_off: BTreeSet<usize>,
    frozen_until: BTreeMap<usize, Timestamp>,
}

#[derive(Default)]
struct Notes {
    plans: BTreeMap<String, PlanTold>,
    client: Vec<Call>,
    sent: Vec<Sent>,
    webhooks: Vec<Webhook>,
    faults: Vec<Fault>,
    marks: BTreeSet<&'static str>,
    hash: u64,
    lines: Option<Vec<String>>,
    /// The moment of the last line, and how many lines have it.
    last: Option<(Timestamp, u32)>,
}

struct Node {
    engine: Mutex<Option<Engine>>,
    life: Mutex<Arc<Life>>,
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
        let node = |_| Node { engine: Mutex::new(None), life: Mutex::default() };
        let world = Arc::new(Self {
            seed,
            bug,
            clock: SteadyClock::faster(BEGAN, 1),
            kept: MemoryStore::new(),
            hours,
            nodes: (0..n_nodes).map(node).collect(),
            dice: Mutex::new(dice),
            noise: Mutex::new(noise),
            wrong: Mutex::default(),
            notes: Mutex::new(Notes { lines: is_told.then(Vec::new), ..Notes::default() }),
            tasks: Mutex::default(),
            met: Mutex::default(),
        });
        if n_nodes > 1 {
            world.mark("several nodes");
        }
        for node in 0..n_nodes {
            world.spawn(Arc::clone(&world).keep_alive(node));
        }
        world.sleep(millis(100)).await;
        for _ in 0..world.dice().between(3, 8) {
            world.spawn(Arc::clone(&world).raise_one());
        }
        for _ in 0..world.dice().between(0, 6) {
            world.spawn(Arc::clone(&world).break_something());
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

    pub(crate) fn rolls(&self, permille: impl FnOnce(&Noise) -> u64) -> bool {
        let permille = permille(&self.noise.lock().unwrap());
        permille > 0 && self.dice().permille(permille)
    }

    pub(crate) fn store_takes_ms(&self) -> u64 {
        self.wrong().store_takes_ms
    }

    pub(crate) fn store_refuses(&self, node: usize, writes: bool) -> Option<&'static str> {
        let wrong = self.wrong();
        if wrong.cut_off.contains(&node) {
            return Some("the node is cut off");
        }
        wrong.store.filter(|_| writes || !wrong.only_writes)
    }

    /// A node says that it is there, and hears of the others.
    pub(crate) fn meet(&self, node: usize, accepted_at: Option<Timestamp>) -> Others {
        let now = self.clock.now();
        let mut met = self.met.lock().unwrap();
        met.insert(node, (now, accepted_at));
        let others = met.iter().filter(|(other, (seen_at, _))| **other != node && now.since(*seen_at) < PRESENT_FOR);
        let accepted: Vec<Option<Timestamp>> = others.map(|(_, (_, accepted_at))| *accepted_at).collect();
        Others { n_others: accepted.len(), accepted_at: accepted.into_iter().max().flatten() }
    }

    pub(crate) fn frozen_until(&self, node: usize) -> Timestamp {
        self.wrong().frozen_until.get(&node).copied().unwrap_or(BEGAN)
    }

    async fn sleep(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now().plus(time)).await;
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
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

    /// Everything that was wrong is over.
    fn mend(&self) {
        *self.noise.lock().unwrap() = Noise::default();
        *self.wrong() = Wrong::default();
        let now = moment(self.clock.now());
        for fault in &mut self.notes().faults {
            if fault.until.is_some_and(|until| until > now) {
                fault.until = Some(now);
            }
        }
        self.trace(|| "all is mended".into());
    }

    fn is_mended(&self) -> bool {
        self.clock.now() >= BEGAN.plus(Duration::from_hours(self.hours))
    }

    /// A moment of the day, but not of its last hour.
    fn some_time(&self) -> Timestamp {
        let day_ms = (self.hours * 3_600_000).saturating_sub(3_600_000).max(600_000);
        BEGAN.plus(millis(self.dice().between(200, day_ms)))
    }

    /// Starts the node, and starts it again whenever it is killed.
    async fn keep_alive(self: Arc<Self>, index: usize) {
        let mut shift_ms: i64 = 0;
        let mut killed_at: Option<Timestamp> = None;
        loop {
            let life = Arc::new(Life::default());
            *self.nodes[index].life.lock().unwrap() = Arc::clone(&life);
            let gate = Gate { world: Arc::clone(&self), node: index, life: Arc::clone(&life) };
            let now = self.clock.now();
            let began = Timestamp::from_millis(now.as_millis() + shift_ms);
            let seed = self.dice().next();
            let parts = Parts {
                store: Arc::new(SimStore { gate: gate.clone() }),
                sender: Arc::new(SimSender { gate: gate.clone() }),
                clock: Arc::new(SimClock { gate, shown: SteadyClock::faster(began, 1), began }),
                chance: Arc::new(SeededChance::new(seed)),
                metrics: Arc::new(Metrics::new()),
                alarms: Arc::new(Alarms::new(Arc::new(Metrics::new()))),
                link_secret: [7; 32],
                settings: Settings::default(),
            };
            let started = tokio::select! {
                biased;
                () = life.killed.notified() => None,
                started = Engine::start(parts) => Some(started),
            };
            let downtime = match started {
                Some(Ok(engine)) => {
                    self.trace(|| format!("n{index} started"));
                    if let Some(killed_at) = killed_at.take() {
                        self.crashed(index, killed_at);
                    }
                    *self.nodes[index].engine.lock().unwrap() = Some(engine.clone());
                    life.killed.notified().await;
                    self.nodes[index].engine.lock().unwrap().take();
                    engine.abandon();
                    self.trace(|| format!("n{index} killed"));
                    self.mark("a node was killed");
                    let longest = self.dice().one_of(&[100, 5_000, 60_000, 1_800_000]);
                    self.dice().between(10, longest)
                }
                // Whoever watches over it starts it again.
                Some(Err(_)) => 1_000,
                None => 100,
            };
            killed_at.get_or_insert(self.clock.now());
            if !self.is_mended() && self.dice().permille(30) {
                shift_ms = i64::try_from(self.dice().between(0, 4_000)).unwrap() - 2_000;
                let at = moment(self.clock.now());
                self.mark("a clock was stepped");
                self.add_fault(Fault { kind: FaultKind::Clock, at, until: Some(at), known_at: None, node: None });
            }
            let up_at = self.clock.now().plus(millis(downtime));
            let end = BEGAN.plus(Duration::from_hours(self.hours));
            self.clock.sleep_until(if self.is_mended() { up_at } else { up_at.min(end) }).await;
        }
    }

    fn crashed(&self, index: usize, at: Timestamp) {
        self.add_fault(Fault {
            kind: FaultKind::Crash,
            at: moment(at),
            until: Some(moment(self.clock.now())),
            known_at: None,
            node: Some(format!("n{index}")),
        });
    }

    /// One thing goes wrong at some time of the day, for a while.
    #[expect(clippy::too_many_lines, reason = "a list of what can go wrong")]
    async fn break_something(self: Arc<Self>) {
        let at = self.some_time();
        self.clock.sleep_until(at).await;
        let node = usize::try_from(self.dice().next()).unwrap_or(0) % self.nodes.len();
        let longest = self.dice().one_of(&[2_000, 40_000, 600_000, 3_600_000]);
        let lasts = millis(self.dice().between(500, longest));
        let until = at.plus(lasts);
        let fault = |kind| Fault {
            kind,
            at: moment(at),
            until: Some(moment(until)),
            known_at: None,
            node: Some(format!("n{node}")),
        };
        let what = self.dice().between(0, 9);
        match what {
            0..=3 => {
                let n_calls = i64::try_from(self.dice().between(1, 40)).unwrap();
                let at_work = self.dice().permille(700);
                self.nodes[node].life.lock().unwrap().kill_after(n_calls, at_work);
            }
            4 | 5 => {
                let down = self.dice().one_of(&[
                    Down::Unreachable,
                    Down::Hangs,
                    Down::Errors,
                    Down::Credentials,
                    Down::Balance,
                    Down::RateLimit,
                ]);
                if self.wrong().provider.is_some() {
                    return;
                }
                self.add_fault(fault(FaultKind::Outage));
                self.mark("the provider was down");
                self.wrong().provider = Some(down);
                self.clock.sleep_until(until).await;
                self.wrong().provider = None;
            }
            6 => {
                let (why, only_writes) = self.dice().one_of(&[("the disk is full", true), ("it is down", false)]);
                if self.wrong().store.is_some() {
                    return;
                }
                self.add_fault(fault(FaultKind::Store));
                self.mark(if only_writes { "the disk was full" } else { "the store was down" });
                {
                    let mut wrong = self.wrong();
                    (wrong.store, wrong.only_writes) = (Some(why), only_writes);
                }
                self.clock.sleep_until(until).await;
                self.wrong().store = None;
            }
            7 => {
                self.add_fault(fault(FaultKind::Slow));
                self.mark("the store was slow");
                self.wrong().store_takes_ms = 3_000;
                self.clock.sleep_until(until).await;
                self.wrong().store_takes_ms = 0;
            }
            8 => {
                self.add_fault(fault(FaultKind::Partition));
                self.mark("a node was cut off");
                self.wrong().cut_off.insert(node);
                self.clock.sleep_until(until).await;
                self.wrong().cut_off.remove(&node);
            }
            _ => {
                let until = at.plus(lasts.min(Duration::from_mins(3)));
                let fault = Fault { until: Some(moment(until)), ..fault(FaultKind::Pause) };
                self.add_fault(fault);
                self.mark("a node was frozen");
                self.wrong().frozen_until.insert(node, until);
            }
        }
    }

    /// Some node that a request reaches.
    fn some_engine(&self) -> Option<Engine> {
        let node = usize::try_from(self.dice().next()).unwrap_or(0) % self.nodes.len();
        self.nodes[node].engine.lock().unwrap().clone()
    }

    fn some_plan(&self, name: &str) -> Arc<Plan> {
        let mut dice = self.dice();
        let backend = if dice.permille(200) { Backend::Dispatch } else { Backend::Messages };
        let repeat = dice.one_of(&[0, 0, 1, 2]);
        let n_users = dice.between(1, 3);
        let mut recipients = Vec::new();
        let mut users = Vec::new();
        for user in 0..n_users {
            let user_name = format!("user-{user}");
            let n_channels = if backend == Backend::Dispatch { 2 } else { dice.between(1, 2) };
            let mut channels = Vec::new();
            let mut told = Vec::new();
            for index in 0..n_channels {
                let channel = if index == 0 { Channel::Whatsapp } else { Channel::Sms };
                let id_num = format!("4477{:04}{:04}", dice.next() % 10_000, dice.next() % 10_000);
                let expiry = dice.one_of(&[15, 60, 300, 600, 3_600]);
                let condition = if dice.permille(150) { Condition::Delivered } else { Condition::Read };
                let address = Address::parse(channel, &id_num).unwrap();
                channels.push(Leg { channel, address, expiry_seconds: expiry, condition });
                told.push(ChannelTold {
                    channel: channel.name().into(),
                    id_num,
                    expiry_time: i64::from(expiry),
                    condition_status: match condition {
                        Condition::Read => ConditionTold::Read,
                        Condition::Delivered => ConditionTold::Delivered,
                    },
                });
            }
            recipients.push(Recipient { name: user_name.as_str().into(), channels });
            users.push(UserTold { name: user_name, channels: told });
        }
        drop(dice);
        let backend_told = match backend {
            Backend::Messages => BackendTold::Messages,
            Backend::Dispatch => BackendTold::Dispatch,
        };
        self.notes().plans.insert(name.to_owned(), PlanTold { backend: backend_told, repeat, users });
        Arc::new(Plan::new(backend, &recipients, repeat).unwrap())
    }

    /// Somebody's monitoring raises an alert, and asks again until it is answered.
    async fn raise_one(self: Arc<Self>) {
        let at = self.some_time();
        self.clock.sleep_until(at).await;
        let name = format!("plan-{}", self.notes().plans.len());
        let plan = self.some_plan(&name);
        let problem = self.dice().between(0, 6);
        let dedup_key = (problem < 2).then(|| format!("problem-{problem}"));
        let key = self.dice().permille(800).then(|| format!("key-{name}"));
        let bytes = self.dice().next().to_le_bytes();
        let request = key.as_ref().map(|_| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&bytes);
            Request { key: ClaimKey(hash), fingerprint: hash }
        });
        let again = self.dice().permille(200);
        for try_number in 0..8_u32 {
            let at = moment(self.clock.now());
            let new = NewAlert {
                message: "Main server is down".into(),
                severity: Severity::Critical,
                policy: Some(name.as_str().into()),
                dedup_key: dedup_key.as_deref().map(Into::into),
                source: None,
                link: None,
                details: "{}".into(),
                plan: Arc::clone(&plan),
            };
            let answer = match self.some_engine() {
                Some(engine) => self.within(Duration::from_secs(20), engine.raise(new, request.as_ref())).await,
                None => None,
            };
            let (status, id) = match &answer {
                Some(Ok(Raising::Created(alert))) => (Some(201), Some(alert.id())),
                Some(Ok(Raising::Repeated(alert))) => (Some(200), Some(alert.id())),
                Some(Err(engine::Error::KeyReused)) => (Some(422), None),
                Some(Err(engine::Error::Stopped)) | None => (None, None),
                Some(Err(_)) => (Some(503), None),
            };
            self.answered(at, CallKind::Raise, status, id, key.clone(), dedup_key.clone());
            if let (Some(id), 0) = (id, self.dice().between(0, 3)) {
                self.spawn(Arc::clone(&self).meddle(id));
            }
            match status {
                Some(_) if again && try_number < 2 => self.mark("a request was made again"),
                Some(503) | None if key.is_some() => {}
                _ => return,
            }
            self.sleep(millis(1_000 << try_number)).await;
        }
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            came = work => Some(came),
            () = self.sleep(limit) => None,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the line of the log, field by field")]
    fn answered(
        &self,
        at: Moment,
        what: CallKind,
        status: Option<u16>,
        id: Option<AlertId>,
        key: Option<String>,
        dedup_key: Option<String>,
    ) {
        self.trace(|| format!("{what:?} answered {status:?} {id:?}"));
        let answered_at = status.map(|_| moment(self.clock.now()));
        let body = Some("body".to_owned());
        let id = id.map(|id| id.to_string());
        self.notes().client.push(Call { at, answered_at, what, status, id, key, body, dedup_key });
    }

    /// Somebody acknowledges, resolves or escalates at the API.
    async fn meddle(self: Arc<Self>, id: AlertId) {
        let wait = self.dice().between(0, 1_200_000);
        self.sleep(millis(wait)).await;
        let what = self.dice().one_of(&[CallKind::Acknowledge, CallKind::Resolve, CallKind::Escalate]);
        let at = moment(self.clock.now());
        let Some(engine) = self.some_engine() else { return };
        let work = async {
            match what {
                CallKind::Acknowledge => engine.acknowledge(id, "Bob", Via::Api, None).await,
                CallKind::Resolve => engine.resolve(id, "Bob").await,
                CallKind::Escalate | CallKind::Raise => engine.escalate(id, "Bob", None, None).await,
            }
        };
        let status = match self.within(Duration::from_secs(20), work).await {
            Some(Ok(_)) => Some(200),
            Some(Err(engine::Error::Stopped)) | None => None,
            Some(Err(engine::Error::Impossible(_))) => Some(409),
            Some(Err(_)) => Some(503),
        };
        self.mark("somebody called the API");
        self.answered(at, what, status, Some(id), None, None);
    }

    /// The provider is asked to send.
    pub(crate) async fn provider_takes(self: &Arc<Self>, node: usize, outbound: &Outbound) -> Answer {
        let down = self.wrong().provider;
        let (cause, outcome, takes_ms, retry_after) = match down {
            Some(Down::Unreachable) => (TroubleCause::Unreachable, TroubleOutcome::NotSent, 10, None),
            Some(Down::Hangs) => (TroubleCause::Unreachable, TroubleOutcome::Unknown, 10_000, None),
            Some(Down::Errors) => (TroubleCause::Provider, TroubleOutcome::Unknown, 10, None),
            Some(Down::Credentials) => (TroubleCause::Credentials, TroubleOutcome::NotSent, 10, None),
            Some(Down::Balance) => (TroubleCause::Balance, TroubleOutcome::NotSent, 10, None),
            Some(Down::RateLimit) => {
                (TroubleCause::RateLimit, TroubleOutcome::NotSent, 10, Some(Duration::from_secs(30)))
            }
            None if self.rolls(|noise| noise.send_trouble) => {
                let retry_after = self.dice().permille(500).then(|| Duration::from_secs(2));
                (TroubleCause::RateLimit, TroubleOutcome::NotSent, 10, retry_after)
            }
            None if self.rolls(|noise| noise.send_refused) => {
                self.mark("the provider refused a message");
                self.note_sent(node, outbound, SentOutcome::Refused, true, None);
                return Answer::Refused(Failure { code: Some("1120".into()), detail: "HTTP 422".into() });
            }
            None => return self.accepts(node, outbound).await,
        };
        self.note_sent(node, outbound, SentOutcome::Trouble, true, None);
        self.sleep(millis(takes_ms)).await;
        Answer::Trouble(trouble(cause, outcome, retry_after))
    }

    async fn accepts(self: &Arc<Self>, node: usize, outbound: &Outbound) -> Answer {
        let id: ProviderId = format!("m-{:016x}", self.dice().next()).parse().unwrap();
        let is_answered = !self.rolls(|noise| noise.send_unanswered);
        self.note_sent(node, outbound, SentOutcome::Accepted, is_answered, Some(&id));
        if outbound.late.is_some() {
            self.mark("a message was late");
        }
        self.fate(outbound, &id);
        if !is_answered {
            self.mark("the answer to a send was lost");
            self.sleep(Duration::from_secs(10)).await;
            return Answer::Trouble(trouble(TroubleCause::Unreachable, TroubleOutcome::Unknown, None));
        }
        let slow_ms = self.dice().one_of(&[0, 0, 0, 300, 4_000]);
        self.sleep(millis(slow_ms)).await;
        Answer::Accepted(Some(id))
    }

    fn note_sent(
        &self,
        node: usize,
        outbound: &Outbound,
        outcome: SentOutcome,
        answered: bool,
        id: Option<&ProviderId>,
    ) {
        self.trace(|| format!("n{node} provider {outcome:?} {} {}", outbound.reference, outbound.step.user));
        let id = id.map(ToString::to_string);
        let (message_uuid, dispatch_uuid) = match outbound.backend {
            Backend::Messages => (id, None),
            Backend::Dispatch => (None, id),
        };
        let first = &outbound.step.first;
        self.notes().sent.push(Sent {
            at: moment(self.clock.now()),
            client_ref: Some(outbound.reference.to_string()),
            message_uuid,
            dispatch_uuid,
            channel: Some(first.channel.name().into()),
            to: Some(first.address.reveal().into()),
            outcome,
            answered,
            node: Some(format!("n{node}")),
        });
    }

    /// What becomes of a message: reports in any order, a person who reads, or not.
    fn fate(self: &Arc<Self>, outbound: &Outbound, id: &ProviderId) {
        let window_ms = u64::try_from(outbound.step.window().as_millis()).unwrap();
        let mut reports: Vec<(u64, WebhookKind)> = Vec::new();
        {
            let mut dice = self.dice();
            match dice.between(0, 99) {
                0..=9 => reports.push((dice.one_of(&[0, 50, 3_000]), WebhookKind::Rejected)),
                10..=14 => reports.push((dice.between(100, window_ms), WebhookKind::Undeliverable)),
                15..=22 => {}
                _ => {
                    reports.push((dice.between(0, 2_000), WebhookKind::Submitted));
                    if dice.permille(900) {
                        reports.push((dice.between(0, 20_000), WebhookKind::Delivered));
                    }
                    match dice.between(0, 99) {
                        0..=9 => reports.push((dice.between(0, window_ms), WebhookKind::Read)),
                        10..=14 => reports.push((dice.between(window_ms, window_ms * 4), WebhookKind::Read)),
                        15..=17 => reports.push((dice.between(3_600_000, 18_000_000), WebhookKind::Read)),
                        18 => reports.push((0, WebhookKind::Read)),
                        19..=25 => reports.push((dice.between(1_000, window_ms * 2), WebhookKind::Reply)),
                        _ => {}
                    }
                }
            }
            if dice.permille(100) {
                let copies: Vec<_> = reports.iter().map(|(at, kind)| (at + dice.between(0, 5_000), *kind)).collect();
                reports.extend(copies);
            }
        }
        let workflow = self.dice().next();
        for (after, kind) in reports {
            let work = Arc::clone(self).report(outbound.clone(), id.clone(), workflow, after, kind);
            self.spawn(work);
        }
    }

    async fn report(self: Arc<Self>, outbound: Outbound, id: ProviderId, message: u64, after: u64, kind: WebhookKind) {
        self.sleep(millis(after)).await;
        // What happens to people in the last minutes is not part of the day.
        if self.is_mended() {
            return;
        }
        let step = &outbound.step;
        let leg = match outbound.backend {
            // Vonage fails over within the workflow; the last channel is what a failure of it is about.
            Backend::Dispatch if kind != WebhookKind::Submitted && kind != WebhookKind::Delivered => step.last(),
            Backend::Dispatch | Backend::Messages => &step.first,
        };
        let wants = match (kind, self.dice().between(0, 4)) {
            (WebhookKind::Reply, 0) => Wants::Next,
            (WebhookKind::Reply, 1) => Wants::Resolve,
            _ => Wants::Acknowledge,
        };
        let status = match kind {
            WebhookKind::Submitted => ReportStatus::Submitted,
            WebhookKind::Delivered => ReportStatus::Delivered,
            WebhookKind::Read | WebhookKind::Reply => ReportStatus::Read,
            WebhookKind::Rejected => ReportStatus::Rejected,
            WebhookKind::Undeliverable => ReportStatus::Undeliverable,
        };
        let incoming = if kind == WebhookKind::Reply {
            let text = match wants {
                Wants::Next => "next",
                Wants::Resolve => "resolved",
                Wants::Acknowledge => "ok",
            };
            Incoming::Message(InboundMessage {
                id: Some(format!("in-{:016x}", self.dice().next()).parse().unwrap()),
                channel: leg.channel,
                from: leg.address.clone(),
                at: Some(self.clock.now()),
                text: Some(format!("{text} {}", outbound.code).into()),
                payload: None,
                quoted: None,
            })
        } else {
            let leg_id: ProviderId = format!("leg-{message:016x}-{}", leg.channel.name()).parse().unwrap();
            Incoming::Status(MessageStatus {
                id: Some(if outbound.backend == Backend::Dispatch { leg_id } else { id.clone() }),
                workflow: (outbound.backend == Backend::Dispatch).then(|| id.clone()),
                reference: (outbound.backend == Backend::Messages).then_some(outbound.reference),
                channel: Some(leg.channel),
                to: Some(leg.address.clone()),
                status,
                failure: None,
            })
        };
        self.deliver(&outbound, &id, &incoming, kind, wants).await;
    }

    /// A webhook is sent until it is answered 200.
    async fn deliver(
        &self,
        outbound: &Outbound,
        id: &ProviderId,
        incoming: &Incoming,
        kind: WebhookKind,
        wants: Wants,
    ) {
        let mut wait = WEBHOOK_AGAIN_MIN;
        loop {
            let at = moment(self.clock.now());
            let is_old = self.bug == Some(Bug::LateReadsAreDropped)
                && kind == WebhookKind::Read
                && self
                    .kept
                    .get(outbound.reference.alert)
                    .await
                    .unwrap()
                    .is_some_and(|stored| stored.alert.newest_attempt() > outbound.reference.attempt);
            let answer = match self.some_engine() {
                Some(_) if is_old => Some(200),
                Some(engine) if self.bug == Some(Bug::AnsweredBeforeCommit) => {
                    // Whatever comes of it.
                    let _outcome = self.within(WEBHOOK_ANSWER_MAX, engine.receive(incoming)).await;
                    Some(200)
                }
                Some(engine) => match self.within(WEBHOOK_ANSWER_MAX, engine.receive(incoming)).await {
                    Some(Ok(_)) => Some(200),
                    Some(Err(engine::Error::Stopped)) | None => None,
                    Some(Err(_)) => Some(503),
                },
                None => None,
            };
            let answered_at = answer.map(|_| moment(self.clock.now()));
            self.trace(|| format!("webhook {kind:?} {} answered {answer:?}", outbound.reference));
            let (message_uuid, dispatch_uuid) = match outbound.backend {
                Backend::Messages => (Some(id.to_string()), None),
                Backend::Dispatch => (None, Some(id.to_string())),
            };
            let client_ref = Some(outbound.reference.to_string());
            self.notes().webhooks.push(Webhook {
                at,
                answered_at,
                answer,
                kind,
                client_ref,
                message_uuid,
                dispatch_uuid,
                wants,
            });
            if answer == Some(200) {
                return;
            }
            self.mark("a webhook was sent again");
            self.sleep(wait).await;
            wait = (wait * 2).min(WEBHOOK_AGAIN_MAX);
        }
    }

    /// What the three records say at the end of the day.
    async fn judge(&self) -> Day {
        let page = Page { limit: usize::MAX, ..Page::default() };
        let kept = self.kept.list(&page).await.unwrap();
        for alert in &kept {
            self.mark_alert(alert);
        }
        let mut notes = self.notes();
        if self.nodes.len() > 1 {
            // Each node judges an outage by the sends that it knows of. A node without a failing send of its
            // own goes on; docs/promise.md names this limit.
            for fault in notes.faults.iter_mut().filter(|fault| fault.kind == FaultKind::Outage) {
                fault.known_at = fault.until;
            }
        }
        let history = History {
            plans: std::mem::take(&mut notes.plans),
            client: std::mem::take(&mut notes.client),
            provider: Provider {
                complete: true,
                sent: std::mem::take(&mut notes.sent),
                webhooks: std::mem::take(&mut notes.webhooks),
            },
            alerts: kept.iter().map(|alert| shown(alert)).collect(),
            faults: std::mem::take(&mut notes.faults),
            ended_at: moment(self.clock.now()),
            late_max_ms: 12_000,
            recovery_ms: RECOVERY_MS,
            clocks_apart_ms: 0,
        };
        Day {
            broken: judge(&history),
            marks: std::mem::take(&mut notes.marks),
            hash: notes.hash,
            lines: notes.lines.take().unwrap_or_default(),
            n_faults: history.faults.len(),
            n_alerts: history.alerts.len(),
            n_sent: history.provider.sent.len(),
        }
    }

    fn mark_alert(&self, alert: &Alert) {
        self.mark(match alert.status.name() {
            "escalating" => "an alert was still escalating",
            "acknowledged" => "an alert was acknowledged",
            "exhausted" => "an alert was exhausted",
            _ => "an alert was resolved",
        });
        if alert.round > 1 {
            self.mark("a second round began");
        }
        for attempt in &alert.attempts {
            match attempt.status().name() {
                "rejected" => self.mark("a message was rejected"),
                "refused" => self.mark("a message was refused"),
                "failed" => self.mark("a channel was given up"),
                "superseded" => self.mark("an attempt was superseded"),
                "expired" => self.mark("a time ran out"),
                _ => {}
            }
        }
        for entry in &alert.timeline {
            match entry.happening.name() {
                "resent_after_restart" => self.mark("a lost send was made again"),
                "repeated" => self.mark("an alert was repeated"),
                "reply" => self.mark("somebody replied"),
                _ => {}
            }
        }
        let exhausted = alert.timeline.iter().any(|entry| entry.happening.name() == "exhausted");
        if exhausted && alert.acknowledged.is_some() {
            self.mark("a read came after the end");
        }
    }
}

/// What is worth being met at least once in a run of any size.
pub(crate) const MARKS: &[&str] = &[
    "a clock was stepped",
    "a commit had an unknown outcome",
    "a commit was lost",
    "a lost send was made again",
    "a message was late",
    "a message was refused",
    "a message was rejected",
    "a node was cut off",
    "a node was frozen",
    "a node was killed",
    "a read came after the end",
    "a request was made again",
    "a second round began",
    "a time ran out",
    "a webhook was parked",
    "a webhook was sent again",
    "an alert was acknowledged",
    "an alert was exhausted",
    "an alert was repeated",
    "an alert was resolved",
    "an alert was still escalating",
    "an attempt was superseded",
    "killed in the middle of a call",
    "several nodes",
    "somebody called the API",
    "somebody replied",
    "the answer to a send was lost",
    "the disk was full",
    "the provider refused a message",
    "the provider was down",
    "the store was down",
    "the store was slow",
];

fn trouble(cause: TroubleCause, outcome: TroubleOutcome, retry_after: Option<Duration>) -> SendTrouble {
    SendTrouble { cause, failure: Failure { code: None, detail: "trouble".into() }, outcome, retry_after }
}

/// An alert as the API shows it.
fn shown(alert: &Alert) -> AlertShown {
    let current = alert.progress().map(|progress| CurrentShown {
        attempt: alert.newest_attempt(),
        expires_at: match progress {
            Progress::Waiting { until } => Some(moment(until)),
            Progress::Ready { .. } | Progress::Sending { .. } => None,
        },
    });
    let attempt = |(number, attempt): (u32, &callout::escalation::Attempt)| {
        let step = alert.step_of(attempt);
        let id = attempt.provider_ids.last().map(ToString::to_string);
        let is_dispatch = alert.plan().backend() == Backend::Dispatch;
        AttemptShown {
            number,
            round: attempt.round,
            user: step.map(|step| step.user.to_string()).unwrap_or_default(),
            channel: step.and_then(callout::escalation::Step::shown_channel).map(|channel| channel.name().into()),
            status: attempt.status().name().into(),
            message_uuid: id.clone().filter(|_| !is_dispatch),
            dispatch_uuid: id.filter(|_| is_dispatch),
            tries: attempt.tries,
            sent_at: attempt.sent_at.map(moment),
            expires_at: attempt.expires_at.map(moment),
            delivered_at: attempt.delivered_at.map(moment),
            read_at: attempt.read_at.map(moment),
        }
    };
    AlertShown {
        id: alert.id().to_string(),
        status: alert.status.name().into(),
        policy: alert.raised.policy.as_deref().map(Into::into),
        dedup_key: alert.raised.dedup_key.as_deref().map(Into::into),
        repeats: alert.repeats,
        created_at: moment(alert.raised.at),
        updated_at: moment(alert.updated_at),
        round: alert.round,
        current,
        acknowledged: alert.acknowledged.as_ref().map(|acknowledged| AcknowledgedShown {
            by: acknowledged.by.to_string(),
            via: acknowledged.via.name().into(),
        }),
        attempts: (1_u32..).zip(&alert.attempts).map(attempt).collect(),
        timeline: alert
            .timeline
            .iter()
            .map(|entry| EntryShown {
                at: moment(entry.at),
                event: entry.happening.name().into(),
                attempt: entry.attempt,
                by: entry.by.as_deref().map(Into::into),
                detail: entry.detail.as_deref().map(Into::into),
            })
            .collect(),
    }
}
