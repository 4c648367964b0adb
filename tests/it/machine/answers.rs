//! What the machine answered, in the words of the stories.
//!
//! Every difference between the alert before and after has a line: the alert's status, each attempt
//! that changed, what is asked of the world, and (behind `*`) what the timeline tells from now on.

use callout::escalation::{Alert, Attempt, Effect, Entry, Progress, Status, Step, Tone, Verdict, Why};
use callout::id::AttemptNumber;

use super::language::show_moment;

/// The answer to an event, a line for each thing that changed.
pub(crate) fn answer(before: &Alert, verdict: &Verdict) -> Vec<String> {
    match verdict {
        Verdict::Stay(ignored) => vec![format!("nothing ({ignored:?})")],
        Verdict::Move { next, effects } => {
            let mut lines = changes(before, next);
            lines.extend(effects.iter().map(ask));
            lines.extend(next.timeline.iter().skip(before.timeline.len()).map(|entry| tell(next, entry)));
            if lines.is_empty() {
                lines.push("remembered, nothing to tell".to_owned());
            }
            lines
        }
    }
}

/// The alert as it begins.
pub(crate) fn beginning(alert: &Alert) -> Vec<String> {
    let mut lines = vec![status(alert)];
    lines.extend(alert.timeline.iter().map(|entry| tell(alert, entry)));
    lines
}

fn changes(before: &Alert, next: &Alert) -> Vec<String> {
    let mut lines = Vec::new();
    if before.status != next.status {
        lines.push(status(next));
    }
    if before.round != next.round {
        lines.push(format!("round {}", next.round));
    }
    if before.repeats != next.repeats {
        lines.push(format!("repeats {}", next.repeats));
    }
    if before.acknowledged != next.acknowledged && next.status != Status::Acknowledged {
        lines.push("the acknowledgement changed".to_owned());
    }
    for (index, attempt) in next.attempts.iter().enumerate() {
        let number = AttemptNumber::try_from(index + 1).unwrap_or(AttemptNumber::MAX);
        match before.attempts.get(index) {
            Some(earlier) => changes_of_attempt(number, earlier, attempt, &mut lines),
            None => lines.push(format!("#{number} {}, due {}", attempt.status().name(), show_moment(attempt.due_at))),
        }
    }
    lines
}

fn changes_of_attempt(number: AttemptNumber, before: &Attempt, next: &Attempt, lines: &mut Vec<String>) {
    if before.status() != next.status() {
        lines.push(format!("#{number} {} → {}", before.status().name(), next.status().name()));
    }
    for id in next.provider_ids.iter().filter(|id| !before.provider_ids.contains(id)) {
        lines.push(format!("#{number} is {id}"));
    }
    for message in next.messages.iter().filter(|message| !before.messages.contains(message)) {
        let place = message.leg + 1;
        lines.push(format!("#{number} message {} on channel {place} {}", message.id, message.status.name()));
    }
    if before.failure != next.failure {
        let error = next.failure.as_ref().map_or_else(|| "none".into(), callout::escalation::Failure::in_words);
        lines.push(format!("#{number} error: {error}"));
    }
}

fn status(alert: &Alert) -> String {
    let current = alert.newest_attempt();
    match alert.status {
        Status::Escalating(Progress::Ready { why: Why::First, .. }) => {
            let step = alert.attempts.last().and_then(|attempt| alert.step_of(attempt));
            format!("ready to send #{current} {}", step.map_or_else(String::new, to_whom))
        }
        Status::Escalating(Progress::Ready { from, why: Why::Retry }) => {
            format!("to send #{current} again from {}", show_moment(from))
        }
        Status::Escalating(Progress::Ready { why: Why::Unknown, .. }) => {
            format!("to send #{current} again, since nobody knows whether it went out")
        }
        Status::Escalating(Progress::Sending { until }) => format!("sending #{current} until {}", show_moment(until)),
        Status::Escalating(Progress::Waiting { until }) => {
            format!("waiting for a read of #{current} until {}", show_moment(until))
        }
        Status::Acknowledged => match &alert.acknowledged {
            Some(by) => {
                let channel = by.channel.map_or_else(String::new, |channel| format!(" on {channel}"));
                format!("acknowledged by {} via {}{channel} at {}", by.by, by.via.name(), show_moment(by.at))
            }
            None => "acknowledged by nobody".to_owned(),
        },
        Status::Exhausted => "exhausted".to_owned(),
        Status::Resolved => "resolved".to_owned(),
    }
}

fn to_whom(step: &Step) -> String {
    let channels: Vec<&str> = step.legs().map(|leg| leg.channel.name()).collect();
    format!("to {} by {}", step.user, channels.join(", then "))
}

fn ask(effect: &Effect) -> String {
    match effect {
        Effect::Send { attempt, try_number } => format!("send #{attempt}, try {try_number}"),
        Effect::Tell { attempt, leg, tone: Tone::Thanks } => format!("thank #{attempt} on channel {}", leg + 1),
        Effect::Tell { attempt, leg, tone: Tone::News } => format!("tell #{attempt} on channel {}", leg + 1),
        Effect::Revoke { attempt, id } => format!("revoke #{attempt} {id}"),
    }
}

fn tell(alert: &Alert, entry: &Entry) -> String {
    let attempt = entry.attempt.map_or_else(String::new, |number| {
        let step = alert.attempt(number).and_then(|attempt| alert.step_of(attempt));
        format!(" #{number} {}", step.map_or("", |step| &step.user))
    });
    let channel = entry.channel.map_or_else(String::new, |channel| format!(" on {channel}"));
    let by = entry.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    let detail = entry.detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"));
    format!("* {}{attempt}{channel}{by}{detail}", entry.happening.name())
}
