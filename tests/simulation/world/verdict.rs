//! What a day came to: what the three records say at its end, and the situations that were met.

use callout::clock::Clock;
use callout::escalation::{Alert, Backend, Progress};
use callout::store::{Page, Store};
use callout::timestamp::Timestamp;

use super::machines::CLOCKS_APART_MS;
use super::{Day, World, moment};
use crate::oracle::history::{
    AcknowledgedShown, AlertShown, AttemptShown, CurrentShown, EntryShown, History, Moment, Provider, TakenUp,
};
use crate::oracle::judge;

/// How long after a fault something may still be late: a lease, and what follows it.
const RECOVERY_MS: i64 = 40_000;

/// How soon one process takes up after its start what the one before left, and several nodes what one of them left.
const TAKEN_UP: [TakenUp; 2] = [
    TakenUp { by_others: false, deadlines_ms: 1_000, sends_ms: 1_000 },
    TakenUp { by_others: true, deadlines_ms: 2_000, sends_ms: 30_000 },
];

/// Nodes look around every second; what one of them meets the others know a look later.
const NEWS_MS: i64 = 2_000;

impl World {
    /// What the three records say at the end of the day.
    pub(super) async fn judge(&self) -> Day {
        let page = Page { limit: usize::MAX, ..Page::default() };
        let kept = self.kept.list(&page).await.unwrap();
        for alert in &kept {
            self.mark_alert(alert);
        }
        let aheads = self.aheads.lock().unwrap();
        let mut notes = self.notes();
        let history = History {
            plans: std::mem::take(&mut notes.plans),
            client: std::mem::take(&mut notes.client),
            provider: Provider {
                complete: true,
                sent: std::mem::take(&mut notes.sent),
                webhooks: std::mem::take(&mut notes.webhooks),
            },
            alerts: kept
                .iter()
                .map(|alert| shown(alert, aheads.get(&alert.id()).map_or(&[][..], Vec::as_slice)))
                .collect(),
            faults: std::mem::take(&mut notes.faults),
            alarms: Some(std::mem::take(&mut notes.alarms)),
            poisoned: std::mem::take(&mut notes.poisoned),
            news_ms: if self.n_nodes() > 1 { NEWS_MS } else { 0 },
            answer_max_ms: None,
            taken_up: Some(TAKEN_UP[usize::from(self.n_nodes() > 1)]),
            ended_at: moment(self.clock.now()),
            late_max_ms: 12_000,
            recovery_ms: RECOVERY_MS,
            clocks_apart_ms: if self.n_nodes() > 1 { 2 * CLOCKS_APART_MS } else { 0 },
        };
        Day {
            broken: judge(&history),
            marks: std::mem::take(&mut notes.marks),
            hash: notes.hash,
            lines: notes.lines.take().unwrap_or_default(),
            n_faults: history.faults.len(),
            n_alerts: history.alerts.len(),
            n_sent: history.provider.sent.len(),
        }
    }

    fn mark_alert(&self, alert: &Alert) {
        self.mark(match alert.status.name() {
            "escalating" => "an alert was still escalating",
            "acknowledged" => "an alert was acknowledged",
            "exhausted" => "an alert was exhausted",
            _ => "an alert was resolved",
        });
        if alert.round > 1 {
            self.mark("a second round began");
        }
        for attempt in &alert.attempts {
            match attempt.status().name() {
                "rejected" => self.mark("a message was rejected"),
                "refused" => self.mark("a message was refused"),
                "failed" => self.mark("a channel was given up"),
                "superseded" => self.mark("an attempt was superseded"),
                "expired" => self.mark("a time ran out"),
                _ => {}
            }
        }
        for entry in &alert.timeline {
            match entry.happening.name() {
                "resent_after_restart" => self.mark("a lost send was made again"),
                "repeated" => self.mark("an alert was repeated"),
                "reply" => self.mark("somebody replied"),
                _ => {}
            }
        }
        let exhausted = alert.timeline.iter().any(|entry| entry.happening.name() == "exhausted");
        if exhausted && alert.acknowledged.is_some() {
            self.mark("a read came after the end");
        }
    }
}

/// What is worth being met at least once in a run of any size.
pub(crate) const MARKS: &[&str] = &[
    "a clock was stepped under a node",
    "a clock was stepped under nobody",
    "a commit had an unknown outcome",
    "a commit was lost",
    "a damaged alert gave its problem up",
    "a final report told of a read",
    "a forgery was refused",
    "a lost send was made again",
    "a machine was booted",
    "a message was late",
    "a message was refused",
    "a message was rejected",
    "a node alone did not get through",
    "a node was cut off",
    "a node was frozen",
    "a node was killed",
    "a node was replaced",
    "a read came after the end",
    "a request was made again",
    "a second round began",
    "a time ran out",
    "a webhook said what nobody knows",
    "a webhook was parked",
    "a webhook was sent again",
    "a workflow ended",
    "an alert was acknowledged",
    "an alert was damaged",
    "an alert was exhausted",
    "an alert was repeated",
    "an alert was resolved",
    "an alert was still escalating",
    "an attempt was superseded",
    "killed in the middle of a call",
    "several nodes",
    "somebody called the API",
    "somebody pressed a button",
    "somebody quoted a message",
    "somebody replied with a code",
    "somebody replied without a word of what is meant",
    "somebody replied",
    "the account was refused",
    "the answer to a send was lost",
    "the disk was full",
    "the provider refused a message",
    "the provider was down",
    "the store was down",
    "the store was slow",
];

/// An alert as the API shows it, with true times. A clock that was set to another time since shows the alerts from
/// before as it was then; while an alert escalates, it stands on one timeline.
fn shown(alert: &Alert, aheads: &[i64]) -> AlertShown {
    let truly = |at: Timestamp, line: usize| Moment(at.as_millis() - aheads.get(line).or(aheads.last()).unwrap_or(&0));
    let moment = |at| truly(at, 0);
    let current = alert.progress().map(|progress| CurrentShown {
        attempt: alert.newest_attempt(),
        expires_at: match progress {
            Progress::Waiting { until } => Some(moment(until)),
            Progress::Ready { .. } | Progress::Sending { .. } => None,
        },
    });
    let attempt = |(number, attempt): (u32, &callout::escalation::Attempt)| {
        let step = alert.step_of(attempt);
        let id = attempt.provider_ids.last().map(ToString::to_string);
        let is_dispatch = alert.plan().backend() == Backend::Dispatch;
        AttemptShown {
            number,
            round: attempt.round,
            user: step.map(|step| step.user.to_string()).unwrap_or_default(),
            channel: step.and_then(callout::escalation::Step::shown_channel).map(|channel| channel.name().into()),
            status: attempt.status().name().into(),
            message_uuid: id.clone().filter(|_| !is_dispatch),
            dispatch_uuid: id.filter(|_| is_dispatch),
            tries: attempt.tries,
            sent_at: attempt.sent_at.map(moment),
            expires_at: attempt.expires_at.map(moment),
            delivered_at: attempt.delivered_at.map(moment),
            read_at: attempt.read_at.map(moment),
        }
    };
    AlertShown {
        id: alert.id().to_string(),
        status: alert.status.name().into(),
        policy: alert.raised.policy.as_deref().map(Into::into),
        dedup_key: alert.raised.dedup_key.as_deref().map(Into::into),
        repeats: alert.repeats,
        created_at: moment(alert.raised.at),
        updated_at: truly(alert.updated_at, aheads.len()),
        round: alert.round,
        current,
        acknowledged: alert.acknowledged.as_ref().map(|acknowledged| AcknowledgedShown {
            by: acknowledged.by.to_string(),
            via: acknowledged.via.name().into(),
        }),
        attempts: (1_u32..).zip(&alert.attempts).map(attempt).collect(),
        timeline: alert
            .timeline
            .iter()
            .enumerate()
            .map(|(line, entry)| EntryShown {
                at: truly(entry.at, line),
                event: entry.happening.name().into(),
                attempt: entry.attempt,
                by: entry.by.as_deref().map(Into::into),
                detail: entry.detail.as_deref().map(Into::into),
            })
            .collect(),
    }
}
