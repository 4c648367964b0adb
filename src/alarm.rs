//! Operator alarms: what the people who run callout must be told, whether or not Vonage works.
//!
//! Whoever notices something raises it here; whoever carries it further (e-mail, callbacks) listens. This
//! module does no I/O but a log line and a count, never blocks and never fails, so that it can be called
//! from any path. An alarm carries a name, a fixed sentence and at most an alert's id, so that nothing
//! private can leave through it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::id::AlertId;
use crate::metrics::Metrics;
use crate::timestamp::Timestamp;

/// The same alarm (about the same alert, where it is about one) is told again after this long at the earliest.
pub const ALARM_AGAIN_AFTER: Duration = Duration::from_mins(15);
/// How many alarms are remembered as told; beyond it the oldest is forgotten and may be told again.
pub const ALARMS_REMEMBERED_MAX: usize = 1_000;
/// How many alarms wait for a listener that is slow; beyond it the oldest are left to log and metrics.
pub const ALARMS_WAITING_MAX: usize = 256;

/// Something that somebody who runs callout must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alarm {
    /// Vonage refuses our credentials.
    VonageCredentialsRefused,
    /// The Vonage account has no money left.
    VonageBalance,
    /// Nothing gets through to Vonage.
    VonageUnreachable,
    /// Nothing gets through to Vonage from this node, though it does from others.
    NodeCutOff,
    /// Nothing gets through to the mail server.
    EmailUnreachable,
    /// Nobody answered an alert.
    AlertExhausted,
    /// The auditor found an open alert that nobody works on.
    AuditFailed,
    /// There is little room left for the database.
    DiskLow,
    /// The database cannot be written any more.
    DiskFailed,
    /// A scheduled backup could not be made or checked.
    BackupFailed,
    /// A callback was given up.
    DeliveryDead,
    /// An endpoint of callbacks said that it is gone, and gets nothing any more.
    EndpointGone,
}

impl Alarm {
    /// Every alarm.
    pub const ALL: [Self; 12] = [
        Self::VonageCredentialsRefused,
        Self::VonageBalance,
        Self::VonageUnreachable,
        Self::NodeCutOff,
        Self::EmailUnreachable,
        Self::AlertExhausted,
        Self::AuditFailed,
        Self::DiskLow,
        Self::DiskFailed,
        Self::BackupFailed,
        Self::DeliveryDead,
        Self::EndpointGone,
    ];

    /// The alarms that end when messages get through to Vonage again.
    pub const OF_VONAGE: [Self; 3] = [Self::VonageCredentialsRefused, Self::VonageBalance, Self::VonageUnreachable];

    /// The name in metrics, logs and callbacks; it never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VonageCredentialsRefused => "vonage_credentials_refused",
            Self::VonageBalance => "vonage_balance",
            Self::VonageUnreachable => "vonage_unreachable",
            Self::NodeCutOff => "node_cut_off",
            Self::EmailUnreachable => "email_unreachable",
            Self::AlertExhausted => "alert_exhausted",
            Self::AuditFailed => "audit_failed",
            Self::DiskLow => "disk_low",
            Self::DiskFailed => "disk_failed",
            Self::BackupFailed => "backup_failed",
            Self::DeliveryDead => "delivery_dead",
            Self::EndpointGone => "endpoint_gone",
        }
    }

    /// What has happened, in one sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::VonageCredentialsRefused => "Vonage refuses callout's credentials, so that nobody can be messaged.",
            Self::VonageBalance => "The Vonage account has no money left, so that nobody can be messaged.",
            Self::VonageUnreachable => {
                "Nothing gets through to Vonage; alerts are held where they are and tried again until it does."
            }
            Self::NodeCutOff => {
                "Sends of one node alone do not get through to Vonage; it leaves alerts to the other nodes, whose sends do."
            }
            Self::EmailUnreachable => "Nothing gets through to the mail server.",
            Self::AlertExhausted => "Everybody was messaged about an alert and nobody answered.",
            Self::AuditFailed => "An open alert was found that nobody works on.",
            Self::DiskLow => "There is little room left on the disk of the database.",
            Self::DiskFailed => "The database cannot be written any more; new alerts are refused.",
            Self::BackupFailed => "A scheduled backup of the database could not be made.",
            Self::DeliveryDead => "A callback was tried for days and has been given up.",
            Self::EndpointGone => "An endpoint of callbacks answered 410 Gone; it gets nothing until a reload.",
        }
    }

    /// What to do, in one sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::VonageCredentialsRefused => {
                "Check the application id, the private key and the clock of the machine; then reload."
            }
            Self::VonageBalance => "Top up the Vonage account; what waits goes out by itself.",
            Self::VonageUnreachable => {
                "Check the machine's network and name service and Vonage's status page; call people yourself meanwhile."
            }
            Self::NodeCutOff => {
                "Check the network, the name service and the clock of that node's machine; it tries again every few seconds."
            }
            Self::EmailUnreachable => "Check smtp.url in the configuration, and the mail server.",
            Self::AlertExhausted => "Look at the alert, and see to it yourself or call somebody.",
            Self::AuditFailed => "Look at the log for the alert's id; restarting callout takes it up again.",
            Self::DiskLow => "Make room on the disk before it is full.",
            Self::DiskFailed => "Look at the disk and the log; restart callout when the disk is well.",
            Self::BackupFailed => "Look at the log, and at room and rights where backups are kept.",
            Self::DeliveryDead => "See `callout deliveries --dead`; mend the receiver, then replay.",
            Self::EndpointGone => "Mend the receiver or take it out of `callbacks`, then reload.",
        }
    }
}

/// Whether an alarm begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It is so.
    Raised,
    /// It is so no longer.
    Over,
}

impl Phase {
    /// The name in callbacks and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Over => "over",
        }
    }
}

/// An alarm as listeners hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which.
    pub alarm: Alarm,
    /// Whether it begins or ends.
    pub phase: Phase,
    /// The alert that it is about, if it is about one.
    pub alert: Option<AlertId>,
    /// When.
    pub at: Timestamp,
}

/// Where alarms are raised and heard.
pub struct Alarms {
    metrics: Arc<Metrics>,
    told: Mutex<BTreeMap<(Alarm, Option<AlertId>), Timestamp>>,
    listeners: broadcast::Sender<Told>,
}

impl fmt::Debug for Alarms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Alarms").field("n_told", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Alarms {
    /// With nothing raised.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, told: Mutex::default(), listeners: broadcast::channel(ALARMS_WAITING_MAX).0 }
    }

    /// A critical section holds only map operations, and is never held over an await.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Alarm, Option<AlertId>), Timestamp>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something is so now. Saying it again within [`ALARM_AGAIN_AFTER`] is only counted.
    pub fn raise(&self, alarm: Alarm, alert: Option<AlertId>, now: Timestamp) {
        self.metrics.alarm(alarm.name());
        if !self.is_news((alarm, alert), now) {
            return;
        }
        if let Some(id) = alert {
            tracing::error!(alarm = alarm.name(), alert.id = %id, "ALARM: {} {}", alarm.sentence(), alarm.advice());
        } else {
            tracing::error!(alarm = alarm.name(), "ALARM: {} {}", alarm.sentence(), alarm.advice());
        }
        self.tell(Told { alarm, phase: Phase::Raised, alert, at: now });
    }

    /// Says that something is so no longer; nothing happens where nobody was told that it was.
    pub fn over(&self, alarm: Alarm, now: Timestamp) {
        let was_told = {
            let mut told = self.lock();
            let n_before = told.len();
            told.retain(|(kept, _), _| *kept != alarm);
            told.len() != n_before
        };
        if was_told {
            tracing::info!(alarm = alarm.name(), "ALARM OVER: {}", alarm.name());
            self.tell(Told { alarm, phase: Phase::Over, alert: None, at: now });
        }
    }

    /// Hears every alarm that is told from now on.
    pub fn listen(&self) -> broadcast::Receiver<Told> {
        self.listeners.subscribe()
    }

    fn is_news(&self, key: (Alarm, Option<AlertId>), now: Timestamp) -> bool {
        let mut told = self.lock();
        if told.get(&key).is_some_and(|told_at| now.since(*told_at) < ALARM_AGAIN_AFTER) {
            return false;
        }
        told.insert(key, now);
        if told.len() > ALARMS_REMEMBERED_MAX
            && let Some(oldest) = told.iter().min_by_key(|(_, told_at)| **told_at).map(|(key, _)| *key)
        {
            told.remove(&oldest);
        }
        true
    }

    fn tell(&self, told: Told) {
        // Nobody may be listening; log and metrics have it.
        let _n_listeners = self.listeners.send(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * MINUTE)
    }

    fn heard(listener: &mut broadcast::Receiver<Told>) -> Vec<(Alarm, Phase)> {
        std::iter::from_fn(|| listener.try_recv().ok()).map(|told| (told.alarm, told.phase)).collect()
    }

    #[test]
    fn an_alarm_is_told_once_until_a_quarter_of_an_hour_has_passed() {
        let alarms = Alarms::new(Arc::new(Metrics::new()));
        let mut listener = alarms.listen();
        for minutes in [0, 1, 14, 15, 16] {
            alarms.raise(Alarm::DiskLow, None, at(minutes));
        }
        assert_eq!(heard(&mut listener), [(Alarm::DiskLow, Phase::Raised); 2], "at 0 and at 15 minutes");
    }

    #[test]
    fn each_exhausted_alert_is_told_of() {
        let alarms = Alarms::new(Arc::new(Metrics::new()));
        let mut listener = alarms.listen();
        for bits in [1, 2, 1] {
            alarms.raise(Alarm::AlertExhausted, Some(AlertId::from_bits(bits)), at(0));
        }
        assert_eq!(heard(&mut listener).len(), 2);
    }

    #[test]
    fn the_end_is_told_only_of_what_was_told() {
        let alarms = Alarms::new(Arc::new(Metrics::new()));
        let mut listener = alarms.listen();
        alarms.over(Alarm::VonageBalance, at(0));
        alarms.raise(Alarm::VonageBalance, None, at(1));
        alarms.over(Alarm::VonageBalance, at(2));
        alarms.over(Alarm::VonageBalance, at(3));
        alarms.raise(Alarm::VonageBalance, None, at(4));
        let balance = |phase| (Alarm::VonageBalance, phase);
        assert_eq!(heard(&mut listener), [balance(Phase::Raised), balance(Phase::Over), balance(Phase::Raised)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let alarms = Alarms::new(Arc::new(Metrics::new()));
        for bits in 0..2_000 {
            alarms.raise(Alarm::AlertExhausted, Some(AlertId::from_bits(bits)), at(0));
        }
        assert_eq!(alarms.lock().len(), ALARMS_REMEMBERED_MAX);
    }

    #[test]
    fn no_two_alarms_share_a_name() {
        let names: std::collections::BTreeSet<_> = Alarm::ALL.iter().map(|alarm| alarm.name()).collect();
        assert_eq!(names.len(), Alarm::ALL.len());
    }
}
