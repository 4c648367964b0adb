//! The body of `POST /alerts`: read whole, with everything that is wrong said at once.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::config::channel::{self, ChannelField, ChannelFields, ChannelRules, USERS_PER_POLICY_MAX};
use crate::config::{Policies, Written};
use crate::engine::NewAlert;
use crate::escalation::{Leg, Plan, Recipient, Severity};

use super::extract::{Fields, escaped, kind};
use super::problem::{FieldError, Problem};

/// The most characters of an alert's message.
pub const MESSAGE_CHARS_MAX: usize = 4_000;
/// The most characters of a dedup key.
pub const DEDUP_KEY_CHARS_MAX: usize = 512;
/// The most characters of a source.
pub const SOURCE_CHARS_MAX: usize = 200;
/// The most characters of a link.
pub const LINK_CHARS_MAX: usize = 2_000;

/// Reads what somebody wants to raise.
pub(super) fn read(body: Map<String, Value>, policies: &Policies, rules: &ChannelRules) -> Result<NewAlert, Problem> {
    let mut errors = Vec::new();
    let mut fields = Fields::new("", body);
    if !fields.has("message") {
        let detail = "is missing; it is the text that people must read";
        errors.push(FieldError { pointer: "/message".into(), detail: detail.into() });
    }
    let message = fields.text("message", MESSAGE_CHARS_MAX, &mut errors);
    let severity = severity(&mut fields, &mut errors);
    let policy = fields.text("policy", channel::NAME_CHARS_MAX, &mut errors);
    let users = fields.take("users");
    let dedup_key = fields.text("dedup_key", DEDUP_KEY_CHARS_MAX, &mut errors);
    let source = fields.text("source", SOURCE_CHARS_MAX, &mut errors);
    let link = fields.text("link", LINK_CHARS_MAX, &mut errors);
    if link.as_deref().is_some_and(|link| !is_web_address(link)) {
        errors.push(FieldError { pointer: "/link".into(), detail: "must be an http or https address".into() });
    }
    let details = details(&mut fields, &mut errors);
    fields.finish(&mut errors);
    let way = way(policy, users, policies, rules, &mut errors);
    match (message, way) {
        (Some(message), Some((policy, plan))) if errors.is_empty() => {
            Ok(NewAlert { message, severity, policy, dedup_key, source, link, details, plan })
        }
        (_, _) => Err(Problem::invalid(errors)),
    }
}

/// Whether a text is an address that a browser may be sent to.
pub(super) fn is_web_address(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

fn severity(fields: &mut Fields, errors: &mut Vec<FieldError>) -> Severity {
    let Some(value) = fields.take("severity") else { return Severity::Critical };
    let found = value.as_str().and_then(|text| Severity::ALL.into_iter().find(|severity| severity.name() == text));
    found.unwrap_or_else(|| {
        let names = Severity::ALL.map(Severity::name).join(", ");
        errors.push(FieldError { pointer: "/severity".into(), detail: format!("must be one of {names}") });
        Severity::Critical
    })
}

fn details(fields: &mut Fields, errors: &mut Vec<FieldError>) -> Box<str> {
    match fields.take("details") {
        None => "{}".into(),
        Some(object @ Value::Object(_)) => object.to_string().into(),
        Some(other) => {
            let detail = format!("must be an object, not {}", kind(&other));
            errors.push(FieldError { pointer: "/details".into(), detail });
            "{}".into()
        }
    }
}

/// The plan: of a policy that the configuration has, or made from the users that were posted.
fn way(
    policy: Option<Box<str>>,
    users: Option<Value>,
    policies: &Policies,
    rules: &ChannelRules,
    errors: &mut Vec<FieldError>,
) -> Option<(Option<Box<str>>, Arc<Plan>)> {
    let named = policy.is_some();
    let of_policy = match policy {
        Some(name) => policies.get(&name).or_else(|| {
            let known: Vec<&str> = policies.iter().map(|policy| policy.name.as_ref()).collect();
            let detail = format!("is not a policy; the policies are {}", known.join(", "));
            errors.push(FieldError { pointer: "/policy".into(), detail });
            None
        }),
        None => Some(policies.first()),
    };
    let Some(users) = users else {
        return of_policy.map(|policy| (Some(policy.name.clone()), Arc::clone(&policy.plan)));
    };
    if named {
        let detail = "cannot stand beside a policy; give either";
        errors.push(FieldError { pointer: "/users".into(), detail: detail.into() });
    }
    ad_hoc(users, rules, errors).map(|plan| (None, Arc::new(policies.ad_hoc(plan))))
}

fn ad_hoc(users: Value, rules: &ChannelRules, errors: &mut Vec<FieldError>) -> Option<Plan> {
    let n_errors = errors.len();
    let users = list(users, "/users", USERS_PER_POLICY_MAX, errors)?;
    let recipients: Vec<Option<Recipient>> = (0..)
        .zip(users)
        .map(|(index, user): (usize, Value)| recipient(user, &format!("/users/{index}"), rules, errors))
        .collect();
    let recipients: Vec<Recipient> = recipients.into_iter().flatten().collect();
    if errors.len() > n_errors {
        return None;
    }
    match Plan::new(rules.backend(), &recipients, 0) {
        Ok(plan) => Some(plan),
        Err(error) => {
            errors.push(FieldError { pointer: "/users".into(), detail: error.to_string() });
            None
        }
    }
}

fn list(value: Value, pointer: &str, limit: usize, errors: &mut Vec<FieldError>) -> Option<Vec<Value>> {
    let kind = kind(&value);
    let problem = match value {
        Value::Array(values) if values.is_empty() => "must not be empty".to_owned(),
        Value::Array(values) if values.len() > limit => format!("has {} entries; {limit} are allowed", values.len()),
        Value::Array(values) => return Some(values),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            format!("must be a list, not {kind}")
        }
    };
    errors.push(FieldError { pointer: pointer.into(), detail: problem });
    None
}

fn fields_at(value: Value, pointer: &str, errors: &mut Vec<FieldError>) -> Option<Fields> {
    let kind = kind(&value);
    if let Value::Object(object) = value {
        return Some(Fields::new(pointer, object));
    }
    errors.push(FieldError { pointer: pointer.into(), detail: format!("must be an object, not {kind}") });
    None
}

fn recipient(user: Value, pointer: &str, rules: &ChannelRules, errors: &mut Vec<FieldError>) -> Option<Recipient> {
    let mut fields = fields_at(user, pointer, errors)?;
    let name = match fields.take("name") {
        Some(Value::String(name)) => match channel::name(&name) {
            Ok(name) => Some(name),
            Err(problem) => {
                errors.push(FieldError { pointer: fields.pointer("name"), detail: problem.to_string() });
                None
            }
        },
        Some(other) => {
            let detail = format!("must be a text, not {}", kind(&other));
            errors.push(FieldError { pointer: fields.pointer("name"), detail });
            None
        }
        None => {
            errors.push(FieldError { pointer: fields.pointer("name"), detail: "is missing".into() });
            None
        }
    };
    let place = fields.pointer("channels");
    let channels = fields.take("channels");
    if channels.is_none() {
        errors.push(FieldError { pointer: place.clone(), detail: "is missing".into() });
    }
    let channels = channels.and_then(|value| list(value, &place, channel::CHANNELS_PER_USER_MAX, errors));
    fields.finish(errors);
    let legs: Vec<Option<Leg>> = (0..)
        .zip(channels?)
        .map(|(index, channel): (usize, Value)| leg(channel, &format!("{place}/{index}"), rules, errors))
        .collect();
    let channels = legs.into_iter().collect::<Option<Vec<Leg>>>()?;
    Some(Recipient { name: name?, channels })
}

fn leg(value: Value, pointer: &str, rules: &ChannelRules, errors: &mut Vec<FieldError>) -> Option<Leg> {
    let mut fields = fields_at(value, pointer, errors)?;
    let [kind, id_num, expiry_time, condition_status] =
        ChannelField::ALL.map(|field| scalar(&mut fields, field.key(), errors));
    fields.finish(errors);
    let written = ChannelFields {
        kind: as_written(&kind),
        id_num: as_written(&id_num),
        expiry_time: as_written(&expiry_time),
        condition_status: as_written(&condition_status),
    };
    match channel::read(written, rules) {
        Ok(leg) => Some(leg),
        Err(problems) => {
            for problem in problems {
                let pointer = format!("{pointer}/{}", escaped(problem.field().key()));
                let detail = match problem.hint() {
                    Some(hint) => format!("{problem} ({hint})"),
                    None => problem.to_string(),
                };
                errors.push(FieldError { pointer, detail });
            }
            None
        }
    }
}

/// A text, or a number as its digits.
fn scalar(fields: &mut Fields, name: &'static str, errors: &mut Vec<FieldError>) -> Written<String> {
    match fields.take(name) {
        None => Written::Absent,
        Some(Value::String(text)) => Written::Given(text),
        Some(Value::Number(number)) => Written::Given(number.to_string()),
        Some(other) => {
            let detail = format!("must be a text or a number, not {}", kind(&other));
            errors.push(FieldError { pointer: fields.pointer(name), detail });
            Written::Reported
        }
    }
}

fn as_written(value: &Written<String>) -> Written<&str> {
    match value {
        Written::Absent => Written::Absent,
        Written::Reported => Written::Reported,
        Written::Given(text) => Written::Given(text),
    }
}
