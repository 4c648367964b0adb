//! Callbacks: what other systems are told about an alert, and which of them want to hear it.
//!
//! What is told follows from the timeline alone: each new entry that has a topic becomes one delivery for each
//! endpoint that wants the topic. A store keeps them in the commit of the change itself, so that a change and the
//! word of it are never apart. Nothing here sends anything.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::contact::Channel;
use crate::escalation::{Acknowledgement, Alert, Entry, Happening, Step, Via};
use crate::hash::sha256;
use crate::id::AlertId;
use crate::timestamp::Timestamp;

/// What a callback can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// An alert was raised.
    Raised,
    /// A message was accepted for sending.
    Sent,
    /// A message reached a device.
    Delivered,
    /// Somebody opened a message.
    Read,
    /// The next user is called.
    Escalated,
    /// Somebody has the alert.
    Acknowledged,
    /// Everybody was called and nobody answered.
    Exhausted,
    /// The problem is over.
    Resolved,
    /// Whoever runs callout must know something.
    Alarm,
}

impl Topic {
    /// Every topic, in the order in which documents list them.
    pub const ALL: [Self; 9] = [
        Self::Raised,
        Self::Sent,
        Self::Delivered,
        Self::Read,
        Self::Escalated,
        Self::Acknowledged,
        Self::Exhausted,
        Self::Resolved,
        Self::Alarm,
    ];

    /// The name in the configuration and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Escalated => "escalated",
            Self::Acknowledged => "acknowledged",
            Self::Exhausted => "exhausted",
            Self::Resolved => "resolved",
            Self::Alarm => "alarm",
        }
    }

    /// The topic of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }

    /// The topic of an entry of a timeline, if others are told of it at all.
    pub const fn of(happening: Happening) -> Option<Self> {
        match happening {
            Happening::Raised => Some(Self::Raised),
            Happening::Sent => Some(Self::Sent),
            Happening::Delivered => Some(Self::Delivered),
            Happening::Read => Some(Self::Read),
            Happening::Escalated => Some(Self::Escalated),
            Happening::Acknowledged => Some(Self::Acknowledged),
            Happening::Exhausted => Some(Self::Exhausted),
            Happening::Resolved => Some(Self::Resolved),
            Happening::Repeated
            | Happening::SendFailed
            | Happening::Submitted
            | Happening::Rejected
            | Happening::Undeliverable
            | Happening::Refused
            | Happening::Expired
            | Happening::FailedOver
            | Happening::RoundStarted
            | Happening::ResentAfterRestart
            | Happening::Reply => None,
        }
    }
}

/// Names an endpoint by a hash of its URL, so that deliveries find their endpoint again after a restart, and
/// a URL (which may hold a token) stands in no row and no log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(u64);

impl EndpointId {
    /// The endpoint at this URL.
    pub fn of(url: &str) -> Self {
        let hash = sha256(url.as_bytes());
        Self(hash.iter().take(8).fold(0, |bits, byte| (bits << 8) | u64::from(*byte)))
    }

    /// The endpoint from its bits, as a store keeps it.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Which endpoints want to hear of what. Empty where there are no callbacks; then nothing is done at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions {
    /// Each endpoint with what it wants to hear of.
    pub endpoints: Vec<(EndpointId, Vec<Topic>)>,
    /// Where the service is reached from outside, for the link to the alert; without a slash at the end.
    pub public_url: Option<Box<str>>,
}

impl Subscriptions {
    /// The endpoints that want to hear of this.
    pub fn wanting(&self, topic: Topic) -> impl Iterator<Item = EndpointId> {
        self.endpoints.iter().filter(move |(_, topics)| topics.contains(&topic)).map(|(endpoint, _)| *endpoint)
    }
}

/// One callback for one endpoint, before it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// For whom.
    pub endpoint: EndpointId,
    /// The alert that it is about; deliveries about one alert are made in their order.
    pub alert: Option<AlertId>,
    /// About what.
    pub topic: Topic,
    /// Names the event: the same for each endpoint and each try.
    pub event: Arc<str>,
    /// When it happened.
    pub at: Timestamp,
    /// The body as it is sent: JSON, and the same for each try.
    pub body: Arc<str>,
}

/// What is to be told of the change from `seen` to `next`, in its order.
pub fn told(subscriptions: &Subscriptions, seen: Option<&Alert>, next: &Alert) -> Vec<NewDelivery> {
    if subscriptions.endpoints.is_empty() {
        return Vec::new();
    }
    let n_told = seen.map_or(0, |seen| seen.timeline.len());
    let mut deliveries = Vec::new();
    for (place, entry) in next.timeline.iter().enumerate().skip(n_told) {
        let Some(topic) = Topic::of(entry.happening) else { continue };
        if subscriptions.wanting(topic).next().is_none() {
            continue;
        }
        let event: Arc<str> = format!("evt_{:032x}_{}", next.id().to_bits(), place + 1).into();
        let body: Arc<str> = body(subscriptions, next, entry, topic).into();
        deliveries.extend(subscriptions.wanting(topic).map(|endpoint| NewDelivery {
            endpoint,
            alert: Some(next.id()),
            topic,
            event: Arc::clone(&event),
            at: entry.at,
            body: Arc::clone(&body),
        }));
    }
    deliveries
}

/// The body of every callback (Standard Webhooks, "payload structure").
#[derive(Serialize)]
struct Body<'a, D> {
    r#type: &'a str,
    timestamp: String,
    data: D,
}

#[derive(Serialize)]
struct AlertData<'a> {
    alert_id: String,
    code: String,
    status: &'static str,
    severity: &'static str,
    policy: Option<&'a str>,
    source: Option<&'a str>,
    dedup_key: Option<&'a str>,
    round: u32,
    attempt: Option<u32>,
    user: Option<&'a str>,
    channel: Option<&'static str>,
    by: Option<&'a str>,
    via: Option<&'static str>,
    url: Option<String>,
}

fn body(subscriptions: &Subscriptions, alert: &Alert, entry: &Entry, topic: Topic) -> String {
    let attempt = entry.attempt.and_then(|number| alert.attempt(number));
    let step = attempt.and_then(|attempt| alert.step_of(attempt));
    let acknowledged = alert.acknowledged.as_ref().filter(|_| topic == Topic::Acknowledged);
    let channel = entry.channel.or_else(|| acknowledged.and_then(|acknowledged| acknowledged.channel));
    let data = AlertData {
        alert_id: alert.id().to_string(),
        code: alert.code().to_string(),
        status: alert.status.name(),
        severity: alert.raised.severity.name(),
        policy: alert.raised.policy.as_deref(),
        source: alert.raised.source.as_deref(),
        dedup_key: alert.raised.dedup_key.as_deref(),
        round: attempt.or(alert.attempts.last()).map_or(1, |attempt| attempt.round),
        attempt: entry.attempt,
        user: step.map(|step| step.user.as_ref()),
        channel: channel.or_else(|| step.and_then(Step::shown_channel)).map(Channel::name),
        by: entry.by.as_deref().or(acknowledged.map(|acknowledged: &Acknowledgement| acknowledged.by.as_ref())),
        via: acknowledged.map(|acknowledged| acknowledged.via).map(Via::name),
        url: subscriptions.public_url.as_deref().map(|url| format!("{url}/alerts/{}", alert.id())),
    };
    written(&format!("alert.{}", topic.name()), entry.at, data)
}

#[derive(Serialize)]
struct AlarmData<'a> {
    alarm: &'a str,
    message: &'a str,
    advice: &'a str,
    alert_id: Option<String>,
    url: Option<String>,
}

/// The body of an alarm's callback; `phase` is `raised` or `over`.
pub fn alarm_body(
    subscriptions: &Subscriptions,
    (alarm, phase): (&str, &str),
    (message, advice): (&str, &str),
    alert: Option<AlertId>,
    at: Timestamp,
) -> String {
    let url = subscriptions.public_url.as_deref();
    let url = url.zip(alert).map(|(url, alert)| format!("{url}/alerts/{alert}"));
    let data = AlarmData { alarm, message, advice, alert_id: alert.map(|alert| alert.to_string()), url };
    written(&format!("alarm.{phase}"), at, data)
}

fn written(kind: &str, at: Timestamp, data: impl Serialize) -> String {
    let body = Body { r#type: kind, timestamp: at.to_string(), data };
    // Texts and numbers have a JSON form always.
    serde_json::to_string(&body).unwrap_or_default()
}
