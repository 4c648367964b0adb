//! `PagerDuty`'s Events API: version 2, the change events beside it, and version 1, which older plug-ins send.

use serde_json::{Map, Value};

use super::Unreadable;
use super::notice::{Act, Notice};
use super::words::{copied, link, severity, text};

/// The severities that version 2 knows.
const SEVERITIES: [&str; 4] = ["critical", "warning", "error", "info"];
const OF_PAYLOAD: [&str; 7] = ["source", "component", "group", "class", "timestamp", "severity", "custom_details"];
const OF_EVENT: [&str; 4] = ["client", "client_url", "links", "images"];

/// The key that an event carries, in either version.
pub fn routing_key(body: &Value) -> Option<&str> {
    let named = |name| body.get(name).and_then(Value::as_str).filter(|key: &&str| !key.is_empty());
    named("routing_key").or_else(|| named("service_key"))
}

/// Whether the event has version 1's form.
pub fn is_first_version(body: &Value) -> bool {
    body.get("event_action").is_none() && body.get("event_type").is_some()
}

/// What an event says. Everything that is wrong with it is told, in `PagerDuty`'s own words.
pub fn read(body: &Value) -> Result<Notice, Unreadable> {
    if is_first_version(body) { first_version(body) } else { second_version(body) }
}

/// What a change event says; callout has no place for it, but its sender must hear what is wrong with it.
pub fn check_change(body: &Value) -> Result<(), Unreadable> {
    match body.get("payload").and_then(|payload| text(payload, "summary")) {
        Some(_) => Ok(()),
        None => Err(Unreadable::because(blank("payload.summary"))),
    }
}

fn blank(name: &str) -> String {
    format!("'{name}' is missing or blank")
}

fn second_version(body: &Value) -> Result<Notice, Unreadable> {
    let mut reasons = Vec::new();
    let act = act(body, "event_action", &mut reasons);
    let key = text(body, "dedup_key").map(String::into_boxed_str);
    let payload = body.get("payload").filter(|payload| payload.is_object()).unwrap_or(&Value::Null);
    if act == Some(Act::Trigger) {
        let named = |name: &str| text(payload, name);
        reasons.extend(
            ["summary", "source"]
                .iter()
                .filter(|name| named(name).is_none())
                .map(|name| blank(&format!("payload.{name}"))),
        );
        match named("severity") {
            None => reasons.push(blank("payload.severity")),
            Some(word) if SEVERITIES.contains(&word.to_ascii_lowercase().as_str()) => {}
            Some(_) => reasons.push(
                "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')"
                    .to_owned(),
            ),
        }
    } else if act.is_some() && key.is_none() {
        reasons.push(blank("dedup_key"));
    }
    let (Some(act), true) = (act, reasons.is_empty()) else { return Err(Unreadable { reasons }) };
    let mut details = Map::new();
    copied(payload, &OF_PAYLOAD, &mut details);
    copied(body, &OF_EVENT, &mut details);
    let links = body.get("links").and_then(Value::as_array).into_iter().flatten().map(|link| text(link, "href"));
    Ok(Notice {
        act,
        key,
        message: text(payload, "summary").unwrap_or_default().into(),
        severity: severity(&text(payload, "severity").unwrap_or_default()),
        link: link([text(body, "client_url")].into_iter().chain(links)),
        details,
        began_at: None,
        ended_at: None,
    })
}

fn first_version(body: &Value) -> Result<Notice, Unreadable> {
    let mut reasons = Vec::new();
    let act = act(body, "event_type", &mut reasons);
    let key = text(body, "incident_key").map(String::into_boxed_str);
    let message = text(body, "description");
    match act {
        Some(Act::Trigger) if message.is_none() => reasons.push(blank("description")),
        Some(Act::Acknowledge | Act::Resolve) if key.is_none() => reasons.push(blank("incident_key")),
        Some(Act::Trigger | Act::Acknowledge | Act::Resolve) | None => {}
    }
    let (Some(act), true) = (act, reasons.is_empty()) else { return Err(Unreadable { reasons }) };
    let mut details = Map::new();
    copied(body, &["details", "client", "client_url", "contexts"], &mut details);
    let given = body.get("details").unwrap_or(&Value::Null);
    Ok(Notice {
        act,
        key,
        message: message.unwrap_or_default().into(),
        severity: severity(&text(given, "severity").unwrap_or_default()),
        link: link([text(body, "client_url")]),
        details,
        began_at: None,
        ended_at: None,
    })
}

fn act(body: &Value, name: &str, reasons: &mut Vec<String>) -> Option<Act> {
    let Some(word) = text(body, name) else {
        reasons.push(blank(name));
        return None;
    };
    let known = [Act::Trigger, Act::Acknowledge, Act::Resolve].into_iter().find(|act| act.name() == word);
    if known.is_none() {
        reasons
            .push(format!("'{name}' is invalid (must be one of the following: 'trigger', 'acknowledge' or 'resolve')"));
    }
    known
}
