//! How late deadlines are: from the moment at which a message expires to the next one's arrival at the provider.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use callout::timestamp::Timestamp;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::contender::{API_KEY, Contender, Setup};
use crate::figures::{Sample, heading, row};
use crate::provider::Provider;
use crate::wire::Wire;

/// How fast alerts are posted.
const POSTED_PER_SECOND: u64 = 1_000;
/// For how long deadlines pass.
const SECONDS: u64 = 5;
/// How long the last ones wait at least.
const EXPIRY_LEAST: u64 = 10;
/// How many alerts are asked for their deadline; the others are like them.
const ASKED: u64 = 2_000;
const CONNECTIONS: u64 = 32;

pub(crate) async fn timers() {
    heading("deadlines, from the moment they pass to the next request's arrival");
    for per_second in [1_000, 5_000] {
        let (provider, address) = Provider::start().await;
        let callout = Contender::callout(&Setup::new(address));
        fire(&callout, &provider, per_second, 1).await;
    }
}

/// Posts alerts so that `per_second` of their deadlines pass in a second, later.
pub(crate) async fn fire(callout: &Contender, provider: &Provider, per_second: u64, first: u64) {
    let n = per_second * SECONDS;
    let seconds_of_posting = n.div_ceil(POSTED_PER_SECOND);
    // So many seconds of posting come to their deadlines within one second.
    let folded = (per_second / POSTED_PER_SECOND).max(1);
    provider.take();
    let (anchor, wall) = (Instant::now(), SystemTime::now());
    let begun = Instant::now() + Duration::from_millis(50);
    let mut posting = JoinSet::new();
    for lane in 0..CONNECTIONS {
        let address = callout.address;
        posting.spawn(async move {
            let mut wire = Wire::connect(address).await.expect("it listens");
            let mut ids = Vec::new();
            for index in (lane..n).step_by(CONNECTIONS as usize) {
                let at = begun + Duration::from_secs_f64(index as f64 / POSTED_PER_SECOND as f64);
                tokio::time::sleep_until(at.into()).await;
                let second = index / POSTED_PER_SECOND;
                let expiry = seconds_of_posting + EXPIRY_LEAST + second / folded - second;
                let body = Contender::alert_of(first + index, "critical", &expiry.to_string());
                let answer = wire.post("/alerts", API_KEY, &body).await.expect("it answers");
                assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
                if index % (n / ASKED).max(1) == 0 {
                    let alert: Value = serde_json::from_slice(&answer.body).expect("an alert");
                    ids.push((first + index, alert["id"].as_str().expect("its id").to_owned()));
                }
            }
            ids
        });
    }
    let ids: Vec<(u64, String)> = posting.join_all().await.into_iter().flatten().collect();
    provider.until(2 * n).await;
    let mut calls: HashMap<u64, Vec<Instant>> = HashMap::new();
    for call in provider.take() {
        calls.entry(call.number).or_default().push(call.at);
    }
    let mut seconds: Vec<Instant> = calls.values().filter_map(|calls| calls.get(1).copied()).collect();
    seconds.sort_unstable();
    let (mut late, mut n_early) = (Sample::default(), 0);
    let mut wire = Wire::connect(callout.address).await.expect("it listens");
    for (number, id) in &ids {
        let due = wall_of(&deadline(&mut wire, id).await);
        let arrived = wall + calls[number][1].duration_since(anchor);
        n_early += usize::from(arrived < due);
        late.add(arrived.duration_since(due).unwrap_or_default());
    }
    let took = seconds[seconds.len() - 1] - seconds[0];
    row(&format!("{per_second}/s: late, with commit and request"), &late.line());
    row("  early", &n_early.to_string());
    row("  requests in a second", &format!("{:.0}", seconds.len() as f64 / took.as_secs_f64()));
}

async fn deadline(wire: &mut Wire, id: &str) -> String {
    let answer = wire.get(&format!("/alerts/{id}"), API_KEY).await.expect("it answers");
    let alert: Value = serde_json::from_slice(&answer.body).expect("an alert");
    alert["attempts"][0]["expires_at"].as_str().expect("its deadline").to_owned()
}

fn wall_of(text: &str) -> SystemTime {
    let moment: Timestamp = text.parse().expect("a moment");
    SystemTime::UNIX_EPOCH + Duration::from_millis(moment.as_millis() as u64)
}
