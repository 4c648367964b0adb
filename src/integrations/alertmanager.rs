//! Alertmanager's webhook, version 4: a group of alerts, of which each is a problem of its own.
//!
//! Only `alerts` must be there. The group, whose key stays while its alerts come and go, names no problem.

use serde_json::{Map, Value};

use super::Unreadable;
use super::notice::{Act, BEGAN, Notice, moment};
use super::words::{copied, link, named_by_content, severity, text};

/// What a person may want to see of an alert, and of its group.
const OF_ALERT: [&str; 5] = ["labels", "annotations", BEGAN, "generatorURL", "fingerprint"];
const OF_GROUP: [&str; 4] = ["receiver", "groupKey", "externalURL", "truncatedAlerts"];

pub(super) fn read(body: &Value) -> Result<Vec<Notice>, Unreadable> {
    let alerts = body.get("alerts").and_then(Value::as_array);
    let alerts = alerts.ok_or_else(|| Unreadable::because("`alerts` is missing or not a list"))?;
    let numbered = alerts.iter().enumerate();
    numbered.map(|(index, alert)| notice(body, alert, index, &[], &["generatorURL"])).collect()
}

/// One alert of a group. Grafana's has `more` fields, and a better one to follow than where its rule is made.
pub(super) fn notice(
    group: &Value,
    alert: &Value,
    index: usize,
    more: &[&str],
    links: &[&str],
) -> Result<Notice, Unreadable> {
    if !alert.is_object() {
        return Err(Unreadable::because(format!("`alerts[{index}]` is not an object")));
    }
    let labels = alert.get("labels").filter(|labels| labels.is_object());
    let key = text(alert, "fingerprint").map(String::into_boxed_str);
    let key = key.unwrap_or_else(|| named_by_content(labels.unwrap_or(alert)));
    let status = text(alert, "status").or_else(|| text(group, "status"));
    let is_over = status.is_some_and(|status| status.eq_ignore_ascii_case("resolved"));
    let mut details = Map::new();
    copied(group, &OF_GROUP, &mut details);
    copied(alert, &OF_ALERT, &mut details);
    copied(alert, more, &mut details);
    if details.get("truncatedAlerts").and_then(Value::as_u64) == Some(0) {
        details.remove("truncatedAlerts");
    }
    let addresses = links.iter().map(|name| text(alert, name)).chain([text(group, "externalURL")]);
    Ok(Notice {
        act: if is_over { Act::Resolve } else { Act::Trigger },
        key: Some(key),
        message: message(group, alert).into(),
        severity: severity(&labels.and_then(|labels| text(labels, "severity")).unwrap_or_default()),
        link: link(addresses),
        details,
        began_at: moment(alert.get(BEGAN)),
        ended_at: moment(alert.get("endsAt")).filter(|_| is_over),
    })
}

/// What the alert's author wrote for people, else what it is called and by what it differs from its like.
fn message(group: &Value, alert: &Value) -> String {
    let annotations = alert.get("annotations").unwrap_or(&Value::Null);
    let written = ["summary", "description", "message"].iter().find_map(|name| text(annotations, name));
    let said = written.or_else(|| text(group, "title")).unwrap_or_else(|| named_by_labels(alert));
    match group.get("truncatedAlerts").and_then(Value::as_u64) {
        None | Some(0) => said,
        Some(1) => format!("{said}\n(one more alert of this group was not sent)"),
        Some(n_more) => format!("{said}\n({n_more} more alerts of this group were not sent)"),
    }
}

fn named_by_labels(alert: &Value) -> String {
    let empty = Map::new();
    let labels = alert.get("labels").and_then(Value::as_object).unwrap_or(&empty);
    let name = labels.get("alertname").and_then(Value::as_str).unwrap_or("An alert without a name");
    let others = labels.iter().filter(|(label, _)| !matches!(label.as_str(), "alertname" | "severity"));
    let others: Vec<String> =
        others.filter_map(|(label, value)| Some(format!("{label}={}", super::words::shown(value)?))).collect();
    if others.is_empty() { name.to_owned() } else { format!("{name} ({})", others.join(", ")) }
}
