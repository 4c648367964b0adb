//! Reading what a caller sends, with errors in our own form.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::str::FromStr;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::id::{AlertId, ShortCode};

use super::App;
use super::body::{self, Held, Whose};
use super::problem::{FieldError, Problem};

/// The largest body of `POST /alerts` and of the calls on an alert, in bytes.
pub const ALERT_BODY_MAX: usize = 256 * 1024;
/// The largest body of a webhook, in bytes.
pub const WEBHOOK_BODY_MAX: usize = 64 * 1024;

/// The body of a caller who has shown a key, of `LIMIT` bytes at most, and what it holds of the budget.
#[derive(Debug)]
pub(super) struct Body<const LIMIT: usize>(pub(super) Bytes, pub(super) Held);

impl<const LIMIT: usize> FromRequest<App> for Body<LIMIT> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (bytes, held) = body::read(app, Whose::Callers, request.into_body(), LIMIT).await?;
        Ok(Self(bytes, held))
    }
}

/// The body of a webhook, and what it holds of the budget.
#[derive(Debug)]
pub(super) struct WebhookBody(pub(super) Bytes, pub(super) Held);

impl FromRequest<App> for WebhookBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (bytes, held) = body::read(app, Whose::Webhooks, request.into_body(), WEBHOOK_BODY_MAX).await?;
        Ok(Self(bytes, held))
    }
}

/// The alert that the path names: by its id, or by the short code that people know it by.
#[derive(Debug)]
pub(super) struct AlertPath(pub(super) AlertId);

impl FromRequestParts<App> for AlertPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, app).await;
        let Path(name) = path.map_err(|_no_text| no_such_alert())?;
        if let Ok(id) = name.parse() {
            return Ok(Self(id));
        }
        let code: ShortCode = name.parse().map_err(|_no_code| no_such_alert())?;
        app.engine().coded(code).await?.map(Self).ok_or_else(no_such_alert)
    }
}

fn no_such_alert() -> Problem {
    Problem::not_found("No alert has this id; an id is a UUID, or the short code of an alert.")
}

/// What stands in the path: a text, or several.
#[derive(Debug)]
pub(super) struct InPath<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        let Path(named) = path.map_err(|_no_text| Problem::not_found("Nothing has a name that is not UTF-8."))?;
        Ok(Self(named))
    }
}

/// The parameters behind the question mark.
#[derive(Debug)]
pub(super) struct Query(BTreeMap<String, Vec<String>>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            values.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Ok(Self(values))
    }
}

impl Query {
    /// The parameter, if it is given; more than once is an error.
    pub(super) fn take(&mut self, name: &'static str, errors: &mut Vec<FieldError>) -> Option<String> {
        let mut values = self.0.remove(name)?.into_iter();
        let (value, None) = (values.next(), values.next()) else {
            errors.push(FieldError::of_parameter(name, "is given more than once"));
            return None;
        };
        value
    }

    /// How many entries are asked for: 1 to `max`, and `default` where nobody says.
    pub(super) fn limit(&mut self, default: usize, max: usize, errors: &mut Vec<FieldError>) -> usize {
        self.take("limit", errors).map_or(default, |text| match text.parse() {
            Ok(limit) if (1..=max).contains(&limit) => limit,
            Ok(_) | Err(_) => {
                let detail = format!("must be a whole number from 1 to {max}");
                errors.push(FieldError::of_parameter("limit", &detail));
                default
            }
        })
    }

    /// Where the list goes on, as an earlier answer said.
    pub(super) fn cursor<T: FromStr>(&mut self, errors: &mut Vec<FieldError>) -> Option<T> {
        let text = self.take("cursor", errors)?;
        let cursor = text.parse().ok();
        if cursor.is_none() {
            let detail = "is not a cursor; send the next_cursor of an earlier answer";
            errors.push(FieldError::of_parameter("cursor", detail));
        }
        cursor
    }

    /// Reports every parameter that nobody asked for; `known` lists those that there are.
    pub(super) fn finish(self, known: &str, errors: &mut Vec<FieldError>) {
        for name in self.0.keys() {
            let detail = format!("is not a parameter here; the parameters are {known}");
            errors.push(FieldError::of_parameter(name, &detail));
        }
    }
}

/// Whether the body claims to be JSON; a missing claim counts as one.
pub(super) fn claims_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let Ok(text) = value.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The body as a JSON object.
pub(super) fn object(headers: &HeaderMap, bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    if !claims_json(headers) {
        return Err(Problem::unsupported_media_type());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            let detail = "must be a JSON object".to_owned();
            Err(Problem::invalid(vec![FieldError { pointer: String::new(), detail }]))
        }
        Err(error) => {
            Err(Problem::not_json(format!("Line {}, column {}: {}.", error.line(), error.column(), what(&error))))
        }
    }
}

/// What is wrong, without the place that `serde_json` writes behind it.
fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) => what.to_owned(),
        None => text,
    }
}

/// A name as one step of a JSON pointer (RFC 6901, section 3).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Takes the fields of a JSON object one by one and remembers everything that is wrong.
#[derive(Debug)]
pub(super) struct Fields {
    place: String,
    object: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Fields {
    /// The object that stands at the JSON pointer `place`.
    pub(super) fn new(place: impl Into<String>, object: Map<String, Value>) -> Self {
        Self { place: place.into(), object, known: Vec::new() }
    }

    /// The pointer of a field.
    pub(super) fn pointer(&self, name: &str) -> String {
        format!("{}/{}", self.place, escaped(name))
    }

    /// The field, unless it is absent or null, which mean the same.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.object.remove(name).filter(|value| !value.is_null())
    }

    /// Whether the field is there and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(|value| !value.is_null())
    }

    /// A text of 1 to `chars_max` characters.
    pub(super) fn text(
        &mut self,
        name: &'static str,
        chars_max: usize,
        errors: &mut Vec<FieldError>,
    ) -> Option<Box<str>> {
        let value = self.take(name)?;
        let problem = match &value {
            Value::String(text) if text.trim().is_empty() => "must not be empty".to_owned(),
            Value::String(text) => match text.chars().count() {
                n_chars if n_chars > chars_max => format!("has {n_chars} characters; {chars_max} are allowed"),
                _ => return Some(text.as_str().into()),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                format!("must be a text, not {}", kind(&value))
            }
        };
        errors.push(FieldError { pointer: self.pointer(name), detail: problem });
        None
    }

    /// Reports every field that nobody asked for.
    pub(super) fn finish(self, errors: &mut Vec<FieldError>) {
        for name in self.object.keys() {
            let detail = format!("is not a field here; the fields are {}", self.known.join(", "));
            errors.push(FieldError { pointer: self.pointer(name), detail });
        }
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
