//! The corridor that every event goes through: load, step, commit, perform.

use std::sync::Arc;

use crate::alarm::Alarm;
use crate::escalation::{
    self, Alert, Attempt, Effect, Entry, Event, Happening, Ignored, Progress, Status, Verdict, step,
};
use crate::id::AlertId;
use crate::metrics::Metrics;
use crate::store::{self, Claim, ClaimKey, Outcome, Replay, Stored, Update};
use crate::timestamp::Timestamp;
use crate::traces::Deed;

use super::courtesies::Courtesy;
use super::timers::{Wake, WakeWhy};
use super::turns::Turn;
use super::{Engine, Error};

/// How often a change is tried again that another node was quicker with.
const CONTENDED_MAX: usize = 16;

/// A request that carries an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Names the request.
    pub key: ClaimKey,
    /// A hash of its body.
    pub fingerprint: [u8; 32],
}

impl Request {
    pub(super) fn claim(&self, outcome: Outcome, at: Timestamp) -> Claim {
        Claim { key: self.key.clone(), fingerprint: self.fingerprint, outcome, at }
    }

    /// What the key was used for, if it was for this very request.
    pub(super) fn same(&self, replay: Replay) -> Result<Replay, Error> {
        if replay.fingerprint == self.fingerprint { Ok(replay) } else { Err(Error::KeyReused) }
    }
}

/// What an event did.
#[derive(Clone, Debug)]
pub enum Applied {
    /// The alert is this from now on.
    Moved(Arc<Alert>),
    /// The alert is as it was.
    Stayed(Arc<Alert>, Ignored),
    /// The request had been made before; the alert was this then.
    Replayed(Replay),
}

impl Applied {
    /// The alert, where the event had its effect or is harmless without one.
    pub(super) fn or_harmless(self, harmless: Ignored) -> Result<Arc<Alert>, Error> {
        match self {
            Self::Moved(alert) => Ok(alert),
            Self::Replayed(replay) => Ok(replay.alert),
            Self::Stayed(alert, ignored) if ignored == harmless => Ok(alert),
            Self::Stayed(_, ignored) => Err(Error::Impossible(ignored)),
        }
    }
}

/// A verdict to move, together with the turn that was taken for it.
pub(super) struct Planned {
    pub(super) next: Alert,
    pub(super) effects: Vec<Effect>,
    pub(super) turn: Option<Turn>,
}

impl Engine {
    /// Applies an event to an alert.
    pub(super) async fn apply(&self, id: AlertId, event: &Event, request: Option<&Request>) -> Result<Applied, Error> {
        self.apply_in_turn(id, event, request, None).await
    }

    /// As [`Engine::apply`], and to its end even if whoever asked goes away meanwhile: what follows a
    /// commit must not depend on a caller's patience.
    pub(super) async fn apply_to_the_end(
        &self,
        id: AlertId,
        event: Event,
        request: Option<Request>,
    ) -> Result<Applied, Error> {
        let engine = self.clone();
        self.to_the_end(async move { engine.apply(id, &event, request.as_ref()).await }).await
    }

    /// As [`Engine::apply`], with a turn to send that was waited for.
    pub(super) async fn apply_in_turn(
        &self,
        id: AlertId,
        event: &Event,
        request: Option<&Request>,
        mut turn: Option<Turn>,
    ) -> Result<Applied, Error> {
        let guard = self.turnstile(id).await;
        for _ in 0..CONTENDED_MAX {
            if let Some(request) = request
                && let Some(replay) = self.0.store.claimed(&request.key).await?
            {
                return Ok(Applied::Replayed(request.same(replay)?));
            }
            let Some(seen) = self.0.store.get(id).await? else { return Err(Error::NoSuchAlert) };
            let now = self.0.clock.now();
            if *event == Event::SenderLost && !self.is_sender_lost(&seen.alert, now) {
                return Ok(Applied::Stayed(seen.alert, Ignored::NotYetDue));
            }
            let (next, effects) = match step(&seen.alert, event, now) {
                Verdict::Stay(ignored) => {
                    self.ignored(&seen.alert, ignored);
                    return Ok(Applied::Stayed(seen.alert, ignored));
                }
                Verdict::Move { next, effects } => (next, effects),
            };
            let planned = self.with_turn(Planned { next, effects, turn: turn.take() }, now);
            let outcome = if *event == Event::Repeated { Outcome::Repeated } else { Outcome::Changed };
            let claim = request.map(|request| request.claim(outcome, now));
            let committing = self.0.traces.begin();
            let came = self.0.store.update(&seen, Arc::new(planned.next), claim).await;
            self.0.traces.did(committing, id, Deed::Commit { event: event.name(), outcome: outcome_of(&came) });
            match self.kept(id, came)? {
                Update::Updated(stored) => {
                    // Before the next one may change the alert, so that changes are seen in their order.
                    self.await_what_follows(Some(&seen.alert), &stored.alert);
                    drop(guard);
                    self.committed(Some(&seen.alert), &stored, planned.effects, planned.turn);
                    return Ok(Applied::Moved(stored.alert));
                }
                Update::Replayed(replay) => match request {
                    Some(request) => return Ok(Applied::Replayed(request.same(replay)?)),
                    None => return Err(Error::Contended),
                },
                Update::Stale => turn = planned.turn,
            }
        }
        Err(Error::Contended)
    }

    /// What came of a commit. Where the store failed, nobody knows whether it was kept; if it was, what follows
    /// from it is still to be seen to.
    pub(super) fn kept<T>(&self, id: AlertId, came: Result<T, store::Error>) -> Result<T, Error> {
        if let Err(store::Error::Unavailable(_)) = &came {
            self.look_again(Wake { id, why: WakeWhy::Unsure });
        }
        Ok(came?)
    }

    /// Sees to what follows from a commit whose outcome was not known.
    pub(super) async fn look_at_unsure(&self, id: AlertId) -> Result<(), Error> {
        let guard = self.turnstile(id).await;
        let kept = self.0.store.get(id).await?;
        if let Some(stored) = kept {
            self.await_what_follows(None, &stored.alert);
        }
        drop(guard);
        Ok(())
    }

    /// If the alert is left ready to send, and nobody else is waiting to, the send begins in the same commit.
    pub(super) fn with_turn(&self, planned: Planned, now: Timestamp) -> Planned {
        let is_ready = matches!(planned.next.status, Status::Escalating(Progress::Ready { from, .. }) if from <= now);
        if !is_ready || self.0.stop.is_cancelled() {
            return planned;
        }
        let Some(turn) = planned.turn.or_else(|| self.0.turns.try_take(now)) else {
            return Planned { turn: None, ..planned };
        };
        match step(&planned.next, &Event::TurnCame, now) {
            Verdict::Move { next, effects } => {
                let effects = planned.effects.into_iter().chain(effects).collect();
                Planned { next, effects, turn: Some(turn) }
            }
            Verdict::Stay(_) => Planned { turn: Some(turn), ..planned },
        }
    }

    /// What is to be done after a commit: it is told of, and its effects are performed.
    pub(super) fn committed(&self, before: Option<&Alert>, stored: &Stored, effects: Vec<Effect>, turn: Option<Turn>) {
        let alert = &stored.alert;
        tell(before, alert);
        self.count(before, alert);
        let mut turn = turn;
        let mut courtesies = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { attempt, try_number } => {
                    let permit = turn.take().and_then(Turn::take);
                    self.begin_send(Arc::clone(alert), attempt, try_number, permit);
                }
                Effect::Tell { attempt, leg, tone } => {
                    courtesies.extend(Courtesy::tell(alert, attempt, leg, tone));
                }
                Effect::Revoke { attempt: _, id } => courtesies.push(Courtesy::Revoke(id)),
            }
        }
        self.begin_courtesies(alert.id(), courtesies);
        // Nobody may be listening; that is no failure.
        let _n_listeners = self.0.changes.send(alert.id());
    }

    /// An open alert always has a place in the line, a timer, or a task that works on it.
    pub(super) fn await_what_follows(&self, before: Option<&Alert>, alert: &Alert) {
        let shared = &self.0;
        self.observe_way(alert);
        let (was_at, wake_at) = (before.and_then(escalation::next_wake), escalation::next_wake(alert));
        if let Some(was_at) = was_at
            && wake_at != Some(was_at)
        {
            shared.timers.disarm(was_at, Wake::at_its_time(alert.id()));
        }
        match alert.progress() {
            Some(Progress::Ready { from, .. }) if from <= shared.clock.now() => {
                return shared.turns.join(alert, shared.clock.now());
            }
            Some(_) => {
                if let Some(wake_at) = wake_at
                    && was_at != Some(wake_at)
                {
                    shared.timers.arm(wake_at, Wake::at_its_time(alert.id()));
                }
            }
            None => {}
        }
        shared.turns.leave(alert.id());
    }

    fn ignored(&self, alert: &Alert, ignored: Ignored) {
        self.0.metrics.ignored(reason(ignored));
        tracing::debug!(alert.id = %alert.id(), reason = reason(ignored), "an event changed nothing");
    }

    fn count(&self, before: Option<&Alert>, after: &Alert) {
        let metrics = &self.0.metrics;
        let is_escalating = |alert: &Alert| i64::from(alert.progress().is_some());
        metrics.escalating(is_escalating(after) - before.map_or(0, is_escalating));
        measure(metrics, before, after);
        let Some(before) = before else {
            metrics.alert_changed("raised");
            return;
        };
        if before.status.name() != after.status.name() {
            metrics.alert_changed(after.status.name());
            if after.status == Status::Exhausted {
                self.0.alarms.raise(Alarm::AlertExhausted, Some(after.id()), self.now());
            }
        }
        if before.repeats != after.repeats {
            metrics.alert_changed("repeated");
        }
    }
}

/// Measures how long what has just come about took.
fn measure(metrics: &Metrics, before: Option<&Alert>, after: &Alert) {
    let n_measured = before.map_or(0, |before| before.timeline.len());
    let raised_at = after.raised.at;
    for entry in after.timeline.iter().skip(n_measured) {
        let attempt = entry.attempt.and_then(|number| after.attempt(number));
        let step = attempt.and_then(|attempt| after.step_of(attempt));
        let channel = entry.channel.or_else(|| step.and_then(escalation::Step::shown_channel));
        let channel = channel.map_or("workflow", crate::contact::Channel::name);
        let since_sent = attempt.and_then(|attempt| attempt.sent_at).map(|sent_at| entry.at.since(sent_at));
        match (entry.happening == Happening::Sent, since_sent) {
            (true, _) if entry.attempt == Some(1) => metrics.first_sent_after(entry.at.since(raised_at)),
            (false, Some(wait)) if entry.happening == Happening::Delivered => metrics.delivered_after(channel, wait),
            (false, Some(wait)) if entry.happening == Happening::Read => metrics.read_after(channel, wait),
            (_, _) => {}
        }
        if entry.happening == Happening::Acknowledged
            && let Some(acknowledged) = &after.acknowledged
        {
            let channel = acknowledged.channel.map_or("none", crate::contact::Channel::name);
            metrics.acknowledged_after(channel, acknowledged.via.name(), acknowledged.at.since(raised_at));
        }
    }
}

/// One log line for each thing that happened, readable alone.
fn tell(before: Option<&Alert>, after: &Alert) {
    let n_told = before.map_or(0, |before| before.timeline.len());
    for entry in after.timeline.iter().skip(n_told) {
        let attempt = entry.attempt.and_then(|number| after.attempt(number));
        let step = attempt.and_then(|attempt| after.step_of(attempt));
        let channel = entry.channel.or_else(|| step.and_then(escalation::Step::shown_channel));
        tracing::info!(
            alert.id = %after.id(),
            alert.code = %after.code(),
            event = entry.happening.name(),
            attempt = entry.attempt,
            user = step.map(|step| step.user.as_ref()),
            channel = channel.map(crate::contact::Channel::name),
            by = entry.by.as_deref(),
            detail = loggable(entry, attempt),
            "alert {}: {}", after.code(), entry.happening.name(),
        );
    }
}

/// What the log says of an entry's detail. Only the code of what a webhook gives as a reason: its words may
/// quote what was sent.
fn loggable<'a>(entry: &'a Entry, attempt: Option<&'a Attempt>) -> Option<&'a str> {
    if matches!(entry.happening, Happening::Rejected | Happening::Undeliverable) {
        attempt?.failure.as_ref()?.code.as_deref()
    } else {
        entry.detail.as_deref()
    }
}

/// What came of a commit, in a word.
fn outcome_of(came: &Result<Update, store::Error>) -> &'static str {
    match came {
        Ok(Update::Updated(_)) => "committed",
        Ok(Update::Replayed(_)) => "replayed",
        Ok(Update::Stale) => "stale",
        Err(_) => "unavailable",
    }
}

/// A word for metrics and logs.
fn reason(ignored: Ignored) -> &'static str {
    match ignored {
        Ignored::NotYetDue => "not_yet_due",
        Ignored::Held => "held",
        Ignored::AlreadyKnown => "already_known",
        Ignored::OldAttempt => "old_attempt",
        Ignored::NoSuchAttempt => "no_such_attempt",
        Ignored::NotEscalating => "not_escalating",
        Ignored::AlreadyResolved => "already_resolved",
        Ignored::AlreadyAcknowledged => "already_acknowledged",
        Ignored::NotOpen => "not_open",
    }
}
