//! The description of the API: it is valid, it names every path, real answers have the forms that it tells, and a
//! tool that makes requests from it finds nothing that it does not tell.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Callout, KEY, Setup, path_of, python};

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
        Value::String(only) => only == kind,
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
            assert_eq!(answer["$ref"].is_string(), is_error, "{method} {path}: errors are told in one place");
        }
        let is_guarded = ["/alerts", "/deliveries", "/backup"].iter().any(|root| path.starts_with(root));
        assert_eq!(what["security"].to_string().contains("key"), is_guarded, "{method} {path}: is a key needed?");
    }
}

/// Routes come into the router by their description only, and every described path is there.
#[tokio::test]
async fn what_is_described_and_what_is_there_are_the_same() {
    let source = include_str!("../../src/http/mod.rs");
    assert!(!source.contains(".route("), "add a path with .routes(routes!(…)), so that it is described");
    let callout = Callout::start().await;
    let document = document(&callout).await;
    let operations = operations(&document);
    assert!(operations.len() >= 16, "only {} operations", operations.len());
    for (path, method, _) in operations {
        let path = path.replace("{id}", "01928f3e-0000-7000-8000-000000000000").replace("{token}", "none");
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

#[tokio::test(flavor = "multi_thread")]
async fn requests_made_from_the_description_find_nothing_that_it_does_not_tell() {
    let Some(python) = python("schemathesis") else { return };
    let callout = Callout::start().await;
    let folder = tempfile::tempdir().unwrap();
    // A policy is one of the configuration's, and a key is for one request only: neither can be told in a schema.
    let of_call = |name: &str| {
        format!(
            "[[operations]]\ninclude-name = \"{name}\"\n\
             checks.positive_data_acceptance.expected-statuses = [\"2xx\", \"404\", \"409\", \"422\"]\n"
        )
    };
    let settings = format!("{}{}", of_call("POST /alerts"), of_call("POST /alerts/{id}/escalate"));
    std::fs::write(folder.path().join("schemathesis.toml"), settings).unwrap();
    let base = format!("http://{}", callout.address());
    let mut command = Command::new(python);
    command.args([
        "-m",
        "schemathesis.cli",
        "run",
        &format!("{base}/openapi.json"),
        "--header",
        &format!("Authorization: Bearer {KEY}"),
    ]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--max-time", "40", "--seed", "1"]);
    command.args(["--continue-on-failure", "--no-shrink", "--no-color", "--generation-database", "none"]);
    // A stream of an alert that escalates has no end.
    command.args(["--exclude-path", "/alerts/{id}/events", "--request-timeout", "10"]);
    command.current_dir(folder.path()).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "schemathesis found something:\n{out}\n{err}");
    assert!(out.contains("generated"), "schemathesis has done nothing:\n{out}\n{err}");
}
