//! What goes on at Vonage and at the phones: messages on their way, workflows, and what happens next.
//!
//! It is synchronous and reads no clock. [`World::pass`] plays all that was due by a moment, each thing
//! at its own moment, so that the outcome does not depend on how often somebody looks. What Vonage has
//! to tell the service collects as webhooks, which somebody else delivers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::dispatch::{Condition, Step};
use super::faults::{Fault, Faults};
use super::habits::People;
use super::ids::{IdSource, Ids};
use super::life::{Status, Turn, life};
use super::order::{Order, Shape};
use super::sent::{Api, Message, Moment, Origin, SentList};
use super::webhook::{
    self, Content, Listed, Oddity, Outcome, Subject, Webhook, WebhookKind, Words, Written, odd_status, status,
};
use crate::contact::Channel;
use crate::timestamp::Timestamp;

/// How many of the people's own messages are remembered, so that they can be marked as read.
const INBOUND_MAX: usize = 10_000;
/// How much earlier a stale reply says it was written.
const STALE: Duration = Duration::from_hours(1);
/// Our address in a reply to somebody who was never sent anything.
const UNASKED_TO: &str = "447700900100";

pub(super) struct World {
    people: People,
    pub(super) faults: Faults,
    ids: IdSource,
    sent: SentList,
    workflows: HashMap<Arc<str>, Workflow>,
    agenda: BTreeMap<Moment, Happening>,
    n_planned: u64,
    inbound: VecDeque<(Arc<str>, Channel)>,
    webhooks: Vec<Webhook>,
}

enum Happening {
    /// Something happens to a message.
    Turn(u64, Turn),
    /// The time of a workflow's element is over.
    Expiry(Arc<str>, usize),
}

/// A Dispatch workflow. It is forgotten once its final report is written.
struct Workflow {
    steps: Vec<Step>,
    current: usize,
    /// The messages that were sent for it.
    messages: Vec<u64>,
    expiry: Option<Moment>,
    origin: Origin,
}

/// How soon the first webhook of a message may come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// When it happens.
    Natural,
    /// At once, before the request is answered.
    AtOnce,
}

/// A reply or press that a script makes.
pub(super) struct Inbound<'a> {
    pub(super) channel: Channel,
    pub(super) from: &'a str,
    /// Our address; where it is not given, that of the newest message to this person.
    pub(super) to: Option<&'a str>,
    pub(super) words: &'a Words,
    /// The message that it answers.
    pub(super) context: Option<&'a str>,
    pub(super) at: Timestamp,
}

/// What a PATCH of a message leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    Done,
    Unknown,
    Unsupported,
}

impl World {
    pub(super) fn new(people: People, faults: Faults, ids: Ids) -> Self {
        Self {
            people,
            faults,
            ids: IdSource::new(ids),
            sent: SentList::default(),
            workflows: HashMap::new(),
            agenda: BTreeMap::new(),
            n_planned: 0,
            inbound: VecDeque::new(),
            webhooks: Vec::new(),
        }
    }

    pub(super) fn id(&mut self) -> Arc<str> {
        self.ids.next()
    }

    pub(super) const fn sent(&self) -> &SentList {
        &self.sent
    }

    /// Forgets all messages and all that was still to happen.
    pub(super) fn forget(&mut self) {
        self.sent = SentList::default();
        self.workflows.clear();
        self.agenda.clear();
        self.inbound.clear();
        self.webhooks.clear();
    }

    /// When something happens next.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.agenda.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn take_webhooks(&mut self) -> Vec<Webhook> {
        std::mem::take(&mut self.webhooks)
    }

    /// Accepts a message and answers its id.
    pub(super) fn accept_message(
        &mut self,
        order: Order,
        origin: Origin,
        now: Timestamp,
        beginning: Beginning,
    ) -> Arc<str> {
        let number = self.start(Api::Messages, order, origin, None, (now, beginning));
        self.sent.get(number).map_or_else(|| Arc::from(""), |message| Arc::clone(&message.uuid))
    }

    /// Accepts a workflow, sends its first message, and answers the ids of both.
    pub(super) fn accept_workflow(
        &mut self,
        steps: Vec<Step>,
        origin: Origin,
        now: Timestamp,
        beginning: Beginning,
    ) -> (Arc<str>, Option<Arc<str>>) {
        let uuid = self.id();
        let workflow = Workflow { steps, current: 0, messages: Vec::new(), expiry: None, origin };
        self.workflows.insert(Arc::clone(&uuid), workflow);
        let number = self.start_step(&uuid, 0, (now, beginning));
        let message = number.and_then(|number| self.sent.get(number)).map(|message| Arc::clone(&message.uuid));
        (uuid, message)
    }

    fn start(
        &mut self,
        api: Api,
        order: Order,
        origin: Origin,
        element: Option<(Arc<str>, usize)>,
        (now, beginning): (Timestamp, Beginning),
    ) -> u64 {
        let habit = self.people.habit(order.channel, &order.to);
        let turns = life(&habit, &order, &mut self.faults);
        let uuid = self.id();
        let (planned, status) = (Vec::new(), None);
        let message = Message { at: now, api, uuid, element, order, origin, status, planned };
        let (number, dropped) = self.sent.add(message);
        for message in dropped {
            self.drop_message(message);
        }
        let mut planned = Vec::new();
        for (index, (after, turn)) in turns.into_iter().enumerate() {
            let at = if index == 0 && beginning == Beginning::AtOnce { now } else { now.plus(after) };
            planned.push(self.plan(at, Happening::Turn(number, turn)));
        }
        if let Some(message) = self.sent.get_mut(number) {
            message.planned = planned;
        }
        number
    }

    fn start_step(&mut self, uuid: &Arc<str>, step: usize, begun: (Timestamp, Beginning)) -> Option<u64> {
        let workflow = self.workflows.get_mut(uuid)?;
        let Step { order, failover } = workflow.steps.get(step)?.clone();
        let origin = workflow.origin.clone();
        workflow.current = step;
        let old_expiry = workflow.expiry.take();
        self.cancel(old_expiry);
        let number = self.start(Api::Dispatch, order, origin, Some((Arc::clone(uuid), step)), begun);
        let expiry = failover
            .map(|failover| self.plan(begun.0.plus(failover.expiry), Happening::Expiry(Arc::clone(uuid), step)));
        let workflow = self.workflows.get_mut(uuid)?;
        workflow.messages.push(number);
        workflow.expiry = expiry;
        Some(number)
    }

    fn plan(&mut self, at: Timestamp, happening: Happening) -> Moment {
        self.n_planned += 1;
        let moment = (at, self.n_planned);
        self.agenda.insert(moment, happening);
        moment
    }

    fn cancel(&mut self, moments: impl IntoIterator<Item = Moment>) {
        for moment in moments {
            self.agenda.remove(&moment);
        }
    }

    fn drop_message(&mut self, message: Message) {
        self.cancel(message.planned);
        if let Some((uuid, _)) = message.element
            && let Some(workflow) = self.workflows.remove(&uuid)
        {
            self.cancel(workflow.expiry);
        }
    }

    /// Plays what is due by `now`, but stops once `webhooks_max` webhooks have collected.
    pub(super) fn pass(&mut self, now: Timestamp, webhooks_max: usize) {
        while self.webhooks.len() < webhooks_max {
            let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) else { return };
            let (moment, happening) = entry.remove_entry();
            match happening {
                Happening::Turn(number, turn) => {
                    if let Some(message) = self.sent.get_mut(number) {
                        message.planned.retain(|planned| *planned != moment);
                    }
                    self.turn(number, turn, moment.0);
                }
                Happening::Expiry(uuid, step) => {
                    if self.workflows.get(&uuid).is_some_and(|workflow| workflow.current == step) {
                        self.start_step(&uuid, step + 1, (moment.0, Beginning::Natural));
                    }
                }
            }
        }
    }

    fn turn(&mut self, number: u64, turn: Turn, at: Timestamp) {
        match turn {
            Turn::Status(status) => self.tell(number, status, at),
            Turn::Reply(text) => self.answer(number, &Words::Text(text), at),
            Turn::Press(button) => {
                let pressed = self.sent.get(number).and_then(|message| message.order.buttons.get(button).cloned());
                if let Some(button) = pressed {
                    self.answer(number, &Words::Pressed(button), at);
                }
            }
        }
    }

    /// A message has a new status: the service is told, and a workflow may go on or end.
    fn tell(&mut self, number: u64, status: Status, at: Timestamp) {
        let Some(message) = self.sent.get_mut(number) else { return };
        message.status = Some(status);
        let element = message.element.clone();
        let decision = element.as_ref().and_then(|(uuid, step)| self.workflows.get(uuid)?.decide(*step, status));
        let Some((uuid, _)) = element else {
            return self.push_status(number, status, at);
        };
        match decision {
            Some(Decision::Finish(outcome)) if self.faults.take(Fault::ReportEarly) => {
                self.finish(&uuid, outcome, number, at);
                self.push_status(number, status, at);
            }
            Some(Decision::Finish(outcome)) => {
                self.push_status(number, status, at);
                self.finish(&uuid, outcome, number, at);
            }
            Some(Decision::Next(step)) => {
                self.push_status(number, status, at);
                self.start_step(&uuid, step, (at, Beginning::Natural));
            }
            None => self.push_status(number, status, at),
        }
    }

    fn push_status(&mut self, number: u64, word: Status, at: Timestamp) {
        let Some(message) = self.sent.get(number) else { return };
        let dispatch_uuid = message.element.as_ref().map(|(uuid, _)| &**uuid);
        let subject = Subject { uuid: &message.uuid, dispatch_uuid, order: &message.order };
        let mut contents = Vec::new();
        for (fault, oddity) in [(Fault::UnknownStatus, Oddity::Status), (Fault::UnknownChannel, Oddity::Channel)] {
            if self.faults.take(fault) {
                contents.push(odd_status(subject, oddity, at, &mut self.faults));
            }
        }
        contents.push(status(subject, word, at, &mut self.faults));
        for content in contents {
            self.push(WebhookKind::Status, number, content);
        }
    }

    fn finish(&mut self, uuid: &Arc<str>, outcome: Outcome, last: u64, at: Timestamp) {
        let Some(workflow) = self.workflows.remove(uuid) else { return };
        self.cancel(workflow.expiry);
        if self.faults.take(Fault::NoReport) {
            return;
        }
        let outcome = if self.faults.take(Fault::ReportError) { Outcome::Error } else { outcome };
        let messages = workflow.messages.iter().filter_map(|number| self.sent.get(*number));
        let listed: Vec<Listed<'_>> = messages
            .map(|message| Listed { uuid: &message.uuid, channel: message.order.channel, status: message.status })
            .collect();
        let content = webhook::report(uuid, outcome, &listed, at, &mut self.faults);
        self.push(WebhookKind::Status, last, content);
    }

    /// The person who got message `number` answers it.
    fn answer(&mut self, number: u64, words: &Words, at: Timestamp) {
        let Some(message) = self.sent.get(number) else { return };
        let (channel, person, context) = (message.order.channel, message.order.to.clone(), Arc::clone(&message.uuid));
        self.reply(&Inbound { channel, from: &person, to: None, words, context: Some(&context), at });
    }

    /// Somebody writes to us, and the id of what was written.
    pub(super) fn reply(&mut self, inbound: &Inbound<'_>) -> Arc<str> {
        let uuid = self.id();
        if self.inbound.len() >= INBOUND_MAX {
            self.inbound.pop_front();
        }
        self.inbound.push_back((Arc::clone(&uuid), inbound.channel));
        let answered = inbound.context.and_then(|uuid| self.sent.get(self.sent.number(uuid)?));
        let answered = answered.or_else(|| self.sent.newest_to(inbound.channel, inbound.from));
        let stale = if self.faults.take(Fault::StaleReply) { STALE } else { Duration::ZERO };
        let before = inbound.at.since(Timestamp::EPOCH).saturating_sub(stale);
        let written = Written {
            uuid: &uuid,
            channel: inbound.channel,
            from: inbound.from,
            to: inbound.to.or_else(|| answered.map(|message| &*message.order.from)).unwrap_or(UNASKED_TO),
            words: inbound.words,
            context: inbound.context,
            at: Timestamp::EPOCH.plus(before),
            shape: answered.map_or(Shape::V1, |message| message.order.shape),
        };
        let content = webhook::inbound(&written, &mut self.faults);
        let webhook = Webhook {
            line: answered.map_or_else(|| Arc::clone(&uuid), |message| Arc::clone(&message.uuid)),
            kind: WebhookKind::Inbound,
            url: None,
            content,
            application: answered.and_then(|message| message.origin.application.clone()),
        };
        self.push_webhook(webhook);
        uuid
    }

    /// A script says what becomes of a message; what would have become of it by itself is called off.
    /// Answers whether there is such a message.
    pub(super) fn report(&mut self, uuid: &str, status: Status, now: Timestamp) -> bool {
        let Some(number) = self.sent.number(uuid) else { return false };
        self.call_off(number);
        self.tell(number, status, now);
        true
    }

    fn call_off(&mut self, number: u64) {
        let planned = self.sent.get_mut(number).map(|message| std::mem::take(&mut message.planned));
        self.cancel(planned.unwrap_or_default());
    }

    /// Takes back an RCS message that has not arrived: nothing more happens to it.
    pub(super) fn revoke(&mut self, uuid: &str) -> Update {
        let Some(number) = self.sent.number(uuid) else { return self.unsupported_if_inbound(uuid) };
        let Some(message) = self.sent.get(number) else { return Update::Unknown };
        if message.order.channel != Channel::Rcs {
            return Update::Unsupported;
        }
        // Best effort, as Vonage says: what has arrived stays.
        if matches!(message.status, None | Some(Status::Submitted)) {
            self.call_off(number);
        }
        Update::Done
    }

    fn unsupported_if_inbound(&self, uuid: &str) -> Update {
        if self.inbound.iter().any(|(known, _)| &**known == uuid) { Update::Unsupported } else { Update::Unknown }
    }

    /// Marks a person's `WhatsApp` message as read by us.
    pub(super) fn mark_read(&self, uuid: &str) -> Update {
        match self.inbound.iter().find(|(known, _)| &**known == uuid) {
            Some((_, Channel::Whatsapp)) => Update::Done,
            Some((
                _,
                Channel::Messenger
                | Channel::ViberService
                | Channel::Sms
                | Channel::Rcs
                | Channel::Mms
                | Channel::Email,
            )) => Update::Unsupported,
            None if self.sent.number(uuid).is_some() => Update::Unsupported,
            None => Update::Unknown,
        }
    }

    /// A webhook about message `number`, in line behind its others.
    fn push(&mut self, kind: WebhookKind, number: u64, content: Content) {
        let Some(message) = self.sent.get(number) else { return };
        let webhook = Webhook {
            line: Arc::clone(&message.uuid),
            kind,
            url: message.order.webhook_url.clone().filter(|_| kind == WebhookKind::Status),
            content,
            application: message.origin.application.clone(),
        };
        self.push_webhook(webhook);
    }

    /// Any webhook; twice where a fault wants that.
    pub(super) fn push_webhook(&mut self, webhook: Webhook) {
        if self.faults.take(Fault::Twice) {
            self.webhooks.push(webhook.clone());
        }
        self.webhooks.push(webhook);
    }
}

/// What a status of the current message means for its workflow.
enum Decision {
    Next(usize),
    Finish(Outcome),
}

impl Workflow {
    /// Dispatch goes on when a message fails at once, ends when the condition is met in time, and ends
    /// with the last message's delivery or failure (Dispatch reference). What comes of earlier messages
    /// changes nothing any more.
    fn decide(&self, step: usize, status: Status) -> Option<Decision> {
        if step != self.current {
            return None;
        }
        let condition = self.steps.get(step)?.failover.map(|failover| failover.condition);
        match (condition, status) {
            (Some(_), Status::Failed(..)) => Some(Decision::Next(step + 1)),
            (None, Status::Failed(..)) => Some(Decision::Finish(Outcome::Error)),
            (_, Status::Read) | (None | Some(Condition::Delivered), Status::Delivered) => {
                Some(Decision::Finish(Outcome::Completed))
            }
            (_, Status::Submitted) | (Some(Condition::Read), Status::Delivered) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::order::Form;
    use super::super::sent::{SENT_BYTES_MAX, SENT_MAX};
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_772_331_307_000);

    fn world() -> World {
        World::new(People::default(), Faults::default(), Ids::Seeded(1))
    }

    fn send(world: &mut World, body: &Bytes) -> Arc<str> {
        let order = Order {
            channel: Channel::Sms,
            to: "447700900001".into(),
            from: "447700900101".into(),
            text: Some("x".into()),
            form: Form::Free,
            buttons: Vec::new(),
            ttl: None,
            client_ref: None,
            webhook_url: None,
            shape: Shape::V1,
        };
        let origin = Origin { body: body.clone(), application: None };
        world.accept_message(order, origin, START, Beginning::Natural)
    }

    #[test]
    fn the_oldest_messages_are_forgotten_by_number_with_all_that_was_to_happen() {
        let mut world = world();
        let first = send(&mut world, &Bytes::new());
        for _ in 0..SENT_MAX {
            send(&mut world, &Bytes::new());
        }
        assert_eq!(world.sent().from(1).first().map(|sent| sent.number), Some(2));
        assert_eq!(world.agenda.len(), 2 * SENT_MAX);
        assert!(!world.report(&first, Status::Read, START));
    }

    #[test]
    fn the_oldest_messages_are_forgotten_by_size() {
        let (mut world, body) = (world(), Bytes::from(vec![b' '; 1 << 20]));
        for _ in 0..SENT_BYTES_MAX / body.len() + 2 {
            send(&mut world, &body);
        }
        assert_eq!(world.sent().from(1).first().map(|sent| sent.number), Some(3));
    }

    #[test]
    fn where_there_is_no_room_for_webhooks_nothing_happens_until_there_is() {
        let mut world = world();
        send(&mut world, &Bytes::new());
        let later = START.plus(Duration::from_mins(1));
        world.pass(later, 1);
        assert_eq!((world.take_webhooks().len(), world.agenda.len()), (1, 1));
        world.pass(later, 1);
        assert_eq!((world.take_webhooks().len(), world.agenda.len()), (1, 0));
    }

    #[test]
    fn only_so_many_messages_of_people_are_remembered() {
        let mut world = world();
        let words = Words::Text("hello".into());
        let (channel, from) = (Channel::Whatsapp, "447700900001");
        let inbound = Inbound { channel, from, to: None, words: &words, context: None, at: START };
        let first = world.reply(&inbound);
        assert_eq!(world.mark_read(&first), Update::Done);
        for _ in 0..INBOUND_MAX {
            world.reply(&inbound);
        }
        assert_eq!(world.mark_read(&first), Update::Unknown);
    }
}
