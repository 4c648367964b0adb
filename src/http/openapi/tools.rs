//! The forms of other tools, as far as callout reads and answers them. What it does not know of a request it bears,
//! so that these forms say what is looked at and not what is allowed.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::escalation::Severity;

use super::schemas::{described, names};

names!(
    /// What is done with an Opsgenie alert.
    OpsgenieVerb,
    ["acknowledge", "close", "message", "description", "notes", "note", "priority", "tags", "details"]
);
names!(
    /// What an Opsgenie alert is named by.
    OpsgenieIdentifier,
    ["id", "alias", "tiny"]
);

described! {
    /// What a tool posts, in the form of the integration's kind.
    Posted
    /// How much of what came of a request.
    Taken
    /// What `PagerDuty` or Opsgenie would answer.
    Accepted
    /// An event of `PagerDuty`'s, version 2.
    PagerdutyEvent
    /// An event of `PagerDuty`'s, version 1.
    PagerdutyEventV1
    /// A change event of `PagerDuty`'s.
    PagerdutyChange
    /// What `PagerDuty` says to an event that it takes.
    PagerdutyAccepted
    /// What `PagerDuty` says to an event that it refuses.
    PagerdutyRefusal
    /// What creates an Opsgenie alert.
    OpsgenieAlert
    /// What Opsgenie says to a request that it takes.
    OpsgenieAccepted
    /// What Opsgenie says to a request that it refuses.
    OpsgenieRefusal
    /// An alert as Opsgenie shows it.
    OpsgenieAlertShown
    /// A request as Opsgenie shows it.
    OpsgenieRequestShown
    /// What is posted to `GoAlert`.
    GoalertForm
    /// What `GoAlert` says to a request that it takes.
    GoalertTaken
}

/// The key of the examples.
const EXAMPLE_KEY: &str = "0123456789abcdef0123456789abcdef";

fn text(about: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "description": about })
}

fn words(names: &[&str]) -> Value {
    json!({ "type": "string", "enum": names })
}

/// An object with these fields, of which `required` are always there.
fn object(about: &str, required: &[&str], properties: Value) -> Value {
    let mut form = json!({ "type": "object", "description": about, "required": required });
    super::put(&mut form, "properties", properties);
    form
}

/// A form that a tool may write more into.
fn open(about: &str, required: &[&str], properties: Value, example: Value) -> Value {
    let mut form = object(about, required, properties);
    super::put(&mut form, "additionalProperties", true.into());
    super::put(&mut form, "examples", vec![example].into());
    form
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The forms by their names.
pub(super) fn forms() -> Map<String, Value> {
    let mut forms = Map::new();
    for (name, form) in of_pagerduty().into_iter().chain(of_opsgenie()).chain(of_goalert()).chain(of_integrations()) {
        forms.insert(name.to_owned(), form);
    }
    forms
}

fn of_integrations() -> [(&'static str, Value); 3] {
    let count = json!({ "type": "integer", "minimum": 0 });
    let counts = ["raised", "repeated", "acknowledged", "resolved", "unchanged"];
    let of_each: Map<String, Value> = counts.iter().map(|name| ((*name).to_owned(), count.clone())).collect();
    let counted = object("How much of what came of it.", &counts, of_each.into());
    [
        (
            "Posted",
            json!({ "type": "object", "additionalProperties": true,
                "description": "What the tool posts: Alertmanager's or Grafana's groups, PagerDuty's events, Opsgenie's and GoAlert's alerts, or any JSON that the integration has a template for.",
                "examples": [{ "alerts": [{ "status": "firing", "labels": { "alertname": "DiskNearlyFull", "severity": "error" }, "annotations": { "summary": "2 % left on /var" }, "fingerprint": "5b1f0c6d2a9e4477" }] }] }),
        ),
        (
            "Taken",
            json!({ "description": "What came of it.", "anyOf": [counted, reference("PagerdutyAccepted"), reference("GoalertTaken")] }),
        ),
        (
            "Accepted",
            json!({ "description": "That it is kept.", "anyOf": [reference("PagerdutyAccepted"), reference("OpsgenieAccepted")] }),
        ),
    ]
}

fn of_pagerduty() -> [(&'static str, Value); 5] {
    let act = || words(&["trigger", "acknowledge", "resolve"]);
    let payload = json!({ "type": "object", "required": ["summary", "source", "severity"], "additionalProperties": true,
        "properties": {
            "summary": text("What people must read."), "source": text("What it is about."),
            "severity": words(&Severity::ALL.map(Severity::name)),
        } });
    let event = json!({
        "routing_key": text("The key of the integration."), "event_action": act(),
        "dedup_key": text("Names the problem; needed to acknowledge and resolve."), "payload": payload,
    });
    let first = json!({
        "service_key": text("The key of the integration."), "event_type": act(),
        "incident_key": text("Names the problem; needed to acknowledge and resolve."),
        "description": text("What people must read; needed to trigger."),
    });
    let change = json!({
        "routing_key": text("The key of the integration."),
        "payload": { "type": "object", "required": ["summary"], "additionalProperties": true, "properties": { "summary": text("What was changed.") } },
    });
    let example = json!({ "routing_key": EXAMPLE_KEY, "event_action": "trigger", "dedup_key": "server-1/down", "payload": { "summary": "Main server is down", "source": "server-1", "severity": "critical" } });
    let of_first = json!({ "service_key": EXAMPLE_KEY, "event_type": "trigger", "incident_key": "server-1/down", "description": "Main server is down" });
    let of_change = json!({ "routing_key": EXAMPLE_KEY, "payload": { "summary": "Version 7 is out" } });
    // A tool's key is given back as it was, whatever it is.
    let any = json!({ "description": "The key that names the problem." });
    let accepted =
        json!({ "status": words(&["success"]), "message": text("In words."), "dedup_key": any, "incident_key": any });
    let refusal = json!({ "status": words(&["invalid event"]), "message": text("In words."), "errors": { "type": "array", "items": { "type": "string" } } });
    [
        ("PagerdutyEvent", open("An event.", &["routing_key", "event_action"], event, example)),
        ("PagerdutyEventV1", open("An event.", &["service_key", "event_type"], first, of_first)),
        ("PagerdutyChange", open("A change.", &["routing_key", "payload"], change, of_change)),
        ("PagerdutyAccepted", object("It is taken.", &["status", "message"], accepted)),
        ("PagerdutyRefusal", object("It is refused.", &["status", "message", "errors"], refusal)),
    ]
}

fn of_opsgenie() -> [(&'static str, Value); 5] {
    let request =
        || [("took".to_owned(), json!({ "type": "number" })), ("requestId".to_owned(), json!({ "type": "string" }))];
    let with = |properties: Value| {
        let Value::Object(mut properties) = properties else { return properties };
        properties.extend(request());
        Value::Object(properties)
    };
    let alert = json!({
        "message": text("What people must read."), "alias": text("Names the problem."),
        "priority": words(&["P1", "P2", "P3", "P4", "P5"]),
        "description": text("More of it."), "source": text("Where it comes from."),
        "tags": { "type": "array", "items": { "type": "string" } },
        "details": { "type": "object", "additionalProperties": true },
    });
    let nullable = json!({ "type": ["string", "null"] });
    let shown = json!({
        "id": text("The alert's id."), "tinyId": text("The alert's number."), "alias": nullable,
        "message": { "type": "string" }, "status": words(&["open", "closed"]), "acknowledged": { "type": "boolean" },
        "isSeen": { "type": "boolean" }, "snoozed": { "type": "boolean" }, "count": { "type": "integer" },
        "createdAt": { "type": "string", "format": "date-time" }, "updatedAt": { "type": "string", "format": "date-time" },
        "lastOccurredAt": { "type": "string", "format": "date-time" }, "owner": nullable,
        "priority": words(&["P1", "P2", "P3", "P4", "P5"]), "source": nullable,
    });
    let came_of = json!({
        "success": { "type": "boolean" }, "isSuccess": { "type": "boolean" }, "action": { "type": "string" },
        "status": { "type": "string" }, "processedAt": { "type": "string", "format": "date-time" },
        "integrationId": { "type": "string" }, "alertId": { "type": "string" }, "alias": nullable,
    });
    let data = |properties: Value| {
        with(json!({ "data": { "type": "object", "properties": properties, "additionalProperties": false } }))
    };
    let example = json!({ "message": "Main server is down", "alias": "server-1/down", "priority": "P1" });
    let refusal = with(
        json!({ "message": { "type": "string" }, "errors": { "type": "object", "additionalProperties": { "type": "string" } } }),
    );
    [
        ("OpsgenieAlert", open("An alert.", &["message"], alert, example)),
        (
            "OpsgenieAccepted",
            object("It is taken.", &["result", "took", "requestId"], with(json!({ "result": { "type": "string" } }))),
        ),
        ("OpsgenieRefusal", object("It is refused.", &["message", "took", "requestId"], refusal)),
        ("OpsgenieAlertShown", object("An alert.", &["data", "took", "requestId"], data(shown))),
        ("OpsgenieRequestShown", object("A request.", &["data", "took", "requestId"], data(came_of))),
    ]
}

fn of_goalert() -> [(&'static str, Value); 2] {
    let form = json!({
        "summary": text("What people must read."), "details": text("More of it."), "dedup": text("Names the problem."),
        "action": text("`close` or `acknowledge`; anything else raises."),
    });
    let taken =
        json!({ "AlertID": { "type": "integer" }, "ServiceID": { "type": "string" }, "IsNew": { "type": "boolean" } });
    let example = json!({ "summary": "Main server is down", "dedup": "server-1/down" });
    [
        ("GoalertForm", open("An alert.", &[], form, example)),
        ("GoalertTaken", object("The alert.", &["AlertID", "ServiceID", "IsNew"], taken)),
    ]
}
