//! What goes wrong inside: a store that fails, a caller who goes away, work that panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use callout::alarm::Alarms;
use callout::chance::SeededChance;
use callout::clock::{Clock, SteadyClock};
use callout::engine::{Engine, Error, NewAlert, Parts, REPEATS_WAITING_MAX, Raising, Received, Settings};
use callout::escalation::{Backend, ReportStatus};
use callout::id::AttemptRef;
use callout::incoming::{Incoming, MessageStatus};
use callout::metrics::Metrics;
use callout::store::{self, MemoryStore, Page};
use callout::timestamp::Timestamp;
use callout::traces::Traces;
use tokio::task::JoinSet;

use super::engine_frail::{Call, Frail};
use super::engine_stage::{
    BEGAN, Part, Stage, StandIn, a_minute_each, down, minutes, new_alert, said, seconds, tutorial,
};

async fn frail() -> (Arc<Frail>, Stage) {
    let store = Frail::new();
    let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
    (store, stage)
}

#[tokio::test(start_paused = true)]
async fn an_alert_goes_on_after_the_store_failed_at_any_call() {
    for call in Call::ALL {
        for n_times in [1, 3, 40] {
            let (store, stage) = frail().await;
            let id = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
            store.fail(call, n_times);
            stage.pass(minutes(5)).await;
            store.heal();
            stage.pass(minutes(5)).await;
            assert_eq!(stage.status(id).await, "exhausted", "{call:?} failed {n_times} times");
            assert_eq!(stage.vonage.sent().len(), 2, "{call:?} failed {n_times} times: no message twice");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_for_long_brings_no_message_twice() {
    let (store, stage) = frail().await;
    stage.vonage.always(Part::AcceptAfter(seconds(5)));
    let id = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    stage.pass(seconds(2)).await;
    store.fail_everything();
    stage.pass(minutes(10)).await;
    store.heal();
    stage.pass(seconds(10)).await;
    assert_eq!(stage.vonage.sent_for(id).len(), 1, "the answer of Vonage was remembered until it could be written");
    assert_eq!(stage.attempts(id).await, ["sent"]);
    assert!(!stage.timeline(id).await.contains(&"resent_after_restart"));
    stage.pass(seconds(70)).await;
    assert_eq!(stage.attempts(id).await, ["expired", "sent"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_ends_while_the_store_fails_still_gives_everybody_a_full_expiry() {
    let (store, stage) = frail().await;
    let held = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    stage.settle().await;
    stage.vonage.always(down());
    for _ in 0..2 {
        stage.raise(&tutorial(Backend::Messages)).await;
    }
    stage.pass(minutes(10)).await;
    stage.vonage.always(Part::AcceptAfter(seconds(5)));
    let n_sent = stage.vonage.sent().len();
    while stage.vonage.sent().len() == n_sent {
        stage.pass(seconds(1)).await;
    }
    store.fail(Call::Update, 6);
    stage.pass(seconds(10)).await;
    assert_eq!(store.n_struck(), 6);
    assert_eq!(stage.attempts(held).await, ["sent"]);
    assert!(stage.alert(held).await.attempts[0].expires_at.unwrap() > stage.clock_now());
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_leaves_a_whole_alert_behind() {
    for call in [Call::Insert, Call::Other, Call::Update, Call::Get] {
        let (store, stage) = frail().await;
        store.slow_down(call, seconds(2), &stage.clock);
        let plan = a_minute_each(&["Tony", "Anna"]);
        let gone = tokio::select! {
            biased;
            _ = stage.engine.raise(new_alert(&plan), None) => false,
            () = stage.pass(seconds(1)) => true,
        };
        stage.pass(minutes(5)).await;
        let alerts = stage.store.list(&Page { limit: 10, ..Page::default() }).await.unwrap();
        assert_eq!(alerts.len(), 1, "{call:?}, gone: {gone}");
        assert_eq!(alerts[0].status.name(), "exhausted", "{call:?}, gone: {gone}");
        assert_eq!(stage.vonage.sent().len(), 2, "{call:?}, gone: {gone}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_whose_caller_went_away_has_all_of_its_effect() {
    let (store, stage) = frail().await;
    let id = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    stage.settle().await;
    store.slow_down(Call::Update, seconds(2), &stage.clock);
    let gone = tokio::select! {
        biased;
        _ = stage.report(id, 1, ReportStatus::Rejected) => false,
        () = stage.pass(seconds(1)) => true,
    };
    assert!(gone);
    stage.pass(seconds(20)).await;
    assert_eq!(stage.attempts(id).await, ["rejected", "sent"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_work_on_one_alert_sets_it_aside_for_a_minute_only() {
    for call in [Call::Get, Call::Update] {
        let (store, stage) = frail().await;
        let broken = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
        stage.settle().await;
        stage.pass(seconds(1)).await;
        let other = stage.raise(&a_minute_each(&["Eve", "Bob"])).await;
        stage.pass(seconds(57)).await;
        store.panic_at(call);
        stage.pass(seconds(6)).await;
        assert_eq!(store.n_struck(), 1);
        assert_eq!(stage.attempts(other).await, ["expired", "sent"], "the other is not touched");
        stage.pass(seconds(62)).await;
        assert_eq!(stage.attempts(broken).await, ["expired", "sent"], "{call:?}");
    }
}

/// Counts how often somebody waits for a moment.
struct Counting {
    clock: SteadyClock,
    n_sleeps: AtomicUsize,
}

#[async_trait]
impl Clock for Counting {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn sleep_until(&self, moment: Timestamp) {
        self.n_sleeps.fetch_add(1, Ordering::Relaxed);
        self.clock.sleep_until(moment).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_the_disk_damaged_does_not_keep_old_ones_from_being_forgotten() {
    let store = Frail::new();
    let day = minutes(24 * 60);
    let settings = Settings { retention: Some(day), ..Settings::default() };
    let stage = Stage::with(Arc::<Frail>::clone(&store), settings).await;
    let damaged = stage.raise(&a_minute_each(&["Tony"])).await;
    let old = stage.raise(&a_minute_each(&["Anna"])).await;
    stage.raise(&a_minute_each(&["Anna"])).await;
    stage.pass(seconds(10)).await;
    // A process that died left a report parked that is about the damaged alert.
    let message = stage.alert(damaged).await.attempts[0].provider_ids[0].clone();
    let report = Incoming::Status(MessageStatus { id: Some(message.clone()), ..said(ReportStatus::Delivered) });
    store.inner().park(&message, &report, stage.clock_now()).await.unwrap();
    store.damage(damaged);
    stage.pass(2 * day).await;
    assert!(stage.engine.alert(old).await.is_err(), "it was settled long enough ago");
}

#[tokio::test(start_paused = true)]
async fn a_problem_whose_open_alert_the_disk_damaged_is_raised_anew_and_once() {
    let (store, stage) = frail().await;
    let disk = |name| NewAlert { dedup_key: Some("disk".into()), ..new_alert(&a_minute_each(&[name])) };
    let Raising::Created(damaged) = stage.engine.raise(disk("Tony"), None).await.unwrap() else { panic!("a new one") };
    stage.pass(seconds(10)).await;
    store.damage(damaged.id());
    let Raising::Created(anew) = stage.engine.raise(disk("Tony"), None).await.unwrap() else {
        panic!("what cannot be read calls nobody")
    };
    stage.pass(seconds(10)).await;
    assert_eq!(stage.vonage.sent_for(anew.id()).len(), 1);
    let again = stage.engine.raise(disk("Tony"), None).await.unwrap();
    assert!(matches!(again, Raising::Repeated(alert) if alert.id() == anew.id()), "the new one holds the key now");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_repetitions_of_one_problem_keeps_no_read_waiting() {
    const N_REPETITIONS: usize = 300;
    let store = Frail::new();
    let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
    let again = || NewAlert { dedup_key: Some("server-1/down".into()), ..new_alert(&tutorial(Backend::Messages)) };
    let id = stage.raise_new(again()).await;
    stage.settle().await;
    store.slow_down(Call::Update, seconds(1), &stage.clock);
    let mut flood = JoinSet::new();
    for _ in 0..N_REPETITIONS {
        let (engine, new) = (stage.engine.clone(), again());
        flood.spawn(async move { engine.raise(new, None).await });
    }
    stage.settle().await;
    let began = stage.clock.now();
    let read = MessageStatus { reference: Some(AttemptRef { alert: id, attempt: 1 }), ..said(ReportStatus::Read) };
    assert_eq!(stage.engine.receive(&Incoming::Status(read)).await.unwrap(), Received::Effective);
    let waited = stage.clock.now().since(began);
    let at_most = seconds(u64::try_from(REPEATS_WAITING_MAX).unwrap() + 2);
    assert!(waited <= at_most, "the read was kept after {waited:?}");
    let answers = flood.join_all().await;
    let n_busy = answers.iter().filter(|answer| matches!(answer, Err(Error::Store(store::Error::Busy)))).count();
    assert_eq!(n_busy, N_REPETITIONS - REPEATS_WAITING_MAX, "the others are told to come again");
    let n_counted = answers.iter().filter(|answer| matches!(answer, Ok(Raising::Repeated(_)))).count();
    assert_eq!(n_counted, REPEATS_WAITING_MAX);
}

#[tokio::test(start_paused = true)]
async fn an_engine_with_nothing_to_do_wakes_up_to_tidy_and_to_look_after_itself_and_no_more() {
    let steady = Arc::new(SteadyClock::faster(BEGAN, 1));
    let clock = Arc::new(Counting { clock: *steady, n_sleeps: AtomicUsize::new(0) });
    let store = Frail::new();
    let parts = Parts {
        store: Arc::<Frail>::clone(&store),
        sender: StandIn::new(&steady),
        clock: Arc::<Counting>::clone(&clock),
        chance: Arc::new(SeededChance::new(1)),
        metrics: Arc::new(Metrics::new()),
        alarms: Arc::new(Alarms::new(Arc::new(Metrics::new()))),
        traces: Traces::off(),
        link_secret: [7; 32],
        settings: Settings { max_per_second: 25, ..Settings::default() },
    };
    let engine = Engine::start(parts).await.unwrap();
    let plan = a_minute_each(&["Tony", "Anna"]);
    engine.raise(new_alert(&plan), None).await.unwrap();
    steady.sleep_until(BEGAN.plus(minutes(10))).await;
    let before = clock.n_sleeps.load(Ordering::Relaxed);
    steady.sleep_until(BEGAN.plus(minutes(70))).await;
    let n_sleeps = clock.n_sleeps.load(Ordering::Relaxed) - before;
    // Once a minute it tidies up, and every ten seconds it looks whether its own work goes on.
    assert!((415..=425).contains(&n_sleeps), "{n_sleeps} in an hour");
    engine.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_sends_that_were_lost_are_taken_up_again() {
    let stage = Stage::with(Arc::new(MemoryStore::new()), Settings::default()).await;
    let plan = a_minute_each(&["Tony", "Anna"]);
    for _ in 0..1_000 {
        stage.raise(&plan).await;
    }
    stage.vonage.always(Part::Hang);
    stage.pass(seconds(61)).await;
    let stage = stage.killed_and_started_again(Duration::ZERO).await;
    stage.vonage.always(Part::Accept);
    let stage = stage.killed_and_started_again(Duration::ZERO).await;
    stage.pass(seconds(1)).await;
    let alerts = stage.store.list(&Page { limit: 2_000, ..Page::default() }).await.unwrap();
    assert_eq!(alerts.len(), 1_000);
    for alert in alerts {
        assert_eq!(stage.attempts(alert.id()).await, ["expired", "sent"]);
    }
}
