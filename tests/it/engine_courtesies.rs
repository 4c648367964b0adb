//! What people are told, and what is taken back, once somebody has the alert.

use std::sync::Arc;
use std::time::Duration;

use callout::contact::Channel;
use callout::engine::{Received, Settings};
use callout::escalation::{Acknowledgement, Backend, Confirm, Failure, Plan, ReportStatus, TroubleOutcome, Via};
use callout::incoming::{InboundMessage, Incoming, MessageStatus};
use callout::sender::{Answer, TroubleCause};
use callout::store::MemoryStore;

use super::engine_stage::{
    ANNA, Part, Stage, TONY, TONY_MESSENGER, a_minute_each, leg, minutes, said, seconds, trouble, tutorial, user,
};

fn confirming(plan: &Arc<Plan>) -> Arc<Plan> {
    Arc::new(Plan::clone(plan).with_confirm(Confirm::Everybody))
}

/// Tony was messaged by Messenger and by SMS, and Anna by Viber.
async fn three_messages(stage: &Stage) -> callout::id::AlertId {
    let id = stage.raise(&confirming(&tutorial(Backend::Messages))).await;
    stage.pass(minutes(21)).await;
    id
}

const ANNA_THANKED_AND_TONY_TOLD: [&str; 3] = [
    "1260 thanks viber_service …0002: Anna has it",
    "1260 tells messenger …5678: Anna has it",
    "1260 tells sms …0001: Anna has it",
];

#[tokio::test(start_paused = true)]
async fn whoever_answers_is_thanked_and_the_others_are_told_once() {
    let stage = Stage::open().await;
    let id = three_messages(&stage).await;
    stage.reply(Channel::ViberService, ANNA, "on it").await;
    stage.pass(minutes(60)).await;
    assert_eq!(stage.status(id).await, "acknowledged");
    assert_eq!(stage.vonage.courtesies(), ANNA_THANKED_AND_TONY_TOLD);
    assert_eq!(stage.vonage.sent().len(), 3, "nobody is called any more");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_confirmation_brings_no_other_one() {
    let stage = Stage::open().await;
    let id = three_messages(&stage).await;
    stage.reply(Channel::ViberService, ANNA, "on it").await;
    stage.settle().await;
    for round in 0..3 {
        for (channel, from) in
            [(Channel::ViberService, ANNA), (Channel::Messenger, TONY_MESSENGER), (Channel::Sms, TONY)]
        {
            let thanks = InboundMessage {
                id: Some(format!("inbound-{round}-{channel}").parse().unwrap()),
                quoted: Some("confirmation-1".parse().unwrap()),
                text: Some("thanks!".into()),
                ..stage.inbound(channel, from)
            };
            stage.reply_with(thanks).await;
        }
        stage.pass(minutes(5)).await;
    }
    assert_eq!(stage.vonage.courtesies(), ANNA_THANKED_AND_TONY_TOLD);
    assert_eq!(stage.status(id).await, "acknowledged");
}

#[tokio::test(start_paused = true)]
async fn a_report_on_a_confirmation_concerns_no_alert() {
    let stage = Stage::open().await;
    let first = three_messages(&stage).await;
    stage.reply(Channel::ViberService, ANNA, "on it").await;
    stage.settle().await;
    let second = stage.raise(&confirming(&tutorial(Backend::Messages))).await;
    stage.settle().await;
    let before = stage.timeline(first).await;
    for status in [ReportStatus::Submitted, ReportStatus::Delivered, ReportStatus::Read] {
        let report = MessageStatus {
            id: Some("confirmation-1".parse().unwrap()),
            channel: Some(Channel::Messenger),
            to: Some(stage.inbound(Channel::Messenger, TONY_MESSENGER).from),
            ..said(status)
        };
        assert_ne!(stage.engine.receive(&Incoming::Status(report)).await.unwrap(), Received::Effective);
    }
    stage.settle().await;
    assert_eq!(stage.timeline(first).await, before);
    assert_eq!(stage.status(second).await, "escalating", "a read confirmation is no read page");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_does_not_say_so_confirms_nothing() {
    let stage = Stage::open().await;
    stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(21)).await;
    stage.reply(Channel::ViberService, ANNA, "on it").await;
    stage.pass(minutes(5)).await;
    assert_eq!(stage.vonage.courtesies(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn through_the_api_everybody_is_told_and_nobody_named_is_somebody() {
    let stage = Stage::open().await;
    let id = stage.raise(&confirming(&a_minute_each(&["Tony", "Anna"]))).await;
    stage.pass(seconds(70)).await;
    stage.engine.acknowledge(id, Acknowledgement::NOBODY_NAMED, Via::Api, None).await.unwrap();
    stage.settle().await;
    assert_eq!(
        stage.vonage.courtesies(),
        ["70 tells sms …0000: Somebody has it", "70 tells sms …0001: Somebody has it"]
    );
}

#[tokio::test(start_paused = true)]
async fn on_dispatch_people_are_told_too() {
    let stage = Stage::open().await;
    let id = stage.raise(&confirming(&tutorial(Backend::Dispatch))).await;
    stage.pass(minutes(21)).await;
    stage.engine.acknowledge(id, "Maria", Via::Api, None).await.unwrap();
    stage.settle().await;
    assert_eq!(
        stage.vonage.courtesies(),
        ["1260 tells messenger …5678: Maria has it", "1260 tells viber_service …0002: Maria has it"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_said_is_tried_once_more_and_what_is_refused_is_not() {
    let failed = || Answer::Trouble(trouble(TroubleCause::Provider, TroubleOutcome::Unknown, None));
    let refused = Answer::Refused(Failure { code: Some("1340".into()), detail: "HTTP 422".into() });
    let stage = Stage::open().await;
    let id = stage.raise(&confirming(&a_minute_each(&["Tony", "Anna"]))).await;
    stage.pass(seconds(70)).await;
    stage.vonage.answers_courtesies([failed(), failed(), refused]);
    stage.engine.acknowledge(id, "Maria", Via::Api, None).await.unwrap();
    stage.pass(minutes(30)).await;
    assert_eq!(
        stage.vonage.courtesies(),
        ["70 tells sms …0000: Maria has it", "72 tells sms …0000: Maria has it", "72 tells sms …0001: Maria has it"]
    );
    assert_eq!(stage.timeline(id).await.last(), Some(&"acknowledged"), "the timeline tells of the alert only");
    let ready = stage.engine.readiness().await.unwrap();
    assert_eq!(ready.n_failing, 0, "{ready:?}");
}

#[tokio::test(start_paused = true)]
async fn pages_go_first() {
    let settings = Settings { max_per_second: 1, ..Settings::default() };
    let stage = Stage::with(Arc::new(MemoryStore::new()), settings).await;
    let id = stage.raise(&confirming(&a_minute_each(&["Tony", "Anna"]))).await;
    stage.pass(seconds(70)).await;
    for _ in 0..5 {
        stage.raise(&a_minute_each(&["Bo"])).await;
    }
    stage.engine.acknowledge(id, "Maria", Via::Api, None).await.unwrap();
    stage.pass(seconds(40)).await;
    let last_page = stage.vonage.sent().last().unwrap().at;
    let at = |line: &String| Duration::from_secs(line.split(' ').next().unwrap().parse().unwrap());
    let told: Vec<Duration> = stage.vonage.courtesies().iter().map(at).collect();
    assert_eq!((stage.vonage.sent().len(), told.len()), (7, 2));
    assert!(told.iter().all(|told| *told + seconds(1) >= last_page), "{told:?} and the last page at {last_page:?}");
}

#[tokio::test(start_paused = true)]
async fn confirmations_for_which_pages_leave_no_room_are_dropped() {
    let settings = Settings { max_per_second: 1, ..Settings::default() };
    let stage = Stage::with(Arc::new(MemoryStore::new()), settings).await;
    let id = stage.raise(&confirming(&a_minute_each(&["Tony"]))).await;
    stage.pass(seconds(10)).await;
    for _ in 0..400 {
        stage.raise(&a_minute_each(&["Bo"])).await;
    }
    stage.engine.acknowledge(id, "Maria", Via::Api, None).await.unwrap();
    stage.pass(minutes(10)).await;
    assert_eq!(stage.vonage.courtesies(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_unread_rcs_message_is_taken_back_when_somebody_else_has_the_alert() {
    let stage = Stage::open().await;
    let users = [user("Tony", &[leg(Channel::Rcs, TONY, 60)]), user("Anna", &[leg(Channel::Sms, ANNA, 60)])];
    let id = stage.raise(&Arc::new(Plan::new(Backend::Messages, &users, 0).unwrap())).await;
    stage.pass(seconds(70)).await;
    stage.reply(Channel::Sms, ANNA, "mine").await;
    stage.pass(seconds(5)).await;
    assert_eq!(stage.vonage.courtesies(), ["70 takes message-0 back"]);
    stage.engine.resolve(id, "Anna").await.unwrap();
    stage.pass(seconds(5)).await;
    assert_eq!(stage.vonage.courtesies().len(), 1, "once is enough");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stops_waits_for_no_confirmation() {
    let stage = Stage::open().await;
    let id = stage.raise(&confirming(&a_minute_each(&["Tony"]))).await;
    stage.pass(seconds(10)).await;
    stage.vonage.always(Part::Hang);
    let failed = Answer::Trouble(trouble(TroubleCause::RateLimit, TroubleOutcome::NotSent, Some(minutes(4))));
    stage.vonage.answers_courtesies([failed]);
    stage.engine.acknowledge(id, "Maria", Via::Api, None).await.unwrap();
    stage.settle().await;
    let began = stage.clock_now();
    stage.engine.stop().await;
    assert!(stage.clock_now().since(began) < seconds(1));
    assert_eq!(stage.vonage.courtesies().len(), 1);
}
