//! What status webhooks do to an alert.

use crate::id::AttemptNumber;

use super::alert::{Ending, Failure, Happening, LegMessage, ReportStatus, Status, Via};
use super::event::{Ignored, Report, Verdict, WorkflowOutcome};
use super::plan::{Backend, Step};
use super::step::{Draft, Target};

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
        let mut news = News::No(Ignored::AlreadyKnown);
        for report in messages {
            if self.take_report(number, report) == News::Yes {
                news = News::Yes;
            }
        }
        if outcome == WorkflowOutcome::Error && self.is_current(number) && self.was_begun(number) {
            let failure = Failure { code: None, detail: "Dispatch ended the workflow with an error".into() };
            self.was_sent(number);
            self.fail(number, Ending::Undeliverable, Happening::Undeliverable, &failure);
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
                    Status::Escalating(_) | Status::Exhausted => self.acknowledged(&by, Via::Read, channel),
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
        if self.alert.plan().backend() == Backend::Dispatch {
            let known = attempt.messages.iter().find(|message| Some(&message.id) == report.id.as_ref());
            return match known {
                Some(message) if message.status >= report.status => News::No(Ignored::AlreadyKnown),
                Some(_) | None => News::Yes,
            };
        }
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
                    return News::No(Ignored::OldAttempt);
                }
                let failed_before = match attempt.ending {
                    None => false,
                    Some(Ending::Expired | Ending::Superseded) => attempt.failure.is_some(),
                    Some(Ending::Rejected | Ending::Undeliverable | Ending::Refused | Ending::Failed) => true,
                };
                attempt.read_at.is_some() || failed_before
            }
        };
        if known { News::No(Ignored::AlreadyKnown) } else { News::Yes }
    }

    /// Writes down what the report says of the message.
    fn remember(&mut self, number: AttemptNumber, report: &Report) {
        let now = self.now;
        let backend = self.alert.plan().backend();
        let Some(attempt) = self.alert.attempt_mut(number) else { return };
        match (backend, &report.id) {
            (Backend::Messages, id) => attempt.learn(id.as_ref()),
            (Backend::Dispatch, Some(id)) => match attempt.messages.iter_mut().find(|message| message.id == *id) {
                Some(message) => message.status = message.status.max(report.status),
                None => {
                    attempt.messages.push(LegMessage { leg: report.leg, id: id.clone(), status: report.status });
                }
            },
            (Backend::Dispatch, None) => {}
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
        let step = self.alert.attempt(number).and_then(|attempt| self.alert.step_of(attempt));
        let n_legs = step.map_or(1, |step: &Step| step.legs().count());
        if usize::from(report.leg) + 1 < n_legs {
            let channel = self.channel_of(number, report.leg);
            let entry = self.note(happening, Some(number));
            entry.channel = channel;
            entry.detail = Some(failure.in_words());
        } else {
            self.fail(number, ending, happening, failure);
        }
    }

    fn fail(&mut self, number: AttemptNumber, ending: Ending, happening: Happening, failure: &Failure) {
        let is_current = self.is_current(number);
        self.end_attempt(number, ending);
        self.set_failure(number, failure);
        self.note(happening, Some(number)).detail = Some(failure.in_words());
        if is_current {
            self.advance(Target::NextStep, self.now, None);
        }
    }
}
