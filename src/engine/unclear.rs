//! Reports on Dispatch that carry no name that is known: whose are they?
//!
//! The answer to a request may be lost for ever, and with it the only name of the workflow; then a report
//! can be known by its address alone. But a report may also come before the answer to a request that is
//! on its way to the same address. Taking the one for the other would make callout believe that a message
//! is out which is not. So while a send is on its way that the report may belong to as well, the report
//! is kept, and looked at again when that send has ended.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::contact::{Address, Channel};
use crate::escalation::{Alert, Attempt, Backend, Progress};
use crate::id::{AlertId, AttemptNumber, AttemptRef, ProviderId};
use crate::incoming::MessageStatus;
use crate::store::StatusFilter;

use super::{Engine, Error};

/// A report still counts for alerts of these statuses.
const NOT_RESOLVED: [StatusFilter; 3] = [StatusFilter::Escalating, StatusFilter::Exhausted, StatusFilter::Acknowledged];
/// How many alerts that messaged an address are looked at for the one that a report belongs to.
const LOOKED_AT_MAX: usize = 100;
/// How many workflows wait for one send to end. More can only be somebody else's.
const UNCLEAR_MAX: usize = 100;

/// The workflows whose reports are looked at again when a send has ended, by the alert that is being sent.
#[derive(Debug, Default)]
pub(super) struct Unclear(Mutex<HashMap<AlertId, BTreeSet<ProviderId>>>);

impl Unclear {
    /// A critical section holds only map operations, and is never held over an await.
    fn lock(&self) -> MutexGuard<'_, HashMap<AlertId, BTreeSet<ProviderId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, sending: AlertId, workflow: &ProviderId) {
        let mut unclear = self.lock();
        let workflows = unclear.entry(sending).or_default();
        if workflows.len() < UNCLEAR_MAX {
            workflows.insert(workflow.clone());
        }
    }

    fn take(&self, sent: AlertId) -> BTreeSet<ProviderId> {
        self.lock().remove(&sent).unwrap_or_default()
    }
}

/// What an alert has to do with a report.
struct Suspect {
    /// Its newest attempt at the address with a send whose outcome is unknown.
    lost: Option<AttemptNumber>,
    /// It is being sent to the address now.
    is_being_sent: bool,
}

impl Suspect {
    fn of(alert: &Alert, channel: Channel, to: &Address) -> Option<Self> {
        let reaches = |attempt: &Attempt| {
            let step = alert.step_of(attempt);
            step.is_some_and(|step| step.legs().any(|leg| leg.channel == channel && leg.address == *to))
        };
        let is_lost = |attempt: &Attempt| attempt.unknown > 0 && reaches(attempt);
        let lost = alert.attempts.iter().rposition(is_lost).and_then(|index| AttemptNumber::try_from(index + 1).ok());
        let is_sending = matches!(alert.progress(), Some(Progress::Sending { .. }));
        let is_being_sent = is_sending && alert.attempts.last().is_some_and(reaches);
        let is_suspect = alert.plan().backend() == Backend::Dispatch && (lost.is_some() || is_being_sent);
        is_suspect.then_some(Self { lost, is_being_sent })
    }
}

impl Engine {
    /// The attempt with a send of unknown outcome that a report to this address belongs to; none as long
    /// as it may belong to a send that is on its way.
    pub(super) async fn attempt_of_unknown_outcome(&self, status: &MessageStatus) -> Result<Option<AttemptRef>, Error> {
        let (Some(channel), Some(to), Some(workflow)) = (status.channel, &status.to, &status.workflow) else {
            return Ok(None);
        };
        let mut newest_lost = None;
        let mut n_suspects = 0_usize;
        let mut being_sent = Vec::new();
        for id in self.0.store.find_address(channel, to, &NOT_RESOLVED, LOOKED_AT_MAX).await? {
            let Some(suspect) = Suspect::of(&*self.alert(id).await?, channel, to) else { continue };
            n_suspects += 1;
            if suspect.is_being_sent {
                being_sent.push(id);
            }
            if let (None, Some(attempt)) = (newest_lost, suspect.lost) {
                newest_lost = Some(AttemptRef { alert: id, attempt });
            }
        }
        if n_suspects < 2 || being_sent.is_empty() {
            return Ok(newest_lost);
        }
        for sending in being_sent {
            self.0.unclear.note(sending, workflow);
        }
        Ok(None)
    }

    /// Looks again at the reports that may have belonged to a send that has ended now.
    pub(super) async fn look_at_unclear(&self, sent: AlertId) -> Result<(), Error> {
        for workflow in self.0.unclear.take(sent) {
            self.apply_parked(&workflow).await?;
        }
        Ok(())
    }
}
