//! The description of the API for people: one page, made from the same document, that loads and runs nothing.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use crate::http::standalone::Standalone;

use super::METHODS;

/// The page, made once.
pub(super) struct Page {
    frame: Standalone,
    html: String,
}

impl Page {
    /// The page of a complete description.
    pub(super) fn of(document: &Value) -> Self {
        let frame = Standalone::with(STYLE);
        let html = frame.page("callout: API", &whole(document));
        Self { frame, html }
    }

    /// The page as an answer.
    pub(super) fn answer(&'static self) -> Response {
        self.frame.answer(StatusCode::OK, self.html.as_str())
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The entries of the object at a pointer, in the document's order.
fn entries<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    value.pointer(pointer).and_then(Value::as_object).into_iter().flatten()
}

fn list<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

struct Operation<'v> {
    path: &'v str,
    method: &'v str,
    what: &'v Value,
}

impl Operation<'_> {
    fn anchor(&self) -> String {
        let letters = self.path.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '/');
        format!("{}{}", self.method, letters.collect::<String>().replace('/', "-"))
    }
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let of_path = |(path, item)| {
        let known = entries(item, "").filter(|(method, _)| METHODS.contains(&method.as_str()));
        known.map(move |(method, what)| Operation { path, method, what })
    };
    entries(document, "/paths").map(|(path, item)| (path.as_str(), item)).flat_map(of_path).collect()
}

fn whole(document: &Value) -> Markup {
    let operations = operations(document);
    html! {
        h1 { "callout " (text(document, "/info/version")) ": API" }
        p { (text(document, "/info/description")) }
        p { "For machines: " a href="/openapi.json" { "/openapi.json" } "." }
        nav aria-label="Calls" {
            @for tag in list(document, "/tags") {
                h2 { (text(tag, "/name")) }
                p { (text(tag, "/description")) }
                ul {
                    @for operation in operations.iter().filter(|one| text(one.what, "/tags/0") == text(tag, "/name")) {
                        li { a href={ "#" (operation.anchor()) } { code { (operation.method.to_uppercase()) " " (operation.path) } } " " (text(operation.what, "/summary")) }
                    }
                }
            }
        }
        @for operation in &operations { (call(document, operation)) }
        h2 { "Keys" }
        dl {
            @for (name, scheme) in entries(document, "/components/securitySchemes") {
                dt { (name) } dd { (text(scheme, "/type")) " " (text(scheme, "/scheme")) ". " (text(scheme, "/description")) }
            }
        }
        h2 { "Forms" }
        @for (name, schema) in entries(document, "/components/schemas") {
            section id={ "form-" (name) } {
                h3 { (name) }
                p { (text(schema, "/description")) }
                (form(schema))
                (examples(schema))
            }
        }
    }
}

fn call(document: &Value, operation: &Operation<'_>) -> Markup {
    let what = operation.what;
    html! {
        section id=(operation.anchor()) {
            h2 { code { (operation.method.to_uppercase()) " " (operation.path) } }
            p { strong { (text(what, "/summary")) } " " (text(what, "/description")) }
            @if list(what, "/security").any(|one| one.get("key").is_some()) { p { "Needs an API key." } }
            @if what.get("parameters").is_some() {
                table {
                    thead { tr { th { "parameter" } th { "in" } th { "what" } } }
                    tbody {
                        @for parameter in list(what, "/parameters") {
                            tr {
                                td { code { (text(parameter, "/name")) } @if text(parameter, "/in") != "path" { " (may be left out)" } }
                                td { (text(parameter, "/in")) }
                                td { (text(parameter, "/description")) " " (kind(&parameter["schema"])) }
                            }
                        }
                    }
                }
            }
            @if let Some(content) = what.pointer("/requestBody/content") { p { "Body: " (contents(content)) } }
            table {
                thead { tr { th { "status" } th { "answer" } } }
                tbody {
                    @for (status, answer) in entries(what, "/responses") {
                        @let answer = followed(document, answer);
                        tr {
                            td { (status) }
                            td {
                                (text(answer, "/description")) " "
                                @if let Some(content) = answer.get("content") { (contents(content)) }
                                @for (name, _) in entries(answer, "/headers") { " " code { (name) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What a reference points at; anything else is itself.
fn followed<'v>(document: &'v Value, value: &'v Value) -> &'v Value {
    let pointer = value.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

fn contents(content: &Value) -> Markup {
    html! {
        @for (media_type, media) in entries(content, "") {
            code { (media_type) } " " (kind(&media["schema"])) " "
        }
    }
}

/// The fields of an object, or what else it is.
fn form(schema: &Value) -> Markup {
    html! {
        @if schema.get("properties").is_some() {
            table {
                thead { tr { th { "field" } th { "form" } th { "meaning" } } }
                tbody {
                    @for (name, field) in entries(schema, "/properties") {
                        tr {
                            td { code { (name) } @if !list(schema, "/required").any(|one| one == name) { " (may be left out)" } }
                            td { (kind(field)) }
                            td { (text(field, "/description")) }
                        }
                    }
                }
            }
        } @else { p { (kind(schema)) } }
    }
}

fn examples(schema: &Value) -> Markup {
    html! {
        @for example in list(schema, "/examples") {
            pre { (serde_json::to_string_pretty(example).unwrap_or_default()) }
        }
    }
}

/// What a value is, in a few words.
fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next()) {
        return html! { a href={ "#form-" (name) } { (name) } };
    }
    let choices: Vec<&Value> = ["oneOf", "anyOf", "allOf"]
        .iter()
        .filter_map(|key| schema.get(key).and_then(Value::as_array))
        .flatten()
        .collect();
    html! {
        @for (index, choice) in choices.iter().enumerate() {
            @if index > 0 { " or " }
            (kind(choice))
        }
        @match schema.get("type") {
            Some(Value::Array(kinds)) => { (kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")) }
            Some(only) => { (only.as_str().unwrap_or_default()) }
            None => {}
        }
        @if let Some(items) = schema.get("items") { " of " (kind(items)) }
        @if let Some(Value::Array(values)) = schema.get("enum") {
            " one of "
            @for (index, value) in values.iter().enumerate() {
                @if index > 0 { ", " }
                code { (value.as_str().unwrap_or("null")) }
            }
        }
        @for (key, word) in WORDS {
            @if let Some(value) = schema.get(key) { ", " (word) " " code { (value.as_str().map_or_else(|| value.to_string(), str::to_owned)) } }
        }
    }
}

/// How the bounds of a value are told.
const WORDS: [(&str, &str); 9] = [
    ("format", "format"),
    ("pattern", "pattern"),
    ("minLength", "at least so many characters:"),
    ("maxLength", "at most so many characters:"),
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("minItems", "at least so many:"),
    ("maxItems", "at most so many:"),
    ("default", "if left out:"),
];

const STYLE: &str = "\
body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:1.5rem;background:Canvas;color:CanvasText}\
main{max-width:60rem;margin:0 auto}\
section{border-top:1px solid color-mix(in srgb,CanvasText 25%,Canvas);margin-top:1.5rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;overflow-wrap:anywhere}\
code,pre{font:.9rem/1.5 ui-monospace,monospace}\
pre{overflow-x:auto;padding:.75rem;background:color-mix(in srgb,CanvasText 7%,Canvas)}\
nav ul{list-style:none;padding:0}";
