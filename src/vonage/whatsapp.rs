//! WhatsApp's approved template on the wire.
//!
//! Without buttons it is Vonage's own `template`. With buttons, what each sends back must be said,
//! for which Vonage has no words: then WhatsApp's own object goes through Vonage as `custom`
//! (Messages API reference, custom objects).

use serde::Serialize;

use crate::id::ShortCode;
use crate::sender::Outbound;
use crate::wording::{Button, WhatsappTemplate};

use super::text;

/// What a button of ours sends back.
pub(super) fn payload(button: Button, code: ShortCode) -> String {
    format!("{}:{code}", button.verb())
}

/// Vonage's form of a template. Messages and Dispatch differ in how they write a parameter.
#[derive(Serialize)]
pub(super) struct Template<'a, P> {
    name: &'a str,
    parameters: Vec<P>,
}

impl<'a, P> Template<'a, P> {
    /// The template, filled in for an attempt.
    pub(super) fn of(template: &'a WhatsappTemplate, outbound: &Outbound, write: impl Fn(String) -> P) -> Self {
        let parameters = template.parameters.iter().map(|parameter| write(text::parameter(outbound, parameter)));
        Self { name: &template.name, parameters: parameters.collect() }
    }
}

/// Which approved translation of a template is meant.
#[derive(Serialize)]
pub(super) struct WhatsappOptions<'a> {
    policy: &'static str,
    locale: &'a str,
}

impl<'a> WhatsappOptions<'a> {
    pub(super) fn of(template: &'a WhatsappTemplate) -> Self {
        // Exactly this locale; the other policy was withdrawn in 2020.
        Self { policy: "deterministic", locale: &template.locale }
    }
}

/// WhatsApp's own form of a template, for one with buttons.
#[derive(Serialize)]
pub(super) struct Custom<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    template: Object<'a>,
}

#[derive(Serialize)]
struct Object<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    name: &'a str,
    language: Language,
    components: Vec<Component>,
}

#[derive(Serialize)]
struct Language {
    policy: &'static str,
    code: String,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Component {
    Body { parameters: Vec<Parameter> },
    Button { sub_type: &'static str, index: usize, parameters: [Parameter; 1] },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Parameter {
    Text { text: String },
    Payload { payload: String },
}

impl<'a> Custom<'a> {
    /// The template, filled in for an attempt.
    pub(super) fn of(template: &'a WhatsappTemplate, outbound: &Outbound) -> Self {
        let (namespace, name) = match template.name.split_once(':') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, &*template.name),
        };
        let parameters =
            template.parameters.iter().map(|parameter| Parameter::Text { text: text::parameter(outbound, parameter) });
        let body = Component::Body { parameters: parameters.collect() };
        let buttons = template.buttons.iter().enumerate().map(|(index, button)| Component::Button {
            sub_type: "quick_reply",
            index,
            parameters: [Parameter::Payload { payload: payload(*button, outbound.code) }],
        });
        // A template without places has no body to fill in.
        let body = (!template.parameters.is_empty()).then_some(body);
        Self {
            kind: "template",
            template: Object {
                namespace,
                name,
                // Vonage maps `en-GB` to WhatsApp's `en_GB` elsewhere, but passes this on as it is.
                language: Language { policy: "deterministic", code: template.locale.replace('-', "_") },
                components: body.into_iter().chain(buttons).collect(),
            },
        }
    }
}
