//! P17 and P18: what the people who run callout must be told.

use super::Broken;
use super::history::{FaultKind, SentOutcome};
use super::view::{Seen, View};

/// How soon they are told that the account is refused.
const TOLD_WITHIN_MS: i64 = 60_000;
/// What was told is not told again for so long.
const AGAIN_AFTER_MS: i64 = 900_000;
/// An alert that cannot be worked on is tried three times, a minute apart; the longest wait for a retry comes before.
const QUARANTINED_WITHIN_MS: i64 = 76_000 + 180_000;

pub(super) fn judge(view: &View<'_>, broken: &mut Vec<Broken>) {
    for account in view.faults_of(FaultKind::Account) {
        judge_account(view, account.at.0, account.mended().0, broken);
    }
    view.alerts.iter().for_each(|seen| judge_poisoned(view, seen, broken));
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
