//! How messages are worded: the text for each channel, and WhatsApp's approved template.
//!
//! A text holds words such as `{{ user }}` that are filled in for each message. Which words there
//! are is fixed, so that a slip is found when the configuration is read and not at 3 a.m.; how long a
//! text is and how many words it holds are bounded, and so is whatever it becomes. What is filled in
//! is never read as a template again.
//!
//! Deliberately absent: conditions, loops and filters, which nobody can check by looking; and the
//! alert's code, the note that a message is late and the acknowledge link, which are no part of a
//! wording but follow it on lines of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::contact::Channel;

/// The text that messages have when nobody gives another: the tutorial's.
pub const TEXT_DEFAULT: &str = "[{{ user }}]: {{ message }}";
/// The most characters of a template.
pub const TEMPLATE_CHARS_MAX: usize = 4_000;
/// The most words of a template that are filled in. It bounds what a message can become before it is
/// cut to its channel's limit.
pub const TEMPLATE_WORDS_MAX: usize = 20;
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
    /// The acknowledge link of the message; empty where the service does not know its public address. For a
    /// WhatsApp template, which nothing can follow.
    AcknowledgeLink,
}

impl Word {
    /// Every word.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Message,
        Self::Severity,
        Self::Policy,
        Self::Source,
        Self::Link,
        Self::Code,
        Self::AcknowledgeLink,
    ];

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
            Self::AcknowledgeLink => "acknowledge_link",
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
    /// It would become too long to be meant.
    #[error("has more than {TEMPLATE_WORDS_MAX} words to fill in")]
    TooManyWords,
    /// A `{{` without `}}`.
    #[error("has a `{{{{` that no `}}}}` closes")]
    Unclosed,
    /// There is nothing of this name to fill in.
    #[error("has an unknown word")]
    UnknownWord(Box<str>),
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
        let mut n_words = 0;
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, behind) = after.split_once("}}").ok_or(TemplateProblem::Unclosed)?;
            let word = Word::ALL.into_iter().find(|word| word.name() == name.trim());
            let word = word.ok_or_else(|| TemplateProblem::UnknownWord(name.trim().into()))?;
            n_words += 1;
            if n_words > TEMPLATE_WORDS_MAX {
                return Err(TemplateProblem::TooManyWords);
            }
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

impl fmt::Display for Template {
    /// Writes the template so that it can be read back. Words stand without spaces, which is the
    /// shortest way, so that what was short enough once is short enough again.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => formatter.write_str(text),
            Piece::Word(word) => write!(formatter, "{{{{{}}}}}", word.name()),
        })
    }
}

impl FromStr for Template {
    type Err = TemplateProblem;

    fn from_str(text: &str) -> Result<Self, TemplateProblem> {
        Self::parse(text)
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

    /// The button's name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::Next => "next",
            Self::Resolve => "resolve",
        }
    }

    /// What the button sends back, in front of `:` and the alert's code.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Acknowledge => "ack",
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

/// How the messages of an alert are worded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wording {
    /// The text on channels that have none of their own.
    pub text: Template,
    /// The texts of channels that have one of their own.
    pub text_by_channel: BTreeMap<Channel, Template>,
    /// The approved template that WhatsApp messages use instead of their text, if there is one.
    pub whatsapp_template: Option<WhatsappTemplate>,
}

impl Default for Wording {
    /// The tutorial's text on every channel.
    fn default() -> Self {
        Self { text: Template::tutorial(), text_by_channel: BTreeMap::new(), whatsapp_template: None }
    }
}

impl Wording {
    /// The text of a message on a channel.
    pub fn text(&self, channel: Channel) -> &Template {
        self.text_by_channel.get(&channel).unwrap_or(&self.text)
    }
}

/// What Facebook is told a Messenger message is for (Messages API reference, `messenger.category`).
/// Outside of the 24 hours after the user's own last message, only the last is let through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MessengerCategory {
    /// An answer to the user.
    Response,
    /// Something the user did not ask for.
    Update,
    /// Whatever the tag says that Facebook has granted, for example `HUMAN_AGENT`.
    MessageTag(Box<str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_tutorials_text() {
        assert_eq!(Template::parse(TEXT_DEFAULT), Ok(Template::tutorial()));
    }

    #[test]
    fn a_template_is_read_back_from_what_it_writes() {
        for text in [TEXT_DEFAULT, "{{user}}{{   message }}", "a } }} { b {{ code }}", "{ {{ link }} }"] {
            let template = Template::parse(text).unwrap();
            assert_eq!(template.to_string().parse(), Ok(template.clone()), "{text}");
            assert!(template.to_string().len() <= text.len(), "{template} is longer than {text}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_the_reason() {
        for (text, problem) in [
            (" ".to_owned(), TemplateProblem::Empty),
            ("x".repeat(TEMPLATE_CHARS_MAX + 1), TemplateProblem::TooLong),
            ("{{ message }}".repeat(TEMPLATE_WORDS_MAX + 1), TemplateProblem::TooManyWords),
            ("{{ message }".to_owned(), TemplateProblem::Unclosed),
            ("{{{ user }}}".to_owned(), TemplateProblem::UnknownWord("{ user".into())),
        ] {
            assert_eq!(Template::parse(&text), Err(problem), "{text}");
        }
        assert!(Template::parse(&"ü".repeat(TEMPLATE_CHARS_MAX)).is_ok());
        assert!(Template::parse(&"{{ message }}".repeat(TEMPLATE_WORDS_MAX)).is_ok());
    }

    #[test]
    fn what_is_filled_in_is_not_filled_in_again() {
        let template = Template::parse("{{ user }}: {{ message }}").unwrap();
        assert_eq!(template.render(|_word| "{{ code }}".into()), "{{ code }}: {{ code }}");
    }
}
