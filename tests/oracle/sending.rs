//! P8, P10 and P21: when a message may go out, and how often.

use std::collections::HashSet;

use super::Broken;
use super::history::{FaultKind, Moment, Sent};
use super::view::{Seen, View};

/// How long after an answer the one message may still arrive that was on its way.
const ON_ITS_WAY_MS: i64 = 10_000;
/// How long whoever begins a send has the right to it; a fault that far back may have to do with it.
const LEASE_MS: i64 = 31_000;
/// From when on a node without its store may not begin anything.
const CUT_OFF_MS: i64 = 10_000;

pub(super) fn judge(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    judge_stop(view, seen, broken);
    judge_settled(seen, broken);
    for attempt in &seen.shown.attempts {
        judge_times(view, seen, attempt.number, broken);
        if attempt.sent_at.is_some() && seen.accepted(attempt.number).next().is_none() {
            let says = format!("attempt {} is kept as sent, and the provider never accepted it", attempt.number);
            broken.push(seen.broken("P10", says));
        }
    }
    for sent in seen.sent.values().flatten() {
        judge_cut_off(view, seen, sent, broken);
    }
}

fn judge_stop(view: &View<'_>, seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    let Some(stopped) = seen.stopped_at() else { return };
    let mut after: Vec<Moment> = seen.sent.values().flatten().map(|sent| sent.at).filter(|at| *at > stopped).collect();
    after.sort();
    let frozen = view.faults_of(FaultKind::Pause);
    let frozen_until = frozen.filter(|fault| fault.mended() >= stopped).map(|fault| fault.mended().plus(ON_ITS_WAY_MS));
    let last = frozen_until.chain([stopped.plus(ON_ITS_WAY_MS)]).max().unwrap_or(stopped);
    if let Some(at) = after.iter().find(|at| **at > last) {
        broken.push(seen.broken("P8", format!("somebody had answered at {stopped}, and a message went out at {at}")));
    } else if after.len() > 1 {
        let says = format!("somebody had answered at {stopped}, and {} messages went out after it", after.len());
        broken.push(seen.broken("P8", says));
    }
}

/// Once it is settled, the timeline tells of nobody who is called.
fn judge_settled(seen: &Seen<'_>, broken: &mut Vec<Broken>) {
    let settled =
        seen.shown.timeline.iter().position(|entry| matches!(entry.event.as_str(), "acknowledged" | "resolved"));
    let Some(settled) = settled else { return };
    let calling = ["expired", "failed_over", "escalated", "round_started", "exhausted", "resent_after_restart"];
    if let Some(entry) = seen.shown.timeline[settled..].iter().find(|entry| calling.contains(&entry.event.as_str())) {
        let says = format!("it was settled, and then `{}` happened at {}", entry.event, entry.at);
        broken.push(seen.broken("P8", says));
    }
}

fn judge_times(view: &View<'_>, seen: &Seen<'_>, attempt: u32, broken: &mut Vec<Broken>) {
    let accepted: Vec<&Sent> = seen.accepted(attempt).collect();
    let (Some(first), Some(last)) = (accepted.first(), accepted.last()) else { return };
    // A workflow has a message for each of its channels.
    let is_workflow = accepted.iter().any(|sent| sent.dispatch_uuid.is_some());
    let n_sent = if is_workflow {
        accepted.iter().map(|sent| &sent.dispatch_uuid).collect::<HashSet<_>>().len()
    } else {
        accepted.len()
    };
    let n_unanswered = accepted.iter().filter(|sent| !sent.answered).count();
    let hits = view.faults_during(first.at.plus(-LEASE_MS), last.at).filter(|fault| {
        matches!(fault.kind, FaultKind::Crash | FaultKind::Pause | FaultKind::Partition | FaultKind::Store)
    });
    let n_allowed = 1 + n_unanswered + hits.count();
    if n_sent > n_allowed {
        let says = format!("attempt {attempt} was accepted {n_sent} times, and faults explain {n_allowed}");
        broken.push(seen.broken("P10", says));
    }
}

fn judge_cut_off(view: &View<'_>, seen: &Seen<'_>, sent: &Sent, broken: &mut Vec<Broken>) {
    let Some(node) = &sent.node else { return };
    for cut in view.faults_of(FaultKind::Partition).filter(|cut| cut.node.as_ref() == Some(node)) {
        if cut.at.plus(CUT_OFF_MS) < sent.at && sent.at < cut.mended() {
            let says = format!("node {node} was cut off at {} and sent a message at {}", cut.at, sent.at);
            broken.push(seen.broken("P21", says));
        }
    }
}
