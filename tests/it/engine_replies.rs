//! Somebody writes back: which alert is meant, and what is asked for.

use std::sync::Arc;

use callout::contact::Channel;
use callout::engine::{Error, Received, Settings};
use callout::escalation::{Backend, ReportStatus, Via};
use callout::id::AlertId;
use callout::incoming::{InboundMessage, Incoming};

use super::engine_frail::Frail;
use super::engine_stage::{ANNA, Part, Stage, TONY, TONY_MESSENGER, message, minutes, seconds, tutorial};

/// Two alerts to Tony by Messenger, one a minute after the other.
async fn two_alerts(stage: &Stage) -> [AlertId; 2] {
    let plan = tutorial(Backend::Messages);
    let older = stage.raise(&plan).await;
    stage.pass(minutes(1)).await;
    let newer = stage.raise(&plan).await;
    stage.pass(minutes(2)).await;
    [older, newer]
}

async fn statuses(stage: &Stage, alerts: [AlertId; 2]) -> [&'static str; 2] {
    [stage.status(alerts[0]).await, stage.status(alerts[1]).await]
}

#[tokio::test(start_paused = true)]
async fn any_answer_of_somebody_who_was_messaged_acknowledges() {
    for text in ["ok", "", "👍", "what is it?", "見ました"] {
        let stage = Stage::open().await;
        let id = stage.raise(&tutorial(Backend::Messages)).await;
        stage.pass(seconds(10)).await;
        assert_eq!(stage.reply(Channel::Messenger, TONY_MESSENGER, text).await, Received::Effective);
        let alert = stage.alert(id).await;
        let acknowledged = alert.acknowledged.clone().unwrap();
        assert_eq!((acknowledged.by.as_ref(), acknowledged.via), ("Tony", Via::Reply), "{text:?}");
        stage.pass(minutes(60)).await;
        assert_eq!(stage.vonage.sent().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_hint_the_newest_alert_is_meant() {
    let stage = Stage::open().await;
    let alerts = two_alerts(&stage).await;
    stage.reply(Channel::Messenger, TONY_MESSENGER, "on it").await;
    assert_eq!(statuses(&stage, alerts).await, ["escalating", "acknowledged"]);
    stage.reply(Channel::Messenger, TONY_MESSENGER, "that one too").await;
    assert_eq!(statuses(&stage, alerts).await, ["acknowledged", "acknowledged"]);
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_the_disk_damaged_takes_no_reply_from_the_others() {
    let store = Frail::new();
    let stage = Stage::with(Arc::<Frail>::clone(&store), Settings::default()).await;
    let [older, newer] = two_alerts(&stage).await;
    store.damage(newer);
    assert_eq!(stage.reply(Channel::Messenger, TONY_MESSENGER, "on it").await, Received::Effective);
    store.heal();
    assert_eq!(statuses(&stage, [older, newer]).await, ["acknowledged", "escalating"]);
}

#[tokio::test(start_paused = true)]
async fn a_code_in_any_case_names_the_alert() {
    let stage = Stage::open().await;
    let alerts = two_alerts(&stage).await;
    let code = stage.alert(alerts[0]).await.code().to_string().to_lowercase();
    stage.reply(Channel::Messenger, TONY_MESSENGER, &format!("got {code}, thanks")).await;
    assert_eq!(statuses(&stage, alerts).await, ["acknowledged", "escalating"]);
}

#[tokio::test(start_paused = true)]
async fn a_quoted_message_names_the_alert() {
    let stage = Stage::open().await;
    let alerts = two_alerts(&stage).await;
    let quoting = InboundMessage {
        quoted: Some(message(0)),
        text: Some("this one".into()),
        ..stage.inbound(Channel::Messenger, TONY_MESSENGER)
    };
    stage.reply_with(quoting).await;
    assert_eq!(statuses(&stage, alerts).await, ["acknowledged", "escalating"]);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_quotes_one_of_two_messages_on_their_way_is_asked_for_again() {
    let stage = Stage::open().await;
    stage.vonage.always(Part::AcceptAfter(seconds(3)));
    let alerts = [stage.raise(&tutorial(Backend::Messages)).await, stage.raise(&tutorial(Backend::Messages)).await];
    stage.settle().await;
    let quoting = || {
        Incoming::Message(InboundMessage {
            quoted: Some(message(0)),
            text: Some("this one".into()),
            ..stage.inbound(Channel::Messenger, TONY_MESSENGER)
        })
    };
    let early = stage.engine.receive(&quoting()).await;
    assert!(matches!(early, Err(Error::Contended)), "nobody can tell yet which of the two it is: {early:?}");
    stage.pass(seconds(4)).await;
    assert_eq!(stage.engine.receive(&quoting()).await.unwrap(), Received::Effective);
    assert_eq!(statuses(&stage, alerts).await, ["acknowledged", "escalating"]);
}

#[tokio::test(start_paused = true)]
async fn a_quoted_message_that_nobody_knows_is_one_whose_sender_was_lost() {
    let stage = Stage::open().await;
    stage.vonage.always(Part::Hang);
    let older = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(seconds(3)).await;
    let stage = stage.killed_and_started_again(seconds(5)).await;
    stage.vonage.always(Part::Accept);
    stage.pass(minutes(1)).await;
    let newer = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(1)).await;
    assert_eq!(stage.attempts(older).await, ["sent"], "it was sent again, and that message has another name");
    let quoting = InboundMessage {
        quoted: Some("its-sender-did-not-live-to-write-this-down".parse().unwrap()),
        text: Some("this one".into()),
        ..stage.inbound(Channel::Messenger, TONY_MESSENGER)
    };
    assert_eq!(stage.reply_with(quoting.clone()).await, Received::Effective);
    assert_eq!(statuses(&stage, [older, newer]).await, ["acknowledged", "escalating"]);
    stage.reply_with(quoting).await;
    assert_eq!(statuses(&stage, [older, newer]).await, ["acknowledged", "acknowledged"], "else the newest is meant");
}

#[tokio::test(start_paused = true)]
async fn a_button_wins_over_code_and_quoted_message() {
    let stage = Stage::open().await;
    let alerts = two_alerts(&stage).await;
    let (older, newer) = (stage.alert(alerts[0]).await.code(), stage.alert(alerts[1]).await.code());
    let pressed = InboundMessage {
        payload: Some(format!("ack:{older}").into()),
        quoted: Some(message(1)),
        text: Some(format!("resolve {newer}").into()),
        ..stage.inbound(Channel::Messenger, TONY_MESSENGER)
    };
    stage.reply_with(pressed).await;
    assert_eq!(statuses(&stage, alerts).await, ["acknowledged", "escalating"]);
}

#[tokio::test(start_paused = true)]
async fn a_code_wins_over_a_quoted_message() {
    let stage = Stage::open().await;
    let alerts = two_alerts(&stage).await;
    let older = stage.alert(alerts[0]).await.code();
    let both = InboundMessage {
        quoted: Some(message(1)),
        text: Some(format!("{older} ok").into()),
        ..stage.inbound(Channel::Messenger, TONY_MESSENGER)
    };
    stage.reply_with(both).await;
    assert_eq!(statuses(&stage, alerts).await, ["acknowledged", "escalating"]);
}

#[tokio::test(start_paused = true)]
async fn the_current_user_can_ask_for_the_next_one() {
    for word in ["next", "ESCALATE", "Skip please"] {
        let stage = Stage::open().await;
        let id = stage.raise(&tutorial(Backend::Messages)).await;
        stage.pass(seconds(20)).await;
        stage.reply(Channel::Messenger, TONY_MESSENGER, word).await;
        stage.settle().await;
        assert_eq!(stage.vonage.log(), ["0 Tony messenger", "20 Anna viber_service"], "{word}");
        assert_eq!(stage.attempts(id).await, ["superseded", "sent"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_earlier_user_who_asks_for_the_next_one_changes_nothing_but_is_heard() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(25)).await;
    assert_eq!(stage.reply(Channel::Sms, TONY, "next").await, Received::Effective);
    stage.settle().await;
    assert_eq!(stage.vonage.sent().len(), 3, "Anna has her time");
    assert_eq!(stage.status(id).await, "escalating");
    assert!(stage.timeline(id).await.contains(&"reply"));
}

#[tokio::test(start_paused = true)]
async fn resolve_ends_an_acknowledged_alert_too() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(seconds(20)).await;
    stage.reply(Channel::Messenger, TONY_MESSENGER, "looking").await;
    stage.pass(minutes(20)).await;
    stage.reply(Channel::Messenger, TONY_MESSENGER, "Resolved, it was the fuse").await;
    assert_eq!(stage.status(id).await, "resolved");
}

#[tokio::test(start_paused = true)]
async fn after_everything_is_over_an_answer_still_acknowledges_but_next_does_not() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(60)).await;
    stage.reply(Channel::Whatsapp, ANNA, "next").await;
    assert_eq!(stage.status(id).await, "exhausted");
    stage.reply(Channel::Whatsapp, ANNA, "sorry, was asleep").await;
    assert_eq!(stage.status(id).await, "acknowledged");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_has_no_effect_even_with_a_code() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(seconds(20)).await;
    let code = stage.alert(id).await.code();
    for text in ["ok".to_owned(), format!("{code} ok"), format!("resolve {code}")] {
        assert_eq!(stage.reply(Channel::Sms, "447700900999", &text).await, Received::Unmatched);
    }
    assert_eq!(stage.reply(Channel::Whatsapp, ANNA, "ok").await, Received::Unmatched, "Anna was not messaged yet");
    assert_eq!(stage.reply(Channel::Sms, TONY, "ok").await, Received::Unmatched, "Tony was not messaged by SMS yet");
    assert_eq!(stage.status(id).await, "escalating");
}

#[tokio::test(start_paused = true)]
async fn what_was_written_before_the_message_is_no_answer_to_it() {
    let stage = Stage::open().await;
    let before = stage.clock_now();
    stage.pass(minutes(5)).await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(seconds(20)).await;
    let old = InboundMessage { at: Some(before), ..stage.inbound(Channel::Messenger, TONY_MESSENGER) };
    assert_eq!(stage.reply_with(old.clone()).await, Received::Unmatched);
    let code = stage.alert(id).await.code();
    let with_code = InboundMessage { text: Some(code.to_string().into()), ..old };
    assert_eq!(stage.reply_with(with_code).await, Received::Unmatched);
    let by_another_clock = stage.clock_now().as_millis() - 70_000;
    let a_little_early = InboundMessage {
        at: Some(callout::timestamp::Timestamp::from_millis(by_another_clock)),
        ..stage.inbound(Channel::Messenger, TONY_MESSENGER)
    };
    assert_eq!(stage.reply_with(a_little_early).await, Received::Effective, "clocks may be a minute apart");
    assert_eq!(stage.status(id).await, "acknowledged");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_delivered_twice_has_its_effect_once() {
    let stage = Stage::open().await;
    let alerts = two_alerts(&stage).await;
    let once = InboundMessage {
        id: Some("inbound-1".parse().unwrap()),
        text: Some("next".into()),
        ..stage.inbound(Channel::Messenger, TONY_MESSENGER)
    };
    stage.reply_with(once.clone()).await;
    stage.pass(seconds(1)).await;
    let n_sent = stage.vonage.sent().len();
    assert_eq!(stage.reply_with(once).await, Received::Ineffective);
    stage.pass(seconds(1)).await;
    assert_eq!(stage.vonage.sent().len(), n_sent);
    assert_eq!(statuses(&stage, alerts).await, ["escalating", "escalating"]);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledging_reply_that_is_delivered_twice_does_not_reach_the_next_alert() {
    let stage = Stage::open().await;
    let alerts = two_alerts(&stage).await;
    let once = InboundMessage {
        id: Some("inbound-1".parse().unwrap()),
        text: Some("on it".into()),
        ..stage.inbound(Channel::Messenger, TONY_MESSENGER)
    };
    stage.reply_with(once.clone()).await;
    stage.pass(seconds(5)).await;
    assert_eq!(stage.reply_with(once).await, Received::Ineffective);
    assert_eq!(statuses(&stage, alerts).await, ["escalating", "acknowledged"]);
}

#[tokio::test(start_paused = true)]
async fn a_resolving_reply_that_is_delivered_twice_does_not_reach_the_next_alert() {
    let stage = Stage::open().await;
    let alerts = two_alerts(&stage).await;
    let once = InboundMessage {
        id: Some("inbound-1".parse().unwrap()),
        text: Some("resolved".into()),
        ..stage.inbound(Channel::Messenger, TONY_MESSENGER)
    };
    stage.reply_with(once.clone()).await;
    let stage = stage.killed_and_started_again(seconds(5)).await;
    assert_eq!(stage.reply_with(once).await, Received::Ineffective);
    assert_eq!(statuses(&stage, alerts).await, ["escalating", "resolved"]);
}

#[tokio::test(start_paused = true)]
async fn stop_alone_is_no_acknowledgement() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(minutes(11)).await;
    stage.reply(Channel::Sms, TONY, "STOP").await;
    assert_eq!(stage.status(id).await, "escalating");
    assert!(stage.timeline(id).await.contains(&"reply"));
}

#[tokio::test(start_paused = true)]
async fn on_dispatch_every_channel_of_the_user_counts() {
    let stage = Stage::open().await;
    let id = stage.raise(&tutorial(Backend::Dispatch)).await;
    stage.pass(minutes(11)).await;
    stage.reply(Channel::Sms, TONY, "ok").await;
    assert_eq!(stage.status(id).await, "acknowledged");
}

#[tokio::test(start_paused = true)]
async fn a_reply_while_the_outcome_of_the_send_is_unknown_counts() {
    let stage = Stage::open().await;
    stage.vonage.always(Part::Hang);
    let id = stage.raise(&tutorial(Backend::Messages)).await;
    stage.pass(seconds(5)).await;
    stage.reply(Channel::Messenger, TONY_MESSENGER, "ok").await;
    assert_eq!(stage.status(id).await, "acknowledged");
    assert_eq!(stage.report(id, 1, ReportStatus::Read).await, Received::Effective, "and the read is noted");
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_though_the_process_that_sent_the_message_was_lost_before_it_knew() {
    for names_the_alert in [true, false] {
        let stage = Stage::open().await;
        stage.vonage.always(Part::Hang);
        let alert = stage.raise(&tutorial(Backend::Messages)).await;
        stage.pass(seconds(3)).await;
        let code = stage.alert(alert).await.code();
        let text = if names_the_alert { format!("ok {code}") } else { "ok".to_owned() };
        let reply = InboundMessage { text: Some(text.into()), ..stage.inbound(Channel::Messenger, TONY_MESSENGER) };
        let stage = stage.killed_and_started_again(minutes(9)).await;
        stage.vonage.always(Part::Accept);
        stage.pass(minutes(1)).await;
        assert_eq!(stage.attempts(alert).await, ["sent"], "as far as is known, it went out after the answer");
        assert_eq!(stage.reply_with(reply).await, Received::Effective);
        assert_eq!(stage.status(alert).await, "acknowledged");
    }
}
