//! What a person does with a message: the part of the outside world that no provider controls.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::contact::{Address, Channel};

/// How long a message takes to reach a phone where nobody says otherwise.
pub const DELIVERED_AFTER: Duration = Duration::from_secs(1);

/// What happens to each message of one channel to one person.
///
/// Times are sandbox time. Whoever never gets a message can neither read nor answer it, which is why
/// reading and answering live inside of [`Fate::Delivered`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Handed over, and then nothing: the phone is off.
    Lost,
    /// The provider or the network refuses it.
    Failed(Failing),
    /// It arrives.
    Delivered(Arrival),
}

/// How a message fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Which of the two words the report uses.
    pub word: FailureWord,
    /// Vonage's delivery error code, for example 1300 for "not in the provider's network".
    pub code: u16,
    /// How long after it was accepted.
    pub after: Duration,
}

/// The word for a message that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureWord {
    /// `rejected`
    Rejected,
    /// `undeliverable`
    Undeliverable,
}

/// What follows when a message arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// How long after it was handed over.
    pub after: Duration,
    /// How long after it arrived it is read; none: never, or the channel does not tell.
    pub read: Option<Duration>,
    /// What the person writes back.
    pub reply: Option<Reply>,
    /// Which of the message's buttons the person presses; nothing happens where it has none.
    pub press: Option<Press>,
}

/// Words that are written back. Its `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// How long after the message arrived.
    pub after: Duration,
    /// The words.
    pub text: Box<str>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reply").field("after", &self.after).finish_non_exhaustive()
    }
}

/// A press of a button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Press {
    /// How long after the message arrived.
    pub after: Duration,
    /// Which button, from 1.
    pub button: u8,
}

/// Whether `WhatsApp` takes free text for this person: only within 24 hours of the person's own last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Everything is taken.
    Open,
    /// Only templates are taken; all else is rejected with 1340.
    Closed,
}

/// What becomes of the messages to one person on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Habit {
    /// What happens to a message.
    pub fate: Fate,
    /// Whether `WhatsApp`'s window is open.
    pub window: Window,
}

impl Default for Habit {
    /// Delivered after a moment, and never read.
    fn default() -> Self {
        Self {
            fate: Fate::Delivered(Arrival { after: DELIVERED_AFTER, read: None, reply: None, press: None }),
            window: Window::Open,
        }
    }
}

/// Somebody with addresses and habits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The person's name, for messages about the file.
    pub name: Box<str>,
    /// Where the person is reached.
    pub addresses: Vec<(Channel, Address)>,
    /// What the person does, by channel.
    pub habits: HashMap<Channel, Habit>,
}

/// Everybody the stand-in knows, and what all others do.
///
/// The default knows nobody: each message is delivered after a moment and never read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    known: Vec<Person>,
    by_address: HashMap<(Channel, Address), usize>,
    everyone_else: HashMap<Channel, Habit>,
}

impl People {
    /// People from their list. Of two with the same address the first is meant; the file refuses that.
    pub fn new(people: Vec<Person>, everyone_else: HashMap<Channel, Habit>) -> Self {
        let mut by_address = HashMap::new();
        for (index, person) in people.iter().enumerate() {
            for (channel, address) in &person.addresses {
                by_address.entry((*channel, address.clone())).or_insert(index);
            }
        }
        Self { known: people, by_address, everyone_else }
    }

    /// Who is known, in the order of the file.
    pub fn known(&self) -> &[Person] {
        &self.known
    }

    /// What becomes of a message to `to`, which is taken exactly as it was sent.
    pub(super) fn habit(&self, channel: Channel, to: &str) -> Habit {
        let person = Address::parse(channel, to)
            .ok()
            .and_then(|address| self.by_address.get(&(channel, address)))
            .and_then(|index| self.known.get(*index));
        let habits = person.map_or(&self.everyone_else, |person| &person.habits);
        habits.get(&channel).cloned().unwrap_or_default()
    }
}
