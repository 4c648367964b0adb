//! Sends that fail without saying anything about the person: one alert's trouble, and an outage.

use std::sync::Arc;
use std::time::Duration;

use callout::alarm::{Alarm, Phase};
use callout::contact::Channel;
use callout::escalation::{Backend, Plan, ReportStatus, TroubleOutcome, Via};
use callout::id::AlertId;
use callout::sender::TroubleCause;

use super::engine_stage::{
    ANNA, Part, Sent, Stage, TONY, a_minute_each, down, leg, minutes, seconds, tutorial, user, wait_for,
};

fn pauses(sent: &[Sent]) -> Vec<Duration> {
    sent.windows(2).map(|pair| pair[1].at.saturating_sub(pair[0].at)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_failing_send_is_made_again_after_longer_and_longer_pauses() {
    let stage = Stage::open().await;
    stage.vonage.always(down());
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(2)).await;
    let sent = stage.vonage.sent_for(id);
    assert!(sent.iter().all(|send| send.reference.attempt == 1), "always the same attempt, so the same client_ref");
    let expected = [500_u64, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000];
    let pauses = pauses(&sent);
    assert!(pauses.len() >= expected.len(), "{pauses:?}");
    for (pause, expected) in pauses.iter().zip(expected) {
        let pause = u64::try_from(pause.as_millis()).unwrap();
        let (least, most) = (expected * 8 / 10 - 1, expected * 12 / 10 + 5);
        assert!((least..=most).contains(&pause), "{pause} ms instead of {expected} ms in {pauses:?}");
    }
    assert!(pauses.iter().any(|pause| pause.as_millis() % 500 > 5), "moved by chance: {pauses:?}");
    assert_eq!(usize::try_from(stage.alert(id).await.attempts[0].tries), Ok(sent.len()));
    assert_eq!(stage.attempts(id).await, ["retrying"]);
}

#[tokio::test(start_paused = true)]
async fn what_vonage_asks_for_is_honoured_up_to_a_minute() {
    for (asked, waited) in [(20, 20), (60, 60), (3_600, 60)] {
        let stage = Stage::open().await;
        stage.vonage.plays(move |_, index| if index == 0 { wait_for(seconds(asked)) } else { Part::Accept });
        let id = stage.raise(&tutorial(Backend::Messages)).await;
        stage.pass(minutes(5)).await;
        let pause = pauses(&stage.vonage.sent_for(id))[0];
        assert!(pause >= seconds(waited) && pause < seconds(waited + 1), "{pause:?} instead of {waited} s");
    }
}

#[tokio::test(start_paused = true)]
async fn the_expiry_does_not_run_while_sends_fail() {
    let stage = Stage::open().await;
    stage.vonage.plays(|_, index| if index < 5 { down() } else { Part::Accept });
    let id = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    stage.pass(seconds(70)).await;
    assert_eq!(stage.attempts(id).await, ["sent"]);
    let sent = stage.vonage.sent_for(id);
    let accepted_at = sent.last().unwrap().at;
    let expires_at = stage.alert(id).await.attempts[0].expires_at.unwrap();
    assert_eq!(expires_at.since(super::engine_stage::BEGAN).as_secs(), (accepted_at + seconds(60)).as_secs());
}

/// A plan for one user only, so that the stand-in can tell the alerts apart.
fn only(name: &str, expiry_seconds: u32) -> Arc<Plan> {
    let first = leg(Channel::Whatsapp, TONY, expiry_seconds);
    let second = leg(Channel::Sms, TONY, expiry_seconds);
    Arc::new(Plan::new(Backend::Messages, &[user(name, &[first, second])], 0).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_keeps_failing_while_others_get_through_is_given_up_after_a_minute() {
    let stage = Stage::open().await;
    stage.vonage.plays(|send, _| {
        let is_poison = send.step.user.as_ref() == "Poison" && send.step.first.channel == Channel::Whatsapp;
        if is_poison { down() } else { Part::Accept }
    });
    let poison = stage.raise(&only("Poison", 300)).await;
    for _ in 0..59 {
        stage.pass(seconds(1)).await;
        stage.raise(&only("Other", 300)).await;
    }
    assert_eq!(stage.attempts(poison).await, ["retrying"], "not before a minute");
    for _ in 0..25 {
        stage.pass(seconds(1)).await;
        stage.raise(&only("Other", 300)).await;
    }
    assert_eq!(stage.attempts(poison).await, ["failed", "sent"]);
}

#[tokio::test(start_paused = true)]
async fn a_short_expiry_shortens_the_patience_with_a_failing_channel() {
    let stage = Stage::open().await;
    stage.vonage.plays(|send, _| {
        let is_poison = send.step.user.as_ref() == "Poison" && send.step.first.channel == Channel::Whatsapp;
        if is_poison { down() } else { Part::Accept }
    });
    let poison = stage.raise(&only("Poison", 5)).await;
    for _ in 0..10 {
        stage.pass(seconds(1)).await;
        stage.raise(&only("Other", 300)).await;
    }
    assert_eq!(stage.attempts(poison).await[0], "failed");
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_not_given_up_while_nothing_else_gets_through() {
    let stage = Stage::open().await;
    stage.vonage.always(down());
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(60)).await;
    assert_eq!(stage.attempts(id).await, ["retrying"]);
    assert_eq!(stage.status(id).await, "escalating");
}

#[tokio::test(start_paused = true)]
async fn one_accepted_long_ago_does_not_count_as_others_getting_through() {
    let stage = Stage::open().await;
    let other = stage.raise(&only("Other", 3_600)).await;
    stage.settle().await;
    stage.vonage.always(down());
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(30)).await;
    assert_eq!(stage.attempts(other).await, ["sent"]);
    assert_eq!(stage.attempts(id).await, ["retrying"]);
}

/// Fifty alerts: some wait on their first channel, some on their last, some have not been sent yet.
async fn fifty_alerts(stage: &Stage) -> Vec<AlertId> {
    let mut alerts = Vec::new();
    for index in 0..30_u64 {
        let plan = if index % 2 == 0 { a_minute_each(&["Tony", "Anna"]) } else { a_minute_each(&["Tony"]) };
        alerts.push(stage.raise(&plan).await);
    }
    stage.pass(seconds(30)).await;
    stage.vonage.always(down());
    for _ in 0..20 {
        alerts.push(stage.raise(&tutorial(Backend::Messages)).await);
    }
    stage.pass(seconds(5)).await;
    alerts
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_outage_burns_nobody() {
    let stage = Stage::open().await;
    let alerts = fifty_alerts(&stage).await;
    let before: Vec<_> = attempts_of_all(&stage, &alerts).await;
    stage.pass(minutes(60)).await;
    assert_eq!(attempts_of_all(&stage, &alerts).await, before, "nobody has moved, nothing is exhausted");

    stage.vonage.always(Part::Accept);
    let n_before = stage.vonage.sent().len();
    stage.pass(seconds(20)).await;
    let after: Vec<_> = stage.vonage.sent().split_off(n_before);
    assert_eq!(after.len(), 20, "only what had not been sent is sent: {after:?}");
    assert!(after.iter().all(|sent| sent.is_late), "and says that it comes late");
    for id in &alerts {
        let alert = stage.alert(*id).await;
        let expires_at = alert.attempts[0].expires_at.unwrap();
        assert_eq!((alert.attempts.len(), alert.status.name()), (1, "escalating"));
        let left = expires_at.since(stage.clock_now());
        assert!(left > seconds(35), "a full expiry from when it was over, but {left:?} is left");
    }
    stage.pass(seconds(61)).await;
    for (index, id) in alerts[..30].iter().enumerate() {
        let expected = if index % 2 == 0 { "escalating" } else { "exhausted" };
        assert_eq!(stage.status(*id).await, expected);
    }
}

async fn attempts_of_all(stage: &Stage, alerts: &[AlertId]) -> Vec<(Vec<&'static str>, &'static str)> {
    let mut all = Vec::new();
    for id in alerts {
        all.push((stage.attempts(*id).await, stage.status(*id).await));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_outlives_the_process_still_burns_nobody() {
    let stage = Stage::open().await;
    let alerts = fifty_alerts(&stage).await;
    let before: Vec<_> = attempts_of_all(&stage, &alerts).await;
    stage.pass(minutes(30)).await;
    let stage = stage.killed_and_started_again(minutes(5)).await;
    stage.pass(minutes(25)).await;
    assert_eq!(attempts_of_all(&stage, &alerts).await, before);
    stage.vonage.always(Part::Accept);
    stage.pass(seconds(30)).await;
    for id in &alerts {
        assert_eq!(stage.attempts(*id).await, ["sent"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_during_an_outage_still_acknowledges() {
    let stage = Stage::open().await;
    let alerts = fifty_alerts(&stage).await;
    stage.pass(minutes(30)).await;
    stage.report(alerts[0], 1, ReportStatus::Read).await;
    assert_eq!(stage.status(alerts[0]).await, "acknowledged");
}

#[tokio::test(start_paused = true)]
async fn one_alert_whose_sends_always_fail_stops_no_other() {
    let stage = Stage::open().await;
    stage.vonage.plays(|send, _| if send.step.user.as_ref() == "Poison" { down() } else { Part::Accept });
    let poison = stage.raise(&only("Poison", 300)).await;
    let healthy = stage.raise(&a_minute_each(&["Tony", "Anna", "Eve"])).await;
    stage.pass(seconds(130)).await;
    assert_eq!(stage.attempts(healthy).await, ["expired", "expired", "sent"]);
    assert_eq!(stage.attempts(poison).await[0], "failed", "the healthy one proves that it is the poison's own fault");
}

#[tokio::test(start_paused = true)]
async fn when_nobody_wants_the_failing_alerts_any_more_the_others_go_on() {
    let stage = Stage::open().await;
    let healthy = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    stage.settle().await;
    stage.vonage.plays(|send, _| if send.step.user.as_ref() == "Poison" { down() } else { Part::Accept });
    let poisons = [stage.raise(&only("Poison", 300)).await, stage.raise(&only("Poison", 300)).await];
    stage.pass(minutes(10)).await;
    assert_eq!(stage.attempts(healthy).await, ["sent"], "two failing alerts and nothing accepted: an outage");
    for poison in poisons {
        stage.engine.resolve(poison, "Eve").await.unwrap();
    }
    stage.pass(seconds(59)).await;
    assert_eq!(stage.attempts(healthy).await, ["sent"], "it has a full expiry again");
    stage.pass(seconds(2)).await;
    assert_eq!(stage.attempts(healthy).await, ["expired", "sent"]);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_fails_after_its_alert_was_answered_holds_nobody() {
    let stage = Stage::open().await;
    let healthy = stage.raise(&a_minute_each(&["Tony"])).await;
    stage.settle().await;
    stage.vonage.plays(|send, _| if send.step.user.as_ref() == "Slow" { slow_trouble() } else { Part::Accept });
    let slow = [stage.raise(&only("Slow", 300)).await, stage.raise(&only("Slow", 300)).await];
    stage.pass(seconds(1)).await;
    for slow in slow {
        stage.engine.acknowledge(slow, "Eve", Via::Api, None).await.unwrap();
    }
    stage.pass(seconds(70)).await;
    assert_eq!(stage.status(healthy).await, "exhausted", "nothing is failing, so nothing is held");
}

/// Trouble after five seconds.
fn slow_trouble() -> Part {
    Part::TroubleAfter(seconds(5))
}

#[tokio::test(start_paused = true)]
async fn a_report_proves_that_a_failing_send_got_through() {
    let stage = Stage::open().await;
    stage.vonage.always(down());
    let plan = Plan::new(Backend::Messages, &[user("Anna", &[leg(Channel::Whatsapp, ANNA, 60)])], 0).unwrap();
    let id = stage.raise(&Arc::new(plan)).await;
    stage.pass(seconds(1)).await;
    stage.report(id, 1, ReportStatus::Delivered).await;
    let n_sent = stage.vonage.sent().len();
    stage.pass(seconds(59)).await;
    assert_eq!(stage.vonage.sent().len(), n_sent, "it is not sent again");
    assert_eq!(stage.attempts(id).await, ["delivered"]);
    stage.pass(seconds(2)).await;
    assert_eq!(stage.status(id).await, "exhausted");
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_panics_is_tried_again_and_stops_nobody() {
    let stage = Stage::open().await;
    stage.vonage.plays(|_, index| if index == 0 { Part::Panic } else { Part::Accept });
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(seconds(1)).await;
    assert_eq!(stage.attempts(id).await, ["sent"]);
    assert_eq!(stage.vonage.sent_for(id).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_operator_hears_when_an_outage_begins_and_when_it_ends() {
    let stage = Stage::open().await;
    let mut alarms = stage.engine.alarms().listen();
    let mut heard = move || std::iter::from_fn(|| alarms.try_recv().ok()).collect::<Vec<_>>();
    let credentials = super::engine_stage::trouble(TroubleCause::Credentials, TroubleOutcome::NotSent, None);
    stage.vonage.always(Part::Trouble(credentials));
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(10)).await;
    let begun: Vec<_> = heard().iter().map(|told| (told.alarm, told.phase, told.alert)).collect();
    assert_eq!(begun, [(Alarm::VonageCredentialsRefused, Phase::Raised, None)], "told once, however often it fails");
    stage.vonage.always(Part::Accept);
    stage.pass(seconds(30)).await;
    assert_eq!(stage.attempts(id).await, ["sent"]);
    let ended: Vec<_> = heard().iter().map(|told| (told.alarm, told.phase)).collect();
    assert_eq!(ended, [(Alarm::VonageCredentialsRefused, Phase::Over)]);
}

#[tokio::test(start_paused = true)]
async fn the_operator_hears_of_each_alert_that_nobody_answered() {
    let stage = Stage::open().await;
    let mut alarms = stage.engine.alarms().listen();
    let id = stage.raise(&a_minute_each(&["Tony"])).await;
    let other = stage.raise(&a_minute_each(&["Anna"])).await;
    stage.pass(seconds(61)).await;
    let told: std::collections::BTreeSet<_> =
        std::iter::from_fn(|| alarms.try_recv().ok()).map(|told| (told.alarm, told.alert)).collect();
    assert_eq!(told, [(Alarm::AlertExhausted, Some(id)), (Alarm::AlertExhausted, Some(other))].into());
}
