//! The escalation machine as its tests drive it.
//!
//! Everything here takes the machine as a [`StepFn`], so that the same stories and the same walk can
//! be put to a deliberately wrong machine (`planted_bugs.rs`). It promises to look at a machine from
//! outside only: at the alert, the event, the moment and the verdict.
//!
//! Deliberately absent: a clock, a store, Vonage, and any waiting.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something impossible must say so and stop"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a rule names the events that it is about; the walk tries them all"
)]

pub(crate) mod answers;
pub(crate) mod course;
pub(crate) mod coverage;
pub(crate) mod language;
pub(crate) mod rules;
pub(crate) mod story;
pub(crate) mod walk;

use std::fmt::Write as _;
use std::path::PathBuf;

use callout::escalation::{Alert, Event, Verdict};
use callout::timestamp::Timestamp;

/// A machine: the true one is [`callout::escalation::step`].
pub(crate) type StepFn = fn(&Alert, &Event, Timestamp) -> Verdict;

/// The folder of the stories and of the lists that are checked in beside them.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// Compares a text with the one that is checked in, or replaces that one where
/// `UPDATE_SCENARIOS=1` is set. Says what differs, if something does.
pub(crate) fn differs_from_file(name: &str, actual: &str) -> Option<String> {
    let path = folder().join(name);
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected == actual {
        return None;
    }
    #[expect(clippy::disallowed_methods, reason = "a test's own switch, not the service's configuration")]
    if std::env::var("UPDATE_SCENARIOS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, actual).expect("the file can be written");
        return None;
    }
    Some(format!("tests/scenarios/{name} differs (- expected, + actual):\n{}", diff(&expected, actual)))
}

/// The lines that differ, each with two lines around it.
pub(crate) fn diff(expected: &str, actual: &str) -> String {
    let expected: Vec<&str> = expected.lines().collect();
    let actual: Vec<&str> = actual.lines().collect();
    let mut marked = Vec::new();
    let common = common_lines(&expected, &actual);
    let (mut left, mut right) = (0, 0);
    for (in_expected, in_actual) in common.into_iter().chain([(expected.len(), actual.len())]) {
        marked.extend(expected[left..in_expected].iter().map(|line| ('-', *line)));
        marked.extend(actual[right..in_actual].iter().map(|line| ('+', *line)));
        marked.extend(expected.get(in_expected).map(|line| (' ', *line)));
        (left, right) = (in_expected + 1, in_actual + 1);
    }
    let mut text = String::new();
    for (index, (mark, line)) in marked.iter().enumerate() {
        let around = index.saturating_sub(2)..(index + 3).min(marked.len());
        if marked[around].iter().any(|(mark, _)| *mark != ' ') {
            writeln!(text, "{mark} {line}").expect("a string takes every text");
        }
    }
    text
}

/// The pairs of indexes of a longest common subsequence of lines.
fn common_lines(expected: &[&str], actual: &[&str]) -> Vec<(usize, usize)> {
    let mut lengths = vec![vec![0_usize; actual.len() + 1]; expected.len() + 1];
    for left in (0..expected.len()).rev() {
        for right in (0..actual.len()).rev() {
            lengths[left][right] = if expected[left] == actual[right] {
                lengths[left + 1][right + 1] + 1
            } else {
                lengths[left + 1][right].max(lengths[left][right + 1])
            };
        }
    }
    let mut pairs = Vec::new();
    let (mut left, mut right) = (0, 0);
    while left < expected.len() && right < actual.len() {
        if expected[left] == actual[right] {
            pairs.push((left, right));
            (left, right) = (left + 1, right + 1);
        } else if lengths[left + 1][right] >= lengths[left][right + 1] {
            left += 1;
        } else {
            right += 1;
        }
    }
    pairs
}
