//! Alerts and their timelines as text for a terminal.

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::timestamp::Timestamp;

use super::terminal::{BOLD, DIM, GREEN, RED, YELLOW, styled};

/// The text without anything that a terminal would act on.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn text_of<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn colour(status: &str) -> anstyle::Style {
    match status {
        "acknowledged" | "resolved" | "read" => GREEN,
        "exhausted" | "rejected" | "undeliverable" | "refused" | "failed" | "send_failed" => RED,
        _ => YELLOW,
    }
}

/// Pads to a width in characters before styling, so that the columns stay straight.
fn cell(text: &str, width: usize) -> String {
    let text = harmless(text);
    let n_chars = text.chars().count();
    let shown: String = if n_chars > width {
        text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
    } else {
        text.chars().chain(std::iter::repeat_n(' ', width - n_chars)).collect()
    };
    shown
}

/// The moment without milliseconds, by this machine's clock on the wall.
fn moment(text: &str) -> String {
    in_words(text, "%Y-%m-%d %H:%M:%S")
}

fn in_words(moment: &str, format: &str) -> String {
    let moment: Result<jiff::Timestamp, _> = moment.parse();
    moment.map_or_else(|_| String::new(), |at| at.to_zoned(TimeZone::system()).strftime(format).to_string())
}

/// What one alert is called.
pub(super) fn headline(alert: &Value) -> String {
    let status = text_of(alert, "status");
    format!(
        "{} {} {} {}\n",
        styled(BOLD, &harmless(text_of(alert, "code"))),
        styled(colour(status), status),
        harmless(text_of(alert, "message")),
        styled(DIM, &harmless(text_of(alert, "id"))),
    )
}

/// One alert with its attempts and timeline.
pub(super) fn alert(alert: &Value) -> String {
    let mut text = headline(alert);
    text.push_str(&format!(
        "  {}, raised {}, policy {}\n",
        harmless(text_of(alert, "severity")),
        // Said once for all: which zone these times are in.
        in_words(text_of(alert, "created_at"), "%Y-%m-%d %H:%M:%S %:z"),
        alert.get("policy").and_then(Value::as_str).map_or_else(|| "(its own users)".to_owned(), harmless),
    ));
    if let Some(current) = alert.get("current").filter(|current| !current.is_null()) {
        text.push_str(&format!(
            "  calling {} {}{}\n",
            styled(BOLD, &harmless(text_of(current, "user"))),
            channel(current),
            current
                .get("expires_at")
                .and_then(Value::as_str)
                .map_or_else(String::new, |until| format!(", waits until {}", moment(until))),
        ));
    }
    for attempt in alert.get("attempts").and_then(Value::as_array).into_iter().flatten() {
        let status = text_of(attempt, "status");
        text.push_str(&format!(
            "  #{:<3} {} {} {}\n",
            attempt.get("number").and_then(Value::as_u64).unwrap_or_default(),
            cell(text_of(attempt, "user"), 16),
            cell(&channel(attempt), 17),
            styled(colour(status), status),
        ));
    }
    for line in alert.get("timeline").and_then(Value::as_array).into_iter().flatten() {
        text.push_str(&entry(line));
    }
    text
}

/// Who is being called, and how much time they have left; nothing while nobody is.
pub(super) fn wait(alert: &Value, now: Timestamp) -> Option<String> {
    let current = alert.get("current").filter(|current| !current.is_null())?;
    let expires_at: Option<Timestamp> =
        current.get("expires_at").and_then(Value::as_str).and_then(|at| at.parse().ok());
    let what = match expires_at {
        Some(at) => {
            let seconds = at.since(now).as_secs();
            format!("{}:{:02} left", seconds / 60, seconds % 60)
        }
        None => harmless(text_of(current, "status")),
    };
    let user = styled(BOLD, &harmless(text_of(current, "user")));
    Some(format!("  calling {user} {}, {what}", channel(current)))
}

fn channel(object: &Value) -> String {
    match object.get("channel").and_then(Value::as_str) {
        Some(channel) => format!("by {}", harmless(channel)),
        None => "by their workflow".to_owned(),
    }
}

/// One line of a timeline.
pub(super) fn entry(entry: &Value) -> String {
    let event = text_of(entry, "event");
    let mut words = String::new();
    if let Some(user) = entry.get("user").and_then(Value::as_str) {
        words.push_str(&harmless(user));
    }
    if let Some(by) = entry.get("by").and_then(Value::as_str)
        && entry.get("user").is_none()
    {
        words.push_str(&harmless(by));
    }
    if let Some(channel) = entry.get("channel").and_then(Value::as_str) {
        words.push_str(&format!(" by {}", harmless(channel)));
    }
    if let Some(detail) = entry.get("detail").and_then(Value::as_str) {
        words.push_str(&format!(" ({})", harmless(detail)));
    }
    let when = styled(DIM, &moment(text_of(entry, "at")));
    match words.trim() {
        "" => format!("  {when}  {}\n", styled(colour(event), &harmless(event))),
        words => format!("  {when}  {} {words}\n", styled(colour(event), &cell(event, 20))),
    }
}

/// Callbacks that wait or were given up.
pub(super) fn deliveries(answer: &Value) -> String {
    let deliveries = answer.get("deliveries").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if deliveries.is_empty() {
        return "no callbacks wait\n".to_owned();
    }
    let heading = format!(
        "{} {} {} {} {} {} LAST FAILURE",
        cell("ID", 8),
        cell("STATUS", 8),
        cell("EVENT", 13),
        cell("TRIES", 5),
        cell("NEXT TRY", 19),
        cell("ENDPOINT", 30)
    );
    let mut text = styled(DIM, &heading);
    text.push('\n');
    for delivery in deliveries {
        let number = |name: &str| delivery.get(name).and_then(Value::as_u64).unwrap_or_default().to_string();
        let next_try = delivery.get("next_try_at").and_then(Value::as_str).map_or_else(String::new, moment);
        text.push_str(&format!(
            "{} {} {} {} {} {} {}\n",
            cell(&number("id"), 8),
            cell(text_of(delivery, "status"), 8),
            cell(text_of(delivery, "topic"), 13),
            cell(&number("tries"), 5),
            cell(&next_try, 19),
            cell(&harmless(text_of(delivery, "endpoint")), 30),
            harmless(text_of(delivery, "failure")),
        ));
    }
    if answer.get("next_cursor").is_some_and(|cursor| !cursor.is_null()) {
        text.push_str(&styled(DIM, "(there are more; see --limit)\n"));
    }
    text
}

/// Alerts in columns.
pub(super) fn list(answer: &Value) -> String {
    let alerts = answer.get("alerts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if alerts.is_empty() {
        return "no alerts\n".to_owned();
    }
    let mut text = styled(
        DIM,
        &format!(
            "{} {} {} {} {} MESSAGE",
            cell("ID", 36),
            cell("CODE", 8),
            cell("STATUS", 12),
            cell("RAISED", 19),
            cell("NOW CALLING", 24)
        ),
    );
    text.push('\n');
    for alert in alerts {
        let status = text_of(alert, "status");
        let current = alert.get("current").filter(|current| !current.is_null());
        let calling =
            current.map_or_else(String::new, |current| format!("{} {}", text_of(current, "user"), channel(current)));
        text.push_str(&format!(
            "{} {} {} {} {} {}\n",
            cell(text_of(alert, "id"), 36),
            cell(text_of(alert, "code"), 8),
            styled(colour(status), &cell(status, 12)),
            cell(&moment(text_of(alert, "created_at")), 19),
            cell(&calling, 24),
            harmless(text_of(alert, "message")),
        ));
    }
    if answer.get("next_cursor").is_some_and(|cursor| !cursor.is_null()) {
        text.push_str(&styled(DIM, "(there are more; see --limit)\n"));
    }
    text
}
