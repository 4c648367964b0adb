//! Reading a mapping key by key, with every complaint that a wrong shape deserves.

use std::path::Path;

use super::environment::Override;
use super::problem::{Place, Report, quoted};
use super::suggestion;
use super::tree::{Entry, Node, Scalar, Value};

/// What stands under a key. A value that was complained about already is neither there nor
/// missing, so that one mistake is reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written<T> {
    /// The key is not there, or has no value.
    Absent,
    /// There is a value.
    Given(T),
    /// There is one, but it could not be read, and somebody has been told.
    Reported,
}

impl<T> Written<T> {
    /// The value, if it can be had.
    pub fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Reported => None,
        }
    }

    /// Makes another value out of this one.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Written<U> {
        match self {
            Self::Absent => Written::Absent,
            Self::Given(value) => Written::Given(make(value)),
            Self::Reported => Written::Reported,
        }
    }

    /// The value; its absence becomes an error.
    pub(super) fn or_missing(self, place: Place, key: &str, hint: Option<&str>, report: &mut Report) -> Option<T> {
        if matches!(self, Self::Absent) {
            report.error_with_hint(place, format!("`{key}` is missing"), hint.map(Into::into));
        }
        self.given()
    }
}

impl<T> From<Option<T>> for Written<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Given)
    }
}

/// A text, where it was given, and what a relative path in it is relative to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'t> {
    pub(super) text: &'t str,
    /// What a message may show of it.
    pub(super) written: &'t str,
    pub(super) place: Place,
    /// The folder of the file, for a value that stands in the file.
    pub(super) folder: Option<&'t Path>,
}

impl<'t> Given<'t> {
    /// A value from the file, whose relative paths begin at `folder`.
    pub(super) fn from_file(scalar: &'t Scalar, place: Place, folder: &'t Path) -> Self {
        Self { text: &scalar.text, written: &scalar.written, place, folder: Some(folder) }
    }

    /// A value from a flag or the environment, whose relative paths begin at the working directory.
    pub(super) fn from_outside(given: &'t Override) -> Self {
        Self { text: &given.text, written: &given.text, place: given.place, folder: None }
    }
}

/// A mapping whose keys are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'t, 'k> {
    /// Where to say that something is missing.
    pub(super) place: Place,
    entries: &'t [Entry],
    known: &'k [&'k str],
}

impl<'t, 'k> Section<'t, 'k> {
    /// Opens the mapping at `node`, which people know as `name`. Keys that are not `known` are
    /// reported with the one that was probably meant.
    pub(super) fn open(node: &'t Node, name: &str, known: &'k [&'k str], report: &mut Report) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Reported => return None,
            Value::Null | Value::Scalar(_) | Value::List(_) => {
                report.error_with_hint(
                    node.place,
                    format!("{name} must be a mapping, not {}", kind(node)),
                    Some(format!("its keys are {}", suggestion::listed(&without_schema(known))).into()),
                );
                return None;
            }
        };
        for entry in entries {
            if &*entry.key == "<<" {
                report.error(entry.key_place, "merge keys are not read");
            } else if !known.contains(&&*entry.key) {
                let message = format!("{} is not a key of {name}", quoted(&entry.key));
                let hint = if entry.key.starts_with("//") || entry.key.starts_with("/*") {
                    "comments begin with `#`".into()
                } else {
                    suggestion::hint(&entry.key, "its keys are", &without_schema(known))
                };
                report.error_with_hint(entry.key_place, message, Some(hint));
            }
        }
        Some(Self { place: node.place, entries, known })
    }

    /// The entry of a key that has a value.
    pub(super) fn entry(&self, key: &str) -> Option<&'t Entry> {
        self.entries.iter().find(|entry| &*entry.key == key && !matches!(entry.node.value, Value::Null))
    }

    /// The value of a key, if it has one.
    pub(super) fn node(&self, key: &str) -> Option<&'t Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// Where a key's value stands, else where the mapping does.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.node(key).map_or(self.place, |node| node.place)
    }

    /// Whether a key is not there, nor anything that was probably meant to be it. A mistyped key is
    /// reported once, as what it is, and not as a missing one besides.
    pub(super) fn lacks(&self, key: &str) -> bool {
        let is_meant = |entry: &Entry| {
            !self.known.contains(&&*entry.key)
                && suggestion::nearest(&entry.key, self.known.iter().copied()) == Some(key)
        };
        self.entry(key).is_none() && !self.entries.iter().any(is_meant)
    }

    fn without<T>(&self, key: &str) -> Written<T> {
        if self.lacks(key) { Written::Absent } else { Written::Reported }
    }

    /// The mapping under a key. What is missing in it is reported at the key.
    pub(super) fn section<'m>(&self, key: &str, known: &'m [&'m str], report: &mut Report) -> Option<Section<'t, 'm>> {
        let entry = self.entry(key)?;
        let section = Section::open(&entry.node, &format!("`{key}`"), known, report)?;
        Some(Section { place: entry.key_place, ..section })
    }

    /// The text under a key.
    pub(super) fn text(&self, key: &str, report: &mut Report) -> Written<(&'t Scalar, Place)> {
        match self.node(key) {
            None => self.without(key),
            Some(node) => text(node, &format!("`{key}`"), report),
        }
    }

    /// The list under a key.
    pub(super) fn list(&self, key: &str, report: &mut Report) -> Written<(&'t [Node], Place)> {
        match self.node(key) {
            None => self.without(key),
            Some(node) => list(node, &format!("`{key}`"), report),
        }
    }
}

/// The keys that somebody would want to write; `$schema` is for editors.
fn without_schema<'k>(known: &[&'k str]) -> Vec<&'k str> {
    known.iter().copied().filter(|key| !key.starts_with('$')).collect()
}

/// The text at a node, which people know as `name`.
pub(super) fn text<'t>(node: &'t Node, name: &str, report: &mut Report) -> Written<(&'t Scalar, Place)> {
    match &node.value {
        Value::Scalar(scalar) => Written::Given((scalar, node.place)),
        Value::Reported => Written::Reported,
        Value::Null | Value::List(_) | Value::Map(_) => {
            report.error(node.place, format!("{name} must be a text or number, not {}", kind(node)));
            Written::Reported
        }
    }
}

/// The list at a node, which people know as `name`.
pub(super) fn list<'t>(node: &'t Node, name: &str, report: &mut Report) -> Written<(&'t [Node], Place)> {
    match &node.value {
        Value::List(items) => Written::Given((items, node.place)),
        Value::Reported => Written::Reported,
        Value::Null | Value::Scalar(_) | Value::Map(_) => {
            report.error(node.place, format!("{name} must be a list, not {}", kind(node)));
            Written::Reported
        }
    }
}

/// What kind of value stands at a node, in words.
fn kind(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "nothing",
        Value::Scalar(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
        Value::Reported => "this",
    }
}
