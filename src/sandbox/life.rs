//! What becomes of one message, worked out the moment it is accepted.
//!
//! A pure function of the person's habit, the message and the faults. It says what happens after how
//! long; nothing here waits or sends.

use std::time::Duration;

use super::faults::{Fault, Faults};
use super::habits::{Arrival, FailureWord, Fate, Habit, Window};
use super::order::{Form, Order};
use crate::contact::Channel;

/// How long it takes until a message was handed over to the channel's provider.
pub const SUBMITTED_AFTER: Duration = Duration::from_millis(100);

/// Free text outside of `WhatsApp`'s window (Messages reference, list of delivery errors).
const OUTSIDE_WINDOW: u16 = 1340;
/// The time to live was over before the phone was found (same list).
const TTL_EXPIRED: u16 = 1360;

/// What a status webhook says about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Handed over.
    Submitted,
    /// On the phone.
    Delivered,
    /// Opened.
    Read,
    /// Failed, with Vonage's delivery error code.
    Failed(FailureWord, u16),
}

impl Status {
    /// The word in the webhook.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed(FailureWord::Rejected, _) => "rejected",
            Self::Failed(FailureWord::Undeliverable, _) => "undeliverable",
        }
    }

    /// The status with this word; a failed message has `code`.
    pub fn from_word(word: &str, code: u16) -> Option<Self> {
        match word {
            "submitted" => Some(Self::Submitted),
            "delivered" => Some(Self::Delivered),
            "read" => Some(Self::Read),
            "rejected" => Some(Self::Failed(FailureWord::Rejected, code)),
            "undeliverable" => Some(Self::Failed(FailureWord::Undeliverable, code)),
            _ => None,
        }
    }
}

/// One thing that happens to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Status(Status),
    /// The person writes back.
    Reply(Box<str>),
    /// The person presses a button, counted from 0.
    Press(usize),
}

/// What happens, each after how long, in the order in which it happens.
pub(super) fn life(habit: &Habit, order: &Order, faults: &mut Faults) -> Vec<(Duration, Turn)> {
    if faults.take(Fault::Silent) {
        return Vec::new();
    }
    let mut turns = undisturbed(habit, order, faults);
    if faults.take(Fault::ReadFirst) {
        reorder(&mut turns, |statuses| {
            if let Some(read) = statuses.iter().position(|status| *status == Status::Read) {
                statuses.get_mut(..=read).into_iter().for_each(|until_read| until_read.rotate_right(1));
            }
        });
    }
    if faults.take(Fault::Reversed) {
        reorder(&mut turns, |statuses| statuses.reverse());
    }
    turns.sort_by_key(|(after, _)| *after);
    turns
}

fn undisturbed(habit: &Habit, order: &Order, faults: &mut Faults) -> Vec<(Duration, Turn)> {
    let failed = |word, code| Turn::Status(Status::Failed(word, code));
    let submitted = (SUBMITTED_AFTER, Turn::Status(Status::Submitted));
    if let Some(code) = faults.code(Fault::Rejected) {
        return vec![(Duration::ZERO, failed(FailureWord::Rejected, code))];
    }
    if let Some(code) = faults.code(Fault::Undeliverable) {
        return vec![(Duration::ZERO, failed(FailureWord::Undeliverable, code))];
    }
    if order.channel == Channel::Whatsapp && habit.window == Window::Closed && order.form == Form::Free {
        return vec![(Duration::ZERO, failed(FailureWord::Rejected, OUTSIDE_WINDOW))];
    }
    let too_late = |ttl| vec![submitted.clone(), (ttl, failed(FailureWord::Rejected, TTL_EXPIRED))];
    match &habit.fate {
        Fate::Failed(failing) => {
            let end = (failing.after, failed(failing.word, failing.code));
            if failing.after > SUBMITTED_AFTER { vec![submitted, end] } else { vec![end] }
        }
        Fate::Lost => order.ttl.map_or_else(|| vec![submitted.clone()], too_late),
        Fate::Delivered(arrival) => {
            let delivered = SUBMITTED_AFTER.saturating_add(arrival.after);
            match order.ttl {
                Some(ttl) if delivered > ttl => too_late(ttl),
                Some(_) | None => {
                    let mut turns = vec![submitted, (delivered, Turn::Status(Status::Delivered))];
                    turns.extend(after_delivery(arrival, delivered, order, faults));
                    turns
                }
            }
        }
    }
}

fn after_delivery(arrival: &Arrival, delivered: Duration, order: &Order, faults: &mut Faults) -> Vec<(Duration, Turn)> {
    let mut turns = Vec::new();
    if let Some(read) = arrival.read
        && order.channel.reports_read()
        && !faults.take(Fault::NoRead)
    {
        let late = faults.lasting(Fault::Late).unwrap_or_default();
        turns.push((delivered.saturating_add(read).saturating_add(late), Turn::Status(Status::Read)));
    }
    if let Some(reply) = &arrival.reply {
        turns.push((delivered.saturating_add(reply.after), Turn::Reply(reply.text.clone())));
    }
    if let Some(press) = arrival.press {
        let button = usize::from(press.button).saturating_sub(1);
        turns.push((delivered.saturating_add(press.after), Turn::Press(button)));
    }
    turns
}

/// Gives the statuses another order among the moments at which statuses come.
fn reorder(turns: &mut [(Duration, Turn)], change: impl FnOnce(&mut Vec<Status>)) {
    let mut statuses: Vec<Status> = turns.iter().filter_map(|(_, turn)| status_of(turn)).collect();
    change(&mut statuses);
    let places = turns.iter_mut().filter(|(_, turn)| status_of(turn).is_some());
    for ((_, turn), status) in places.zip(statuses) {
        *turn = Turn::Status(status);
    }
}

fn status_of(turn: &Turn) -> Option<Status> {
    match turn {
        Turn::Status(status) => Some(*status),
        Turn::Reply(_) | Turn::Press(_) => None,
    }
}
