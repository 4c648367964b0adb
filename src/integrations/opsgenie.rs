//! Opsgenie's alert API: what is created. What is acknowledged and closed is named by the path.

use serde_json::{Map, Value};

use super::Unreadable;
use super::notice::{Act, Notice};
use super::words::{copied, link, severity, text};

const OF_ALERT: [&str; 10] =
    ["description", "details", "tags", "entity", "source", "priority", "responders", "actions", "user", "note"];
/// The priority of an alert that gives none.
const PRIORITY_DEFAULT: &str = "P3";

/// The alert that somebody wants to create.
pub fn read(body: &Value) -> Result<Notice, Unreadable> {
    if !body.is_object() {
        return Err(Unreadable::because("the body is not an object"));
    }
    let message = text(body, "message").ok_or_else(|| Unreadable::because("`message` can not be empty"))?;
    let mut details = Map::new();
    copied(body, &OF_ALERT, &mut details);
    let given = body.get("details").unwrap_or(&Value::Null);
    let priority = text(body, "priority").unwrap_or_else(|| PRIORITY_DEFAULT.to_owned());
    Ok(Notice {
        act: Act::Trigger,
        key: text(body, "alias").map(String::into_boxed_str),
        message: message.into(),
        severity: severity(&priority),
        link: link([text(given, "link"), text(given, "url"), text(body, "source")]),
        details,
        began_at: None,
        ended_at: None,
    })
}
