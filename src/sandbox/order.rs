//! One message that somebody wants sent, checked, and the rules that both APIs share.
//!
//! The rules are Vonage's as its references state them, written a second time on purpose: the service
//! has its own idea of them, and a stand-in that shared the code would agree with every mistake.

use std::time::Duration;

use serde_json::{Map, Value};
use url::Url;

use crate::contact::Channel;

/// A message that can be sent.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) channel: Channel,
    pub(super) to: Box<str>,
    pub(super) from: Box<str>,
    pub(super) text: Option<Box<str>>,
    pub(super) form: Form,
    pub(super) buttons: Vec<Button>,
    pub(super) ttl: Option<Duration>,
    pub(super) client_ref: Option<Box<str>>,
    /// Where this message's statuses go instead of the usual place.
    pub(super) webhook_url: Option<Url>,
    pub(super) shape: Shape,
}

/// Whether `WhatsApp` would take it outside of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Free,
    Template,
}

/// The shape of the webhooks about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Messages v1: flat.
    V1,
    /// Messages v0.1 and Dispatch: nested.
    V01,
}

impl Shape {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::V1 => Self::V01,
            Self::V01 => Self::V1,
        }
    }
}

/// A button that the person can press.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Button {
    pub(super) kind: ButtonKind,
    pub(super) payload: Box<str>,
    pub(super) title: Box<str>,
}

/// How a press comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ButtonKind {
    /// As `reply` with our id: `WhatsApp`'s interactive buttons, RCS suggestions.
    Reply,
    /// As `button` with our payload: the quick replies of a `WhatsApp` template.
    QuickReply,
}

/// What a request has wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) about: About,
    pub(super) name: String,
    pub(super) reason: String,
}

/// The kinds of mistake for which Messages v1 has an error page of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Sender,
    Recipient,
    Channel,
    MessageType,
    Reference,
    Parameters,
}

/// The fewest and the most digits of a number, as the Messages reference has it for `to`.
const NUMBER_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// The most characters of a Messenger or Viber id.
const ID_CHARS_MAX: usize = 50;
/// The most characters of an alphanumeric sender of an SMS.
const SENDER_CHARS_MAX: usize = 11;

/// Reads one group of a request and collects what is wrong with it.
pub(super) struct Group<'a, 'b> {
    map: &'a Map<String, Value>,
    path: String,
    complaints: &'b mut Vec<Complaint>,
}

impl<'a, 'b> Group<'a, 'b> {
    /// The group at `path`; none, with a complaint, where `value` is none.
    pub(super) fn open(value: &'a Value, path: &str, complaints: &'b mut Vec<Complaint>) -> Option<Self> {
        let map = value.as_object();
        if map.is_none() {
            complaints.push(Complaint {
                about: About::Parameters,
                name: path.to_owned(),
                reason: "must be an object".to_owned(),
            });
        }
        Some(Self { map: map?, path: path.to_owned(), complaints })
    }

    /// The group `key` inside of this one, where it is there.
    pub(super) fn inner<'c>(&'c mut self, key: &str) -> Option<Group<'a, 'c>> {
        let path = self.name(key);
        Group::open(self.map.get(key)?, &path, self.complaints)
    }

    /// The group `key` inside of this one, which must be there.
    pub(super) fn needed<'c>(&'c mut self, key: &str) -> Option<Group<'a, 'c>> {
        if !self.map.contains_key(key) {
            self.complain(key, About::Parameters, "is missing");
            return None;
        }
        self.inner(key)
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn complain(&mut self, key: &str, about: About, reason: impl Into<String>) {
        let name = self.name(key);
        self.complaints.push(Complaint { about, name, reason: reason.into() });
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// A text that must be there and hold something.
    pub(super) fn text(&mut self, key: &str, about: About) -> Option<&'a str> {
        match self.map.get(key) {
            None => self.complain(key, about, "is missing"),
            Some(Value::String(text)) if text.is_empty() => self.complain(key, about, "must not be empty"),
            Some(Value::String(text)) => return Some(text),
            Some(_) => self.complain(key, about, "must be a string"),
        }
        None
    }

    /// One of `words`, where it is there.
    pub(super) fn word(&mut self, key: &str, words: &[&str]) -> Option<&'a str> {
        let value = self.map.get(key)?;
        let word = value.as_str().filter(|word| words.contains(word));
        if word.is_none() {
            self.complain(key, About::Parameters, format!("must be one of {}", words.join(", ")));
        }
        word
    }

    /// A whole number of seconds within bounds, where it is there. A numeric string is none.
    pub(super) fn seconds(&mut self, key: &str, bounds: (u64, u64)) -> Option<Duration> {
        let value = self.map.get(key)?;
        let (least, most) = bounds;
        let seconds = value.as_u64().filter(|seconds| (least..=most).contains(seconds));
        if seconds.is_none() {
            self.complain(key, About::Parameters, format!("must be an integer from {least} to {most}"));
        }
        seconds.map(Duration::from_secs)
    }

    /// Words for a person, within the channel's limit of characters.
    pub(super) fn words(&mut self, key: &str, chars_max: usize) -> Option<&'a str> {
        let text = self.text(key, About::Parameters)?;
        if text.chars().count() > chars_max {
            self.complain(key, About::Parameters, format!("must not be longer than {chars_max} characters"));
        }
        Some(text)
    }

    /// The person's end of the line.
    pub(super) fn recipient(&mut self, key: &str, channel: Channel) -> Option<&'a str> {
        let text = self.text(key, About::Recipient)?;
        if channel == Channel::Messenger {
            if !is_id(text) {
                self.complain(key, About::Recipient, "must be a page-scoped id of 1 to 50 characters");
            }
        } else if !(is_number(text) || channel == Channel::Whatsapp && is_whatsapp_user(text)) {
            self.complain(
                key,
                About::Recipient,
                "must be a number of 7 to 15 digits, with country code, without + or 00",
            );
        }
        Some(text)
    }

    /// Our end of the line.
    pub(super) fn sender(&mut self, key: &str, channel: Channel) -> Option<&'a str> {
        let text = self.text(key, About::Sender)?;
        let (good, reason) = match channel {
            Channel::Messenger | Channel::ViberService => (is_id(text), "must be an id of 1 to 50 characters"),
            Channel::Whatsapp | Channel::Mms | Channel::Email => {
                (is_number(text), "must be a number of 7 to 15 digits")
            }
            Channel::Sms => {
                (is_sms_sender(text), "must be a number of up to 15 digits or a name of up to 11 letters and digits")
            }
            Channel::Rcs => (is_rcs_sender(text), "must be a sender id of letters, digits and - _ &"),
        };
        if !good {
            self.complain(key, About::Sender, reason);
        }
        Some(text)
    }

    /// `messenger`: a tag is needed where the category says so, and the category has three values.
    pub(super) fn messenger_options(&mut self) {
        let Some(mut options) = self.inner("messenger") else { return };
        let category = options.word("category", &["response", "update", "message_tag"]);
        if category == Some("message_tag") {
            options.text("tag", About::Parameters);
        }
    }

    /// `viber_service` under either of its names.
    pub(super) fn viber_options(&mut self, key: &str, ttl: (u64, u64)) -> Option<Duration> {
        let mut options = self.inner(key)?;
        options.word("category", &["transaction", "promotion"]);
        options.seconds("ttl", ttl)
    }

    /// `whatsapp`: the policy has one value, and the locale is a text.
    pub(super) fn whatsapp_options(&mut self) {
        let Some(mut options) = self.inner("whatsapp") else { return };
        options.word("policy", &["deterministic"]);
        if options.has("locale") {
            options.text("locale", About::Parameters);
        }
    }

    /// A `WhatsApp` template: its name and the words that fill it.
    pub(super) fn template(&mut self) {
        let Some(mut template) = self.needed("template") else { return };
        if let Some(name) = template.text("name", About::Parameters)
            && !name.contains(':')
        {
            template.complain("name", About::Parameters, "must be namespace:name");
        }
        if let Some(parameters) = template.get("parameters") {
            let is_filling = |value: &Value| value.is_string() || value.get("default").is_some_and(Value::is_string);
            if !parameters.as_array().is_some_and(|list| list.iter().all(is_filling)) {
                template.complain("parameters", About::Parameters, "must be a list of strings");
            }
        }
    }
}

fn is_number(text: &str) -> bool {
    NUMBER_DIGITS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0')
}

fn is_id(text: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&text.chars().count())
}

/// A user id such as `US.1349…`, which `WhatsApp` gives out in place of a number since 2026.
fn is_whatsapp_user(text: &str) -> bool {
    text.split_once('.').is_some_and(|(country, id)| {
        country.len() == 2
            && country.bytes().all(|byte| byte.is_ascii_uppercase())
            && !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn is_sms_sender(text: &str) -> bool {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.len() <= *NUMBER_DIGITS.end();
    }
    text.len() <= SENDER_CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_rcs_sender(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'&'))
}

/// Whether a `WhatsApp` message of our own making is a template.
pub(super) fn custom_form(custom: &Value) -> Form {
    if custom.get("type").is_some_and(|kind| kind == "template") { Form::Template } else { Form::Free }
}

/// The buttons of a `WhatsApp` message of our own making.
pub(super) fn custom_buttons(custom: &Value) -> Vec<Button> {
    let list = |pointer: &str| custom.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(Box::<str>::from);
    let interactive = list("/interactive/action/buttons").filter_map(|button| {
        let (payload, title) = (text(button, "/reply/id")?, text(button, "/reply/title")?);
        Some(Button { kind: ButtonKind::Reply, payload, title })
    });
    let quick =
        list("/template/components").filter(|part| part.get("sub_type").is_some_and(|kind| kind == "quick_reply"));
    let quick = quick.filter_map(|button| {
        // The words on a template's button stand in the approved template, which we do not know.
        let payload = text(button, "/parameters/0/payload")?;
        Some(Button { kind: ButtonKind::QuickReply, title: payload.clone(), payload })
    });
    interactive.chain(quick).collect()
}
