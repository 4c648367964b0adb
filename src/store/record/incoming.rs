//! The stored form of a webhook that waits for its attempt to become known.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::contact::{Address, Channel};
use crate::escalation::{Failure, ReportStatus, WorkflowOutcome};
use crate::id::{AttemptRef, ProviderId};
use crate::incoming::{Foreign, InboundMessage, Incoming, MessageStatus, WorkflowEnd};
use crate::timestamp::Timestamp;

use super::forms::{FailureForm, Form, InFull, List, Maybe, Millis, ReportStatusForm, Text};
use super::{Error, Record, VERSION, read};

/// The record of a webhook.
pub fn write_incoming(incoming: &Incoming) -> Result<String, Error> {
    Ok(serde_json::to_string(&Out { v: VERSION, webhook: incoming })?)
}

/// Reads the record of a webhook.
pub fn read_incoming(record: &str) -> Result<Incoming, Error> {
    Ok(read::<In>(record)?.webhook)
}

/// As [`read_incoming`], for one of several: it is left out where it means nothing, loudly, so that it hides no other.
pub(in crate::store) fn legible_incoming(record: &str) -> Option<Incoming> {
    let read = read_incoming(record);
    if let Err(error) = &read {
        let reason = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(%error, reason, "a parked webhook means nothing and was left out");
    }
    read.ok()
}

#[derive(Serialize)]
struct Out<'a> {
    v: u32,
    #[serde(with = "IncomingForm")]
    webhook: &'a Incoming,
}

#[derive(Deserialize)]
struct In {
    v: u32,
    #[serde(with = "IncomingForm")]
    webhook: Incoming,
}

impl Record for In {
    fn version(&self) -> u32 {
        self.v
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Incoming", rename_all = "snake_case")]
enum IncomingForm {
    Status(#[serde(with = "MessageStatusForm")] MessageStatus),
    WorkflowEnd(#[serde(with = "WorkflowEndForm")] WorkflowEnd),
    Message(#[serde(with = "InboundMessageForm")] InboundMessage),
    Foreign(#[serde(with = "ForeignForm")] Foreign),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "MessageStatus")]
struct MessageStatusForm {
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Text<ProviderId>>")]
    id: Option<ProviderId>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Text<ProviderId>>")]
    workflow: Option<ProviderId>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Text<AttemptRef>>")]
    reference: Option<AttemptRef>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Text<Channel>>")]
    channel: Option<Channel>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<InFull>")]
    to: Option<Address>,
    #[serde(with = "ReportStatusForm")]
    status: ReportStatus,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<FailureForm>")]
    failure: Option<Failure>,
}

impl Form for MessageStatusForm {
    type Of = MessageStatus;

    fn serialize<S: Serializer>(value: &MessageStatus, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(value, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MessageStatus, D::Error> {
        Self::deserialize(deserializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "WorkflowEnd")]
struct WorkflowEndForm {
    #[serde(with = "Text::<ProviderId>")]
    workflow: ProviderId,
    #[serde(with = "WorkflowOutcomeForm")]
    outcome: WorkflowOutcome,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "List::<MessageStatusForm>")]
    messages: Vec<MessageStatus>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "WorkflowOutcome", rename_all = "snake_case")]
enum WorkflowOutcomeForm {
    Completed,
    Error,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "InboundMessage")]
struct InboundMessageForm {
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Text<ProviderId>>")]
    id: Option<ProviderId>,
    #[serde(with = "Text::<Channel>")]
    channel: Channel,
    #[serde(with = "InFull")]
    from: Address,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Millis>")]
    at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "Maybe::<Text<ProviderId>>")]
    quoted: Option<ProviderId>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Foreign", rename_all = "snake_case")]
enum ForeignForm {
    LegacySms,
    UnknownStatus,
    UnknownSender,
    UnknownShape,
}
