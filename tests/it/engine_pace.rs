//! The line of what is to be sent, and the pace at which it moves.

use std::sync::Arc;
use std::time::Duration;

use callout::engine::{IN_FLIGHT_MAX, Settings};
use callout::escalation::{Backend, Plan, Severity, Via};
use callout::store::MemoryStore;

use super::engine_stage::{Part, Sent, Stage, a_minute_each, minutes, new_alert, seconds, tutorial};

async fn paced(max_per_second: u32) -> Stage {
    Stage::with(Arc::new(MemoryStore::new()), Settings { max_per_second, ..Settings::default() }).await
}

/// The most sends that began within any one second.
fn most_in_a_second(sent: &[Sent]) -> usize {
    let n_until = |end: Duration| sent.partition_point(|send| send.at < end);
    (0..sent.len()).map(|first| n_until(sent[first].at + seconds(1)) - first).max().unwrap_or(0)
}

async fn raise_many(stage: &Stage, n_alerts: usize, plan: &Arc<Plan>) {
    for _ in 0..n_alerts {
        stage.raise(plan).await;
    }
}

#[tokio::test(start_paused = true)]
async fn never_more_than_the_limit_begins_in_a_second() {
    for max_per_second in [1, 7, 25, 100] {
        let stage = paced(max_per_second).await;
        let limit = usize::try_from(max_per_second).unwrap();
        let n_alerts = 3 * limit;
        raise_many(&stage, n_alerts, &tutorial(Backend::Messages)).await;
        stage.pass(seconds(4)).await;
        let sent = stage.vonage.sent();
        assert_eq!(sent.len(), n_alerts, "at {max_per_second} a second");
        let most = most_in_a_second(&sent);
        assert!(most <= limit + 1, "{most} in a second instead of {max_per_second}");
    }
}

#[tokio::test(start_paused = true)]
async fn zero_means_no_limit() {
    let stage = paced(0).await;
    raise_many(&stage, 500, &tutorial(Backend::Messages)).await;
    stage.settle().await;
    assert_eq!(stage.vonage.sent().len(), 500);
}

#[tokio::test(start_paused = true)]
async fn first_messages_go_ahead_then_the_worse_alert_then_the_older() {
    let stage = paced(1).await;
    raise_many(&stage, 2, &a_minute_each(&["Tony", "Anna"])).await;
    stage.pass(seconds(58)).await;
    let n_before = stage.vonage.sent().len();
    stage.engine.set(Settings { max_per_second: 1, ..Settings::default() });
    stage.pass(Duration::from_millis(1_500)).await;
    for severity in [Severity::Info, Severity::Critical, Severity::Warning, Severity::Critical] {
        let mut new = new_alert(&a_minute_each(&["Eve", "Bob"]));
        new.severity = severity;
        stage.raise_new(new).await;
        stage.settle().await;
    }
    stage.pass(seconds(10)).await;
    let order: Vec<_> =
        stage.vonage.sent()[n_before..].iter().map(|sent| (sent.user.to_string(), sent.severity)).collect();
    let expected = [
        ("Eve", Severity::Info),
        ("Eve", Severity::Critical),
        ("Eve", Severity::Critical),
        ("Eve", Severity::Warning),
        ("Anna", Severity::Critical),
        ("Anna", Severity::Critical),
    ];
    let expected: Vec<_> = expected.map(|(user, severity)| (user.to_owned(), severity)).to_vec();
    assert_eq!(order, expected, "nobody was in line when the first came, so it went at once");
    let ids: Vec<_> = stage.vonage.sent()[n_before + 1..n_before + 3].iter().map(|sent| sent.reference.alert).collect();
    assert!(ids[0] < ids[1], "the older first");
}

#[tokio::test(start_paused = true)]
async fn waiting_in_line_is_no_failure_and_costs_no_expiry() {
    let stage = paced(1).await;
    let plan = a_minute_each(&["Tony"]);
    raise_many(&stage, 400, &plan).await;
    stage.settle().await;
    let last = stage.raise(&plan).await;
    stage.pass(seconds(390)).await;
    let alert = stage.alert(last).await;
    assert_eq!((alert.status.name(), alert.attempts[0].tries), ("escalating", 0));
    stage.pass(seconds(20)).await;
    let alert = stage.alert(last).await;
    assert_eq!(alert.attempts[0].failing_since, None);
    assert_eq!(alert.attempts[0].expires_at.unwrap().since(alert.attempts[0].sent_at.unwrap()), seconds(60));
    assert!(stage.vonage.sent_for(last)[0].is_late, "it comes more than five minutes late and says so");
}

#[tokio::test(start_paused = true)]
async fn alerts_that_were_answered_in_line_keep_nobody_waiting() {
    let stage = paced(1).await;
    let plan = tutorial(Backend::Messages);
    let mut answered = Vec::new();
    for _ in 0..1_000 {
        answered.push(stage.raise(&plan).await);
    }
    let wanted = stage.raise(&plan).await;
    for id in &answered[1..] {
        stage.engine.acknowledge(*id, "Eve", Via::Api, None).await.unwrap();
    }
    stage.pass(seconds(2)).await;
    assert_eq!(stage.vonage.sent_for(wanted).len(), 1);
    assert_eq!(stage.vonage.sent().len(), 2, "what was answered is not sent");
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_counts_at_once() {
    let stage = paced(1).await;
    raise_many(&stage, 100, &tutorial(Backend::Messages)).await;
    stage.pass(seconds(3)).await;
    assert!(stage.vonage.sent().len() <= 5);
    stage.engine.set(Settings::default());
    stage.pass(seconds(2)).await;
    assert_eq!(stage.vonage.sent().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_alerts_in_line_all_get_their_turn() {
    let stage = paced(1_000).await;
    raise_many(&stage, 10_000, &tutorial(Backend::Messages)).await;
    stage.pass(seconds(30)).await;
    let sent = stage.vonage.sent();
    assert_eq!(sent.len(), 10_000);
    assert!(most_in_a_second(&sent) <= 1_001);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_sends_are_on_their_way_at_one_moment() {
    let stage = paced(0).await;
    stage.vonage.always(Part::AcceptAfter(seconds(2)));
    raise_many(&stage, 3 * IN_FLIGHT_MAX, &tutorial(Backend::Messages)).await;
    stage.pass(seconds(1)).await;
    assert_eq!(stage.vonage.sent().len(), IN_FLIGHT_MAX);
    stage.pass(seconds(6)).await;
    assert_eq!(stage.vonage.sent().len(), 3 * IN_FLIGHT_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_alerts_that_expire_at_once_all_go_on() {
    let stage = paced(0).await;
    raise_many(&stage, 1_000, &a_minute_each(&["Tony", "Anna"])).await;
    stage.pass(seconds(61)).await;
    assert_eq!(stage.vonage.sent().len(), 2_000);
    stage.pass(minutes(2)).await;
    let rendered = stage.engine.metrics().render().unwrap();
    assert!(rendered.contains("callout_alert_changes_total{change=\"exhausted\"} 1000"), "{rendered}");
}
