//! P1, P2, P3 and P20: what was answered 2xx is kept, nothing else is answered 2xx, and the same request raises one
//! alert.

use std::collections::HashMap;

use super::Broken;
use super::history::{Call, CallKind, FaultKind, Moment, WebhookKind};
use super::view::{Seen, View};

const DAY_MS: i64 = 24 * 3_600 * 1_000;

pub(super) fn judge(view: &View<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    let kept: HashMap<&str, &Seen<'_>> = view.alerts.iter().map(|seen| (seen.shown.id.as_str(), seen)).collect();
    let mut by_key: HashMap<&str, Vec<&Call>> = HashMap::new();
    for call in view.history.client.iter().filter(|call| call.what == CallKind::Raise) {
        if let Some(key) = &call.key {
            by_key.entry(key).or_default().push(call);
        }
        let Some(status @ (200 | 201)) = call.status else { continue };
        let id = call.id.clone().unwrap_or_default();
        match kept.get(id.as_str()) {
            None => broken.push(Broken {
                promise: "P1",
                alert: id,
                says: format!("raising it at {} was answered {status}, and the store does not have it", call.at),
            }),
            Some(seen) if seen.shown.attempts.is_empty() => {
                broken.push(seen.broken("P1", "it is kept without its first attempt".into()));
            }
            Some(seen) if seen.shown.dedup_key != call.dedup_key && call.dedup_key.is_some() => {
                broken.push(seen.broken("P3", "it was given as the answer to another dedup key".into()));
            }
            Some(_) => {}
        }
    }
    judge_refusals(view, &mut broken);
    for seen in view.alerts.iter().filter(|seen| !seen.is_poisoned(view.history)) {
        judge_answers(view, seen, &mut broken);
        judge_storage(view, seen, &mut broken);
    }
    for (key, calls) in by_key {
        judge_key(key, &calls, &mut broken);
    }
    if !view.clock_was_stepped() {
        judge_dedup(view, &mut broken);
    }
    broken
}

/// Who cannot be promised anything is told so in time, and when to ask again.
fn judge_refusals(view: &View<'_>, broken: &mut Vec<Broken>) {
    for call in &view.history.client {
        let alert = call.id.clone().unwrap_or_default();
        if let (Some(status @ (429 | 503)), Some(false)) = (call.status, call.retry_after) {
            let says = format!("the call at {} was answered {status} and not when to ask again", call.at);
            broken.push(Broken { promise: "P2", alert: alert.clone(), says });
        }
        if let (Some(max), Some(answered)) = (view.history.answer_max_ms, call.answered_at)
            && answered > call.at.plus(max)
        {
            let says = format!("the call at {} was answered at {answered} only", call.at);
            broken.push(Broken { promise: "P2", alert, says });
        }
    }
}

/// Whether a line of the timeline is what such a call was answered 2xx for.
fn is_told_as(call: CallKind, event: &str) -> bool {
    match call {
        CallKind::Raise => event == "raised",
        CallKind::Acknowledge => event == "acknowledged",
        CallKind::Resolve => event == "resolved",
        CallKind::Escalate => event == "escalated",
    }
}

/// A promise is given after what it says has happened.
fn judge_answers(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    if view.clock_was_stepped() {
        return;
    }
    let apart_ms = view.history.clocks_apart_ms;
    for call in seen.calls.iter().filter(|call| matches!(call.status, Some(200 | 201))) {
        let (Some(answered), CallKind::Raise | CallKind::Acknowledge | CallKind::Resolve) =
            (call.answered_at, call.what)
        else {
            continue;
        };
        let first = seen.shown.timeline.iter().find(|entry| is_told_as(call.what, &entry.event));
        if let Some(first) = first.filter(|first| first.at > answered.plus(apart_ms)) {
            let says = format!("`{}` was answered 2xx at {answered}, and happened at {}", first.event, first.at);
            broken.push(seen.broken("P2", says));
        }
    }
}

/// Nothing happens to an alert, and is answered 2xx, while the store keeps nothing.
fn judge_storage(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    if view.clock_was_stepped() {
        return;
    }
    for fault in view.faults_of(FaultKind::Store).filter(|fault| fault.keeps_nothing) {
        let is_within = |from: Moment, until: Moment| fault.at <= from && until <= fault.mended();
        let calls = seen.calls.iter().filter(|call| matches!(call.status, Some(200 | 201))).filter_map(|call| {
            Some((
                call.at,
                call.answered_at?,
                seen.shown.timeline.iter().find(|entry| is_told_as(call.what, &entry.event))?,
            ))
        });
        let webhooks = seen.webhooks.iter().filter(|(_, webhook)| webhook.answer == Some(200));
        let webhooks = webhooks.filter_map(|(number, webhook)| {
            let event = match webhook.kind {
                WebhookKind::Submitted => "submitted",
                WebhookKind::Delivered => "delivered",
                WebhookKind::Read => "read",
                WebhookKind::Rejected => "rejected",
                WebhookKind::Undeliverable => "undeliverable",
                WebhookKind::Reply => "reply",
            };
            Some((webhook.at, webhook.answered_at?, seen.told(*number, &[event]).next()?))
        });
        for (at, answered, entry) in calls.chain(webhooks) {
            if is_within(at, answered) && at <= entry.at && entry.at <= answered {
                let says = format!("`{}` was answered 2xx at {answered}, while the store kept nothing", entry.event);
                broken.push(seen.broken("P20", says));
            }
        }
    }
}

fn judge_key(key: &str, calls: &[&Call], broken: &mut Vec<Broken>) {
    let Some(first) = calls.iter().find(|call| matches!(call.status, Some(200 | 201))) else { return };
    for call in calls {
        let is_late = call.at > first.at.plus(DAY_MS);
        let same_body = call.body == first.body;
        let says = match call.status {
            _ if is_late => continue,
            Some(200 | 201) if same_body && call.id != first.id => {
                format!("the idempotency key {key:?} raised it and also {}", call.id.as_deref().unwrap_or("nothing"))
            }
            Some(200 | 201) if !same_body => format!("the idempotency key {key:?} was taken for another body"),
            Some(422) if same_body => format!("the idempotency key {key:?} was refused for the body that it came with"),
            _ => continue,
        };
        broken.push(Broken { promise: "P3", alert: first.id.clone().unwrap_or_default(), says });
    }
}

/// When an alert was no longer escalating or acknowledged, or nobody could work on it any more: posting its problem
/// again must call somebody then.
fn closed_at(view: &View<'_>, seen: &Seen<'_>) -> Moment {
    let closing = seen.shown.timeline.iter().filter(|entry| matches!(entry.event.as_str(), "exhausted" | "resolved"));
    let poisoned = view.history.poisoned.get(&seen.shown.id).copied();
    closing.map(|entry| entry.at).chain(poisoned).min().unwrap_or(Moment(i64::MAX))
}

fn judge_dedup(view: &View<'_>, broken: &mut Vec<Broken>) {
    let mut by_key: HashMap<&str, Vec<&Seen<'_>>> = HashMap::new();
    for seen in &view.alerts {
        if let Some(key) = &seen.shown.dedup_key {
            by_key.entry(key).or_default().push(seen);
        }
    }
    for (key, mut alerts) in by_key {
        alerts.sort_by_key(|seen| seen.shown.created_at);
        for pair in alerts.windows(2) {
            if let [earlier, later] = pair
                && later.shown.created_at < closed_at(view, earlier)
            {
                let says = format!("it was raised for {key:?} while {} was open for the same", earlier.shown.id);
                broken.push(later.broken("P3", says));
            }
        }
    }
}
