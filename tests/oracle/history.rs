//! What the oracle is given. The form is explained in the module above.

use std::collections::BTreeMap;

use callout::timestamp::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) i64);

impl Moment {
    pub(crate) const fn plus(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", Timestamp::from_millis(self.0))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Told {
            Millis(i64),
            Text(String),
        }
        match Told::deserialize(deserializer)? {
            Told::Millis(millis) => Ok(Self(millis)),
            Told::Text(text) => match text.parse::<Timestamp>() {
                Ok(moment) => Ok(Self(moment.as_millis())),
                Err(error) => Err(D::Error::custom(format!("{text}: {error}"))),
            },
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    pub(crate) plans: BTreeMap<String, PlanTold>,
    #[serde(default)]
    pub(crate) client: Vec<Call>,
    #[serde(default)]
    pub(crate) provider: Provider,
    pub(crate) alerts: Vec<AlertShown>,
    #[serde(default)]
    pub(crate) faults: Vec<Fault>,
    pub(crate) ended_at: Moment,
    /// How late anything may be that no fault excuses.
    #[serde(default = "late_max_ms")]
    pub(crate) late_max_ms: i64,
    /// How long after a fault is mended things may still be late.
    #[serde(default = "recovery_ms")]
    pub(crate) recovery_ms: i64,
    /// How far the clocks of nodes, provider and client may be apart.
    #[serde(default)]
    pub(crate) clocks_apart_ms: i64,
    /// How long nodes that share a store take to hear of each other what fails and what gets through.
    #[serde(default)]
    pub(crate) news_ms: i64,
    /// How long a call may wait for its answer, whatever is wrong.
    #[serde(default)]
    pub(crate) answer_max_ms: Option<i64>,
    /// How soon what a process left is taken up.
    #[serde(default)]
    pub(crate) taken_up: Option<TakenUp>,
    /// What the people who run callout were told, if that was listened to.
    #[serde(default)]
    pub(crate) alarms: Option<Vec<AlarmTold>>,
    /// Alerts whose record nobody can read any more, and from when on.
    #[serde(default)]
    pub(crate) poisoned: BTreeMap<String, Moment>,
}

/// How soon deadlines and half-done sends are taken up: after the next start, or by others after the end of a process.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TakenUp {
    #[serde(default)]
    pub(crate) by_others: bool,
    pub(crate) deadlines_ms: i64,
    pub(crate) sends_ms: i64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlarmTold {
    pub(crate) at: Moment,
    pub(crate) name: String,
    pub(crate) alert: Option<String>,
}

fn late_max_ms() -> i64 {
    2_000
}

fn recovery_ms() -> i64 {
    1_000
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PlanTold {
    #[serde(default)]
    pub(crate) backend: BackendTold,
    #[serde(default)]
    pub(crate) repeat: u32,
    pub(crate) users: Vec<UserTold>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BackendTold {
    #[default]
    Messages,
    Dispatch,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct UserTold {
    pub(crate) name: String,
    pub(crate) channels: Vec<ChannelTold>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ChannelTold {
    #[serde(rename = "type")]
    pub(crate) channel: String,
    #[serde(alias = "address")]
    pub(crate) id_num: String,
    #[serde(default = "expiry_default")]
    pub(crate) expiry_time: i64,
    #[serde(default)]
    pub(crate) condition_status: ConditionTold,
}

fn expiry_default() -> i64 {
    600
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConditionTold {
    #[default]
    Read,
    Delivered,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    pub(crate) at: Moment,
    pub(crate) answered_at: Option<Moment>,
    #[serde(rename = "call")]
    pub(crate) what: CallKind,
    pub(crate) status: Option<u16>,
    pub(crate) id: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) body: Option<String>,
    #[serde(default)]
    pub(crate) dedup_key: Option<String>,
    /// Whether the answer says when to ask again, where that was looked at.
    #[serde(default)]
    pub(crate) retry_after: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CallKind {
    Raise,
    Acknowledge,
    Resolve,
    Escalate,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    #[serde(default)]
    pub(crate) complete: bool,
    #[serde(default)]
    pub(crate) sent: Vec<Sent>,
    #[serde(default)]
    pub(crate) webhooks: Vec<Webhook>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Sent {
    pub(crate) at: Moment,
    pub(crate) client_ref: Option<String>,
    pub(crate) message_uuid: Option<String>,
    pub(crate) dispatch_uuid: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) to: Option<String>,
    #[serde(default)]
    pub(crate) outcome: SentOutcome,
    #[serde(default = "yes")]
    pub(crate) answered: bool,
    pub(crate) node: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SentOutcome {
    #[default]
    Accepted,
    Refused,
    Trouble,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    pub(crate) at: Moment,
    pub(crate) answered_at: Option<Moment>,
    pub(crate) answer: Option<u16>,
    pub(crate) kind: WebhookKind,
    pub(crate) client_ref: Option<String>,
    pub(crate) message_uuid: Option<String>,
    pub(crate) dispatch_uuid: Option<String>,
    #[serde(default)]
    pub(crate) wants: Wants,
    /// Somebody else made it up.
    #[serde(default)]
    pub(crate) forged: bool,
    /// Of a reply that has no code: who wrote it. It may mean any alert that messaged them.
    #[serde(default)]
    pub(crate) writer: Option<Writer>,
    /// When what it tells happened, where that is known; it may have been sent before.
    #[serde(default)]
    pub(crate) written_at: Option<Moment>,
}

impl Webhook {
    pub(crate) fn written(&self) -> Moment {
        self.written_at.unwrap_or(self.at)
    }
}

/// Somebody at an address of theirs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Writer {
    pub(crate) channel: String,
    pub(crate) address: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WebhookKind {
    Submitted,
    Delivered,
    Read,
    Rejected,
    Undeliverable,
    Reply,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wants {
    #[default]
    Acknowledge,
    Next,
    Resolve,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) at: Moment,
    pub(crate) until: Option<Moment>,
    pub(crate) known_at: Option<Moment>,
    pub(crate) node: Option<String>,
    /// Of a store: it keeps nothing at all meanwhile.
    #[serde(default)]
    pub(crate) keeps_nothing: bool,
    /// Of an overload: how many posts a minute can be kept meanwhile.
    #[serde(default)]
    pub(crate) keeps_per_minute: Option<i64>,
    /// Of an overload: how late what was accepted may be.
    #[serde(default)]
    pub(crate) late_max_ms: Option<i64>,
}

impl Fault {
    pub(crate) fn mended(&self) -> Moment {
        self.until.unwrap_or(self.at)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FaultKind {
    Crash,
    Replaced,
    Overload,
    Pause,
    Partition,
    Alone,
    Outage,
    Account,
    Store,
    Clock,
    Slow,
}

/// An alert as the API shows it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AlertShown {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) policy: Option<String>,
    pub(crate) dedup_key: Option<String>,
    #[serde(default)]
    pub(crate) repeats: u32,
    pub(crate) created_at: Moment,
    pub(crate) updated_at: Moment,
    pub(crate) round: u32,
    pub(crate) current: Option<CurrentShown>,
    pub(crate) acknowledged: Option<AcknowledgedShown>,
    pub(crate) attempts: Vec<AttemptShown>,
    pub(crate) timeline: Vec<EntryShown>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CurrentShown {
    pub(crate) attempt: u32,
    pub(crate) expires_at: Option<Moment>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AcknowledgedShown {
    pub(crate) by: String,
    pub(crate) via: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AttemptShown {
    pub(crate) number: u32,
    pub(crate) round: u32,
    pub(crate) user: String,
    pub(crate) channel: Option<String>,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) message_uuid: Option<String>,
    #[serde(default)]
    pub(crate) dispatch_uuid: Option<String>,
    pub(crate) tries: u32,
    pub(crate) sent_at: Option<Moment>,
    pub(crate) expires_at: Option<Moment>,
    pub(crate) delivered_at: Option<Moment>,
    pub(crate) read_at: Option<Moment>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct EntryShown {
    pub(crate) at: Moment,
    pub(crate) event: String,
    #[serde(default)]
    pub(crate) attempt: Option<u32>,
    #[serde(default)]
    pub(crate) by: Option<String>,
    #[serde(default)]
    pub(crate) detail: Option<String>,
}
