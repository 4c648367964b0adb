//! How long one alert and one webhook take at an even pace.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Wishes;
use crate::contender::{API_KEY, Contender, Setup};
use crate::figures::{Pairs, Sample, heading, row};
use crate::ingest::settle;
use crate::provider::{Call, Message, Provider};
use crate::webhooks::of_row;
use crate::wire::Wire;

/// Enough connections that none is waited for.
const LANES: usize = 32;
/// How many alerts one round has.
const PER_ROUND: u64 = 300;

/// Sends requests at an even pace; returns when each one began and how long its answer took, in their order.
pub(crate) async fn paced(
    to: &Contender,
    per_second: u64,
    path: &'static str,
    status: u16,
    requests: Vec<(Vec<u8>, String)>,
) -> Vec<(Instant, Duration)> {
    let start = Instant::now() + Duration::from_millis(20);
    let mut lanes: Vec<Vec<_>> = (0..LANES).map(|_| Vec::new()).collect();
    for (index, request) in requests.into_iter().enumerate() {
        lanes[index % LANES].push((index, request));
    }
    let mut posting = JoinSet::new();
    for lane in lanes {
        let address = to.address;
        posting.spawn(async move {
            let mut wire = Wire::connect(address).await.expect("it listens");
            let mut asked = Vec::new();
            for (index, (body, bearer)) in lane {
                let at = start + Duration::from_secs_f64(index as f64 / per_second as f64);
                tokio::time::sleep_until(at.into()).await;
                let began = Instant::now();
                let answer = wire.post(path, &bearer, &body).await.expect("it answers");
                assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
                asked.push((index, began, began.elapsed()));
            }
            asked
        });
    }
    let mut all: Vec<_> = posting.join_all().await.into_iter().flatten().collect();
    all.sort_unstable();
    all.into_iter().map(|(_, began, took)| (began, took)).collect()
}

pub(crate) fn alerts(first: u64, n: u64) -> Vec<(Vec<u8>, String)> {
    (first..first + n).map(|number| (Contender::alert(number), API_KEY.to_owned())).collect()
}

/// One contender, and how far it has been used.
struct Stage {
    to: Contender,
    provider: Provider,
    n_alerts: u64,
}

/// What one round measured.
#[derive(Default)]
struct Round {
    answered: Sample,
    first: Sample,
    next: Sample,
    stopped: Sample,
    n_after_read: usize,
}

impl Stage {
    async fn round(&mut self, per_second: u64) -> Round {
        let mut round = Round::default();
        let first = self.n_alerts + 1;
        self.n_alerts += PER_ROUND;
        self.provider.take();
        let posts = paced(&self.to, per_second, "/alerts", 201, alerts(first, PER_ROUND)).await;
        self.provider.until(PER_ROUND).await;
        settle().await;
        let calls: HashMap<u64, Call> = self.provider.take().into_iter().map(|call| (call.number, call)).collect();
        let mut messages = Vec::new();
        for (number, (began, took)) in (first..).zip(posts) {
            let call = &calls[&number];
            round.answered.add(took);
            round.first.add(call.at.saturating_duration_since(began));
            messages.push(if self.to.is_callout { call.message.clone() } else { of_row(number) });
        }
        let (rejected, read) = messages.split_at(messages.len() / 2);
        let webhooks =
            |messages: &[Message], status| messages.iter().map(|message| Contender::status(message, status)).collect();
        let asked = paced(&self.to, per_second, "/webhooks/status", 200, webhooks(rejected, "rejected")).await;
        self.provider.until(rejected.len() as u64).await;
        // Requests of one kind follow each other in the order of what brought them about, one for each.
        let mut by_number = self.provider.take();
        if self.to.is_callout {
            by_number.sort_by_key(|call| call.number);
        }
        for (call, (began, _)) in by_number.iter().zip(asked) {
            round.next.add(call.at.saturating_duration_since(began));
        }
        let asked = paced(&self.to, per_second, "/webhooks/status", 200, webhooks(read, "read")).await;
        for (_, took) in asked {
            round.stopped.add(took);
        }
        settle().await;
        round.n_after_read = self.provider.take().len();
        round
    }
}

/// Posted to first request; rejected to the next channel's request; `read` to stopped on disk.
pub(crate) async fn latency(wishes: &Wishes) {
    for per_second in [100, 500] {
        heading(&format!("at {per_second} a second"));
        let mut stages = Vec::new();
        for is_callout in [true, false] {
            let (provider, address) = Provider::start().await;
            let to = if is_callout {
                Contender::callout(&Setup { store: wishes.store.clone(), ..Setup::new(address) })
            } else {
                Contender::floor("call", address)
            };
            stages.push(Stage { to, provider, n_alerts: 0 });
        }
        let mut pairs: Vec<Pairs> = (0..8).map(|_| Pairs::default()).collect();
        let mut n_after_read = 0;
        for _ in 0..wishes.n_rounds {
            let mut ours = stages[0].round(per_second).await;
            let mut theirs = stages[1].round(per_second).await;
            n_after_read += ours.n_after_read;
            let samples = [
                (&mut ours.answered, &mut theirs.answered),
                (&mut ours.first, &mut theirs.first),
                (&mut ours.next, &mut theirs.next),
                (&mut ours.stopped, &mut theirs.stopped),
            ];
            for (index, (ours, theirs)) in samples.into_iter().enumerate() {
                pairs[2 * index].add(ours.permille(500), theirs.permille(500));
                pairs[2 * index + 1].add(ours.permille(990), theirs.permille(990));
            }
        }
        let names =
            ["posted → answered", "posted → first request", "rejected → next request", "read → stopped on disk"];
        for (name, pairs) in names.iter().zip(pairs.chunks(2)) {
            pairs[0].print(&format!("{name}, p50"), "ms");
            pairs[1].print(&format!("{name}, p99"), "ms");
        }
        row("requests after the 200 of a `read`", &n_after_read.to_string());
    }
}
