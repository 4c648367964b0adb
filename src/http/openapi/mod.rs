//! The description of the API for machines (OpenAPI 3.1), and its reader for people.
//!
//! Paths and answers come from the handlers themselves, the forms of answers from the types that are
//! shown; what every call has in common (keys, limits, the ways to fail) is added here, once.

mod reader;
pub(super) mod schemas;
pub(super) mod tools;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use utoipa::OpenApi;

use super::extract::{ALERT_BODY_MAX, WEBHOOK_BODY_MAX};
use super::view::EntryView;
use super::{dashboard, problem};

/// The description and its reader, made when somebody first asks for either.
static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document::of(super::routes().into_openapi()));

/// The forms that no handler names in its own answers or bodies.
#[derive(OpenApi)]
#[openapi(components(schemas(
    problem::Body,
    problem::FieldError,
    EntryView,
    tools::OpsgenieVerb,
    tools::OpsgenieIdentifier
)))]
pub(super) struct Shared;

struct Document {
    json: String,
    page: reader::Page,
}

impl Document {
    fn of(api: utoipa::openapi::OpenApi) -> Self {
        // What the library made is plain data, so it can always be written.
        let document = completed(serde_json::to_value(api).unwrap_or_default());
        let page = reader::Page::of(&document);
        Self { json: document.to_string(), page }
    }
}

/// This description
///
/// OpenAPI 3.1, for generated clients and for tools.
#[utoipa::path(get, path = "/openapi.json", tag = "operating",
    responses((status = 200, description = "The description", content_type = "application/json", body = schemas::AnyObject)))]
pub(super) async fn description() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.json.as_str()).into_response()
}

/// The description for people
///
/// One page that loads nothing and runs nothing.
#[utoipa::path(get, path = "/docs", tag = "operating",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub(super) async fn page() -> Response {
    DOCUMENT.page.answer()
}

/// Adds what all calls have in common.
fn completed(mut document: Value) -> Value {
    let about = json!({
        "title": "callout",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Makes sure that a person reads an alert: messages the people on call, channel by channel and user by user, until somebody reads or answers.",
        "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
    });
    let tags = json!([
        { "name": "alerts", "description": "Raising alerts, seeing and following them, answering them. Needs an API key." },
        { "name": "callbacks", "description": "What is told to other systems, where it waits or was given up. Needs an API key." },
        { "name": "people", "description": "What the people who are messaged open." },
        { "name": "vonage", "description": "Where Vonage reports. Signed, where a signature secret is configured." },
        { "name": "tools", "description": "What other tools post, in their own forms and with their own answers. Needs the integration's key, which opens nothing else." },
        { "name": "operating", "description": "Whether callout itself is well." },
    ]);
    put(&mut document, "info", about);
    put(&mut document, "tags", tags);
    put(&mut document, "servers", json!([{ "url": "/", "description": "this service" }]));
    let parts = json!({
        "securitySchemes": {
            "key": { "type": "http", "scheme": "bearer", "description": "An API key of the configuration, or the one that callout made at its first start." },
            "session": { "type": "apiKey", "in": "cookie", "name": dashboard::COOKIE_OVER_TLS, "description": "What a browser that signed in with an API key sends. Whatever changes something must come from a page of callout." },
            "session_in_the_clear": { "type": "apiKey", "in": "cookie", "name": dashboard::COOKIE_IN_THE_CLEAR, "description": "The same where there is no TLS." },
            "integration_key": { "type": "http", "scheme": "bearer", "description": "The key of the integration." },
            "integration_password": { "type": "http", "scheme": "basic", "description": "The key of the integration as password, with any user." },
            "integration_query": { "type": "apiKey", "in": "query", "name": "key", "description": "The key of the integration; `apiKey` is the same." },
            "integration_token": { "type": "apiKey", "in": "query", "name": "token", "description": "The key of the integration." },
            "integration_genie_key": { "type": "apiKey", "in": "header", "name": "Authorization", "description": "`GenieKey` and the key of the integration." },
            "signature": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "Vonage's signature; asked for where a signature secret is configured." },
        },
        "responses": common_answers(),
        "headers": {
            "RetryAfter": { "description": "Seconds to wait before trying again.", "required": true, "schema": { "type": "string", "pattern": "^[0-9]+$" } },
            "WwwAuthenticate": { "description": "What to authenticate with.", "required": true, "schema": { "type": "string" } },
        },
    });
    let components = document.get_mut("components").and_then(Value::as_object_mut);
    if let (Some(components), Value::Object(parts)) = (components, parts) {
        components.extend(parts);
        if let Some(known) = components.get_mut("schemas").and_then(Value::as_object_mut) {
            known.extend(schemas::of_requests());
            known.extend(tools::forms());
            known.values_mut().for_each(close);
        }
    }
    let mut paths = document.get_mut("paths").and_then(Value::as_object_mut);
    if let Some(paths) = &mut paths {
        // What the router calls the rest of a path is a parameter like any other.
        let named = std::mem::take(*paths).into_iter().map(|(path, item)| (path.replace("{*", "{"), item));
        **paths = named.collect();
    }
    for (path, item) in paths.into_iter().flatten() {
        let operations = item.as_object_mut().into_iter().flatten();
        for (method, operation) in operations.filter(|(method, _)| METHODS.contains(&method.as_str())) {
            if let Some(operation) = operation.as_object_mut() {
                complete(path, method, operation);
            }
        }
    }
    document
}

/// The keys of a path that are operations.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// An object that is shown has the fields that are told and no others.
fn close(schema: &mut Value) {
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        put(schema, "additionalProperties", false.into());
    }
}

fn complete(path: &str, method: &str, operation: &mut Map<String, Value>) {
    // A client that is made from this calls its functions so.
    if let Some(summary) = operation.get("summary").and_then(Value::as_str) {
        let summary = summary.replace('`', "");
        let plain = summary.to_lowercase().replace("'s", "");
        let mut name = plain.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
        if method == "put" {
            name.push_str("_by_put");
        }
        operation.insert("operationId".to_owned(), name.into());
        operation.insert("summary".to_owned(), summary.into());
    }
    let is_of_tools = operation.get("tags").is_some_and(|tags| tags.to_string().contains("tools"));
    let content = operation.get_mut("requestBody").and_then(|body| body.get_mut("content")?.as_object_mut());
    for (_, media) in content.into_iter().flatten() {
        // A body that may be left out is not null where it is there.
        let mut choices = media.pointer("/schema/oneOf").and_then(Value::as_array).into_iter().flatten();
        if let Some(only) = choices.find(|choice| choice.get("$ref").is_some()).cloned() {
            put(media, "schema", only);
        }
    }
    let has_body = operation.contains_key("requestBody");
    let has_id = path.contains('{');
    let needs_key = operation.get("security").is_some_and(|security| security.to_string().contains("\"key\""));
    if needs_key {
        // The key of the API, or what a browser has that signed in with one.
        let any = json!([{ "key": [] }, { "session": [] }, { "session_in_the_clear": [] }]);
        operation.insert("security".to_owned(), any);
    }
    let Some(answers) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    let mut common = vec!["400", "414", "431", "500", "503"];
    if has_id {
        common.push("404");
    }
    if has_body {
        common.push("413");
    }
    if is_of_tools {
        common.push("429");
    } else if has_body {
        // Tools often claim a wrong type, so that it is not looked at.
        common.push("415");
    }
    if needs_key {
        common.extend(["401", "403", "429"]);
    }
    if method == "put" {
        common.push("405");
    }
    for status in common {
        answers.entry(status).or_insert(Value::Null);
    }
    // An error without a content of its own is the one that all calls have for this status.
    for (status, answer) in answers.iter_mut() {
        if status.as_str() >= "400" && answer.get("content").is_none() {
            *answer = json!({ "$ref": format!("#/components/responses/{status}") });
        }
    }
}

/// The answers that many calls can give, by their status.
fn common_answers() -> Value {
    let problem = |description: &str| json!({ "description": description, "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } });
    let with = |description: &str, header: &str, reference: &str| {
        let mut answer = problem(description);
        put(&mut answer, "headers", json!({ header: { "$ref": format!("#/components/headers/{reference}") } }));
        answer
    };
    let too_large = format!(
        "The body is too large: {} KiB at most, {} KiB of a webhook.",
        ALERT_BODY_MAX / 1024,
        WEBHOOK_BODY_MAX / 1024
    );
    json!({
        "400": problem("The request, or its JSON, is malformed."),
        "401": with("No valid API key came with the request.", "WWW-Authenticate", "WwwAuthenticate"),
        "403": problem("The key's roles do not allow it."),
        "404": problem("There is nothing here."),
        "405": problem("The path takes other methods."),
        "409": problem("The alert's status does not allow it."),
        "413": problem(&too_large),
        "414": problem("The path and query are too long."),
        "415": problem("The body is not of a type that is taken here."),
        "422": problem("Some fields or parameters are wrong; all of them are named."),
        "429": with("Too many requests.", "Retry-After", "RetryAfter"),
        "431": problem("The header fields are too large."),
        "500": problem("callout failed; its log says more."),
        "503": with("Not now: the store is unavailable, callout is stopping, or it took too long. Nothing was promised.", "Retry-After", "RetryAfter"),
    })
}
