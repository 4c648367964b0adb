//! How messages are worded: the text, and WhatsApp's approved template.
//!
//! A text may be given for all channels or for each, in the file as a whole and for a policy. What
//! a policy does not say, the file says; what the file does not say is the tutorial's own text. The
//! alert's code and the acknowledge link are no part of it: they follow on lines of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::problem::{Place, Report, quoted};
use super::section::{Section, text};
use super::suggestion;
use super::tree::{Node, Value};
use crate::contact::Channel;

/// The text that messages have when nobody gives another: the tutorial's.
pub const TEXT_DEFAULT: &str = "[{{ user }}]: {{ message }}";
/// The most characters of a template.
pub const TEMPLATE_CHARS_MAX: usize = 4_000;
/// The most parameters of a WhatsApp template.
pub const PARAMETERS_MAX: usize = 20;
/// The most quick-reply buttons of a WhatsApp template (WhatsApp's own bound for callout's three).
pub const BUTTONS_MAX: usize = 3;

/// A word that a template may hold between `{{` and `}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// The name of the user whom the message is for.
    User,
    /// The alert's message.
    Message,
    /// The alert's severity.
    Severity,
    /// The policy's name; empty for an alert with its own list of users.
    Policy,
    /// Where the alert came from; empty if it did not say.
    Source,
    /// The alert's own link, for example to a runbook; empty if it has none.
    Link,
    /// What people on a phone call the alert.
    Code,
}

impl Word {
    /// Every word.
    pub const ALL: [Self; 7] =
        [Self::User, Self::Message, Self::Severity, Self::Policy, Self::Source, Self::Link, Self::Code];

    /// The word as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Message => "message",
            Self::Severity => "severity",
            Self::Policy => "policy",
            Self::Source => "source",
            Self::Link => "link",
            Self::Code => "code",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Text(Box<str>),
    Word(Word),
}

/// A text with words to be filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template(Vec<Piece>);

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateProblem {
    /// It would send an empty message.
    #[error("is empty")]
    Empty,
    /// It is too long to be meant.
    #[error("is longer than {TEMPLATE_CHARS_MAX} characters")]
    TooLong,
    /// A `{{` without `}}`.
    #[error("has a `{{{{` that no `}}}}` closes")]
    Unclosed,
    /// There is nothing of this name to fill in.
    #[error("has the unknown word {}", quoted(.0))]
    UnknownWord(Box<str>),
}

impl TemplateProblem {
    /// What to do about it.
    pub fn hint(&self) -> Option<Box<str>> {
        match self {
            Self::UnknownWord(written) => Some(suggestion::hint(written, "the words are", &Word::ALL.map(Word::name))),
            Self::Empty | Self::TooLong | Self::Unclosed => None,
        }
    }
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateProblem> {
        if text.trim().is_empty() {
            return Err(TemplateProblem::Empty);
        }
        if text.chars().count() > TEMPLATE_CHARS_MAX {
            return Err(TemplateProblem::TooLong);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after.split_once("}}").ok_or(TemplateProblem::Unclosed)?;
            let word = Word::ALL.into_iter().find(|word| word.name() == name.trim());
            let word = word.ok_or_else(|| TemplateProblem::UnknownWord(name.trim().into()))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(Piece::Word(word));
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self(pieces))
    }

    /// The tutorial's text, [`TEXT_DEFAULT`].
    pub fn tutorial() -> Self {
        Self(vec![
            Piece::Text("[".into()),
            Piece::Word(Word::User),
            Piece::Text("]: ".into()),
            Piece::Word(Word::Message),
        ])
    }

    /// Fills the words in. What is filled in is never read as a template again.
    pub fn render<'v>(&self, value_of: impl Fn(Word) -> Cow<'v, str>) -> String {
        let mut rendered = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => rendered.push_str(text),
                Piece::Word(word) => rendered.push_str(&value_of(*word)),
            }
        }
        rendered
    }

    /// Whether a word occurs.
    pub fn holds(&self, word: Word) -> bool {
        self.0.contains(&Piece::Word(word))
    }
}

/// A quick-reply button of a WhatsApp template, and what pressing it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Button {
    /// Acknowledge the alert.
    Acknowledge,
    /// Go on to the next user now.
    Next,
    /// The problem itself is over.
    Resolve,
}

impl Button {
    /// Every button.
    pub const ALL: [Self; BUTTONS_MAX] = [Self::Acknowledge, Self::Next, Self::Resolve];

    /// The button's name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::Next => "next",
            Self::Resolve => "resolve",
        }
    }
}

/// A message that WhatsApp has approved, which may be sent at any time; free text fails when the
/// user has not written for 24 hours (Vonage's WhatsApp guide, error 1340).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WhatsappTemplate {
    /// `namespace:name`, as it was approved.
    pub name: Box<str>,
    /// The locale it was approved for, for example `en_GB`.
    pub locale: Box<str>,
    /// What fills its numbered places, in order.
    pub parameters: Vec<Template>,
    /// Its quick-reply buttons, in the order of the template.
    pub buttons: Vec<Button>,
}

/// How the messages of a policy, or of an alert without one, are worded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wording {
    text: Template,
    text_by_channel: BTreeMap<Channel, Template>,
    whatsapp_template: Option<WhatsappTemplate>,
}

impl Default for Wording {
    fn default() -> Self {
        Self { text: Template::tutorial(), text_by_channel: BTreeMap::new(), whatsapp_template: None }
    }
}

impl Wording {
    /// The text of a message on a channel.
    pub fn text(&self, channel: Channel) -> &Template {
        self.text_by_channel.get(&channel).unwrap_or(&self.text)
    }

    /// The approved template that WhatsApp messages use instead of their text, if there is one.
    pub fn whatsapp_template(&self) -> Option<&WhatsappTemplate> {
        self.whatsapp_template.as_ref()
    }

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
            report.error_with_hint(place, format!("{name} {problem}"), problem.hint());
            None
        }
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
