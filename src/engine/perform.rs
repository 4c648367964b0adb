//! Carrying a send out, and bringing its answer back.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::OwnedSemaphorePermit;

use crate::alarm::Alarm;
use crate::contact::Channel;
use crate::escalation::{Alert, Backend, Event, Failure, Progress, Status, Step, Trouble, TroubleOutcome};
use crate::id::{AlertId, AttemptNumber, AttemptRef, ProviderId};
use crate::sender::{Answer, Late, Outbound, SendTrouble, TroubleCause};
use crate::store;
use crate::timestamp::Timestamp;
use crate::traces::Deed;

use super::outage::{Tell, Way};
use super::receive::Received;
use super::timers::Wake;
use super::{Engine, Error};
use crate::chain::Chain;

/// A message that goes out later than this after it was due says so (contract R8).
const LATE_AFTER: Duration = Duration::from_mins(5);
/// How long to wait before an outcome that could not be written down is tried again; doubles up to the limit.
const RECORD_AGAIN_MIN: Duration = Duration::from_millis(100);
const RECORD_AGAIN_MAX: Duration = Duration::from_secs(5);

/// The alerts whose send has an outcome that this process knows and is writing down. They are not to be
/// sent again, however long the store takes.
#[derive(Debug, Default)]
pub(super) struct Recording(Mutex<HashSet<AlertId>>);

impl Recording {
    /// A critical section holds only set operations, and is never held over an await.
    fn lock(&self) -> MutexGuard<'_, HashSet<AlertId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_known(&self, id: AlertId) -> bool {
        self.lock().contains(&id)
    }

    fn know(&self, id: AlertId) -> Known<'_> {
        self.lock().insert(id);
        Known { recording: self, id }
    }
}

/// Lasts as long as the outcome is being written down.
struct Known<'a> {
    recording: &'a Recording,
    id: AlertId,
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.recording.lock().remove(&self.id);
    }
}

impl Engine {
    /// Sends on a task of its own. The permit is held until the outcome is written down.
    pub(super) fn begin_send(
        &self,
        alert: Arc<Alert>,
        attempt: AttemptNumber,
        try_number: u32,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let engine = self.clone();
        self.spawn(async move {
            let wake = Wake::at_its_time(alert.id());
            let reference = AttemptRef { alert: alert.id(), attempt };
            let is_dispatch = alert.plan().backend() == Backend::Dispatch;
            let sending = async {
                if is_dispatch && try_number > 1 {
                    // Whoever made the try before may have been lost with it, and somebody may have read. If the
                    // store cannot say so now, one message too many is better than one too few.
                    let _looked = engine.look_at_unclear(reference).await;
                }
                let sent = engine.send(Arc::clone(&alert), attempt, try_number).await;
                // However it ended: a read of another alert may have waited for that.
                if is_dispatch {
                    engine.insist(alert.id(), || engine.look_at_unclear(reference)).await?;
                }
                sent
            };
            engine.look_after(wake, sending).await;
            drop(permit);
        });
    }

    async fn send(&self, committed: Arc<Alert>, attempt: AttemptNumber, try_number: u32) -> Result<(), Error> {
        let id = committed.id();
        // Somebody may have answered since; if the store cannot say so now, one message too many is better
        // than one too few, as long as nobody else can have taken it over.
        let alert = self.alert(id).await.unwrap_or_else(|_unavailable| Arc::clone(&committed));
        if !self.may_begin(&committed) {
            tracing::warn!(alert.id = %id, attempt, "the send was held up for too long and is not begun; it is made again, here or by another node");
            return Ok(());
        }
        let Some(outbound) = self.outbound(&alert, attempt, try_number) else { return Ok(()) };
        // What is accepted while this try is under way says nothing about it: it may have been begun while the way was
        // broken.
        let accepted_before = self.0.own_sends.accepted_at();
        let begun = self.0.traces.begin();
        let answer = match AssertUnwindSafe(self.0.sender.send(&outbound)).catch_unwind().await {
            Ok(answer) => answer,
            Err(_panic) => defect(),
        };
        let _known = self.0.recording.know(id);
        let way = Way::of(&outbound.step);
        let channel = outbound.step.shown_channel().map_or("workflow", Channel::name);
        let outcome = word_for(&answer);
        self.0.metrics.sent(channel, outcome);
        self.0.traces.did(begun, id, Deed::Send { attempt, try_number, channel, outcome });
        match answer {
            Answer::Accepted(message) => {
                self.way_is_open(way, self.now());
                self.own_send_accepted(way, id);
                self.record(id, &Event::Accepted { attempt, id: message.clone() }).await?;
                match &message {
                    Some(message) => self.apply_parked(message).await.map(drop),
                    None => Ok(()),
                }
            }
            Answer::Refused(failure) => {
                self.own_send_refused(way, id);
                tracing::warn!(alert.id = %id, attempt, channel, failure = %failure.in_words(),
                    "{} refused the message; going on with the next channel", way.name());
                self.record(id, &Event::Refused { attempt, try_number, failure }).await
            }
            Answer::Trouble(trouble) => {
                let failing_here_since = self.own_send_failed(way, trouble.cause, outbound.reference, try_number);
                let last_accepted_at = match way {
                    Way::Vonage => accepted_before,
                    Way::Email => self.0.outage.last_accepted_at(&alert, self.now()),
                };
                let told = self.in_the_machines_words(&trouble, last_accepted_at, failing_here_since);
                self.record(id, &Event::Trouble { attempt, try_number, trouble: told }).await?;
                self.tell_of_trouble(id, way, &trouble);
                Ok(())
            }
        }
    }

    fn in_the_machines_words(
        &self,
        trouble: &SendTrouble,
        last_accepted_at: Option<Timestamp>,
        failing_here_since: Option<Timestamp>,
    ) -> Trouble {
        Trouble {
            failure: trouble.failure.clone(),
            outcome: trouble.outcome,
            retry_after: trouble.retry_after,
            jitter: self.jitter(),
            last_accepted_at,
            failing_here_since,
        }
    }

    async fn record(&self, id: AlertId, event: &Event) -> Result<(), Error> {
        self.insist(id, || self.apply(id, event, None)).await.map(drop)
    }

    /// Does it again until the store takes it. Whatever happened to the store meanwhile, what Vonage has done
    /// must not be forgotten while this process lives.
    async fn insist<T, W: Future<Output = Result<T, Error>>>(
        &self,
        id: AlertId,
        work: impl Fn() -> W,
    ) -> Result<T, Error> {
        let mut wait = RECORD_AGAIN_MIN;
        loop {
            match work().await {
                Err(error @ (Error::Contended | Error::Store(store::Error::Busy | store::Error::Unavailable(_)))) => {
                    tracing::warn!(alert.id = %id, error = %Chain(&error), "the outcome of a send could not be written down yet; trying again");
                    self.0.clock.sleep_until(self.0.clock.now().plus(wait)).await;
                    wait = (wait * 2).min(RECORD_AGAIN_MAX);
                }
                done => return done,
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

    /// Something was accepted, here or by another node that told so.
    pub(super) fn way_is_open(&self, way: Way, accepted_at: Timestamp) {
        let ended = self.0.outage.accepted(way, accepted_at);
        if let Some(since) = ended.since {
            let alarms: &[Alarm] = match way {
                Way::Vonage => &Alarm::OF_VONAGE,
                Way::Email => &[Alarm::EmailUnreachable],
            };
            let whither = way.name();
            tracing::info!(since = %since, "messages get through to {whither} again");
            for alarm in alarms.iter().copied() {
                self.0.alarms.over(alarm, self.now());
            }
        }
        self.wake_after_outage(ended.held);
    }

    fn tell_of_trouble(&self, id: AlertId, way: Way, trouble: &SendTrouble) {
        let (advice, alarm) = match way {
            Way::Vonage => (advice(trouble), alarm(trouble.cause)),
            Way::Email => ("check smtp.url and the mail server", Alarm::EmailUnreachable),
        };
        if way == Way::Vonage && self.0.own_sends.may_be_alone(self.now()) {
            // Nobody is held: others send, and that this node cannot is told of, if it lasts.
            return;
        }
        let whither = way.name();
        match self.0.outage.tell(way, self.now()) {
            Tell::GoesOn { since, n_failing } => {
                tracing::error!(
                    alert.id = %id, since = %since, n_failing, cause = trouble.cause.name(), failure = %trouble.failure.in_words(),
                    "sends to {whither} fail; alerts are held where they are and tried again until they get through: {advice}"
                );
                self.0.alarms.raise(alarm, None, self.now());
            }
            Tell::Nothing => tracing::debug!(alert.id = %id, cause = trouble.cause.name(), "a send failed"),
        }
    }

    /// Between -200 and 200 thousandths.
    fn jitter(&self) -> i16 {
        let mut random = [0; 2];
        self.0.chance.fill(&mut random);
        i16::try_from(u16::from_le_bytes(random) % 401).unwrap_or(200) - 200
    }

    /// Applies the webhooks that came before it was known whose they are. Whether none is left.
    pub(super) async fn apply_parked(&self, message: &ProviderId) -> Result<bool, Error> {
        let parked = self.0.store.parked(message).await?;
        for incoming in &parked {
            if self.route(incoming).await?.received == Received::Unmatched {
                return Ok(false);
            }
        }
        if !parked.is_empty() {
            self.0.store.unpark(message).await?;
        }
        Ok(true)
    }

    /// As [`Engine::apply_parked`], where the disk may have damaged what they are about: that is logged, and they stay.
    pub(super) async fn apply_parked_or_leave(&self, message: &ProviderId) -> Result<bool, Error> {
        match self.apply_parked(message).await {
            Err(error @ Error::Store(store::Error::Corrupt { .. })) => {
                tracing::error!(error = %Chain(&error), "a webhook that came early could not be applied: callout cannot understand what is kept about its alert");
                Ok(false)
            }
            applied => applied,
        }
    }
}

/// A word for metrics and traces.
fn word_for(answer: &Answer) -> &'static str {
    match answer {
        Answer::Accepted(_) => "accepted",
        Answer::Refused(_) => "refused",
        Answer::Trouble(trouble) => trouble.cause.name(),
    }
}

/// The outcome of a send that callout itself failed at.
fn defect() -> Answer {
    Answer::Trouble(SendTrouble {
        cause: TroubleCause::Ourselves,
        failure: Failure { code: None, detail: "a defect of callout stopped the send".into() },
        outcome: TroubleOutcome::Unknown,
        retry_after: None,
    })
}

/// What the operator is told when sends fail for this cause.
fn alarm(cause: TroubleCause) -> Alarm {
    match cause {
        TroubleCause::Credentials => Alarm::VonageCredentialsRefused,
        TroubleCause::Balance => Alarm::VonageBalance,
        TroubleCause::RateLimit | TroubleCause::Provider | TroubleCause::Unreachable | TroubleCause::Ourselves => {
            Alarm::VonageUnreachable
        }
    }
}

/// What the operator can do.
fn advice(trouble: &SendTrouble) -> &'static str {
    match trouble.cause {
        TroubleCause::Credentials => "check the application id, the private key and the clock of this machine",
        TroubleCause::Balance => "top up the Vonage account",
        TroubleCause::RateLimit => "Vonage limits the rate; lower max_per_second if this goes on",
        TroubleCause::Provider => "Vonage answers with errors; see its status page",
        TroubleCause::Unreachable => "check the network and the name service of this machine",
        TroubleCause::Ourselves => "check the configuration",
    }
}
