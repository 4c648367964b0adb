//! P17 and P18: what the people who run callout must be told, and that an alert that nobody can work on holds up no other.

use super::Broken;
use super::history::{CallKind, FaultKind, Moment, SentOutcome};
use super::view::{Seen, View};

/// How soon they are told that the account is refused.
const TOLD_WITHIN_MS: i64 = 60_000;
/// What was told is not told again for so long.
const AGAIN_AFTER_MS: i64 = 900_000;
/// An alert that cannot be worked on is tried three times, a minute apart; the longest wait for a retry comes before.
const QUARANTINED_WITHIN_MS: i64 = 76_000 + 180_000;
/// How soon what is due happens where nothing is wrong; several nodes take up within two seconds what one left.
const PROMPTLY_MS: i64 = 3_000;

pub(super) fn judge(view: &View<'_>, broken: &mut Vec<Broken>) {
    for account in view.faults_of(FaultKind::Account) {
        judge_account(view, account.at.0, account.mended().0, broken);
    }
    view.alerts.iter().for_each(|seen| judge_poisoned(view, seen, broken));
    if let Some(since) = view.history.poisoned.values().min() {
        let others = view.alerts.iter().filter(|seen| !seen.is_poisoned(view.history));
        others.for_each(|seen| judge_others(view, seen, *since, broken));
    }
}

/// The first send that the account was refused for is told of, unless callout itself was not well.
fn judge_account(view: &View<'_>, from: i64, until: i64, broken: &mut Vec<Broken>) {
    let Some(alarms) = &view.history.alarms else { return };
    let refused = view
        .history
        .provider
        .sent
        .iter()
        .filter(|sent| sent.outcome == SentOutcome::Trouble && (from..until).contains(&sent.at.0));
    let Some(first) = refused.map(|sent| sent.at).min() else { return };
    let by = first.plus(TOLD_WITHIN_MS);
    let mut unwell = view.faults_during(first.plus(-TOLD_WITHIN_MS), by);
    if by.0 > until || unwell.any(|fault| !matches!(fault.kind, FaultKind::Account | FaultKind::Clock)) {
        return;
    }
    let is_told = alarms.iter().any(|alarm| {
        matches!(alarm.name.as_str(), "vonage_credentials_refused" | "vonage_balance")
            && first.plus(-AGAIN_AFTER_MS) <= alarm.at
            && alarm.at <= by
    });
    if !is_told {
        let says = format!("the account was refused at {first}, and nobody was told by {by}");
        broken.push(Broken { promise: "P17", alert: String::new(), says });
    }
}

/// An alert that nobody can work on is told of by its name.
fn judge_poisoned(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    let (Some(alarms), Some(poisoned)) = (&view.history.alarms, view.history.poisoned.get(&seen.shown.id)) else {
        return;
    };
    let Some(current) = &seen.shown.current else { return };
    let awaited = current.expires_at.unwrap_or(seen.shown.updated_at).max(*poisoned);
    let is_told = alarms.iter().any(|alarm| alarm.alert.as_ref() == Some(&seen.shown.id) && alarm.at >= *poisoned);
    if !is_told && view.due_by(awaited.plus(QUARANTINED_WITHIN_MS)) < view.history.ended_at {
        let says = format!("since {poisoned} nobody can work on it, and nobody was told");
        broken.push(seen.broken("P18", says));
    }
}

/// What must happen to other alerts while there is one that nobody can work on happens as promptly as ever: where
/// nothing else is wrong, at once.
fn judge_others(view: &View<'_>, seen: &Seen<'_>, since: Moment, broken: &mut Vec<Broken>) {
    let by = |due: Moment| {
        let prompt = due.plus(PROMPTLY_MS + view.history.clocks_apart_ms);
        let mut unwell = view.faults_during(due.plus(-view.history.recovery_ms), prompt);
        if unwell.next().is_some() { view.due_by(due) } else { prompt }
    };
    let mut late = |what: String, due: Moment| {
        let says = format!("{what} was due at {due}, and had to wait while there was an alert that nobody can work on");
        broken.push(seen.broken("P18", says));
    };
    let raised = seen.calls.iter().find(|call| call.what == CallKind::Raise && call.status == Some(201));
    if let Some(raised_at) = raised.and_then(|call| call.answered_at).filter(|raised_at| *raised_at >= since)
        && let Some(first) = seen.sent(1).first()
        && first.at > by(raised_at)
    {
        late("its first message".into(), raised_at);
    }
    if view.clock_was_stepped() {
        return;
    }
    for attempt in &seen.shown.attempts {
        let Some(expires) = attempt.expires_at.filter(|expires| *expires >= since) else { continue };
        let is_waiting = seen.shown.current.as_ref().is_some_and(|current| current.attempt == attempt.number);
        let is_late = match seen.told(attempt.number, &["expired"]).next() {
            Some(told) => told.at > by(expires),
            None => is_waiting && by(expires) < view.history.ended_at,
        };
        if is_late {
            late(format!("the end of attempt {}", attempt.number), expires);
        }
    }
}
