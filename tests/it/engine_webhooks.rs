//! Reports come early, late, twice and in any order.

use std::sync::Arc;
use std::time::Duration;

use callout::contact::{Address, Channel};
use callout::engine::{Received, Settings};
use callout::escalation::{Backend, Failure, Plan, ReportStatus, TroubleOutcome, WorkflowOutcome};
use callout::id::{AlertId, ProviderId};
use callout::incoming::{Foreign, Incoming, MessageStatus, WorkflowEnd};
use callout::sender::{SendTrouble, TroubleCause};

use super::engine_frail::{Call, Frail};
use super::engine_stage::{
    Part, Stage, TONY, TONY_MESSENGER, down, leg, message, minutes, said, seconds, tutorial, user, wait_for,
};

fn id(text: &str) -> ProviderId {
    text.parse().unwrap()
}

/// A report of Dispatch on one message of the workflow that was sent so many before.
fn of_workflow(index: usize, message_id: &str, channel: Channel, to: &str, status: ReportStatus) -> Incoming {
    Incoming::Status(MessageStatus {
        id: Some(id(message_id)),
        workflow: Some(message(index)),
        channel: Some(channel),
        to: Address::parse(channel, to).ok(),
        ..said(status)
    })
}

fn tonys(index: usize, status: ReportStatus) -> Incoming {
    of_workflow(index, "leg-1", Channel::Messenger, TONY_MESSENGER, status)
}

async fn receive(stage: &Stage, incoming: &Incoming) -> Received {
    stage.engine.receive(incoming).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_order_of_reports_comes_to_the_same_end() {
    use ReportStatus::{Delivered, Read, Submitted};
    let orders = [
        [Submitted, Delivered, Read],
        [Submitted, Read, Delivered],
        [Delivered, Submitted, Read],
        [Delivered, Read, Submitted],
        [Read, Submitted, Delivered],
        [Read, Delivered, Submitted],
    ];
    for order in orders {
        let stage = Stage::open().await;
        let alert = stage.raise(&tutorial(Backend::Messages)).await;
        stage.settle().await;
        for status in order {
            stage.report(alert, 1, status).await;
            assert_eq!(stage.report(alert, 1, status).await, Received::Ineffective, "twice is once: {order:?}");
        }
        let attempt = stage.alert(alert).await.attempts[0].clone();
        assert!(attempt.submitted_at.is_some() && attempt.delivered_at.is_some() && attempt.read_at.is_some());
        assert_eq!((stage.attempts(alert).await, stage.status(alert).await), (vec!["read"], "acknowledged"));
    }
}

#[tokio::test(start_paused = true)]
async fn on_messages_a_report_may_come_before_the_answer_to_the_send() {
    let stage = Stage::open().await;
    stage.vonage.always(Part::AcceptAfter(seconds(3)));
    let alert = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(seconds(1)).await;
    assert_eq!(stage.report(alert, 1, ReportStatus::Read).await, Received::Effective);
    stage.pass(minutes(30)).await;
    assert_eq!((stage.status(alert).await, stage.vonage.sent().len()), ("acknowledged", 1));
}

#[tokio::test(start_paused = true)]
async fn on_dispatch_a_report_that_comes_before_the_answer_is_kept_and_applied() {
    let stage = Stage::open().await;
    stage.vonage.always(Part::AcceptAfter(seconds(3)));
    let alert = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.pass(seconds(1)).await;
    assert_eq!(receive(&stage, &tonys(0, ReportStatus::Submitted)).await, Received::Parked);
    assert_eq!(receive(&stage, &tonys(0, ReportStatus::Read)).await, Received::Parked);
    stage.pass(seconds(3)).await;
    assert_eq!(stage.status(alert).await, "acknowledged");
    assert!(stage.store.parked(&message(0)).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_report_on_nothing_we_know_is_kept_and_forgotten_after_an_hour() {
    let stage = Stage::open().await;
    assert_eq!(receive(&stage, &tonys(7, ReportStatus::Read)).await, Received::Parked);
    stage.pass(minutes(59)).await;
    assert_eq!(stage.store.parked(&message(7)).await.unwrap().len(), 1);
    stage.pass(minutes(3)).await;
    assert!(stage.store.parked(&message(7)).await.unwrap().is_empty());
    let foreign = Incoming::Foreign(Foreign::UnknownStatus);
    assert_eq!(receive(&stage, &foreign).await, Received::Foreign(Foreign::UnknownStatus));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_workflow_is_no_read() {
    let stage = Stage::open().await;
    let alert = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.settle().await;
    let end = |outcome| Incoming::WorkflowEnd(WorkflowEnd { workflow: message(0), outcome, messages: Vec::new() });
    receive(&stage, &end(WorkflowOutcome::Completed)).await;
    stage.pass(minutes(1)).await;
    assert_eq!((stage.status(alert).await, stage.vonage.sent().len()), ("escalating", 1));
    receive(&stage, &end(WorkflowOutcome::Error)).await;
    stage.settle().await;
    assert_eq!(stage.attempts(alert).await, ["undeliverable", "sent"], "an error is the next user now");
}

#[tokio::test(start_paused = true)]
async fn a_workflow_goes_on_by_itself_until_its_last_message_failed() {
    let stage = Stage::open().await;
    let alert = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.settle().await;
    receive(&stage, &tonys(0, ReportStatus::Rejected)).await;
    stage.settle().await;
    assert_eq!(stage.attempts(alert).await.len(), 1);
    receive(&stage, &of_workflow(0, "leg-2", Channel::Sms, TONY, ReportStatus::Undeliverable)).await;
    stage.settle().await;
    assert_eq!(stage.attempts(alert).await, ["undeliverable", "sent"]);
}

#[tokio::test(start_paused = true)]
async fn on_dispatch_a_report_on_a_send_whose_answer_was_lost_is_known_by_its_address() {
    let stage = Stage::open().await;
    stage.vonage.always(down());
    let alert = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.pass(seconds(1)).await;
    let lost = of_workflow(99, "leg-1", Channel::Messenger, TONY_MESSENGER, ReportStatus::Read);
    assert_eq!(receive(&stage, &lost).await, Received::Effective);
    assert_eq!(stage.status(alert).await, "acknowledged");
    let attempt = stage.alert(alert).await.attempts[0].clone();
    assert_eq!(attempt.provider_ids, [message(99)], "and whatever is told of the workflow later is known by its name");
}

#[tokio::test(start_paused = true)]
async fn on_dispatch_an_early_report_on_a_send_whose_answer_is_lost_after_it_counts() {
    let stage = Stage::open().await;
    stage.vonage.always(Part::TroubleAfter(seconds(5)));
    let alert = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.pass(seconds(1)).await;
    let early = of_workflow(99, "leg-1", Channel::Messenger, TONY_MESSENGER, ReportStatus::Read);
    assert_eq!(receive(&stage, &early).await, Received::Parked, "the answer may still come");
    stage.pass(minutes(1)).await;
    assert_eq!((stage.status(alert).await, stage.vonage.sent().len()), ("acknowledged", 1));
    assert!(stage.store.parked(&message(99)).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn on_dispatch_an_early_report_counts_though_the_process_that_sends_is_lost() {
    let stage = Stage::open().await;
    stage.vonage.always(Part::Hang);
    let alert = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.pass(seconds(1)).await;
    let early = of_workflow(99, "leg-1", Channel::Messenger, TONY_MESSENGER, ReportStatus::Read);
    assert_eq!(receive(&stage, &early).await, Received::Parked, "the answer may still come");
    let stage = stage.killed_and_started_again(seconds(2)).await;
    stage.pass(minutes(1)).await;
    assert_eq!((stage.status(alert).await, stage.vonage.sent().len()), ("acknowledged", 1), "nothing is sent again");
}

#[tokio::test(start_paused = true)]
async fn an_early_report_is_not_taken_for_one_on_a_lost_send_of_an_earlier_round() {
    let stage = Stage::open().await;
    stage.vonage.plays(|_, index| match index {
        0 => down(),
        1 => Part::Refuse,
        _ => Part::AcceptAfter(seconds(3)),
    });
    let tony = user("Tony", &[leg(Channel::Messenger, TONY_MESSENGER, 60), leg(Channel::Sms, TONY, 60)]);
    let alert = stage.raise(&Arc::new(Plan::new(Backend::Dispatch, &[tony], 1).unwrap())).await;
    stage.pass(seconds(2)).await;
    assert_eq!(stage.attempts(alert).await.len(), 2, "Tony is called again, in the second round");
    assert_eq!(receive(&stage, &tonys(2, ReportStatus::Delivered)).await, Received::Parked);
    stage.pass(seconds(4)).await;
    assert_eq!(stage.attempts(alert).await, ["refused", "delivered"]);
    assert_eq!(stage.alert(alert).await.attempts[0].delivered_at, None);
}

/// An alert to Tony whose send was lost, and one whose send is on its way and is accepted three seconds later.
async fn one_lost_and_one_on_its_way(stage: &Stage) -> [AlertId; 2] {
    stage.vonage.plays(|_, index| if index == 0 { long_lost() } else { Part::AcceptAfter(seconds(3)) });
    let lost = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.settle().await;
    let on_its_way = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.settle().await;
    [lost, on_its_way]
}

/// Nobody knows whether it went through, and it is not sent again soon.
fn long_lost() -> Part {
    Part::Trouble(SendTrouble {
        cause: TroubleCause::Provider,
        failure: Failure { code: None, detail: "HTTP 503".into() },
        outcome: TroubleOutcome::Unknown,
        retry_after: Some(seconds(60)),
    })
}

#[tokio::test(start_paused = true)]
async fn an_early_report_is_not_taken_for_one_on_a_lost_send_to_the_same_person() {
    let stage = Stage::open().await;
    let [lost, on_its_way] = one_lost_and_one_on_its_way(&stage).await;
    assert_eq!(receive(&stage, &tonys(1, ReportStatus::Delivered)).await, Received::Parked);
    stage.pass(seconds(4)).await;
    assert_eq!(stage.attempts(on_its_way).await, ["delivered"]);
    assert_eq!(stage.attempts(lost).await, ["retrying"], "it is still to be sent");
    stage.pass(seconds(60)).await;
    assert_eq!(stage.attempts(lost).await, ["sent"]);
}

#[tokio::test(start_paused = true)]
async fn a_report_on_a_lost_send_waits_until_it_cannot_be_another_ones() {
    let stage = Stage::open().await;
    let [lost, on_its_way] = one_lost_and_one_on_its_way(&stage).await;
    assert_eq!(receive(&stage, &tonys(99, ReportStatus::Read)).await, Received::Parked);
    stage.pass(seconds(4)).await;
    assert_eq!((stage.status(lost).await, stage.status(on_its_way).await), ("acknowledged", "escalating"));
    assert!(stage.store.parked(&message(99)).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_report_on_a_lost_send_counts_though_the_store_failed_as_the_other_send_ended() {
    let store = Frail::new();
    let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
    let [lost, on_its_way] = one_lost_and_one_on_its_way(&stage).await;
    assert_eq!(receive(&stage, &tonys(99, ReportStatus::Read)).await, Received::Parked);
    store.fail(Call::Parked, 1);
    stage.pass(seconds(10)).await;
    assert_eq!(store.n_struck(), 1);
    assert_eq!((stage.status(lost).await, stage.status(on_its_way).await), ("acknowledged", "escalating"));
}

#[tokio::test(start_paused = true)]
async fn a_report_on_a_lost_send_counts_though_the_process_ended_with_the_other_send() {
    let store = Frail::new();
    let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
    let [lost, on_its_way] = one_lost_and_one_on_its_way(&stage).await;
    assert_eq!(receive(&stage, &tonys(99, ReportStatus::Read)).await, Received::Parked);
    store.stop_at(Call::Parked);
    stage.pass(seconds(5)).await;
    assert_eq!(stage.attempts(on_its_way).await, ["sent"], "the send has ended, and the report is not looked at");
    let stage = stage.killed_and_started_on(store.inner(), seconds(1)).await;
    stage.pass(minutes(21)).await;
    assert_eq!((stage.status(lost).await, stage.status(on_its_way).await), ("acknowledged", "escalating"));
}

#[tokio::test(start_paused = true)]
async fn a_report_on_one_of_two_lost_sends_to_the_same_person_silences_neither() {
    let stage = Stage::open().await;
    stage.vonage.plays(|_, index| if index < 2 { long_lost() } else { Part::Accept });
    let first = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.settle().await;
    let second = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.settle().await;
    assert_eq!(receive(&stage, &tonys(99, ReportStatus::Read)).await, Received::Parked, "on which, nobody can tell");
    stage.pass(seconds(61)).await;
    assert_eq!((stage.attempts(first).await, stage.attempts(second).await), (vec!["sent"], vec!["sent"]));
    assert_eq!(stage.vonage.sent().len(), 4, "both were sent again");
    for (alert, message_id) in [(first, "leg-2"), (second, "leg-3")] {
        let workflow = stage.alert(alert).await.attempts[0].provider_ids[0].clone();
        let said = said(ReportStatus::Read);
        let read = MessageStatus { id: Some(id(message_id)), workflow: Some(workflow), ..said };
        receive(&stage, &Incoming::Status(read)).await;
        assert_eq!(stage.status(alert).await, "acknowledged", "that one is known by its name");
    }
}

#[tokio::test(start_paused = true)]
async fn reports_on_a_second_lost_send_count_once_the_first_has_its_name() {
    let stage = Stage::open().await;
    stage.vonage.always(long_lost());
    let first = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.settle().await;
    let delivered = of_workflow(98, "leg-0", Channel::Messenger, TONY_MESSENGER, ReportStatus::Delivered);
    assert_eq!(receive(&stage, &delivered).await, Received::Effective);
    let second = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.settle().await;
    assert_eq!(receive(&stage, &tonys(99, ReportStatus::Read)).await, Received::Effective);
    assert_eq!((stage.status(first).await, stage.status(second).await), ("escalating", "acknowledged"));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_alert_hides_no_report_on_a_lost_send_to_the_same_person() {
    let store = Frail::new();
    let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
    stage.vonage.plays(|_, index| if index == 0 { Part::Accept } else { long_lost() });
    let damaged = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.settle().await;
    let lost = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.settle().await;
    store.damage(damaged);
    let read = stage.engine.receive(&tonys(99, ReportStatus::Read)).await;
    assert!(matches!(read, Ok(Received::Effective)), "{read:?}");
    store.heal();
    assert_eq!((stage.status(lost).await, stage.status(damaged).await), ("acknowledged", "escalating"));
}

#[tokio::test(start_paused = true)]
async fn on_dispatch_a_send_that_certainly_failed_is_not_matched_by_address() {
    let stage = Stage::open().await;
    stage.vonage.always(wait_for(seconds(60)));
    let alert = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.pass(seconds(1)).await;
    let foreign = of_workflow(99, "leg-1", Channel::Messenger, TONY_MESSENGER, ReportStatus::Read);
    assert_eq!(receive(&stage, &foreign).await, Received::Parked);
    assert_eq!(stage.status(alert).await, "escalating");
    assert_eq!(stage.alert(alert).await.attempts[0].unknown, 0);
}

/// A send on Dispatch is answered while two reports on it come in, and two calls to the store are held up,
/// one longer than the other. Returns whether both were.
async fn a_race(shorter: (Call, usize), longer: (Call, usize)) -> bool {
    let store = Frail::new();
    let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
    stage.vonage.always(Part::AcceptAfter(seconds(1)));
    let alert = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.pass(Duration::from_millis(998)).await;
    store.delay(shorter.0, shorter.1, seconds(2), &stage.clock);
    store.delay(longer.0, longer.1, seconds(5), &stage.clock);
    let early = async {
        receive(&stage, &tonys(0, ReportStatus::Submitted)).await;
        receive(&stage, &tonys(0, ReportStatus::Read)).await;
    };
    tokio::join!(early, stage.pass(seconds(30)));
    assert_eq!(stage.status(alert).await, "acknowledged", "{shorter:?} and {longer:?} were held up");
    store.n_struck() == 2
}

#[tokio::test(start_paused = true)]
async fn a_read_that_races_with_the_answer_is_never_lost() {
    let calls = [Call::Park, Call::FindMessage, Call::Parked, Call::Unpark, Call::Update, Call::Get];
    let moments: Vec<_> = calls.into_iter().flat_map(|call| (0..4).map(move |nth| (call, nth))).collect();
    let mut n_races = 0;
    for shorter in &moments {
        for longer in moments.iter().filter(|longer| *longer != shorter) {
            n_races += usize::from(a_race(*shorter, *longer).await);
        }
    }
    assert!(n_races >= 100, "only {n_races} races were run");
}

/// The send's answer comes at the first second. Whoever records it looks for early reports, finds the first
/// one, and is slow; meanwhile the second one is kept beside it, and both are cleared away together.
#[tokio::test(start_paused = true)]
async fn a_report_that_is_cleared_away_with_an_earlier_one_is_not_lost() {
    let store = Frail::new();
    let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
    stage.vonage.always(Part::AcceptAfter(seconds(1)));
    let alert = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.pass(Duration::from_millis(500)).await;
    assert_eq!(receive(&stage, &tonys(0, ReportStatus::Submitted)).await, Received::Parked);
    store.delay(Call::Park, 0, seconds(1), &stage.clock);
    store.delay_answer(Call::Parked, 0, seconds(2), &stage.clock);
    // Two questions before it is kept; this is the first one after.
    store.delay(Call::FindMessage, 2, seconds(5), &stage.clock);
    let read = tonys(0, ReportStatus::Read);
    tokio::join!(receive(&stage, &read), stage.pass(seconds(20)));
    assert_eq!(store.n_struck(), 3);
    assert_eq!(stage.status(alert).await, "acknowledged");
}

#[tokio::test(start_paused = true)]
async fn a_parked_read_is_applied_after_a_restart_in_between() {
    let store = Frail::new();
    let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
    stage.vonage.always(Part::AcceptAfter(seconds(3)));
    let alert: AlertId = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.pass(seconds(1)).await;
    assert_eq!(receive(&stage, &tonys(0, ReportStatus::Read)).await, Received::Parked);
    store.stop_at(Call::Parked);
    stage.pass(seconds(5)).await;
    assert_eq!(store.n_struck(), 1, "the attempt is known, and the parked read is not applied yet");
    assert_eq!(stage.status(alert).await, "escalating");
    let stage = stage.killed_and_started_on(store.inner(), seconds(1)).await;
    stage.settle().await;
    assert_eq!(stage.status(alert).await, "acknowledged");
}

#[tokio::test(start_paused = true)]
async fn a_parked_read_is_applied_though_the_store_failed_in_between() {
    let store = Frail::new();
    let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
    stage.vonage.always(Part::AcceptAfter(seconds(3)));
    let alert: AlertId = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.pass(seconds(1)).await;
    receive(&stage, &tonys(0, ReportStatus::Read)).await;
    store.fail(Call::Parked, 1);
    stage.pass(minutes(2)).await;
    assert_eq!(stage.status(alert).await, "acknowledged");
}
