//! P15, P19 and P22: how soon work goes on after a process has ended, what an overload may cost, and that a process
//! that is replaced in good order leaves nothing half done.

use std::collections::HashSet;

use super::Broken;
use super::history::{CallKind, Fault, FaultKind, Moment, TakenUp};
use super::view::{Seen, View};

/// How long whoever begins a send has the right to it.
const LEASE_MS: i64 = 31_000;
/// How long an overload must last before somebody who is refused may ask whether anybody is accepted.
const NOBODY_FOR_MS: i64 = 3_000;

pub(super) fn judge(view: &View<'_>, broken: &mut Vec<Broken>) {
    view.faults_of(FaultKind::Overload).for_each(|overload| judge_overload(view, overload, broken));
    for seen in view.alerts.iter().filter(|seen| !seen.is_poisoned(view.history)) {
        if let Some(within) = view.history.taken_up.filter(|_| !view.clock_was_stepped()) {
            judge_deadlines(view, seen, within, broken);
            judge_half_done(view, seen, within, broken);
        }
        judge_replaced(view, seen, broken);
    }
}

/// The processes that ended, in whatever way.
fn ends<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Fault> {
    view.faults_of(FaultKind::Crash).chain(view.faults_of(FaultKind::Replaced))
}

/// From when on what a process left can be taken up: by the others at once, or by the next one when it is there.
fn from(end: &Fault, within: TakenUp) -> Moment {
    if within.by_others { end.at } else { end.mended() }
}

/// Whether something else was wrong that excuses lateness as well.
fn is_excused(view: &View<'_>, end: &Fault, from: Moment, until: Moment) -> bool {
    view.faults_during(from, until).any(|fault| !std::ptr::eq(fault, end))
}

/// Deadlines that passed while a process was away.
fn judge_deadlines(view: &View<'_>, seen: &Seen<'_>, within: TakenUp, broken: &mut Vec<Broken>) {
    for attempt in &seen.shown.attempts {
        let Some(expires) = attempt.expires_at else { continue };
        let Some(end) = ends(view).find(|end| end.at <= expires && expires <= end.mended()) else { continue };
        let could = from(end, within).max(expires);
        let by = could.plus(within.deadlines_ms + view.history.clocks_apart_ms);
        let is_waiting = seen.shown.current.as_ref().is_some_and(|current| current.attempt == attempt.number);
        let done = seen.told(attempt.number, &["expired"]).next().map(|entry| entry.at);
        let is_late = done.map_or(is_waiting && by < view.history.ended_at, |at| at > by);
        if is_late && !is_excused(view, end, end.at, by) {
            let says = format!(
                "attempt {} was to end at {expires} while a process was away, and did not by {by}",
                attempt.number
            );
            broken.push(seen.broken("P15", says));
        }
    }
}

/// Sends that a process left half done.
fn judge_half_done(view: &View<'_>, seen: &Seen<'_>, within: TakenUp, broken: &mut Vec<Broken>) {
    for entry in seen.shown.timeline.iter().filter(|entry| entry.event == "resent_after_restart") {
        let Some(end) = ends(view).filter(|end| from(end, within) <= entry.at).max_by_key(|end| from(end, within))
        else {
            continue;
        };
        let by = from(end, within).plus(within.sends_ms + view.history.clocks_apart_ms);
        if entry.at > by && !is_excused(view, end, end.at, entry.at) {
            let says = format!(
                "the process that was sending ended at {}, and its send was taken up at {}, after {by}",
                end.at, entry.at
            );
            broken.push(seen.broken("P15", says));
        }
    }
    let is_half_done = seen.shown.current.as_ref().is_some_and(|current| {
        let is_sent = seen.shown.attempts.iter().any(|kept| kept.number == current.attempt && kept.sent_at.is_some());
        !is_sent && seen.told(current.attempt, &["send_failed"]).next().is_none()
    });
    if let Some(end) = ends(view).filter(|end| end.at >= seen.shown.updated_at).min_by_key(|end| end.at)
        && is_half_done
    {
        let by = from(end, within).plus(within.sends_ms + view.history.clocks_apart_ms);
        if by < view.history.ended_at && !is_excused(view, end, end.at, by) {
            let says =
                format!("the process that was sending ended at {}, and its send was not taken up by {by}", end.at);
            broken.push(seen.broken("P15", says));
        }
    }
}

/// Under an overload somebody is accepted all the while, whoever is refused is told when to come again, and what was
/// accepted goes on.
fn judge_overload(view: &View<'_>, overload: &Fault, broken: &mut Vec<Broken>) {
    let is_within = |at: Moment| overload.at <= at && at < overload.mended();
    let mut say = |alert: &str, says: String| broken.push(Broken { promise: "P19", alert: alert.to_owned(), says });
    let raising = || view.history.client.iter().filter(|call| call.what == CallKind::Raise);
    for call in raising().filter(|call| is_within(call.at)) {
        match (call.status, call.retry_after) {
            (None | Some(200 | 201 | 409 | 422), _) | (Some(429 | 503), Some(true) | None) => {}
            (Some(429 | 503), Some(false)) => {
                say("", format!("a post at {} was refused in an overload, and not told when to come again", call.at));
            }
            (Some(status), _) => say("", format!("a post at {} was answered {status} in an overload", call.at)),
        }
    }
    judge_goodput(view, overload, &mut say);
    let Some(late_max_ms) = overload.late_max_ms else { return };
    for seen in view.alerts.iter().filter(|seen| !seen.is_poisoned(view.history)) {
        let id = seen.shown.id.as_str();
        let raised = seen.calls.iter().find(|call| call.what == CallKind::Raise && call.status == Some(201));
        if let Some(accepted) = raised.and_then(|call| call.answered_at).filter(|at| is_within(*at))
            && let Some(first) = seen.sent(1).first()
            && first.at > accepted.plus(late_max_ms)
        {
            say(id, format!("it was accepted in an overload at {accepted}, and first sent at {}", first.at));
        }
        for attempt in &seen.shown.attempts {
            if let Some(expires) = attempt.expires_at.filter(|at| is_within(*at))
                && let Some(expired) = seen.told(attempt.number, &["expired"]).next()
                && expired.at > expires.plus(late_max_ms)
            {
                say(
                    id,
                    format!(
                        "attempt {} was to end in an overload at {expires}, and did at {}",
                        attempt.number, expired.at
                    ),
                );
            }
        }
    }
}

/// While posts are refused, as many as can be kept are accepted.
fn judge_goodput(view: &View<'_>, overload: &Fault, say: &mut impl FnMut(&str, String)) {
    let lasted_ms = overload.mended().0 - overload.at.0;
    let accepted = view.history.client.iter().filter(|call| {
        let answered = call.answered_at.is_some_and(|at| overload.at <= at && at < overload.mended());
        call.what == CallKind::Raise && call.status == Some(201) && answered
    });
    let n_accepted = i64::try_from(accepted.count()).unwrap_or(i64::MAX);
    if let Some(per_minute) = overload.keeps_per_minute
        && lasted_ms >= NOBODY_FOR_MS
        && n_accepted * 60_000 < per_minute * lasted_ms
    {
        let says = format!(
            "in the overload from {} to {} only {n_accepted} posts were accepted, and {per_minute} a minute can be kept",
            overload.at,
            overload.mended()
        );
        say("", says);
    }
}

/// A process that ends in good order has finished its sends: none of them is made again.
fn judge_replaced(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    for attempt in &seen.shown.attempts {
        let accepted: Vec<_> = seen.accepted(attempt.number).collect();
        let (Some(first), Some(last)) = (accepted.first(), accepted.last()) else { continue };
        let (from, until) = (first.at.plus(-LEASE_MS), last.at);
        let mut faults = view.faults_during(from, until).filter(|fault| fault.kind != FaultKind::Alone);
        let n_workflows = accepted.iter().filter_map(|sent| sent.dispatch_uuid.as_ref()).collect::<HashSet<_>>().len();
        let is_repeated = if n_workflows > 0 { n_workflows > 1 } else { accepted.len() > 1 };
        let is_replaced = view.faults_during(from, until).any(|fault| fault.kind == FaultKind::Replaced);
        let is_alone_at_fault = faults.all(|fault| fault.kind == FaultKind::Replaced);
        if is_repeated && is_replaced && is_alone_at_fault && accepted.iter().all(|sent| sent.answered) {
            let says = format!(
                "attempt {} went out at {} and again at {}, for a process that was replaced in good order",
                attempt.number, first.at, last.at
            );
            broken.push(seen.broken("P22", says));
        }
    }
}
