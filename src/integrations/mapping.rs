//! Any JSON, read with a template for each field (`MiniJinja`'s language, which is Jinja's).
//!
//! What a template names and the body does not have is an error that says which and what, and not an empty text:
//! an alert that says nothing is worse than an answer that makes its sender look. Templates cannot run for ever,
//! read files or call out.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, context};
use serde_json::{Map, Value};

use super::Unreadable;
use super::notice::{Act, Notice};
use super::words::severity;

/// How much work one template may be, in `MiniJinja`'s fuel: about an instruction, or 64 bytes, for each.
pub const TEMPLATE_FUEL_MAX: u64 = 100_000;
/// The most entries of `details` in a map.
pub const MAP_DETAILS_MAX: usize = 50;

/// A field of an alert that a template gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The text that people must read.
    Message,
    /// Names the problem.
    DedupKey,
    /// How bad it is.
    Severity,
    /// Where to read more.
    Link,
    /// Whether it begins, is seen, or is over.
    Action,
    /// One entry of the details.
    Detail(Box<str>),
}

impl Field {
    /// Those that stand beside `details`.
    pub const ALL: [Self; 5] = [Self::Message, Self::DedupKey, Self::Severity, Self::Link, Self::Action];

    /// Its key in the configuration.
    pub fn key(&self) -> &str {
        match self {
            Self::Message => "message",
            Self::DedupKey => "dedup_key",
            Self::Severity => "severity",
            Self::Link => "link",
            Self::Action => "action",
            Self::Detail(name) => name,
        }
    }

    /// What messages call its template.
    fn name(&self) -> String {
        match self {
            Self::Detail(name) => format!("details.{name}"),
            Self::Message | Self::DedupKey | Self::Severity | Self::Link | Self::Action => self.key().to_owned(),
        }
    }
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// A template for each field.
#[derive(Clone, Debug)]
pub struct Mapping {
    environment: Environment<'static>,
    fields: Vec<(Field, Box<str>)>,
}

impl Default for Mapping {
    fn default() -> Self {
        Self::new()
    }
}

impl Mapping {
    /// No template yet.
    pub fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(TEMPLATE_FUEL_MAX));
        // Where an error stands is not kept without it.
        environment.set_debug(true);
        Self { environment, fields: Vec::new() }
    }

    /// Takes the template of one more field, which must not have one yet.
    pub fn add(&mut self, field: Field, template: &str) -> Result<(), TemplateError> {
        let added = self.environment.add_template_owned(field.name(), template.to_owned());
        added.map_err(|error| TemplateError(in_words(&error, template)))?;
        self.fields.push((field, template.into()));
        Ok(())
    }

    /// What the body says by the templates.
    pub fn read(&self, body: &Value) -> Result<Notice, Unreadable> {
        let mut reasons = Vec::new();
        let mut rendered = |field: &Field| self.rendered(field, body, &mut reasons);
        let message = rendered(&Field::Message);
        let key = rendered(&Field::DedupKey);
        let severity_word = rendered(&Field::Severity);
        let link = rendered(&Field::Link);
        let action = rendered(&Field::Action);
        let mut details: Map<String, Value> = Map::new();
        for (field, _) in self.fields.iter().filter(|(field, _)| matches!(field, Field::Detail(_))) {
            details.extend(rendered(field).map(|text| (field.key().to_owned(), text.into())));
        }
        let act = match action.as_deref() {
            None => Some(Act::Trigger),
            Some(word) => act(word),
        };
        if act.is_none() {
            reasons.push(
                "the template `action` must give trigger, acknowledge or resolve, and gave something else".to_owned(),
            );
        }
        if act == Some(Act::Trigger) && message.is_none() && reasons.is_empty() {
            reasons.push("the template `message` gave nothing".to_owned());
        }
        if matches!(act, Some(Act::Acknowledge | Act::Resolve)) && key.is_none() && reasons.is_empty() {
            reasons.push("the template `dedup_key` gave nothing, so that nobody knows which alert is meant".to_owned());
        }
        let (Some(act), true) = (act, reasons.is_empty()) else { return Err(Unreadable { reasons }) };
        let has_own_details = self.fields.iter().any(|(field, _)| matches!(field, Field::Detail(_)));
        if let (Value::Object(fields), false) = (body, has_own_details) {
            details.clone_from(fields);
        }
        Ok(Notice {
            act,
            key: key.map(String::into_boxed_str),
            message: message.unwrap_or_default().into(),
            severity: severity(&severity_word.unwrap_or_default()),
            link: super::words::link([link]),
            details,
            began_at: None,
            ended_at: None,
        })
    }

    /// What the template of a field gives; none where there is no template or it gives nothing.
    fn rendered(&self, field: &Field, body: &Value, reasons: &mut Vec<String>) -> Option<String> {
        let (_, source) = self.fields.iter().find(|(known, _)| known == field)?;
        let name = field.name();
        let template = self.environment.get_template(&name).ok()?;
        match template.render(context! { body => minijinja::Value::from(Serde(body)) }) {
            Ok(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Err(error) => {
                reasons.push(format!("the template `{name}` {}", in_words(&error, source)));
                None
            }
        }
    }
}

/// What the words that tools use mean.
fn act(word: &str) -> Option<Act> {
    Some(match word.to_ascii_lowercase().as_str() {
        "trigger" | "triggered" | "firing" | "fire" | "alerting" | "open" | "opened" | "create" | "created"
        | "problem" | "down" | "failed" | "failure" => Act::Trigger,
        "acknowledge" | "acknowledged" | "ack" => Act::Acknowledge,
        "resolve" | "resolved" | "close" | "closed" | "ok" | "recovery" | "recovered" | "up" | "fixed" | "success" => {
            Act::Resolve
        }
        _ => return None,
    })
}

/// An error for the person who wrote the template. Its own text is shown, and nothing of the body.
fn in_words(error: &minijinja::Error, template: &str) -> String {
    let part = error.range().and_then(|range| template.get(range)).map(str::trim).filter(|part| !part.is_empty());
    let at = part.map_or_else(String::new, |part| format!(" at `{part}`"));
    match (error.kind(), part) {
        (ErrorKind::UndefinedError, Some(part)) => format!("needs `{part}`, which the body does not have"),
        (ErrorKind::UndefinedError, None) => "needs something that the body does not have".to_owned(),
        (ErrorKind::OutOfFuel, _) => "is too much work".to_owned(),
        (
            ErrorKind::SyntaxError | ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest,
            _,
        ) => {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            format!("cannot be used{at}: {detail}")
        }
        (kind, _) => format!("cannot be filled in{at}: {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::escalation::Severity;

    fn mapping(templates: &[(Field, &str)]) -> Mapping {
        let mut mapping = Mapping::new();
        for (field, template) in templates {
            mapping.add(field.clone(), template).unwrap();
        }
        mapping
    }

    #[test]
    fn each_template_gives_its_field() {
        let mapping = mapping(&[
            (Field::Message, "{{ body.title | upper }} on {{ body.host | default('somewhere') }}"),
            (Field::DedupKey, "{{ body.id }}"),
            (Field::Severity, "{{ body.level }}"),
            (Field::Link, "{{ body.url }}"),
            (Field::Action, "{% if body.state == 'fixed' %}resolve{% else %}trigger{% endif %}"),
            (Field::Detail("branch".into()), "{{ body.branch }}"),
        ]);
        let body = json!({ "title": "Build & test", "id": 7, "level": "Warn", "url": "https://ci.example/7", "state": "red", "branch": "main" });
        let notice = mapping.read(&body).unwrap();
        assert_eq!((notice.act, &*notice.message), (Act::Trigger, "BUILD & TEST on somewhere"));
        assert_eq!((notice.key.as_deref(), notice.severity), (Some("7"), Severity::Warning));
        assert_eq!(notice.link.as_deref(), Some("https://ci.example/7"));
        assert_eq!(Value::Object(notice.details), json!({ "branch": "main" }));
        let mut over = body;
        over["state"] = "fixed".into();
        assert_eq!(mapping.read(&over).unwrap().act, Act::Resolve);
    }

    #[test]
    fn what_the_body_does_not_have_is_named_with_its_template() {
        let mapping = mapping(&[(Field::Message, "{{ body.titel }}"), (Field::DedupKey, "{{ body.check.id }}")]);
        let error = mapping.read(&json!({ "title": "x", "check": {} })).unwrap_err();
        assert_eq!(
            error.reasons,
            [
                "the template `message` needs `body.titel`, which the body does not have",
                "the template `dedup_key` needs `body.check.id`, which the body does not have"
            ]
        );
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let mapping = mapping(&[(
            Field::Message,
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
        )]);
        let error = mapping.read(&json!({})).unwrap_err();
        assert_eq!(error.reasons, ["the template `message` is too much work"]);
    }

    #[test]
    fn an_action_that_nobody_knows_and_a_key_that_is_missing_are_told() {
        let reading = mapping(&[(Field::Message, "x"), (Field::Action, "{{ body.state }}")]);
        assert!(reading.read(&json!({ "state": "purple" })).unwrap_err().to_string().contains("`action` must give"));
        assert!(reading.read(&json!({ "state": "ok" })).unwrap_err().to_string().contains("`dedup_key` gave nothing"));
        assert_eq!(reading.read(&json!({ "state": "open" })).unwrap().details.len(), 1, "the body is kept");
        let silent = mapping(&[(Field::Message, "{{ body.text }}")]);
        assert!(silent.read(&json!({ "text": " " })).unwrap_err().to_string().contains("`message` gave nothing"));
    }

    #[test]
    fn a_text_that_is_no_template_says_where_and_why() {
        let mut mapping = Mapping::new();
        let error =
            mapping.add(Field::Message, "{{ body.title | shout }}").map(|()| mapping.read(&json!({ "title": "x" })));
        let said = match error {
            Err(error) => error.to_string(),
            Ok(read) => read.unwrap_err().to_string(),
        };
        assert!(said.contains("shout"), "{said}");
        assert!(
            Mapping::new().add(Field::Message, "{{ body.title ").unwrap_err().to_string().contains("cannot be used")
        );
    }
}
