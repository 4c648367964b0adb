//! What is counted. Each service has its own registry, so that several in one process do not meet.
//!
//! Labels take their values from small closed sets only, never from what somebody sent.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, &'static str)>;

/// The counters of one service.
pub struct Metrics {
    registry: Registry,
    alerts: Family<Labels, Counter>,
    sends: Family<Labels, Counter>,
    webhooks: Family<Labels, Counter>,
    ignored: Family<Labels, Counter>,
    waiting: Gauge,
    armed: Gauge,
    failing: Gauge<i64>,
    failed_tasks: Counter<u64, AtomicU64>,
    alarms: Family<Labels, Counter>,
    forgotten: Counter<u64, AtomicU64>,
    callbacks: Family<Labels, Counter>,
    quarantined: Gauge,
    audit_found: Counter<u64, AtomicU64>,
    disk_free: Gauge,
    integrations: Family<Vec<(&'static str, String)>, Counter>,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("callout");
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
        let failed_tasks = Counter::default();
        registry.register("failures", "Work on an alert that failed inside callout", failed_tasks.clone());
        let alarms = Family::<Labels, Counter>::default();
        registry.register("alarms", "Alarms raised for the people who run callout", alarms.clone());
        let forgotten = Counter::default();
        registry.register("alerts_forgotten", "Alerts that were settled longer than they are kept", forgotten.clone());
        let callbacks = Family::<Labels, Counter>::default();
        registry.register("callbacks", "Tries of callbacks by what they tell of and outcome", callbacks.clone());
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
        let integrations = Family::<Vec<(&'static str, String)>, Counter>::default();
        let help = "Requests of other tools by integration and outcome";
        registry.register("integration_requests", help, integrations.clone());
        Self {
            registry,
            alerts,
            sends,
            webhooks,
            ignored,
            waiting,
            armed,
            failing,
            failed_tasks,
            alarms,
            forgotten,
            callbacks,
            quarantined,
            audit_found,
            disk_free,
            integrations,
        }
    }

    /// An alert was raised or changed its status.
    pub fn alert_changed(&self, change: &'static str) {
        self.alerts.get_or_create(&vec![("change", change)]).inc();
    }

    /// A send ended.
    pub fn sent(&self, channel: &'static str, outcome: &'static str) {
        self.sends.get_or_create(&vec![("channel", channel), ("outcome", outcome)]).inc();
    }

    /// A webhook was answered.
    pub fn webhook(&self, kind: &'static str, outcome: &'static str) {
        self.webhooks.get_or_create(&vec![("kind", kind), ("outcome", outcome)]).inc();
    }

    /// An event changed nothing.
    pub fn ignored(&self, reason: &'static str) {
        self.ignored.get_or_create(&vec![("reason", reason)]).inc();
    }

    /// A callback was tried.
    pub fn callback(&self, topic: &'static str, outcome: &'static str) {
        self.callbacks.get_or_create(&vec![("topic", topic), ("outcome", outcome)]).inc();
    }

    /// An alarm was raised.
    pub fn alarm(&self, alarm: &'static str) {
        self.alarms.get_or_create(&vec![("alarm", alarm)]).inc();
    }

    /// A request of another tool was answered. The integration is one that the configuration names; it is
    /// empty where no valid key came.
    pub fn integration(&self, name: &str, outcome: &'static str) {
        let labels = vec![("integration", name.to_owned()), ("outcome", outcome.to_owned())];
        self.integrations.get_or_create(&labels).inc();
    }

    /// Work on an alert failed inside callout.
    pub fn failure(&self) {
        self.failed_tasks.inc();
    }

    /// Alerts were forgotten, because they had been settled for long.
    pub fn forgotten(&self, n_alerts: usize) {
        self.forgotten.inc_by(u64::try_from(n_alerts).unwrap_or(u64::MAX));
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

    /// The figures that are read off rather than counted.
    pub fn observe(&self, n_waiting: usize, n_armed: usize, n_failing: usize) {
        self.waiting.set(i64::try_from(n_waiting).unwrap_or(i64::MAX));
        self.armed.set(i64::try_from(n_armed).unwrap_or(i64::MAX));
        self.failing.set(i64::try_from(n_failing).unwrap_or(i64::MAX));
    }

    /// Everything, in the text form that Prometheus reads.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
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
