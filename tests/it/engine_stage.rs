//! A stage for stories about the engine: the real engine on paused time, a store in memory, and a
//! stand-in for Vonage that plays whatever part a story gives it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use callout::alarm::Alarms;
use callout::chance::SeededChance;
use callout::clock::{Clock, SteadyClock};
use callout::contact::{Address, Channel};
use callout::engine::{Engine, NewAlert, Parts, Raising, Received, Settings};
use callout::escalation::{
    Alert, Backend, Condition, Failure, Leg, Plan, Recipient, ReportStatus, Severity, Tone, TroubleOutcome,
};
use callout::id::{AlertId, AttemptNumber, AttemptRef, ProviderId};
use callout::incoming::{InboundMessage, Incoming, MessageStatus};
use callout::metrics::Metrics;
use callout::sender::{Answer, Notice, Outbound, SendTrouble, Sender, TroubleCause};
use callout::store::{MemoryStore, Store};
use callout::timestamp::Timestamp;
use callout::traces::Traces;

/// When every story begins: 2026-03-01T02:15:00Z.
pub(crate) const BEGAN: Timestamp = Timestamp::from_millis(1_772_331_300_000);

/// Everything a story plays with.
pub(crate) struct Stage {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) vonage: Arc<StandIn>,
    pub(crate) clock: Arc<SteadyClock>,
    pub(crate) settings: Settings,
    pub(crate) alarms: Arc<Alarms>,
}

impl Stage {
    /// An empty store, no limit of the rate, and a Vonage that accepts everything at once.
    pub(crate) async fn open() -> Self {
        Self::with(Arc::new(MemoryStore::new()), Settings::default()).await
    }

    pub(crate) async fn with(store: Arc<dyn Store>, settings: Settings) -> Self {
        let clock = Arc::new(SteadyClock::faster(BEGAN, 1));
        let vonage = StandIn::new(&clock);
        Self::start(store, vonage, clock, settings).await
    }

    pub(crate) async fn start(
        store: Arc<dyn Store>,
        vonage: Arc<StandIn>,
        clock: Arc<SteadyClock>,
        settings: Settings,
    ) -> Self {
        let alarms = Arc::new(Alarms::new(Arc::new(Metrics::new())));
        let parts = Parts {
            store: Arc::clone(&store),
            sender: Arc::<StandIn>::clone(&vonage),
            clock: Arc::<SteadyClock>::clone(&clock),
            chance: Arc::new(SeededChance::new(clock.now().as_millis().unsigned_abs())),
            metrics: Arc::new(Metrics::new()),
            alarms: Arc::clone(&alarms),
            traces: Traces::off(),
            link_secret: [7; 32],
            settings: settings.clone(),
        };
        let engine = Engine::start(parts).await.unwrap();
        Self { engine, store, vonage, clock, settings, alarms }
    }

    /// The process dies, whatever it is doing, and a new one starts on the same store `later`.
    pub(crate) async fn killed_and_started_again(self, later: Duration) -> Self {
        self.killed_and_started_on(Arc::clone(&self.store), later).await
    }

    /// As [`Stage::killed_and_started_again`], with another view of what the store holds.
    pub(crate) async fn killed_and_started_on(&self, store: Arc<dyn Store>, later: Duration) -> Self {
        self.engine.abandon();
        self.pass(later).await;
        let (vonage, clock) = (Arc::clone(&self.vonage), Arc::clone(&self.clock));
        Self::start(store, vonage, clock, self.settings.clone()).await
    }

    pub(crate) async fn raise(&self, plan: &Arc<Plan>) -> AlertId {
        self.raise_new(new_alert(plan)).await
    }

    pub(crate) async fn raise_new(&self, new: NewAlert) -> AlertId {
        match self.engine.raise(new, None).await.unwrap() {
            Raising::Created(alert) => alert.id(),
            Raising::Repeated(alert) => panic!("the alert was counted as a repetition of {}", alert.id()),
        }
    }

    /// Lets this much time pass, and everything happen that is due until then.
    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.sleep_until(self.clock.now().plus(time)).await;
        self.settle().await;
    }

    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets everything happen that can happen now. Paused time goes on only when every task waits, so
    /// the end of the shortest sleep is the end of all work.
    pub(crate) async fn settle(&self) {
        self.clock.sleep_until(self.clock.now().plus(Duration::from_millis(1))).await;
    }

    pub(crate) async fn alert(&self, id: AlertId) -> Arc<Alert> {
        self.engine.alert(id).await.unwrap()
    }

    /// The status of each attempt so far, in words.
    pub(crate) async fn attempts(&self, id: AlertId) -> Vec<&'static str> {
        self.alert(id).await.attempts.iter().map(|attempt| attempt.status().name()).collect()
    }

    pub(crate) async fn status(&self, id: AlertId) -> &'static str {
        self.alert(id).await.status.name()
    }

    /// The names of everything in the timeline.
    pub(crate) async fn timeline(&self, id: AlertId) -> Vec<&'static str> {
        self.alert(id).await.timeline.iter().map(|entry| entry.happening.name()).collect()
    }

    /// Vonage reports on the message of an attempt, naming it as Messages does.
    pub(crate) async fn report(&self, alert: AlertId, attempt: AttemptNumber, status: ReportStatus) -> Received {
        let reference = AttemptRef { alert, attempt };
        self.engine
            .receive(&Incoming::Status(MessageStatus { reference: Some(reference), ..said(status) }))
            .await
            .unwrap()
    }

    /// Somebody writes back now.
    pub(crate) async fn reply(&self, channel: Channel, from: &str, text: &str) -> Received {
        self.reply_with(InboundMessage { text: Some(text.into()), ..self.inbound(channel, from) }).await
    }

    pub(crate) async fn reply_with(&self, message: InboundMessage) -> Received {
        self.engine.receive(&Incoming::Message(message)).await.unwrap()
    }

    /// A message without words that is written now.
    pub(crate) fn inbound(&self, channel: Channel, from: &str) -> InboundMessage {
        InboundMessage {
            id: None,
            channel,
            from: Address::parse(channel, from).unwrap(),
            at: Some(self.clock.now()),
            text: None,
            payload: None,
            quoted: None,
        }
    }
}

/// A status webhook that names nothing yet.
pub(crate) fn said(status: ReportStatus) -> MessageStatus {
    MessageStatus { id: None, workflow: None, reference: None, channel: None, to: None, status, failure: None }
}

pub(crate) fn new_alert(plan: &Arc<Plan>) -> NewAlert {
    NewAlert {
        message: "Main server is down".into(),
        severity: Severity::Critical,
        policy: Some("default".into()),
        dedup_key: None,
        source: None,
        link: None,
        details: "{}".into(),
        plan: Arc::clone(plan),
    }
}

/// Tony's and Anna's addresses in these stories.
pub(crate) const TONY_MESSENGER: &str = "6542087712345678";
pub(crate) const TONY: &str = "447700900001";
pub(crate) const ANNA: &str = "447700900002";

/// A channel of a user, with its expiry in seconds.
pub(crate) fn leg(channel: Channel, address: &str, expiry_seconds: u32) -> Leg {
    let address = Address::parse(channel, address).unwrap();
    Leg { channel, address, expiry_seconds, condition: Condition::Read }
}

pub(crate) fn user(name: &str, channels: &[Leg]) -> Recipient {
    Recipient { name: name.into(), channels: channels.to_vec() }
}

/// Tony by Messenger, then by SMS; then Anna by Viber, then by WhatsApp. Ten minutes each, as in the tutorial.
pub(crate) fn tutorial(backend: Backend) -> Arc<Plan> {
    let tony = user("Tony", &[leg(Channel::Messenger, TONY_MESSENGER, 600), leg(Channel::Sms, TONY, 600)]);
    let anna = user("Anna", &[leg(Channel::ViberService, ANNA, 600), leg(Channel::Whatsapp, ANNA, 600)]);
    Arc::new(Plan::new(backend, &[tony, anna], 0).unwrap())
}

/// One user after the other, each by SMS only, a minute each.
pub(crate) fn a_minute_each(names: &[&str]) -> Arc<Plan> {
    let recipient =
        |(index, name): (usize, &&str)| user(name, &[leg(Channel::Sms, &format!("44770090{index:04}"), 60)]);
    let recipients: Vec<Recipient> = names.iter().enumerate().map(recipient).collect();
    Arc::new(Plan::new(Backend::Messages, &recipients, 0).unwrap())
}

/// A message that the stand-in was asked to send.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// How long after the beginning of the story.
    pub(crate) at: Duration,
    pub(crate) reference: AttemptRef,
    pub(crate) user: Arc<str>,
    pub(crate) channel: Channel,
    pub(crate) severity: Severity,
    pub(crate) link: Option<Box<str>>,
    pub(crate) is_late: bool,
}

/// What the stand-in does with a send.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Accepts it at once.
    Accept,
    /// Accepts it after a while.
    AcceptAfter(Duration),
    /// Refuses it: this message or recipient is at fault.
    Refuse,
    /// Answers with trouble that says nothing about the person.
    Trouble(SendTrouble),
    /// Answers so after a while.
    TroubleAfter(Duration),
    /// Never answers.
    Hang,
    /// Brings the sender itself to fail.
    Panic,
}

/// Trouble of Vonage's own; whether the message went through is unknown.
pub(crate) fn down() -> Part {
    Part::Trouble(trouble(TroubleCause::Provider, TroubleOutcome::Unknown, None))
}

/// Vonage asks us to wait.
pub(crate) fn wait_for(retry_after: Duration) -> Part {
    Part::Trouble(trouble(TroubleCause::RateLimit, TroubleOutcome::NotSent, Some(retry_after)))
}

pub(crate) fn trouble(cause: TroubleCause, outcome: TroubleOutcome, retry_after: Option<Duration>) -> SendTrouble {
    SendTrouble { cause, failure: Failure { code: None, detail: "HTTP 500".into() }, outcome, retry_after }
}

type Play = Box<dyn FnMut(&Outbound, usize) -> Part + Send>;

/// Stands in for Vonage: notes what it is asked to send and plays its part.
pub(crate) struct StandIn {
    clock: Arc<SteadyClock>,
    play: Mutex<Play>,
    sent: Mutex<Vec<Sent>>,
    /// Answers to courtesies that are still to come; then all are accepted.
    courtesies: Mutex<VecDeque<Answer>>,
    courtesies_done: Mutex<Vec<String>>,
}

impl StandIn {
    pub(crate) fn new(clock: &Arc<SteadyClock>) -> Arc<Self> {
        let play: Play = Box::new(|_, _| Part::Accept);
        Arc::new(Self {
            clock: Arc::clone(clock),
            play: Mutex::new(play),
            sent: Mutex::default(),
            courtesies: Mutex::default(),
            courtesies_done: Mutex::default(),
        })
    }

    /// Answers the next courtesies so, one after the other.
    pub(crate) fn answers_courtesies(&self, answers: impl IntoIterator<Item = Answer>) {
        self.courtesies.lock().unwrap().extend(answers);
    }

    /// Who was told what, and what was taken back, in order, with the seconds since the beginning.
    pub(crate) fn courtesies(&self) -> Vec<String> {
        self.courtesies_done.lock().unwrap().clone()
    }

    fn courtesy(&self, what: &str) -> Answer {
        let at = self.clock.now().since(BEGAN).as_secs();
        self.courtesies_done.lock().unwrap().push(format!("{at} {what}"));
        self.courtesies.lock().unwrap().pop_front().unwrap_or(Answer::Accepted(None))
    }

    /// Plays this part from now on. The part is chosen by the send and by how many came before it.
    pub(crate) fn plays(&self, play: impl FnMut(&Outbound, usize) -> Part + Send + 'static) {
        *self.play.lock().unwrap() = Box::new(play);
    }

    /// Plays the same part for every send from now on.
    pub(crate) fn always(&self, part: Part) {
        self.plays(move |_, _| part.clone());
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    pub(crate) fn sent_for(&self, id: AlertId) -> Vec<Sent> {
        self.sent().into_iter().filter(|sent| sent.reference.alert == id).collect()
    }

    /// Who was messaged over what, in order, with the seconds since the beginning.
    pub(crate) fn log(&self) -> Vec<String> {
        let line = |sent: &Sent| format!("{} {} {}", sent.at.as_secs(), sent.user, sent.channel);
        self.sent().iter().map(line).collect()
    }
}

#[async_trait]
impl Sender for StandIn {
    async fn send(&self, outbound: &Outbound) -> Answer {
        let (part, index) = {
            let mut sent = self.sent.lock().unwrap();
            sent.push(Sent {
                at: self.clock.now().since(BEGAN),
                reference: outbound.reference,
                user: Arc::clone(&outbound.step.user),
                channel: outbound.step.first.channel,
                severity: outbound.raised.severity,
                link: outbound.link.clone(),
                is_late: outbound.late.is_some(),
            });
            (self.play.lock().unwrap()(outbound, sent.len() - 1), sent.len() - 1)
        };
        match part {
            Part::Accept => {}
            Part::AcceptAfter(time) => self.clock.sleep_until(self.clock.now().plus(time)).await,
            Part::Refuse => {
                return Answer::Refused(Failure { code: Some("1120".into()), detail: "HTTP 422".into() });
            }
            Part::Trouble(trouble) => return Answer::Trouble(trouble),
            Part::TroubleAfter(time) => {
                self.clock.sleep_until(self.clock.now().plus(time)).await;
                return Answer::Trouble(trouble(TroubleCause::Unreachable, TroubleOutcome::Unknown, None));
            }
            Part::Hang => std::future::pending().await,
            Part::Panic => panic!("the story wants the sender to fail"),
        }
        Answer::Accepted(Some(message(index)))
    }

    async fn tell(&self, notice: &Notice) -> Answer {
        let who = format!("{} {}", notice.leg.channel, notice.leg.address.shortened());
        match notice.tone {
            Tone::Thanks => self.courtesy(&format!("thanks {who}: {} has it", notice.by)),
            Tone::News => self.courtesy(&format!("tells {who}: {} has it", notice.by)),
        }
    }

    async fn revoke(&self, message: &ProviderId) -> Answer {
        self.courtesy(&format!("takes {message} back"))
    }
}

/// What the stand-in calls the message or workflow that it was asked to send so many before.
pub(crate) fn message(index: usize) -> ProviderId {
    format!("message-{index}").parse().unwrap()
}

/// So many seconds.
pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many minutes.
pub(crate) const fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}
