//! Reading single values of bodies that nobody promised the form of.

use serde_json::{Map, Value};

use crate::escalation::Severity;
use crate::hash::{hex, sha256};

/// How bad something is, by the words that people use for it in labels. What is unknown counts as critical:
/// too much noise is mended in a minute, silence is not.
pub(super) fn severity(word: &str) -> Severity {
    match word.trim().to_ascii_lowercase().as_str() {
        "error" | "err" | "high" | "major" | "p2" | "sev2" | "2" => Severity::Error,
        "warning" | "warn" | "medium" | "moderate" | "average" | "minor" | "p3" | "sev3" | "3" => Severity::Warning,
        "info" | "information" | "informational" | "notice" | "low" | "ok" | "none" | "debug" | "p4" | "p5"
        | "sev4" | "sev5" | "4" | "5" => Severity::Info,
        _ => Severity::Critical,
    }
}

/// A field with something in it, as text: a text, a number or a truth value.
pub(super) fn text(object: &Value, name: &str) -> Option<String> {
    shown(object.get(name)?)
}

/// A single value as text; none for what is empty or not single.
pub(super) fn shown(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(is_so) => is_so.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The first of these that is an address for a browser.
pub(super) fn link(candidates: impl IntoIterator<Item = Option<String>>) -> Option<Box<str>> {
    let is_link = |text: &String| url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    candidates.into_iter().flatten().find(is_link).map(String::into_boxed_str)
}

/// The fields of these names that say something, as they are.
pub(super) fn copied(from: &Value, names: &[&str], into: &mut Map<String, Value>) {
    for name in names {
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        };
        if let Some(value) = from.get(name)
            && !is_empty(value)
        {
            into.insert((*name).to_owned(), value.clone());
        }
    }
}

/// A name for what has none: the same for the same value, however its fields are ordered.
pub(super) fn named_by_content(value: &Value) -> Box<str> {
    hex(&sha256(value.to_string().as_bytes())).into()
}
