//! The keys that say how messages are worded: `text` and `whatsapp_template`.
//!
//! A text may be given for all channels or for each, in the file as a whole and for a policy. What
//! a policy does not say, the file says; what the file does not say is the tutorial's own text. The
//! alert's code and the acknowledge link are no part of it: they follow on lines of their own.

use super::problem::{Place, Report, quoted};
use super::section::{Section, text};
use super::suggestion;
use super::tree::{Node, Value};
use crate::contact::Channel;
use crate::wording::{BUTTONS_MAX, Button, PARAMETERS_MAX, Template, TemplateProblem, WhatsappTemplate, Word, Wording};

impl Wording {
    /// This wording with what a section says under `text` and `whatsapp_template` put over it.
    pub(super) fn refined(&self, section: &Section<'_, '_>, report: &mut Report) -> Self {
        let mut wording = self.clone();
        if let Some(node) = section.node("text") {
            wording.refine_text(node, report);
        }
        if let Some(template) = read_whatsapp_template(section, report) {
            wording.whatsapp_template = Some(template);
        }
        wording
    }

    fn refine_text(&mut self, node: &Node, report: &mut Report) {
        if !matches!(node.value, Value::Map(_)) {
            if let Some(template) = read_template(node, "`text`", Lacking::Warn, report) {
                self.text = template;
                // A policy's one text stands for all of its channels, whatever the file says.
                self.text_by_channel.clear();
            }
            return;
        }
        let known: Vec<&str> = Channel::ALL.iter().map(|channel| channel.name()).chain(["default"]).collect();
        let Some(section) = Section::open(node, "`text`", &known, report) else { return };
        if let Some(node) = section.node("default")
            && let Some(template) = read_template(node, "`default`", Lacking::Warn, report)
        {
            self.text = template;
        }
        for channel in Channel::ALL {
            if let Some(node) = section.node(channel.name())
                && let Some(template) = read_template(node, &format!("`{channel}`"), Lacking::Warn, report)
            {
                self.text_by_channel.insert(channel, template);
            }
        }
    }
}

/// What to say of a template in which the alert's message does not occur.
#[derive(Clone, Copy)]
enum Lacking {
    Warn,
    Accept,
}

fn read_template(node: &Node, name: &str, lacking: Lacking, report: &mut Report) -> Option<Template> {
    let (scalar, place) = text(node, name, report).given()?;
    match Template::parse(&scalar.text) {
        Ok(template) => {
            if matches!(lacking, Lacking::Warn) && !template.holds(Word::Message) {
                let message = format!("{name} does not hold the alert's message");
                report.warning(place, message, "put `{{ message }}` into it");
            }
            Some(template)
        }
        Err(problem) => {
            let (message, hint) = in_words(&problem);
            report.error_with_hint(place, format!("{name} {message}"), hint);
            None
        }
    }
}

/// What is wrong with a template, and what to do about it.
fn in_words(problem: &TemplateProblem) -> (String, Option<Box<str>>) {
    match problem {
        TemplateProblem::UnknownWord(written) => {
            let hint = suggestion::hint(written, "the words are", &Word::ALL.map(Word::name));
            (format!("has the unknown word {}", quoted(written)), Some(hint))
        }
        TemplateProblem::Empty
        | TemplateProblem::TooLong
        | TemplateProblem::TooManyWords
        | TemplateProblem::Unclosed => (problem.to_string(), None),
    }
}

fn read_whatsapp_template(section: &Section<'_, '_>, report: &mut Report) -> Option<WhatsappTemplate> {
    const KEYS: [&str; 4] = ["name", "locale", "parameters", "buttons"];
    let section = section.section("whatsapp_template", &KEYS, report)?;
    let name = section.text("name", report).or_missing(section.place, "name", Some("as `namespace:name`"), report);
    let locale = section.text("locale", report).or_missing(section.place, "locale", Some("for example en_GB"), report);
    let name = name.and_then(|(scalar, place)| one_word(&scalar.text, place, "name", report));
    let locale = locale.and_then(|(scalar, place)| one_word(&scalar.text, place, "locale", report));
    let mut parameters = Vec::new();
    if let Some((items, place)) = section.list("parameters", report).given() {
        if items.len() > PARAMETERS_MAX {
            report.error(place, format!("`parameters` has more than {PARAMETERS_MAX} entries"));
        }
        let read = |item| read_template(item, "a parameter", Lacking::Accept, report);
        parameters = items.iter().filter_map(read).collect();
    }
    let buttons = match section.list("buttons", report).given() {
        Some((items, place)) => read_buttons(items, place, report),
        None => Vec::new(),
    };
    let holds = |word| parameters.iter().any(|parameter| parameter.holds(word));
    if !holds(Word::Message) {
        let message = "`whatsapp_template` does not hold the alert's message";
        report.warning(section.place, message, "put `{{ message }}` into a parameter");
    }
    if buttons.is_empty() && !holds(Word::Code) {
        let message = "`whatsapp_template` has neither the alert's code nor a button, so that a reply may be taken for a newer alert's";
        report.warning(section.place, message, "put `{{ code }}` into a parameter, or name its quick-reply `buttons`");
    }
    Some(WhatsappTemplate { name: name?, locale: locale?, parameters, buttons })
}

fn one_word(text: &str, place: Place, key: &str, report: &mut Report) -> Option<Box<str>> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(|character| character.is_whitespace() || character.is_control()) {
        report.error(place, format!("`{key}` must be one word"));
        return None;
    }
    Some(text.into())
}

fn read_buttons(items: &[Node], place: Place, report: &mut Report) -> Vec<Button> {
    if items.len() > BUTTONS_MAX {
        report.error(place, format!("`buttons` has more than {BUTTONS_MAX} entries"));
    }
    let mut buttons = Vec::new();
    for item in items {
        let Some((scalar, place)) = text(item, "a button", report).given() else { continue };
        let named = Button::ALL.into_iter().find(|button| button.name() == scalar.text.trim());
        if named.is_none() {
            let hint = suggestion::hint(&scalar.text, "the buttons are", &Button::ALL.map(Button::name));
            report.error_with_hint(place, format!("{} is not a button", quoted(&scalar.written)), Some(hint));
        }
        buttons.extend(named);
    }
    buttons
}
