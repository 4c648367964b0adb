//! P9, P11, P12, P14 and P23: what has come of an alert, and whether its record adds up.

use std::collections::HashMap;

use super::Broken;
use super::history::{BackendTold, CallKind, Moment, Wants, Webhook, WebhookKind};
use super::view::{Seen, View};

/// The longest that an alert may wait without a deadline that is shown: for a retry, or for the outcome of a
/// send.
const RETRY_MAX_MS: i64 = 76_000;
/// How many repetitions a timeline tells of.
const REPEATS_SHOWN_MAX: usize = 20;

pub(super) fn judge(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    for (attempt, webhook) in &seen.webhooks {
        if webhook.answer == Some(200) {
            judge_webhook(view, seen, *attempt, webhook, broken);
        }
    }
    judge_calls(seen, broken);
    judge_effects(seen, broken);
    judge_end(view, seen, broken);
    judge_fold(view, seen, broken);
}

fn judge_webhook(view: &View<'_>, seen: &Seen<'_>, number: u32, webhook: &Webhook, broken: &mut Vec<Broken>) {
    // A report on what the provider does not have is the provider's mistake.
    if seen.accepted(number).all(|sent| sent.at > webhook.at) {
        return;
    }
    let Some(attempt) = seen.shown.attempts.iter().find(|attempt| attempt.number == number) else {
        broken.push(
            seen.broken(
                "P14",
                format!("a webhook about attempt {number} was answered 200, and no such attempt is kept"),
            ),
        );
        return;
    };
    // The answer that named this workflow was lost, and a report can be known by its address only as long as the alert is
    // not resolved. Then there is nobody whom it could still stop.
    let is_nameless = webhook.dispatch_uuid.is_some() && webhook.dispatch_uuid != attempt.dispatch_uuid;
    let resolved = seen.first("resolved").map(|entry| entry.at.plus(-view.history.clocks_apart_ms));
    let is_over = resolved.is_some_and(|resolved| view.clock_was_stepped() || resolved <= webhook.at);
    if is_nameless && is_over {
        return;
    }
    let at = webhook.answered_at.unwrap_or(webhook.at);
    let is_messages = seen.plan.is_some_and(|plan| plan.backend == BackendTold::Messages);
    let promise = if is_late(seen, number, webhook.at) { "P9" } else { "P14" };
    let lost = |what: &str| format!("{what} of attempt {number} was answered 200 at {at} and is lost");
    match webhook.kind {
        WebhookKind::Read => {
            if attempt.read_at.is_none() {
                broken.push(seen.broken(promise, lost("a read")));
            } else if !is_answered(view, seen, at) {
                broken.push(seen.broken(promise, format!("a read of attempt {number} did not acknowledge it")));
            }
        }
        WebhookKind::Reply if webhook.wants == Wants::Resolve => {
            if seen.shown.status != "resolved" {
                broken.push(seen.broken(promise, lost("a reply that resolves")));
            }
        }
        WebhookKind::Reply if webhook.wants == Wants::Acknowledge => {
            if !is_answered(view, seen, at) {
                broken.push(seen.broken(promise, lost("a reply")));
            }
        }
        WebhookKind::Delivered if is_messages && attempt.delivered_at.is_none() => {
            broken.push(seen.broken("P14", lost("a delivery")));
        }
        WebhookKind::Submitted if is_messages && seen.told(number, &["submitted"]).next().is_none() => {
            broken.push(seen.broken("P14", lost("a submission")));
        }
        WebhookKind::Rejected | WebhookKind::Undeliverable => {
            // Of two messages of one attempt the other one may still arrive, and be read.
            let is_only_one = seen.accepted(number).count() == 1;
            let is_told = seen.told(number, &["rejected", "undeliverable"]).next().is_some();
            if is_messages && is_only_one && !is_told && attempt.read_at.is_none() {
                broken.push(seen.broken("P14", lost("a failure")));
            }
        }
        WebhookKind::Reply | WebhookKind::Delivered | WebhookKind::Submitted => {}
    }
}

/// A reply that may mean several alerts shows at one of them, unless all of them were answered before.
pub(super) fn judge_unclear(view: &View<'_>, broken: &mut Vec<Broken>) {
    for (reply, places) in &view.unclear {
        let Some(answered) = reply.answered_at.filter(|_| reply.answer == Some(200)) else { continue };
        let meant: Vec<&Seen<'_>> = places.iter().map(|place| &view.alerts[*place]).collect();
        let is_judged = !view.clock_was_stepped()
            && reply.wants != Wants::Next
            && meant.iter().all(|seen| !seen.is_poisoned(view.history));
        let by = answered.plus(view.history.clocks_apart_ms);
        let shows = |seen: &&Seen<'_>| {
            let mut lines = seen.shown.timeline.iter().filter(|line| reply.written() <= line.at && line.at <= by);
            lines.any(|line| matches!(line.event.as_str(), "acknowledged" | "resolved" | "reply"))
        };
        let was_answered = |seen: &&Seen<'_>| {
            let mut lines = seen.shown.timeline.iter().filter(|line| line.at <= by);
            lines.any(|line| matches!(line.event.as_str(), "acknowledged" | "resolved"))
        };
        let was_messaged =
            |seen: &&Seen<'_>| reply.writer.as_ref().is_some_and(|writer| seen.had_message(writer, reply.written()));
        let is_lost = || meant.iter().any(|seen| was_messaged(seen) && !was_answered(seen));
        if is_judged && !meant.iter().any(shows) && is_lost() {
            let alert = meant.first().map(|seen| seen.shown.id.clone()).unwrap_or_default();
            let says = format!("a reply was answered 200 at {answered} and shows at none of {} alerts", meant.len());
            broken.push(Broken { promise: "P14", alert, says });
        }
    }
}

/// Whether the alert had moved on from an attempt by then.
fn is_late(seen: &Seen<'_>, number: u32, at: Moment) -> bool {
    let moved_on = seen.advance_to(number + 1).or_else(|| seen.first("exhausted"));
    moved_on.is_some_and(|entry| entry.at <= at)
}

/// Whether an answer that was taken in by `at` shows.
fn is_answered(view: &View<'_>, seen: &Seen<'_>, at: Moment) -> bool {
    if seen.shown.acknowledged.is_some() {
        return true;
    }
    let resolved = seen.first("resolved").map(|entry| entry.at);
    seen.shown.status == "resolved" && (view.clock_was_stepped() || resolved.is_some_and(|resolved| resolved <= at))
}

/// What people were told at the API is so.
fn judge_calls(seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    for call in seen.calls.iter().filter(|call| call.status == Some(200)) {
        let is_so = match call.what {
            CallKind::Acknowledge => seen.shown.acknowledged.is_some(),
            CallKind::Resolve => seen.shown.status == "resolved",
            CallKind::Raise | CallKind::Escalate => continue,
        };
        if !is_so {
            let says = format!("the call at {} was answered 200, and its status is {}", call.at, seen.shown.status);
            broken.push(seen.broken("P1", says));
        }
    }
}

fn judge_effects(seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    let is_messages = seen.plan.is_some_and(|plan| plan.backend == BackendTold::Messages);
    let mut times: HashMap<(u32, &str), usize> = HashMap::new();
    for entry in &seen.shown.timeline {
        if let Some(attempt) = entry.attempt {
            *times.entry((attempt, entry.event.as_str())).or_default() += 1;
        }
    }
    for attempt in &seen.shown.attempts {
        for event in ["submitted", "delivered", "read", "expired", "refused", "sent"] {
            let n = times.get(&(attempt.number, event)).copied().unwrap_or(0);
            if n > 1 && (is_messages || event == "expired" || event == "sent") {
                broken
                    .push(seen.broken("P12", format!("`{event}` of attempt {} took effect {n} times", attempt.number)));
            }
        }
        if attempt.read_at.is_some() && attempt.status != "read" {
            let says = format!("attempt {} was read and is shown as {}", attempt.number, attempt.status);
            broken.push(seen.broken("P12", says));
        }
    }
    let n_acknowledged = seen.shown.timeline.iter().filter(|entry| entry.event == "acknowledged").count();
    if n_acknowledged > 1 {
        broken.push(seen.broken("P12", format!("it was acknowledged {n_acknowledged} times")));
    }
}

fn judge_end(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    if seen.shown.status != "escalating" || view.clock_was_stepped() {
        return;
    }
    let ended = view.history.ended_at;
    let Some(current) = &seen.shown.current else {
        broken.push(seen.broken("P11", "it is escalating and nobody is being called".into()));
        return;
    };
    match current.expires_at {
        Some(expires) if view.due_by(expires) < ended => {
            broken.push(
                seen.broken("P11", format!("its deadline of {expires} passed and nothing happened until {ended}")),
            );
        }
        None if view.due_by(seen.shown.updated_at.plus(RETRY_MAX_MS)) < ended => {
            let says = format!("it waits for nothing, and nothing happened to it since {}", seen.shown.updated_at);
            broken.push(seen.broken("P11", says));
        }
        Some(_) | None => {}
    }
}

/// The timeline, read from the beginning, gives the state that is shown.
fn judge_fold(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    let shown = seen.shown;
    let (mut status, mut attempt, mut round, mut repeats) = ("none", 1, 1, 0);
    let mut acknowledged = None;
    let mut says = Vec::new();
    for entry in &shown.timeline {
        match entry.event.as_str() {
            "raised" if status == "none" => status = "escalating",
            "raised" => says.push("it was raised twice".to_owned()),
            "failed_over" | "escalated" | "round_started" => {
                attempt += 1;
                round += u32::from(entry.event == "round_started");
                if entry.attempt != Some(attempt) {
                    says.push(format!("the timeline has attempt {attempt} begun as {:?}", entry.attempt));
                }
            }
            "acknowledged" => {
                status = "acknowledged";
                acknowledged.get_or_insert((entry.by.as_deref(), entry.detail.as_deref()));
            }
            "exhausted" => status = "exhausted",
            "resolved" => status = "resolved",
            "repeated" => repeats += 1,
            _ => {}
        }
    }
    if status != shown.status {
        says.push(format!("the timeline ends {status}, and it is {}", shown.status));
    }
    if u32::try_from(shown.attempts.len()).ok() != Some(attempt) || round != shown.round {
        let n = shown.attempts.len();
        says.push(format!(
            "the timeline tells of {attempt} attempts in {round} rounds, and it has {n} in {}",
            shown.round
        ));
    }
    let kept = shown.acknowledged.as_ref().map(|kept| (Some(kept.by.as_str()), Some(kept.via.as_str())));
    if kept != acknowledged {
        says.push(format!("the timeline has it acknowledged by {acknowledged:?}, and it is by {kept:?}"));
    }
    if repeats != usize::try_from(shown.repeats).unwrap_or(usize::MAX).min(REPEATS_SHOWN_MAX) {
        says.push(format!("the timeline tells of {repeats} repetitions, and it has {}", shown.repeats));
    }
    if (shown.status == "escalating") != shown.current.is_some() {
        says.push(format!("it is {} and has a current attempt or not", shown.status));
    }
    if shown.current.as_ref().is_some_and(|current| current.attempt != attempt) {
        says.push("its current attempt is not the newest".to_owned());
    }
    for (index, kept) in shown.attempts.iter().enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        if kept.number != number {
            says.push(format!("attempt {number} is numbered {}", kept.number));
        }
        if kept.sent_at.is_some() != seen.told(number, &["sent"]).next().is_some() {
            says.push(format!("attempt {number} was sent by its state or by its timeline, not by both"));
        }
        if kept.read_at.is_some() != seen.told(number, &["read"]).next().is_some() {
            says.push(format!("attempt {number} was read by its state or by its timeline, not by both"));
        }
        if kept.sent_at.is_some() && kept.tries == 0 {
            says.push(format!("attempt {number} was sent and never begun"));
        }
    }
    let apart_ms = view.history.clocks_apart_ms;
    if !view.clock_was_stepped()
        && let Some(pair) = shown.timeline.windows(2).find(|pair| pair[0].at > pair[1].at.plus(apart_ms))
    {
        says.push(format!("the timeline goes back from {} to {}", pair[0].at, pair[1].at));
    }
    broken.extend(says.into_iter().map(|says| seen.broken("P23", says)));
}
