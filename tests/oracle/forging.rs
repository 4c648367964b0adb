//! P13: what somebody made up changes nothing.

use super::Broken;
use super::history::{CallKind, WebhookKind};
use super::view::{Seen, View};

pub(super) fn judge(view: &View<'_>, broken: &mut Vec<Broken>) {
    for webhook in view.history.provider.webhooks.iter().filter(|webhook| webhook.forged) {
        if webhook.answer == Some(200) {
            let alert = webhook.client_ref.clone().unwrap_or_default();
            broken.push(Broken {
                promise: "P13",
                alert,
                says: format!("a forgery at {} was answered 200", webhook.at),
            });
        }
    }
    if view.history.provider.complete {
        view.alerts.iter().for_each(|seen| judge_causes(seen, broken));
    }
}

/// What is told of people was told by the provider, or by a person.
fn judge_causes(seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    use WebhookKind::{Delivered, Read, Reply};
    let was_told = |attempt: Option<u32>, kinds: &[WebhookKind]| {
        let about = |number: u32| attempt.is_none_or(|attempt| attempt == number);
        seen.webhooks.iter().any(|(number, webhook)| about(*number) && kinds.contains(&webhook.kind))
    };
    let was_replied = || seen.replies().next().is_some();
    for attempt in &seen.shown.attempts {
        let number = attempt.number;
        let made_up = if attempt.read_at.is_some() && !was_told(Some(number), &[Read, Reply]) {
            "read"
        } else if attempt.delivered_at.is_some() && !was_told(Some(number), &[Delivered, Read, Reply]) {
            "delivered"
        } else {
            continue;
        };
        broken.push(seen.broken("P13", format!("attempt {number} is {made_up}, which the provider never said")));
    }
    let called = |what: CallKind| seen.calls.iter().any(|call| call.what == what);
    let is_meant = match seen.shown.acknowledged.as_ref().map(|acknowledged| acknowledged.via.as_str()) {
        Some("read") => was_told(None, &[Read]),
        Some("reply") => was_replied(),
        Some("api") => called(CallKind::Acknowledge),
        Some(_) | None => true,
    };
    if !is_meant {
        broken.push(seen.broken("P13", "it was acknowledged by nobody who is known to have said so".into()));
    }
    if seen.shown.status == "resolved" && !called(CallKind::Resolve) && !was_replied() {
        broken.push(seen.broken("P13", "it was resolved by nobody who is known to have said so".into()));
    }
}
