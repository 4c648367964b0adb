//! `GoAlert`'s generic endpoint: parameters in the address, in a form or in JSON, of which JSON wins.

use serde_json::{Map, Value, json};

use super::notice::{Act, Notice};
use super::words::{link, named_by_content, severity, shown, text};
use super::{Posted, Unreadable};

pub(super) fn read(posted: Posted<'_>) -> Result<Notice, Unreadable> {
    let said = parameters(posted)?;
    let meta = said.get("meta").cloned().unwrap_or(Value::Null);
    let summary = text(&said, "summary");
    let further = text(&said, "details");
    let act = match text(&said, "action").unwrap_or_default().as_str() {
        "close" | "resolve" => Act::Resolve,
        "acknowledge" | "ack" => Act::Acknowledge,
        _ => Act::Trigger,
    };
    let key = text(&said, "dedup").map(String::into_boxed_str);
    if summary.is_none() && (act == Act::Trigger || key.is_none()) {
        return Err(Unreadable::because("`summary` is missing or empty"));
    }
    let key = key.unwrap_or_else(|| named_by_content(&json!([summary, further])));
    let mut details = Map::new();
    details.extend(further.map(|further| ("details".to_owned(), further.into())));
    let links = ["link", "url", "dashboard", "runbook"].map(|name| text(&meta, name));
    let severity = severity(&text(&meta, "severity").unwrap_or_default());
    if meta.as_object().is_some_and(|meta| !meta.is_empty()) {
        details.insert("meta".to_owned(), meta);
    }
    Ok(Notice {
        act,
        key: Some(key),
        message: summary.unwrap_or_default().into(),
        severity,
        link: link(links),
        details,
        began_at: None,
        ended_at: None,
    })
}

fn parameters(posted: Posted<'_>) -> Result<Value, Unreadable> {
    let mut said = Map::new();
    let mut meta = Map::new();
    let mut take = |encoded: &[u8]| {
        for (name, value) in url::form_urlencoded::parse(encoded) {
            match (&*name, value.split_once('=')) {
                ("meta", Some((name, value))) => drop(meta.insert(name.to_owned(), value.into())),
                (name, _) => drop(said.insert(name.to_owned(), (*value).into())),
            }
        }
    };
    take(posted.query.as_bytes());
    let is_form = posted.content_type.is_some_and(|claimed| claimed.contains("form-urlencoded"));
    let begins_as_json = posted.body.trim_ascii_start().starts_with(b"{");
    if begins_as_json {
        let Value::Object(fields) = super::json(posted.body)? else {
            return Err(Unreadable::because("the body is not an object"));
        };
        said.extend(fields.into_iter().filter(|(_, value)| shown(value).is_some() || value.is_object()));
    } else if is_form || posted.content_type.is_none() {
        take(posted.body);
    } else if !posted.body.trim_ascii().is_empty() {
        return Err(Unreadable::because("the body is neither JSON nor a form"));
    }
    if !meta.is_empty() {
        said.entry("meta").or_insert(Value::Object(meta));
    }
    Ok(Value::Object(said))
}
