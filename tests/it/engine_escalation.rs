//! The escalation as a whole: who is messaged when, and what ends it.

use std::sync::Arc;

use callout::contact::Channel;
use callout::engine::{Error, Received, Settings};
use callout::escalation::{Backend, Condition, Plan, ReportStatus, Via};
use callout::store::Page;

use super::engine_stage::{
    ANNA, Part, Stage, TONY, a_minute_each, leg, message, minutes, new_alert, said, seconds, tutorial, user,
};

#[tokio::test(start_paused = true)]
async fn nobody_reads_and_everybody_is_messaged_in_turn() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(39)).await;
    assert_eq!(
        stage.vonage.log(),
        ["0 Tony messenger", "600 Tony sms", "1200 Anna viber_service", "1800 Anna whatsapp"]
    );
    assert_eq!(stage.status(id).await, "escalating");
    stage.pass(minutes(2)).await;
    assert_eq!(stage.status(id).await, "exhausted");
    assert_eq!(stage.attempts(id).await, ["expired"; 4]);
    assert_eq!(
        stage.timeline(id).await,
        [
            "raised",
            "sent",
            "expired",
            "failed_over",
            "sent",
            "expired",
            "escalated",
            "sent",
            "expired",
            "failed_over",
            "sent",
            "expired",
            "exhausted"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn on_dispatch_each_user_is_one_workflow_with_the_sum_of_its_expiries() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.pass(minutes(39)).await;
    assert_eq!(stage.vonage.log(), ["0 Tony messenger", "1200 Anna viber_service"]);
    stage.pass(minutes(2)).await;
    assert_eq!(stage.status(id).await, "exhausted");
}

#[tokio::test(start_paused = true)]
async fn the_wait_begins_when_vonage_accepts_the_message() {
    let stage = Stage::open().await;
    stage.vonage.always(Part::AcceptAfter(seconds(7)));
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(seconds(606)).await;
    assert_eq!(stage.attempts(id).await, ["sent"]);
    stage.pass(seconds(2)).await;
    assert_eq!(stage.attempts(id).await, ["expired", "sending"]);
}

#[tokio::test(start_paused = true)]
async fn a_read_of_the_current_message_ends_the_escalation() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(11)).await;
    assert_eq!(stage.report(id, 2, ReportStatus::Read).await, Received::Effective);
    let alert = stage.alert(id).await;
    let acknowledged = alert.acknowledged.clone().unwrap();
    assert_eq!((acknowledged.by.as_ref(), acknowledged.via), ("Tony", Via::Read));
    assert_eq!(acknowledged.channel, Some(Channel::Sms));
    stage.pass(minutes(120)).await;
    assert_eq!(stage.vonage.sent().len(), 2, "nothing is sent after a read");
}

#[tokio::test(start_paused = true)]
async fn a_read_of_an_earlier_message_still_acknowledges() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(25)).await;
    assert_eq!(stage.report(id, 1, ReportStatus::Read).await, Received::Effective);
    assert_eq!(stage.alert(id).await.acknowledged.clone().unwrap().by.as_ref(), "Tony");
    stage.pass(minutes(120)).await;
    assert_eq!(stage.vonage.sent().len(), 3, "nobody else is disturbed");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_comes_after_everything_is_over_still_acknowledges() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(60)).await;
    assert_eq!(stage.status(id).await, "exhausted");
    stage.report(id, 4, ReportStatus::Read).await;
    assert_eq!(stage.status(id).await, "acknowledged");
    assert_eq!(stage.alert(id).await.acknowledged.clone().unwrap().by.as_ref(), "Anna");
}

#[tokio::test(start_paused = true)]
async fn a_read_while_the_next_message_is_on_its_way_ends_it_too() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.vonage.always(Part::AcceptAfter(seconds(5)));
    stage.pass(seconds(602)).await;
    assert_eq!(stage.attempts(id).await, ["expired", "sending"]);
    stage.report(id, 1, ReportStatus::Read).await;
    stage.pass(minutes(60)).await;
    assert_eq!(stage.status(id).await, "acknowledged");
    assert_eq!(stage.vonage.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn delivered_never_acknowledges() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.settle().await;
    stage.report(id, 1, ReportStatus::Delivered).await;
    stage.pass(minutes(11)).await;
    assert_eq!(stage.vonage.log(), ["0 Tony messenger", "600 Tony sms"]);
}

#[tokio::test(start_paused = true)]
async fn where_delivered_is_enough_the_other_channels_are_skipped_at_the_expiry() {
    let stage = Stage::open().await;
    let mut first = leg(Channel::ViberService, TONY, 600);
    first.condition = Condition::Delivered;
    let tony = user("Tony", &[first, leg(Channel::Sms, TONY, 600)]);
    let anna = user("Anna", &[leg(Channel::Sms, ANNA, 600)]);
    let plan = Arc::new(Plan::new(Backend::Messages, &[tony, anna], 0).unwrap());
    let id = stage.raise(&plan).await;
    stage.pass(minutes(1)).await;
    stage.report(id, 1, ReportStatus::Delivered).await;
    stage.pass(minutes(8)).await;
    assert_eq!(stage.vonage.sent().len(), 1, "not at the delivery");
    stage.pass(minutes(2)).await;
    assert_eq!(stage.vonage.log(), ["0 Tony viber_service", "600 Anna sms"]);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_not_waited_for() {
    for failed in [ReportStatus::Rejected, ReportStatus::Undeliverable] {
        let stage = Stage::open().await;
        let id = stage.raise(&tutorial(Backend::Messages)).await;
        stage.pass(seconds(10)).await;
        stage.report(id, 1, failed).await;
        stage.settle().await;
        assert_eq!(stage.vonage.log(), ["0 Tony messenger", "10 Tony sms"]);
        assert_eq!(stage.attempts(id).await, [failed.name(), "sent"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_is_not_waited_for_and_shows() {
    let stage = Stage::open().await;
    stage.vonage.plays(|_, index| if index == 0 { Part::Refuse } else { Part::Accept });
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.settle().await;
    assert_eq!(stage.vonage.log(), ["0 Tony messenger", "0 Tony sms"]);
    assert_eq!(stage.attempts(id).await, ["refused", "sent"]);
    assert_eq!(stage.timeline(id).await, ["raised", "refused", "failed_over", "sent"]);
}

#[tokio::test(start_paused = true)]
async fn an_alert_whose_every_message_is_refused_is_exhausted_at_once() {
    let stage = Stage::open().await;
    stage.vonage.always(Part::Refuse);
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(seconds(1)).await;
    assert_eq!((stage.status(id).await, stage.vonage.sent().len()), ("exhausted", 4));
}

#[tokio::test(start_paused = true)]
async fn rounds_are_repeated_and_then_the_alert_is_exhausted() {
    let stage = Stage::open().await;
    let tony = user("Tony", &[leg(Channel::Sms, TONY, 60)]);
    let plan = Arc::new(Plan::new(Backend::Messages, &[tony], 2).unwrap());
    let id = stage.raise(&plan).await;
    stage.pass(minutes(10)).await;
    assert_eq!(stage.vonage.log(), ["0 Tony sms", "60 Tony sms", "120 Tony sms"]);
    assert_eq!(stage.status(id).await, "exhausted");
    assert!(matches!(stage.engine.escalate(id, "Eve", None, None).await, Err(Error::Impossible(_))));
    stage.engine.acknowledge(id, "Eve", Via::Api, None).await.unwrap();
    assert_eq!(stage.status(id).await, "acknowledged");
}

#[tokio::test(start_paused = true)]
async fn a_person_at_the_api_can_ask_for_the_next_user_acknowledge_and_resolve() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(seconds(5)).await;
    stage.engine.escalate(id, "Eve", Some(1), None).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.vonage.log(), ["0 Tony messenger", "5 Anna viber_service"]);
    stage.engine.escalate(id, "Eve", Some(1), None).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.vonage.sent().len(), 2, "the attempt is no longer current, so nothing happens");
    stage.engine.acknowledge(id, "Eve", Via::Api, None).await.unwrap();
    stage.engine.acknowledge(id, "Eve", Via::Api, None).await.unwrap();
    stage.engine.resolve(id, "Eve").await.unwrap();
    stage.engine.resolve(id, "Eve").await.unwrap();
    assert!(matches!(stage.engine.acknowledge(id, "Eve", Via::Api, None).await, Err(Error::Impossible(_))));
    assert_eq!(stage.status(id).await, "resolved");
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_the_link_and_nothing_else_of_a_running_alert() {
    let stage = Stage::open().await;
    let id = stage.raise(&a_minute_each(&["Tony", "Anna"])).await;
    stage.settle().await;
    stage.engine.set(Settings {
        max_per_second: 5,
        public_url: Some("https://callout.example".into()),
        ..Settings::default()
    });
    stage.pass(seconds(61)).await;
    let sent = stage.vonage.sent_for(id);
    assert_eq!(stage.vonage.log(), ["0 Tony sms", "60 Anna sms"]);
    assert_eq!(sent[0].link, None);
    assert!(sent[1].link.as_ref().unwrap().starts_with("https://callout.example/a/"));
}

#[tokio::test(start_paused = true)]
async fn posting_the_same_problem_again_counts_and_pages_nobody() {
    let stage = Stage::open().await;
    let plan = tutorial(Backend::Messages);
    let mut new = new_alert(&plan);
    new.dedup_key = Some("server-1/down".into());
    let id = stage.raise_new(new.clone()).await;
    let again = stage.engine.raise(new.clone(), None).await.unwrap();
    assert!(matches!(again, callout::engine::Raising::Repeated(alert) if alert.id() == id && alert.repeats == 1));
    stage.settle().await;
    assert_eq!(stage.vonage.sent().len(), 1);
    stage.engine.resolve(id, "Eve").await.unwrap();
    assert_ne!(stage.raise_new(new).await, id, "the problem came back");
}

#[tokio::test(start_paused = true)]
async fn alerts_of_the_same_millisecond_are_listed_in_the_order_they_were_raised() {
    let stage = Stage::open().await;
    let mut raised = Vec::new();
    for _ in 0..200 {
        raised.push(stage.raise(&tutorial(Backend::Messages)).await);
    }
    let listed = stage.engine.list(&Page { limit: 200, ..Page::default() }).await.unwrap();
    let listed: Vec<_> = listed.iter().rev().map(|alert| alert.id()).collect();
    assert_eq!(listed, raised);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_names_the_message_only_finds_its_alert() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.settle().await;
    let status = callout::incoming::MessageStatus { id: Some(message(0)), ..said(ReportStatus::Read) };
    let received = stage.engine.receive(&callout::incoming::Incoming::Status(status)).await.unwrap();
    assert_eq!((received, stage.status(id).await), (Received::Effective, "acknowledged"));
}
