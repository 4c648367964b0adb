//! Several nodes on one store, of which one alone does not get through to Vonage: it leaves its alerts to the others,
//! and nobody's turn passes for what it meets.

use std::sync::Arc;
use std::time::Duration;

use callout::alarm::{Alarm, Phase};
use callout::clock::{Clock, SteadyClock};
use callout::contact::Channel;
use callout::engine::Settings;
use callout::escalation::{Backend, Plan};
use callout::id::AlertId;
use callout::sender::Outbound;

use super::engine_frail::Frail;
use super::engine_stage::{ANNA, BEGAN, Part, Stage, StandIn, TONY, down, leg, minutes, seconds, user, wait_for};

/// How soon another node takes up what was left to it.
const TAKEN_UP_WITHIN: Duration = seconds(3);

/// So many nodes, each with a way to Vonage of its own.
async fn nodes(n_nodes: usize) -> Vec<Stage> {
    let clock = Arc::new(SteadyClock::faster(BEGAN, 1));
    let mut nodes = Vec::new();
    for store in Frail::for_nodes(n_nodes) {
        nodes.push(Stage::start(store, StandIn::new(&clock), Arc::clone(&clock), Settings::default()).await);
        // The next one is given another chance, so that no two alerts have one id.
        clock.sleep_until(clock.now().plus(Duration::from_millis(1))).await;
    }
    nodes
}

/// Tony by WhatsApp and by SMS, then Anna; ten minutes each.
fn tony_then_anna() -> Arc<Plan> {
    let tony = user("Tony", &[leg(Channel::Whatsapp, TONY, 600), leg(Channel::Sms, TONY, 600)]);
    Arc::new(Plan::new(Backend::Messages, &[tony, user("Anna", &[leg(Channel::Sms, ANNA, 600)])], 0).unwrap())
}

/// Somebody whose messages Vonage has trouble with, whoever sends them.
fn poison() -> Arc<Plan> {
    let poison = user("Poison", &[leg(Channel::Whatsapp, TONY, 600), leg(Channel::Sms, TONY, 600)]);
    Arc::new(Plan::new(Backend::Messages, &[poison], 0).unwrap())
}

/// Trouble with what only this story's poison is sent by WhatsApp.
fn trouble_with_poison(send: &Outbound, _index: usize) -> Part {
    let is_poison = send.step.user.as_ref() == "Poison" && send.step.first.channel == Channel::Whatsapp;
    if is_poison { down() } else { Part::Accept }
}

/// How long after the beginning an alert's first message was asked for at a stand-in, if it was.
fn first_sent(vonage: &StandIn, id: AlertId) -> Option<Duration> {
    vonage.sent_for(id).first().map(|sent| sent.at)
}

#[tokio::test(start_paused = true)]
async fn what_a_node_alone_cannot_send_goes_out_by_another_though_nothing_else_is_sent() {
    let nodes = nodes(2).await;
    nodes[0].vonage.always(down());
    nodes[0].pass(seconds(2)).await;
    let id = nodes[0].raise(&tony_then_anna()).await;
    nodes[0].pass(minutes(1)).await;
    assert_eq!(nodes[0].attempts(id).await, ["sent"]);
    let (here, there) = (nodes[0].vonage.sent_for(id), nodes[1].vonage.sent_for(id));
    assert_eq!((here.len(), there.len()), (1, 1), "tried once here and taken up there");
    assert!(there[0].at <= here[0].at + TAKEN_UP_WITHIN, "{:?} after {:?}", there[0].at, here[0].at);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_alone_does_not_get_through_takes_no_turns_but_a_try_every_few_seconds() {
    let nodes = nodes(2).await;
    nodes[1].raise(&tony_then_anna()).await;
    nodes[0].pass(seconds(2)).await;
    nodes[0].vonage.always(down());
    let mut alarms = [nodes[0].alarms.listen(), nodes[1].alarms.listen()];
    let mut raised = Vec::new();
    for _ in 0..60 {
        nodes[1].raise(&tony_then_anna()).await;
        raised.push((nodes[0].clock_now().since(BEGAN), nodes[0].raise(&tony_then_anna()).await));
        nodes[0].pass(seconds(1)).await;
    }
    nodes[0].pass(TAKEN_UP_WITHIN).await;
    let n_tried = nodes[0].vonage.sent().len();
    assert!((10..=20).contains(&n_tried), "one try every five seconds: {:?}", nodes[0].vonage.log());
    for (raised_at, id) in &raised {
        assert_eq!(nodes[0].attempts(*id).await, ["sent"]);
        let late_by = first_sent(&nodes[1].vonage, *id).unwrap().saturating_sub(*raised_at);
        assert!(late_by <= TAKEN_UP_WITHIN, "late by {late_by:?}");
    }
    nodes[0].vonage.always(Part::Accept);
    nodes[0].raise(&tony_then_anna()).await;
    nodes[0].pass(seconds(6)).await;
    let again = nodes[0].raise(&tony_then_anna()).await;
    nodes[0].settle().await;
    assert!(first_sent(&nodes[0].vonage, again).is_some(), "one send got through, so it takes turns again");
    let [here, there] =
        alarms.each_mut().map(|alarms| std::iter::from_fn(|| alarms.try_recv().ok()).collect::<Vec<_>>());
    let here: Vec<_> = here.iter().map(|told| (told.alarm, told.phase)).collect();
    assert_eq!(here, [(Alarm::NodeCutOff, Phase::Raised), (Alarm::NodeCutOff, Phase::Over)]);
    assert_eq!(there, [], "the others are well");
}

#[tokio::test(start_paused = true)]
async fn what_failed_for_minutes_on_one_node_alone_is_not_counted_by_another() {
    let clock = Arc::new(SteadyClock::faster(BEGAN, 1));
    let stores = Frail::for_nodes(2);
    let alone =
        Stage::start(Arc::<Frail>::clone(&stores[0]), StandIn::new(&clock), Arc::clone(&clock), Settings::default())
            .await;
    alone.vonage.always(down());
    let id = alone.raise(&tony_then_anna()).await;
    alone.pass(minutes(5)).await;
    let helping =
        Stage::start(Arc::<Frail>::clone(&stores[1]), StandIn::new(&clock), Arc::clone(&clock), Settings::default())
            .await;
    let mut n_tries = 0;
    helping.vonage.plays(move |send, _| {
        n_tries += usize::from(send.step.user.as_ref() == "Tony");
        if n_tries == 1 && send.step.user.as_ref() == "Tony" { wait_for(seconds(1)) } else { Part::Accept }
    });
    let bob = user("Bob", &[leg(Channel::Sms, ANNA, 86_400)]);
    let bob = Arc::new(Plan::new(Backend::Messages, &[bob], 0).unwrap());
    for _ in 0..60 {
        helping.raise(&bob).await;
        helping.pass(seconds(1)).await;
    }
    assert_eq!(helping.vonage.sent_for(id).len(), 2, "one failed and one was accepted");
    assert_eq!(alone.attempts(id).await, ["sent"], "one failure of the helping node is no minute");
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_fails_on_a_node_whose_way_is_good_is_given_up_after_a_minute() {
    let nodes = nodes(2).await;
    for node in &nodes {
        node.vonage.plays(trouble_with_poison);
    }
    let id = nodes[0].raise(&poison()).await;
    for _ in 0..20 {
        for node in &nodes {
            node.raise(&tony_then_anna()).await;
        }
        nodes[0].pass(seconds(5)).await;
    }
    assert_eq!(nodes[0].attempts(id).await, ["failed", "sent"]);
}

#[tokio::test(start_paused = true)]
async fn it_is_given_up_also_where_the_other_node_has_more_to_send() {
    let nodes = nodes(2).await;
    for node in &nodes {
        node.vonage.plays(trouble_with_poison);
    }
    let id = nodes[0].raise(&poison()).await;
    for _ in 0..8 {
        nodes[1].raise(&tony_then_anna()).await;
        nodes[0].pass(seconds(20)).await;
    }
    assert_eq!(nodes[0].attempts(id).await, ["failed", "sent"]);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_of_all_nodes_all_go_on_trying_and_the_first_that_gets_through_goes_on() {
    let nodes = nodes(3).await;
    for node in &nodes {
        node.raise(&tony_then_anna()).await;
    }
    nodes[0].pass(seconds(5)).await;
    for node in &nodes {
        node.vonage.always(down());
    }
    let mut raised = Vec::new();
    for node in &nodes {
        raised.push(node.raise(&tony_then_anna()).await);
        raised.push(node.raise(&tony_then_anna()).await);
    }
    nodes[0].pass(minutes(30)).await;
    for id in &raised {
        assert_eq!(nodes[0].attempts(*id).await, ["retrying"], "nobody's turn passes");
    }
    nodes[2].vonage.always(Part::Accept);
    nodes[0].pass(minutes(1)).await;
    for id in &raised {
        assert_eq!(nodes[0].attempts(*id).await, ["sent"]);
        assert!(!nodes[2].vonage.sent_for(*id).is_empty(), "by the one that gets through");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_takes_turns_again_when_nothing_gets_through_from_the_others_either() {
    let nodes = nodes(2).await;
    nodes[0].vonage.always(down());
    nodes[0].raise(&tony_then_anna()).await;
    nodes[1].raise(&tony_then_anna()).await;
    nodes[0].pass(seconds(5)).await;
    nodes[1].engine.abandon();
    nodes[0].pass(minutes(2)).await;
    nodes[0].vonage.always(Part::Accept);
    let raised_at = nodes[0].clock_now().since(BEGAN);
    for _ in 0..5 {
        let id = nodes[0].raise(&tony_then_anna()).await;
        nodes[0].settle().await;
        assert!(first_sent(&nodes[0].vonage, id).unwrap() <= raised_at + seconds(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_alert_is_left_alone_by_those_who_look_for_what_others_left() {
    let clock = Arc::new(SteadyClock::faster(BEGAN, 1));
    let stores = Frail::for_nodes(1);
    let vonage = StandIn::new(&clock);
    let stage = Stage::start(Arc::<Frail>::clone(&stores[0]), vonage, Arc::clone(&clock), Settings::default()).await;
    let id = stage.raise(&tony_then_anna()).await;
    stage.pass(minutes(1)).await;
    stores[0].damage(id);
    stage.pass(minutes(180)).await;
    let metrics = stage.engine.metrics().render().unwrap();
    let failures = metrics.lines().find_map(|line| line.strip_prefix("callout_failures_total "));
    let n_failures: u32 = failures.unwrap().parse().unwrap();
    assert!((3..=8).contains(&n_failures), "three within minutes, and then once an hour: {n_failures}");
}
