//! What status webhooks do to an alert.

use crate::contact::Channel;
use crate::id::AttemptNumber;

use super::alert::{Attempt, Ending, Failure, Happening, LegMessage, ReportStatus, Status, Via};
use super::event::{Ignored, Report, Verdict, WorkflowOutcome};
use super::plan::Backend;
use super::settled::Answered;
use super::step::{Draft, Target};

/// How many messages of one attempt's workflows are told apart. A workflow has one for each channel;
/// more come only where it was sent again. Of further ones only a read or a failure of the last counts.
const MESSAGES_MAX: usize = 64;

/// Whether a report told anything new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Yes,
    No(Ignored),
}

impl Draft {
    pub(super) fn reported(mut self, number: AttemptNumber, report: &Report) -> Verdict {
        match self.take_report(number, report) {
            News::Yes => self.moved(),
            News::No(ignored) => Verdict::Stay(ignored),
        }
    }

    pub(super) fn workflow_ended(
        mut self,
        number: AttemptNumber,
        outcome: WorkflowOutcome,
        messages: &[Report],
    ) -> Verdict {
        if !self.was_begun(number) {
            return Verdict::Stay(Ignored::NoSuchAttempt);
        }
        let mut news = News::No(Ignored::AlreadyKnown);
        // A read first, so that the failure of another message does not call the next user before it.
        let (reads, others): (Vec<_>, Vec<_>) =
            messages.iter().partition(|message| message.status == ReportStatus::Read);
        for report in reads.into_iter().chain(others) {
            if self.take_report(number, report) == News::Yes {
                news = News::Yes;
            }
        }
        if outcome == WorkflowOutcome::Error && self.is_current(number) {
            let failure = Failure { code: None, detail: "Dispatch ended the workflow with an error".into() };
            self.was_sent(number);
            self.fail(number, Ending::Undeliverable, Happening::Undeliverable, &failure, None);
            news = News::Yes;
        }
        match news {
            News::Yes => self.moved(),
            News::No(ignored) => Verdict::Stay(ignored),
        }
    }

    fn take_report(&mut self, number: AttemptNumber, report: &Report) -> News {
        if !self.was_begun(number) {
            return News::No(Ignored::NoSuchAttempt);
        }
        if let News::No(ignored) = self.is_news(number, report) {
            return News::No(ignored);
        }
        // A report proves that Vonage has the message, even where the answer to the send was lost.
        self.was_sent(number);
        self.remember(number, report);
        let channel = self.channel_of(number, report.leg);
        match report.status {
            ReportStatus::Submitted => self.note(Happening::Submitted, Some(number)).channel = channel,
            ReportStatus::Delivered => self.note(Happening::Delivered, Some(number)).channel = channel,
            ReportStatus::Read => {
                let by = self.user_of(number);
                let entry = self.note(Happening::Read, Some(number));
                entry.channel = channel;
                match self.alert.status {
                    Status::Escalating(_) | Status::Exhausted => {
                        let answered = Answered { attempt: number, leg: report.leg };
                        self.acknowledged(&by, Via::Read, channel, Some(answered));
                    }
                    Status::Acknowledged | Status::Resolved => {}
                }
            }
            ReportStatus::Rejected => self.message_failed(number, report, Ending::Rejected, Happening::Rejected),
            ReportStatus::Undeliverable => {
                self.message_failed(number, report, Ending::Undeliverable, Happening::Undeliverable);
            }
        }
        News::Yes
    }

    /// Each report has its effect once, and a weaker one never undoes a stronger.
    fn is_news(&self, number: AttemptNumber, report: &Report) -> News {
        let Some(attempt) = self.alert.attempt(number) else { return News::No(Ignored::NoSuchAttempt) };
        let known = match self.alert.plan().backend() {
            Backend::Messages => self.is_known_of_attempt(number, attempt, report),
            Backend::Dispatch => match attempt.message_of(report) {
                Some(message) => (message.status >= report.status).then_some(Ignored::AlreadyKnown),
                None if attempt.has_room_for(report) => None,
                // What cannot be kept by its message is judged by the attempt. Without a trace of
                // its own, a failure that Vonage copes with would be news each time.
                None if is_failure(report) && !self.is_of_last_leg(number, report) => Some(Ignored::AlreadyKnown),
                None => self.is_known_of_attempt(number, attempt, report),
            },
        };
        known.map_or(News::Yes, News::No)
    }

    fn is_known_of_attempt(&self, number: AttemptNumber, attempt: &Attempt, report: &Report) -> Option<Ignored> {
        let known = match report.status {
            ReportStatus::Submitted => attempt.submitted_at.is_some(),
            ReportStatus::Delivered => attempt.delivered_at.is_some(),
            ReportStatus::Read => attempt.read_at.is_some(),
            ReportStatus::Rejected | ReportStatus::Undeliverable => {
                let is_old_message = match (&report.id, attempt.provider_ids.last()) {
                    (Some(id), Some(newest)) => id != newest,
                    (_, _) => false,
                };
                if is_old_message {
                    return Some(Ignored::OldAttempt);
                }
                let n_told =
                    self.times_told(Happening::Rejected, number) + self.times_told(Happening::Undeliverable, number);
                attempt.read_at.is_some() || n_told > 0
            }
        };
        known.then_some(Ignored::AlreadyKnown)
    }

    /// Writes down what the report says of the message.
    fn remember(&mut self, number: AttemptNumber, report: &Report) {
        let now = self.now;
        let backend = self.alert.plan().backend();
        let Some(attempt) = self.alert.attempt_mut(number) else { return };
        match backend {
            Backend::Messages => attempt.learn_reported(report.id.as_ref()),
            Backend::Dispatch => attempt.learn_message(report),
        }
        let moment = match report.status {
            ReportStatus::Submitted => &mut attempt.submitted_at,
            ReportStatus::Delivered => &mut attempt.delivered_at,
            ReportStatus::Read => &mut attempt.read_at,
            ReportStatus::Rejected | ReportStatus::Undeliverable => return,
        };
        moment.get_or_insert(now);
    }

    /// A message failed. On Dispatch that concerns us only where it was the workflow's last.
    fn message_failed(&mut self, number: AttemptNumber, report: &Report, ending: Ending, happening: Happening) {
        let unexplained = Failure { code: None, detail: "Vonage gave no reason".into() };
        let failure = report.failure.as_ref().unwrap_or(&unexplained);
        let channel = self.channel_of(number, report.leg);
        if self.is_of_last_leg(number, report) {
            self.fail(number, ending, happening, failure, channel);
        } else {
            self.note_failure(number, happening, failure, channel);
        }
    }

    fn note_failure(
        &mut self,
        number: AttemptNumber,
        happening: Happening,
        failure: &Failure,
        channel: Option<Channel>,
    ) {
        let entry = self.note(happening, Some(number));
        entry.channel = channel;
        entry.detail = Some(failure.in_words());
    }

    /// Whether no channel of the step follows the one that a report is about.
    fn is_of_last_leg(&self, number: AttemptNumber, report: &Report) -> bool {
        let step = self.alert.attempt(number).and_then(|attempt| self.alert.step_of(attempt));
        step.is_none_or(|step| step.legs().count() <= usize::from(report.leg) + 1)
    }

    fn fail(
        &mut self,
        number: AttemptNumber,
        ending: Ending,
        happening: Happening,
        failure: &Failure,
        channel: Option<Channel>,
    ) {
        let is_current = self.is_current(number);
        self.end_attempt(number, ending);
        self.set_failure(number, failure);
        self.note_failure(number, happening, failure, channel);
        if is_current {
            self.advance(Target::NextStep, self.now, None);
        }
    }
}

fn is_failure(report: &Report) -> bool {
    match report.status {
        ReportStatus::Rejected | ReportStatus::Undeliverable => true,
        ReportStatus::Submitted | ReportStatus::Delivered | ReportStatus::Read => false,
    }
}

impl Attempt {
    /// The message of the workflow that a report is about: the one it names, else the first one of its channel.
    fn message_of(&self, report: &Report) -> Option<&LegMessage> {
        self.messages.iter().find(|message| message.is_meant_by(report))
    }

    fn has_room_for(&self, report: &Report) -> bool {
        report.id.is_some() && self.messages.len() < MESSAGES_MAX
    }

    /// Writes down what a report says of a message of the workflow.
    fn learn_message(&mut self, report: &Report) {
        let has_room = self.has_room_for(report);
        match (self.messages.iter_mut().find(|message| message.is_meant_by(report)), &report.id) {
            (Some(message), _) => message.status = message.status.max(report.status),
            (None, Some(id)) if has_room => {
                self.messages.push(LegMessage { leg: report.leg, id: id.clone(), status: report.status });
            }
            (None, _) => {}
        }
    }
}

impl LegMessage {
    fn is_meant_by(&self, report: &Report) -> bool {
        match &report.id {
            Some(id) => self.id == *id,
            None => self.leg == report.leg,
        }
    }
}
