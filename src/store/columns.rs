//! How values stand in the columns of a database, the same in each.

use super::{Outcome, StatusFilter};

/// A row that should be there is not, or a value is outside of what it can be.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Nonsense {
    #[error("its state is missing")]
    NoState,
    #[error("its plan is missing")]
    NoPlan,
    #[error("a value is out of range")]
    OutOfRange,
    #[error("a word is unknown")]
    UnknownWord,
}

/// A count as databases keep it. Nothing that is counted here comes near the limit.
pub(super) fn signed(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

pub(super) fn unsigned(count: i64) -> Option<u64> {
    u64::try_from(count).ok()
}

pub(super) const fn status_word(status: StatusFilter) -> &'static str {
    match status {
        StatusFilter::Escalating => "escalating",
        StatusFilter::Acknowledged => "acknowledged",
        StatusFilter::Exhausted => "exhausted",
        StatusFilter::Resolved => "resolved",
    }
}

pub(super) const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Repeated => "repeated",
        Outcome::Changed => "changed",
    }
}

pub(super) fn outcome(word: &str) -> Option<Outcome> {
    [Outcome::Created, Outcome::Repeated, Outcome::Changed].into_iter().find(|outcome| outcome_word(*outcome) == word)
}
