//! P4 to P7 and P16: the order of people, their time, and what an outage may not do.

use super::Broken;
use super::history::{
    AttemptShown, CallKind, ConditionTold, EntryShown, Fault, FaultKind, Moment, SentOutcome, Wants, WebhookKind,
};
use super::view::{Seen, View, shown_channel};

/// A deadline is measured on one clock and seen on another; both have whole milliseconds.
const EARLY_MAX_MS: i64 = 1;
/// How far apart clocks may be that were stepped. Whoever is called may have that much less or more.
const STEP_MAX_MS: i64 = 5_000;
/// How long a request to the provider may take.
const REQUEST_MAX_MS: i64 = 10_000;

pub(super) fn judge(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    if seen.plan.is_none() {
        broken.push(seen.broken("P5", "no plan is known for it; the history must have one".into()));
        return;
    }
    judge_first(view, seen, broken);
    let mut at = Position { round: 1, step: 0 };
    for (index, attempt) in seen.shown.attempts.iter().enumerate() {
        let next = seen.shown.attempts.get(index + 1);
        if index == 0 && !at.is_of(seen, attempt) {
            broken.push(seen.broken("P5", format!("it began with {} instead of the plan's first", name(attempt))));
        }
        judge_addresses(seen, attempt, at, broken);
        judge_window(view, seen, attempt, at, next, broken);
        let leaving = match next {
            Some(next) => seen.advance_to(next.number),
            None => seen.first("exhausted"),
        };
        if next.is_none() && leaving.is_none() {
            break;
        }
        let Some(expected) = judge_leaving(view, seen, attempt, at, leaving, broken) else { break };
        match (expected, next) {
            (Some(position), Some(next)) => {
                if !position.is_of(seen, next) {
                    let should = &seen.steps[position.step];
                    let says = format!(
                        "after {} it went to {} in round {}, not to {} in round {}",
                        name(attempt),
                        name(next),
                        next.round,
                        should.user,
                        position.round
                    );
                    broken.push(seen.broken("P5", says));
                    break;
                }
                at = position;
            }
            (Some(position), None) => {
                let says = format!(
                    "it was exhausted after {} though {} was still to be called in round {}",
                    name(attempt),
                    seen.steps[position.step].user,
                    position.round
                );
                broken.push(seen.broken("P5", says));
            }
            (None, Some(next)) => {
                broken
                    .push(seen.broken("P5", format!("it went on to {} after the last of the last round", name(next))));
                break;
            }
            (None, None) => {}
        }
    }
    judge_order_of_sends(seen, broken);
    judge_outages(view, seen, broken);
    judge_alone(view, seen, broken);
}

/// A place in the plan.
#[derive(Clone, Copy)]
struct Position {
    round: u32,
    step: usize,
}

impl Position {
    fn is_of(self, seen: &Seen<'_>, attempt: &AttemptShown) -> bool {
        attempt.round == self.round && seen.steps_like(attempt).contains(&self.step)
    }

    fn after(self, seen: &Seen<'_>, is_next_user: bool) -> Option<Self> {
        let place = seen.steps[self.step].place;
        let step = (self.step + 1..seen.steps.len()).find(|step| !is_next_user || seen.steps[*step].place != place);
        let repeat = seen.plan.map_or(0, |plan| plan.repeat);
        match step {
            Some(step) => Some(Self { round: self.round, step }),
            None if self.round <= repeat => Some(Self { round: self.round + 1, step: 0 }),
            None => None,
        }
    }
}

fn name(attempt: &AttemptShown) -> String {
    let channel = attempt.channel.as_deref().unwrap_or("workflow");
    format!("attempt {} ({}, {channel})", attempt.number, attempt.user)
}

fn judge_first(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    let raised = seen.calls.iter().find(|call| call.what == CallKind::Raise && call.status == Some(201));
    let Some(raised_at) = raised.and_then(|call| call.answered_at) else { return };
    let due_by = view.due_by(raised_at);
    let stopped = seen.shown.timeline.iter().any(|entry| matches!(entry.event.as_str(), "acknowledged" | "resolved"));
    let superseded = seen.advance_to(2).is_some_and(|entry| entry.by.is_some());
    match seen.sent(1).first() {
        Some(first) if first.at > due_by => {
            let says = format!("it was accepted at {raised_at} and first sent at {}", first.at);
            broken.push(seen.broken("P4", says));
        }
        None if !stopped && !superseded && view.history.provider.complete && due_by < view.history.ended_at => {
            broken.push(seen.broken("P4", format!("it was accepted at {raised_at} and never sent")));
        }
        Some(_) | None => {}
    }
}

/// Each message goes to the address that the plan has for its place.
fn judge_addresses(seen: &Seen<'_>, attempt: &AttemptShown, at: Position, broken: &mut Vec<Broken>) {
    let step = &seen.steps[at.step];
    for sent in seen.sent(attempt.number) {
        let Some(to) = &sent.to else { continue };
        let fits = step.legs.iter().any(|leg| {
            leg.id_num == *to && sent.channel.as_deref().is_none_or(|channel| shown_channel(&leg.channel) == channel)
        });
        if !fits {
            broken.push(seen.broken("P5", format!("{} was sent to somebody else at {}", name(attempt), sent.at)));
            return;
        }
    }
}

/// Why an attempt was left, and where to the plan leads then; `None` where that cannot be told.
#[expect(clippy::option_option, reason = "no answer, an answer that there is no next, and a next are three things")]
fn judge_leaving(
    view: &View<'_>,
    seen: &Seen<'_>,
    attempt: &AttemptShown,
    at: Position,
    leaving: Option<&EntryShown>,
    broken: &mut Vec<Broken>,
) -> Option<Option<Position>> {
    let number = attempt.number;
    let Some(leaving) = leaving else {
        broken.push(seen.broken("P23", format!("the timeline does not tell what followed {}", name(attempt))));
        return None;
    };
    let is_complete = view.history.provider.complete;
    let told = |event: &str| seen.told(number, &[event]).any(|entry| entry.at <= leaving.at);
    let webhook = |kinds: &[WebhookKind]| {
        seen.webhooks.iter().any(|(about, webhook)| *about == number && kinds.contains(&webhook.kind))
    };
    if leaving.by.is_some() {
        let asked = seen.calls.iter().any(|call| call.what == CallKind::Escalate)
            || seen.replies().any(|reply| reply.wants == Wants::Next);
        if !asked && is_complete {
            broken.push(seen.broken("P5", format!("it left {} for a wish that nobody had", name(attempt))));
        }
        return Some(at.after(seen, true));
    }
    let expired = told("expired");
    if expired {
        if seen.accepted(number).next().is_none() {
            let says = format!("it left {} as not read in time, which the provider never had", name(attempt));
            broken.push(seen.broken("P5", says));
        }
        let in_time = match (attempt.delivered_at, attempt.expires_at) {
            (Some(delivered), Some(until)) => delivered <= until && seen.is_told_before(number, "delivered", "expired"),
            _ => false,
        };
        let spares =
            seen.steps[at.step].legs.last().is_some_and(|leg| leg.condition_status == ConditionTold::Delivered);
        return Some(at.after(seen, spares && in_time));
    }
    let reason = if told("rejected") || told("undeliverable") {
        webhook(&[WebhookKind::Rejected, WebhookKind::Undeliverable]) || seen.steps[at.step].legs.len() > 1
    } else if told("refused") {
        seen.sent(number).iter().any(|sent| sent.outcome == SentOutcome::Refused)
    } else if told("send_failed") {
        seen.sent(number).iter().any(|sent| sent.outcome == SentOutcome::Trouble || !sent.answered)
            || view.faults_during(attempt_begun(seen, number), leaving.at).next().is_some()
    } else {
        broken.push(seen.broken("P5", format!("it left {} without a reason", name(attempt))));
        return Some(at.after(seen, false));
    };
    if !reason && is_complete {
        broken.push(
            seen.broken("P5", format!("it left {} for a failure that the provider knows nothing of", name(attempt))),
        );
    }
    Some(at.after(seen, false))
}

fn attempt_begun(seen: &Seen<'_>, number: u32) -> Moment {
    seen.advance_to(number).map_or(seen.shown.created_at, |entry| entry.at)
}

fn judge_window(
    view: &View<'_>,
    seen: &Seen<'_>,
    attempt: &AttemptShown,
    at: Position,
    next: Option<&AttemptShown>,
    broken: &mut Vec<Broken>,
) {
    let window = seen.steps[at.step].window_ms();
    let expired = seen.told(attempt.number, &["expired"]).next();
    let early_max_ms = EARLY_MAX_MS + view.history.clocks_apart_ms;
    if !view.clock_was_stepped() {
        if let (Some(sent), Some(expires)) = (attempt.sent_at, attempt.expires_at)
            && expires < sent.plus(window - early_max_ms)
        {
            broken.push(seen.broken("P6", format!("{} was given until {expires} only", name(attempt))));
        }
        if let (Some(expired), Some(expires)) = (expired, attempt.expires_at) {
            if expired.at < expires.plus(-early_max_ms) {
                broken
                    .push(seen.broken("P7", format!("{} expired at {}, before {expires}", name(attempt), expired.at)));
            }
            if expired.at > view.due_by(expires) {
                broken.push(
                    seen.broken("P7", format!("{} expired at {}, long after {expires}", name(attempt), expired.at)),
                );
            }
        }
    }
    let (Some(_), Some(accepted)) = (expired, seen.accepted(attempt.number).next()) else { return };
    let Some(next) = next.and_then(|next| seen.sent(next.number).first()) else { return };
    let early_max_ms = if view.clock_was_stepped() { STEP_MAX_MS } else { early_max_ms };
    if next.at < accepted.at.plus(window - early_max_ms) {
        let says =
            format!("{} was accepted at {} and the next message went out at {}", name(attempt), accepted.at, next.at);
        broken.push(seen.broken("P6", says));
    }
}

/// The first message of a later attempt goes out after the first of an earlier one. Where somebody asked for the next
/// user, the earlier one's may have been on its way already.
fn judge_order_of_sends(seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    let firsts = seen.shown.attempts.iter().filter_map(|attempt| {
        let first = seen.sent(attempt.number).first()?;
        Some((attempt, first.at))
    });
    let firsts: Vec<_> = firsts.collect();
    for pair in firsts.windows(2) {
        let [(earlier, earlier_at), (later, later_at)] = pair else { continue };
        let asked_for = seen.advance_to(later.number).filter(|entry| entry.by.is_some());
        let on_its_way_until = asked_for.map_or(*later_at, |entry| entry.at.plus(REQUEST_MAX_MS));
        if *earlier_at > (*later_at).max(on_its_way_until) {
            broken.push(seen.broken("P5", format!("{} went out before {}", name(later), name(earlier))));
        }
    }
}

fn judge_outages(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    if view.clock_was_stepped() {
        return;
    }
    let last_expired =
        seen.shown.attempts.last().is_some_and(|last| seen.told(last.number, &["expired"]).next().is_some());
    for outage in view.outages() {
        for entry in seen.shown.timeline.iter().filter(|entry| outage.at < entry.at && entry.at < outage.mended()) {
            let n_enough = match entry.event.as_str() {
                "expired" => 2,
                "exhausted" if entry.by.is_none() && last_expired => 1,
                _ => continue,
            };
            if is_known(view, outage, entry.at, n_enough) {
                let says =
                    format!("`{}` was told at {} while nothing got through to the provider", entry.event, entry.at);
                broken.push(seen.broken("P16", says));
            }
        }
        judge_after_outage(view, seen, outage, broken);
    }
}

/// What a node meets that alone does not get through costs nobody their turn: others send it, and that soon.
fn judge_alone(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    for attempt in &seen.shown.attempts {
        let sent = seen.sent(attempt.number);
        let Some(first) = sent.iter().find(|sent| view.is_alone(sent)) else { continue };
        let node = first.node.as_deref().unwrap_or("unknown");
        let others = || sent.iter().filter(|sent| !view.is_alone(sent));
        if attempt.status == "failed" && others().next().is_none() {
            let says = format!("{} was given up, and only node {node} had failed, alone", name(attempt));
            broken.push(seen.broken("P16", says));
        }
        let by = first.at.plus(REQUEST_MAX_MS + view.history.news_ms + view.history.late_max_ms);
        let mut unwell = view.faults_during(first.at.plus(-view.history.recovery_ms), by);
        let is_settled =
            |entry: &EntryShown| entry.at <= by && matches!(entry.event.as_str(), "acknowledged" | "resolved");
        let is_excused = by > view.history.ended_at
            || unwell.any(|fault| fault.kind != FaultKind::Alone || fault.node != first.node)
            || seen.shown.timeline.iter().any(is_settled)
            || seen.advance_to(attempt.number + 1).is_some_and(|next| next.by.is_some() && next.at <= by);
        if !is_excused && !others().any(|sent| sent.at <= by) {
            let says = format!(
                "{} failed on node {node} at {}, which alone did not get through, and no other tried it by {by}",
                name(attempt),
                first.at
            );
            broken.push(seen.broken("P16", says));
        }
    }
}

/// Whose time ran out during an outage has a whole expiry after it.
fn judge_after_outage(view: &View<'_>, seen: &Seen<'_>, outage: &Fault, broken: &mut Vec<Broken>) {
    let over = outage.mended();
    for attempt in &seen.shown.attempts {
        let Some(window) = seen.step_of(attempt).map(|step| seen.steps[step].window_ms()) else { continue };
        let (Some(sent), Some(expired)) = (attempt.sent_at, seen.told(attempt.number, &["expired"]).next()) else {
            continue;
        };
        let ran_out = sent.plus(window);
        let is_early = expired.at > over && expired.at < over.plus(window - EARLY_MAX_MS);
        if is_early && outage.at < ran_out && ran_out < over && is_known(view, outage, ran_out, 2) {
            let says = format!("{} had no whole expiry after the outage that ended at {over}", name(attempt));
            broken.push(seen.broken("P16", says));
        }
    }
}

/// Whether an outage could be known at a moment: the sends of enough alerts fail that are still to be sent.
/// Whoever has nothing to send cannot know that nothing would get through.
fn is_known(view: &View<'_>, outage: &Fault, at: Moment, n_enough: usize) -> bool {
    if let Some(known) = outage.known_at {
        return at > known;
    }
    let is_failing = |seen: &&Seen<'_>| {
        let settling = ["acknowledged", "resolved", "exhausted"];
        let settled = seen.shown.timeline.iter().find(|entry| settling.contains(&entry.event.as_str()));
        let heard = REQUEST_MAX_MS + view.history.news_ms;
        let newest = seen.sent.values().flatten().filter(|sent| sent.at.plus(heard) < at).max_by_key(|sent| sent.at);
        !seen.is_poisoned(view.history)
            && settled.is_none_or(|settled| settled.at > at)
            && newest.is_some_and(|sent| sent.outcome == SentOutcome::Trouble && sent.at >= outage.at)
    };
    view.alerts.iter().filter(is_failing).count() >= n_enough
}
