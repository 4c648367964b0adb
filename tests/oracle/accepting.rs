//! P1 and P3: what was answered 2xx is kept, and the same request raises one alert.

use std::collections::HashMap;

use super::Broken;
use super::history::{Call, CallKind, Moment};
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
    for (key, calls) in by_key {
        judge_key(key, &calls, &mut broken);
    }
    if !view.clock_was_stepped() {
        judge_dedup(view, &mut broken);
    }
    broken
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

/// When an alert was no longer escalating or acknowledged.
fn closed_at(seen: &Seen<'_>) -> Moment {
    let closing = seen.shown.timeline.iter().filter(|entry| matches!(entry.event.as_str(), "exhausted" | "resolved"));
    closing.map(|entry| entry.at).min().unwrap_or(Moment(i64::MAX))
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
                && later.shown.created_at < closed_at(earlier)
            {
                let says = format!("it was raised for {key:?} while {} was open for the same", earlier.shown.id);
                broken.push(later.broken("P3", says));
            }
        }
    }
}
