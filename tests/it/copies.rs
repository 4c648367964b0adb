//! Copies of a database, and what callout does where one is gone or damaged: never begin with an empty one.

use std::fs;
use std::path::{Path, PathBuf};

use callout::store::{CopyError, Insert, OpenError, SqliteStore, Store, copy_closed, look_through_copy, restore};
use tempfile::TempDir;

use super::alerts::{after_resolving, after_sending, alert, at};

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn database(&self) -> PathBuf {
        self.file("callout.db")
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.database()).unwrap()
    }

    fn refused(&self) -> OpenError {
        match SqliteStore::open(&self.database()) {
            Ok(_) => panic!("it should not be opened"),
            Err(error) => error,
        }
    }
}

async fn keep(store: &SqliteStore, number: u64) {
    let Insert::Inserted(stored) = store.insert(alert(number), None).await.unwrap() else { panic!("not kept") };
    let sent = after_sending(&stored.alert, &format!("m-{number}"));
    store.update(&stored, sent, None).await.unwrap();
}

/// As if the process had been killed: what stands on the disk now is all that is left of it.
fn killed(from: &Place) -> Place {
    let place = Place::new();
    for name in ["callout.db", "callout.db-wal", "callout.db-owner"] {
        fs::copy(from.file(name), place.file(name)).unwrap();
    }
    place
}

#[tokio::test]
async fn a_copy_is_made_while_the_database_is_in_use_and_brings_everything_back() {
    let place = Place::new();
    let store = place.open();
    for number in 1..=20 {
        keep(&store, number).await;
    }
    let copy = place.file("copy.db");
    store.copy_to(&copy).await.unwrap();
    keep(&store, 21).await;
    let holding = look_through_copy(&copy).unwrap();
    assert_eq!((holding.n_alerts, holding.n_escalating), (20, 20), "what came later is not in it");
    assert!(!place.file("copy.db.part").exists(), "nothing half done is left");
    store.close().await;
    drop(store);

    let refused = restore(&copy, &place.database(), false, at(1)).unwrap_err();
    assert!(matches!(refused, CopyError::Exists { .. }), "{refused}");
    let restored = restore(&copy, &place.database(), true, at(1)).unwrap();
    assert_eq!(restored.holding.n_alerts, 20);
    assert_eq!(look_through_copy(&restored.aside.unwrap()).unwrap().n_alerts, 21, "the other one is kept");
    let store = place.open();
    assert_eq!(store.armed(None, 99).await.unwrap().len(), 20, "every deadline is there");
    assert!(store.find_message(&"m-20".parse().unwrap()).await.unwrap().is_some());
    keep(&store, 30).await;
}

#[tokio::test]
async fn nobody_copies_or_replaces_a_database_under_a_running_service() {
    let place = Place::new();
    let store = place.open();
    keep(&store, 1).await;
    let copy = place.file("copy.db");
    store.copy_to(&copy).await.unwrap();
    let refused = copy_closed(&place.database(), &place.file("other.db")).unwrap_err();
    assert!(refused.to_string().starts_with("another callout (process"), "{refused}");
    let refused = restore(&copy, &place.database(), true, at(1)).unwrap_err();
    assert!(refused.to_string().starts_with("another callout (process"), "{refused}");
    keep(&store, 2).await;
}

#[tokio::test]
async fn a_database_that_was_not_closed_is_copied_with_what_its_log_holds() {
    let place = Place::new();
    let store = place.open();
    keep(&store, 1).await;
    let left = killed(&place);
    let copy = left.file("copy.db");
    assert_eq!(copy_closed(&left.database(), &copy).unwrap().n_alerts, 1);
    assert_eq!(left.open().armed(None, 9).await.unwrap().len(), 1, "the database itself is as it was");
}

#[tokio::test]
async fn a_database_that_is_gone_or_emptied_is_never_begun_anew_in_silence() {
    let losses: [fn(PathBuf) -> std::io::Result<()>; 2] = [fs::remove_file, |path| fs::write(path, "")];
    for loss in losses {
        let place = Place::new();
        let store = place.open();
        keep(&store, 1).await;
        store.copy_to(&place.file("copy.db")).await.unwrap();
        store.close().await;
        drop(store);
        loss(place.database()).unwrap();
        let error = place.refused();
        assert!(matches!(error, OpenError::Gone { .. }), "{error}");
        assert!(error.to_string().contains("callout restore"), "{error}");
        restore(&place.file("copy.db"), &place.database(), false, at(1)).unwrap();
        assert_eq!(place.open().armed(None, 9).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_log_that_is_gone_is_noticed() {
    let place = Place::new();
    let store = place.open();
    keep(&store, 1).await;
    let left = killed(&place);
    fs::remove_file(left.file("callout.db-wal")).unwrap();
    let error = left.refused();
    // Everything stood in the log, so that the database itself may still be empty.
    assert!(matches!(error, OpenError::LogGone { .. } | OpenError::Gone { .. }), "{error}");
    assert!(error.to_string().contains("callout restore"), "{error}");
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_a_damaged_copy_is_not_put_in_place() {
    let place = Place::new();
    let store = place.open();
    for number in 1..=200 {
        keep(&store, number).await;
    }
    store.copy_to(&place.file("copy.db")).await.unwrap();
    store.close().await;
    drop(store);
    let damaged = place.file("damaged.db");
    let mut bytes = fs::read(place.file("copy.db")).unwrap();
    let half = bytes.len() / 2;
    bytes.truncate(half);
    fs::write(&damaged, &bytes).unwrap();
    let before = fs::read(place.database()).unwrap();
    let refused = restore(&damaged, &place.database(), true, at(1)).unwrap_err();
    assert!(matches!(refused, CopyError::Damaged { .. }), "{refused}");
    assert_eq!(fs::read(place.database()).unwrap(), before, "nothing was changed");
    assert!(!place.file("callout.db.restoring").exists());

    // The same happens to the database itself, and the process before was killed.
    fs::write(place.database(), &bytes).unwrap();
    fs::write(place.file("callout.db-owner"), "1         \nopen  \n").unwrap();
    fs::write(place.file("callout.db-wal"), "").unwrap();
    let error = place.refused();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    restore(&place.file("copy.db"), &place.database(), true, at(1)).unwrap();
    assert_eq!(place.open().armed(None, 999).await.unwrap().len(), 200);
}

#[tokio::test]
async fn old_alerts_leave_no_gaps_in_a_copy() {
    let place = Place::new();
    let store = place.open();
    for number in 1..=300 {
        let Insert::Inserted(stored) = store.insert(alert(number), None).await.unwrap() else { panic!("not kept") };
        store.update(&stored, after_resolving(&stored.alert), None).await.unwrap();
    }
    let (full, empty) = (place.file("full.db"), place.file("empty.db"));
    store.copy_to(&full).await.unwrap();
    while store.forget(at(10_000), 200).await.unwrap() > 0 {}
    store.copy_to(&empty).await.unwrap();
    let size = |path: &Path| path.metadata().unwrap().len();
    assert!(size(&empty) < size(&full) / 2, "{} and {}", size(&full), size(&empty));
}
