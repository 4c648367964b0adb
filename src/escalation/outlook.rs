//! What an alert will do from now on, if nobody reads or answers: read off the plan, and nothing but a forecast.

use crate::timestamp::Timestamp;

use super::alert::{Alert, Progress};
use super::plan::Condition;

/// A step that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coming {
    /// The round it belongs to, from 1.
    pub round: u32,
    /// The index of the step in the plan.
    pub step: usize,
    /// When its message is due.
    pub at: Timestamp,
}

/// What comes if nobody answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// The next steps in order; not all of them, if there are more than were asked for.
    pub coming: Vec<Coming>,
    /// How many steps come after those.
    pub n_more: usize,
    /// When the alert will be exhausted; none once it is not escalating any more.
    pub exhausted_at: Option<Timestamp>,
}

/// The steps that come if nobody answers, at most `n_max` of them with their moments. A message that is not
/// accepted yet counts as accepted now. A failure makes what follows come earlier; an outage, later.
pub fn outlook(alert: &Alert, now: Timestamp, n_max: usize) -> Outlook {
    let mut outlook = Outlook::default();
    let (Some(progress), Some(current)) = (alert.progress(), alert.attempts.last()) else { return outlook };
    let Some(step) = alert.step_of(current) else { return outlook };
    let mut at = match progress {
        Progress::Waiting { until } => until.max(now),
        Progress::Ready { from, .. } => from.max(now).plus(step.window()),
        Progress::Sending { .. } => now.plus(step.window()),
    };
    let steps = alert.plan().steps();
    let current_index = usize::try_from(current.step).unwrap_or(usize::MAX);
    let in_time = match (current.delivered_at, current.expires_at) {
        (Some(delivered), Some(expires)) => delivered <= expires,
        (_, _) => false,
    };
    let spared = in_time && step.last().condition == Condition::Delivered;
    for round in current.round..=alert.plan().repeat().saturating_add(1) {
        for (index, next) in steps.iter().enumerate() {
            let is_over = round == current.round && index <= current_index;
            let is_spared = spared && round == current.round && next.place == step.place;
            if is_over || is_spared {
                continue;
            }
            if outlook.coming.len() < n_max {
                outlook.coming.push(Coming { round, step: index, at });
            } else {
                outlook.n_more = outlook.n_more.saturating_add(1);
            }
            at = at.plus(next.window());
        }
    }
    outlook.exhausted_at = Some(at);
    outlook
}
