//! What nodes that share a store do for each other.
//!
//! Each node fires what it armed itself, by its own timers. Once a second it also looks for what others
//! left behind: deadlines that nobody fired although they were due, and sends whose sender has not said for
//! almost a whole lease what came of them. Both are found by an index and then judged like everything else:
//! by the alert's own row, so that two nodes that find the same do it once.
//!
//! In the same round the nodes tell each other what each of them must know of all: how many they are (they
//! share the rate that Vonage allows), whether anything gets through to Vonage, and, while somebody listens,
//! which alerts changed.
//!
//! Nothing of this runs where one process owns the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::escalation::{Alert, Progress, SEND_LEASE, Status};
use crate::id::AlertId;
use crate::store::{self, Armed, LeftBehind};
use crate::timestamp::Timestamp;

use super::outage::Way;
use super::timers::{Wake, WakeWhy};
use super::{Engine, Error};
use crate::chain::Chain;

/// How often a node looks for what others left behind.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long whoever armed a deadline has to fire it before others do. With [`SWEEP_EVERY`] less than the two
/// seconds of contract R15.
const LEFT_AFTER: Duration = Duration::from_millis(500);
/// How long before the end of its lease a send that nobody finished is made again. It must have begun within
/// [`START_WITHIN`] and takes half of the rest at most, so that nobody can be at it any more; and with
/// [`SWEEP_EVERY`] it is made again within the thirty seconds of contract R15.
const LOST_BEFORE: Duration = Duration::from_secs(2);
/// A send may begin only so long after it was claimed: a node that was held up for longer, or cut off from the
/// store, cannot know whether it may still.
pub(super) const START_WITHIN: Duration = Duration::from_secs(10);
/// How often everything that is overdue is looked at, however old.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_secs(30);
/// What was left behind is looked at again no sooner than this.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How much is read at a time, and how often at most in one round.
const SWEEP_PAGE: usize = 500;
const SWEEP_PAGES_MAX: usize = 20;
/// How many alerts whose sends fail are looked at in one round to judge the way to Vonage.
const FAILING_LOOKED_AT_MAX: usize = 16;
/// How long the news of others may come out of order.
const NEWS_SETTLE: Duration = Duration::from_secs(10);
/// How much news is read at a time.
const NEWS_PAGE: usize = 500;

/// What a node remembers from one round to the next.
struct Rounds {
    looked_at_all: Option<Timestamp>,
    /// What was woken lately.
    woken: HashMap<AlertId, Timestamp>,
    news: Option<News>,
    /// The failing alert that was looked at last.
    last_failing: AlertId,
    is_cut_off: bool,
}

/// How far the news of other nodes is known.
struct News {
    floor: u64,
    told: BTreeMap<u64, Timestamp>,
}

impl Engine {
    /// Looks after what other nodes leave behind, as long as the engine runs.
    pub(super) async fn sweep_always(&self) {
        let mut rounds = Rounds {
            looked_at_all: None,
            woken: HashMap::new(),
            news: None,
            last_failing: AlertId::from_bits(0),
            is_cut_off: false,
        };
        loop {
            match self.sweep(&mut rounds).await {
                Ok(()) if rounds.is_cut_off => {
                    rounds.is_cut_off = false;
                    tracing::info!("the store can be reached again");
                }
                Ok(()) => {}
                Err(error) if rounds.is_cut_off => tracing::debug!(error = %Chain(&error), "still cut off"),
                Err(error) => {
                    rounds.is_cut_off = true;
                    tracing::error!(
                        error = %Chain(&error),
                        "the store cannot be reached; this node begins no new send until it can, and other nodes go on"
                    );
                }
            }
            self.0.clock.sleep_until(self.now().plus(SWEEP_EVERY)).await;
        }
    }

    async fn sweep(&self, rounds: &mut Rounds) -> Result<(), Error> {
        // Whether nothing gets through must be known before what is late is judged, above all at the start.
        self.meet_others().await?;
        self.judge_the_way_together(rounds).await?;
        self.take_up_what_was_left(rounds).await?;
        self.tell_news(rounds).await
    }

    async fn take_up_what_was_left(&self, rounds: &mut Rounds) -> Result<(), Error> {
        let now = self.now();
        let looks_at_all = rounds.looked_at_all.is_none_or(|looked_at| now.since(looked_at) >= LOOK_AT_ALL_EVERY);
        // Further back is only what was looked at before; an index that cannot be cleaned is not walked again.
        let from = if looks_at_all { Timestamp::EPOCH } else { now.minus(LOOK_AT_ALL_EVERY * 2) };
        let mut after = (from, AlertId::from_bits(0));
        rounds.woken.retain(|_, woken_at| now.since(*woken_at) < LOOK_AGAIN_AFTER);
        for _ in 0..SWEEP_PAGES_MAX {
            let looking = LeftBehind {
                after,
                sending_until: now.plus(LOST_BEFORE),
                waiting_until: now.minus(LEFT_AFTER),
                limit: SWEEP_PAGE,
            };
            let page = self.0.store.left_behind(&looking).await?;
            let Some(last) = page.last() else { break };
            after = (last.wake_at, last.id);
            self.wake_what_was_left(&page, rounds, now);
            if page.len() < SWEEP_PAGE {
                break;
            }
        }
        if looks_at_all {
            rounds.looked_at_all = Some(now);
        }
        Ok(())
    }

    fn wake_what_was_left(&self, page: &[Armed], rounds: &mut Rounds, now: Timestamp) {
        let left = page.iter().filter(|armed| !rounds.woken.contains_key(&armed.id));
        // One that was set aside has a time at which it is tried again.
        let is_seen_to = |id: AlertId| self.0.turns.is_waiting(id) || self.0.watch.is_aside(id);
        let left: Vec<&Armed> = left.filter(|armed| !is_seen_to(armed.id)).collect();
        rounds.woken.extend(left.iter().map(|armed| (armed.id, now)));
        let wakes = left.into_iter().map(|armed| {
            let why = if armed.sending { WakeWhy::SenderLost } else { WakeWhy::ItsTime };
            (now, Wake { id: armed.id, why })
        });
        self.0.timers.arm_all(wakes.collect());
    }

    /// Whether a send that was begun is certainly not being done any more.
    pub(super) fn is_sender_lost(&self, alert: &Alert, now: Timestamp) -> bool {
        match alert.status {
            Status::Escalating(Progress::Sending { until }) => {
                self.0.store.is_sole_owner() || until <= now.plus(LOST_BEFORE)
            }
            Status::Escalating(Progress::Ready { .. } | Progress::Waiting { .. })
            | Status::Acknowledged
            | Status::Exhausted
            | Status::Resolved => false,
        }
    }

    /// Whether the send that was claimed with this commit may still begin. Where others use the store too, one
    /// of them makes it again when the lease is over, and it must not go out twice by then.
    pub(super) fn may_begin(&self, committed: &Alert) -> bool {
        match committed.status {
            Status::Escalating(Progress::Sending { until }) => {
                self.0.store.is_sole_owner() || until > self.now().plus(SEND_LEASE.saturating_sub(START_WITHIN))
            }
            Status::Escalating(Progress::Ready { .. } | Progress::Waiting { .. })
            | Status::Acknowledged
            | Status::Exhausted
            | Status::Resolved => false,
        }
    }

    async fn meet_others(&self) -> Result<(), Error> {
        let shared = &self.0;
        // What others said is not said again: each node must know who of them got something through.
        let others = shared.store.meet_others(shared.own_sends.accepted_at()).await?;
        shared.own_sends.heard(others);
        self.take_or_leave_turns();
        if others.accepted_at > shared.outage.vonage_accepted_at()
            && let Some(accepted_at) = others.accepted_at
        {
            self.way_is_open(Way::Vonage, accepted_at);
        }
        if shared.n_others.swap(others.n_others, Ordering::Relaxed) != others.n_others {
            tracing::info!(
                n_nodes = others.n_others + 1,
                "so many nodes work on the store now; they share max_per_second"
            );
            self.set_pace();
        }
        Ok(())
    }

    /// Takes notice of alerts whose sends fail wherever that happens, and of those that failed here and were
    /// seen to elsewhere.
    async fn judge_the_way_together(&self, rounds: &mut Rounds) -> Result<(), Error> {
        let mut looked_at = self.0.store.failing(None, FAILING_LOOKED_AT_MAX).await?;
        let here = self.0.outage.failing_after(rounds.last_failing, FAILING_LOOKED_AT_MAX);
        rounds.last_failing = match here.last() {
            Some(last) if here.len() == FAILING_LOOKED_AT_MAX => *last,
            Some(_) | None => AlertId::from_bits(0),
        };
        looked_at.extend(here);
        for id in looked_at {
            match self.alert(id).await {
                Ok(alert) => self.observe_way(&alert),
                Err(error @ Error::Store(store::Error::Unavailable(_))) => return Err(error),
                // One that is gone or cannot be understood says nothing about the way.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Tells listeners of this node what other nodes changed, the callbacks among them. Does nothing while nobody
    /// listens.
    async fn tell_news(&self, rounds: &mut Rounds) -> Result<(), Error> {
        let shared = &self.0;
        if shared.changes.receiver_count() == 0 {
            rounds.news = None;
            return Ok(());
        }
        let now = self.now();
        let Some(news) = &mut rounds.news else {
            let floor = shared.store.newest_news().await?;
            rounds.news = Some(News { floor, told: BTreeMap::new() });
            return Ok(());
        };
        let mut after = news.floor;
        for _ in 0..SWEEP_PAGES_MAX {
            let page = shared.store.news(after, NEWS_PAGE).await?;
            let is_last = page.len() < NEWS_PAGE;
            for (place, changed) in page {
                after = after.max(place);
                if news.told.insert(place, now).is_none() {
                    for id in changed {
                        // Nobody may be listening any more; that is no failure.
                        let _n_listeners = shared.changes.send(id);
                    }
                }
            }
            if is_last {
                break;
            }
        }
        while let Some((place, told_at)) = news.told.first_key_value()
            && now.since(*told_at) >= NEWS_SETTLE
        {
            news.floor = *place;
            news.told.pop_first();
        }
        Ok(())
    }
}
