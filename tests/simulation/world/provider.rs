//! A model of Vonage: how it takes requests, what becomes of messages, and the webhooks that it sends.

use std::sync::Arc;
use std::time::Duration;

use callout::clock::Clock;
use callout::engine;
use callout::escalation::{Backend, Failure, ReportStatus, TroubleOutcome};
use callout::id::ProviderId;
use callout::incoming::{InboundMessage, Incoming, MessageStatus};
use callout::sender::{Answer, Outbound, SendTrouble, TroubleCause};
use callout::store::Store;

use super::faults::Down;
use super::{World, millis, moment};
use crate::bugs::Bug;
use crate::oracle::history::{Sent, SentOutcome, Wants, Webhook, WebhookKind};

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
        let mut reports: Vec<(u64, WebhookKind)> = Vec::new();
        {
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
                let copies: Vec<_> = reports.iter().map(|(at, kind)| (at + dice.between(0, 5_000), *kind)).collect();
                reports.extend(copies);
            }
        }
        if self.dice().permille(100) {
            let after = self.dice().between(0, window_ms * 2);
            self.spawn(Arc::clone(self).forge(outbound.clone(), id.clone(), after));
        }
        let workflow = self.dice().next();
        for (after, kind) in reports {
            let work = Arc::clone(self).report(outbound.clone(), id.clone(), workflow, after, kind);
            self.spawn(work);
        }
    }

    async fn report(self: Arc<Self>, outbound: Outbound, id: ProviderId, message: u64, after: u64, kind: WebhookKind) {
        self.sleep(millis(after)).await;
        // What happens to people in the last minutes is not part of the day.
        if self.is_mended() {
            return;
        }
        let step = &outbound.step;
        let leg = match outbound.backend {
            // Vonage fails over within the workflow; the last channel is what a failure of it is about.
            Backend::Dispatch if kind != WebhookKind::Submitted && kind != WebhookKind::Delivered => step.last(),
            Backend::Dispatch | Backend::Messages => &step.first,
        };
        let wants = match (kind, self.dice().between(0, 4)) {
            (WebhookKind::Reply, 0) => Wants::Next,
            (WebhookKind::Reply, 1) => Wants::Resolve,
            _ => Wants::Acknowledge,
        };
        let status = match kind {
            WebhookKind::Submitted => ReportStatus::Submitted,
            WebhookKind::Delivered => ReportStatus::Delivered,
            WebhookKind::Read | WebhookKind::Reply => ReportStatus::Read,
            WebhookKind::Rejected => ReportStatus::Rejected,
            WebhookKind::Undeliverable => ReportStatus::Undeliverable,
        };
        let incoming = if kind == WebhookKind::Reply {
            let text = match wants {
                Wants::Next => "next",
                Wants::Resolve => "resolved",
                Wants::Acknowledge => "ok",
            };
            Incoming::Message(InboundMessage {
                id: Some(format!("in-{:016x}", self.dice().next()).parse().unwrap()),
                channel: leg.channel,
                from: leg.address.clone(),
                at: Some(self.clock.now()),
                text: Some(format!("{text} {}", outbound.code).into()),
                payload: None,
                quoted: None,
            })
        } else {
            let leg_id: ProviderId = format!("leg-{message:016x}-{}", leg.channel.name()).parse().unwrap();
            Incoming::Status(MessageStatus {
                id: Some(if outbound.backend == Backend::Dispatch { leg_id } else { id.clone() }),
                workflow: (outbound.backend == Backend::Dispatch).then(|| id.clone()),
                reference: (outbound.backend == Backend::Messages).then_some(outbound.reference),
                channel: Some(leg.channel),
                to: Some(leg.address.clone()),
                status,
                failure: None,
            })
        };
        self.deliver(&outbound, &id, &incoming, kind, wants).await;
    }

    /// A webhook is sent until it is answered 200.
    async fn deliver(
        &self,
        outbound: &Outbound,
        id: &ProviderId,
        incoming: &Incoming,
        kind: WebhookKind,
        wants: Wants,
    ) {
        let mut wait = WEBHOOK_AGAIN_MIN;
        loop {
            let at = moment(self.clock.now());
            let is_old = self.bug == Some(Bug::LateReadsAreDropped)
                && kind == WebhookKind::Read
                && self
                    .kept
                    .get(outbound.reference.alert)
                    .await
                    .unwrap()
                    .is_some_and(|stored| stored.alert.newest_attempt() > outbound.reference.attempt);
            let answer = match self.some_engine() {
                Some(_) if is_old => Some(200),
                Some(engine) if self.bug == Some(Bug::AnsweredBeforeCommit) => {
                    // Whatever comes of it.
                    let _outcome = self.within(WEBHOOK_ANSWER_MAX, engine.receive(incoming)).await;
                    Some(200)
                }
                Some(engine) => match self.within(WEBHOOK_ANSWER_MAX, engine.receive(incoming)).await {
                    Some(Ok(_)) => Some(200),
                    Some(Err(engine::Error::Stopped)) | None => None,
                    Some(Err(_)) => Some(503),
                },
                None => None,
            };
            let answered_at = answer.map(|_| moment(self.clock.now()));
            self.trace(|| format!("webhook {kind:?} {} answered {answer:?}", outbound.reference));
            let (message_uuid, dispatch_uuid) = match outbound.backend {
                Backend::Messages => (Some(id.to_string()), None),
                Backend::Dispatch => (None, Some(id.to_string())),
            };
            let client_ref = Some(outbound.reference.to_string());
            self.notes().webhooks.push(Webhook {
                at,
                answered_at,
                answer,
                kind,
                client_ref,
                message_uuid,
                dispatch_uuid,
                wants,
                forged: false,
            });
            if answer == Some(200) {
                return;
            }
            self.mark("a webhook was sent again");
            self.sleep(wait).await;
            wait = (wait * 2).min(WEBHOOK_AGAIN_MAX);
        }
    }
}

fn trouble(cause: TroubleCause, outcome: TroubleOutcome, retry_after: Option<Duration>) -> SendTrouble {
    SendTrouble { cause, failure: Failure { code: None, detail: "trouble".into() }, outcome, retry_after }
}
