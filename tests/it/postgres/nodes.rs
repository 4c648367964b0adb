//! Several engines on one database: what one of them leaves behind, the others take up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use callout::alarm::Alarms;
use callout::chance::SystemChance;
use callout::clock::{Clock, SteadyClock};
use callout::contact::Channel;
use callout::engine::{Engine, Parts, Raising, Settings};
use callout::escalation::{Backend, Plan};
use callout::id::AlertId;
use callout::metrics::Metrics;
use callout::store::{PostgresStore, Store};
use callout::timestamp::Timestamp;
use callout::traces::Traces;

use super::proxy::Proxy;
use super::server::Database;
use super::store::{open, try_open};
use crate::engine_stage::{ANNA, BEGAN, Part, Stage, StandIn, TONY, leg, new_alert, user};

/// What a busy machine may add to every promise here; the promises are about a machine that is not.
pub(super) const BUSY: Duration = Duration::from_secs(2);

/// A clock that runs so many times as fast as real time, for all nodes of a story.
pub(super) fn clock(speed: u32) -> Arc<SteadyClock> {
    Arc::new(SteadyClock::faster(BEGAN, speed))
}

pub(super) async fn node(store: Arc<dyn Store>, clock: &Arc<SteadyClock>, vonage: &Arc<StandIn>) -> Stage {
    Stage::start(store, Arc::clone(vonage), Arc::clone(clock), Settings::default()).await
}

/// Tony, then Anna, so many seconds each.
pub(super) fn tony_then_anna(seconds: u32) -> Arc<Plan> {
    let tony = user("Tony", &[leg(Channel::Sms, TONY, seconds)]);
    let anna = user("Anna", &[leg(Channel::Sms, ANNA, seconds)]);
    Arc::new(Plan::new(Backend::Messages, &[tony, anna], 0).unwrap())
}

/// Waits until so many messages of the alert were asked for; how long after the beginning the last of them was.
pub(super) async fn sent(
    vonage: &StandIn,
    clock: &SteadyClock,
    id: AlertId,
    n_messages: usize,
    within: Duration,
) -> Duration {
    let limit = clock.now().plus(within);
    loop {
        let sent = vonage.sent_for(id);
        if sent.len() >= n_messages {
            return sent[n_messages - 1].at;
        }
        assert!(clock.now() < limit, "only {} of {n_messages} messages were sent: {:?}", sent.len(), vonage.log());
        clock.sleep_until(clock.now().plus(Duration::from_millis(20))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_third_of_three_nodes_fires_what_two_dead_ones_left() {
    let Some(database) = Database::new().await else { return };
    let clock = clock(1);
    let vonage = StandIn::new(&clock);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(node(open(&database).await, &clock, &vonage).await);
    }
    let mut raised = Vec::new();
    for stage in &nodes {
        for _ in 0..5 {
            raised.push(stage.raise(&tony_then_anna(4)).await);
        }
    }
    for id in &raised {
        sent(&vonage, &clock, *id, 1, Duration::from_secs(10)).await;
    }
    nodes[0].engine.abandon();
    nodes[1].engine.abandon();
    for id in &raised {
        let second = sent(&vonage, &clock, *id, 2, Duration::from_secs(20)).await;
        let first = sent(&vonage, &clock, *id, 1, Duration::ZERO).await;
        let late_by = second.saturating_sub(first + Duration::from_secs(4));
        assert!(late_by <= Duration::from_secs(2) + BUSY, "late by {late_by:?}");
        assert!(second >= first + Duration::from_secs(4), "nobody is called early");
    }
    for id in &raised {
        assert_eq!(vonage.sent_for(*id).len(), 2, "nobody is messaged twice: {:?}", nodes[2].timeline(*id).await);
    }
    nodes[2].engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_fire_in_time_though_nothing_can_be_cleaned_up_behind_an_old_snapshot() {
    let Some(database) = Database::new().await else { return };
    let clock = clock(1);
    let vonage = StandIn::new(&clock);
    let stage = node(open(&database).await, &clock, &vonage).await;
    let window = Duration::from_secs(15);
    let mut raised = Vec::new();
    for _ in 0..40 {
        raised.push(stage.raise(&tony_then_anna(15)).await);
    }
    for id in &raised {
        sent(&vonage, &clock, *id, 1, Duration::from_secs(10)).await;
    }
    while stage.attempts(raised[raised.len() - 1]).await != ["sent"] {
        clock.sleep_until(clock.now().plus(Duration::from_millis(20))).await;
    }
    let looker = database.connect().await;
    looker.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM callout.states").await.unwrap();
    // Each alert has had five hundred other moments before its own.
    let client = database.connect().await;
    let churned = "DO $$ BEGIN
        FOR round IN 1..500 LOOP UPDATE callout.states SET wake_at = wake_at - 1000; END LOOP;
        UPDATE callout.states SET wake_at = wake_at + 500000; END $$";
    client.batch_execute(churned).await.unwrap();
    for id in &raised {
        let second = sent(&vonage, &clock, *id, 2, Duration::from_secs(30)).await;
        let first = sent(&vonage, &clock, *id, 1, Duration::ZERO).await;
        assert!(second >= first + window, "nobody is called early");
        assert!(second <= first + window + BUSY, "first at {first:?}, second at {second:?}");
    }
    looker.batch_execute("COMMIT").await.unwrap();
    stage.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_a_dead_node_left_half_done_is_made_again_within_thirty_seconds() {
    let Some(database) = Database::new().await else { return };
    let speed = 5;
    let clock = clock(speed);
    let hanging = StandIn::new(&clock);
    hanging.always(Part::Hang);
    let dying = node(open(&database).await, &clock, &hanging).await;
    let id = dying.raise(&tony_then_anna(600)).await;
    let begun = sent(&hanging, &clock, id, 1, Duration::from_secs(20)).await;
    let vonage = StandIn::new(&clock);
    let heir = node(open(&database).await, &clock, &vonage).await;
    dying.engine.abandon();
    let again = sent(&vonage, &clock, id, 1, Duration::from_secs(90)).await;
    assert!(again <= begun + Duration::from_secs(30) + BUSY * speed, "begun at {begun:?}, again at {again:?}");
    assert!(again >= begun + Duration::from_secs(23), "nobody could still be at it: {begun:?}, again at {again:?}");
    let alert = heir.alert(id).await;
    assert_eq!((alert.attempts.len(), alert.attempts[0].tries), (1, 2), "it is the same attempt");
    heir.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_begins_nothing_and_the_others_go_on() {
    let Some(database) = Database::new().await else { return };
    let clock = clock(1);
    let (proxy, through) = Proxy::before(&database.address()).await;
    let (cut_off, others) = (StandIn::new(&clock), StandIn::new(&clock));
    let first = node(try_open(&through).await.unwrap(), &clock, &cut_off).await;
    let second = node(open(&database).await, &clock, &others).await;
    let id = first.raise(&tony_then_anna(3)).await;
    sent(&cut_off, &clock, id, 1, Duration::from_secs(10)).await;
    // What came of the send is written down before the cable is pulled.
    while first.attempts(id).await != ["sent"] {
        clock.sleep_until(clock.now().plus(Duration::from_millis(20))).await;
    }
    proxy.cut(true);
    sent(&others, &clock, id, 1, Duration::from_secs(20)).await;
    assert_eq!(cut_off.sent_for(id).len(), 1, "who cannot ask begins nothing");
    proxy.cut(false);
    assert_eq!(others.sent_for(id)[0].reference.attempt, 2, "Anna is called by the other node");
    first.engine.abandon();
    second.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_at_one_node_hears_what_another_did() {
    let Some(database) = Database::new().await else { return };
    let clock = clock(1);
    let vonage = StandIn::new(&clock);
    let first = node(open(&database).await, &clock, &vonage).await;
    let second = node(open(&database).await, &clock, &vonage).await;
    let mut changes = first.engine.changes();
    // It notices at its next round that somebody listens.
    clock.sleep_until(clock.now().plus(Duration::from_millis(2_500))).await;
    let id = second.raise(&tony_then_anna(600)).await;
    let heard = async { while changes.recv().await.unwrap() != id {} };
    tokio::time::timeout(Duration::from_secs(20), heard).await.expect("the change is heard of");
    first.engine.stop().await;
    second.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_at_one_node_stops_what_another_armed() {
    let Some(database) = Database::new().await else { return };
    let clock = clock(1);
    let vonage = StandIn::new(&clock);
    let first = node(open(&database).await, &clock, &vonage).await;
    let second = node(open(&database).await, &clock, &vonage).await;
    let id = first.raise(&tony_then_anna(2)).await;
    sent(&vonage, &clock, id, 1, Duration::from_secs(10)).await;
    second.engine.acknowledge(id, "Tony", callout::escalation::Via::Api, None).await.unwrap();
    clock.sleep_until(clock.now().plus(Duration::from_secs(5))).await;
    assert_eq!(vonage.sent_for(id).len(), 1, "nobody is called after an answer");
    assert_eq!(first.status(id).await, "acknowledged");
    first.engine.stop().await;
    second.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_begins_no_send_after_ten_seconds_and_accepts_nothing() {
    let Some(database) = Database::new().await else { return };
    let clock = clock(1);
    let (proxy, through) = Proxy::before(&database.address()).await;
    let (cut_off, others) = (StandIn::new(&clock), StandIn::new(&clock));
    let settings = Settings { max_per_second: 5, ..Settings::default() };
    let store = try_open(&through).await.unwrap();
    let first = Stage::start(store, Arc::clone(&cut_off), Arc::clone(&clock), settings).await;
    let second = node(open(&database).await, &clock, &others).await;
    // Some are sent, some have the right to be sent, some wait for their turn, and deadlines come due all the time.
    let mut raised = Vec::new();
    for _ in 0..30 {
        raised.push(first.raise(&tony_then_anna(3)).await);
    }
    sent(&cut_off, &clock, raised[0], 1, Duration::from_secs(10)).await;
    proxy.cut(true);
    let cut_at = clock.now().since(BEGAN);
    let refused = first.engine.raise(new_alert(&tony_then_anna(3)), None).await;
    assert!(refused.is_err(), "what cannot be kept is not accepted");
    for id in &raised {
        let is_sent = || cut_off.sent_for(*id).len() + others.sent_for(*id).len() > 0;
        while !is_sent() {
            let waited = clock.now().since(BEGAN).saturating_sub(cut_at);
            assert!(waited < Duration::from_mins(1), "somebody is called, by whichever node");
            clock.sleep_until(clock.now().plus(Duration::from_millis(100))).await;
        }
    }
    clock.sleep_until(BEGAN.plus(cut_at + Duration::from_secs(20))).await;
    let last = cut_off.sent().iter().map(|sent| sent.at).max().unwrap();
    assert!(last <= cut_at + Duration::from_secs(10), "cut off at {cut_at:?}, and sends at {last:?}");
    proxy.cut(false);
    first.engine.abandon();
    second.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_older_than_the_schema_messages_nobody_and_its_successor_goes_on() {
    let Some(database) = Database::new().await else { return };
    let clock = clock(1);
    let (by_older, by_newer) = (StandIn::new(&clock), StandIn::new(&clock));
    let older = node(open(&database).await, &clock, &by_older).await;
    let id = older.raise(&tony_then_anna(3)).await;
    sent(&by_older, &clock, id, 1, Duration::from_secs(10)).await;
    // A newer callout brings its schema, which older ones may not write to, and works on the database beside this one.
    let forbidden = database.forbid_to_write().await;
    let refused = older.engine.raise(new_alert(&tony_then_anna(3)), None).await;
    assert!(refused.is_err(), "what it may not write it does not accept");
    clock.sleep_until(clock.now().plus(Duration::from_secs(8))).await;
    assert_eq!(by_older.sent().len(), 1, "Tony's time is over, and nobody else is messaged: {:?}", by_older.log());
    assert!(older.engine.readiness().await.is_err(), "it asks to be replaced");
    older.engine.abandon();
    // From here on the successor knows the schema.
    forbidden.allow_again().await;
    let newer = node(open(&database).await, &clock, &by_newer).await;
    sent(&by_newer, &clock, id, 1, Duration::from_secs(10)).await;
    let alert = newer.alert(id).await;
    let tries: Vec<u32> = alert.attempts.iter().map(|attempt| attempt.tries).collect();
    assert_eq!(tries, [1, 1], "everybody once: {:?}", newer.timeline(id).await);
    newer.engine.stop().await;
}

/// How long so many messages took, from the first to the last, and the most of them within one second.
async fn pace(stages: &[&Stage], vonage: &StandIn, clock: &SteadyClock, n_alerts: usize) -> (Duration, usize) {
    let n_before = vonage.sent().len();
    let plan = tony_then_anna(600);
    let raising = (0..n_alerts).map(|index| stages[index % stages.len()].raise(&plan));
    futures_util::future::join_all(raising.collect::<Vec<_>>()).await;
    while vonage.sent().len() < n_before + n_alerts {
        clock.sleep_until(clock.now().plus(Duration::from_millis(20))).await;
    }
    let times: Vec<Duration> = vonage.sent()[n_before..].iter().map(|sent| sent.at).collect();
    let within_a_second =
        |from: &Duration| times.iter().filter(|at| **at >= *from && **at < *from + Duration::from_secs(1)).count();
    (times[n_alerts - 1].saturating_sub(times[0]), times.iter().map(within_a_second).max().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_the_rate_and_take_over_the_share_of_a_dead_one() {
    let Some(database) = Database::new().await else { return };
    let clock = clock(1);
    let vonage = StandIn::new(&clock);
    let settings = Settings { max_per_second: 10, ..Settings::default() };
    let start =
        async || Stage::start(open(&database).await, Arc::clone(&vonage), Arc::clone(&clock), settings.clone()).await;
    let (first, second) = (start().await, start().await);
    // Each has heard of the other after its next round.
    clock.sleep_until(clock.now().plus(Duration::from_millis(2_500))).await;
    let (took, most) = pace(&[&first, &second], &vonage, &clock, 40).await;
    assert!(took >= Duration::from_millis(3_500), "40 messages at 10 a second took {took:?}");
    assert!(most <= 13, "{most} messages within a second, of 10 that are allowed");
    second.engine.abandon();
    clock.sleep_until(clock.now().plus(Duration::from_secs(13))).await;
    let (took, _) = pace(&[&first], &vonage, &clock, 40).await;
    assert!(took < Duration::from_secs(7), "alone it took {took:?}: half of the rate is not used");
    first.engine.stop().await;
}

/// An engine that goes by the database's clock, as the service does.
async fn by_the_databases_clock(database: &Database, vonage: &Arc<StandIn>) -> Engine {
    over(open(database).await, vonage).await
}

/// The same over a store that is open.
async fn over(store: Arc<PostgresStore>, vonage: &Arc<StandIn>) -> Engine {
    let clock = store.clock();
    let parts = Parts {
        store,
        sender: Arc::<StandIn>::clone(vonage),
        clock,
        chance: Arc::new(SystemChance::new()),
        metrics: Arc::new(Metrics::new()),
        alarms: Arc::new(Alarms::new(Arc::new(Metrics::new()))),
        traces: Traces::off(),
        link_secret: [7; 32],
        settings: Settings::default(),
    };
    Engine::start(parts).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_of_the_databases_clock_fires_nothing_early_and_holds_nothing_back() {
    let Some(database) = Database::new().await else { return };
    let client = database.connect().await;
    // Whoever asks this database for the time asks a clock that the story can set.
    let settable = "CREATE SCHEMA faked;
        CREATE TABLE faked.clock (ahead interval NOT NULL);
        INSERT INTO faked.clock VALUES ('0');
        CREATE FUNCTION faked.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
            AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM faked.clock';
        DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = faked, pg_catalog', current_database()); END $$";
    client.batch_execute(settable).await.unwrap();
    let (clock, window) = (clock(1), Duration::from_secs(6));
    let vonage = StandIn::new(&clock);
    let nodes = [by_the_databases_clock(&database, &vonage).await, by_the_databases_clock(&database, &vonage).await];
    // How exactly a jump is measured; the looks at the clock may take half a second.
    let exactly = Duration::from_millis(250);
    for (node, ahead) in [(0, "1 hour"), (1, "-1 hour"), (0, "-3599.1 seconds")] {
        let Raising::Created(alert) = nodes[node].raise(new_alert(&tony_then_anna(6)), None).await.unwrap() else {
            panic!("no key, no repetition")
        };
        let id = alert.id();
        let tony = sent(&vonage, &clock, id, 1, Duration::from_secs(10)).await;
        clock.sleep_until(clock.now().plus(Duration::from_secs(2))).await;
        client.batch_execute(&format!("UPDATE faked.clock SET ahead = '{ahead}'")).await.unwrap();
        let anna = sent(&vonage, &clock, id, 2, window * 4).await;
        let waited = anna.saturating_sub(tony);
        assert!(waited + exactly >= window, "{ahead}: Anna is called after {waited:?}, early");
        assert!(waited <= window + Duration::from_secs(2) + BUSY, "{ahead}: Anna is called after {waited:?}, late");
    }
    for node in nodes {
        node.stop().await;
    }
}

/// The clock of a machine that somebody may pause: while it stands still nothing goes on in it.
struct Paused {
    going: SteadyClock,
    stood_millis: AtomicU64,
}

#[async_trait]
impl Clock for Paused {
    fn now(&self) -> Timestamp {
        self.going.now().minus(Duration::from_millis(self.stood_millis.load(Ordering::Relaxed)))
    }

    async fn sleep_until(&self, moment: Timestamp) {
        self.going.sleep_until(self.going.now().plus(moment.since(self.now()))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_machine_was_paused_follows_and_holds_nobody_up() {
    let Some(database) = Database::new().await else { return };
    let client = database.connect().await;
    let (clock, window) = (clock(1), Duration::from_secs(6));
    let vonage = StandIn::new(&clock);
    let paused = Arc::new(Paused { going: SteadyClock::system(), stood_millis: AtomicU64::new(0) });
    let own: Arc<dyn Clock> = Arc::<Paused>::clone(&paused);
    let store = PostgresStore::open(&database.address(), own, Arc::new(SystemChance::new())).await.unwrap();
    let (other, its_store) = (by_the_databases_clock(&database, &vonage).await, Arc::new(store));
    let node = over(Arc::clone(&its_store), &vonage).await;
    // Until the other one counts as a witness.
    clock.sleep_until(clock.now().plus(Duration::from_secs(8))).await;
    let Raising::Created(alert) = other.raise(new_alert(&tony_then_anna(6)), None).await.unwrap() else {
        panic!("no key, no repetition")
    };
    let tony = sent(&vonage, &clock, alert.id(), 1, Duration::from_secs(10)).await;
    paused.stood_millis.store(3_600_000, Ordering::Relaxed);
    let anna = sent(&vonage, &clock, alert.id(), 2, window * 4).await;
    let waited = anna.saturating_sub(tony);
    assert!(waited + Duration::from_millis(250) >= window, "Anna is called after {waited:?}, early");
    assert!(waited <= window + Duration::from_secs(2) + BUSY, "Anna is called after {waited:?}, late");
    let shift: i64 = client.query_one("SELECT shift_millis FROM callout.time", &[]).await.unwrap().get(0);
    assert_eq!(shift, 0, "the database's clock is left alone");
    let apart = node.now().as_millis().abs_diff(other.now().as_millis());
    assert!(apart < 1_000, "the node that stood still is {apart} ms from the other one");
    for node in [node, other] {
        node.stop().await;
    }
}
