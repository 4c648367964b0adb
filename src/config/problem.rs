//! What is wrong with a configuration, told to the person who can mend it.
//!
//! A [`Problem`] has a place, a message and mostly a hint. Problems are collected, never thrown one
//! at a time, because a person who mends a file wants the whole list. No message holds an address, a
//! key or a password.

use std::fmt;
use std::sync::Arc;

/// Where a problem stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A flag of the command line, such as `--listen`.
    Flag(&'static str),
    /// A variable of the environment, such as `CALLOUT_LISTEN`.
    Variable(&'static str),
    /// The file as a whole, for example because it cannot be read.
    File,
    /// A spot in the file; both numbers count characters from 1.
    Spot {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
}

/// Whether a problem keeps callout from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is started.
    Error,
    /// It would work, but probably not as somebody on call hopes.
    Warning,
}

/// One thing that is wrong, or probably unwanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    file: Arc<str>,
    place: Place,
    severity: Severity,
    message: Box<str>,
    hint: Option<Box<str>>,
}

impl Problem {
    /// Where it stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether it keeps callout from starting.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in one sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Problem {
    /// Writes `file:line:column: message (hint)`, with `warning:` before the message of a warning.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Flag(name) | Place::Variable(name) => formatter.write_str(name)?,
            Place::File => formatter.write_str(&self.file)?,
            Place::Spot { line, column } => write!(formatter, "{}:{line}:{column}", self.file)?,
        }
        match self.severity {
            Severity::Error => write!(formatter, ": {}", self.message)?,
            Severity::Warning => write!(formatter, ": warning: {}", self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(formatter, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Every error of a configuration, sorted by place; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems in the order of their places.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    /// One problem a line, without a line feed at the end.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects the problems of one configuration while it is read.
#[derive(Debug)]
pub(super) struct Report {
    file: Arc<str>,
    problems: Vec<Problem>,
}

impl Report {
    /// An empty report about the file that people know as `file`.
    pub(super) fn about(file: &str) -> Self {
        Self { file: file.into(), problems: Vec::new() }
    }

    /// Adds an error that explains itself.
    pub(super) fn error(&mut self, place: Place, message: impl Into<Box<str>>) {
        self.add(place, Severity::Error, message.into(), None);
    }

    /// Adds an error and what to do about it.
    pub(super) fn error_with_hint(
        &mut self,
        place: Place,
        message: impl Into<Box<str>>,
        hint: impl Into<Option<Box<str>>>,
    ) {
        self.add(place, Severity::Error, message.into(), hint.into());
    }

    /// Adds a warning and what to do about it.
    pub(super) fn warning(&mut self, place: Place, message: impl Into<Box<str>>, hint: impl Into<Box<str>>) {
        self.add(place, Severity::Warning, message.into(), Some(hint.into()));
    }

    fn add(&mut self, place: Place, severity: Severity, message: Box<str>, hint: Option<Box<str>>) {
        self.problems.push(Problem { file: Arc::clone(&self.file), place, severity, message, hint });
    }

    /// Whether an error has been added.
    pub(super) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The errors, sorted; warnings are left out, since they may only follow from the errors.
    pub(super) fn into_errors(self) -> Problems {
        let mut problems = self.problems;
        problems.retain(|problem| problem.severity == Severity::Error);
        problems.sort_by_key(Problem::place);
        Problems(problems)
    }

    /// The warnings, sorted.
    pub(super) fn into_warnings(self) -> Vec<Problem> {
        let mut problems = self.problems;
        problems.retain(|problem| problem.severity == Severity::Warning);
        problems.sort_by_key(Problem::place);
        problems
    }
}

/// How many characters of a foreign text a message shows.
const SHOWN_CHARS_MAX: usize = 60;

/// A foreign text as a message shows it: in backticks, on one line, and not for ever.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(printable).collect();
    if text.chars().count() > SHOWN_CHARS_MAX {
        shown.push('…');
    }
    format!("`{shown}`")
}

fn printable(character: char) -> impl Iterator<Item = char> {
    let (plain, escaped) =
        if character.is_control() { (None, Some(character.escape_default())) } else { (Some(character), None) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

/// Says how many of something there are, as a person would write it.
pub(super) fn counted(count: usize, singular: &str) -> String {
    if count == 1 { format!("one {singular}") } else { format!("{count} {singular}s") }
}
