//! An outage of Vonage that only some of the nodes meet: all of them hold their alerts, and all of them let them
//! go on when one sees its end (contract R8).

use std::sync::Arc;
use std::time::Duration;

use callout::clock::{Clock, SteadyClock};
use callout::contact::Channel;
use callout::escalation::{Backend, Plan};
use callout::id::AlertId;

use super::nodes::{BUSY, clock, node, sent, tony_then_anna};
use super::server::Database;
use super::store::open;
use crate::engine_stage::{Part, Stage, StandIn, TONY, down, leg, user};

/// How many times as fast as real time these stories go.
const SPEED: u32 = 5;
/// How long Tony has before Anna is called.
const WINDOW: Duration = Duration::from_secs(10);
/// Within what time an alert that was held goes on once the outage is over.
const RELEASED_WITHIN: Duration = Duration::from_mins(1);

/// Tony alone, for longer than any story.
fn tony_alone() -> Arc<Plan> {
    Arc::new(Plan::new(Backend::Messages, &[user("Tony", &[leg(Channel::Sms, TONY, 86_400)])], 0).unwrap())
}

async fn pass(clock: &SteadyClock, time: Duration) {
    clock.sleep_until(clock.now().plus(time)).await;
}

/// One alert whose message was accepted; then Vonage is down, which the alerts of another node meet.
async fn begin_outage(
    first: &Stage,
    second: &Stage,
    vonage: &StandIn,
    clock: &SteadyClock,
    window: Duration,
) -> AlertId {
    let held = first.raise(&tony_then_anna(window.as_secs().try_into().unwrap())).await;
    sent(vonage, clock, held, 1, Duration::from_mins(1)).await;
    while first.attempts(held).await != ["sent"] {
        pass(clock, Duration::from_millis(100)).await;
    }
    vonage.always(down());
    for _ in 0..2 {
        let failing = second.raise(&tony_alone()).await;
        sent(vonage, clock, failing, 1, Duration::from_mins(1)).await;
    }
    held
}

/// Vonage works again from now on: Anna is called a whole window later, and not before.
async fn goes_on_with_a_full_window(held: AlertId, vonage: &StandIn, clock: &SteadyClock) {
    assert_eq!(vonage.sent_for(held).len(), 1, "nobody else is called during the outage: {:?}", vonage.log());
    let over = clock.now().since(crate::engine_stage::BEGAN);
    vonage.always(Part::Accept);
    let within = RELEASED_WITHIN + WINDOW + BUSY * SPEED;
    let second = sent(vonage, clock, held, 2, within).await;
    assert!(second >= over + WINDOW, "over at {over:?}, Anna at {second:?}: no full window");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_holds_goes_on_when_another_sees_the_end() {
    let Some(database) = Database::new().await else { return };
    let clock = clock(SPEED);
    let vonage = StandIn::new(&clock);
    let first = node(open(&database).await, &clock, &vonage).await;
    let second = node(open(&database).await, &clock, &vonage).await;
    let held = begin_outage(&first, &second, &vonage, &clock, WINDOW).await;
    pass(&clock, WINDOW * 4).await;
    goes_on_with_a_full_window(held, &vonage, &clock).await;
    // What came of Anna's message may not be written down yet.
    assert_eq!(first.attempts(held).await[0], "expired");
    first.engine.stop().await;
    second.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_held_goes_on_by_another() {
    let Some(database) = Database::new().await else { return };
    let clock = clock(SPEED);
    let vonage = StandIn::new(&clock);
    let first = node(open(&database).await, &clock, &vonage).await;
    let second = node(open(&database).await, &clock, &vonage).await;
    let held = begin_outage(&first, &second, &vonage, &clock, WINDOW).await;
    pass(&clock, WINDOW * 2).await;
    first.engine.abandon();
    pass(&clock, WINDOW * 2).await;
    goes_on_with_a_full_window(held, &vonage, &clock).await;
    second.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_during_an_outage_holds_what_is_held() {
    let Some(database) = Database::new().await else { return };
    let clock = clock(SPEED);
    let vonage = StandIn::new(&clock);
    let first = node(open(&database).await, &clock, &vonage).await;
    let second = node(open(&database).await, &clock, &vonage).await;
    let held = begin_outage(&first, &second, &vonage, &clock, WINDOW).await;
    pass(&clock, WINDOW * 2).await;
    first.engine.abandon();
    second.engine.abandon();
    let third = node(open(&database).await, &clock, &vonage).await;
    pass(&clock, WINDOW * 2).await;
    goes_on_with_a_full_window(held, &vonage, &clock).await;
    third.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passed_just_before_the_end_counts_as_held() {
    let Some(database) = Database::new().await else { return };
    let (clock, window) = (clock(1), Duration::from_secs(6));
    let vonage = StandIn::new(&clock);
    let first = node(open(&database).await, &clock, &vonage).await;
    let second = node(open(&database).await, &clock, &vonage).await;
    let held = begin_outage(&first, &second, &vonage, &clock, window).await;
    let deadline = first.alert(held).await.attempts[0].expires_at.unwrap();
    // It knows that nothing gets through, and its heir has not yet taken up what it leaves.
    pass(&clock, Duration::from_secs(2)).await;
    first.engine.abandon();
    clock.sleep_until(deadline.plus(Duration::from_millis(50))).await;
    vonage.always(Part::Accept);
    let over = second.raise(&tony_alone()).await;
    sent(&vonage, &clock, over, 1, Duration::from_secs(10)).await;
    let anna = sent(&vonage, &clock, held, 2, window * 4).await;
    let deadline = deadline.since(crate::engine_stage::BEGAN);
    assert!(anna >= deadline + window, "due at {deadline:?}, Anna at {anna:?}: no full window");
    second.engine.stop().await;
}
