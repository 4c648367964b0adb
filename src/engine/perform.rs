//! Carrying a send out, and bringing its answer back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::contact::Channel;
use crate::escalation::{Alert, Event, Progress, Status, Step, Trouble};
use crate::id::{AlertId, AttemptNumber, AttemptRef, ProviderId};
use crate::sender::{Answer, Late, Outbound, SendTrouble};
use crate::timestamp::Timestamp;

use super::apply::Chain;
use super::outage::Tell;
use super::{Engine, Error};

/// A message that goes out later than this after it was due says so (contract R8).
const LATE_AFTER: Duration = Duration::from_mins(5);
/// How long to wait before an outcome that could not be written down is tried again; doubles up to the limit.
const RECORD_AGAIN_MIN: Duration = Duration::from_millis(100);
const RECORD_AGAIN_MAX: Duration = Duration::from_secs(5);

impl Engine {
    /// Sends on a task of its own. The permit is held until the outcome is written down.
    pub(super) fn begin_send(
        &self,
        id: AlertId,
        attempt: AttemptNumber,
        try_number: u32,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let engine = self.clone();
        self.0.tracker.spawn(async move {
            if let Err(error) = engine.send(id, attempt, try_number).await {
                engine.could_not(id, &error);
            }
            drop(permit);
        });
    }

    async fn send(&self, id: AlertId, attempt: AttemptNumber, try_number: u32) -> Result<(), Error> {
        let alert = self.alert(id).await?;
        let Some(outbound) = self.outbound(&alert, attempt, try_number) else { return Ok(()) };
        let answer = self.0.sender.send(&outbound).await;
        let channel = outbound.step.shown_channel().map_or("workflow", Channel::name);
        let now = self.0.clock.now();
        let event = match answer {
            Answer::Accepted(message) => {
                self.0.metrics.sent(channel, "accepted");
                self.way_is_open(now);
                Event::Accepted { attempt, id: message }
            }
            Answer::Refused(failure) => {
                self.0.metrics.sent(channel, "refused");
                tracing::warn!(alert.id = %id, attempt, channel, failure = %failure.in_words(),
                    "Vonage refused the message; going on with the next channel");
                Event::Refused { attempt, try_number, failure }
            }
            Answer::Trouble(trouble) => {
                self.0.metrics.sent(channel, trouble.cause.name());
                let last_accepted_at = self.0.outage.last_accepted_at();
                self.way_is_blocked(id, &trouble, now);
                let SendTrouble { failure, outcome, retry_after, .. } = trouble;
                let trouble = Trouble { failure, outcome, retry_after, jitter: self.jitter(), last_accepted_at };
                Event::Trouble { attempt, try_number, trouble }
            }
        };
        self.record(id, &event).await?;
        if let Event::Accepted { id: Some(message), .. } = &event {
            self.apply_parked(message).await?;
        }
        Ok(())
    }

    /// Writes down what came of a send. Whatever happened to the store meanwhile, what Vonage has done
    /// must not be forgotten while this process lives.
    async fn record(&self, id: AlertId, event: &Event) -> Result<(), Error> {
        let mut wait = RECORD_AGAIN_MIN;
        loop {
            match self.apply(id, event, None).await {
                Ok(_) => return Ok(()),
                Err(error @ (Error::NoSuchAlert | Error::Impossible(_) | Error::KeyReused)) => return Err(error),
                Err(error @ (Error::Contended | Error::Store(_))) if self.0.stop.is_cancelled() => return Err(error),
                Err(error @ (Error::Contended | Error::Store(_))) => {
                    tracing::warn!(alert.id = %id, error = %Chain(&error), "the outcome of a send could not be written down yet; trying again");
                    self.0.clock.sleep_until(self.0.clock.now().plus(wait)).await;
                    wait = (wait * 2).min(RECORD_AGAIN_MAX);
                }
            }
        }
    }

    /// The message, unless the alert has moved on since the right to send it was won.
    fn outbound(&self, alert: &Alert, number: AttemptNumber, try_number: u32) -> Option<Outbound> {
        let Status::Escalating(Progress::Sending { .. }) = alert.status else { return None };
        let attempt = alert.attempt(number)?;
        if alert.newest_attempt() != number || attempt.tries != try_number {
            return None;
        }
        let step: &Step = alert.step_of(attempt)?;
        let late_by = self.0.clock.now().since(attempt.due_at);
        let token = || self.0.link_key.token(alert.id(), alert.raised.number, number);
        Some(Outbound {
            reference: AttemptRef { alert: alert.id(), attempt: number },
            backend: alert.plan().backend(),
            step: step.clone(),
            raised: Arc::clone(&alert.raised),
            code: alert.code(),
            link: self.0.settings.load().public_url.as_deref().map(|url| format!("{url}/a/{}", token()).into()),
            late: (late_by > LATE_AFTER).then_some(Late { due_at: attempt.due_at, by: late_by }),
        })
    }

    fn way_is_open(&self, now: Timestamp) {
        let ended = self.0.outage.accepted(now);
        if let Some(since) = ended.since {
            tracing::info!(since = %since, "messages get through to Vonage again");
        }
        for held in ended.held {
            self.spawn_apply(held, Event::OutageOver);
        }
    }

    fn way_is_blocked(&self, id: AlertId, trouble: &SendTrouble, now: Timestamp) {
        match self.0.outage.failed(id, now) {
            Tell::GoesOn { since, n_failing } => tracing::error!(
                alert.id = %id, since = %since, n_failing, cause = trouble.cause.name(), failure = %trouble.failure.in_words(),
                "sends to Vonage fail; alerts are held where they are and tried again until they get through: {}",
                advice(trouble)
            ),
            Tell::Nothing => tracing::debug!(alert.id = %id, cause = trouble.cause.name(), "a send failed"),
        }
    }

    /// Between -200 and 200 thousandths.
    fn jitter(&self) -> i16 {
        let mut random = [0; 2];
        self.0.chance.fill(&mut random);
        i16::try_from(u16::from_le_bytes(random) % 401).unwrap_or(200) - 200
    }

    /// Applies the webhooks that came before the id they carry was known.
    pub(super) async fn apply_parked(&self, message: &ProviderId) -> Result<(), Error> {
        let parked = self.0.store.parked(message).await?;
        if parked.is_empty() {
            return Ok(());
        }
        for incoming in &parked {
            self.route(incoming).await?;
        }
        Ok(self.0.store.unpark(message).await?)
    }
}

/// What the operator can do.
fn advice(trouble: &SendTrouble) -> &'static str {
    use crate::sender::TroubleCause;
    match trouble.cause {
        TroubleCause::Credentials => "check the application id, the private key and the clock of this machine",
        TroubleCause::Balance => "top up the Vonage account",
        TroubleCause::RateLimit => "Vonage limits the rate; lower max_per_second if this goes on",
        TroubleCause::Provider => "Vonage answers with errors; see its status page",
        TroubleCause::Unreachable => "check the network and the name service of this machine",
        TroubleCause::Ourselves => "check the configuration",
    }
}
