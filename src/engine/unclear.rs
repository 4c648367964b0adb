//! Reports on Dispatch that carry no name that is known: whose are they?
//!
//! The answer to a request may be lost for ever, and with it the only name of the workflow; then a report
//! can be known by its address alone. But a report may also come before the answer to a request that is
//! on its way to the same address. Taking the one for the other would make callout believe that a message
//! is out which is not. So while a send is on its way that the report may belong to, the report is kept,
//! and looked at again when that send has ended, or is made again because whoever made it was lost. Which
//! reports these are stands in the store: the send may end on another node, or in another process.
//!
//! Where sends of several alerts to the address were lost, nobody will ever know which of them it is about. It
//! counts for none then: taken for the wrong one, a read would silence an alert that nobody has seen. Each of
//! them that still calls somebody is sent again, under a name that is known.

use crate::contact::{Address, Channel};
use crate::escalation::{Alert, Attempt, Backend, Progress};
use crate::id::{AttemptNumber, AttemptRef, ProviderId};
use crate::incoming::{Incoming, MessageStatus};
use crate::store::StatusFilter;

use super::{Engine, Error};

/// A report still counts for alerts of these statuses.
const NOT_RESOLVED: [StatusFilter; 3] = [StatusFilter::Escalating, StatusFilter::Exhausted, StatusFilter::Acknowledged];
/// How many alerts that messaged an address are looked at for the one that a report belongs to. Where there are
/// more, another one may be meant, and the report counts for none.
const LOOKED_AT_MAX: usize = 100;
/// How many reports wait for one send to end. More can only be somebody else's.
const UNCLEAR_MAX: usize = 100;

/// What an alert has to do with a report.
struct Suspect {
    /// Its newest attempt at the address with a send whose outcome is unknown.
    lost: Option<AttemptNumber>,
    /// The attempt by which it is being sent to the address now.
    being_sent: Option<AttemptNumber>,
}

impl Suspect {
    fn of(alert: &Alert, channel: Channel, to: &Address) -> Option<Self> {
        let reaches = |attempt: &Attempt| {
            let step = alert.step_of(attempt);
            step.is_some_and(|step| step.legs().any(|leg| leg.channel == channel && leg.address == *to))
        };
        let is_lost = |attempt: &Attempt| attempt.unknown > 0 && has_nameless_try(attempt) && reaches(attempt);
        let lost = alert.attempts.iter().rposition(is_lost).and_then(|index| AttemptNumber::try_from(index + 1).ok());
        let is_sending = matches!(alert.progress(), Some(Progress::Sending { .. }));
        let is_being_sent = is_sending && alert.attempts.last().is_some_and(reaches);
        let being_sent = is_being_sent.then(|| alert.newest_attempt());
        let is_suspect = alert.plan().backend() == Backend::Dispatch && (lost.is_some() || is_being_sent);
        is_suspect.then_some(Self { lost, being_sent })
    }
}

/// Whether Vonage's name is not known for each try. Each makes one workflow at most.
fn has_nameless_try(attempt: &Attempt) -> bool {
    u32::try_from(attempt.provider_ids.len()).is_ok_and(|n_names| n_names < attempt.tries)
}

/// The name under which the reports are kept that wait for a send to end; none of Vonage's is like it.
fn waiting_for(sending: AttemptRef) -> Option<ProviderId> {
    format!("waiting-for:{sending}").parse().ok()
}

impl Engine {
    /// The attempt with a send of unknown outcome that a report to this address belongs to; none as long
    /// as it may belong to a send that is on its way, or to another alert's that was lost.
    pub(super) async fn attempt_of_unknown_outcome(&self, status: &MessageStatus) -> Result<Option<AttemptRef>, Error> {
        let (Some(channel), Some(to), Some(_)) = (status.channel, &status.to, &status.workflow) else {
            return Ok(None);
        };
        let mut lost = Vec::new();
        let mut n_suspects = 0_usize;
        let mut being_sent = Vec::new();
        let mut found = self.0.store.find_address(channel, to, &NOT_RESOLVED, LOOKED_AT_MAX + 1).await?;
        let are_all_looked_at = found.len() <= LOOKED_AT_MAX;
        found.truncate(LOOKED_AT_MAX);
        for id in found {
            // What the disk damaged must not keep the reports of everybody at this address from counting.
            let Some(alert) = self.legible(id).await? else { continue };
            let Some(suspect) = Suspect::of(&alert, channel, to) else { continue };
            n_suspects += 1;
            being_sent.extend(suspect.being_sent.map(|attempt| AttemptRef { alert: id, attempt }));
            lost.extend(suspect.lost.map(|attempt| AttemptRef { alert: id, attempt }));
        }
        let only_lost = if let ([only], true) = (lost.as_slice(), are_all_looked_at) { Some(*only) } else { None };
        // Of one that is being made again, it does not matter which try the report is about.
        let is_same = |sending: &AttemptRef| only_lost.as_ref() == Some(sending);
        if being_sent.is_empty() || (n_suspects == 1 && being_sent.iter().all(is_same)) {
            if !lost.is_empty() && only_lost.is_none() {
                tracing::info!(
                    channel = channel.name(),
                    n_alerts = lost.len(),
                    "a report may be about any of several messages whose names were lost, and counts for none of them"
                );
            }
            return Ok(only_lost);
        }
        for sending in being_sent {
            self.keep_until_sent(sending, status).await?;
        }
        Ok(None)
    }

    async fn keep_until_sent(&self, sending: AttemptRef, status: &MessageStatus) -> Result<(), Error> {
        let Some(waiting) = waiting_for(sending) else { return Ok(()) };
        let report = Incoming::Status(status.clone());
        let kept = self.0.store.parked(&waiting).await?;
        if kept.len() < UNCLEAR_MAX && !kept.contains(&report) {
            self.0.store.park(&waiting, &report, self.now()).await?;
        }
        Ok(())
    }

    /// Looks again at the reports that may have belonged to a send that has ended now, or whose outcome
    /// nobody will learn. What is still unclear is kept.
    pub(super) async fn look_at_unclear(&self, sent: AttemptRef) -> Result<(), Error> {
        let Some(waiting) = waiting_for(sent) else { return Ok(()) };
        let kept = self.0.store.parked(&waiting).await?;
        let mut is_clear = true;
        for report in &kept {
            let Incoming::Status(MessageStatus { workflow: Some(workflow), .. }) = report else { continue };
            is_clear &= self.apply_parked_or_leave(workflow).await?;
        }
        if is_clear && !kept.is_empty() {
            self.0.store.unpark(&waiting).await?;
        }
        Ok(())
    }
}
