//! Who watches the watcher: the audit, the quarantine, and whether everything goes on.

use std::sync::Arc;

use callout::alarm::Alarm;
use callout::engine::{Error, Settings, Stuck};
use callout::escalation::Raised;
use callout::store::{self, Insert};

use super::alerts::{begin, raised};
use super::engine_frail::{Call, Frail};
use super::engine_stage::{BEGAN, Part, Stage, a_minute_each, minutes, new_alert, seconds};

async fn frail() -> (Arc<Frail>, Stage) {
    let store = Frail::new();
    let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
    (store, stage)
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_nobody_works_on_is_found_told_of_and_woken() {
    let stage = Stage::open().await;
    stage.pass(minutes(2)).await;
    stage.engine.advancing().await.unwrap();
    let mut alarms = stage.engine.alarms().listen();
    // A defect that nobody has thought of: the alert is in the store and the engine does not know.
    let lost = begin(Raised { at: BEGAN, plan: a_minute_each(&["Tony"]), ..raised(77) });
    assert!(matches!(stage.store.insert(Arc::clone(&lost), None).await.unwrap(), Insert::Inserted(_)));
    let mut failed_for = 0;
    for _ in 0..180 {
        stage.pass(seconds(1)).await;
        stage.engine.advancing().await.expect("it goes on all the while");
        failed_for += u32::from(!stage.engine.passes_audit());
    }
    assert!(
        (29..=31).contains(&failed_for),
        "the heartbeat would be silent from one audit to the next: {failed_for} s"
    );
    assert_eq!(stage.vonage.sent_for(lost.id()).len(), 1, "Tony is called after all");
    let metrics = stage.engine.metrics().render().unwrap();
    assert!(metrics.contains("callout_audit_found_total 1"), "{metrics}");
    let told = alarms.try_recv().unwrap();
    assert_eq!((told.alarm, told.alert), (Alarm::AuditFailed, Some(lost.id())), "whoever runs callout is told");
    assert!(stage.engine.passes_audit(), "the next audit passed");
}

#[tokio::test(start_paused = true)]
async fn an_open_alert_that_waits_for_nothing_is_found_told_of_and_worked_on() {
    let (store, stage) = frail().await;
    stage.pass(minutes(2)).await;
    let mut alarms = stage.engine.alarms().listen();
    let lost = begin(Raised { at: BEGAN, plan: a_minute_each(&["Tony"]), ..raised(77) });
    assert!(matches!(store.inner().insert(Arc::clone(&lost), None).await.unwrap(), Insert::Inserted(_)));
    store.lose_moment(lost.id());
    stage.pass(seconds(31)).await;
    let told = alarms.try_recv().unwrap();
    assert_eq!((told.alarm, told.alert), (Alarm::AuditFailed, Some(lost.id())), "whoever runs callout is told");
    assert_eq!(stage.vonage.sent_for(lost.id()).len(), 1, "Tony is called after all");
    stage.pass(minutes(2)).await;
    let metrics = stage.engine.metrics().render().unwrap();
    assert!(metrics.contains("callout_audit_found_total 1"), "it has its moment again: {metrics}");
    assert!(stage.engine.passes_audit());
}

#[tokio::test(start_paused = true)]
async fn deadlines_that_passed_while_nothing_ran_are_no_defect() {
    let stage = Stage::open().await;
    for _ in 0..50 {
        stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    }
    stage.settle().await;
    let stage = stage.killed_and_started_again(minutes(30)).await;
    stage.pass(minutes(1)).await;
    let metrics = stage.engine.metrics().render().unwrap();
    assert!(metrics.contains("callout_audit_found_total 0"), "{metrics}");
    stage.engine.advancing().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_for_an_hour_is_asked_no_more_often_than_at_first() {
    let (store, stage) = frail().await;
    let id = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    stage.settle().await;
    store.fail(Call::Update, usize::MAX);
    let asked_in_a_minute = async || {
        let before = store.n_struck();
        stage.pass(minutes(1)).await;
        store.n_struck() - before
    };
    stage.pass(minutes(2)).await;
    let at_first = asked_in_a_minute().await;
    stage.pass(minutes(60)).await;
    let in_the_end = asked_in_a_minute().await;
    assert!(in_the_end <= at_first + 10, "{at_first} times in a minute at first, {in_the_end} after an hour");
    store.heal();
    stage.pass(minutes(1)).await;
    assert_eq!(stage.attempts(id).await, ["expired", "sent"], "and it goes on");
}

#[tokio::test(start_paused = true)]
async fn what_a_store_with_too_much_to_do_refused_costs_it_nothing_more() {
    let (store, stage) = frail().await;
    stage.raise(&a_minute_each(&["Tony"])).await;
    stage.settle().await;
    store.refuse(Call::Insert);
    let refused = stage.engine.raise(new_alert(&a_minute_each(&["Anna"])), None).await;
    assert!(matches!(refused, Err(Error::Store(store::Error::Busy))), "{refused:?}");
    // Nothing was kept for certain, so that nobody needs to look.
    store.fail(Call::Get, usize::MAX);
    stage.pass(seconds(20)).await;
    assert_eq!(store.n_struck(), 1, "it was asked for the alert that it had refused");
}

#[tokio::test(start_paused = true)]
async fn alerts_in_line_in_an_outage_or_waiting_pass_the_audit() {
    let stage = Stage::with(Stage::open().await.store, Settings { max_per_second: 1, ..Settings::default() }).await;
    for _ in 0..300 {
        stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    }
    for _ in 0..8 {
        stage.pass(minutes(1)).await;
        stage.engine.advancing().await.unwrap();
    }
    let metrics = stage.engine.metrics().render().unwrap();
    assert!(metrics.contains("callout_audit_found_total 0"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_keeps_nothing_stops_the_heartbeat_until_it_does() {
    let (store, stage) = frail().await;
    stage.pass(minutes(1)).await;
    stage.engine.advancing().await.unwrap();
    store.fail_everything();
    stage.pass(seconds(5)).await;
    assert!(matches!(stage.engine.advancing().await, Err(Stuck::Store(_))));
    store.heal();
    stage.pass(minutes(1)).await;
    stage.engine.advancing().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stops_says_so() {
    let stage = Stage::open().await;
    stage.pass(seconds(1)).await;
    stage.engine.advancing().await.unwrap();
    stage.engine.abandon();
    assert!(matches!(stage.engine.advancing().await, Err(Stuck::Stopping)));
    assert!(stage.engine.readiness().await.unwrap().is_stopping);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_again_and_again_costs_one_commit_a_second() {
    let (store, stage) = frail().await;
    stage.pass(seconds(5)).await;
    stage.engine.readiness().await.unwrap();
    store.fail(Call::Probe, 1_000);
    for _ in 0..1_000 {
        stage.engine.readiness().await.expect("the proof of a moment ago still holds");
    }
    stage.pass(seconds(2)).await;
    assert!(stage.engine.readiness().await.is_err(), "and not for long");
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_alert_is_set_aside_alone_and_loudly() {
    let (store, stage) = frail().await;
    let healthy = stage.raise(&a_minute_each(&["Anna", "Tony"])).await;
    stage.settle().await;
    assert_eq!(stage.vonage.sent_for(healthy).len(), 1);
    // From now on each look at the clock for an alert makes the store panic, three times in all.
    stage.vonage.always(Part::Accept);
    let poisoned = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    stage.settle().await;
    store.poison(poisoned);
    stage.pass(minutes(10)).await;
    let metrics = stage.engine.metrics().render().unwrap();
    assert!(metrics.contains("callout_alerts_quarantined 1"), "{metrics}");
    assert_eq!(stage.status(healthy).await, "exhausted", "the other one went its way");
    assert_eq!(stage.vonage.sent_for(healthy).len(), 2);
    stage.engine.advancing().await.expect("one poisoned alert does not stop the heartbeat");
    store.heal();
    stage.pass(minutes(70)).await;
    assert_eq!(stage.status(poisoned).await, "exhausted", "tried again in the end");
    let metrics = stage.engine.metrics().render().unwrap();
    assert!(metrics.contains("callout_alerts_quarantined 0"), "{metrics}");
}
