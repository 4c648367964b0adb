//! What every store promises about callbacks.

use std::collections::BTreeSet;
use std::sync::Arc;

use callout::callback::{EndpointId, NewDelivery, Subscriptions, Topic};
use callout::store::{Delivery, DeliveryPage, Outbox, Settled, Store, Which};

use super::keep;
use crate::alerts::{after_everybody, alert, at};

fn hook() -> EndpointId {
    EndpointId::of("https://ops.example.org/hook")
}

fn outbox(store: &Arc<dyn Store>) -> &dyn Outbox {
    store.outbox().expect("it keeps callbacks")
}

fn subscribe(store: &Arc<dyn Store>, topics: &[Topic]) {
    let endpoints = vec![(hook(), topics.to_vec())];
    outbox(store).subscribe(Arc::new(Subscriptions { endpoints, public_url: None }));
}

async fn due(store: &Arc<dyn Store>, seconds: u64) -> Vec<Delivery> {
    outbox(store).take(hook(), at(seconds), at(seconds + 30), &BTreeSet::new(), 10).await.unwrap()
}

async fn kept(store: &Arc<dyn Store>, is_dead: bool) -> Vec<Delivery> {
    outbox(store).deliveries(DeliveryPage { is_dead, before: None, limit: 100 }).await.unwrap()
}

fn told(n: u64) -> NewDelivery {
    NewDelivery {
        endpoint: hook(),
        alert: None,
        topic: Topic::Alarm,
        event: format!("alm_{n}").into(),
        at: at(n),
        body: "{}".into(),
    }
}

const LATE: u64 = 1_000_000;

/// The first of each alert is due, and the next one only when that is settled.
pub(super) async fn callbacks_of_an_alert_come_one_after_the_other(store: &Arc<dyn Store>) {
    subscribe(store, &Topic::ALL);
    let raised = keep(store, alert(1)).await;
    super::replace(store, &raised, after_everybody(&raised.alert)).await;
    keep(store, alert(2)).await;
    let n_kept = kept(store, false).await.len();
    let mut topics = Vec::new();
    for _ in 0..n_kept {
        let due = due(store, LATE).await;
        let alerts: BTreeSet<_> = due.iter().map(|delivery| delivery.alert).collect();
        assert_eq!(alerts.len(), due.len(), "one of each alert");
        let Some(first) = due.iter().find(|delivery| delivery.alert == Some(alert(1).id())) else { break };
        topics.push(first.topic);
        outbox(store).settle(first, Settled::Delivered).await.unwrap();
    }
    assert_eq!((topics.first(), topics.last()), (Some(&Topic::Raised), Some(&Topic::Exhausted)), "{topics:?}");
    assert!(topics.contains(&Topic::Escalated), "{topics:?}");
    assert_eq!(kept(store, false).await.len(), 1, "what was delivered is forgotten");
}

/// Where nobody wants to hear of anything, nothing is kept.
pub(super) async fn what_nobody_wants_to_hear_of_is_not_kept(store: &Arc<dyn Store>) {
    keep(store, alert(1)).await;
    subscribe(store, &[Topic::Resolved]);
    keep(store, alert(2)).await;
    assert_eq!(kept(store, false).await, []);
}

/// A failed one waits until it is due again; one that was given up waits for somebody to replay it.
pub(super) async fn a_callback_that_failed_is_kept_until_it_is_due_or_replayed(store: &Arc<dyn Store>) {
    outbox(store).keep(vec![told(1)]).await.unwrap();
    let first = due(store, 2).await.remove(0);
    assert_eq!((&*first.event, first.tries, first.is_dead), ("alm_1", 0, false));
    let held = BTreeSet::from([first.place]);
    let others = outbox(store).take(hook(), at(2), at(32), &held, 10).await.unwrap();
    assert_eq!(others, [], "what the caller holds already is not given again");
    outbox(store).settle(&first, Settled::Later { due_at: at(50), failure: "HTTP 500".into() }).await.unwrap();
    assert_eq!(due(store, 49).await, []);
    assert_eq!(outbox(store).next_due(hook(), at(49)).await.unwrap(), Some(at(50)));
    let again = due(store, 50).await.remove(0);
    assert_eq!((again.tries, again.failure.as_deref()), (1, Some("HTTP 500")));
    outbox(store).settle(&again, Settled::Dead { failure: "HTTP 503".into() }).await.unwrap();
    assert_eq!(due(store, LATE).await, []);
    let dead = kept(store, true).await;
    assert_eq!((dead.len(), dead[0].is_dead, dead[0].failure.as_deref()), (1, true, Some("HTTP 503")));
    assert_eq!(outbox(store).replay(Which::All, at(60)).await.unwrap(), 1);
    assert_eq!(outbox(store).replay(Which::All, at(60)).await.unwrap(), 0);
    assert_eq!(due(store, 60).await.remove(0).tries, 0);
}

/// The old go first, and so do the oldest of too many.
pub(super) async fn callbacks_that_are_too_old_or_too_many_are_forgotten(store: &Arc<dyn Store>) {
    outbox(store).keep((1..=10).map(told).collect()).await.unwrap();
    assert_eq!(outbox(store).forget_deliveries(at(3), 100, 100).await.unwrap(), 2);
    assert_eq!(outbox(store).forget_deliveries(at(0), 5, 2).await.unwrap(), 2, "a little at a time");
    assert_eq!(outbox(store).forget_deliveries(at(0), 5, 2).await.unwrap(), 1);
    let events: Vec<_> = kept(store, false).await.iter().map(|delivery| delivery.event.to_string()).collect();
    assert_eq!(events, ["alm_10", "alm_9", "alm_8", "alm_7", "alm_6"]);
}
