//! What has served its time goes: in small pieces, never ahead of anything else, and nothing that still runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callout::config::Environment;
use callout::contact::{Address, Channel};
use callout::engine::Settings;
use callout::escalation::{Backend, Condition, Leg, Plan, Raised, Recipient, ReportStatus};
use callout::store::{Insert, MemoryStore, Page, SqliteStore, Store, Update};
use tokio::task::JoinSet;

use super::alerts::{after_acknowledging, after_resolving, after_sending, at, begin, raised};
use super::engine_stage::{Stage, a_minute_each, minutes};

const DAY: Duration = Duration::from_hours(24);

async fn stage(retention: Option<Duration>) -> Stage {
    Stage::with(Arc::new(MemoryStore::new()), Settings { retention, ..Settings::default() }).await
}

async fn n_kept(stage: &Stage) -> usize {
    stage.engine.list(&Page { limit: 100, ..Page::default() }).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn an_answered_alert_is_kept_for_its_time_and_then_forgotten() {
    let stage = stage(Some(3 * DAY)).await;
    let answered = stage.raise(&a_minute_each(&["Tony"])).await;
    stage.settle().await;
    stage.report(answered, 1, ReportStatus::Read).await;
    let exhausted = stage.raise(&a_minute_each(&["Tony"])).await;
    stage.pass(minutes(5)).await;
    assert_eq!(stage.status(exhausted).await, "exhausted");
    stage.pass(2 * DAY + minutes(23 * 60 + 50)).await;
    assert_eq!(n_kept(&stage).await, 2, "a late answer still counts until the very end");
    stage.pass(minutes(10)).await;
    assert_eq!(n_kept(&stage).await, 0);
    let metrics = stage.engine.metrics().render().unwrap();
    assert!(metrics.contains("callout_alerts_forgotten_total 2"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_runs_for_longer_than_others_are_kept_goes_on() {
    let stage = stage(Some(DAY)).await;
    let names: Vec<String> = (0..9).map(|n| format!("user {n}")).collect();
    let legs = |_: &String| vec![leg("447700900001", 86_400)];
    let users: Vec<Recipient> =
        names.iter().map(|name| Recipient { name: name.as_str().into(), channels: legs(name) }).collect();
    let long = stage.raise(&Arc::new(Plan::new(Backend::Messages, &users, 0).unwrap())).await;
    let short = stage.raise(&a_minute_each(&["Tony"])).await;
    stage.pass(5 * DAY + minutes(5)).await;
    assert!(stage.engine.alert(short).await.is_err(), "it was forgotten long ago");
    assert_eq!(stage.status(long).await, "escalating");
    assert_eq!(stage.vonage.sent_for(long).len(), 6, "nobody was left out");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_forgotten_where_everything_is_to_be_kept() {
    let stage = stage(None).await;
    stage.raise(&a_minute_each(&["Tony"])).await;
    stage.pass(60 * DAY).await;
    assert_eq!(n_kept(&stage).await, 1);
}

/// How many alerts pass through in a day of the story: 6,000 in all, 21,000 where nothing is left out, or as many as
/// `CALLOUT_TEST_SOAK` says.
fn alerts_a_day() -> u64 {
    let environment = Environment::of_process();
    match environment.get("CALLOUT_TEST_SOAK") {
        Some(in_all) => in_all.parse::<u64>().unwrap() / DAYS,
        None if environment.get("CALLOUT_TEST_ALL").is_some() => 1_050,
        None => 300,
    }
}

fn leg(number: &str, expiry_seconds: u32) -> Leg {
    let address = Address::parse(Channel::Sms, number).unwrap();
    Leg { channel: Channel::Sms, address, expiry_seconds, condition: Condition::Read }
}

/// How many days the story of the file has.
const DAYS: u64 = 20;
/// How many days an alert is kept.
const KEPT_DAYS: u64 = 2;

/// An alert of some day, every tenth for people of its own.
fn alert_of(day: u64, n: u64) -> Raised {
    let number = day * alerts_a_day() + n + 1;
    let mut raised = raised(number);
    raised.at = at(day * 86_400 + n);
    if n.is_multiple_of(10) {
        let user = Recipient { name: format!("user {number}").into(), channels: vec![leg("447700900001", 300)] };
        raised.plan = Arc::new(Plan::new(Backend::Messages, &[user], 0).unwrap());
    }
    raised
}

/// Raised, sent, and answered or not.
async fn pass_through(store: Arc<SqliteStore>, raised: Raised, runs_on: bool) {
    let number = raised.number.0;
    let Insert::Inserted(stored) = store.insert(begin(raised), None).await.unwrap() else { panic!("not kept") };
    let sent = after_sending(&stored.alert, &format!("m-{number}"));
    let Update::Updated(stored) = store.update(&stored, sent, None).await.unwrap() else { panic!("not sent") };
    if runs_on {
        return;
    }
    let settled =
        if number.is_multiple_of(2) { after_acknowledging(&stored.alert) } else { after_resolving(&stored.alert) };
    let Update::Updated(_) = store.update(&stored, settled, None).await.unwrap() else { panic!("not settled") };
}

fn n_rows(path: &Path, table: &str) -> u64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    let n_rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
    n_rows.unsigned_abs()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_alerts_pass_through_and_the_file_does_not_grow() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callout.db");
    let (a_day, mut sizes) = (alerts_a_day(), Vec::new());
    for day in 0..DAYS {
        // Opened each day, so that the file holds everything at the end of it.
        let store = Arc::new(SqliteStore::open(&path).unwrap());
        let mut passing = JoinSet::new();
        for n in 0..a_day {
            // One of each day is never answered.
            passing.spawn(pass_through(Arc::clone(&store), alert_of(day, n), n == 7));
        }
        passing.join_all().await;
        let kept_since = at((day + 1).saturating_sub(KEPT_DAYS) * 86_400);
        while store.forget(kept_since, 200).await.unwrap() > 0 {}
        store.forget_plans().await.unwrap();
        store.close().await;
        drop(store);
        sizes.push(path.metadata().unwrap().len());
    }
    let (early, late) = (sizes[4], sizes[19]);
    assert!(late <= early + early / 20, "the file grew from {early} to {late} bytes: {sizes:?}");
    let n_kept = KEPT_DAYS * a_day + (DAYS - KEPT_DAYS);
    assert_eq!(n_rows(&path, "alerts"), n_kept, "two days, and the ones that run");
    assert_eq!(n_rows(&path, "states"), n_kept);
    assert_eq!(n_rows(&path, "messages"), n_kept);
    let n_plans = n_rows(&path, "plans");
    assert!(n_plans <= KEPT_DAYS * a_day / 10 + 2, "{n_plans} plans are left");
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.armed(None, 100).await.unwrap().len(), 20, "every running alert is there");
}
