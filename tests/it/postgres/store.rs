//! The store itself: what it makes of broken connections, lost answers, and databases it cannot trust.

use std::collections::BTreeSet;
use std::sync::Arc;

use callout::callback::{EndpointId, NewDelivery, Topic};
use callout::chance::SystemChance;
use callout::clock::{Clock, SteadyClock};
use callout::escalation::Event;
use callout::incoming::{Foreign, Incoming};
use callout::store::{Error, Insert, LeftBehind, PostgresStore, Settled, Store, Stored, Update};

use super::proxy::Proxy;
use super::server::{self, Database};
use crate::alerts::{after, after_resolving, alert, at, provider_id};
use crate::harness::leave_out;

/// A node of this database.
pub(crate) async fn open(database: &Database) -> Arc<PostgresStore> {
    try_open(&database.address()).await.unwrap()
}

pub(crate) async fn try_open(address: &str) -> Result<Arc<PostgresStore>, callout::store::PostgresError> {
    let clock: Arc<dyn Clock> = Arc::new(SteadyClock::system());
    Ok(Arc::new(PostgresStore::open(address, clock, Arc::new(SystemChance::new())).await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_may_make_the_tables_at_once() {
    let Some(database) = Database::new().await else { return };
    let opening = (0..6).map(|_| open(&database));
    let nodes = futures_util::future::join_all(opening).await;
    let [first, second, ..] = nodes.as_slice() else { panic!("six nodes") };
    let kept = alert(1);
    first.insert(Arc::clone(&kept), None).await.unwrap();
    let seen = second.get(kept.id()).await.unwrap().unwrap();
    assert!(matches!(second.update(&seen, after_resolving(&kept), None).await.unwrap(), Update::Updated(_)));
    assert!(matches!(first.update(&seen, after_resolving(&kept), None).await.unwrap(), Update::Stale));
    for node in nodes {
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_reached_is_told_with_a_hint() {
    let nobody_listens = "postgres://callout:hush@127.0.0.1:9/alerts";
    let error = try_open(nobody_listens).await.unwrap_err().to_string();
    assert!(error.contains("cannot connect to the PostgreSQL database at 127.0.0.1:9/alerts"), "{error}");
    assert!(error.contains("is it running"), "{error}");
    assert!(!error.contains("hush"), "{error}");
    let Some(database) = Database::new().await else { return };
    let error = try_open(&format!("{}_nowhere", database.address())).await.unwrap_err().to_string();
    assert!(error.contains("createdb"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_understands_every_statement() {
    let Some(database) = Database::new().await else { return };
    let node = open(&database).await;
    node.check_statements().await.unwrap();
    node.close().await;
}

/// The questions of many callers are one statement, which fails as a whole where one row of it cannot be read.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_the_server_cannot_read_hides_no_other() {
    const N_ALERTS: u64 = 200;
    let Some(database) = Database::new().await else { return };
    let node = open(&database).await;
    for number in 1..=N_ALERTS {
        node.insert(alert(number), None).await.unwrap();
    }
    let seventh_is_unreadable = "ALTER TABLE callout.alerts RENAME TO alerts_kept; \
        CREATE VIEW callout.alerts AS SELECT number, id, policy, plan, \
        CASE WHEN number = 7 THEN (1 / (number - 7))::text ELSE record END AS record FROM callout.alerts_kept";
    database.connect().await.batch_execute(seventh_is_unreadable).await.unwrap();
    let asked = (1..=N_ALERTS).map(|number| node.get(alert(number).id()));
    for (number, found) in (1..=N_ALERTS).zip(futures_util::future::join_all(asked).await) {
        match found {
            Ok(Some(stored)) => assert_eq!(stored.alert, alert(number)),
            Err(error) => assert!(number == 7, "alert {number}: {error:?}"),
            Ok(None) => panic!("alert {number} is gone"),
        }
    }
    assert!(node.get(alert(7).id()).await.is_err(), "or nothing was shown");
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_neither_stale_nor_done_twice() {
    let Some(database) = Database::new().await else { return };
    let (proxy, through) = Proxy::before(&database.address()).await;
    let node = try_open(&through).await.unwrap();
    let kept = alert(1);
    proxy.swallow_next_commit();
    let Insert::Inserted(mut seen) = node.insert(Arc::clone(&kept), None).await.unwrap() else { panic!("not kept") };
    for n in 1..=12 {
        proxy.swallow_next_commit();
        let next = after(&seen.alert, &Event::Repeated, at(n));
        match node.update(&seen, next, None).await.unwrap() {
            Update::Updated(stored) => seen = stored,
            refused @ (Update::Stale | Update::Replayed(_)) => panic!("not replaced: {refused:?}"),
        }
    }
    assert_eq!(proxy.n_swallowed(), 13, "each answer was lost once");
    let found = node.get(kept.id()).await.unwrap().unwrap();
    assert_eq!((found.version, found.alert.repeats), (13, 12), "each change happened once");
    node.close().await;
}

#[tokio::test]
async fn a_batch_whose_commit_is_slower_than_the_nodes_patience_is_not_taken_for_stale() {
    let Some(database) = Database::new().await else { return };
    let node = open(&database).await;
    // As behind a standby that is slow to answer: the first commit of alerts takes nine seconds, and holds its rows.
    let slow_commit = "CREATE TABLE slow_once AS SELECT 1;
        CREATE FUNCTION be_slow_once() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            DELETE FROM public.slow_once;
            IF FOUND THEN PERFORM pg_sleep(9); END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON callout.states DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION be_slow_once();";
    let mut seen = Vec::new();
    for number in 1..=2 {
        let Insert::Inserted(stored) = node.insert(alert(number), None).await.unwrap() else { panic!("not kept") };
        seen.push(stored);
    }
    let operator = database.connect().await;
    operator.batch_execute(slow_commit).await.unwrap();
    let repeat = async |seen: &Stored| node.update(seen, after(&seen.alert, &Event::Repeated, at(1)), None).await;
    // Both are on their way before either is carried out, so that they are one batch.
    let (first, second) = tokio::join!(repeat(&seen[0]), repeat(&seen[1]));
    for came in [&first, &second] {
        assert!(matches!(came, Err(Error::Unavailable(_)) | Ok(Update::Updated(_))), "{came:?}");
    }
    // Waits until the slow commit is over.
    operator.batch_execute("BEGIN; LOCK TABLE callout.states IN SHARE MODE; COMMIT").await.unwrap();
    for stored in &seen {
        let found = node.get(stored.alert.id()).await.unwrap().unwrap();
        assert_eq!((found.version, found.alert.repeats), (2, 1), "it happened once");
    }
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_says_so_and_works_again_when_it_can() {
    let Some(database) = Database::new().await else { return };
    let (proxy, through) = Proxy::before(&database.address()).await;
    let node = try_open(&through).await.unwrap();
    let kept = alert(1);
    let Insert::Inserted(seen) = node.insert(Arc::clone(&kept), None).await.unwrap() else { panic!("not kept") };
    proxy.cut(true);
    let clock = SteadyClock::system();
    let began = clock.now();
    let (read, changed) =
        tokio::join!(node.get(kept.id()), node.update(&seen, after(&kept, &Event::Repeated, at(1)), None));
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    assert!(matches!(changed, Err(Error::Unavailable(_))), "{changed:?}");
    assert!(clock.now().since(began) < std::time::Duration::from_secs(30), "nobody waits for ever");
    proxy.cut(false);
    let found = node.get(kept.id()).await.unwrap().unwrap();
    assert!(found.alert.repeats <= 1, "what was refused happened once at most");
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_stood_in_the_way_of_is_tried_again() {
    let Some(database) = Database::new().await else { return };
    let node = open(&database).await;
    // Each of the first three tries fails as PostgreSQL, or a database that is like it, would let it fail.
    let standing_in_the_way = "CREATE SEQUENCE callout.failures;
        CREATE FUNCTION callout.fail() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE n bigint := nextval('callout.failures');
        BEGIN
            IF n = 1 THEN RAISE EXCEPTION 'try again' USING ERRCODE = '40001'; END IF;
            IF n = 2 THEN RAISE EXCEPTION 'try again' USING ERRCODE = '40P01'; END IF;
            IF n = 3 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER fail BEFORE INSERT ON callout.alerts FOR EACH ROW EXECUTE FUNCTION callout.fail()";
    database.connect().await.batch_execute(standing_in_the_way).await.unwrap();
    let kept = alert(1);
    assert!(matches!(node.insert(Arc::clone(&kept), None).await.unwrap(), Insert::Inserted(_)));
    assert_eq!(node.get(kept.id()).await.unwrap().unwrap().alert, kept);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_older_than_the_schema_answers_questions_and_changes_nothing() {
    let Some(database) = Database::new().await else { return };
    let old = open(&database).await;
    let kept = alert(1);
    let Insert::Inserted(seen) = old.insert(Arc::clone(&kept), None).await.unwrap() else { panic!("not kept") };
    let client = database.connect().await;
    let upgrade = "UPDATE callout.installation SET schema = 99, writers_from = 99";
    client.batch_execute(upgrade).await.unwrap();
    assert_eq!(old.get(kept.id()).await.unwrap().unwrap().alert, kept, "it answers questions");
    let refused = old.update(&seen, after_resolving(&kept), None).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(old.insert(alert(2), None).await.is_err());
    assert!(old.probe(at(1)).await.is_err(), "it is not ready");
    let report = Incoming::Foreign(Foreign::LegacySms);
    let message = provider_id("nobody-knows-it-yet");
    assert!(old.park(&message, &report, at(1)).await.is_err(), "a webhook that it cannot apply is not answered 200");
    assert!(old.tidy(at(9), at(9), 9).await.is_err() && old.forget(at(9), 9).await.is_err(), "it clears nothing away");
    let (endpoint, nothing) = (EndpointId::from_bits(1), BTreeSet::new());
    assert!(old.outbox().unwrap().take(endpoint, at(9), at(10), &nothing, 9).await.is_err(), "it takes no callback");
    let started_later = open(&database).await;
    assert_eq!(started_later.get(kept.id()).await.unwrap().unwrap().version, 1);
    assert!(started_later.insert(alert(2), None).await.is_err());
    // A step that only adds does not stop those that do not know it.
    client.batch_execute("UPDATE callout.installation SET writers_from = 1").await.unwrap();
    assert!(matches!(old.update(&seen, after_resolving(&kept), None).await.unwrap(), Update::Updated(_)));
    old.close().await;
    started_later.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_version_before_is_brought_up_to_date_while_a_node_works_on_it() {
    let Some(database) = Database::new().await else { return };
    let before = open(&database).await;
    let kept = alert(1);
    let Insert::Inserted(seen) = before.insert(Arc::clone(&kept), None).await.unwrap() else { panic!("not kept") };
    let back = "DROP TABLE callout.deliveries; UPDATE callout.installation SET schema = 1, writers_from = 1";
    database.connect().await.batch_execute(back).await.unwrap();
    let newer = open(&database).await;
    assert_eq!(newer.get(kept.id()).await.unwrap().unwrap().alert, kept);
    assert_eq!(newer.outbox().unwrap().replay(callout::store::Which::All, at(1)).await.unwrap(), 0);
    let next = after(&seen.alert, &Event::Repeated, at(1));
    assert!(matches!(before.update(&seen, next, None).await.unwrap(), Update::Updated(_)), "it goes on");
    before.close().await;
    newer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_belongs_to_one_node_until_its_lease_is_over() {
    let Some(database) = Database::new().await else { return };
    let nodes = futures_util::future::join_all((0..4).map(|_| open(&database))).await;
    let hook = EndpointId::of("https://ops.example.org/hook");
    let told = |n: u64| NewDelivery {
        endpoint: hook,
        alert: Some(alert(n).id()),
        topic: Topic::Raised,
        event: format!("evt_{n}").into(),
        at: at(0),
        body: "{}".into(),
    };
    nodes[0].outbox().unwrap().keep((1..=40).map(told).collect()).await.unwrap();
    let nothing = BTreeSet::new();
    let take = async |node: &Arc<PostgresStore>, now: u64| {
        node.outbox().unwrap().take(hook, at(now), at(now + 30), &nothing, 100).await.unwrap()
    };
    let taken = futures_util::future::join_all(nodes.iter().map(|node| take(node, 1))).await;
    let mut places: Vec<u64> = taken.iter().flatten().map(|delivery| delivery.place).collect();
    places.sort_unstable();
    assert_eq!(places.len(), 40, "each is given to somebody");
    places.dedup();
    assert_eq!(places.len(), 40, "and to nobody else");
    let outbox = nodes[1].outbox().unwrap();
    assert_eq!(take(&nodes[1], 30).await, [], "its node may still be at it");
    assert_eq!(outbox.next_due(hook, at(30)).await.unwrap(), Some(at(31)), "then it is looked at again");
    let again = take(&nodes[1], 31).await;
    assert_eq!(again.len(), 40, "what a dead node had is taken by another");
    outbox.settle(&again[0], Settled::Delivered).await.unwrap();
    outbox.settle(&again[0], Settled::Delivered).await.unwrap();
    let later = Settled::Later { due_at: at(50), failure: "HTTP 500".into() };
    outbox.settle(&again[1], later).await.unwrap();
    assert_eq!(take(&nodes[2], 50).await.len(), 1, "what failed is free for any node once it is due");
    for node in nodes {
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_alert_without_a_moment_is_found_by_whoever_audits() {
    let Some(database) = Database::new().await else { return };
    let node = open(&database).await;
    for number in 1..=2 {
        node.insert(alert(number), None).await.unwrap();
    }
    assert_eq!(node.unarmed(9).await.unwrap(), []);
    let client = database.connect().await;
    client.batch_execute("UPDATE callout.states SET wake_at = NULL WHERE number = 2").await.unwrap();
    assert_eq!(node.unarmed(9).await.unwrap(), [alert(2).id()]);
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_open_snapshot_does_not_slow_changes_down() {
    let Some(database) = Database::new().await else { return };
    let node = open(&database).await;
    let kept = alert(1);
    let Insert::Inserted(mut seen) = node.insert(Arc::clone(&kept), None).await.unwrap() else { panic!("not kept") };
    let looker = database.connect().await;
    looker.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM callout.states").await.unwrap();
    let clock = SteadyClock::system();
    let mut times = Vec::new();
    // Nothing of this can be cleaned up while the snapshot is held.
    for n in 0..600 {
        let began = clock.now();
        let next = after(&seen.alert, &Event::Repeated, at(n));
        let Update::Updated(stored) = node.update(&seen, next, None).await.unwrap() else { panic!("stale") };
        seen = node.get(stored.alert.id()).await.unwrap().unwrap();
        times.push(clock.now().since(began));
    }
    let median = |times: &mut [std::time::Duration]| {
        times.sort_unstable();
        times[times.len() / 2].as_millis()
    };
    let (first, last) = times.split_at_mut(300);
    let (first, last) = (median(first), median(last));
    assert!(last <= first * 5 + 10, "{first} ms at first, {last} ms at last");
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_open_snapshot_does_not_slow_the_look_for_what_is_late() {
    let Some(database) = Database::new().await else { return };
    let node = open(&database).await;
    let client = database.connect().await;
    let running = "INSERT INTO callout.states (id, number, version, status, wake_at, sending, failing, record) \
        SELECT gen_random_uuid(), n, 1, 'escalating', 0, false, false, '{}' FROM generate_series(1, 500) AS n";
    client.batch_execute(running).await.unwrap();
    let looker = database.connect().await;
    looker.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM callout.states").await.unwrap();
    // Two hundred deadlines a second for four minutes, none of which can be cleaned up.
    let fired = "DO $$ BEGIN FOR round IN 1..96 LOOP
        UPDATE callout.states SET wake_at = round * 2500 + number % 2500; COMMIT; END LOOP; END $$";
    client.batch_execute(fired).await.unwrap();
    let clock = SteadyClock::system();
    let until = callout::timestamp::Timestamp::from_millis(239_000);
    for from in [180_000, 0] {
        let after = (callout::timestamp::Timestamp::from_millis(from), callout::id::AlertId::from_bits(0));
        let looking = LeftBehind { after, sending_until: until, waiting_until: until, limit: 500 };
        let began = clock.now();
        assert_eq!(node.left_behind(&looking).await.unwrap(), [], "all of them are further on");
        let took = clock.now().since(began);
        assert!(took < std::time::Duration::from_secs(1), "from {from} on it took {took:?}, as long as until the next");
    }
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_would_lose_alerts_is_refused_and_tls_is_verified() {
    let Some(binaries) = server::binaries() else {
        leave_out("the programs of a PostgreSQL server are not installed, which the test of TLS starts");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let data = server::make_data(&binaries, directory.path());
    make_certificates(directory.path());
    let settings = [
        "ssl=on",
        &format!("ssl_cert_file={}/server.pem", directory.path().display()),
        &format!("ssl_key_file={}/server.key", directory.path().display()),
    ];
    let (mut child, address) = server::start_on(&binaries, directory.path(), &data, &settings);
    let authority = directory.path().join("authority.pem");
    let open = async |parameters: String| try_open(&format!("{address}/postgres?{parameters}")).await;
    let node = open(format!("sslmode=verify-full&sslrootcert={}", authority.display())).await.unwrap();
    node.probe(at(1)).await.unwrap();
    node.close().await;
    let error = open("sslmode=require".to_owned()).await.unwrap_err().to_string();
    assert!(error.contains("sslrootcert"), "nobody on this machine vouches for it: {error}");
    open("sslmode=prefer".to_owned()).await.unwrap().close().await;
    child.stdin.take();
    child.wait().unwrap();
    let (mut child, address) = server::start_on(&binaries, directory.path(), &data, &["fsync=off"]);
    let error = try_open(&format!("{address}/postgres")).await.unwrap_err().to_string();
    assert!(error.contains("fsync=off"), "{error}");
    child.stdin.take();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_replica_is_refused() {
    let Some(binaries) = server::binaries() else {
        leave_out("the programs of a PostgreSQL server are not installed, which the test of a replica starts");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let data = server::make_data(&binaries, directory.path());
    // With this file a server waits for what a primary server tells it, and answers questions meanwhile.
    std::fs::write(data.join("standby.signal"), "").unwrap();
    let (mut child, address) = server::start_on(&binaries, directory.path(), &data, &[]);
    let error = try_open(&format!("{address}/postgres")).await.unwrap_err().to_string();
    assert!(error.contains("is a read replica; name the primary server"), "{error}");
    child.stdin.take();
    child.wait().unwrap();
}

/// An authority and a server that it vouches for.
fn make_certificates(directory: &std::path::Path) {
    let script = "set -e
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=callout test authority' \
            -keyout authority.key -out authority.pem
        openssl req -newkey rsa:2048 -nodes -subj '/CN=127.0.0.1' -keyout server.key -out server.csr
        printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > server.ext
        openssl x509 -req -days 2 -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial \
            -extfile server.ext -out server.pem
        chmod 600 server.key";
    let mut shell = server::as_postgres(directory, std::path::Path::new("/bin/sh"));
    let made = shell.args(["-c", script]).current_dir(directory).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
