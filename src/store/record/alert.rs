//! The two stored forms of an alert: what was raised, and how far it has come.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::contact::Channel;
use crate::escalation::{
    Acknowledgement, Alert, Attempt, Ending, Entry, Failure, Happening, LegMessage, Plan, Progress, Raised,
    ReportStatus, Severity, Status, Via, Why, broken_promise,
};
use crate::id::{AlertId, AlertNumber, AttemptNumber, ProviderId};
use crate::timestamp::Timestamp;

use super::forms::{FailureForm, Form, List, Maybe, Millis, ReportStatusForm, Text};
use super::{Error, Record, VERSION, read};

/// The record of what was posted, without the id, the number and the plan, which are kept beside it.
pub fn write_raised(raised: &Raised) -> Result<String, Error> {
    let Raised { id: _, number: _, message, severity, policy, dedup_key, source, link, details, at, plan: _ } = raised;
    Ok(serde_json::to_string(&RaisedOut {
        v: VERSION,
        at: *at,
        message,
        severity: *severity,
        policy: policy.as_deref(),
        dedup_key: dedup_key.as_deref(),
        source: source.as_deref(),
        link: link.as_deref(),
        details,
    })?)
}

/// Reads the record of what was posted.
pub fn read_raised(record: &str, id: AlertId, number: AlertNumber, plan: Arc<Plan>) -> Result<Raised, Error> {
    let RaisedIn { v: _, at, message, severity, policy, dedup_key, source, link, details } = read(record)?;
    Ok(Raised { id, number, message, severity, policy, dedup_key, source, link, details, at, plan })
}

/// The record of an alert's state. An alert that breaks a promise is not written.
pub fn write_state(alert: &Alert) -> Result<String, Error> {
    if let Some(promise) = broken_promise(alert) {
        return Err(Error::Promise(promise));
    }
    let Alert { raised: _, status, round, attempts, acknowledged, repeats, updated_at, answered, timeline } = alert;
    Ok(serde_json::to_string(&StateOut {
        v: VERSION,
        status: *status,
        round: *round,
        attempts,
        acknowledged,
        repeats: *repeats,
        updated_at: *updated_at,
        answered,
        timeline,
    })?)
}

/// Reads the record of an alert's state, and puts it together with what was posted.
pub fn read_alert(raised: Arc<Raised>, record: &str) -> Result<Alert, Error> {
    let StateIn { v: _, status, round, attempts, acknowledged, repeats, updated_at, answered, timeline } =
        read(record)?;
    let alert = Alert { raised, status, round, attempts, acknowledged, repeats, updated_at, answered, timeline };
    match broken_promise(&alert) {
        None => Ok(alert),
        Some(promise) => Err(Error::Promise(promise)),
    }
}

/// The record of what was posted, so many milliseconds later: as a clock that is so far ahead would have had it.
pub fn later_raised(record: &str, millis: i64) -> Result<String, Error> {
    let RaisedIn { v: _, at, message, severity, policy, dedup_key, source, link, details } = read(record)?;
    Ok(serde_json::to_string(&RaisedOut {
        v: VERSION,
        at: later(at, millis),
        message: &message,
        severity,
        policy: policy.as_deref(),
        dedup_key: dedup_key.as_deref(),
        source: source.as_deref(),
        link: link.as_deref(),
        details: &details,
    })?)
}

/// The record of an alert's state, with every moment in it so many milliseconds later.
pub fn later_state(record: &str, millis: i64) -> Result<String, Error> {
    let StateIn { v: _, status, round, mut attempts, mut acknowledged, repeats, updated_at, answered, mut timeline } =
        read(record)?;
    let status = match status {
        Status::Escalating(progress) => Status::Escalating(match progress {
            Progress::Ready { from, why } => Progress::Ready { from: later(from, millis), why },
            Progress::Sending { until } => Progress::Sending { until: later(until, millis) },
            Progress::Waiting { until } => Progress::Waiting { until: later(until, millis) },
        }),
        Status::Acknowledged | Status::Exhausted | Status::Resolved => status,
    };
    for attempt in &mut attempts {
        move_attempt(attempt, millis);
    }
    if let Some(Acknowledgement { by: _, via: _, channel: _, at }) = &mut acknowledged {
        *at = later(*at, millis);
    }
    for Entry { at, happening: _, attempt: _, channel: _, by: _, detail: _ } in &mut timeline {
        *at = later(*at, millis);
    }
    Ok(serde_json::to_string(&StateOut {
        v: VERSION,
        status,
        round,
        attempts: &attempts,
        acknowledged: &acknowledged,
        repeats,
        updated_at: later(updated_at, millis),
        answered: &answered,
        timeline: &timeline,
    })?)
}

/// Every moment of an attempt is named here, and one that is added does not compile until it is.
fn move_attempt(attempt: &mut Attempt, millis: i64) {
    let Attempt {
        step: _,
        round: _,
        due_at,
        tries: _,
        failing_since,
        failed_at,
        unknown: _,
        sent_at,
        expires_at,
        submitted_at,
        delivered_at,
        read_at,
        ending: _,
        failure: _,
        provider_ids: _,
        messages: _,
    } = attempt;
    *due_at = later(*due_at, millis);
    for moment in [failing_since, failed_at, sent_at, expires_at, submitted_at, delivered_at, read_at] {
        *moment = moment.map(|at| later(at, millis));
    }
}

const fn later(moment: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(moment.as_millis().saturating_add(millis))
}

#[derive(Serialize)]
struct RaisedOut<'a> {
    v: u32,
    #[serde(with = "Millis")]
    at: Timestamp,
    message: &'a str,
    #[serde(with = "SeverityForm")]
    severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "key")]
    dedup_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a str>,
    details: &'a str,
}

#[derive(Deserialize)]
struct RaisedIn {
    v: u32,
    #[serde(with = "Millis")]
    at: Timestamp,
    message: Box<str>,
    #[serde(with = "SeverityForm")]
    severity: Severity,
    policy: Option<Box<str>>,
    #[serde(rename = "key")]
    dedup_key: Option<Box<str>>,
    source: Option<Box<str>>,
    link: Option<Box<str>>,
    details: Box<str>,
}

impl Record for RaisedIn {
    fn version(&self) -> u32 {
        self.v
    }
}

#[derive(Serialize)]
struct StateOut<'a> {
    v: u32,
    #[serde(with = "StatusForm")]
    status: Status,
    round: u32,
    #[serde(serialize_with = "List::<AttemptForm>::serialize")]
    attempts: &'a [Attempt],
    #[serde(skip_serializing_if = "is_none", serialize_with = "Maybe::<AcknowledgementForm>::serialize")]
    acknowledged: &'a Option<Acknowledgement>,
    #[serde(skip_serializing_if = "is_zero")]
    repeats: u32,
    #[serde(with = "Millis", rename = "updated")]
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "<[ProviderId]>::is_empty", serialize_with = "List::<Text<ProviderId>>::serialize")]
    answered: &'a [ProviderId],
    #[serde(serialize_with = "List::<EntryForm>::serialize")]
    timeline: &'a [Entry],
}

#[derive(Deserialize)]
struct StateIn {
    v: u32,
    #[serde(with = "StatusForm")]
    status: Status,
    round: u32,
    #[serde(deserialize_with = "List::<AttemptForm>::deserialize")]
    attempts: Vec<Attempt>,
    #[serde(default, deserialize_with = "Maybe::<AcknowledgementForm>::deserialize")]
    acknowledged: Option<Acknowledgement>,
    #[serde(default)]
    repeats: u32,
    #[serde(with = "Millis", rename = "updated")]
    updated_at: Timestamp,
    #[serde(default, deserialize_with = "List::<Text<ProviderId>>::deserialize")]
    answered: Vec<ProviderId>,
    #[serde(deserialize_with = "List::<EntryForm>::deserialize")]
    timeline: Vec<Entry>,
}

impl Record for StateIn {
    fn version(&self) -> u32 {
        self.v
    }
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
const fn is_none(acknowledged: &Option<Acknowledgement>) -> bool {
    acknowledged.is_none()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference to the field")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Status", rename_all = "snake_case")]
enum StatusForm {
    Escalating(#[serde(with = "ProgressForm")] Progress),
    Acknowledged,
    Exhausted,
    Resolved,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Progress", rename_all = "snake_case")]
enum ProgressForm {
    Ready {
        #[serde(with = "Millis")]
        from: Timestamp,
        #[serde(with = "WhyForm")]
        why: Why,
    },
    Sending {
        #[serde(with = "Millis")]
        until: Timestamp,
    },
    Waiting {
        #[serde(with = "Millis")]
        until: Timestamp,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Why", rename_all = "snake_case")]
enum WhyForm {
    First,
    Retry,
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Severity", rename_all = "snake_case")]
enum SeverityForm {
    Critical,
    Error,
    Warning,
    Info,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Attempt")]
struct AttemptForm {
    step: u32,
    round: u32,
    #[serde(with = "Millis", rename = "due")]
    due_at: Timestamp,
    #[serde(default, skip_serializing_if = "is_zero")]
    tries: u32,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Millis>")]
    failing_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Millis>", rename = "failed")]
    failed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_zero")]
    unknown: u32,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Millis>", rename = "sent")]
    sent_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Millis>", rename = "expires")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Millis>", rename = "submitted")]
    submitted_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Millis>", rename = "delivered")]
    delivered_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Millis>", rename = "read")]
    read_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<EndingForm>")]
    ending: Option<Ending>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<FailureForm>")]
    failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "List::<Text<ProviderId>>", rename = "ids")]
    provider_ids: Vec<ProviderId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "List::<LegMessageForm>")]
    messages: Vec<LegMessage>,
}

impl Form for AttemptForm {
    type Of = Attempt;

    fn serialize<S: Serializer>(value: &Attempt, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(value, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Attempt, D::Error> {
        Self::deserialize(deserializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Ending", rename_all = "snake_case")]
enum EndingForm {
    Rejected,
    Undeliverable,
    Refused,
    Failed,
    Expired,
    Superseded,
}

impl Form for EndingForm {
    type Of = Ending;

    fn serialize<S: Serializer>(value: &Ending, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(value, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ending, D::Error> {
        Self::deserialize(deserializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "LegMessage")]
struct LegMessageForm {
    leg: u8,
    #[serde(with = "Text::<ProviderId>")]
    id: ProviderId,
    #[serde(with = "ReportStatusForm")]
    status: ReportStatus,
}

impl Form for LegMessageForm {
    type Of = LegMessage;

    fn serialize<S: Serializer>(value: &LegMessage, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(value, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LegMessage, D::Error> {
        Self::deserialize(deserializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Acknowledgement")]
struct AcknowledgementForm {
    by: Box<str>,
    #[serde(with = "ViaForm")]
    via: Via,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Text<Channel>>")]
    channel: Option<Channel>,
    #[serde(with = "Millis")]
    at: Timestamp,
}

impl Form for AcknowledgementForm {
    type Of = Acknowledgement;

    fn serialize<S: Serializer>(value: &Acknowledgement, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(value, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Acknowledgement, D::Error> {
        Self::deserialize(deserializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Via", rename_all = "snake_case")]
enum ViaForm {
    Read,
    Reply,
    Link,
    Api,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Entry")]
struct EntryForm {
    #[serde(with = "Millis")]
    at: Timestamp,
    #[serde(with = "HappeningForm", rename = "what")]
    happening: Happening,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<AttemptNumber>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Text<Channel>>")]
    channel: Option<Channel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<Box<str>>,
}

impl Form for EntryForm {
    type Of = Entry;

    fn serialize<S: Serializer>(value: &Entry, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(value, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Entry, D::Error> {
        Self::deserialize(deserializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Happening", rename_all = "snake_case")]
enum HappeningForm {
    Raised,
    Repeated,
    Sent,
    SendFailed,
    Submitted,
    Delivered,
    Read,
    Rejected,
    Undeliverable,
    Refused,
    Expired,
    FailedOver,
    Escalated,
    RoundStarted,
    ResentAfterRestart,
    Reply,
    Acknowledged,
    Exhausted,
    Resolved,
}
