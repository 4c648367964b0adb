//! The file that says who reads what after how long.
//!
//! ```yaml
//! people:
//!   - name: Tony
//!     addresses: { messenger: "6542087712345678", sms: "447700900001" }
//!     messenger: { delivered: 1s, read: never }
//!     sms: { delivered: 2s, reply: { after: 20s, text: "ok" } }
//! everyone_else:
//!   whatsapp: { read: 5s }
//! ```
//!
//! It is YAML or JSON. All problems are told at once, each with its place (`people[1].sms.read`), so
//! the file is read as a plain tree and taken apart by hand: a typed reader stops at the first one.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use super::habits::{
    Arrival, DELIVERED_AFTER, Failing, FailureWord, Fate, Habit, People, Person, Press, Reply, Window,
};
use crate::contact::{Address, Channel};

/// What is wrong with a file of people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PeopleError {
    /// The file's name.
    pub file: Box<str>,
    /// Each problem, in the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for PeopleError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "{}: {problem}", self.file)?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands, for example `people[1].sms.read`; empty for the file as a whole.
    pub place: Box<str>,
    /// What is wrong there, and what would be right.
    pub what: Box<str>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            write!(formatter, "{}", self.what)
        } else {
            write!(formatter, "{}: {}", self.place, self.what)
        }
    }
}

/// The longest time that may stand in the file.
const TIME_MAX: Duration = Duration::from_hours(7 * 24);
/// The most buttons that a message can have (RCS suggestions, Messages API reference).
const BUTTONS_MAX: u64 = 11;
/// Vonage's codes for a message that was not delivered all lie here (list of delivery errors).
const CODES: std::ops::RangeInclusive<u64> = 1000..=1999;

const PERSON_KEYS: [&str; 3] = ["name", "addresses", "phone"];
const HABIT_KEYS: [&str; 7] = ["delivered", "read", "reply", "press", "rejected", "undeliverable", "window"];

impl People {
    /// Reads the text of a file called `file`.
    pub fn parse(file: &str, text: &str) -> Result<Self, PeopleError> {
        let refuse = |problems| PeopleError { file: file.into(), problems };
        let tree: Value = serde_saphyr::from_str(text).map_err(|error| {
            refuse(vec![Problem { place: "".into(), what: format!("is neither YAML nor JSON: {error}").into() }])
        })?;
        let mut reader = Reader::default();
        let people = reader.file(&tree);
        if reader.problems.is_empty() { Ok(people) } else { Err(refuse(reader.problems)) }
    }
}

/// Takes the tree apart and remembers what was wrong.
#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    addresses: HashSet<(Channel, Address)>,
}

/// Whether a person's phone is switched on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phone {
    On,
    Off,
}

impl Reader {
    fn wrong(&mut self, place: &str, what: impl Into<Box<str>>) {
        self.problems.push(Problem { place: place.into(), what: what.into() });
    }

    fn map<'a>(&mut self, place: &str, value: &'a Value) -> Option<&'a Map<String, Value>> {
        if value.as_object().is_none() {
            self.wrong(place, "must be a group of settings, such as { delivered: 1s, read: 5s }");
        }
        value.as_object()
    }

    fn known_keys(&mut self, place: &str, map: &Map<String, Value>, known: &[&str]) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            self.wrong(&under(place, key), format!("is not known here; known are {}", known.join(", ")));
        }
    }

    fn file(&mut self, tree: &Value) -> People {
        if tree.is_null() {
            return People::default();
        }
        let Some(map) = tree.as_object() else {
            self.wrong("", "must begin with `people:` and a list");
            return People::default();
        };
        self.known_keys("", map, &["people", "everyone_else", "$schema"]);
        let people = match map.get("people") {
            None => Vec::new(),
            Some(Value::Array(list)) => list
                .iter()
                .enumerate()
                .filter_map(|(index, value)| self.person(&format!("people[{index}]"), value))
                .collect(),
            Some(_) => {
                self.wrong("people", "must be a list, one entry for each person");
                Vec::new()
            }
        };
        let everyone_else = map.get("everyone_else").and_then(|value| {
            let map = self.map("everyone_else", value)?;
            Some(self.habits("everyone_else", map, &[], Phone::On))
        });
        People::new(people, everyone_else.unwrap_or_default())
    }

    fn person(&mut self, place: &str, value: &Value) -> Option<Person> {
        let map = self.map(place, value)?;
        let name = match map.get("name") {
            Some(Value::String(name)) if !name.trim().is_empty() => name.as_str(),
            Some(_) => {
                self.wrong(&under(place, "name"), "must be the person's name");
                ""
            }
            None => {
                self.wrong(place, "has no `name`");
                ""
            }
        };
        if !map.contains_key("addresses") {
            self.wrong(place, "has no `addresses`, such as { sms: \"447700900001\" }");
        }
        let addresses = map.get("addresses").map(|value| self.addresses(&under(place, "addresses"), value));
        let addresses = addresses.unwrap_or_default();
        let phone = match map.get("phone") {
            None => Phone::On,
            Some(value) => self.phone(&under(place, "phone"), value),
        };
        let mut habits = self.habits(place, map, &PERSON_KEYS, phone);
        if phone == Phone::Off {
            for (channel, _) in &addresses {
                habits.entry(*channel).or_insert_with(|| Habit { fate: Fate::Lost, window: Window::Open });
            }
        }
        Some(Person { name: name.into(), addresses, habits })
    }

    fn phone(&mut self, place: &str, value: &Value) -> Phone {
        // Some readers of YAML take `on` and `off` for true and false.
        match value {
            Value::Bool(true) => Phone::On,
            Value::Bool(false) => Phone::Off,
            Value::String(word) if word == "on" => Phone::On,
            Value::String(word) if word == "off" => Phone::Off,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                self.wrong(place, "must be on or off");
                Phone::On
            }
        }
    }

    fn addresses(&mut self, place: &str, value: &Value) -> Vec<(Channel, Address)> {
        let Some(map) = value.as_object() else {
            self.wrong(place, "must be a group of channels with their addresses, such as { sms: \"447700900001\" }");
            return Vec::new();
        };
        let mut addresses = Vec::new();
        for (key, value) in map {
            let place = under(place, key);
            let Some(channel) = self.channel(&place, key) else { continue };
            // One person may well have two phones.
            let texts = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
            for text in texts {
                addresses.extend(self.address(&place, channel, text).map(|address| (channel, address)));
            }
        }
        addresses
    }

    fn channel(&mut self, place: &str, key: &str) -> Option<Channel> {
        let channel = key.parse().ok();
        if channel.is_none() {
            self.wrong(place, format!("is not a channel; channels are {}", channel_names()));
        }
        channel
    }

    fn address(&mut self, place: &str, channel: Channel, value: &Value) -> Option<Address> {
        let text = match value {
            Value::String(text) => text.clone(),
            // A number without quotes is what people write first.
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                self.wrong(place, "must be an address in quotes, or a list of them");
                return None;
            }
        };
        match Address::parse(channel, &text) {
            Ok(address) if !self.addresses.insert((channel, address.clone())) => {
                self.wrong(place, "stands in the file twice; an address belongs to one person");
                None
            }
            Ok(address) => Some(address),
            Err(error) => {
                self.wrong(place, error.to_string());
                None
            }
        }
    }

    fn habits(
        &mut self,
        place: &str,
        map: &Map<String, Value>,
        others: &[&str],
        phone: Phone,
    ) -> HashMap<Channel, Habit> {
        let mut habits = HashMap::new();
        for (key, value) in map.iter().filter(|(key, _)| !others.contains(&key.as_str())) {
            let place = under(place, key);
            let Ok(channel) = key.parse() else {
                let known = [others, &Channel::OF_VONAGE.map(Channel::name)].concat().join(", ");
                self.wrong(&place, format!("is not known here; known are {known}"));
                continue;
            };
            if let Some(mut habit) = self.habit(&place, channel, value) {
                if phone == Phone::Off && matches!(habit.fate, Fate::Delivered(_)) {
                    habit.fate = Fate::Lost;
                }
                habits.insert(channel, habit);
            }
        }
        habits
    }

    fn habit(&mut self, place: &str, channel: Channel, value: &Value) -> Option<Habit> {
        let map = self.map(place, value)?;
        self.known_keys(place, map, &HABIT_KEYS);
        let window = match map.get("window").map(Value::as_str) {
            None | Some(Some("open")) => Window::Open,
            Some(Some("closed")) => Window::Closed,
            Some(_) => {
                self.wrong(&under(place, "window"), "must be open or closed");
                Window::Open
            }
        };
        if map.contains_key("window") && channel != Channel::Whatsapp {
            self.wrong(&under(place, "window"), "is a matter of whatsapp only");
        }
        Some(Habit { fate: self.fate(place, channel, map), window })
    }

    fn fate(&mut self, place: &str, channel: Channel, map: &Map<String, Value>) -> Fate {
        let failing = [("rejected", FailureWord::Rejected), ("undeliverable", FailureWord::Undeliverable)];
        let failing = failing.into_iter().find_map(|(key, word)| Some((key, word, map.get(key)?)));
        let after = match map.get("delivered") {
            None => Some(DELIVERED_AFTER),
            Some(value) => self.time_or_never(&under(place, "delivered"), value),
        };
        let needs_arrival = ["read", "reply", "press"];
        let happens = |key: &&&str| map.get(**key).is_some_and(|value| value != "never");
        if let Some((key, word, value)) = failing {
            for other in ["delivered", "rejected", "undeliverable"].iter().chain(&needs_arrival) {
                if *other != key && map.contains_key(*other) {
                    self.wrong(&under(place, other), format!("cannot be, since the message is {key}"));
                }
            }
            return Fate::Failed(self.failing(&under(place, key), word, value));
        }
        let Some(after) = after else {
            for other in needs_arrival.iter().filter(happens) {
                self.wrong(&under(place, other), "cannot be, since the message is never delivered");
            }
            return Fate::Lost;
        };
        let read = map.get("read").and_then(|value| self.time_or_never(&under(place, "read"), value));
        if read.is_some() && !channel.reports_read() {
            let what = format!("cannot be: {channel} never tells that a message was read; write `reply` instead");
            self.wrong(&under(place, "read"), what);
        }
        let reply = map.get("reply").and_then(|value| self.reply(&under(place, "reply"), value));
        let press = map.get("press").and_then(|value| self.press(&under(place, "press"), value));
        Fate::Delivered(Arrival { after, read, reply, press })
    }

    fn failing(&mut self, place: &str, word: FailureWord, value: &Value) -> Failing {
        let map = value.as_object();
        if let Some(map) = map {
            self.known_keys(place, map, &["code", "after"]);
        }
        let code = map.map_or(Some(value), |map| map.get("code")).and_then(Value::as_u64);
        let code = code.filter(|code| CODES.contains(code)).and_then(|code| u16::try_from(code).ok());
        if code.is_none() {
            self.wrong(
                place,
                "must be one of Vonage's delivery error codes, such as 1300, or { code: 1300, after: 2s }",
            );
        }
        let after = map.and_then(|map| map.get("after")).map(|value| self.time(&under(place, "after"), value));
        Failing { word, code: code.unwrap_or_default(), after: after.unwrap_or_default() }
    }

    fn reply(&mut self, place: &str, value: &Value) -> Option<Reply> {
        if value == "never" {
            return None;
        }
        let map = self.map(place, value)?;
        self.known_keys(place, map, &["after", "text"]);
        let after = self.needed_time(place, map);
        let text = map.get("text").and_then(Value::as_str);
        if text.is_none() {
            self.wrong(&under(place, "text"), "must be the words that are written back, in quotes");
        }
        Some(Reply { after, text: text?.into() })
    }

    fn press(&mut self, place: &str, value: &Value) -> Option<Press> {
        if value == "never" {
            return None;
        }
        let map = self.map(place, value)?;
        self.known_keys(place, map, &["after", "button"]);
        let after = self.needed_time(place, map);
        let button =
            map.get("button").map_or(Some(1), Value::as_u64).filter(|button| (1..=BUTTONS_MAX).contains(button));
        let Some(button) = button.and_then(|button| u8::try_from(button).ok()) else {
            self.wrong(&under(place, "button"), format!("must be the number of a button, 1 to {BUTTONS_MAX}"));
            return None;
        };
        Some(Press { after, button })
    }

    fn needed_time(&mut self, place: &str, map: &Map<String, Value>) -> Duration {
        let place = under(place, "after");
        if !map.contains_key("after") {
            self.wrong(&place, "is missing: how long after the delivery, such as 20s");
        }
        map.get("after").map(|value| self.time(&place, value)).unwrap_or_default()
    }

    fn time_or_never(&mut self, place: &str, value: &Value) -> Option<Duration> {
        if value == "never" { None } else { Some(self.time(place, value)) }
    }

    fn time(&mut self, place: &str, value: &Value) -> Duration {
        let read = match value {
            Value::Number(seconds) => seconds.as_u64().map(Duration::from_secs),
            Value::String(text) => parse_time(text),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        match read {
            Some(time) if time <= TIME_MAX => time,
            Some(_) => {
                self.wrong(place, "is longer than seven days");
                Duration::ZERO
            }
            None => {
                self.wrong(place, "must be a time such as 200ms, 5s, 2m or 1h (or never, where that makes sense)");
                Duration::ZERO
            }
        }
    }
}

/// Reads `200ms`, `5s`, `2m`, `1h`, or whole seconds without a unit.
pub(super) fn parse_time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at_checked(n_digits)?;
    let amount: u64 = digits.parse().ok()?;
    let millis_each = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(amount.checked_mul(millis_each)?))
}

fn under(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

fn channel_names() -> String {
    Channel::OF_VONAGE.map(Channel::name).join(", ")
}
