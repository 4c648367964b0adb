//! A model of Vonage: how it takes requests, what becomes of messages, and the webhooks that it sends.

use std::sync::Arc;
use std::time::Duration;

use callout::clock::Clock;
use callout::engine;
use callout::escalation::{Backend, Failure, Leg, TroubleOutcome};
use callout::id::ProviderId;
use callout::sender::{Answer, Outbound, SendTrouble, TroubleCause};
use callout::store::Store;
use callout::vonage::webhook;
use serde_json::Value;

use super::faults::Down;
use super::wire::{self, Names, Subject};
use super::{World, millis, moment};
use crate::bugs::Bug;
use crate::oracle::history::{Sent, SentOutcome, Wants, Webhook, WebhookKind, Writer};

/// Vonage gives a webhook so long to be answered.
const WEBHOOK_ANSWER_MAX: Duration = Duration::from_secs(15);
/// Vonage sends a webhook again after so long, doubling, up to a quarter of an hour.
const WEBHOOK_AGAIN_MIN: Duration = Duration::from_secs(5);
const WEBHOOK_AGAIN_MAX: Duration = Duration::from_mins(15);

impl World {
    /// The provider is asked to send.
    pub(crate) async fn provider_takes(self: &Arc<Self>, node: usize, outbound: &Outbound) -> Answer {
        let alone = self.wrong().alone.get(&node).copied();
        if alone.is_some() {
            self.mark("a node alone did not get through");
        }
        let down = self.wrong().provider.or(alone);
        let (cause, outcome, takes_ms, retry_after) = match down {
            Some(Down::Unreachable) => (TroubleCause::Unreachable, TroubleOutcome::NotSent, 10, None),
            Some(Down::Hangs) => (TroubleCause::Unreachable, TroubleOutcome::Unknown, 10_000, None),
            Some(Down::Errors) => (TroubleCause::Provider, TroubleOutcome::Unknown, 10, None),
            Some(Down::Credentials) => (TroubleCause::Credentials, TroubleOutcome::NotSent, 10, None),
            Some(Down::Balance) => (TroubleCause::Balance, TroubleOutcome::NotSent, 10, None),
            Some(Down::RateLimit) => {
                (TroubleCause::RateLimit, TroubleOutcome::NotSent, 10, Some(Duration::from_secs(30)))
            }
            None if self.rolls(|noise| noise.send_trouble) => {
                let retry_after = self.dice().permille(500).then(|| Duration::from_secs(2));
                (TroubleCause::RateLimit, TroubleOutcome::NotSent, 10, retry_after)
            }
            None if self.rolls(|noise| noise.send_refused) => {
                self.mark("the provider refused a message");
                self.note_sent(node, outbound, SentOutcome::Refused, true, None);
                return Answer::Refused(Failure { code: Some("1120".into()), detail: "HTTP 422".into() });
            }
            None => return self.accepts(node, outbound).await,
        };
        self.note_sent(node, outbound, SentOutcome::Trouble, true, None);
        self.sleep(millis(takes_ms)).await;
        Answer::Trouble(trouble(cause, outcome, retry_after))
    }

    async fn accepts(self: &Arc<Self>, node: usize, outbound: &Outbound) -> Answer {
        let id: ProviderId = format!("m-{:016x}", self.dice().next()).parse().unwrap();
        let is_answered = !self.rolls(|noise| noise.send_unanswered);
        self.note_sent(node, outbound, SentOutcome::Accepted, is_answered, Some(&id));
        if outbound.late.is_some() {
            self.mark("a message was late");
        }
        self.fate(outbound, &id);
        if !is_answered {
            self.mark("the answer to a send was lost");
            self.sleep(Duration::from_secs(10)).await;
            return Answer::Trouble(trouble(TroubleCause::Unreachable, TroubleOutcome::Unknown, None));
        }
        let slow_ms = self.dice().one_of(&[0, 0, 0, 300, 4_000]);
        self.sleep(millis(slow_ms)).await;
        Answer::Accepted(Some(id))
    }

    fn note_sent(
        &self,
        node: usize,
        outbound: &Outbound,
        outcome: SentOutcome,
        answered: bool,
        id: Option<&ProviderId>,
    ) {
        self.trace(|| format!("n{node} provider {outcome:?} {} {}", outbound.reference, outbound.step.user));
        let id = id.map(ToString::to_string);
        let (message_uuid, dispatch_uuid) = match outbound.backend {
            Backend::Messages => (id, None),
            Backend::Dispatch => (None, id),
        };
        let first = &outbound.step.first;
        self.notes().sent.push(Sent {
            at: moment(self.clock.now()),
            client_ref: Some(outbound.reference.to_string()),
            message_uuid,
            dispatch_uuid,
            channel: Some(first.channel.name().into()),
            to: Some(first.address.reveal().into()),
            outcome,
            answered,
            node: Some(format!("n{node}")),
        });
    }

    /// What becomes of a message: reports in any order, a person who reads, or not.
    fn fate(self: &Arc<Self>, outbound: &Outbound, id: &ProviderId) {
        let window_ms = u64::try_from(outbound.step.window().as_millis()).unwrap();
        let salt = self.dice().next();
        let subject = Subject { outbound: outbound.clone(), id: id.clone(), salt };
        let mut reports = self.reports(window_ms);
        if outbound.backend == Backend::Dispatch && self.dice().permille(800) {
            self.final_report(&subject, window_ms, &mut reports);
        }
        if self.dice().permille(100) {
            let mut dice = self.dice();
            // Some come at the same moment, and several nodes have them in their hands at once.
            let longest = dice.one_of(&[0, 0, 5_000]);
            let copies: Vec<_> = reports.iter().map(|(at, kind)| (at + dice.between(0, longest), *kind)).collect();
            reports.extend(copies);
        }
        if self.dice().permille(100) {
            let after = self.dice().between(0, window_ms * 2);
            self.spawn(Arc::clone(self).forge(subject.clone(), after));
        }
        if self.dice().permille(50) {
            let after = self.dice().between(0, window_ms);
            self.spawn(Arc::clone(self).say_nothing(subject.clone(), after));
        }
        for (after, kind) in reports {
            self.spawn(Arc::clone(self).report(subject.clone(), after, kind));
        }
    }

    /// What is reported on a message, and after how many milliseconds.
    fn reports(&self, window_ms: u64) -> Vec<(u64, WebhookKind)> {
        let mut reports = Vec::new();
        let mut dice = self.dice();
        match dice.between(0, 99) {
            0..=9 => reports.push((dice.one_of(&[0, 50, 3_000]), WebhookKind::Rejected)),
            10..=14 => reports.push((dice.between(100, window_ms), WebhookKind::Undeliverable)),
            15..=22 => {}
            _ => {
                reports.push((dice.between(0, 2_000), WebhookKind::Submitted));
                if dice.permille(900) {
                    reports.push((dice.between(0, 20_000), WebhookKind::Delivered));
                }
                match dice.between(0, 99) {
                    0..=9 => reports.push((dice.between(0, window_ms), WebhookKind::Read)),
                    10..=14 => reports.push((dice.between(window_ms, window_ms * 4), WebhookKind::Read)),
                    15..=17 => reports.push((dice.between(3_600_000, 18_000_000), WebhookKind::Read)),
                    18 => reports.push((0, WebhookKind::Read)),
                    19..=25 => reports.push((dice.between(1_000, window_ms * 2), WebhookKind::Reply)),
                    _ => {}
                }
            }
        }
        if dice.permille(100) {
            // Vonage had something in its way, and tells everything at once; several nodes have a part of it each.
            let at_once = reports.iter().map(|(at, _)| *at).max().unwrap_or_default();
            for (at, _) in &mut reports {
                *at = at_once;
            }
        }
        reports
    }

    /// Dispatch tells how a workflow ended: once somebody has read, or once all its time is over. What it tells may be
    /// news, because it came before the report on the message, or because that never comes.
    fn final_report(self: &Arc<Self>, subject: &Subject, window_ms: u64, reports: &mut Vec<(u64, WebhookKind)>) {
        let read = reports.iter().find(|(at, kind)| *kind == WebhookKind::Read && *at <= window_ms).copied();
        let (ends, tells): (u64, Vec<WebhookKind>) = {
            let mut dice = self.dice();
            let over = read.map_or(window_ms, |(at, _)| at);
            let ends = if dice.permille(300) { over } else { over + dice.between(0, 5_000) };
            if read.is_some() && dice.permille(300) {
                reports.retain(|(_, kind)| *kind != WebhookKind::Read);
            }
            let known = reports.iter().filter(|(at, kind)| *at <= ends && *kind != WebhookKind::Reply);
            (ends, known.map(|(_, kind)| *kind).chain(read.map(|(_, kind)| kind)).collect())
        };
        let is_error = tells.iter().any(|kind| matches!(kind, WebhookKind::Rejected | WebhookKind::Undeliverable))
            || self.dice().permille(30);
        let (world, subject) = (Arc::clone(self), subject.clone());
        self.spawn(async move {
            world.sleep(millis(ends)).await;
            if world.is_mended() {
                return;
            }
            let step = &subject.outbound.step;
            let strongest = |kinds: &[WebhookKind]| kinds.iter().rfind(|kind| tells.contains(kind)).copied();
            let first = strongest(&[WebhookKind::Submitted, WebhookKind::Delivered]);
            let last = strongest(&[WebhookKind::Undeliverable, WebhookKind::Rejected, WebhookKind::Read]);
            let listed: Vec<_> = [(&step.first, first), (step.last(), last)]
                .into_iter()
                .filter_map(|(leg, kind)| Some((leg, word(kind?))))
                .collect();
            let body = subject.end(is_error, &listed, world.clock.now(), &mut world.dice());
            world.mark("a workflow ended");
            if last == Some(WebhookKind::Read) {
                world.mark("a final report told of a read");
            }
            let mut kinds: Vec<_> = first.into_iter().chain(last).collect();
            if is_error && !kinds.contains(&WebhookKind::Undeliverable) {
                kinds.push(WebhookKind::Undeliverable);
            }
            let is_dropped = world.bug == Some(Bug::FinalReportsAreDropped);
            world.deliver(&subject, &body, &Told { kinds, is_dropped, ..Told::default() }).await;
        });
    }

    /// A webhook that concerns nobody, or says what nobody knows.
    async fn say_nothing(self: Arc<Self>, subject: Subject, after: u64) {
        self.sleep(millis(after)).await;
        if self.is_mended() {
            return;
        }
        let body = if self.dice().permille(300) {
            wire::legacy_sms()
        } else {
            subject.status(&subject.outbound.step.first, "seen", self.clock.now(), &mut self.dice())
        };
        self.deliver(&subject, &body, &Told::default()).await;
        self.mark("a webhook said what nobody knows");
    }

    async fn report(self: Arc<Self>, subject: Subject, after: u64, kind: WebhookKind) {
        self.sleep(millis(after)).await;
        // What happens to people in the last minutes is not part of the day.
        if self.is_mended() {
            return;
        }
        let step = &subject.outbound.step;
        let leg = match subject.backend() {
            // Vonage fails over within the workflow; the last channel is what a failure of it is about.
            Backend::Dispatch if kind != WebhookKind::Submitted && kind != WebhookKind::Delivered => step.last(),
            Backend::Dispatch | Backend::Messages => &step.first,
        };
        if kind == WebhookKind::Reply {
            return self.reply(&subject, leg).await;
        }
        let is_old = self.bug == Some(Bug::LateReadsAreDropped) && kind == WebhookKind::Read && {
            let reference = subject.outbound.reference;
            let stored = self.kept.get(reference.alert).await.unwrap();
            stored.is_some_and(|stored| stored.alert.newest_attempt() > reference.attempt)
        };
        let body = subject.status(leg, word(kind), self.clock.now(), &mut self.dice());
        self.deliver(&subject, &body, &Told { kinds: vec![kind], is_dropped: is_old, ..Told::default() }).await;
    }

    /// Somebody who was messaged writes back.
    async fn reply(&self, subject: &Subject, leg: &Leg) {
        let (wants, names) = {
            let mut dice = self.dice();
            let wants = match dice.between(0, 4) {
                0 => Wants::Next,
                1 => Wants::Resolve,
                _ => Wants::Acknowledge,
            };
            let names = match dice.between(0, 9) {
                0..=2 if wire::has_buttons(leg.channel) => Names::Button,
                0..=4 => Names::Code,
                // Until a report has told what a workflow's message is called, nobody can know what is quoted.
                5 | 6 if subject.backend() == Backend::Messages => Names::Quoted,
                _ => Names::Nothing,
            };
            (wants, names)
        };
        let verb = match wants {
            Wants::Next => "next",
            Wants::Resolve => "resolved",
            Wants::Acknowledge => "ok",
        };
        self.mark(match names {
            Names::Code => "somebody replied with a code",
            Names::Button => "somebody pressed a button",
            Names::Quoted => "somebody quoted a message",
            Names::Nothing => "somebody replied without a word of what is meant",
        });
        let body = subject.reply(leg, names, verb, self.clock.now(), &mut self.dice());
        let writer = Writer { channel: leg.channel.name().into(), address: leg.address.reveal().into() };
        let is_named = matches!(names, Names::Code | Names::Button);
        let told = Told {
            kinds: vec![WebhookKind::Reply],
            wants,
            writer: (!is_named).then_some(writer),
            is_quoted: names == Names::Quoted,
            is_dropped: names == Names::Nothing && self.bug == Some(Bug::BareRepliesAreDropped),
        };
        self.deliver(subject, &body, &told).await;
    }

    /// A webhook is sent until it is answered 200.
    async fn deliver(&self, subject: &Subject, body: &Value, told: &Told) {
        let incoming = webhook::read(&body.to_string().into_bytes()).unwrap();
        let written_at = moment(self.clock.now());
        let outbound = &subject.outbound;
        let mut wait = WEBHOOK_AGAIN_MIN;
        loop {
            let at = moment(self.clock.now());
            let answer = match self.some_engine() {
                Some(_) if told.is_dropped => Some(200),
                Some(engine) if self.bug == Some(Bug::AnsweredBeforeCommit) => {
                    // Whatever comes of it.
                    let _outcome = self.within(WEBHOOK_ANSWER_MAX, engine.receive(&incoming)).await;
                    Some(200)
                }
                Some(engine) => match self.within(WEBHOOK_ANSWER_MAX, engine.receive(&incoming)).await {
                    Some(Ok(_)) => Some(200),
                    Some(Err(engine::Error::Stopped)) | None => None,
                    Some(Err(_)) => Some(503),
                },
                None => None,
            };
            let answered_at = answer.map(|_| moment(self.clock.now()));
            self.trace(|| format!("webhook {:?} {} answered {answer:?}", told.kinds, outbound.reference));
            // A reply that has no code names no more than whoever wrote it, and perhaps a message.
            let is_named = told.writer.is_none();
            let id = Some(subject.id.to_string()).filter(|_| is_named || told.is_quoted);
            let (message_uuid, dispatch_uuid) = match outbound.backend {
                Backend::Messages => (id, None),
                Backend::Dispatch => (None, id),
            };
            for kind in &told.kinds {
                self.notes().webhooks.push(Webhook {
                    at,
                    answered_at,
                    answer,
                    kind: *kind,
                    client_ref: is_named.then(|| outbound.reference.to_string()),
                    message_uuid: message_uuid.clone(),
                    dispatch_uuid: dispatch_uuid.clone(),
                    wants: told.wants,
                    forged: false,
                    writer: told.writer.clone(),
                    written_at: Some(written_at),
                });
            }
            if answer == Some(200) {
                return;
            }
            self.mark("a webhook was sent again");
            self.sleep(wait).await;
            wait = (wait * 2).min(WEBHOOK_AGAIN_MAX);
        }
    }
}

/// What a webhook tells, as the oracle is told of it.
#[derive(Default)]
struct Told {
    kinds: Vec<WebhookKind>,
    wants: Wants,
    /// Whoever wrote a reply that does not name the alert by its code.
    writer: Option<Writer>,
    is_quoted: bool,
    /// A planted bug answers it and does nothing.
    is_dropped: bool,
}

fn word(kind: WebhookKind) -> &'static str {
    match kind {
        WebhookKind::Submitted => "submitted",
        WebhookKind::Delivered => "delivered",
        WebhookKind::Read | WebhookKind::Reply => "read",
        WebhookKind::Rejected => "rejected",
        WebhookKind::Undeliverable => "undeliverable",
    }
}

fn trouble(cause: TroubleCause, outcome: TroubleOutcome, retry_after: Option<Duration>) -> SendTrouble {
    SendTrouble { cause, failure: Failure { code: None, detail: "trouble".into() }, outcome, retry_after }
}
