//! What SQLite promises beyond what every store does: durability, one owner, and care with files.

#![expect(clippy::expect_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callout::contact::Channel;
use callout::escalation::{Alert, Event};
use callout::id::{AlertNumber, AttemptRef};
use callout::incoming::{Foreign, Incoming};
use callout::store::{
    Claim, ClaimKey, DeliveryPage, Error, Insert, OpenError, Outcome, Page, SqliteStore, StatusFilter, Store, Stored,
    Update,
};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::alerts::{
    address, after, after_acknowledging, after_everybody, after_resolving, after_sending, alert, alert_with_key, at,
    provider_id,
};

/// A place for a database, gone when the test is over.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("callout.db")
    }

    #[track_caller]
    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).expect("a store")
    }

    #[track_caller]
    fn refused(&self) -> OpenError {
        match SqliteStore::open(&self.path()) {
            Ok(_) => panic!("it should not be opened"),
            Err(error) => error,
        }
    }

    /// What `kill -9` at this moment would leave, at another place.
    fn as_killed_now(&self) -> Self {
        let killed = Self::new();
        for end in ["", "-wal", "-owner"] {
            let name = format!("callout.db{end}");
            let copied = fs::copy(self.directory.path().join(&name), killed.directory.path().join(&name));
            let _n_bytes = copied.expect("the file is there");
        }
        killed
    }

    /// What stands in the log.
    fn log(&self) -> Vec<u8> {
        fs::read(self.directory.path().join("callout.db-wal")).expect("there is a log")
    }

    /// Changes the database while no store has it open.
    #[track_caller]
    fn tamper(&self, sql: &str) {
        let connection = Connection::open(self.path()).expect("the file can be opened");
        connection.execute_batch(sql).expect("the statement is right");
    }
}

async fn keep(store: &SqliteStore, alert: Arc<Alert>) -> Stored {
    match store.insert(alert, None).await.expect("the store works") {
        Insert::Inserted(stored) => stored,
        refused @ (Insert::Open(_) | Insert::Replayed(_)) => panic!("not kept: {refused:?}"),
    }
}

async fn replace(store: &SqliteStore, seen: &Stored, next: Arc<Alert>) -> Stored {
    match store.update(seen, next, None).await.expect("the store works") {
        Update::Updated(stored) => stored,
        refused @ (Update::Stale | Update::Replayed(_)) => panic!("not replaced: {refused:?}"),
    }
}

async fn read(store: &SqliteStore, alert: &Alert) -> Stored {
    store.get(alert.id()).await.expect("it can be read").expect("the alert is kept")
}

#[tokio::test]
async fn everything_that_was_answered_is_there_after_an_end_without_goodbye() {
    let place = Place::new();
    let store = place.open();
    let key = Claim { key: ClaimKey([1; 32]), fingerprint: [2; 32], outcome: Outcome::Created, at: at(1) };
    store.insert(alert_with_key(1, "disk"), Some(key.clone())).await.unwrap();
    let first = store.get(alert(1).id()).await.unwrap().unwrap();
    let sent = replace(&store, &first, after(&first.alert, &Event::TurnCame, at(1))).await;
    let accepted = Event::Accepted { attempt: 1, id: Some(provider_id("m-1")) };
    let sent = replace(&store, &sent, after(&sent.alert, &accepted, at(2))).await;
    let settled = keep(&store, alert(2)).await;
    let settled = replace(&store, &settled, after_acknowledging(&settled.alert)).await;
    store.park(&provider_id("early"), &Incoming::Foreign(Foreign::UnknownShape), at(1)).await.unwrap();
    store.secret("links", [7; 32]).await.unwrap();

    // What a killed process leaves behind is what stands in its files at that moment.
    let after_the_kill = Place::new();
    for name in ["callout.db", "callout.db-wal"] {
        fs::copy(place.directory.path().join(name), after_the_kill.directory.path().join(name)).expect(name);
    }
    let store = after_the_kill.open();
    for stored in [&sent, &settled] {
        let found = read(&store, &stored.alert).await;
        assert_eq!((found.version, &found.alert), (stored.version, &stored.alert));
    }
    let armed = store.armed(None, 9).await.unwrap();
    assert_eq!(armed.iter().map(|armed| (armed.id, armed.wake_at)).collect::<Vec<_>>(), [(sent.alert.id(), at(302))]);
    assert!(matches!(store.insert(alert_with_key(3, "disk"), None).await, Ok(Insert::Open(_))));
    assert!(matches!(store.insert(alert(3), Some(key)).await, Ok(Insert::Replayed(_))));
    let found = store.find_message(&provider_id("m-1")).await.unwrap();
    assert_eq!(found, Some(AttemptRef { alert: sent.alert.id(), attempt: 1 }));
    let messenger = address(Channel::Messenger, "6542087712345678");
    let found = store.find_address(Channel::Messenger, &messenger, &[StatusFilter::Escalating], 9).await.unwrap();
    assert_eq!(found, [sent.alert.id()]);
    assert_eq!(store.parked(&provider_id("early")).await.unwrap().len(), 1);
    assert_eq!(store.secret("links", [8; 32]).await.unwrap(), [7; 32]);
    assert!(store.next_number().await.unwrap() > AlertNumber(2));
    assert!(store.is_durable());
}

#[tokio::test]
async fn a_store_that_is_dropped_can_be_opened_again_at_once() {
    let place = Place::new();
    for number in 1..=20 {
        let store = place.open();
        keep(&store, alert(number)).await;
        drop(store);
    }
    assert_eq!(place.open().newest_number().await.unwrap(), AlertNumber(20));
}

#[tokio::test]
async fn a_closed_store_leaves_one_whole_file_and_refuses() {
    let place = Place::new();
    let store = place.open();
    let stored = keep(&store, alert(1)).await;
    let stored = replace(&store, &stored, after_resolving(&stored.alert)).await;
    store.close().await;
    store.close().await;
    assert!(matches!(store.probe(at(1)).await, Err(Error::Unavailable(_))));
    assert!(matches!(store.get(stored.alert.id()).await, Err(Error::Unavailable(_))));
    assert!(matches!(store.insert(alert(2), None).await, Err(Error::Unavailable(_))));
    assert!(!place.directory.path().join("callout.db-wal").exists(), "the log is empty and gone");
    let check = Connection::open(place.path()).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0));
    assert_eq!(check, Ok("ok".to_owned()));
    assert_eq!(read(&place.open(), &stored.alert).await.alert, stored.alert);
}

#[tokio::test]
async fn a_second_service_is_refused_and_told_who_has_the_database() {
    let place = Place::new();
    let store = place.open();
    let error = place.refused();
    let pid = std::process::id();
    assert!(matches!(error, OpenError::InUse { pid: Some(found), .. } if found == pid), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("another callout (process {pid}) has this database open: ")), "{text}");
    keep(&store, alert(1)).await;
    store.close().await;
    assert_eq!(place.open().newest_number().await.unwrap(), AlertNumber(1));
}

#[tokio::test]
async fn the_files_are_private() {
    let place = Place::new();
    let store = place.open();
    keep(&store, alert(1)).await;
    for name in ["callout.db", "callout.db-wal", "callout.db-owner"] {
        let metadata = fs::metadata(place.directory.path().join(name)).expect(name);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_damaged_record_concerns_its_alert_alone() {
    let place = Place::new();
    let store = place.open();
    for number in 1..=5 {
        let stored = keep(&store, alert(number)).await;
        if number % 2 == 1 {
            replace(&store, &stored, after_acknowledging(&stored.alert)).await;
        }
    }
    store.close().await;
    place.tamper(
        "UPDATE states SET record = replace(record, '\"round\"', '\"rouMd\"') WHERE number = 2;
         UPDATE alerts SET record = '{\"v\":9}' WHERE number = 3;
         DELETE FROM states WHERE number = 5;",
    );
    let store = place.open();
    for number in [2, 3, 5] {
        let id = alert(number).id();
        let error = store.get(id).await.expect_err("its record is damaged");
        assert_eq!(error.to_string(), format!("the store holds something about alert {id} that cannot be understood"));
        assert!(matches!(error, Error::Corrupt { .. }));
    }
    for number in [1, 4] {
        assert_eq!(read(&store, &alert(number)).await.alert.raised.number, AlertNumber(number));
    }
    // A deadline does not depend on the record, so that the engine learns of the damaged alert.
    let armed = store.armed(None, 9).await.unwrap();
    assert_eq!(armed.iter().map(|armed| armed.id).collect::<Vec<_>>(), [alert(2).id(), alert(4).id()]);
    let newest = store.list(&Page { limit: 2, ..Page::default() }).await.unwrap();
    assert_eq!(newest.iter().map(|alert| alert.raised.number.0).collect::<Vec<_>>(), [4, 1]);
    let page = Page { status: Some(StatusFilter::Acknowledged), limit: 9, ..Page::default() };
    assert_eq!(store.list(&page).await.unwrap().len(), 1);
    keep(&store, alert(6)).await;
}

#[tokio::test]
async fn a_damaged_parked_webhook_hides_no_other() {
    let place = Place::new();
    let store = place.open();
    let early = provider_id("early");
    let seen = Incoming::Foreign(Foreign::UnknownStatus);
    for incoming in [Incoming::Foreign(Foreign::LegacySms), seen.clone(), Incoming::Foreign(Foreign::UnknownShape)] {
        store.park(&early, &incoming, at(1)).await.unwrap();
    }
    store.close().await;
    place.tamper(
        "UPDATE parked SET record = '{' WHERE place IN (SELECT place FROM parked ORDER BY place LIMIT 1);
                  UPDATE parked SET record = 'v9' WHERE place IN (SELECT max(place) FROM parked)",
    );
    let store = place.open();
    assert_eq!(store.parked(&early).await.unwrap(), [seen]);
}

#[tokio::test]
async fn an_open_alert_without_a_moment_is_found_by_whoever_audits() {
    let place = Place::new();
    let store = place.open();
    for number in 1..=4 {
        let stored = keep(&store, alert(number)).await;
        if number == 4 {
            replace(&store, &stored, after_acknowledging(&stored.alert)).await;
        }
    }
    assert_eq!(store.unarmed(9).await.unwrap(), [], "each of them is settled or has a moment");
    store.close().await;
    place.tamper("UPDATE states SET wake_at = NULL WHERE number IN (2, 3)");
    let store = place.open();
    assert_eq!(store.unarmed(9).await.unwrap(), [alert(2).id(), alert(3).id()]);
    assert_eq!(store.unarmed(1).await.unwrap(), [alert(2).id()]);
}

#[tokio::test]
async fn a_database_of_a_newer_callout_is_refused_as_it_is() {
    let place = Place::new();
    place.open().close().await;
    place.tamper("PRAGMA user_version = 7");
    let before = fs::read(place.path()).unwrap();
    let error = place.refused();
    assert!(matches!(error, OpenError::Newer { found: 7, known: 6, .. }), "{error:?}");
    assert!(error.to_string().contains("was written by a newer callout (schema 7; this one knows up to 6)"), "{error}");
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

#[tokio::test]
async fn a_database_of_a_newer_callout_that_was_killed_is_refused_with_its_log_and_opens_again_after_it() {
    let running = Place::new();
    let store = running.open();
    keep(&store, alert(1)).await;
    let killed = running.as_killed_now();
    let has_schema = |version: u32| {
        let connection = Connection::open(killed.path()).unwrap();
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
    };
    has_schema(99);
    let log = killed.log();
    let OpenError::Newer { known, .. } = killed.refused() else { panic!("it knows that schema") };
    assert_eq!(killed.log(), log, "the log is left as it is");
    has_schema(known);
    assert!(killed.open().get(alert(1).id()).await.unwrap().is_some(), "the right callout goes on");
}

#[tokio::test]
async fn a_damaged_database_that_was_killed_is_refused_with_its_log_and_opens_again_once_it_is_mended() {
    let running = Place::new();
    running.open().close().await;
    let root: u32 = {
        let connection = Connection::open(running.path()).unwrap();
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'claims'";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let store = running.open();
    keep(&store, alert(1)).await;
    let killed = running.as_killed_now();
    let whole = fs::read(killed.path()).unwrap();
    let mut damaged = whole.clone();
    // A page of a table that the log says nothing about.
    damaged.chunks_mut(4_096).nth(usize::try_from(root).unwrap() - 1).unwrap().fill(0xff);
    fs::write(killed.path(), &damaged).unwrap();
    let log = killed.log();
    assert!(!log.is_empty(), "the alert stands in the log alone");
    let error = killed.refused();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(fs::read(killed.path()).unwrap(), damaged, "the file is left as it is");
    assert_eq!(killed.log(), log, "and so is the log");
    fs::write(killed.path(), whole).unwrap();
    assert!(killed.open().get(alert(1).id()).await.unwrap().is_some(), "what was in the log is there");
}

#[tokio::test]
async fn an_alert_that_was_exhausted_before_the_upgrade_is_found_by_its_key_after_it() {
    let place = Place::new();
    let store = place.open();
    let exhausted = keep(&store, alert_with_key(1, "disk")).await;
    replace(&store, &exhausted, after_everybody(&exhausted.alert)).await;
    keep(&store, alert_with_key(2, "memory")).await;
    store.close().await;
    drop(store);
    place.tamper(
        "DROP INDEX failing; ALTER TABLE states DROP COLUMN failing; DROP TABLE timeline; DROP TABLE deliveries;
         DROP INDEX spent_keys; ALTER TABLE states DROP COLUMN spent_key;
         DROP INDEX forgettable; ALTER TABLE states DROP COLUMN settled_at; PRAGMA user_version = 1",
    );
    let store = place.open();
    assert_eq!(store.find_key("disk", 9).await.unwrap(), [alert(1).id()]);
    assert_eq!(store.find_key("memory", 9).await.unwrap(), [alert(2).id()]);
    keep(&store, alert_with_key(3, "disk")).await;
    assert_eq!(store.forget(at(1_000), 9).await.unwrap(), 1, "how long it has been exhausted is known as well");
}

/// What a callout of schema 5 had in its file when it was killed: somebody waiting, acknowledged, exhausted and resolved
/// alerts, one that was posted with an idempotency key, and one whose sends failed; a webhook that came too early and a
/// callback whose endpoint did not answer.
const OF_SCHEMA_5: &str = include_str!("../databases/sqlite-schema-5.sql");

#[tokio::test]
async fn a_database_that_an_older_callout_left_is_taken_up_whole() {
    let place = Place::new();
    place.tamper(OF_SCHEMA_5);
    let store = place.open();
    let alerts = store.list(&Page { limit: 9, ..Page::default() }).await.unwrap();
    let shown: Vec<_> = alerts.iter().map(|alert| (alert.status.name(), &*alert.raised.message)).collect();
    let expected = [
        ("escalating", "Fails"),
        ("escalating", "Posted once"),
        ("resolved", "Over"),
        ("exhausted", "Nobody answered"),
        ("acknowledged", "Acknowledged by Tony"),
        ("escalating", "Waiting for Tony"),
    ];
    assert_eq!(shown, expected);
    let [fails, once, _, exhausted, _, waiting] = &*alerts else { panic!("six alerts") };
    let armed: Vec<_> = store.armed(None, 9).await.unwrap().iter().map(|armed| armed.id).collect();
    assert_eq!(armed, [waiting.id(), once.id(), fails.id()]);
    assert_eq!(store.failing(None, 9).await.unwrap(), [fails.id()], "an outage is remembered");
    assert_eq!(store.find_key("disk", 9).await.unwrap(), [waiting.id()]);
    assert_eq!(store.find_key("memory", 9).await.unwrap(), [exhausted.id()]);
    let message = provider_id("1c332bf2-46c0-4681-ad0a-5347b7f68daa");
    assert_eq!(store.find_message(&message).await.unwrap(), Some(AttemptRef { alert: waiting.id(), attempt: 1 }));
    let number = address(Channel::Sms, "447700900002");
    let escalating = [StatusFilter::Escalating];
    let found = store.find_address(Channel::Sms, &number, &escalating, 9).await.unwrap();
    assert_eq!(found, [fails.id(), once.id()]);
    let early = provider_id("11111111-2222-4333-8444-555555555555");
    assert_eq!(store.parked(&early).await.unwrap().len(), 1);
    let callbacks =
        store.outbox().unwrap().deliveries(DeliveryPage { is_dead: false, before: None, limit: 9 }).await.unwrap();
    assert_eq!(callbacks.iter().map(|callback| callback.alert).collect::<Vec<_>>(), [Some(alerts[4].id())]);
    store.close().await;
    drop(store);
    assert_eq!(place.open().list(&Page { limit: 9, ..Page::default() }).await.unwrap(), alerts, "and once more");
}

#[test]
fn what_is_no_database_of_callout_is_refused_as_it_is() {
    let place = Place::new();
    fs::write(place.path(), "Dear diary, ".repeat(1_000)).unwrap();
    assert!(matches!(place.refused(), OpenError::NotOurs { .. }));
    assert!(fs::read_to_string(place.path()).unwrap().starts_with("Dear diary"));
    fs::remove_file(place.path()).unwrap();
    place.tamper("CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('soup')");
    let before = fs::read(place.path()).unwrap();
    assert!(matches!(place.refused(), OpenError::NotOurs { .. }));
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

#[test]
fn a_place_that_does_not_exist_is_named() {
    let error = SqliteStore::open(Path::new("/nowhere/callout.db")).expect_err("there is no such place");
    assert_eq!(error.to_string(), "cannot open /nowhere/callout.db");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_batch_keeps_every_answer_apart() {
    let place = Place::new();
    let store = Arc::new(place.open());
    let mut kept = Vec::new();
    for number in 1..=60 {
        kept.push(keep(&store, alert(number)).await);
    }
    let mut racers = JoinSet::new();
    for (n, stored) in (1_u64..).zip(kept) {
        let store = Arc::clone(&store);
        // Every third one has seen something that never was; every third one is a new alert instead, half
        // of them with a number that is taken.
        racers.spawn(async move {
            let next = after_sending(&stored.alert, &format!("m-{n}"));
            let answer = match n % 3 {
                0 => store.update(&stored, next, None).await.map(|update| matches!(update, Update::Updated(_))),
                1 => {
                    let seen = Stored { version: 9, ..stored };
                    store.update(&seen, next, None).await.map(|update| matches!(update, Update::Updated(_)))
                }
                _ if n % 2 == 0 => store.insert(alert(n), None).await.map(|_| true),
                _ => store.insert(alert(1_000 + n), None).await.map(|insert| matches!(insert, Insert::Inserted(_))),
            };
            (n, answer.ok())
        });
    }
    for (n, answer) in racers.join_all().await {
        let expected = match (n % 3, n % 2) {
            (0, _) | (2, 1) => Some(true),
            (1, _) => Some(false),
            (_, _) => None,
        };
        assert_eq!(answer, expected, "{n}");
        let is_found = store.find_message(&provider_id(&format!("m-{n}"))).await.unwrap().is_some();
        assert_eq!(is_found, n % 3 == 0, "{n}");
    }
}
