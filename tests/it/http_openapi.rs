//! The description of the API: it is valid, it names every path, and real answers have the forms that it tells.

use std::collections::BTreeSet;
use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Callout, Setup, path_of};
use crate::http_integrations::{self, AM, CI, CLOUD, GENIE, GO, LEGACY};

async fn document(callout: &Callout) -> Value {
    Answer::of(callout.stranger(Method::GET, "/openapi.json")).await.is(200).json()
}

/// Every operation: its path, its method, and what is told of it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let path = path.clone();
        let operations = item.as_object().unwrap().clone();
        operations
            .into_iter()
            .map(move |(method, what)| (path.clone(), method.to_uppercase(), what))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// Says what of a value does not have the form; the keywords are those that the description uses.
fn misfit(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        return misfit(document, target.unwrap_or_else(|| panic!("{reference} leads nowhere")), value, place);
    }
    let choices = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    if let Some(choices) = choices
        && !choices.iter().any(|choice| misfit(document, choice, value, place).is_ok())
    {
        return Err(format!("{place}: {value} is none of {choices:?}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_of_kind = match &schema["type"] {
        Value::String(only) => only == kind || (only == "number" && kind == "integer"),
        Value::Array(kinds) => kinds.iter().any(|one| one == kind),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    };
    if !is_of_kind {
        return Err(format!("{place}: {value} is not {}", schema["type"]));
    }
    if let Some(names) = schema["enum"].as_array()
        && !names.contains(value)
    {
        return Err(format!("{place}: {value} is not one of {names:?}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        misfit(document, &schema["items"], item, &format!("{place}/{index}"))?;
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(name.as_str().unwrap()) {
            return Err(format!("{place}: {name} is missing"));
        }
    }
    for (name, field) in object {
        match schema["properties"].get(name) {
            Some(form) => misfit(document, form, field, &format!("{place}/{name}"))?,
            None if schema["additionalProperties"] == json!(false) => {
                return Err(format!("{place}: {name} is not told of"));
            }
            None => {}
        }
    }
    Ok(())
}

/// The answer is one that is told for this operation.
#[track_caller]
fn is_told(document: &Value, path: &str, method: &str, answer: &Answer) {
    let of_status = &document["paths"][path][method]["responses"][answer.status.to_string()];
    let of_status = match of_status["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => of_status,
    };
    assert!(of_status.is_object(), "{method} {path} does not tell of {}: {}", answer.status, answer.text());
    if answer.body.is_empty() {
        return;
    }
    let content_type = answer.header("content-type").split(';').next().unwrap();
    let schema = &of_status["content"][content_type]["schema"];
    assert!(schema.is_object(), "{method} {path} does not tell of {content_type}");
    if content_type.ends_with("json") {
        let value = serde_json::from_slice(&answer.body).unwrap();
        misfit(document, schema, &value, "").unwrap_or_else(|what| panic!("{method} {path} {what}"));
    }
}

#[tokio::test]
async fn the_description_is_whole() {
    let callout = Callout::start().await;
    let document = document(&callout).await;
    assert_eq!(document["openapi"].as_str().unwrap().split('.').take(2).collect::<Vec<_>>(), ["3", "1"]);
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
    }
    let operations = operations(&document);
    let names: BTreeSet<&str> = operations.iter().map(|(_, _, what)| what["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), operations.len(), "no two operations are called alike");
    for (path, method, what) in &operations {
        assert!(what["summary"].is_string() && what["tags"][0].is_string(), "{method} {path} is not explained");
        for (status, answer) in what["responses"].as_object().unwrap() {
            let is_error = status.as_str() >= "400";
            let is_a_tools_own = what["tags"][0] == "tools" && answer["$ref"].is_null();
            assert!(
                is_a_tools_own || answer["$ref"].is_string() == is_error,
                "{method} {path}: errors are told in one place"
            );
        }
        let is_guarded = ["/alerts", "/deliveries", "/backup"].iter().any(|root| path.starts_with(root));
        assert_eq!(what["security"].to_string().contains("\"key\""), is_guarded, "{method} {path}: is a key needed?");
        assert_eq!(
            what["security"].to_string().contains("session"),
            is_guarded,
            "{method} {path}: is a session taken?"
        );
    }
}

/// The paths that are not described, and why.
const NOT_DESCRIBED: [(&str, &str); 7] = [
    ("\"/\"", "a page for people"),
    ("\"/live\"", "tells a page to look again, and nothing else"),
    ("RAISE", "a form of a page; POST /alerts does it"),
    ("\"/actions/{id}/{action}\"", "forms of a page; POST /alerts/{id}/… does it"),
    ("SIGN_IN", "a page for people"),
    ("SIGN_OUT", "a form of a page"),
    ("\"/assets/{name}\"", "what the pages are made of; named by its content"),
];

/// What stands in brackets behind `.route` in the source of the front door.
fn routes_without_description(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            routes_without_description(&path, found);
            continue;
        }
        let source = std::fs::read_to_string(path).unwrap();
        let routes = source.split(".route(").skip(1);
        found.extend(routes.map(|rest| rest.split(',').next().unwrap().trim().to_owned()));
    }
}

/// Routes come into the router by their description, but for those that are named above; and every described path
/// is there.
#[tokio::test]
async fn what_is_described_and_what_is_there_are_the_same() {
    let mut found = BTreeSet::new();
    routes_without_description(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"), &mut found);
    let excused: BTreeSet<String> = NOT_DESCRIBED.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(found, excused, "add a path with .routes(routes!(…)), so that it is described");
    let callout = http_integrations::callout().await;
    let document = document(&callout).await;
    let operations = operations(&document);
    assert!(operations.len() >= 30, "only {} operations", operations.len());
    for (path, method, _) in operations {
        let path = path.replace("{id}", "01928f3e-0000-7000-8000-000000000000").replace("{token}", "none");
        let path = path.replace("{name}", "cloud").replace("{key}", CLOUD).replace("{verb}", "close");
        let answer = Answer::of(callout.request(method.parse().unwrap(), &path)).await;
        assert_ne!(answer.status, 405, "{method} {path}");
        assert!(!answer.text().contains("No path of callout"), "{method} {path} is described and not there");
    }
}

#[tokio::test]
async fn real_answers_have_the_forms_that_are_told() {
    for setup in [Setup::default(), Setup::on_dispatch()] {
        let callout = setup.start().await;
        let document = document(&callout).await;
        let told = |path: &str, method: &str, answer: &Answer| is_told(&document, path, method, answer);
        let body = json!({ "message": "Main server is down", "details": { "host": "server-1" }, "dedup_key": "a" });
        let raised = callout.post("/alerts", &body).await.is(201);
        told("/alerts", "post", &raised);
        told("/alerts", "post", &callout.post("/alerts", &body).await.is(200));
        told("/alerts", "post", &callout.post("/alerts", &json!({ "messages": 1 })).await.is(422));
        told("/alerts", "post", &Answer::of(callout.request(Method::POST, "/alerts").body("{")).await.is(400));
        let alert = raised.json();
        callout.until(&alert, "it is sent", |alert| alert["attempts"][0]["sent_at"].is_string()).await;
        told("/alerts/{id}", "get", &callout.get(&path_of(&alert)).await.is(200));
        told("/alerts", "get", &callout.get("/alerts?limit=1").await.is(200));
        told("/alerts", "get", &callout.get("/alerts?limit=0").await.is(422));
        told("/alerts", "get", &Answer::of(callout.stranger(Method::GET, "/alerts")).await.is(401));
        let path = path_of(&alert);
        told("/alerts/{id}/escalate", "post", &callout.press(&format!("{path}/escalate")).await.is(200));
        let by = json!({ "by": "Ann" });
        told("/alerts/{id}/acknowledge", "post", &callout.post(&format!("{path}/acknowledge"), &by).await.is(200));
        told("/alerts/{id}/escalate", "post", &callout.press(&format!("{path}/escalate")).await.is(409));
        told("/alerts/{id}/resolve", "post", &callout.press(&format!("{path}/resolve")).await.is(200));
        told("/alerts/{id}", "get", &callout.get(&path).await.is(200));
        told("/alerts/{id}/events", "get", &callout.get(&format!("{path}/events")).await.is(200));
        told("/alerts/{id}", "get", &callout.get("/alerts/nothing").await.is(404));
        told("/webhooks/status", "post", &callout.webhook("/webhooks/status", &json!({})).await);
        for path in ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"] {
            told(path, "get", &Answer::of(callout.stranger(Method::GET, path)).await.is(200));
        }
        told("/a/{token}", "get", &Answer::of(callout.stranger(Method::GET, "/a/none")).await.is(404));
    }
}

#[tokio::test]
async fn what_tools_are_answered_has_the_forms_that_are_told() {
    let callout = http_integrations::callout().await;
    let document = document(&callout).await;
    let told = |path: &str, answer: &Answer| is_told(&document, path, "post", answer);
    let says = async |path: &str, key: &str, body: &Value| {
        Answer::of(callout.stranger(Method::POST, path).bearer_auth(key).json(body)).await
    };
    let group = json!({ "alerts": [{ "labels": { "alertname": "Down" } }] });
    let event = json!({ "routing_key": LEGACY, "event_action": "trigger", "dedup_key": "disk",
        "payload": { "summary": "Disk is full", "source": "db-1", "severity": "error" } });
    let first = json!({ "service_key": LEGACY, "event_type": "trigger", "description": "Disk is full" });
    let summary = json!({ "summary": "Disk is full" });
    let own = "/integrations/{name}";
    told(own, &says("/integrations/prometheus", AM, &group).await.is(200));
    told(own, &says("/integrations/cloud", CLOUD, &group).await.is(200));
    told(own, &says("/integrations/ci", CI, &json!({ "title": "x", "id": 1, "branch": "main" })).await.is(200));
    told(own, &says("/integrations/legacy", LEGACY, &event).await.is(202));
    told(own, &says("/integrations/legacy", LEGACY, &first).await.is(200));
    told(own, &says("/integrations/legacy", LEGACY, &json!({})).await.is(400));
    told(own, &says("/integrations/genie", GENIE, &json!({ "message": "x" })).await.is(202));
    told(own, &says("/integrations/go", GO, &summary).await.is(204));
    told(own, &says("/integrations/prometheus", AM, &json!({})).await.is(400));
    told(own, &says("/integrations/prometheus", CI, &group).await.is(401));
    told(own, &says("/integrations/nobody", CI, &group).await.is(404));
    let large = callout.stranger(Method::POST, "/integrations/prometheus").bearer_auth(AM).body(vec![b' '; 5 << 20]);
    told(own, &Answer::of(large).await.is(413));
    let put = callout.stranger(Method::PUT, "/integrations/prometheus").bearer_auth(AM).json(&group);
    is_told(&document, own, "put", &Answer::of(put).await.is(405));
    told("/integrations/{name}/{key}", &says(&format!("/integrations/cloud/{CLOUD}"), "", &group).await.is(200));
    told("/integrations/{name}/{key}", &says("/integrations/cloud/other", "", &group).await.is(401));

    told("/v2/enqueue", &says("/v2/enqueue", "", &event).await.is(202));
    told("/v2/enqueue", &says("/v2/enqueue", "", &first).await.is(200));
    told("/v2/enqueue", &says("/v2/enqueue", "", &json!({ "routing_key": LEGACY })).await.is(400));
    told("/v2/enqueue", &says("/v2/enqueue", "", &json!({ "routing_key": "x" })).await.is(401));
    let older = "/generic/2010-04-15/create_event.json";
    told(older, &says(older, "", &first).await.is(200));
    let change = json!({ "routing_key": LEGACY, "payload": { "summary": "Version 7 is out" } });
    told("/v2/change/enqueue", &says("/v2/change/enqueue", "", &change).await.is(202));

    let genie = async |method: Method, path: &str| {
        let request = callout.stranger(method, path).header("authorization", format!("GenieKey {GENIE}"));
        Answer::of(request.json(&json!({ "message": "Disk is full", "alias": "disk" }))).await
    };
    let created = genie(Method::POST, "/v2/alerts").await.is(202);
    told("/v2/alerts", &created);
    told("/v2/alerts", &says("/v2/alerts", GENIE, &json!({})).await.is(422));
    let request = created.json()["requestId"].as_str().unwrap().to_owned();
    let of_request = genie(Method::GET, &format!("/v2/alerts/requests/{request}")).await.is(200);
    is_told(&document, "/v2/alerts/requests/{id}", "get", &of_request);
    let unknown = genie(Method::GET, "/v2/alerts/requests/x").await.is(404);
    is_told(&document, "/v2/alerts/requests/{id}", "get", &unknown);
    let shown = genie(Method::GET, "/v2/alerts/disk?identifierType=alias").await.is(200);
    is_told(&document, "/v2/alerts/{identifier}", "get", &shown);
    let unknown = genie(Method::GET, "/v2/alerts/disk").await.is(404);
    is_told(&document, "/v2/alerts/{identifier}", "get", &unknown);
    let verbs = "/v2/alerts/{identifier}/{verb}";
    told(verbs, &genie(Method::POST, "/v2/alerts/disk/close?identifierType=alias").await.is(202));
    told(verbs, &genie(Method::POST, "/v2/alerts/disk/snooze").await.is(422));

    let incoming = "/api/v2/generic/incoming";
    told(incoming, &says(incoming, GO, &summary).await.is(204));
    let asks_for_json = callout.stranger(Method::POST, &format!("{incoming}?token={GO}&summary=x"));
    told(incoming, &Answer::of(asks_for_json.header("accept", "application/json")).await.is(200));
    told(incoming, &says(incoming, GO, &json!({})).await.is(400));
}

#[tokio::test]
async fn the_page_for_people_shows_everything_and_loads_nothing() {
    let callout = Callout::start().await;
    let document = document(&callout).await;
    let page = Answer::of(callout.stranger(Method::GET, "/docs")).await.is(200);
    let html = page.text();
    for (path, method, what) in operations(&document) {
        assert!(html.contains(&format!("<code>{method} {path}</code>")), "{method} {path} is not shown");
        assert!(html.contains(&what["summary"].as_str().unwrap().replace('&', "&amp;")), "{method} {path} is not told");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(html.contains(&format!("id=\"form-{name}\"")), "{name} is not shown");
    }
    for forbidden in ["<script", "<link", "<img", "src=", "style=\"", "@import"] {
        assert!(!html.contains(forbidden), "the page has {forbidden}");
    }
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
}
