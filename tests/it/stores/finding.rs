//! By what alerts and webhooks are found.

use std::sync::Arc;

use callout::contact::Channel;
use callout::escalation::{Alert, Backend, Event, Progress, Raised, Report, ReportStatus, Status};
use callout::id::{AlertNumber, AttemptRef};
use callout::incoming::{Foreign, Incoming};
use callout::store::{Page, StatusFilter, Store};
use tokio::task::JoinSet;

use super::{N_RACING, PARKED_MAX, keep, read, replace, webhook};
use crate::alerts::{
    address, after, after_acknowledging, after_everybody, after_failing, after_resolving, after_sending, alert,
    alert_with_key, at, begin, plan, provider_id, raised,
};

pub(super) async fn wake_ups_are_paged_in_the_order_of_ids(store: &Arc<dyn Store>) {
    for number in [3, 1, 5, 2, 4] {
        keep(store, alert(number)).await;
    }
    let first = store.armed(None, 2).await.unwrap();
    let second = store.armed(Some(first[1].id), 2).await.unwrap();
    let third = store.armed(Some(second[1].id), 2).await.unwrap();
    assert!(store.armed(Some(third[0].id), 2).await.unwrap().is_empty());
    let pages: Vec<_> = [first, second, third].concat();
    let expected: Vec<_> = (1..=5).map(|number| (alert(number).id(), at(number))).collect();
    assert_eq!(pages.iter().map(|armed| (armed.id, armed.wake_at)).collect::<Vec<_>>(), expected);
}

pub(super) async fn a_settled_alert_has_no_wake_up(store: &Arc<dyn Store>) {
    let ways: [fn(&Alert) -> Arc<Alert>; 3] = [after_acknowledging, after_everybody, after_resolving];
    let mut settled = Vec::new();
    for (number, settle) in (1..).zip(ways) {
        let stored = keep(store, alert(number)).await;
        settled.push(replace(store, &stored, settle(&stored.alert)).await);
    }
    let live = keep(store, alert(4)).await;
    let armed = store.armed(None, 10).await.unwrap();
    assert_eq!(armed.iter().map(|armed| armed.id).collect::<Vec<_>>(), [live.alert.id()]);
    for stored in settled {
        let found = read(store, &stored.alert).await;
        assert_eq!((found.version, found.alert), (2, stored.alert));
    }
}

pub(super) async fn a_wake_up_says_whether_somebody_is_sending(store: &Arc<dyn Store>) {
    let stored = keep(store, alert(1)).await;
    assert!(!store.armed(None, 1).await.unwrap()[0].sending);
    let sending = after(&stored.alert, &Event::TurnCame, at(1));
    let Status::Escalating(Progress::Sending { until }) = sending.status else { panic!("{:?}", sending.status) };
    let stored = replace(store, &stored, Arc::clone(&sending)).await;
    let armed = store.armed(None, 1).await.unwrap()[0];
    assert!(armed.sending);
    assert_eq!(armed.wake_at, until);
    let accepted = after(&sending, &Event::Accepted { attempt: 1, id: None }, at(2));
    replace(store, &stored, accepted).await;
    let armed = store.armed(None, 1).await.unwrap()[0];
    assert_eq!((armed.sending, armed.wake_at), (false, at(302)));
}

pub(super) async fn who_is_late_is_found_and_nobody_else(store: &Arc<dyn Store>) {
    let late = |before, after: Option<u64>, limit| async move {
        let after = after.map(|number| alert(number).id());
        let overdue = store.overdue(at(before), after, limit).await.unwrap();
        overdue.iter().map(|armed| armed.id).collect::<Vec<_>>()
    };
    let [second, third, tenth] = [2, 3, 10].map(|number| alert(number).id());
    assert!(late(100, None, 9).await.is_empty(), "there is nobody");
    let first_to_come = keep(store, alert(10)).await;
    assert!(late(10, None, 9).await.is_empty(), "it is not late yet");
    for number in [3, 2] {
        keep(store, alert(number)).await;
    }
    assert_eq!(late(10, None, 9).await, [second, third], "these came later, and their moments sooner");
    assert_eq!(late(11, None, 2).await, [second, third]);
    assert_eq!(late(11, Some(3), 2).await, [tenth]);
    assert!(late(2, None, 9).await.is_empty());
    let resolved = after_resolving(&first_to_come.alert);
    replace(store, &first_to_come, resolved).await;
    assert_eq!(late(11, None, 9).await, [second, third], "who is done is not late");
}

pub(super) async fn what_fails_is_found_newest_first(store: &Arc<dyn Store>) {
    let mut failing = Vec::new();
    for number in 1..=4 {
        let stored = keep(store, alert(number)).await;
        failing.push(replace(store, &stored, after_failing(&stored.alert)).await);
    }
    keep(store, alert(5)).await;
    let answered = &failing[1];
    replace(store, answered, after_acknowledging(&answered.alert)).await;
    let [oldest, newer, newest] = [1, 3, 4].map(|number| alert(number).id());
    assert_eq!(store.failing(None, 9).await.unwrap(), [newest, newer, oldest]);
    assert_eq!(store.failing(None, 2).await.unwrap(), [newest, newer]);
    assert_eq!(store.failing(Some(newer), 2).await.unwrap(), [oldest]);
    assert!(store.failing(Some(oldest), 2).await.unwrap().is_empty());
    let again = replace(store, &failing[3], after(&failing[3].alert, &Event::TurnCame, at(60))).await;
    assert_eq!(store.failing(None, 1).await.unwrap(), [newest], "nobody knows yet whether it gets through now");
    replace(store, &again, after(&again.alert, &Event::Accepted { attempt: 1, id: None }, at(61))).await;
    assert_eq!(store.failing(None, 9).await.unwrap(), [newer, oldest]);
}

pub(super) async fn lists_are_newest_first_in_pages(store: &Arc<dyn Store>) {
    for number in [2, 1, 4, 3, 5] {
        keep(store, alert(number)).await;
    }
    let mut page = Page { limit: 2, ..Page::default() };
    let mut seen = Vec::new();
    loop {
        let alerts = store.list(&page).await.unwrap();
        let Some(last) = alerts.last() else { break };
        page.before = Some(last.id());
        seen.extend(alerts.iter().map(|alert| alert.raised.number.0));
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    assert!(store.list(&Page::default()).await.unwrap().is_empty(), "a page of nothing");
}

pub(super) async fn lists_are_filtered_by_status_and_policy(store: &Arc<dyn Store>) {
    let policies = [Some("default"), Some("night"), None];
    for number in 1..=12 {
        let policy = policies[usize::try_from(number % 3).unwrap()].map(Into::into);
        let stored = keep(store, begin(Raised { policy, ..raised(number) })).await;
        let alert = &stored.alert;
        match number % 4 {
            1 => replace(store, &stored, after_acknowledging(alert)).await,
            2 => replace(store, &stored, after_everybody(alert)).await,
            3 => replace(store, &stored, after_resolving(alert)).await,
            _ => stored,
        };
    }
    let list = async |status, policy: Option<&str>, before: Option<u64>| {
        let before = before.map(|number| alert(number).id());
        let page = Page { status, policy: policy.map(Into::into), before, limit: 10 };
        let alerts = store.list(&page).await.unwrap();
        alerts.iter().map(|alert| alert.raised.number.0).collect::<Vec<_>>()
    };
    assert_eq!(list(Some(StatusFilter::Escalating), None, None).await, [12, 8, 4]);
    assert_eq!(list(Some(StatusFilter::Acknowledged), None, None).await, [9, 5, 1]);
    assert_eq!(list(Some(StatusFilter::Exhausted), None, None).await, [10, 6, 2]);
    assert_eq!(list(Some(StatusFilter::Resolved), None, Some(11)).await, [7, 3]);
    assert_eq!(list(None, Some("night"), None).await, [10, 7, 4, 1]);
    assert_eq!(list(None, Some("night"), Some(7)).await, [4, 1]);
    assert_eq!(list(Some(StatusFilter::Escalating), Some("night"), None).await, [4]);
    assert_eq!(list(Some(StatusFilter::Exhausted), Some("night"), Some(10)).await, [0; 0]);
    assert_eq!(list(None, Some("nobody's"), None).await, [0; 0]);
}

pub(super) async fn a_message_is_found_by_every_id_it_ever_had(store: &Arc<dyn Store>) {
    let mut stored = keep(store, alert(1)).await;
    stored = replace(store, &stored, after_sending(&stored.alert, "m-0")).await;
    // More than an alert itself remembers.
    for n in 1..30 {
        let report = Event::Accepted { attempt: 1, id: Some(provider_id(&format!("m-{n}"))) };
        stored = replace(store, &stored, after(&stored.alert, &report, at(2))).await;
    }
    stored = replace(store, &stored, after(&stored.alert, &next_user(), at(3))).await;
    stored = replace(store, &stored, after_sending(&stored.alert, "anna-1")).await;
    let alert = stored.alert.id();
    for n in 0..30 {
        let found = store.find_message(&provider_id(&format!("m-{n}"))).await.unwrap();
        assert_eq!(found, Some(AttemptRef { alert, attempt: 1 }), "m-{n}");
    }
    let found = store.find_message(&provider_id("anna-1")).await.unwrap();
    assert_eq!(found, Some(AttemptRef { alert, attempt: 2 }));
    assert_eq!(store.find_message(&provider_id("M-1")).await.unwrap(), None, "ids are told apart by case");
}

fn next_user() -> Event {
    Event::NextUser { by: "Tony".into(), attempt: None }
}

pub(super) async fn a_message_stays_with_the_attempt_that_had_it_first(store: &Arc<dyn Store>) {
    let first = keep(store, alert(1)).await;
    let first = replace(store, &first, after_sending(&first.alert, "m-1")).await;
    let second = keep(store, alert(2)).await;
    replace(store, &second, after_sending(&second.alert, "m-1")).await;
    let found = store.find_message(&provider_id("m-1")).await.unwrap();
    assert_eq!(found, Some(AttemptRef { alert: first.alert.id(), attempt: 1 }));
}

pub(super) async fn the_messages_of_a_workflow_are_found_once_they_are_known(store: &Arc<dyn Store>) {
    let stored = keep(store, begin(Raised { plan: plan(Backend::Dispatch), ..raised(1) })).await;
    let stored = replace(store, &stored, after_sending(&stored.alert, "workflow-1")).await;
    let report = Report { id: Some(provider_id("leg-2")), leg: 1, status: ReportStatus::Delivered, failure: None };
    assert_eq!(store.find_message(&provider_id("leg-2")).await.unwrap(), None);
    let next = after(&stored.alert, &Event::Reported { attempt: 1, report }, at(5));
    let stored = replace(store, &stored, next).await;
    for id in ["workflow-1", "leg-2"] {
        let found = store.find_message(&provider_id(id)).await.unwrap();
        assert_eq!(found, Some(AttemptRef { alert: stored.alert.id(), attempt: 1 }), "{id}");
    }
}

pub(super) async fn alerts_are_found_by_the_addresses_they_messaged(store: &Arc<dyn Store>) {
    let messenger = address(Channel::Messenger, "6542087712345678");
    let mut kept = Vec::new();
    for number in 1..=4 {
        let stored = keep(store, alert(number)).await;
        kept.push(stored);
    }
    let every = [StatusFilter::Escalating, StatusFilter::Acknowledged, StatusFilter::Exhausted, StatusFilter::Resolved];
    let find = async |channel, text: &str, limit| {
        store.find_address(channel, &address(channel, text), &every, limit).await.unwrap()
    };
    assert!(find(Channel::Messenger, messenger.reveal(), 9).await.is_empty(), "nothing was sent yet");
    for stored in &mut kept {
        *stored = replace(store, stored, after(&stored.alert, &Event::TurnCame, at(9))).await;
    }
    let ids: Vec<_> = kept.iter().map(|stored| stored.alert.id()).collect();
    assert_eq!(find(Channel::Messenger, messenger.reveal(), 9).await, [ids[3], ids[2], ids[1], ids[0]]);
    assert_eq!(find(Channel::Messenger, messenger.reveal(), 2).await, [ids[3], ids[2]]);
    assert!(find(Channel::Sms, "447700900001", 9).await.is_empty(), "not yet on this channel");
    replace(store, &kept[3], after_resolving(&kept[3].alert)).await;
    replace(store, &kept[2], after_acknowledging(&kept[2].alert)).await;
    replace(store, &kept[1], after_everybody(&kept[1].alert)).await;
    assert_eq!(find(Channel::Messenger, messenger.reveal(), 9).await, [ids[2], ids[1], ids[0]]);
    let open = [StatusFilter::Escalating, StatusFilter::Exhausted];
    let found = store.find_address(Channel::Messenger, &messenger, &open, 1).await.unwrap();
    assert_eq!(found, [ids[1]], "what is acknowledged does not stand in the way of what is open");
    let dispatch = keep(store, begin(Raised { plan: plan(Backend::Dispatch), ..raised(8) })).await;
    replace(store, &dispatch, after(&dispatch.alert, &Event::TurnCame, at(9))).await;
    assert_eq!(find(Channel::Sms, "447700900001", 9).await, [dispatch.alert.id()], "a workflow has all its channels");
}

pub(super) async fn an_alert_is_found_by_its_number(store: &Arc<dyn Store>) {
    assert_eq!(store.newest_number().await.unwrap(), AlertNumber(0));
    for number in [7, 3] {
        let stored = keep(store, alert(number)).await;
        assert_eq!(store.find_number(AlertNumber(number)).await.unwrap(), Some(stored.alert.id()));
    }
    assert_eq!(store.newest_number().await.unwrap(), AlertNumber(7));
    assert_eq!(store.find_number(AlertNumber(4)).await.unwrap(), None);
}

pub(super) async fn many_who_ask_at_once_each_find_their_own(store: &Arc<dyn Store>) {
    let mut alerts = Vec::new();
    for n in 0..N_RACING {
        let kept = keep(store, alert(n + 1)).await;
        let message = format!("m-{n}");
        alerts.push(replace(store, &kept, after_sending(&kept.alert, &message)).await.alert);
        for _ in 0..n_parked(n) {
            store.park(&provider_id(&message), &webhook(7), at(n)).await.unwrap();
        }
    }
    let mut askers = JoinSet::new();
    for (n, alert) in (0..N_RACING).zip(alerts) {
        let store = Arc::clone(store);
        askers.spawn(async move {
            let message = provider_id(&format!("m-{n}"));
            let nobodys = provider_id(&format!("nobodys-{n}"));
            let (found, reference, parked, nothing) = tokio::join!(
                store.get(alert.id()),
                store.find_message(&message),
                store.parked(&message),
                store.find_message(&nobodys)
            );
            assert_eq!(found.unwrap().unwrap().alert, alert);
            assert_eq!(reference.unwrap().unwrap().alert, alert.id());
            assert_eq!(parked.unwrap(), vec![webhook(7); n_parked(n)]);
            assert_eq!(nothing.unwrap(), None);
        });
    }
    askers.join_all().await;
}

/// Of few a webhook is parked, of one two.
fn n_parked(n: u64) -> usize {
    usize::from(n.is_multiple_of(100)) + usize::from(n == 0)
}

pub(super) async fn parked_webhooks_come_back_in_order(store: &Arc<dyn Store>) {
    let (early, other) = (provider_id("early"), provider_id("other"));
    assert!(store.parked(&early).await.unwrap().is_empty());
    store.park(&early, &webhook(2), at(1)).await.unwrap();
    store.park(&other, &Incoming::Foreign(Foreign::UnknownStatus), at(2)).await.unwrap();
    store.park(&early, &webhook(1), at(3)).await.unwrap();
    assert_eq!(store.parked(&early).await.unwrap(), [webhook(2), webhook(1)]);
    store.unpark(&early).await.unwrap();
    assert!(store.parked(&early).await.unwrap().is_empty());
    assert_eq!(store.parked(&other).await.unwrap(), [Incoming::Foreign(Foreign::UnknownStatus)]);
}

pub(super) async fn the_oldest_parked_webhooks_make_room(store: &Arc<dyn Store>) {
    let n_parked = u64::try_from(PARKED_MAX).unwrap() + 3;
    for n in 0..n_parked {
        store.park(&provider_id(&format!("m-{n}")), &webhook(n), at(n)).await.unwrap();
    }
    for n in 0..n_parked {
        let expected: &[Incoming] = if n < 3 { &[] } else { &[webhook(n)] };
        assert_eq!(store.parked(&provider_id(&format!("m-{n}"))).await.unwrap(), expected, "m-{n}");
    }
    // What was taken out makes room, too.
    store.unpark(&provider_id("m-4")).await.unwrap();
    store.park(&provider_id("late"), &webhook(9), at(9)).await.unwrap();
    assert_eq!(store.parked(&provider_id("m-3")).await.unwrap(), [webhook(3)]);
}

pub(super) async fn a_key_leads_to_all_of_its_alerts_that_are_not_resolved(store: &Arc<dyn Store>) {
    let found = async |key: &str, limit: usize| {
        let ids = store.find_key(key, limit).await.unwrap();
        (1..=9).filter(|number| ids.contains(&alert(*number).id())).collect::<Vec<u64>>()
    };
    assert_eq!(found("disk", 9).await, [0; 0], "nobody has the key");
    keep(store, alert(9)).await;
    let first = keep(store, alert_with_key(1, "disk")).await;
    assert_eq!(found("disk", 9).await, [1], "it escalates");
    let first = replace(store, &first, after_everybody(&first.alert)).await;
    assert_eq!(found("disk", 9).await, [1], "nobody answered");
    let second = keep(store, alert_with_key(2, "disk")).await;
    keep(store, alert_with_key(3, "memory")).await;
    assert_eq!(found("disk", 9).await, [1, 2]);
    assert_eq!(found("disk", 1).await, [2], "the newest first");
    let first = replace(store, &first, after_acknowledging(&first.alert)).await;
    let second = replace(store, &second, after_acknowledging(&second.alert)).await;
    assert_eq!(found("disk", 9).await, [1, 2], "answered, and still open");
    replace(store, &second, after_resolving(&second.alert)).await;
    assert_eq!(found("disk", 9).await, [1]);
    replace(store, &first, after_resolving(&first.alert)).await;
    let third = keep(store, alert_with_key(4, "disk")).await;
    let third = replace(store, &third, after_everybody(&third.alert)).await;
    replace(store, &third, after_resolving(&third.alert)).await;
    assert_eq!(found("disk", 9).await, [0; 0], "it is over");
    assert_eq!(found("memory", 9).await, [3]);
}
