//! What every store promises, asked of each of them.
//!
//! A promise is a function in `keeping` or `finding`, named in the list of `keeps_every_promise`. A further store
//! is one more line at the end. What only SQLite promises stands in `sqlite.rs`, what only PostgreSQL does in `postgres`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it is surprised"
)]

mod finding;
mod keeping;
mod outbox;

use std::future::{Ready, ready};
use std::sync::Arc;

use callout::chance::SystemChance;
use callout::clock::SteadyClock;
use callout::contact::Channel;
use callout::escalation::{Alert, ReportStatus};
use callout::id::AttemptRef;
use callout::incoming::{Incoming, MessageStatus};
use callout::store::{
    Claim, ClaimKey, Insert, MemoryStore, Outcome, PostgresStore, SqliteStore, Store, Stored, Update,
};

use crate::alerts::{address, alert, alert_with_key, at, provider_id};
use crate::postgres::server::Database;

/// How many webhooks each store parks here.
const PARKED_MAX: usize = 5;

/// A store, and where it keeps its alerts until the test is over.
struct Bench {
    store: Arc<dyn Store>,
    _kept_in: Box<dyn std::any::Any>,
}

fn in_memory() -> Ready<Option<Bench>> {
    ready(Some(Bench { store: Arc::new(MemoryStore::with_parked_max(PARKED_MAX)), _kept_in: Box::new(()) }))
}

fn in_sqlite() -> Ready<Option<Bench>> {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::with_parked_max(&directory.path().join("callout.db"), PARKED_MAX).expect("a new store");
    ready(Some(Bench { store: Arc::new(store), _kept_in: Box::new(directory) }))
}

/// None where there is no PostgreSQL, which has been said then.
async fn in_postgres() -> Option<Bench> {
    let database = Database::new().await?;
    let (clock, chance) = (Arc::new(SteadyClock::system()), Arc::new(SystemChance::new()));
    let store = PostgresStore::with_parked_max(&database.address(), clock, chance, PARKED_MAX).await;
    Some(Bench { store: Arc::new(store.expect("a new store")), _kept_in: Box::new(database) })
}

macro_rules! keeps_every_promise {
    ($open:path: $($part:ident::$promise:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let Some(bench) = $open().await else { return };
                super::$part::$promise(&bench.store).await;
                bench.store.close().await;
            }
        )*
    };
    ($open:path) => {
        keeps_every_promise! { $open:
            keeping::a_kept_alert_is_read_back
            keeping::an_alert_that_was_never_kept_is_not_found
            keeping::an_update_counts_the_version_up_and_a_stale_one_changes_nothing
            keeping::of_many_racing_updates_one_wins
            keeping::every_update_gets_through_in_the_end
            keeping::racing_inserts_with_one_dedup_key_raise_one_alert
            keeping::racing_inserts_with_one_idempotency_key_raise_one_alert
            keeping::an_idempotency_key_wins_over_a_dedup_key
            keeping::a_replay_shows_the_alert_as_it_stood
            keeping::an_update_with_a_used_key_changes_nothing
            keeping::what_is_refused_leaves_nothing_behind
            keeping::a_dedup_key_is_free_again_once_its_alert_is_exhausted_or_resolved
            keeping::a_dedup_key_can_be_taken_from_the_alert_that_holds_it
            keeping::an_exhausted_alert_that_is_acknowledged_late_has_its_key_back
            keeping::a_late_acknowledgement_takes_no_key_from_a_newer_alert
            finding::wake_ups_are_paged_in_the_order_of_ids
            finding::a_settled_alert_has_no_wake_up
            finding::a_wake_up_says_whether_somebody_is_sending
            finding::who_is_late_is_found_and_nobody_else
            finding::what_fails_is_found_newest_first
            finding::lists_are_newest_first_in_pages
            finding::lists_are_filtered_by_status_and_policy
            finding::a_message_is_found_by_every_id_it_ever_had
            finding::a_message_stays_with_the_attempt_that_had_it_first
            finding::the_messages_of_a_workflow_are_found_once_they_are_known
            finding::alerts_are_found_by_the_addresses_they_messaged
            finding::an_alert_is_found_by_its_number
            finding::a_key_leads_to_all_of_its_alerts_that_are_not_resolved
            finding::many_who_ask_at_once_each_find_their_own
            finding::parked_webhooks_come_back_in_order
            finding::the_oldest_parked_webhooks_make_room
            keeping::what_has_served_its_time_is_forgotten
            keeping::settled_alerts_are_forgotten_after_their_time
            keeping::a_running_alert_is_never_forgotten
            keeping::what_a_forgotten_alert_was_found_by_is_free_again
            keeping::a_plan_is_forgotten_with_its_last_alert
            keeping::a_secret_is_kept_once
            keeping::numbers_are_given_once
            keeping::long_texts_come_back_to_the_letter
            keeping::each_alert_keeps_its_own_plan
            keeping::an_id_or_number_is_taken_once_and_harms_nobody_else
            keeping::an_alert_that_breaks_a_promise_is_not_kept
            keeping::something_can_be_kept
            outbox::callbacks_of_an_alert_come_one_after_the_other
            outbox::what_nobody_wants_to_hear_of_is_not_kept
            outbox::a_callback_that_failed_is_kept_until_it_is_due_or_replayed
            outbox::callbacks_that_are_too_old_or_too_many_are_forgotten
        }
    };
}

/// How many callers race.
const N_RACING: u64 = 300;

pub(crate) fn claim(key: u8, outcome: Outcome) -> Claim {
    Claim { key: ClaimKey([key; 32]), fingerprint: [key ^ 255; 32], outcome, at: at(0) }
}

/// Keeps a new alert that nothing speaks against.
pub(crate) async fn keep(store: &Arc<dyn Store>, alert: Arc<Alert>) -> Stored {
    match store.insert(alert, None).await.expect("the store works") {
        Insert::Inserted(stored) => stored,
        refused @ (Insert::Open(_) | Insert::Replayed(_)) => panic!("not kept: {refused:?}"),
    }
}

/// Replaces an alert that has not changed.
pub(crate) async fn replace(store: &Arc<dyn Store>, seen: &Stored, next: Arc<Alert>) -> Stored {
    match store.update(seen, next, None).await.expect("the store works") {
        Update::Updated(stored) => stored,
        refused @ (Update::Stale | Update::Replayed(_)) => panic!("not replaced: {refused:?}"),
    }
}

async fn read(store: &Arc<dyn Store>, alert: &Alert) -> Stored {
    store.get(alert.id()).await.expect("the store works").expect("the alert is kept")
}

async fn is_open(store: &Arc<dyn Store>, key: &str, number: u64) -> bool {
    match store.insert(alert_with_key(number, key), None).await.expect("the store works") {
        Insert::Open(_) => true,
        Insert::Inserted(_) => false,
        Insert::Replayed(replay) => panic!("no key was used: {replay:?}"),
    }
}

/// A report on the text message of another attempt than the first of the alert with this number.
pub(crate) fn webhook(number: u64) -> Incoming {
    Incoming::Status(MessageStatus {
        id: Some(provider_id(&format!("m-{number}"))),
        workflow: None,
        reference: Some(AttemptRef { alert: alert(number).id(), attempt: 2 }),
        channel: Some(Channel::Sms),
        to: Some(address(Channel::Sms, "447700900001")),
        status: ReportStatus::Delivered,
        failure: None,
    })
}

mod memory {
    keeps_every_promise!(super::in_memory);
}
mod sqlite {
    keeps_every_promise!(super::in_sqlite);
}
mod postgres {
    keeps_every_promise!(super::in_postgres);
}
