//! The door of the webhooks: finding the alert that a report belongs to.

use crate::escalation::{Alert, Attempt, Event, Report, ReportStatus};
use crate::id::{AlertId, AttemptRef, ProviderId};
use crate::incoming::{Foreign, Incoming, MessageStatus, WorkflowEnd};
use crate::traces::{Begun, Deed};

use super::apply::Applied;
use super::{Engine, Error};

/// What became of a webhook. Everything here is answered 200: sending it again would not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Received {
    /// It had an effect on an alert.
    Effective,
    /// It told an alert nothing new.
    Ineffective,
    /// No attempt is known for it yet; it is kept in case one becomes known.
    Parked,
    /// It concerns no alert.
    Unmatched,
    /// It is of a kind that concerns no alert.
    Foreign(Foreign),
}

impl Received {
    /// A word for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Effective => "effective",
            Self::Ineffective => "ineffective",
            Self::Parked => "parked",
            Self::Unmatched => "unmatched",
            Self::Foreign(foreign) => foreign.name(),
        }
    }
}

/// What became of a webhook, and which alert it was about.
pub(super) struct Routed {
    pub(super) received: Received,
    pub(super) alert: Option<AlertId>,
}

impl From<Received> for Routed {
    fn from(received: Received) -> Self {
        Self { received, alert: None }
    }
}

impl From<&Applied> for Routed {
    fn from(applied: &Applied) -> Self {
        let (received, alert) = match applied {
            Applied::Moved(alert) => (Received::Effective, alert.id()),
            Applied::Stayed(alert, _) => (Received::Ineffective, alert.id()),
            Applied::Replayed(replay) => (Received::Ineffective, replay.alert.id()),
        };
        Self { received, alert: Some(alert) }
    }
}

/// The word for a kind of webhook in metrics.
fn kind(incoming: &Incoming) -> &'static str {
    match incoming {
        Incoming::Status(status) => status.status.name(),
        Incoming::WorkflowEnd(_) => "workflow_end",
        Incoming::Message(_) => "inbound",
        Incoming::Foreign(_) => "foreign",
    }
}

impl Engine {
    /// Takes a webhook in. When this returns without an error, its effect is as durable as the store can
    /// make it, and it may be answered 200.
    pub async fn receive(&self, incoming: &Incoming) -> Result<Received, Error> {
        let (engine, incoming, begun) = (self.clone(), incoming.clone(), self.0.traces.begin());
        self.to_the_end(async move { engine.receive_to_the_end(&incoming, begun).await }).await
    }

    async fn receive_to_the_end(&self, incoming: &Incoming, begun: Begun) -> Result<Received, Error> {
        let mut routed = self.route(incoming).await?;
        if routed.received == Received::Unmatched {
            routed = self.keep_for_later(incoming).await?;
        }
        let Routed { received, alert } = routed;
        self.0.metrics.webhook(kind(incoming), received.name());
        if let Some(alert) = alert {
            self.0.traces.did(begun, alert, Deed::Webhook { kind: kind(incoming), outcome: received.name() });
        }
        if received == Received::Foreign(Foreign::LegacySms) {
            tracing::warn!(
                "a webhook came in the form of Vonage's old SMS API, which says nothing of an alert; \
                set the account's default SMS setting to the Messages API in Vonage's dashboard"
            );
        }
        Ok(received)
    }

    pub(super) async fn route(&self, incoming: &Incoming) -> Result<Routed, Error> {
        match incoming {
            Incoming::Status(status) => self.take_status(status).await,
            Incoming::WorkflowEnd(end) => self.take_workflow_end(end).await,
            Incoming::Message(message) => self.take_message(message).await,
            Incoming::Foreign(foreign) => Ok(Received::Foreign(*foreign).into()),
        }
    }

    /// Keeps a report for which no attempt is known: on Dispatch it may have come before the answer to the
    /// request that it reports on.
    async fn keep_for_later(&self, incoming: &Incoming) -> Result<Routed, Error> {
        let id = match incoming {
            Incoming::Status(MessageStatus { reference: None, workflow: Some(workflow), .. }) => workflow,
            Incoming::Status(MessageStatus { reference: None, id: Some(id), .. }) => id,
            Incoming::WorkflowEnd(end) => &end.workflow,
            Incoming::Status(_) | Incoming::Message(_) | Incoming::Foreign(_) => return Ok(Received::Unmatched.into()),
        };
        // What is sent again and again must not push out what others wait for.
        if !self.0.store.parked(id).await?.contains(incoming) {
            self.0.store.park(id, incoming, self.0.clock.now()).await?;
        }
        // The attempt may have become known while this was being kept. Whoever made it known may have
        // looked too early to find this, or may even have cleared it away with what came before it.
        let routed = self.route(incoming).await?;
        if routed.received == Received::Unmatched {
            return Ok(Received::Parked.into());
        }
        self.apply_parked(id).await?;
        Ok(routed)
    }

    async fn take_status(&self, status: &MessageStatus) -> Result<Routed, Error> {
        let Some(reference) = self.attempt_of(status).await? else { return Ok(Received::Unmatched.into()) };
        let Some(alert) = self.known(reference).await? else { return Ok(Received::Unmatched.into()) };
        let Some(attempt) = alert.attempt(reference.attempt) else { return Ok(Received::Unmatched.into()) };
        let report = report_on(&alert, attempt, status);
        let event = Event::Reported { attempt: reference.attempt, report };
        Ok(Routed::from(&self.apply(reference.alert, &event, None).await?))
    }

    async fn take_workflow_end(&self, end: &WorkflowEnd) -> Result<Routed, Error> {
        let reference = match self.0.store.find_message(&end.workflow).await? {
            Some(reference) => Some(reference),
            None => self.attempt_of_first_known(&end.messages).await?,
        };
        let Some(reference) = reference else { return Ok(Received::Unmatched.into()) };
        let Some(alert) = self.known(reference).await? else { return Ok(Received::Unmatched.into()) };
        let Some(attempt) = alert.attempt(reference.attempt) else { return Ok(Received::Unmatched.into()) };
        let messages = end.messages.iter().map(|status| report_on(&alert, attempt, status)).collect();
        let event = Event::WorkflowEnded { attempt: reference.attempt, outcome: end.outcome, messages };
        Ok(Routed::from(&self.apply(reference.alert, &event, None).await?))
    }

    async fn attempt_of_first_known(&self, messages: &[MessageStatus]) -> Result<Option<AttemptRef>, Error> {
        for status in messages {
            if let Some(id) = &status.id
                && let Some(reference) = self.0.store.find_message(id).await?
            {
                return Ok(Some(reference));
            }
        }
        Ok(None)
    }

    /// The attempt that a report belongs to: by our own reference, by what Vonage calls the message, or by
    /// what it calls the workflow.
    async fn attempt_of(&self, status: &MessageStatus) -> Result<Option<AttemptRef>, Error> {
        if status.reference.is_some() {
            return Ok(status.reference);
        }
        let ids: [Option<&ProviderId>; 2] = [status.id.as_ref(), status.workflow.as_ref()];
        for id in ids.into_iter().flatten() {
            if let Some(reference) = self.0.store.find_message(id).await? {
                return Ok(Some(reference));
            }
        }
        let lost = self.attempt_of_unknown_outcome(status).await?;
        if let Some(lost) = lost {
            // The report says what the lost answer would have said, so that the next one is known by its name.
            let accepted = Event::Accepted { attempt: lost.attempt, id: status.workflow.clone() };
            self.apply(lost.alert, &accepted, None).await?;
        }
        Ok(lost)
    }

    async fn known(&self, reference: AttemptRef) -> Result<Option<std::sync::Arc<Alert>>, Error> {
        Ok(self.0.store.get(reference.alert).await?.map(|stored| stored.alert))
    }
}

/// The report in the machine's words: which channel of the attempt it is about.
fn report_on(alert: &Alert, attempt: &Attempt, status: &MessageStatus) -> Report {
    Report {
        id: status.id.clone(),
        leg: leg_of(alert, attempt, status),
        status: status.status,
        failure: match status.status {
            ReportStatus::Rejected | ReportStatus::Undeliverable => status.failure.clone(),
            ReportStatus::Submitted | ReportStatus::Delivered | ReportStatus::Read => None,
        },
    }
}

/// A message that was told of before keeps its channel. A new one belongs to the first channel of its
/// kind and address that no other message has taken; a workflow may name the same one twice.
fn leg_of(alert: &Alert, attempt: &Attempt, status: &MessageStatus) -> u8 {
    if let Some(known) = attempt.messages.iter().find(|message| Some(&message.id) == status.id.as_ref()) {
        return known.leg;
    }
    let Some(step) = alert.step_of(attempt) else { return 0 };
    let legs = || (0_u8..).zip(step.legs());
    let is_of_kind = |leg: &crate::escalation::Leg| status.channel.is_none_or(|channel| channel == leg.channel);
    let is_to = |leg: &crate::escalation::Leg| status.to.as_ref().is_none_or(|to| *to == leg.address);
    let is_free = |index: u8| attempt.messages.iter().all(|message| message.leg != index);
    let free_there = legs().find(|(index, leg)| is_of_kind(leg) && is_to(leg) && is_free(*index));
    let free_of_kind = || legs().find(|(index, leg)| is_of_kind(leg) && is_free(*index));
    let of_kind = || legs().find(|(_, leg)| is_of_kind(leg));
    free_there.or_else(free_of_kind).or_else(of_kind).map_or(0, |(index, _)| index)
}
