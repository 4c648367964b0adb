//! The messages that were accepted, the newest last.
//!
//! At most [`SENT_MAX`] of them are kept, and at most [`SENT_BYTES_MAX`] of request bodies; the oldest
//! go first, and whatever was still to happen to them goes with them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::life::Status;
use super::order::Order;
use crate::contact::Channel;
use crate::timestamp::Timestamp;

/// The most messages that are kept.
pub const SENT_MAX: usize = 100_000;
/// The most bytes of request bodies that are kept with them.
pub const SENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Which of Vonage's two ways of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v0.1/dispatch`
    Dispatch,
}

impl Api {
    /// The name that `GET /sent` shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Dispatch => "dispatch",
        }
    }
}

/// A message that the stand-in sent to somebody, as a script or test sees it. Its `Debug` shows neither
/// address nor text.
#[derive(Clone)]
pub struct Sent {
    /// Counts the messages from 1, since the start or since the list was last emptied.
    pub number: u64,
    /// When it was sent: for a later element of a workflow, when its turn came.
    pub at: Timestamp,
    /// Which API asked for it.
    pub api: Api,
    /// The channel.
    pub channel: Channel,
    /// The person's address.
    pub to: Box<str>,
    /// Our address.
    pub from: Box<str>,
    /// The words; none where it is a template or something of our own making.
    pub text: Option<Box<str>>,
    /// The reference that came with it.
    pub client_ref: Option<Box<str>>,
    /// The message's id.
    pub message_uuid: Arc<str>,
    /// The workflow's id, on Dispatch.
    pub dispatch_uuid: Option<Arc<str>>,
    /// What has become of it so far.
    pub status: Option<Status>,
    /// The body of the request that led to it, as it came; the same for each message of a workflow.
    pub body: Bytes,
}

impl fmt::Debug for Sent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sent")
            .field("number", &self.number)
            .field("at", &self.at)
            .field("api", &self.api)
            .field("channel", &self.channel)
            .field("client_ref", &self.client_ref)
            .field("message_uuid", &self.message_uuid)
            .field("dispatch_uuid", &self.dispatch_uuid)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// The request that a message comes from.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) body: Bytes,
    /// The application that the caller's token names.
    pub(super) application: Option<Arc<str>>,
}

/// A place in the agenda, where something is still to happen.
pub(super) type Moment = (Timestamp, u64);

/// A message on its way.
pub(super) struct Message {
    pub(super) at: Timestamp,
    pub(super) api: Api,
    pub(super) uuid: Arc<str>,
    /// The workflow and the place in it.
    pub(super) element: Option<(Arc<str>, usize)>,
    pub(super) order: Order,
    pub(super) origin: Origin,
    pub(super) status: Option<Status>,
    /// What is still to happen to it.
    pub(super) planned: Vec<Moment>,
}

/// All messages that are kept.
#[derive(Default)]
pub(super) struct SentList {
    kept: VecDeque<Message>,
    /// The number of the first message that is kept.
    n_dropped: u64,
    bytes: usize,
    by_uuid: HashMap<Arc<str>, u64>,
}

impl SentList {
    /// Adds a message and answers its number, with the oldest where that one must go.
    pub(super) fn add(&mut self, message: Message) -> (u64, Vec<Message>) {
        let number = self.newest() + 1;
        self.bytes += message.origin.body.len();
        self.by_uuid.insert(Arc::clone(&message.uuid), number);
        self.kept.push_back(message);
        let mut dropped = Vec::new();
        while self.kept.len() > SENT_MAX || (self.bytes > SENT_BYTES_MAX && self.kept.len() > 1) {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.n_dropped += 1;
            self.bytes -= oldest.origin.body.len();
            self.by_uuid.remove(&oldest.uuid);
            dropped.push(oldest);
        }
        (number, dropped)
    }

    /// The number of the newest message; 0 where there is none.
    pub(super) fn newest(&self) -> u64 {
        self.n_dropped + u64::try_from(self.kept.len()).unwrap_or(u64::MAX)
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.n_dropped + 1)?).ok()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Message> {
        self.kept.get(self.index(number)?)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Message> {
        let index = self.index(number)?;
        self.kept.get_mut(index)
    }

    pub(super) fn number(&self, uuid: &str) -> Option<u64> {
        self.by_uuid.get(uuid).copied()
    }

    /// The newest message to this address.
    pub(super) fn newest_to(&self, channel: Channel, to: &str) -> Option<&Message> {
        self.kept.iter().rev().find(|message| message.order.channel == channel && &*message.order.to == to)
    }

    /// The messages from number `first` on, oldest first.
    pub(super) fn from(&self, first: u64) -> Vec<Sent> {
        let skip = self.index(first).unwrap_or(0);
        let number = first.max(self.n_dropped + 1);
        self.kept.iter().skip(skip).zip(number..).map(|(message, number)| message.shown(number)).collect()
    }
}

impl Message {
    fn shown(&self, number: u64) -> Sent {
        Sent {
            number,
            at: self.at,
            api: self.api,
            channel: self.order.channel,
            to: self.order.to.clone(),
            from: self.order.from.clone(),
            text: self.order.text.clone(),
            client_ref: self.order.client_ref.clone(),
            message_uuid: Arc::clone(&self.uuid),
            dispatch_uuid: self.element.as_ref().map(|(uuid, _)| Arc::clone(uuid)),
            status: self.status,
            body: self.origin.body.clone(),
        }
    }
}
