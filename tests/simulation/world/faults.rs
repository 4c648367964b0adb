//! What goes wrong on a day, and when it is mended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use callout::clock::Clock;
use callout::id::AlertId;
use callout::store::{Page, StatusFilter, Store};
use callout::timestamp::Timestamp;

use super::{BEGAN, World, millis, moment};
use crate::oracle::history::{Fault, FaultKind, Moment};

pub(crate) fn a_fault(kind: FaultKind, at: Moment, until: Option<Moment>) -> Fault {
    Fault {
        kind,
        at,
        until,
        known_at: None,
        node: None,
        keeps_nothing: false,
        keeps_per_minute: None,
        late_max_ms: None,
    }
}

/// How long a call of a store that nodes share takes at most, when all is well.
const WAY_TO_THE_STORE_MS: u64 = 10;
/// How many alerts are raised in the minutes before an alert is damaged, and in those after it.
const AROUND_DAMAGE: usize = 3;
/// How long a planted bug lets everybody wait who comes after a damaged alert.
const HELD_UP_FOR: Duration = Duration::from_secs(30);

/// How rough the day is, in thousandths of all calls.
#[derive(Clone, Copy, Default)]
pub(crate) struct Noise {
    pub(crate) lost_commit: u64,
    pub(crate) unknown_commit: u64,
    pub(super) send_trouble: u64,
    pub(super) send_unanswered: u64,
    pub(super) send_refused: u64,
}

/// How the provider takes requests for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Down {
    Unreachable,
    Hangs,
    Errors,
    Credentials,
    Balance,
    RateLimit,
}

/// What is wrong at the moment.
#[derive(Default)]
pub(super) struct Wrong {
    pub(super) provider: Option<Down>,
    /// How requests of one node alone are taken.
    pub(super) alone: BTreeMap<usize, Down>,
    pub(super) store: Option<&'static str>,
    pub(super) only_writes: bool,
    pub(super) store_takes_ms: u64,
    pub(super) cut_off: BTreeSet<usize>,
    pub(super) frozen_until: BTreeMap<usize, Timestamp>,
    held_up_until: Option<Timestamp>,
}

impl World {
    pub(crate) fn rolls(&self, permille: impl FnOnce(&Noise) -> u64) -> bool {
        let permille = permille(&self.noise.lock().unwrap());
        permille > 0 && self.dice().permille(permille)
    }

    /// How long a call takes at most; one by which a node only looks around takes its time in trouble alone, so that a day
    /// of nothing but these is lived through soon.
    pub(crate) fn store_takes_ms(&self, is_idle: bool) -> u64 {
        let way_there_ms = if self.n_nodes() > 1 && !is_idle { WAY_TO_THE_STORE_MS } else { 0 };
        self.wrong().store_takes_ms.max(way_there_ms)
    }

    pub(crate) fn store_refuses(&self, node: usize, writes: bool) -> Option<&'static str> {
        let wrong = self.wrong();
        if wrong.cut_off.contains(&node) {
            return Some("the node is cut off");
        }
        wrong.store.filter(|_| writes || !wrong.only_writes)
    }

    pub(crate) fn frozen_until(&self, node: usize) -> Timestamp {
        self.wrong().frozen_until.get(&node).copied().unwrap_or(BEGAN)
    }

    /// Until when whoever read a damaged alert holds the store up, which only a planted bug does.
    pub(crate) fn held_up_until(&self) -> Timestamp {
        self.wrong().held_up_until.unwrap_or(BEGAN)
    }

    pub(crate) fn hold_up(&self) {
        self.wrong().held_up_until = Some(self.clock.now().plus(HELD_UP_FOR));
    }

    /// Everything that was wrong is over.
    pub(super) fn mend(&self) {
        *self.noise.lock().unwrap() = Noise::default();
        *self.wrong() = Wrong::default();
        let now = moment(self.clock.now());
        for fault in &mut self.notes().faults {
            if fault.until.is_some_and(|until| until > now) {
                fault.until = Some(now);
            }
        }
        self.trace(|| "all is mended".into());
    }

    /// One thing goes wrong at some time of the day, for a while.
    #[expect(clippy::too_many_lines, reason = "a list of what can go wrong")]
    pub(super) async fn break_something(self: Arc<Self>) {
        let at = self.some_time();
        self.clock.sleep_until(at).await;
        let node = usize::try_from(self.dice().next()).unwrap_or(0) % self.nodes.len();
        let longest = self.dice().one_of(&[2_000, 40_000, 600_000, 3_600_000]);
        let lasts = millis(self.dice().between(500, longest));
        let until = at.plus(lasts);
        let told = Some(format!("n{node}"));
        let fault = |kind| Fault { node: told.clone(), ..a_fault(kind, moment(at), Some(moment(until))) };
        let what = self.dice().between(0, 12);
        match what {
            0..=3 => {
                let n_calls = i64::try_from(self.dice().between(1, 40)).unwrap();
                let at_work = self.dice().permille(700);
                self.nodes[node].life.lock().unwrap().kill_after(n_calls, at_work);
            }
            4 | 5 => {
                let down = self.dice().one_of(&[
                    Down::Unreachable,
                    Down::Hangs,
                    Down::Errors,
                    Down::Credentials,
                    Down::Balance,
                    Down::RateLimit,
                ]);
                if self.wrong().provider.is_some() {
                    return;
                }
                let is_ours = matches!(down, Down::Credentials | Down::Balance);
                self.add_fault(fault(if is_ours { FaultKind::Account } else { FaultKind::Outage }));
                if is_ours {
                    self.mark("the account was refused");
                }
                self.mark("the provider was down");
                self.wrong().provider = Some(down);
                self.clock.sleep_until(until).await;
                self.wrong().provider = None;
            }
            6 => {
                let (why, only_writes) = self.dice().one_of(&[("the disk is full", true), ("it is down", false)]);
                if self.wrong().store.is_some() {
                    return;
                }
                self.add_fault(Fault { keeps_nothing: true, ..fault(FaultKind::Store) });
                self.mark(if only_writes { "the disk was full" } else { "the store was down" });
                {
                    let mut wrong = self.wrong();
                    (wrong.store, wrong.only_writes) = (Some(why), only_writes);
                }
                self.clock.sleep_until(until).await;
                self.wrong().store = None;
            }
            7 => {
                self.add_fault(fault(FaultKind::Slow));
                self.mark("the store was slow");
                self.wrong().store_takes_ms = 3_000;
                self.clock.sleep_until(until).await;
                self.wrong().store_takes_ms = 0;
            }
            8 => {
                self.step_wall_clock(node);
                if self.dice().permille(500) {
                    self.clock.sleep_until(until).await;
                    self.step_wall_clock(node);
                }
            }
            9 => self.poison(node).await,
            10 => {
                self.add_fault(fault(FaultKind::Partition));
                self.mark("a node was cut off");
                self.wrong().cut_off.insert(node);
                self.clock.sleep_until(until).await;
                self.wrong().cut_off.remove(&node);
            }
            11 => {
                let n_calls = i64::try_from(self.dice().between(1, 40)).unwrap();
                self.nodes[node].life.lock().unwrap().replace_after(n_calls);
            }
            _ => {
                let until = at.plus(lasts.min(Duration::from_mins(3)));
                let fault = Fault { until: Some(moment(until)), ..fault(FaultKind::Pause) };
                self.add_fault(fault);
                self.mark("a node was frozen");
                self.wrong().frozen_until.insert(node, until);
            }
        }
    }

    /// One node of several does not get through to the provider for hours, while the others do.
    pub(super) async fn lose_the_way(self: Arc<Self>) {
        let at = self.some_time();
        self.clock.sleep_until(at).await;
        let node = usize::try_from(self.dice().next()).unwrap_or(0) % self.nodes.len();
        let lasts = millis(self.dice().between(600_000, 14_400_000));
        let until = at.plus(lasts);
        let down = self.dice().one_of(&[Down::Unreachable, Down::Hangs, Down::Errors, Down::Credentials]);
        let alone = a_fault(FaultKind::Alone, moment(at), Some(moment(until)));
        self.add_fault(Fault { node: Some(format!("n{node}")), ..alone });
        self.wrong().alone.insert(node, down);
        self.clock.sleep_until(until).await;
        self.wrong().alone.remove(&node);
    }

    /// While several alerts escalate and more are raised, the record of one is damaged for good; then a node may be
    /// killed, and have to take up the others.
    async fn poison(self: &Arc<Self>, node: usize) {
        self.raise_together(AROUND_DAMAGE);
        let before = self.dice().between(60_000, 240_000);
        let after = self.dice().between(1_000, 240_000);
        self.sleep(millis(before)).await;
        self.damage_one().await;
        self.raise_together(AROUND_DAMAGE);
        self.sleep(millis(after)).await;
        if self.dice().permille(500) && !self.is_mended() {
            self.nodes[node].life.lock().unwrap().kill_after(1, false);
        }
    }

    /// The record of one alert that escalates is damaged for good.
    async fn damage_one(&self) {
        let page = Page { status: Some(StatusFilter::Escalating), limit: usize::MAX, ..Page::default() };
        let open = self.kept.list(&page).await.unwrap();
        if open.is_empty() {
            return;
        }
        let which = usize::try_from(self.dice().next()).unwrap_or(0) % open.len();
        let id = open[which].id();
        self.mark("an alert was damaged");
        self.trace(|| format!("alert {id} cannot be read from now on"));
        self.notes().poisoned.entry(id.to_string()).or_insert(moment(self.clock.now()));
    }

    pub(crate) fn is_poisoned(&self, id: AlertId) -> bool {
        let notes = self.notes();
        !notes.poisoned.is_empty() && notes.poisoned.contains_key(&id.to_string())
    }

    /// Whether somebody who reads in the order of ids comes by a damaged alert first.
    pub(crate) fn is_behind_damage(&self, id: AlertId) -> bool {
        let id = id.to_string();
        self.notes().poisoned.keys().any(|poisoned| *poisoned < id)
    }
}
