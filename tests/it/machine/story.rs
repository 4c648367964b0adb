//! A story: a plan, and a timeline of what the machine is told and what it answers.
//!
//! Lines at the margin are the teller's; indented lines below them are the machine's answers and are
//! written anew each time a story is played.

use std::fmt::Write as _;

use callout::escalation::{Alert, Event, Verdict};
use callout::timestamp::Timestamp;

use super::StepFn;
use super::answers::{answer, beginning};
use super::language::{raise_with, read_event, read_moment, read_plan};
use super::rules::{Seen, broken_rule};

/// One thing that happened in a story.
pub(crate) struct Told {
    pub(crate) before: Alert,
    pub(crate) event: Event,
    pub(crate) now: Timestamp,
    pub(crate) verdict: Verdict,
}

/// A story as a machine plays it.
pub(crate) struct Played {
    /// The whole text with the machine's answers.
    pub(crate) text: String,
    /// Everything that was told to the machine.
    pub(crate) told: Vec<Told>,
    /// The rules that were broken on the way.
    pub(crate) broken: Vec<String>,
}

/// Plays a story to a machine.
pub(crate) fn play(text: &str, step: StepFn) -> Played {
    let mut played = Played { text: String::new(), told: Vec::new(), broken: Vec::new() };
    let mut plan = String::new();
    let mut alert: Option<Alert> = None;
    for line in text.lines() {
        let is_of_plan = line.starts_with("plan ") || (alert.is_none() && line.starts_with(' '));
        if is_of_plan {
            writeln!(plan, "{line}").expect("a string takes every text");
        } else if line.starts_with(' ') {
            continue;
        }
        writeln!(played.text, "{line}").expect("a string takes every text");
        let Some((moment, told)) = line.split_once(' ').filter(|_| line.starts_with(|c: char| c.is_ascii_digit()))
        else {
            continue;
        };
        let answers = match (&alert, told) {
            (None, "raise") => {
                let raised = raise_with(read_plan(&plan));
                let answers = beginning(&raised);
                alert = Some(raised);
                answers
            }
            (Some(before), told) => {
                let told = Told::by(step, before, read_event(told), read_moment(moment));
                let answers = answer(before, &told.verdict);
                if let Some(rule) = broken_rule(&told.seen()) {
                    played.broken.push(format!("{line}: breaks `{rule}`"));
                }
                if let Verdict::Move { next, .. } = &told.verdict {
                    alert = Some(next.clone());
                }
                played.told.push(told);
                answers
            }
            (None, told) => panic!("`{told}` is told before the alert is raised"),
        };
        for answer in answers {
            writeln!(played.text, "        {answer}").expect("a string takes every text");
        }
    }
    played
}

impl Told {
    fn by(step: StepFn, before: &Alert, event: Event, now: Timestamp) -> Self {
        let verdict = step(before, &event, now);
        Self { before: before.clone(), event, now, verdict }
    }

    pub(crate) fn seen(&self) -> Seen<'_> {
        Seen { before: &self.before, event: &self.event, now: self.now, verdict: &self.verdict }
    }
}

/// The names and texts of all stories, in the order of their names.
pub(crate) fn all() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(super::folder()).expect("the folder of the stories can be read");
    let mut stories: Vec<(String, String)> = entries
        .map(|entry| entry.expect("the folder of the stories can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a story can be read"))
        })
        .collect();
    stories.sort();
    stories
}
