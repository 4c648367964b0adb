//! What is kept, and when not: versions, keys, races, limits.

use std::sync::Arc;

use callout::contact::Channel;
use callout::escalation::{Alert, Backend, Event, Raised};
use callout::id::AlertNumber;
use callout::store::{Claim, ClaimKey, Error, Insert, Outcome, Page, StatusFilter, Store, Stored, Update};
use tokio::task::JoinSet;

use super::{N_RACING, claim, is_open, keep, read, replace, webhook};
use crate::alerts::{
    address, after, after_acknowledging, after_everybody, after_resolving, after_sending, alert, alert_with_key, at,
    begin, plan, provider_id, raised,
};

pub(super) async fn a_kept_alert_is_read_back(store: &Arc<dyn Store>) {
    let alert = alert(1);
    let stored = keep(store, Arc::clone(&alert)).await;
    assert_eq!((stored.version, &stored.alert), (1, &alert));
    let found = read(store, &alert).await;
    assert_eq!((found.version, &found.alert), (1, &alert));
}

pub(super) async fn an_alert_that_was_never_kept_is_not_found(store: &Arc<dyn Store>) {
    keep(store, alert(1)).await;
    let other = alert(2);
    assert!(store.get(other.id()).await.unwrap().is_none());
    assert_eq!(store.find_number(AlertNumber(2)).await.unwrap(), None);
    assert_eq!(store.find_message(&provider_id("m-1")).await.unwrap(), None);
    assert_eq!(store.claimed(&ClaimKey([0; 32])).await.unwrap(), None);
    let seen = Stored { alert: Arc::clone(&other), version: 1 };
    assert!(matches!(store.update(&seen, after_resolving(&other), None).await.unwrap(), Update::Stale));
}

pub(super) async fn an_update_counts_the_version_up_and_a_stale_one_changes_nothing(store: &Arc<dyn Store>) {
    let first = keep(store, alert(1)).await;
    let second = replace(store, &first, after(&first.alert, &Event::Repeated, at(2))).await;
    assert_eq!(second.version, 2);
    let late = store.update(&first, after_resolving(&first.alert), None).await.unwrap();
    assert!(matches!(late, Update::Stale), "{late:?}");
    let found = read(store, &first.alert).await;
    assert_eq!((found.version, &found.alert), (2, &second.alert));
}

pub(super) async fn of_many_racing_updates_one_wins(store: &Arc<dyn Store>) {
    let first = keep(store, alert(1)).await;
    let mut racers = JoinSet::new();
    for n in 0..N_RACING {
        let (store, first) = (Arc::clone(store), first.clone());
        let next = after(&first.alert, &Event::Resolve { by: format!("racer {n}").into() }, at(5));
        racers.spawn(async move { store.update(&first, next, None).await.unwrap() });
    }
    let results = racers.join_all().await;
    let winners: Vec<_> = results
        .iter()
        .filter_map(|result| if let Update::Updated(stored) = result { Some(stored) } else { None })
        .collect();
    let n_stale = results.iter().filter(|result| matches!(result, Update::Stale)).count();
    assert_eq!((winners.len(), n_stale), (1, results.len() - 1));
    assert_eq!(read(store, &first.alert).await.alert, winners[0].alert);
}

pub(super) async fn every_update_gets_through_in_the_end(store: &Arc<dyn Store>) {
    let first = keep(store, alert(1)).await;
    let mut racers = JoinSet::new();
    for _ in 0..40 {
        let (store, id) = (Arc::clone(store), first.alert.id());
        racers.spawn(async move {
            loop {
                let seen = store.get(id).await.unwrap().unwrap();
                let next = after(&seen.alert, &Event::Repeated, at(5));
                if let Update::Updated(_) = store.update(&seen, next, None).await.unwrap() {
                    return;
                }
            }
        });
    }
    racers.join_all().await;
    let found = read(store, &first.alert).await;
    assert_eq!((found.alert.repeats, found.version), (40, 41));
}

pub(super) async fn racing_inserts_with_one_dedup_key_raise_one_alert(store: &Arc<dyn Store>) {
    let mut racers = JoinSet::new();
    for number in 1..=N_RACING {
        let store = Arc::clone(store);
        racers.spawn(async move { store.insert(alert_with_key(number, "server-1/down"), None).await.unwrap() });
    }
    let results = racers.join_all().await;
    let raised: Vec<_> = results
        .iter()
        .filter_map(|result| if let Insert::Inserted(stored) = result { Some(stored.alert.id()) } else { None })
        .collect();
    assert_eq!(raised.len(), 1);
    let others = results.iter().filter(|result| matches!(result, Insert::Open(id) if *id == raised[0]));
    assert_eq!(others.count(), results.len() - 1);
    let page = Page { limit: 1_000, ..Page::default() };
    assert_eq!(store.list(&page).await.unwrap().len(), 1);
}

pub(super) async fn racing_inserts_with_one_idempotency_key_raise_one_alert(store: &Arc<dyn Store>) {
    let mut racers = JoinSet::new();
    for number in 1..=N_RACING {
        let store = Arc::clone(store);
        racers.spawn(async move { store.insert(alert(number), Some(claim(7, Outcome::Created))).await.unwrap() });
    }
    let results = racers.join_all().await;
    let raised: Vec<_> = results
        .iter()
        .filter_map(|result| if let Insert::Inserted(stored) = result { Some(Arc::clone(&stored.alert)) } else { None })
        .collect();
    assert_eq!(raised.len(), 1);
    for result in &results {
        if let Insert::Replayed(replay) = result {
            assert_eq!((&replay.alert, replay.outcome), (&raised[0], Outcome::Created));
            assert_eq!(replay.fingerprint, claim(7, Outcome::Created).fingerprint);
        }
    }
    let page = Page { limit: 1_000, ..Page::default() };
    assert_eq!(store.list(&page).await.unwrap(), raised);
}

pub(super) async fn an_idempotency_key_wins_over_a_dedup_key(store: &Arc<dyn Store>) {
    let first = alert_with_key(1, "server-1/down");
    let insert = store.insert(Arc::clone(&first), Some(claim(1, Outcome::Created))).await.unwrap();
    assert!(matches!(insert, Insert::Inserted(_)));
    let again = store.insert(alert_with_key(2, "server-1/down"), Some(claim(1, Outcome::Created))).await.unwrap();
    assert!(matches!(&again, Insert::Replayed(replay) if replay.alert == first), "{again:?}");
    let other = store.insert(alert_with_key(3, "server-1/down"), Some(claim(2, Outcome::Created))).await.unwrap();
    assert!(matches!(other, Insert::Open(id) if id == first.id()), "{other:?}");
}

pub(super) async fn a_replay_shows_the_alert_as_it_stood(store: &Arc<dyn Store>) {
    let raised = alert(1);
    let created = claim(1, Outcome::Created);
    let Insert::Inserted(stored) = store.insert(Arc::clone(&raised), Some(created.clone())).await.unwrap() else {
        panic!("nothing speaks against it")
    };
    let repeated = after(&stored.alert, &Event::Repeated, at(3));
    let changed = claim(2, Outcome::Repeated);
    let Update::Updated(stored) = store.update(&stored, Arc::clone(&repeated), Some(changed.clone())).await.unwrap()
    else {
        panic!("it has not changed meanwhile")
    };
    replace(store, &stored, after_resolving(&stored.alert)).await;
    let first = store.claimed(&created.key).await.unwrap().expect("the key was used");
    assert_eq!((first.alert, first.outcome, first.fingerprint), (raised, Outcome::Created, created.fingerprint));
    let second = store.claimed(&changed.key).await.unwrap().expect("the key was used");
    assert_eq!((second.alert, second.outcome, second.fingerprint), (repeated, Outcome::Repeated, changed.fingerprint));
}

pub(super) async fn an_update_with_a_used_key_changes_nothing(store: &Arc<dyn Store>) {
    let first = keep(store, alert(1)).await;
    let key = claim(1, Outcome::Changed);
    let next = after(&first.alert, &Event::NextUser { by: "Tony".into(), attempt: None }, at(2));
    let Update::Updated(second) = store.update(&first, next, Some(key.clone())).await.unwrap() else {
        panic!("it has not changed meanwhile")
    };
    let again = store.update(&second, after_resolving(&second.alert), Some(key)).await.unwrap();
    assert!(matches!(&again, Update::Replayed(replay) if replay.alert == second.alert), "{again:?}");
    assert_eq!(read(store, &first.alert).await.version, 2);
}

pub(super) async fn what_is_refused_leaves_nothing_behind(store: &Arc<dyn Store>) {
    let first = keep(store, alert_with_key(1, "server-1/down")).await;
    let key = claim(9, Outcome::Created);
    let refused = alert_with_key(2, "server-1/down");
    let insert = store.insert(Arc::clone(&refused), Some(key.clone())).await.unwrap();
    assert!(matches!(insert, Insert::Open(id) if id == first.alert.id()));
    assert!(store.get(refused.id()).await.unwrap().is_none());
    assert_eq!(store.claimed(&key.key).await.unwrap(), None);
    assert_eq!(store.newest_number().await.unwrap(), AlertNumber(1));
    let stale = Stored { version: 7, ..first.clone() };
    let update = store.update(&stale, after_sending(&first.alert, "m-1"), Some(key.clone())).await.unwrap();
    assert!(matches!(update, Update::Stale));
    assert_eq!(store.claimed(&key.key).await.unwrap(), None);
    assert_eq!(store.find_message(&provider_id("m-1")).await.unwrap(), None);
}

pub(super) async fn a_dedup_key_is_free_again_once_its_alert_is_exhausted_or_resolved(store: &Arc<dyn Store>) {
    let first = keep(store, alert_with_key(1, "disk")).await;
    assert!(is_open(store, "disk", 10).await);
    let first = replace(store, &first, after_acknowledging(&first.alert)).await;
    assert!(is_open(store, "disk", 11).await, "acknowledged is not over");
    replace(store, &first, after_resolving(&first.alert)).await;
    let second = keep(store, alert_with_key(2, "disk")).await;
    replace(store, &second, after_everybody(&second.alert)).await;
    keep(store, alert_with_key(3, "disk")).await;
}

pub(super) async fn a_dedup_key_can_be_taken_from_the_alert_that_holds_it(store: &Arc<dyn Store>) {
    let first = keep(store, alert_with_key(1, "disk")).await;
    let other = keep(store, alert_with_key(2, "network")).await;
    store.release_key("disk", other.alert.id()).await.unwrap();
    assert!(is_open(store, "disk", 10).await, "the other alert does not hold it");
    store.release_key("disk", first.alert.id()).await.unwrap();
    assert_eq!(store.find_key("disk", 10).await.unwrap(), []);
    let second = keep(store, alert_with_key(3, "disk")).await;
    assert_eq!(store.find_key("disk", 10).await.unwrap(), [second.alert.id()]);
    store.release_key("disk", first.alert.id()).await.unwrap();
    assert!(is_open(store, "disk", 11).await, "asked for late, it takes nothing from the newer one");
    assert!(is_open(store, "network", 12).await);
}

pub(super) async fn an_exhausted_alert_that_is_acknowledged_late_has_its_key_back(store: &Arc<dyn Store>) {
    let first = keep(store, alert_with_key(1, "disk")).await;
    let first = replace(store, &first, after_everybody(&first.alert)).await;
    let first = replace(store, &first, after_acknowledging(&first.alert)).await;
    assert!(is_open(store, "disk", 2).await);
    replace(store, &first, after_resolving(&first.alert)).await;
    assert!(!is_open(store, "disk", 3).await);
}

pub(super) async fn a_late_acknowledgement_takes_no_key_from_a_newer_alert(store: &Arc<dyn Store>) {
    let old = keep(store, alert_with_key(1, "disk")).await;
    let old = replace(store, &old, after_everybody(&old.alert)).await;
    let new = keep(store, alert_with_key(2, "disk")).await;
    let old = replace(store, &old, after_acknowledging(&old.alert)).await;
    replace(store, &old, after_resolving(&old.alert)).await;
    let third = store.insert(alert_with_key(3, "disk"), None).await.unwrap();
    assert!(matches!(third, Insert::Open(id) if id == new.alert.id()), "{third:?}");
}

pub(super) async fn what_has_served_its_time_is_forgotten(store: &Arc<dyn Store>) {
    for n in 0..6 {
        let claim = Claim { at: at(u64::from(n)), ..claim(n, Outcome::Created) };
        store.insert(alert(u64::from(n) + 1), Some(claim)).await.unwrap();
    }
    for n in 0..5 {
        store.park(&provider_id(&format!("m-{n}")), &webhook(n), at(n)).await.unwrap();
    }
    assert_eq!(store.tidy(at(4), at(2), 3).await.unwrap(), 5, "no more than three of each at a time");
    assert_eq!(store.tidy(at(4), at(2), 3).await.unwrap(), 1);
    assert_eq!(store.tidy(at(4), at(2), 3).await.unwrap(), 0);
    for n in 0..6 {
        let is_known = store.claimed(&ClaimKey([n; 32])).await.unwrap().is_some();
        assert_eq!(is_known, n >= 4, "key {n}");
    }
    for n in 0..5 {
        let is_known = !store.parked(&provider_id(&format!("m-{n}"))).await.unwrap().is_empty();
        assert_eq!(is_known, n >= 2, "webhook {n}");
    }
    let again = store.insert(alert(20), Some(claim(0, Outcome::Created))).await.unwrap();
    assert!(matches!(again, Insert::Inserted(_)), "a forgotten key can be used again");
}

pub(super) async fn settled_alerts_are_forgotten_after_their_time(store: &Arc<dyn Store>) {
    let mut kept = Vec::new();
    for number in 1..=6 {
        let stored = keep(store, alert(number)).await;
        let settled = match number % 3 {
            0 => after_resolving(&stored.alert),
            1 => after_acknowledging(&after_sending(&stored.alert, &format!("m-{number}"))),
            _ => after_everybody(&stored.alert),
        };
        kept.push(replace(store, &stored, settled).await);
    }
    // Some stores count the next number from the newest alert, and keep that one.
    keep(store, alert(7)).await;
    // Somebody has changed the oldest since.
    let changed = after(&kept[0].alert, &Event::Resolve { by: "Anna".into() }, at(100));
    replace(store, &kept[0], changed).await;
    assert_eq!(store.forget(at(5), 2).await.unwrap(), 2, "no more than two at a time");
    assert_eq!(store.forget(at(5), 2).await.unwrap(), 1);
    assert_eq!(store.forget(at(5), 2).await.unwrap(), 0);
    for (number, kept) in (1..).zip(&kept) {
        let is_there = store.get(kept.alert.id()).await.unwrap().is_some();
        assert_eq!(is_there, [1, 5, 6].contains(&number), "alert {number}");
    }
    let listed = store.list(&Page { limit: 10, ..Page::default() }).await.unwrap();
    let numbers: Vec<u64> = listed.iter().map(|alert| alert.raised.number.0).collect();
    assert_eq!(numbers, [7, 6, 5, 1]);
}

pub(super) async fn a_running_alert_is_never_forgotten(store: &Arc<dyn Store>) {
    let running = keep(store, alert(1)).await;
    let late = keep(store, alert(2)).await;
    let late = replace(store, &late, after_everybody(&late.alert)).await;
    keep(store, alert(3)).await;
    // Somebody answers an exhausted alert just before its time is over.
    replace(store, &late, after(&late.alert, &Event::Resolve { by: "Tony".into() }, at(500))).await;
    assert_eq!(store.forget(at(400), 10).await.unwrap(), 0);
    assert_eq!(read(store, &running.alert).await.alert, running.alert);
    assert_eq!(store.forget(at(u64::from(u32::MAX)), 10).await.unwrap(), 1);
    assert!(store.get(late.alert.id()).await.unwrap().is_none());
    assert_eq!(read(store, &running.alert).await.alert, running.alert);
    let answered = after_resolving(&running.alert);
    assert_eq!(replace(store, &running, answered).await.version, 2, "it goes on as before");
}

pub(super) async fn what_a_forgotten_alert_was_found_by_is_free_again(store: &Arc<dyn Store>) {
    let old = keep(store, alert_with_key(1, "disk")).await;
    let sent = replace(store, &old, after_sending(&old.alert, "m-old")).await;
    replace(store, &sent, after_acknowledging(&sent.alert)).await;
    keep(store, alert(2)).await;
    let tony = address(Channel::Messenger, "6542087712345678");
    let statuses = [StatusFilter::Acknowledged];
    assert_eq!(store.find_address(Channel::Messenger, &tony, &statuses, 9).await.unwrap(), [old.alert.id()]);
    assert_eq!(store.forget(at(50), 10).await.unwrap(), 1);
    assert_eq!(store.find_message(&provider_id("m-old")).await.unwrap(), None);
    assert_eq!(store.find_number(AlertNumber(1)).await.unwrap(), None);
    assert_eq!(store.find_key("disk", 9).await.unwrap(), []);
    assert_eq!(store.find_address(Channel::Messenger, &tony, &statuses, 9).await.unwrap(), []);
    assert!(!is_open(store, "disk", 3).await, "the same problem raises a new alert");
    assert!(store.next_number().await.unwrap() > AlertNumber(3), "no number is given twice");
}

pub(super) async fn a_plan_is_forgotten_with_its_last_alert(store: &Arc<dyn Store>) {
    let old = keep(store, begin(Raised { plan: plan(Backend::Dispatch), ..raised(1) })).await;
    replace(store, &old, after_resolving(&old.alert)).await;
    let running = keep(store, alert(2)).await;
    store.forget_plans().await.unwrap();
    assert_eq!(read(store, &old.alert).await.alert.plan(), old.alert.plan(), "it is in use");
    assert_eq!(store.forget(at(50), 10).await.unwrap(), 1);
    store.forget_plans().await.unwrap();
    assert_eq!(read(store, &running.alert).await.alert.plan(), running.alert.plan());
    let again = keep(store, begin(Raised { plan: plan(Backend::Dispatch), ..raised(3) })).await;
    let again = replace(store, &again, after_resolving(&again.alert)).await;
    assert_eq!(read(store, &again.alert).await.alert.plan(), old.alert.plan(), "it can be taken again");
}

pub(super) async fn a_secret_is_kept_once(store: &Arc<dyn Store>) {
    let mut racers = JoinSet::new();
    for n in 0..50 {
        let store = Arc::clone(store);
        racers.spawn(async move { store.secret("links", [n; 32]).await.unwrap() });
    }
    let secrets = racers.join_all().await;
    assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    assert_eq!(store.secret("other", [99; 32]).await.unwrap(), [99; 32]);
    assert_eq!(store.secret("links", [98; 32]).await.unwrap(), secrets[0]);
}

pub(super) async fn numbers_are_given_once(store: &Arc<dyn Store>) {
    keep(store, alert(1_000)).await;
    let mut racers = JoinSet::new();
    for _ in 0..N_RACING {
        let store = Arc::clone(store);
        racers.spawn(async move { store.next_number().await.unwrap() });
    }
    let mut numbers = racers.join_all().await;
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert!(numbers[0] > AlertNumber(1_000), "the store has an alert with a greater number than {:?}", numbers[0]);
}

pub(super) async fn long_texts_come_back_to_the_letter(store: &Arc<dyn Store>) {
    let message: String =
        "サーバー🔥\u{1F468}\u{200D}\u{1F692} \"down\"\\\n\u{0}".chars().cycle().take(4_000).collect();
    let details = format!(r#"{{"log": "{}", "rtl": "الخادم معطل"}}"#, "x🚨".repeat(42_000));
    assert!(details.len() > 200 * 1_024);
    let long = Raised {
        message: message.as_str().into(),
        details: details.as_str().into(),
        link: Some("https://runbooks.example/サーバー".into()),
        ..raised(1)
    };
    let alert = begin(long);
    let stored = keep(store, Arc::clone(&alert)).await;
    let settled = replace(store, &stored, after_resolving(&stored.alert)).await;
    let found = read(store, &alert).await;
    assert_eq!(*found.alert.raised.message, *message);
    assert_eq!(*found.alert.raised.details, *details);
    assert_eq!(found.alert, settled.alert);
}

pub(super) async fn each_alert_keeps_its_own_plan(store: &Arc<dyn Store>) {
    let mut kept = Vec::new();
    for number in 1..=6 {
        let backend = if number % 2 == 0 { Backend::Dispatch } else { Backend::Messages };
        let stored = keep(store, begin(Raised { plan: plan(backend), ..raised(number) })).await;
        kept.push(replace(store, &stored, after_resolving(&stored.alert)).await);
    }
    for stored in &kept {
        assert_eq!(read(store, &stored.alert).await.alert.plan(), stored.alert.plan());
    }
}

pub(super) async fn an_id_or_number_is_taken_once_and_harms_nobody_else(store: &Arc<dyn Store>) {
    let first = keep(store, alert(1)).await;
    let mut racers = JoinSet::new();
    for n in 2..=100 {
        let store = Arc::clone(store);
        // Every third one wants a number or an id that is taken.
        let wanted = match n % 3 {
            0 => Raised { number: AlertNumber(1), ..raised(n) },
            1 if n > 50 => Raised { id: alert(1).id(), ..raised(n) },
            _ => raised(n),
        };
        let id = wanted.id;
        racers.spawn(async move { (n, id, store.insert(begin(wanted), None).await) });
    }
    for (n, id, result) in racers.join_all().await {
        if n % 3 == 0 || (n % 3 == 1 && n > 50) {
            assert!(matches!(result, Err(Error::Unavailable(_))), "{n}: {result:?}");
        } else {
            assert!(matches!(result, Ok(Insert::Inserted(_))), "{n}: {result:?}");
            assert_eq!(store.get(id).await.unwrap().unwrap().alert.raised.number, AlertNumber(n));
        }
    }
    assert_eq!(read(store, &first.alert).await.alert, first.alert);
}

pub(super) async fn an_alert_that_breaks_a_promise_is_not_kept(store: &Arc<dyn Store>) {
    let nobody_called = Alert { attempts: Vec::new(), ..Alert::clone(&alert(1)) };
    let refused = store.insert(Arc::new(nobody_called.clone()), None).await;
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    let stored = keep(store, alert(1)).await;
    let refused = store.update(&stored, Arc::new(nobody_called), None).await;
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    assert_eq!(read(store, &stored.alert).await.version, 1);
}

pub(super) async fn something_can_be_kept(store: &Arc<dyn Store>) {
    for n in 0..3 {
        store.probe(at(n)).await.expect("the store works");
    }
}
