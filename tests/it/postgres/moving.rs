//! Moving from SQLite to PostgreSQL: everything arrives, or nothing is touched.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use callout::callback::{EndpointId, NewDelivery, Topic};
use callout::clock::{Clock, SteadyClock, Timeline};
use callout::escalation::{Event, Raised, next_wake};
use callout::id::AlertNumber;
use callout::store::{Delivery, DeliveryPage, Insert, Outcome, Settled, SqliteStore, Store, clock_of};
use callout::timestamp::Timestamp;

use super::server::Database;
use super::store::open;
use crate::alerts::{after, after_resolving, after_sending, alert, alert_with_key, at, begin, provider_id, raised};
use crate::stores::{claim, keep, replace, webhook};

fn hook() -> EndpointId {
    EndpointId::of("https://ops.example.org/hook")
}

/// The callbacks that a store keeps, but for their places.
async fn callbacks(store: &dyn Store) -> Vec<Delivery> {
    let page = DeliveryPage { is_dead: false, before: None, limit: 100 };
    let mut kept = store.outbox().unwrap().deliveries(page).await.unwrap();
    for (place, delivery) in (0..).zip(&mut kept) {
        delivery.place = place;
    }
    kept
}

/// Three callbacks: one that waits, one that is to be tried again and one that was given up.
async fn keep_callbacks(store: &dyn Store) {
    let outbox = store.outbox().unwrap();
    let told = |n: u64| NewDelivery {
        endpoint: hook(),
        alert: Some(alert(n).id()),
        topic: Topic::Raised,
        event: format!("evt_{n}").into(),
        at: at(n),
        body: format!("{{\"n\":{n}}}").into(),
    };
    outbox.keep((1..=3).map(told).collect()).await.unwrap();
    let due = outbox.take(hook(), at(9), at(39), &std::collections::BTreeSet::new(), 10).await.unwrap();
    let later = Settled::Later { due_at: at(600), failure: "HTTP 500".into() };
    outbox.settle(&due[1], later).await.unwrap();
    outbox.settle(&due[2], Settled::Dead { failure: "HTTP 410".into() }).await.unwrap();
}

/// A file with an alert of each kind; the alerts as they stand in it.
async fn fill(path: &Path) -> Vec<callout::store::Stored> {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path).unwrap());
    let ringing = keep(&store, alert_with_key(1, "server-1/down")).await;
    let ringing = replace(&store, &ringing, after_sending(&ringing.alert, "m-1")).await;
    let ringing = replace(&store, &ringing, after(&ringing.alert, &Event::Repeated, at(9))).await;
    let resolved = keep(&store, alert(2)).await;
    let resolved = replace(&store, &resolved, after_resolving(&resolved.alert)).await;
    let Insert::Inserted(claimed) = store.insert(alert(700), Some(claim(7, Outcome::Created))).await.unwrap() else {
        panic!("not kept")
    };
    store.park(&provider_id("m-9"), &webhook(1), at(3)).await.unwrap();
    store.park(&provider_id("m-9"), &webhook(2), at(4)).await.unwrap();
    assert_eq!(store.secret("acknowledge-links", [42; 32]).await.unwrap(), [42; 32]);
    keep_callbacks(&*store).await;
    store.close().await;
    vec![ringing, resolved, claimed]
}

fn migrate(from: &Path, to: &Database) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_callout"))
        .args(["migrate", "--from", &format!("sqlite:{}", from.display()), "--to", &to.address()])
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_as_it_was() {
    let Some(database) = Database::new().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callout.db");
    let kept = fill(&path).await;
    let waiting = {
        let before = SqliteStore::open(&path).unwrap();
        let waiting = callbacks(&before).await;
        before.close().await;
        waiting
    };
    assert_eq!(waiting.len(), 3);
    let (code, text) = migrate(&path, &database);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("3 deliveries"), "{text}");
    assert!(text.contains("3 alerts") && text.contains("callout.db.moved"), "{text}");
    let store = open(&database).await;
    for stored in &kept {
        let found = store.get(stored.alert.id()).await.unwrap().unwrap();
        assert_eq!((found.version, &found.alert), (stored.version, &stored.alert));
    }
    let armed: Vec<_> = store.armed(None, 10).await.unwrap().iter().map(|armed| armed.id).collect();
    assert_eq!(armed, [kept[0].alert.id(), kept[2].alert.id()], "what is running goes on running");
    assert_eq!(store.find_message(&provider_id("m-1")).await.unwrap().unwrap().alert, kept[0].alert.id());
    let again = store.insert(alert_with_key(800, "server-1/down"), None).await.unwrap();
    assert!(matches!(again, Insert::Open(open) if open == kept[0].alert.id()), "{again:?}");
    assert!(store.claimed(&claim(7, Outcome::Created).key).await.unwrap().is_some());
    assert_eq!(store.parked(&provider_id("m-9")).await.unwrap(), [webhook(1), webhook(2)]);
    assert_eq!(store.secret("acknowledge-links", [1; 32]).await.unwrap(), [42; 32], "links that were sent still open");
    assert_eq!(callbacks(&*store).await, waiting, "callbacks wait on, and those that were given up can be replayed");
    assert!(store.next_number().await.unwrap() > AlertNumber(700));
    store.close().await;
    assert!(!path.exists() && directory.path().join("callout.db.moved").exists());
}

/// The clock of a process that goes on in a file whose time is so many milliseconds ahead of the wall clock.
struct Stepped(SteadyClock, i64);

#[async_trait]
impl Clock for Stepped {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now().as_millis() + self.1)
    }

    async fn sleep_until(&self, _moment: Timestamp) {
        std::future::pending::<()>().await;
    }

    fn timeline(&self) -> Option<Timeline> {
        let real = self.0.timeline()?;
        Some(Timeline { began_at: Timestamp::from_millis(real.began_at.as_millis() + self.1), ..real })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_keeps_the_time_it_had_left_though_the_wall_clock_was_stepped() {
    let hour = 3_600_000;
    for ahead in [3 * hour, -3 * hour] {
        let Some(database) = Database::new().await else { return };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("callout.db");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path).unwrap());
        let clock = clock_of(&*store, Arc::new(Stepped(SteadyClock::system(), ahead))).await.unwrap();
        let now = clock.now();
        let waiting = keep(&store, begin(Raised { at: now, ..raised(1) })).await;
        let waiting = replace(&store, &waiting, after_sending(&waiting.alert, "m-1")).await;
        let left = next_wake(&waiting.alert).unwrap().since(now);
        let over = keep(&store, alert(2)).await;
        let over = replace(&store, &over, after_resolving(&over.alert)).await;
        keep_callbacks(&*store).await;
        let told = callbacks(&*store).await;
        store.close().await;
        drop(store);

        let (code, text) = migrate(&path, &database);
        assert_eq!(code, 0, "{text}");
        assert!(
            text.contains(if ahead > 0 { " ms ahead of the new one's" } else { " ms behind the new one's" }),
            "{text}"
        );
        let store = open(&database).await;
        let found = store.get(waiting.alert.id()).await.unwrap().unwrap().alert;
        let moved = |moment: Timestamp| Timestamp::from_millis(moment.as_millis() - ahead);
        let is_about = |told: Timestamp, expected: Timestamp| {
            let off = told.as_millis().abs_diff(expected.as_millis());
            assert!(off < 2_000, "{told} is not {expected}, {ahead}");
        };
        let wake = next_wake(&found).unwrap();
        is_about(wake, SteadyClock::system().now().plus(left));
        assert_eq!(store.armed(None, 10).await.unwrap()[0].wake_at, wake, "it is woken at its deadline");
        is_about(found.raised.at, moved(waiting.alert.raised.at));
        is_about(found.attempts[0].expires_at.unwrap(), moved(waiting.alert.attempts[0].expires_at.unwrap()));
        is_about(found.timeline[0].at, moved(waiting.alert.timeline[0].at));
        assert_eq!(
            store.get(over.alert.id()).await.unwrap().unwrap().alert,
            over.alert,
            "what is over stays as it was"
        );
        for (callback, told) in callbacks(&*store).await.iter().zip(told) {
            is_about(callback.due_at, if told.is_dead { told.due_at } else { moved(told.due_at) });
        }
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_moved_out_of_a_file_in_use_or_into_a_database_with_alerts() {
    let Some(database) = Database::new().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("callout.db");
    let (code, text) = migrate(&path, &database);
    assert_eq!(code, 1, "there is no such file: {text}");
    assert!(!path.exists(), "none is made");
    fill(&path).await;
    let in_use = SqliteStore::open(&path).unwrap();
    let (code, text) = migrate(&path, &database);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("has this database open"), "{text}");
    in_use.close().await;
    drop(in_use);
    let store = open(&database).await;
    store.insert(alert(1), None).await.unwrap();
    let (code, text) = migrate(&path, &database);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("holds alerts already"), "{text}");
    assert_eq!(store.newest_number().await.unwrap(), AlertNumber(1), "nothing was moved");
    store.close().await;
    assert!(path.exists());
    let wrong =
        Command::new(env!("CARGO_BIN_EXE_callout")).args(["migrate", "--from", "memory:", "--to", "x"]).output();
    assert_eq!(wrong.unwrap().status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_damaged_is_named_and_nothing_is_moved() {
    let Some(database) = Database::new().await else { return };
    let damages = [
        (
            "UPDATE states SET record = replace(record, '\"repeats\":1', '\"repeats\":9') WHERE number = 1",
            "row 1 of the table states",
        ),
        ("UPDATE states SET record = '{' WHERE number = 1", "row 1 of the table states"),
        (
            "UPDATE states SET record = (SELECT record FROM states WHERE number = 2) WHERE number = 1",
            "row 1 of the table states",
        ),
        (
            "UPDATE alerts SET record = replace(record, 'critical', 'warning') WHERE number = 2",
            "row 2 of the table alerts",
        ),
        ("UPDATE plans SET record = replace(record, 'Tony', 'Toni')", "of the table plans"),
        ("UPDATE claims SET record = replace(record, '{', '{ ')", "of the table claims"),
        (
            "UPDATE parked SET record = replace(record, 'delivered', 'undelivered') WHERE place = 1",
            "row m-9 of the table parked",
        ),
    ];
    for (damage, told) in damages {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("callout.db");
        fill(&path).await;
        let file = rusqlite::Connection::open(&path).unwrap();
        assert!(file.execute(damage, []).unwrap() > 0, "{damage}");
        drop(file);
        let (code, text) = migrate(&path, &database);
        assert_eq!(code, 1, "{damage}: {text}");
        assert!(text.contains(told) && text.contains("damaged") && text.contains("restore"), "{damage}: {text}");
        assert!(path.exists(), "{damage}");
    }
    let store = open(&database).await;
    assert_eq!(store.newest_number().await.unwrap(), AlertNumber(0), "nothing was moved");
    store.close().await;
}
