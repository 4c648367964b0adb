//! Details of a size that an alert can carry.

use serde_json::{Map, Value};

/// The most bytes of the details of an alert that a tool raised.
pub const DETAILS_BYTES_MAX: usize = 32 * 1024;
/// What a text in details is cut to that are too large.
pub const DETAIL_CHARS_MAX: usize = 500;
/// How many entries of a list or object are kept in details that are too large.
pub const DETAIL_ENTRIES_MAX: usize = 50;

/// The text of a JSON object that is no longer than an alert may carry. What is too large is cut, and says so.
pub fn bounded(details: Map<String, Value>) -> String {
    let whole = Value::Object(details);
    let text = whole.to_string();
    if text.len() <= DETAILS_BYTES_MAX {
        return text;
    }
    let n_bytes = text.len();
    let note = |details: &mut Map<String, Value>, how: &str| {
        details.insert("callout".to_owned(), format!("{how}: {n_bytes} bytes were sent").into());
    };
    let mut cut = match shortened(whole) {
        Value::Object(details) => details,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    note(&mut cut, "long texts and lists were cut");
    let text = Value::Object(cut.clone()).to_string();
    if text.len() <= DETAILS_BYTES_MAX {
        return text;
    }
    // Single values on the first level still say the most.
    cut.retain(|_, value| !matches!(value, Value::Array(_) | Value::Object(_)));
    note(&mut cut, "lists and objects were left out");
    Value::Object(cut).to_string()
}

fn shortened(value: Value) -> Value {
    match value {
        Value::String(text) => match text.char_indices().nth(DETAIL_CHARS_MAX) {
            Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
            None => Value::String(text),
        },
        Value::Array(items) => items.into_iter().take(DETAIL_ENTRIES_MAX).map(shortened).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().take(DETAIL_ENTRIES_MAX);
            Value::Object(fields.map(|(name, value)| (shortened_name(&name), shortened(value))).collect())
        }
        single @ (Value::Null | Value::Bool(_) | Value::Number(_)) => single,
    }
}

fn shortened_name(name: &str) -> String {
    name.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        assert_eq!(bounded(object(&json!({ "host": "db-3" }))), r#"{"host":"db-3"}"#);
        assert_eq!(bounded(Map::new()), "{}");
    }

    #[test]
    fn what_does_not_fit_is_cut_and_says_so() {
        let lists: Map<String, Value> = (0..200)
            .map(|n| (format!("{n:03}"), json!((0..200).map(|_| "x".repeat(900)).collect::<Vec<_>>())))
            .collect();
        for (large, kept) in [
            (json!({ "host": "db-3", "log": "ü".repeat(100_000) }), "host"),
            (json!({ "host": "db-3", "lines": vec!["x"; 100_000] }), "lines"),
            (json!({ "host": "db-3", "deep": lists, "n".repeat(40_000): 1 }), "host"),
        ] {
            let text = bounded(object(&large));
            assert!(text.len() <= DETAILS_BYTES_MAX, "{} bytes", text.len());
            let details: Value = serde_json::from_str(&text).unwrap();
            assert!(details.get(kept).is_some(), "{kept} is kept");
            assert!(details["callout"].as_str().unwrap().contains("bytes were sent"), "{}", details["callout"]);
        }
    }
}
