//! What people do to an alert: replies, links and API calls.

use crate::contact::Channel;
use crate::id::AttemptNumber;

use super::alert::{Acknowledgement, Attempt, Ending, Happening, Status, Via};
use super::event::{Ignored, Intent, Reply, Verdict};
use super::settled::Answered;
use super::step::{Draft, Target};

/// How many ids of inbound messages an alert remembers.
const ANSWERED_MAX: usize = 64;
/// How many replies the timeline of one alert tells of.
const REPLIES_SHOWN_MAX: usize = 100;

impl Draft {
    pub(super) fn replied(mut self, number: AttemptNumber, reply: &Reply) -> Verdict {
        if self.alert.status == Status::Resolved {
            return Verdict::Stay(Ignored::AlreadyResolved);
        }
        if !self.was_begun(number) {
            return Verdict::Stay(Ignored::NoSuchAttempt);
        }
        if let Some(id) = &reply.id {
            if self.alert.answered.contains(id) {
                return Verdict::Stay(Ignored::AlreadyKnown);
            }
            if self.alert.answered.len() >= ANSWERED_MAX {
                self.alert.answered.remove(0);
            }
            self.alert.answered.push(id.clone());
        }
        let by = self.user_of(number);
        self.note_reply(number, &by, reply);
        match (reply.intent, self.alert.status) {
            (Intent::Acknowledge, Status::Escalating(_) | Status::Exhausted) => {
                let answered = self.answered_on(number, reply.channel);
                self.acknowledged(&by, Via::Reply, Some(reply.channel), Some(answered));
            }
            (Intent::NextUser, Status::Escalating(_)) if self.is_from_current_user(number) => {
                self.leave_user(&by);
            }
            (Intent::Resolve, Status::Escalating(_) | Status::Acknowledged | Status::Exhausted) => {
                let answered = self.answered_on(number, reply.channel);
                self.resolved(&by, Some(answered));
            }
            (
                Intent::Acknowledge | Intent::NextUser | Intent::Resolve | Intent::OptOut,
                Status::Escalating(_) | Status::Acknowledged | Status::Exhausted | Status::Resolved,
            ) => {}
        }
        self.moved()
    }

    fn note_reply(&mut self, number: AttemptNumber, by: &str, reply: &Reply) {
        let n_replies = self.alert.timeline.iter().filter(|entry| entry.happening == Happening::Reply).count();
        if n_replies >= REPLIES_SHOWN_MAX {
            return;
        }
        let entry = self.note(Happening::Reply, Some(number));
        entry.by = Some(by.into());
        entry.channel = Some(reply.channel);
        entry.detail = match reply.intent {
            Intent::Acknowledge => None,
            Intent::NextUser => Some("asks for the next user".into()),
            Intent::Resolve => Some("says that it is over".into()),
            Intent::OptOut => Some("asks not to be messaged any more".into()),
        };
    }

    /// The same person may stand in several places of a policy.
    fn is_from_current_user(&self, number: AttemptNumber) -> bool {
        let user = |attempt: &Attempt| self.alert.step_of(attempt).map(|step| &step.user);
        match (self.alert.attempt(number), self.alert.attempts.last()) {
            (Some(answered), Some(newest)) => user(answered) == user(newest),
            (_, _) => false,
        }
    }

    pub(super) fn acknowledge(mut self, by: &str, via: Via, channel: Option<Channel>) -> Verdict {
        match self.alert.status {
            Status::Escalating(_) | Status::Exhausted => {
                let answered = self.answered_from(by, via, channel);
                self.acknowledged(by, via, channel, answered);
                self.moved()
            }
            Status::Acknowledged => Verdict::Stay(Ignored::AlreadyAcknowledged),
            Status::Resolved => Verdict::Stay(Ignored::AlreadyResolved),
        }
    }

    pub(super) fn acknowledged(&mut self, by: &str, via: Via, channel: Option<Channel>, answered: Option<Answered>) {
        self.confirm(answered);
        self.revoke_unread(answered);
        self.settle(Status::Acknowledged);
        self.alert.acknowledged = Some(Acknowledgement { by: by.into(), via, channel, at: self.now });
        let entry = self.note(Happening::Acknowledged, None);
        entry.by = Some(by.into());
        entry.channel = channel;
        entry.detail = Some(via.name().into());
    }

    pub(super) fn next_user(mut self, by: &str, attempt: Option<AttemptNumber>) -> Verdict {
        if attempt.is_some_and(|wanted| (1..=self.alert.newest_attempt()).contains(&wanted) && !self.is_current(wanted))
        {
            return Verdict::Stay(Ignored::OldAttempt);
        }
        if attempt.is_some_and(|wanted| !self.is_current(wanted)) {
            return Verdict::Stay(Ignored::NoSuchAttempt);
        }
        match self.alert.status {
            Status::Escalating(_) => {
                self.leave_user(by);
                self.moved()
            }
            Status::Resolved => Verdict::Stay(Ignored::AlreadyResolved),
            Status::Acknowledged | Status::Exhausted => Verdict::Stay(Ignored::NotEscalating),
        }
    }

    /// Goes to the next user now.
    fn leave_user(&mut self, by: &str) {
        self.end_attempt(self.alert.newest_attempt(), Ending::Superseded);
        self.advance(Target::NextUser, self.now, Some(by));
    }

    pub(super) fn resolve(mut self, by: &str) -> Verdict {
        match self.alert.status {
            Status::Escalating(_) | Status::Acknowledged | Status::Exhausted => {
                self.resolved(by, None);
                self.moved()
            }
            Status::Resolved => Verdict::Stay(Ignored::AlreadyResolved),
        }
    }

    fn resolved(&mut self, by: &str, answered: Option<Answered>) {
        match self.alert.status {
            Status::Escalating(_) | Status::Exhausted => self.revoke_unread(answered),
            // What could be taken back was, when it was acknowledged.
            Status::Acknowledged | Status::Resolved => {}
        }
        self.settle(Status::Resolved);
        self.note(Happening::Resolved, None).by = Some(by.into());
    }
}
