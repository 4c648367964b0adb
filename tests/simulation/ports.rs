//! The engine's ports as the simulation gives them to a node: each call of them may be slow, fail, be frozen,
//! or be the last thing that the process does.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use callout::clock::{Clock, Timeline};
use callout::contact::{Address, Channel};
use callout::escalation::{Alert, Failure, Status};
use callout::id::{AlertId, AlertNumber, AttemptRef, ProviderId};
use callout::incoming::Incoming;
use callout::sender::{Answer, Notice, Outbound, SendTrouble, Sender, TroubleCause};
use callout::store::{
    Armed, Claim, ClaimKey, Error, Insert, LeftBehind, Others, Page, Replay, StatusFilter, Store, Stored, Update,
};
use callout::timestamp::Timestamp;
use tokio::sync::Notify;

use crate::bugs::Bug;
use crate::oracle::history::FaultKind;
use crate::world::{Found, World, a_fault, moment};

/// One process of a node, from its start to its end.
#[derive(Default)]
pub(crate) struct Life {
    is_over: AtomicBool,
    /// How many calls of ports are left until the process is killed; none while it is not positive.
    fuse: AtomicI64,
    /// The calls by which a node looks around while nothing happens do not count: it dies at work.
    dies_at_work: AtomicBool,
    /// It is not killed then, but asked to end.
    ends_in_order: AtomicBool,
    /// How far its clock is ahead of the true time, in milliseconds.
    clock_ahead: AtomicI64,
    pub(crate) killed: Notify,
    pub(crate) asked_to_end: Notify,
}

impl Life {
    pub(crate) fn kill_after(&self, n_calls: i64, at_work: bool) {
        self.dies_at_work.store(at_work, Ordering::Relaxed);
        self.fuse.store(n_calls, Ordering::Relaxed);
    }

    /// Asks the process to end, after so many calls of its work.
    pub(crate) fn replace_after(&self, n_calls: i64) {
        self.ends_in_order.store(true, Ordering::Relaxed);
        self.kill_after(n_calls, true);
    }

    /// The process began when its clock showed `shown`.
    pub(crate) fn began_with(&self, shown: Timestamp, truly: Timestamp) {
        self.clock_ahead.store(shown.as_millis() - truly.as_millis(), Ordering::Relaxed);
    }

    pub(crate) fn clock_ahead(&self) -> i64 {
        self.clock_ahead.load(Ordering::Relaxed)
    }

    pub(crate) fn kill(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.killed.notify_one();
    }
}

/// What a node asks the store again and again though nothing happens.
const IDLE_CALLS: [&str; 8] =
    ["armed", "tidy", "forget", "parked_and_known", "probe", "left_behind", "failing", "meet_others"];

/// Of these, what a node asks every second; they are not told of.
const SWEEPS: [&str; 3] = ["left_behind", "failing", "meet_others"];

/// What became of the fuse at a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Burnt {
    AskedToEnd,
    Nothing,
}

/// What the ports of one process have in common.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) world: Arc<World>,
    pub(crate) node: usize,
    pub(crate) life: Arc<Life>,
}

impl Gate {
    /// Every call passes here on its way in and on its way out.
    async fn pass(&self) {
        if self.burn() == Burnt::AskedToEnd {
            // Whoever asks comes before this call goes on.
            tokio::task::yield_now().await;
        }
        self.stand_still().await;
    }

    /// The same for a call that is made though nothing happens.
    async fn pass_idly(&self) {
        if !self.life.dies_at_work.load(Ordering::Relaxed) {
            let _burnt = self.burn();
        }
        self.stand_still().await;
    }

    fn burn(&self) -> Burnt {
        let is_last = self.life.fuse.load(Ordering::Relaxed) > 0 && self.life.fuse.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last && self.life.ends_in_order.load(Ordering::Relaxed) {
            self.life.asked_to_end.notify_one();
            return Burnt::AskedToEnd;
        }
        if is_last {
            self.world.mark("killed in the middle of a call");
            self.life.kill();
        }
        Burnt::Nothing
    }

    /// A frozen process goes on later; a dead one never.
    async fn stand_still(&self) {
        while !self.life.is_over.load(Ordering::Relaxed) {
            let frozen_until = self.world.frozen_until(self.node);
            if self.world.clock.now() >= frozen_until {
                return;
            }
            self.world.clock.sleep_until(frozen_until).await;
        }
        pending::<()>().await;
    }

    async fn take(&self, at_most_ms: u64) {
        let millis = self.world.dice().between(0, at_most_ms);
        if millis > 0 {
            self.world.clock.sleep_until(self.world.clock.now().plus(std::time::Duration::from_millis(millis))).await;
        }
    }
}

/// The node's clock: the wall clock as the process found it when it began, carried on by the time that the machine
/// has been running.
pub(crate) struct SimClock {
    gate: Gate,
    /// When the process began, by this clock and truly.
    began: (Timestamp, Timestamp),
    timeline: Option<Timeline>,
}

impl SimClock {
    pub(crate) fn begin(gate: Gate, found: Found) -> Self {
        let truly = gate.world.clock.now();
        let shown = Timestamp::from_millis(truly.as_millis() + found.ahead);
        Self { gate, began: (shown, truly), timeline: found.timeline }
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let (shown, truly) = self.began;
        let has_run = self.gate.world.clock.now().since(truly);
        match self.gate.world.bug {
            Some(Bug::ClockRunsFast) => shown.plus(has_run + has_run / 10),
            Some(Bug::ClockFollowsTheWall) => self.gate.world.wall(self.gate.node),
            Some(_) | None => shown.plus(has_run),
        }
    }

    fn timeline(&self) -> Option<Timeline> {
        self.timeline.clone()
    }

    /// Those outside have the right time.
    fn of_wall(&self, moment: Timestamp) -> Timestamp {
        let ahead = self.now().as_millis() - self.gate.world.clock.now().as_millis();
        Timestamp::from_millis(moment.as_millis() + ahead)
    }

    async fn sleep_until(&self, moment: Timestamp) {
        let wait = moment.since(self.now());
        let wait = match self.gate.world.bug {
            Some(Bug::ClockRunsFast) => wait * 11 / 12,
            Some(Bug::ClockWakesLate) if wait > std::time::Duration::from_secs(10) => wait * 2,
            Some(_) | None => wait,
        };
        let clock = &self.gate.world.clock;
        clock.sleep_until(clock.now().plus(wait)).await;
        while self.now() < moment {
            let left = moment.since(self.now()).max(std::time::Duration::from_millis(1));
            clock.sleep_until(clock.now().plus(left)).await;
        }
        self.gate.pass_idly().await;
    }
}

/// The node's way to what all nodes share.
pub(crate) struct SimStore {
    pub(crate) gate: Gate,
}

fn unavailable(why: &str) -> Error {
    Error::Unavailable(Arc::new(std::io::Error::other(why.to_owned())))
}

/// The record of an alert was damaged.
fn unreadable() -> Error {
    Error::Corrupt { what: "an alert".into(), source: Arc::new(std::io::Error::other("it is damaged")) }
}

impl SimStore {
    fn bug(&self) -> Option<Bug> {
        self.gate.world.bug
    }

    async fn pass(&self, call: &str) {
        if IDLE_CALLS.contains(&call) { self.gate.pass_idly().await } else { self.gate.pass().await }
    }

    fn fault_now(&self) {
        let now = moment(self.gate.world.clock.now());
        self.gate.world.add_fault(a_fault(FaultKind::Store, now, None));
    }

    async fn before(&self, call: &str, writes: bool) -> Result<(), Error> {
        self.pass(call).await;
        let world = &self.gate.world;
        let slow_ms = world.store_takes_ms(IDLE_CALLS.contains(&call));
        self.gate.take(slow_ms).await;
        if self.bug() == Some(Bug::DamageHoldsUp) && call != "meet_others" {
            world.clock.sleep_until(world.held_up_until()).await;
        }
        self.pass(call).await;
        if let Some(why) = world.store_refuses(self.gate.node, writes) {
            world.trace(|| format!("n{} {call} fails: {why}", self.gate.node));
            return Err(unavailable(why));
        }
        if writes && world.rolls(|noise| noise.lost_commit) {
            self.fault_now();
            world.mark("a commit was lost");
            return Err(unavailable("the commit was lost"));
        }
        if !SWEEPS.contains(&call) {
            world.trace(|| format!("n{} {call}", self.gate.node));
        }
        Ok(())
    }

    async fn keep(&self, alert: Arc<Alert>, claim: Option<Claim>) -> Result<Insert, Error> {
        let came = self.gate.world.kept.insert(alert, claim).await?;
        if let Insert::Inserted(stored) = &came {
            self.gate.world.written_down(&stored.alert, self.gate.life.clock_ahead());
        }
        Ok(came)
    }

    async fn replace(&self, seen: &Stored, next: Arc<Alert>, claim: Option<Claim>) -> Result<Update, Error> {
        let kept = &self.gate.world.kept;
        let newest = if self.bug() == Some(Bug::VersionIsIgnored) { kept.get(next.id()).await? } else { None };
        let came = kept.update(newest.as_ref().unwrap_or(seen), next, claim).await?;
        if let Update::Updated(stored) = &came {
            self.gate.world.written_down(&stored.alert, self.gate.life.clock_ahead());
        }
        Ok(came)
    }

    async fn after(&self, call: &str, writes: bool) -> Result<(), Error> {
        let world = &self.gate.world;
        if writes && world.rolls(|noise| noise.unknown_commit) {
            self.fault_now();
            world.mark("a commit had an unknown outcome");
            return Err(unavailable("the connection was lost while it committed"));
        }
        self.pass(call).await;
        Ok(())
    }
}

macro_rules! call {
    ($self:ident, $name:literal, $writes:literal, $deed:expr) => {{
        $self.before($name, $writes).await?;
        let came = $deed.await?;
        $self.after($name, $writes).await?;
        Ok::<_, Error>(came)
    }};
}

#[async_trait]
impl Store for SimStore {
    async fn next_number(&self) -> Result<AlertNumber, Error> {
        call!(self, "next_number", false, self.gate.world.kept.next_number())
    }

    async fn insert(&self, alert: Arc<Alert>, claim: Option<Claim>) -> Result<Insert, Error> {
        let claim = if self.bug() == Some(Bug::KeysAreForgotten) { None } else { claim };
        if self.bug() == Some(Bug::InsertsAreNotSynced) && self.gate.world.dice().permille(100) {
            // Answered, and gone with the next loss of power.
            return Ok(Insert::Inserted(Stored { alert, version: 1 }));
        }
        let alert = if self.bug() == Some(Bug::DedupKeyIsDropped) && alert.raised.dedup_key.is_some() {
            let mut bent = (*alert).clone();
            let mut raised = (*bent.raised).clone();
            raised.dedup_key = None;
            bent.raised = Arc::new(raised);
            Arc::new(bent)
        } else {
            alert
        };
        call!(self, "insert", true, self.keep(alert, claim))
    }

    async fn update(&self, seen: &Stored, next: Arc<Alert>, claim: Option<Claim>) -> Result<Update, Error> {
        let world = &self.gate.world;
        let claim = if self.bug() == Some(Bug::KeysAreForgotten) { None } else { claim };
        let answers = seen.alert.status.name() != next.status.name()
            && matches!(next.status, Status::Acknowledged | Status::Resolved);
        match self.bug() {
            Some(Bug::AnswersAreNotKept) if answers && world.dice().permille(300) => {
                return Ok(Update::Updated(Stored { alert: next, version: seen.version }));
            }
            Some(Bug::TimelineLosesLines) if world.dice().permille(50) && next.timeline.len() > 2 => {
                let mut bent = (*next).clone();
                bent.timeline.remove(bent.timeline.len() - 2);
                return call!(self, "update", true, self.replace(seen, Arc::new(bent), claim));
            }
            Some(Bug::WindowIsCut) => {
                let mut bent = (*next).clone();
                if let Status::Escalating(callout::escalation::Progress::Waiting { until }) = &mut bent.status
                    && let Some(newest) = bent.attempts.last_mut()
                    && let Some(sent) = newest.sent_at
                {
                    *until = sent.plus(until.since(sent) / 2);
                    newest.expires_at = Some(*until);
                }
                return call!(self, "update", true, self.replace(seen, Arc::new(bent), claim));
            }
            Some(_) | None => {}
        }
        call!(self, "update", true, self.replace(seen, next, claim))
    }

    async fn go_on(&self, own: Timeline) -> Result<Timeline, Error> {
        self.before("go_on", true).await?;
        let is_awaited = !self.gate.world.kept.armed(None, 1).await?.is_empty();
        let forgets = self.bug() == Some(Bug::StartTrustsTheWall);
        let next = self.gate.world.go_on(own, is_awaited && !forgets);
        self.after("go_on", true).await?;
        Ok(next)
    }

    async fn get(&self, id: AlertId) -> Result<Option<Stored>, Error> {
        if self.gate.world.is_poisoned(id) {
            self.before("get", false).await?;
            self.gate.world.hold_up();
            return Err(unreadable());
        }
        call!(self, "get", false, self.gate.world.kept.get(id))
    }

    async fn claimed(&self, key: &ClaimKey) -> Result<Option<Replay>, Error> {
        if self.bug() == Some(Bug::KeysAreForgotten) {
            return Ok(None);
        }
        call!(self, "claimed", false, self.gate.world.kept.claimed(key))
    }

    async fn armed(&self, after: Option<AlertId>, limit: usize) -> Result<Vec<Armed>, Error> {
        self.before("armed", false).await?;
        let mut armed = self.gate.world.kept.armed(after, limit).await?;
        self.after("armed", false).await?;
        match self.bug() {
            Some(Bug::ArmedForgets) if !armed.is_empty() => {
                let last = armed.pop();
                armed.truncate(armed.len() / 2);
                armed.extend(last.filter(|_| !armed.is_empty()));
            }
            Some(Bug::LostSendsAreLeft) => armed.retain(|armed| !armed.sending),
            Some(Bug::DamageHides) => armed.retain(|armed| !self.gate.world.is_behind_damage(armed.id)),
            Some(Bug::StartDawdles) => {
                let soon = self.gate.world.clock.now().plus(std::time::Duration::from_secs(30));
                let soon = Timestamp::from_millis(soon.as_millis() + self.gate.life.clock_ahead());
                for armed in &mut armed {
                    (armed.wake_at, armed.sending) = (armed.wake_at.max(soon), false);
                }
            }
            Some(_) | None => {}
        }
        Ok(armed)
    }

    async fn list(&self, page: &Page) -> Result<Vec<Arc<Alert>>, Error> {
        call!(self, "list", false, self.gate.world.kept.list(page))
    }

    async fn find_message(&self, id: &ProviderId) -> Result<Option<AttemptRef>, Error> {
        call!(self, "find_message", false, self.gate.world.kept.find_message(id))
    }

    async fn find_number(&self, number: AlertNumber) -> Result<Option<AlertId>, Error> {
        call!(self, "find_number", false, self.gate.world.kept.find_number(number))
    }

    async fn newest_number(&self) -> Result<AlertNumber, Error> {
        call!(self, "newest_number", false, self.gate.world.kept.newest_number())
    }

    async fn find_address(
        &self,
        channel: Channel,
        address: &Address,
        statuses: &[StatusFilter],
        limit: usize,
    ) -> Result<Vec<AlertId>, Error> {
        call!(self, "find_address", false, self.gate.world.kept.find_address(channel, address, statuses, limit))
    }

    async fn find_key(&self, key: &str, limit: usize) -> Result<Vec<AlertId>, Error> {
        call!(self, "find_key", false, self.gate.world.kept.find_key(key, limit))
    }

    async fn park(&self, id: &ProviderId, incoming: &Incoming, now: Timestamp) -> Result<(), Error> {
        if self.bug() == Some(Bug::ParkedAreDropped) {
            return Ok(());
        }
        self.gate.world.mark("a webhook was parked");
        call!(self, "park", true, self.gate.world.kept.park(id, incoming, now))
    }

    async fn parked(&self, id: &ProviderId) -> Result<Vec<Incoming>, Error> {
        call!(self, "parked", false, self.gate.world.kept.parked(id))
    }

    async fn parked_and_known(&self, limit: usize) -> Result<Vec<ProviderId>, Error> {
        call!(self, "parked_and_known", false, self.gate.world.kept.parked_and_known(limit))
    }

    async fn release_key(&self, key: &str, held_by: AlertId) -> Result<(), Error> {
        self.gate.world.mark("a damaged alert gave its problem up");
        call!(self, "release_key", true, self.gate.world.kept.release_key(key, held_by))
    }

    async fn unpark(&self, id: &ProviderId) -> Result<(), Error> {
        call!(self, "unpark", true, self.gate.world.kept.unpark(id))
    }

    async fn tidy(&self, keys_before: Timestamp, parked_before: Timestamp, limit: usize) -> Result<usize, Error> {
        call!(self, "tidy", true, self.gate.world.kept.tidy(keys_before, parked_before, limit))
    }

    async fn forget(&self, settled_before: Timestamp, limit: usize) -> Result<usize, Error> {
        call!(self, "forget", true, self.gate.world.kept.forget(settled_before, limit))
    }

    async fn forget_plans(&self) -> Result<usize, Error> {
        call!(self, "forget_plans", true, self.gate.world.kept.forget_plans())
    }

    async fn secret(&self, name: &str, proposed: [u8; 32]) -> Result<[u8; 32], Error> {
        call!(self, "secret", true, self.gate.world.kept.secret(name, proposed))
    }

    async fn probe(&self, now: Timestamp) -> Result<(), Error> {
        call!(self, "probe", true, self.gate.world.kept.probe(now))
    }

    async fn left_behind(&self, looking: &LeftBehind) -> Result<Vec<Armed>, Error> {
        let kept = &self.gate.world.kept;
        let mut left = call!(self, "left_behind", false, kept.armed(None, usize::MAX))?;
        left.retain(|armed| {
            let until = if armed.sending { looking.sending_until } else { looking.waiting_until };
            (armed.wake_at, armed.id) > looking.after && armed.wake_at <= until
        });
        left.sort_by_key(|armed| (armed.wake_at, armed.id));
        left.truncate(looking.limit);
        match self.bug() {
            Some(Bug::LostSendsAreLeft) => left.retain(|armed| !armed.sending),
            Some(Bug::ArmedForgets) => left.clear(),
            Some(Bug::DamageHides) => left.retain(|armed| !self.gate.world.is_behind_damage(armed.id)),
            Some(_) | None => {}
        }
        Ok(left)
    }

    async fn failing(&self, before: Option<AlertId>, limit: usize) -> Result<Vec<AlertId>, Error> {
        call!(self, "failing", false, self.gate.world.kept.failing(before, limit))
    }

    async fn meet_others(&self, accepted_at: Option<Timestamp>) -> Result<Others, Error> {
        self.before("meet_others", false).await?;
        let others = self.gate.world.meet(self.gate.node, accepted_at);
        self.after("meet_others", false).await?;
        Ok(if self.bug() == Some(Bug::NodesTellNothing) { Others::default() } else { others })
    }

    async fn close(&self) {}

    fn is_sole_owner(&self) -> bool {
        self.gate.world.n_nodes() == 1
    }

    fn is_durable(&self) -> bool {
        true
    }
}

/// The node's way to the provider.
pub(crate) struct SimSender {
    pub(crate) gate: Gate,
}

impl SimSender {
    /// As long as the process lives.
    fn post_later(&self, outbound: Outbound) {
        let gate = self.gate.clone();
        self.gate.world.spawn(async move {
            gate.take(5_000).await;
            gate.pass().await;
            let _nobody_asks = gate.world.provider_takes(gate.node, &outbound).await;
        });
    }
}

#[async_trait]
impl Sender for SimSender {
    async fn send(&self, outbound: &Outbound) -> Answer {
        self.gate.pass().await;
        let world = &self.gate.world;
        match world.bug {
            Some(Bug::SenderSwallows) if world.dice().permille(100) => {
                return Answer::Accepted(Some("swallowed".parse().unwrap()));
            }
            Some(Bug::SenderSendsTwice) if world.dice().permille(100) => {
                let _first = world.provider_takes(self.gate.node, outbound).await;
            }
            Some(Bug::SenderDawdles) => {
                world.clock.sleep_until(world.clock.now().plus(std::time::Duration::from_secs(25))).await;
            }
            Some(_) | None => {}
        }
        let mut bent = outbound.clone();
        if world.bug == Some(Bug::WrongAddress) && world.dice().permille(50) {
            bent.step.first.address = Address::parse(bent.step.first.channel, "447700999999").unwrap();
        }
        self.gate.take(200).await;
        self.gate.pass().await;
        if world.bug == Some(Bug::RecordedBeforePost) {
            self.post_later(bent);
            return Answer::Accepted(None);
        }
        let answer = world.provider_takes(self.gate.node, &bent).await;
        self.gate.take(200).await;
        self.gate.pass().await;
        match (world.bug, answer) {
            (Some(Bug::TroubleIsRefusal), Answer::Trouble(trouble)) => Answer::Refused(trouble.failure),
            (Some(Bug::AccountIsTakenForRate), Answer::Trouble(trouble)) => {
                Answer::Trouble(SendTrouble { cause: TroubleCause::RateLimit, ..trouble })
            }
            (_, answer) => answer,
        }
    }

    async fn tell(&self, _notice: &Notice) -> Answer {
        self.gate.pass().await;
        Answer::Refused(Failure { code: None, detail: "nobody is told here".into() })
    }
}
