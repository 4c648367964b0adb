//! What is counted. Each service has its own registry, so that several in one process do not meet.
//!
//! Labels take their values from small closed sets only, never from what somebody sent. What is counted on
//! the hot paths is an addition; what is read off (queues, the process) is read when somebody asks.

mod process;
mod text;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use process::Process;

type Labels = Vec<(&'static str, &'static str)>;
type Durations = Family<Labels, Histogram, fn() -> Histogram>;

/// In seconds: how long people and messages take. Half a second is a push message, a day the longest expiry.
const WAITS: [f64; 13] = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 86_400.0];
/// In seconds: how late a timer is.
const LATENESSES: [f64; 9] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];
/// How many changes one commit has.
const BATCHES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// What a store counts while it works.
#[derive(Clone, Debug)]
pub struct StoreMeter {
    /// Changes that wait for the disk.
    pub waiting: Gauge,
    /// Changes that were refused because too much waited.
    pub refused: Counter,
    batches: Histogram,
}

impl StoreMeter {
    /// Nothing so far.
    pub fn new() -> Self {
        Self { waiting: Gauge::default(), refused: Counter::default(), batches: Histogram::new(BATCHES) }
    }

    /// So many changes were committed together.
    pub fn committed(&self, n_changes: usize) {
        self.batches.observe(u32::try_from(n_changes).map_or(f64::MAX, f64::from));
    }
}

impl Default for StoreMeter {
    fn default() -> Self {
        Self::new()
    }
}

/// The figures that are read off rather than counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readings {
    /// Attempts waiting for their turn to be sent.
    pub waiting: usize,
    /// Wake-ups to come.
    pub armed: usize,
    /// Alerts whose sends fail while nothing is accepted.
    pub failing: usize,
    /// The judgement on the way to Vonage: one of [`WAYS`].
    pub way: &'static str,
}

/// What the way to Vonage can be: sends get through, one alert's sends fail, nothing gets through.
pub const WAYS: [&str; 3] = ["open", "doubtful", "blocked"];

/// The counters of one service.
pub struct Metrics {
    registry: Mutex<Registry>,
    escalating: Gauge,
    alerts: Family<Labels, Counter>,
    sends: Family<Labels, Counter>,
    webhooks: Family<Labels, Counter>,
    ignored: Family<Labels, Counter>,
    waiting: Gauge,
    armed: Gauge,
    failing: Gauge<i64>,
    way: Family<Labels, Gauge>,
    lateness: Histogram,
    until_sent: Histogram,
    until_delivered: Durations,
    until_read: Durations,
    until_acknowledged: Durations,
    failed_tasks: Counter<u64, AtomicU64>,
    alarms: Family<Labels, Counter>,
    forgotten: Counter<u64, AtomicU64>,
    callbacks: Family<Labels, Counter>,
    integrations: Family<Vec<(&'static str, String)>, Counter>,
    bodies_refused: Family<Labels, Counter>,
    displaced: Counter<u64, AtomicU64>,
    quarantined: Gauge,
    audit_found: Counter<u64, AtomicU64>,
    disk_free: Gauge,
    process: Process,
}

impl Metrics {
    /// All at zero.
    #[expect(clippy::too_many_lines, reason = "a list of what there is, one line or two for each")]
    pub fn new() -> Self {
        let mut whole = Registry::default();
        let process = Process::new(&mut whole);
        let registry = whole.sub_registry_with_prefix("callout");
        let escalating = Gauge::default();
        registry.register("alerts_escalating", "Alerts that are escalating now", escalating.clone());
        let alerts = Family::<Labels, Counter>::default();
        registry.register("alert_changes", "Alerts raised, and changes of their status", alerts.clone());
        let sends = Family::<Labels, Counter>::default();
        registry.register("sends", "Sends by channel and outcome", sends.clone());
        let webhooks = Family::<Labels, Counter>::default();
        registry.register("webhooks", "Webhooks by kind and outcome", webhooks.clone());
        let ignored = Family::<Labels, Counter>::default();
        registry.register("events_ignored", "Events that changed nothing, by reason", ignored.clone());
        let waiting = Gauge::default();
        registry.register("sends_waiting", "Attempts waiting for their turn to be sent", waiting.clone());
        let armed = Gauge::default();
        registry.register("timers_armed", "Wake-ups that this process will bring", armed.clone());
        let failing = Gauge::default();
        registry.register("alerts_failing", "Alerts whose sends fail while nothing is accepted", failing.clone());
        let way = Family::<Labels, Gauge>::default();
        registry.register("vonage_way", "The way to Vonage: 1 for the state that it is in", way.clone());
        let lateness = Histogram::new(LATENESSES);
        registry.register("timer_lateness_seconds", "How late wake-ups came", lateness.clone());
        let until_sent = Histogram::new(WAITS);
        registry.register("raised_to_sent_seconds", "From an alert to its first accepted message", until_sent.clone());
        let waits: fn() -> Histogram = || Histogram::new(WAITS);
        let until_delivered = Family::new_with_constructor(waits);
        registry.register("sent_to_delivered_seconds", "From sent to delivered", until_delivered.clone());
        let until_read = Family::new_with_constructor(waits);
        registry.register("sent_to_read_seconds", "From sent to read", until_read.clone());
        let until_acknowledged = Family::new_with_constructor(waits);
        registry.register(
            "raised_to_acknowledged_seconds",
            "From an alert to somebody's acknowledgement, by what brought it",
            until_acknowledged.clone(),
        );
        let failed_tasks = Counter::default();
        registry.register("failures", "Work on an alert that failed inside callout", failed_tasks.clone());
        let alarms = Family::<Labels, Counter>::default();
        registry.register("alarms", "Alarms raised for the people who run callout", alarms.clone());
        let forgotten = Counter::default();
        registry.register("alerts_forgotten", "Alerts that were settled longer than they are kept", forgotten.clone());
        let callbacks = Family::<Labels, Counter>::default();
        registry.register("callbacks", "Tries of callbacks by what they tell of and outcome", callbacks.clone());
        let integrations = Family::<Vec<(&'static str, String)>, Counter>::default();
        let help = "Requests of other tools by integration and outcome";
        registry.register("integration_requests", help, integrations.clone());
        let bodies_refused = Family::<Labels, Counter>::default();
        let help = "Requests that were refused because too much was being sent at once";
        registry.register("bodies_refused", help, bodies_refused.clone());
        let displaced = Counter::default();
        let help = "Idle or slow connections that were closed for new ones because all were taken";
        registry.register("connections_displaced", help, displaced.clone());
        let quarantined = Gauge::default();
        registry.register("alerts_quarantined", "Alerts that callout cannot work on", quarantined.clone());
        let audit_found = Counter::default();
        registry.register(
            "audit_found",
            "Open alerts that nobody worked on when they were audited",
            audit_found.clone(),
        );
        let disk_free = Gauge::default();
        registry.register("disk_free_bytes", "Room on the disk of the database", disk_free.clone());
        // A counter that begins with its first event is not seen to grow by it.
        for change in ["raised", "repeated", "acknowledged", "exhausted", "resolved"] {
            drop(alerts.get_or_create(&vec![("change", change)]));
        }
        drop(webhooks.get_or_create(&vec![("kind", "forged"), ("outcome", "refused")]));
        for whose in ["callers", "webhooks", "strangers"] {
            drop(bodies_refused.get_or_create(&vec![("of", whose)]));
        }
        Self {
            registry: Mutex::new(whole),
            escalating,
            alerts,
            sends,
            webhooks,
            ignored,
            waiting,
            armed,
            failing,
            way,
            lateness,
            until_sent,
            until_delivered,
            until_read,
            until_acknowledged,
            failed_tasks,
            alarms,
            forgotten,
            callbacks,
            integrations,
            bodies_refused,
            displaced,
            quarantined,
            audit_found,
            disk_free,
            process,
        }
    }

    /// Shows what a store counts as well.
    pub fn watch(&self, store: &StoreMeter) {
        let mut whole = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = whole.sub_registry_with_prefix("callout");
        registry.register("store_waiting", "Changes that wait for the disk", store.waiting.clone());
        let refused = "Changes that were refused because too much waited";
        registry.register("store_refused", refused, store.refused.clone());
        registry.register("store_commit_changes", "Changes that one commit had", store.batches.clone());
    }

    /// An alert was raised or changed its status.
    pub fn alert_changed(&self, change: &'static str) {
        self.alerts.get_or_create(&vec![("change", change)]).inc();
    }

    /// So many more alerts are escalating, or so many fewer.
    pub fn escalating(&self, difference: i64) {
        self.escalating.inc_by(difference);
    }

    /// A send ended.
    pub fn sent(&self, channel: &'static str, outcome: &'static str) {
        self.sends.get_or_create(&vec![("channel", channel), ("outcome", outcome)]).inc();
    }

    /// The first message of an alert was accepted so long after the alert was raised.
    pub fn first_sent_after(&self, wait: Duration) {
        self.until_sent.observe(wait.as_secs_f64());
    }

    /// A message was delivered so long after it was sent.
    pub fn delivered_after(&self, channel: &'static str, wait: Duration) {
        self.until_delivered.get_or_create(&vec![("channel", channel)]).observe(wait.as_secs_f64());
    }

    /// A message was read so long after it was sent.
    pub fn read_after(&self, channel: &'static str, wait: Duration) {
        self.until_read.get_or_create(&vec![("channel", channel)]).observe(wait.as_secs_f64());
    }

    /// An alert was acknowledged so long after it was raised.
    pub fn acknowledged_after(&self, channel: &'static str, via: &'static str, wait: Duration) {
        let labels = vec![("channel", channel), ("via", via)];
        self.until_acknowledged.get_or_create(&labels).observe(wait.as_secs_f64());
    }

    /// A webhook was answered.
    pub fn webhook(&self, kind: &'static str, outcome: &'static str) {
        self.webhooks.get_or_create(&vec![("kind", kind), ("outcome", outcome)]).inc();
    }

    /// An event changed nothing.
    pub fn ignored(&self, reason: &'static str) {
        self.ignored.get_or_create(&vec![("reason", reason)]).inc();
    }

    /// A wake-up came so much later than it was due.
    pub fn woke_late(&self, lateness: Duration) {
        self.lateness.observe(lateness.as_secs_f64());
    }

    /// An alarm was raised.
    pub fn alarm(&self, alarm: &'static str) {
        self.alarms.get_or_create(&vec![("alarm", alarm)]).inc();
    }

    /// Work on an alert failed inside callout.
    pub fn failure(&self) {
        self.failed_tasks.inc();
    }

    /// Alerts were forgotten, because they had been settled for long.
    pub fn forgotten(&self, n_alerts: usize) {
        self.forgotten.inc_by(u64::try_from(n_alerts).unwrap_or(u64::MAX));
    }

    /// A callback was tried.
    pub fn callback(&self, topic: &'static str, outcome: &'static str) {
        self.callbacks.get_or_create(&vec![("topic", topic), ("outcome", outcome)]).inc();
    }

    /// So many alerts are left alone, because working on them fails again and again.
    pub fn quarantined(&self, n_alerts: usize) {
        self.quarantined.set(i64::try_from(n_alerts).unwrap_or(i64::MAX));
    }

    /// The audit found an alert that nobody worked on.
    pub fn audit_found(&self) {
        self.audit_found.inc();
    }

    /// So many bytes may still be written to the disk of the database.
    pub fn disk_free(&self, n_bytes: u64) {
        self.disk_free.set(i64::try_from(n_bytes).unwrap_or(i64::MAX));
    }

    /// A request of another tool was answered. The integration is one that the configuration names; it is
    /// empty where no valid key came.
    pub fn integration(&self, name: &str, outcome: &'static str) {
        let labels = vec![("integration", name.to_owned()), ("outcome", outcome.to_owned())];
        self.integrations.get_or_create(&labels).inc();
    }

    /// A connection that kept callout waiting was closed for a new one.
    pub fn connection_displaced(&self) {
        self.displaced.inc();
    }

    /// A request was refused because the bodies of whoever sent it had all the memory that they may have.
    pub fn body_refused(&self, whose: &'static str) {
        self.bodies_refused.get_or_create(&vec![("of", whose)]).inc();
    }

    /// The figures that are read off rather than counted.
    pub fn observe(&self, readings: Readings) {
        self.waiting.set(i64::try_from(readings.waiting).unwrap_or(i64::MAX));
        self.armed.set(i64::try_from(readings.armed).unwrap_or(i64::MAX));
        self.failing.set(i64::try_from(readings.failing).unwrap_or(i64::MAX));
        for way in WAYS {
            self.way.get_or_create(&vec![("state", way)]).set(i64::from(way == readings.way));
        }
    }

    /// Everything, as `OpenMetrics` has it.
    pub fn render(&self) -> Result<String, fmt::Error> {
        self.process.read();
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }

    /// Everything, as Prometheus' own text form has it, which every tool reads.
    pub fn render_text(&self) -> Result<String, fmt::Error> {
        self.render().map(|text| text::from_open_metrics(&text))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Metrics")
    }
}
