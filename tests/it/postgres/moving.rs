//! Moving from SQLite to PostgreSQL: everything arrives, or nothing is touched.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use callout::escalation::Event;
use callout::id::AlertNumber;
use callout::store::{Insert, Outcome, SqliteStore, Store};

use super::server::Database;
use super::store::open;
use crate::alerts::{after, after_resolving, after_sending, alert, alert_with_key, at, provider_id};
use crate::stores::{claim, keep, replace, webhook};

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
    let (code, text) = migrate(&path, &database);
    assert_eq!(code, 0, "{text}");
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
    assert!(store.next_number().await.unwrap() > AlertNumber(700));
    store.close().await;
    assert!(!path.exists() && directory.path().join("callout.db.moved").exists());
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
