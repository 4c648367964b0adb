//! The process dies at any instant and a new one takes up its work (contract R15), on paused time.
//! What the operating system adds to it is tested in `restart.rs`.

use std::sync::Arc;

use callout::engine::Settings;
use callout::escalation::{Alert, Backend, Progress, ReportStatus};
use callout::id::AlertId;
use callout::store::{Page, Store};

use super::engine_frail::{Frail, Place};
use super::engine_stage::{Part, Stage, a_minute_each, down, minutes, new_alert, seconds, tutorial};

async fn all(store: &Arc<dyn Store>) -> Vec<Arc<Alert>> {
    store.list(&Page { limit: 1_000, ..Page::default() }).await.unwrap()
}

/// Raises an alert and lets a minute and a half pass, in a process that stands still for ever at one
/// call to the store. Returns whether the alert was promised.
async fn live_until_stopped(stage: &Stage) -> Option<AlertId> {
    let plan = a_minute_each(&["Tony", "Anna"]);
    let raised = async {
        tokio::select! {
            id = stage.raise(&plan) => Some(id),
            () = stage.pass(seconds(80)) => None,
        }
    };
    let (promised, ()) = tokio::join!(raised, stage.pass(seconds(90)));
    promised
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_dies_at_any_call_to_the_store_loses_nothing() {
    let (mut n_deaths, mut n_lost_sends) = (0, 0);
    for place in [Place::Before, Place::After] {
        for n_before in 0..60 {
            let store = Frail::new();
            let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
            store.stop_at_any(place, n_before);
            let promised = live_until_stopped(&stage).await;
            if store.n_struck() == 0 {
                break;
            }
            n_deaths += 1;
            let kept = all(&store.inner()).await;
            let instant = format!("died {place:?} call {n_before}");
            if let Some(id) = promised {
                assert!(kept.iter().any(|alert| alert.id() == id), "{instant}: a promised alert is lost");
            }
            let Some(before) = kept.first() else { continue };
            let was_sending = matches!(before.progress(), Some(Progress::Sending { .. }));
            n_lost_sends += usize::from(was_sending);
            let stage = stage.killed_and_started_on(store.inner(), seconds(5)).await;
            after_the_restart(&stage, before, was_sending, &instant).await;
        }
    }
    assert!(n_deaths > 20 && n_lost_sends > 4, "{n_deaths} deaths, {n_lost_sends} of them while sending");
}

async fn after_the_restart(stage: &Stage, before: &Alert, was_sending: bool, story: &str) {
    let id = before.id();
    stage.pass(seconds(1)).await;
    let timeline = stage.timeline(id).await;
    let is_resent = |name: &&&str| **name == "resent_after_restart";
    let n_before = before.timeline.iter().filter(|entry| is_resent(&&entry.happening.name())).count();
    let n_resent = timeline.iter().filter(is_resent).count() - n_before;
    assert_eq!(n_resent, usize::from(was_sending), "{story}: {timeline:?}");
    assert!(stage.attempts(id).await.len() <= before.attempts.len() + 1, "{story}: one step at most");
    stage.pass(minutes(10)).await;
    let after = stage.alert(id).await;
    assert_eq!(after.status.name(), "exhausted", "{story}");
    assert_eq!(stage.attempts(id).await, ["expired", "expired"], "{story}: nobody is passed over");
    let sent = stage.vonage.sent_for(id);
    for (number, attempt) in (1..).zip(&after.attempts) {
        let of_attempt: Vec<_> = sent.iter().filter(|sent| sent.reference.attempt == number).collect();
        let tries = usize::try_from(attempt.tries).unwrap();
        assert!(!of_attempt.is_empty() && of_attempt.len() <= tries, "{story}: {of_attempt:?} of {tries} tries");
        let unknown = usize::try_from(attempt.unknown).unwrap();
        assert_eq!(tries, 1 + unknown, "{story}: every send that was begun counts");
        let waited = attempt.expires_at.unwrap().since(attempt.sent_at.unwrap());
        assert_eq!(waited, seconds(60), "{story}: a full expiry from the send");
    }
}

#[tokio::test(start_paused = true)]
async fn a_send_that_hung_when_the_process_died_is_made_again_at_once() {
    let stage = Stage::open().await;
    stage.vonage.always(Part::Hang);
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(seconds(3)).await;
    let stage = stage.killed_and_started_again(seconds(2)).await;
    stage.vonage.always(Part::Accept);
    let stage = stage.killed_and_started_again(seconds(0)).await;
    stage.pass(seconds(1)).await;
    let sent = stage.vonage.sent_for(id);
    assert!(sent.iter().all(|send| send.reference == sent[0].reference), "the same client_ref");
    let attempt = stage.alert(id).await.attempts[0].clone();
    assert_eq!((usize::try_from(attempt.tries).unwrap(), stage.attempts(id).await), (sent.len(), vec!["sent"]));
    assert!(stage.timeline(id).await.contains(&"resent_after_restart"));
}

#[tokio::test(start_paused = true)]
async fn deadlines_that_passed_meanwhile_are_handled_one_step_each() {
    let stage = Stage::open().await;
    let id = stage.raise(&a_minute_each(&["Tony", "Anna", "Eve", "Bob"])).await;
    stage.settle().await;
    let stage = stage.killed_and_started_again(minutes(60)).await;
    stage.pass(seconds(1)).await;
    assert_eq!(stage.vonage.log(), ["0 Tony sms", "3600 Anna sms"]);
    assert!(stage.vonage.sent()[1].is_late, "and the message says that it comes late");
    stage.pass(seconds(50)).await;
    assert_eq!(stage.attempts(id).await, ["expired", "sent"], "Anna has all of her time");
    stage.pass(seconds(10)).await;
    assert_eq!(stage.attempts(id).await, ["expired", "expired", "sent"]);
    assert!(!stage.timeline(id).await.contains(&"resent_after_restart"));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_not_passed_is_kept_to_the_second() {
    let stage = Stage::open().await;
    stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    stage.settle().await;
    let stage = stage.killed_and_started_again(seconds(40)).await;
    stage.pass(seconds(19)).await;
    assert_eq!(stage.vonage.sent().len(), 1);
    stage.pass(seconds(1)).await;
    assert_eq!(stage.vonage.log(), ["0 Tony sms", "60 Anna sms"]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_was_taken_in_survives() {
    let stage = Stage::open().await;
    let id = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    stage.settle().await;
    stage.report(id, 1, ReportStatus::Read).await;
    let stage = stage.killed_and_started_again(minutes(5)).await;
    stage.pass(minutes(5)).await;
    assert_eq!((stage.status(id).await, stage.vonage.sent().len()), ("acknowledged", 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_on_where_it_was() {
    let stage = Stage::open().await;
    stage.vonage.always(down());
    let id = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    stage.pass(seconds(20)).await;
    let stage = stage.killed_and_started_again(minutes(1)).await;
    stage.vonage.always(Part::Accept);
    stage.pass(seconds(20)).await;
    assert_eq!(stage.attempts(id).await, ["sent"]);
    let tries = usize::try_from(stage.alert(id).await.attempts[0].tries).unwrap();
    assert_eq!(tries, stage.vonage.sent_for(id).len());
}

#[tokio::test(start_paused = true)]
async fn stopping_begins_nothing_new_and_writes_down_what_is_on_its_way() {
    let settings = Settings { max_per_second: 2, ..Settings::default() };
    let stage = Stage::with(Frail::new(), settings).await;
    stage.vonage.always(Part::AcceptAfter(seconds(5)));
    let plan = a_minute_each(&["Tony", "Anna"]);
    let mut alerts = Vec::new();
    for _ in 0..20 {
        alerts.push(stage.raise(&plan).await);
    }
    stage.pass(seconds(3)).await;
    let n_begun = stage.vonage.sent().len();
    assert!((5..=8).contains(&n_begun), "{n_begun} begun");
    stage.engine.stop().await;
    assert_eq!(stage.vonage.sent().len(), n_begun, "nothing new");
    let kept = all(&stage.store).await;
    let n_waiting = kept.iter().filter(|alert| matches!(alert.progress(), Some(Progress::Waiting { .. }))).count();
    assert_eq!(n_waiting, n_begun, "everything that was on its way is written down");
    let refused = stage.engine.raise(new_alert(&plan), None).await;
    assert!(refused.is_err(), "nothing is promised any more");

    stage.vonage.always(Part::Accept);
    let stage = stage.killed_and_started_again(seconds(1)).await;
    stage.pass(seconds(10)).await;
    assert_eq!(stage.vonage.sent().len(), 20, "each alert exactly once");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever_for_a_send_that_hangs() {
    let stage = Stage::open().await;
    stage.vonage.always(Part::Hang);
    let id = stage.raise(&a_minute_each(&["Tony"])).await;
    stage.pass(seconds(1)).await;
    let before = stage.clock_now();
    stage.engine.stop().await;
    assert!(stage.clock_now().since(before) <= callout::engine::DRAIN_MAX + seconds(1));
    stage.vonage.always(Part::Accept);
    let stage = stage.killed_and_started_again(seconds(1)).await;
    stage.settle().await;
    assert_eq!(stage.attempts(id).await, ["sent"]);
    assert!(stage.timeline(id).await.contains(&"resent_after_restart"));
}
