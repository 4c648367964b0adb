//! The three records laid side by side: what belongs to which attempt of which alert.

use std::collections::HashMap;

use callout::id::AttemptRef;

use super::Broken;
use super::history::{
    AlertShown, AttemptShown, BackendTold, Call, ChannelTold, EntryShown, Fault, FaultKind, History, Moment, PlanTold,
    Sent, SentOutcome, Wants, Webhook, WebhookKind, Writer,
};

/// A reply may bear a time this long before the message that it answers was begun.
const CLOCKS_APART_MAX_MS: i64 = 65_000;

/// A history with everything found.
pub(super) struct View<'a> {
    pub(super) history: &'a History,
    pub(super) alerts: Vec<Seen<'a>>,
    /// Replies with the places of the alerts that each may mean, where that is more than one.
    pub(super) unclear: Vec<(&'a Webhook, Vec<usize>)>,
    /// The faults in the order in which they began.
    faults: Vec<&'a Fault>,
}

/// One alert with what belongs to it.
pub(super) struct Seen<'a> {
    pub(super) shown: &'a AlertShown,
    pub(super) plan: Option<&'a PlanTold>,
    pub(super) steps: Vec<StepTold<'a>>,
    /// By attempt, in the order of time.
    pub(super) sent: HashMap<u32, Vec<&'a Sent>>,
    /// With the attempt that each is about.
    pub(super) webhooks: Vec<(u32, &'a Webhook)>,
    /// Replies that may mean this alert or another one.
    pub(super) unclear: Vec<&'a Webhook>,
    /// Of this alert, other than raising it.
    pub(super) calls: Vec<&'a Call>,
}

/// One thing to send and wait for.
pub(super) struct StepTold<'a> {
    pub(super) place: usize,
    pub(super) user: &'a str,
    pub(super) legs: Vec<&'a ChannelTold>,
}

impl StepTold<'_> {
    pub(super) fn window_ms(&self) -> i64 {
        self.legs.iter().map(|leg| leg.expiry_time * 1_000).sum()
    }
}

impl<'a> View<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let mut faults: Vec<&Fault> = history.faults.iter().collect();
        faults.sort_by_key(|fault| fault.at);
        let mut alerts: Vec<Seen<'a>> = history.alerts.iter().map(|shown| Seen::of(history, shown)).collect();
        let places: HashMap<&str, usize> =
            alerts.iter().enumerate().map(|(place, seen)| (seen.shown.id.as_str(), place)).collect();
        let mut by_uuid: HashMap<&str, (usize, u32)> = HashMap::new();
        for (place, seen) in alerts.iter().enumerate() {
            for attempt in &seen.shown.attempts {
                for uuid in [&attempt.message_uuid, &attempt.dispatch_uuid].into_iter().flatten() {
                    by_uuid.insert(uuid, (place, attempt.number));
                }
            }
        }
        let named = |client_ref: &Option<String>| -> Option<(usize, u32)> {
            let reference: AttemptRef = client_ref.as_ref()?.parse().ok()?;
            Some((*places.get(reference.alert.to_string().as_str())?, reference.attempt))
        };
        for sent in &history.provider.sent {
            let uuids = [&sent.message_uuid, &sent.dispatch_uuid];
            let known = named(&sent.client_ref)
                .or_else(|| uuids.into_iter().flatten().find_map(|uuid| by_uuid.get(uuid.as_str()).copied()));
            let Some((place, attempt)) = known else { continue };
            for uuid in uuids.into_iter().flatten() {
                by_uuid.insert(uuid, (place, attempt));
            }
            alerts[place].sent.entry(attempt).or_default().push(sent);
        }
        for call in &history.client {
            if let Some(place) = call.id.as_deref().and_then(|id| places.get(id)) {
                alerts[*place].calls.push(call);
            }
        }
        for seen in &mut alerts {
            seen.sent.values_mut().for_each(|sent| sent.sort_by_key(|sent| sent.at));
        }
        let mut view = Self { history, alerts, unclear: Vec::new(), faults };
        // What was made up is no reason for anything.
        for webhook in history.provider.webhooks.iter().filter(|webhook| !webhook.forged) {
            let uuids = [&webhook.message_uuid, &webhook.dispatch_uuid];
            let known = named(&webhook.client_ref)
                .or_else(|| uuids.into_iter().flatten().find_map(|uuid| by_uuid.get(uuid.as_str()).copied()));
            match &webhook.writer {
                Some(writer) => view.add_reply(webhook, writer, known),
                None => {
                    if let Some((place, attempt)) = known {
                        view.alerts[place].webhooks.push((attempt, webhook));
                    }
                }
            }
        }
        view
    }

    /// A reply means the alert whose message it quotes, if callout knew that message by then, and else one of those
    /// that messaged whoever wrote it.
    fn add_reply(&mut self, webhook: &'a Webhook, writer: &Writer, quoted: Option<(usize, u32)>) {
        let may_be = |seen: &Seen<'_>| Some((seen.newest_to(writer, self.begun_by(webhook))?, webhook));
        let meant: Vec<(usize, (u32, &Webhook))> =
            self.alerts.iter().enumerate().filter_map(|(place, seen)| Some((place, may_be(seen)?))).collect();
        let is_known = |(place, attempt): &(usize, u32)| {
            let seen = &self.alerts[*place];
            !self.clock_was_stepped()
                && seen.accepted(*attempt).count() == 1
                && seen.told(*attempt, &["sent"]).any(|entry| entry.at.plus(CLOCKS_APART_MAX_MS) < webhook.at)
        };
        match (quoted.filter(is_known), meant.as_slice()) {
            (Some((place, attempt)), _) => self.alerts[place].webhooks.push((attempt, webhook)),
            (None, [(place, only)]) => self.alerts[*place].webhooks.push(*only),
            (None, several) => {
                let places: Vec<usize> = several.iter().map(|(place, _)| *place).collect();
                for place in &places {
                    self.alerts[*place].unclear.push(webhook);
                }
                self.unclear.push((webhook, places));
            }
        }
    }

    /// What was begun by then may be what a reply answers.
    fn begun_by(&self, reply: &Webhook) -> Moment {
        // Nobody knows the times of an alert whose clock was stepped.
        if self.clock_was_stepped() { Moment(i64::MAX) } else { reply.at.plus(CLOCKS_APART_MAX_MS) }
    }

    /// The latest moment at which something that is due at `due` must have happened: a fault excuses all
    /// that it and its aftermath overlap.
    pub(super) fn due_by(&self, due: Moment) -> Moment {
        let mut late = due;
        // What one node alone meets, others see to.
        for fault in self.faults.iter().filter(|fault| fault.kind != FaultKind::Alone) {
            let over = fault.mended().plus(self.history.recovery_ms);
            if fault.at <= late.plus(self.history.late_max_ms) && over > late {
                late = over;
            }
        }
        late.plus(self.history.late_max_ms)
    }

    /// The faults of a kind that overlap this time.
    pub(super) fn faults_during(&self, from: Moment, until: Moment) -> impl Iterator<Item = &'a Fault> {
        self.faults.iter().copied().filter(move |fault| fault.at <= until && fault.mended() >= from)
    }

    pub(super) fn faults_of(&self, kind: FaultKind) -> impl Iterator<Item = &'a Fault> {
        self.faults.iter().copied().filter(move |fault| fault.kind == kind)
    }

    /// Whether this send failed because its node alone does not get through.
    pub(super) fn is_alone(&self, sent: &Sent) -> bool {
        sent.outcome == SentOutcome::Trouble
            && self.faults_of(FaultKind::Alone).any(|alone| {
                alone.node.is_some() && alone.node == sent.node && alone.at <= sent.at && sent.at <= alone.mended()
            })
    }

    /// Times in which nothing gets through to the provider, for all or for this account.
    pub(super) fn outages(&self) -> impl Iterator<Item = &'a Fault> {
        let is_outage = |fault: &&Fault| matches!(fault.kind, FaultKind::Outage | FaultKind::Account);
        self.faults.iter().copied().filter(is_outage)
    }

    /// Whether the times that callout wrote down may differ from the true ones.
    pub(super) fn clock_was_stepped(&self) -> bool {
        self.faults_of(FaultKind::Clock).next().is_some()
    }
}

impl<'a> Seen<'a> {
    fn of(history: &'a History, shown: &'a AlertShown) -> Self {
        let plan = history.plans.get(&shown.id).or_else(|| history.plans.get(shown.policy.as_deref()?));
        Self {
            shown,
            plan,
            steps: plan.map(steps).unwrap_or_default(),
            sent: HashMap::new(),
            webhooks: Vec::new(),
            unclear: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Its newest attempt that was begun by then and messages somebody at this address.
    pub(super) fn newest_to(&self, writer: &Writer, begun_by: Moment) -> Option<u32> {
        let reaches = |attempt: &&AttemptShown| {
            let begun = self.advance_to(attempt.number).map_or(self.shown.created_at, |entry| entry.at);
            let step = self.step_of(attempt).map(|step| &self.steps[step]);
            let is_there =
                |leg: &&ChannelTold| shown_channel(&leg.channel) == writer.channel && leg.id_num == writer.address;
            begun <= begun_by && step.is_some_and(|step| step.legs.iter().any(is_there))
        };
        self.shown.attempts.iter().rfind(reaches).map(|attempt| attempt.number)
    }

    /// Whether the provider had taken a message of it to this address by then.
    pub(super) fn had_message(&self, writer: &Writer, by: Moment) -> bool {
        let is_there =
            |sent: &Sent| sent.channel.as_ref() == Some(&writer.channel) && sent.to.as_ref() == Some(&writer.address);
        let is_had = |sent: &Sent| sent.outcome == SentOutcome::Accepted && sent.at <= by && is_there(sent);
        self.sent.values().flatten().any(|sent| is_had(sent))
    }

    /// Replies that mean this alert, or may.
    pub(super) fn replies(&self) -> impl Iterator<Item = &'a Webhook> {
        let certain = self.webhooks.iter().map(|(_, webhook)| *webhook);
        certain.chain(self.unclear.iter().copied()).filter(|webhook| webhook.kind == WebhookKind::Reply)
    }

    /// Nobody can read its record any more.
    pub(super) fn is_poisoned(&self, history: &History) -> bool {
        history.poisoned.contains_key(&self.shown.id)
    }

    pub(super) fn broken(&self, promise: &'static str, says: String) -> Broken {
        Broken { promise, alert: self.shown.id.clone(), says }
    }

    /// The timeline's lines of these kinds about an attempt.
    pub(super) fn told(&self, attempt: u32, events: &[&str]) -> impl Iterator<Item = &'a EntryShown> {
        self.shown
            .timeline
            .iter()
            .filter(move |entry| entry.attempt == Some(attempt) && events.contains(&entry.event.as_str()))
    }

    /// Whether one thing that happened to an attempt stands before another. Times may not tell: nodes have
    /// clocks of their own, and the timeline has one order.
    pub(super) fn is_told_before(&self, attempt: u32, earlier: &str, later: &str) -> bool {
        self.told(attempt, &[earlier, later]).next().is_some_and(|entry| entry.event == earlier)
    }

    pub(super) fn first(&self, event: &str) -> Option<&'a EntryShown> {
        self.shown.timeline.iter().find(|entry| entry.event == event)
    }

    /// The line that says that this attempt was begun.
    pub(super) fn advance_to(&self, attempt: u32) -> Option<&'a EntryShown> {
        self.told(attempt, &["failed_over", "escalated", "round_started"]).next()
    }

    pub(super) fn sent(&self, attempt: u32) -> &[&'a Sent] {
        self.sent.get(&attempt).map_or(&[], Vec::as_slice)
    }

    pub(super) fn accepted(&self, attempt: u32) -> impl Iterator<Item = &'a Sent> {
        self.sent(attempt).iter().copied().filter(|sent| sent.outcome == SentOutcome::Accepted)
    }

    /// The index of the step that an attempt carries out, if the plan has such a one.
    pub(super) fn step_of(&self, attempt: &AttemptShown) -> Option<usize> {
        self.steps.iter().position(|step| is_of(step, attempt))
    }

    /// The plan's indices of the steps that an attempt may be carrying out: a user may stand in it twice.
    pub(super) fn steps_like(&self, attempt: &AttemptShown) -> Vec<usize> {
        (0..self.steps.len()).filter(|index| is_of(&self.steps[*index], attempt)).collect()
    }

    /// When somebody had answered or the problem was over, as somebody outside was told.
    pub(super) fn stopped_at(&self) -> Option<Moment> {
        let by_people = self.calls.iter().filter(|call| {
            matches!(call.what, super::history::CallKind::Acknowledge | super::history::CallKind::Resolve)
                && call.status == Some(200)
        });
        let by_webhook = self.webhooks.iter().filter(|(attempt, webhook)| {
            let is_answer = match webhook.kind {
                WebhookKind::Read => true,
                WebhookKind::Reply => webhook.wants != Wants::Next,
                WebhookKind::Submitted
                | WebhookKind::Delivered
                | WebhookKind::Rejected
                | WebhookKind::Undeliverable => false,
            };
            is_answer && webhook.answer == Some(200) && self.accepted(*attempt).any(|sent| sent.at <= webhook.at)
        });
        let answered = by_people.filter_map(|call| call.answered_at);
        answered.chain(by_webhook.filter_map(|(_, webhook)| webhook.answered_at)).min()
    }
}

fn is_of(step: &StepTold<'_>, attempt: &AttemptShown) -> bool {
    let is_channel = match (&attempt.channel, step.legs.as_slice()) {
        (Some(channel), [leg]) => *channel == shown_channel(&leg.channel),
        (None, [_, _, ..]) => true,
        _ => false,
    };
    step.user == attempt.user && is_channel
}

/// A channel by its name in the API.
pub(super) fn shown_channel(channel: &str) -> &str {
    if channel == "viber_service_msg" { "viber_service" } else { channel }
}

fn steps(plan: &PlanTold) -> Vec<StepTold<'_>> {
    let mut steps = Vec::new();
    for (place, user) in plan.users.iter().enumerate() {
        match plan.backend {
            BackendTold::Messages => steps.extend(user.channels.iter().map(|channel| StepTold {
                place,
                user: &user.name,
                legs: vec![channel],
            })),
            BackendTold::Dispatch => {
                steps.push(StepTold { place, user: &user.name, legs: user.channels.iter().collect() });
            }
        }
    }
    steps
}
