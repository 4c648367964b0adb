//! What an alert asks of the world when nobody needs to be called any more: to tell those who were
//! messaged who has it, and to take back what nobody needs to read.
//!
//! Both are asked for once, with the change that settles the alert, and never waited for: what comes
//! of them is no event. So an answer to a confirmation cannot bring another one.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::contact::Channel;
use crate::id::{AttemptNumber, ProviderId};

use super::alert::{Attempt, Ending, ReportStatus, Status, Via};
use super::event::{Effect, Tone};
use super::plan::{Backend, Confirm, Leg, Step};
use super::step::Draft;

/// How long after it was sent an RCS message can be revoked (Vonage's guide on RCS message
/// revocation).
const REVOCABLE: Duration = Duration::from_hours(24);

/// The message that somebody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) attempt: AttemptNumber,
    /// The index within the step of the channel it went over.
    pub(super) leg: u8,
}

impl Draft {
    /// The message whose link somebody opened; none where the answer came from elsewhere.
    pub(super) fn answered_from(&self, by: &str, via: Via, channel: Option<Channel>) -> Option<Answered> {
        match via {
            Via::Link => {}
            Via::Read | Via::Reply | Via::Api => return None,
        }
        let attempts = self.numbered_attempts().rev();
        attempts.filter(|(_, attempt, step)| attempt.tries > 0 && *step.user == *by).find_map(
            |(number, attempt, step)| {
                let leg = match channel {
                    Some(channel) => leg_on(step, channel)?,
                    None => reached(attempt).into_iter().next().unwrap_or(0),
                };
                Some(Answered { attempt: number, leg })
            },
        )
    }

    /// The message that a reply over this channel answers.
    pub(super) fn answered_on(&self, attempt: AttemptNumber, channel: Channel) -> Answered {
        let step = self.alert.attempt(attempt).and_then(|attempt| self.alert.step_of(attempt));
        Answered { attempt, leg: step.and_then(|step| leg_on(step, channel)).unwrap_or(0) }
    }

    /// Asks that everybody who was messaged be told who has the alert, each address once.
    pub(super) fn confirm(&mut self, answered: Option<Answered>) {
        match self.alert.plan().confirm() {
            Confirm::Nobody => return,
            Confirm::Everybody => {}
        }
        let thanked = answered.and_then(|answered| {
            let step = self.alert.step_of(self.alert.attempt(answered.attempt)?)?;
            Some((answered, step, step.legs().nth(usize::from(answered.leg))?))
        });
        let mut tells = Vec::new();
        let mut told = BTreeSet::new();
        if let Some((answered, _, leg)) = thanked {
            told.insert(address(leg));
            tells.push(Effect::Tell { attempt: answered.attempt, leg: answered.leg, tone: Tone::Thanks });
        }
        // Whoever answered knows, on whatever other channel they were messaged.
        let is_other = |step: &Step| thanked.is_none_or(|(_, of_thanked, _)| of_thanked.user != step.user);
        for (attempt, past, step) in self.numbered_attempts().filter(|(_, _, step)| is_other(step)) {
            for leg in reached(past) {
                if let Some(to) = step.legs().nth(usize::from(leg))
                    && told.insert(address(to))
                {
                    tells.push(Effect::Tell { attempt, leg, tone: Tone::News });
                }
            }
        }
        self.effects.extend(tells);
    }

    /// Asks that the RCS messages that nobody has read or answered be taken back.
    pub(super) fn revoke_unread(&mut self, answered: Option<Answered>) {
        let mut revocations = Vec::new();
        for (number, attempt, step) in self.numbered_attempts() {
            let is_answered = answered.is_some_and(|answered| answered.attempt == number);
            if !is_answered && self.is_revocable(attempt, step) {
                let ids = attempt.provider_ids.iter();
                revocations.extend(ids.map(|id| Effect::Revoke { attempt: number, id: id.clone() }));
            }
        }
        self.effects.extend(revocations);
    }

    /// Asks that a message be taken back whose acceptance is only now known, if nobody needs it now.
    pub(super) fn revoke_late(&mut self, number: AttemptNumber, id: &ProviderId) {
        match self.alert.status {
            Status::Acknowledged | Status::Resolved => {}
            Status::Escalating(_) | Status::Exhausted => return,
        }
        let Some(attempt) = self.alert.attempt(number) else { return };
        let Some(step) = self.alert.step_of(attempt) else { return };
        let is_answered = self.alert.acknowledged.as_ref().is_some_and(|acknowledgement| {
            acknowledgement.channel == Some(step.first.channel) && *acknowledgement.by == *step.user
        });
        if !is_answered && self.is_revocable(attempt, step) {
            self.effects.push(Effect::Revoke { attempt: number, id: id.clone() });
        }
    }

    fn is_revocable(&self, attempt: &Attempt, step: &Step) -> bool {
        self.alert.plan().backend() == Backend::Messages
            && step.first.channel == Channel::Rcs
            && attempt.read_at.is_none()
            && !has_failed(attempt)
            && attempt.sent_at.is_some_and(|sent_at| self.now.since(sent_at) < REVOCABLE)
    }

    fn numbered_attempts(&self) -> impl DoubleEndedIterator<Item = (AttemptNumber, &Attempt, &Step)> {
        let numbered = self.alert.attempts.iter().enumerate();
        numbered.filter_map(|(index, attempt)| {
            Some((AttemptNumber::try_from(index + 1).ok()?, attempt, self.alert.step_of(attempt)?))
        })
    }
}

fn address(leg: &Leg) -> (Channel, &str) {
    (leg.channel, leg.address.reveal())
}

fn leg_on(step: &Step, channel: Channel) -> Option<u8> {
    u8::try_from(step.legs().position(|leg| leg.channel == channel)?).ok()
}

/// The channels, by their index, on which an attempt's message can have reached its user. Where
/// Vonage chooses the channel and no report has come, it is the first.
fn reached(attempt: &Attempt) -> Vec<u8> {
    if attempt.messages.is_empty() {
        let is_out = attempt.sent_at.is_some() && !has_failed(attempt);
        return if is_out { vec![0] } else { Vec::new() };
    }
    let reached = attempt.messages.iter().filter(|message| match message.status {
        ReportStatus::Submitted | ReportStatus::Delivered | ReportStatus::Read => true,
        ReportStatus::Rejected | ReportStatus::Undeliverable => false,
    });
    reached.map(|message| message.leg).collect()
}

/// Whether the message certainly or probably never reached its user.
fn has_failed(attempt: &Attempt) -> bool {
    match attempt.ending {
        Some(Ending::Rejected | Ending::Undeliverable | Ending::Refused | Ending::Failed) => attempt.read_at.is_none(),
        Some(Ending::Expired | Ending::Superseded) | None => false,
    }
}
