//! An alert as the API shows it. Never the domain types themselves: what is shown is a promise of its own.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::contact::Channel;
use crate::escalation::{Alert, Attempt, Backend, Entry, Progress};
use crate::timestamp::Timestamp;

use super::openapi::schemas;

/// A moment for people: `2026-03-01 02:15:07 UTC`.
pub(super) fn in_utc(at: Timestamp) -> String {
    let text = at.to_string().replacen('T', " ", 1);
    format!("{} UTC", text.split('.').next().unwrap_or_default().trim_end_matches('Z'))
}

/// An alert, without attempts and timeline in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub(super) struct AlertView<'a> {
    #[schema(format = "uuid")]
    id: String,
    #[schema(pattern = "^[A-Z0-9]{3,8}$")]
    code: String,
    #[schema(value_type = schemas::AlertStatus)]
    status: &'static str,
    message: &'a str,
    #[schema(value_type = schemas::SeverityName)]
    severity: &'static str,
    #[schema(required = true)]
    policy: Option<&'a str>,
    #[schema(required = true)]
    dedup_key: Option<&'a str>,
    repeats: u32,
    #[schema(required = true)]
    source: Option<&'a str>,
    #[schema(required = true)]
    link: Option<&'a str>,
    #[schema(value_type = schemas::AnyObject)]
    details: Details<'a>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    round: u32,
    #[schema(required = true)]
    current: Option<CurrentView<'a>>,
    #[schema(required = true)]
    acknowledged: Option<AcknowledgedView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<AttemptView<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<Vec<EntryView<'a>>>,
}

/// The posted object, passed through as it was written.
#[derive(Debug)]
struct Details<'a>(&'a str);

impl Serialize for Details<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// The attempt that is being made now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CurrentAttempt)]
pub(super) struct CurrentView<'a> {
    attempt: u32,
    user: &'a str,
    #[schema(value_type = Option<schemas::ChannelName>, required = true)]
    channel: Option<&'static str>,
    #[schema(required = true)]
    address: Option<String>,
    #[schema(value_type = schemas::AttemptStatus)]
    status: &'static str,
    /// When the wait for a read is over; none while the message is not accepted yet.
    #[schema(format = DateTime, required = true)]
    expires_at: Option<String>,
}

/// Who acknowledged, and how.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Acknowledgement)]
pub(super) struct AcknowledgedView<'a> {
    by: &'a str,
    #[schema(value_type = schemas::ViaName)]
    via: &'static str,
    #[schema(value_type = Option<schemas::ChannelName>, required = true)]
    channel: Option<&'static str>,
    #[schema(format = DateTime)]
    at: String,
}

/// One attempt to reach somebody.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(super) struct AttemptView<'a> {
    number: u32,
    round: u32,
    user: &'a str,
    #[schema(value_type = Option<schemas::ChannelName>, required = true)]
    channel: Option<&'static str>,
    #[schema(required = true)]
    address: Option<String>,
    #[schema(value_type = schemas::AttemptStatus)]
    status: &'static str,
    #[schema(required = true)]
    message_uuid: Option<&'a str>,
    #[schema(required = true)]
    dispatch_uuid: Option<&'a str>,
    tries: u32,
    #[schema(format = DateTime, required = true)]
    sent_at: Option<String>,
    #[schema(format = DateTime, required = true)]
    expires_at: Option<String>,
    #[schema(format = DateTime, required = true)]
    delivered_at: Option<String>,
    #[schema(format = DateTime, required = true)]
    read_at: Option<String>,
    #[schema(required = true)]
    error: Option<ErrorView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<MessageView<'a>>>,
}

/// Why an attempt failed, in the words of Vonage or the provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Failure)]
pub(super) struct ErrorView<'a> {
    #[schema(required = true)]
    code: Option<&'a str>,
    detail: &'a str,
}

/// One message of an attempt's workflow on Dispatch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WorkflowMessage)]
pub(super) struct MessageView<'a> {
    #[schema(value_type = Option<schemas::ChannelName>, required = true)]
    channel: Option<&'static str>,
    message_uuid: &'a str,
    #[schema(value_type = schemas::AttemptStatus)]
    status: &'static str,
}

/// One line of the timeline.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimelineEntry)]
pub(super) struct EntryView<'a> {
    #[schema(format = DateTime)]
    at: String,
    #[schema(value_type = schemas::EventName)]
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schemas::ChannelName>)]
    channel: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> AlertView<'a> {
    /// Everything there is to show.
    pub(super) fn whole(alert: &'a Alert) -> Self {
        let attempts = (1_u32..).zip(&alert.attempts).map(|(number, attempt)| AttemptView::of(alert, number, attempt));
        Self {
            attempts: Some(attempts.collect()),
            timeline: Some(alert.timeline.iter().map(|entry| EntryView::of(alert, entry)).collect()),
            ..Self::short(alert)
        }
    }

    /// As it stands in a list.
    pub(super) fn short(alert: &'a Alert) -> Self {
        let raised = &alert.raised;
        Self {
            id: raised.id.to_string(),
            code: alert.code().to_string(),
            status: alert.status.name(),
            message: &raised.message,
            severity: raised.severity.name(),
            policy: raised.policy.as_deref(),
            dedup_key: raised.dedup_key.as_deref(),
            repeats: alert.repeats,
            source: raised.source.as_deref(),
            link: raised.link.as_deref(),
            details: Details(&raised.details),
            created_at: raised.at.to_string(),
            updated_at: alert.updated_at.to_string(),
            round: alert.round,
            current: CurrentView::of(alert),
            acknowledged: alert.acknowledged.as_ref().map(|acknowledgement| AcknowledgedView {
                by: &acknowledgement.by,
                via: acknowledgement.via.name(),
                channel: acknowledgement.channel.map(Channel::name),
                at: acknowledgement.at.to_string(),
            }),
            attempts: None,
            timeline: None,
        }
    }
}

impl<'a> CurrentView<'a> {
    fn of(alert: &'a Alert) -> Option<Self> {
        let progress = alert.progress()?;
        let attempt = alert.attempts.last()?;
        let step = alert.step_of(attempt)?;
        let channel = step.shown_channel();
        let expires_at = match progress {
            Progress::Waiting { until } => Some(until.to_string()),
            Progress::Ready { .. } | Progress::Sending { .. } => None,
        };
        Some(Self {
            attempt: alert.newest_attempt(),
            user: &step.user,
            channel: channel.map(Channel::name),
            address: channel.map(|_| step.first.address.shortened()),
            status: attempt.status().name(),
            expires_at,
        })
    }
}

impl<'a> AttemptView<'a> {
    fn of(alert: &'a Alert, number: u32, attempt: &'a Attempt) -> Self {
        let step = alert.step_of(attempt);
        let channel = step.and_then(crate::escalation::Step::shown_channel);
        let id = attempt.provider_ids.last().map(crate::id::ProviderId::as_str);
        let (message_uuid, dispatch_uuid) = match alert.plan().backend() {
            Backend::Messages => (id, None),
            Backend::Dispatch => (None, id),
        };
        let messages = || {
            attempt.messages.iter().map(|message| MessageView {
                channel: step.and_then(|step| step.legs().nth(usize::from(message.leg))).map(|leg| leg.channel.name()),
                message_uuid: message.id.as_str(),
                status: message.status.name(),
            })
        };
        Self {
            number,
            round: attempt.round,
            user: step.map_or("", |step| &step.user),
            channel: channel.map(Channel::name),
            address: channel.and(step).map(|step| step.first.address.shortened()),
            status: attempt.status().name(),
            message_uuid,
            dispatch_uuid,
            tries: attempt.tries,
            sent_at: shown(attempt.sent_at),
            expires_at: shown(attempt.expires_at),
            delivered_at: shown(attempt.delivered_at),
            read_at: shown(attempt.read_at),
            error: attempt
                .failure
                .as_ref()
                .map(|failure| ErrorView { code: failure.code.as_deref(), detail: &failure.detail }),
            messages: match alert.plan().backend() {
                Backend::Messages => None,
                Backend::Dispatch => Some(messages().collect()),
            },
        }
    }
}

impl<'a> EntryView<'a> {
    pub(super) fn of(alert: &'a Alert, entry: &'a Entry) -> Self {
        let attempt = entry.attempt.and_then(|number| alert.attempt(number));
        let step = attempt.and_then(|attempt| alert.step_of(attempt));
        let channel = entry.channel.or_else(|| step.and_then(crate::escalation::Step::shown_channel));
        Self {
            at: entry.at.to_string(),
            event: entry.happening.name(),
            attempt: entry.attempt,
            user: step.map(|step| step.user.as_ref()),
            channel: channel.map(Channel::name),
            by: entry.by.as_deref(),
            detail: entry.detail.as_deref(),
        }
    }
}

fn shown(moment: Option<Timestamp>) -> Option<String> {
    moment.map(|moment| moment.to_string())
}
