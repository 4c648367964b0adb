//! `POST /alerts` in a closed loop: over so many connections, each waiting for its answer before the next.

use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Wishes;
use crate::contender::{API_KEY, Contender, Setup};
use crate::figures::{Pairs, Sample, heading};
use crate::provider::Provider;
use crate::wire::Wire;

/// What one round did.
pub(crate) struct Round {
    pub(crate) n: u64,
    /// Answers in a second.
    pub(crate) per_second: f64,
    pub(crate) answers: Sample,
}

impl Round {
    pub(crate) fn of(answers: Sample, begun: Instant) -> Self {
        Self { n: answers.n() as u64, per_second: answers.n() as f64 / begun.elapsed().as_secs_f64(), answers }
    }
}

/// Numbers alerts through all rounds.
pub(crate) type Numbers = Arc<AtomicU64>;

pub(crate) fn numbers_from(first: u64) -> Numbers {
    Arc::new(AtomicU64::new(first))
}

/// Posts alerts for as long as `goes_on` says so, the connections dealt out among `nodes`.
pub(crate) async fn post_while(
    nodes: &[Contender],
    n_connections: usize,
    numbers: &Numbers,
    goes_on: impl Fn(u64) -> bool + Copy + Send + 'static,
) -> Round {
    let begun = Instant::now();
    let mut posting = JoinSet::new();
    for connection in 0..n_connections {
        let (address, numbers) = (nodes[connection % nodes.len()].address, Arc::clone(numbers));
        posting.spawn(async move {
            let mut wire = Wire::connect(address).await.expect("it listens");
            let mut answers = Sample::default();
            loop {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                if !goes_on(number) {
                    return answers;
                }
                let body = Contender::alert(number);
                let asked = Instant::now();
                let answer = wire.post("/alerts", API_KEY, &body).await.expect("it answers");
                assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
                answers.add(asked.elapsed());
            }
        });
    }
    let mut answers = Sample::default();
    while let Some(one) = posting.join_next().await {
        answers.join(one.expect("it posted"));
    }
    Round::of(answers, begun)
}

pub(crate) async fn post_for(to: &Contender, n_connections: usize, numbers: &Numbers, duration: Duration) -> Round {
    post_to_all_for(from_ref(to), n_connections, numbers, duration).await
}

async fn post_to_all_for(nodes: &[Contender], n_connections: usize, numbers: &Numbers, duration: Duration) -> Round {
    let until = Instant::now() + duration;
    post_while(nodes, n_connections, numbers, move |_| Instant::now() < until).await
}

/// Posts `n` alerts as fast as it goes and waits until each has been messaged.
pub(crate) async fn fill(to: &Contender, provider: &Provider, first: u64, n: u64) {
    const CONNECTIONS: usize = 64;
    let n_before = provider.n_calls();
    post_while(from_ref(to), CONNECTIONS, &numbers_from(first), move |number| number < first + n).await;
    if to.is_callout {
        provider.until(n_before + n).await;
        settle().await;
    }
}

/// The answers to the last sends are being written down.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// What was measured of posts, round by round.
#[derive(Default)]
pub(crate) struct Figures {
    per_second: Pairs,
    sent_per_second: Pairs,
    middle: Pairs,
    late: Pairs,
    micros_of_cpu: Pairs,
}

impl Figures {
    pub(crate) fn add(&mut self, ours: [f64; 5], theirs: [f64; 5]) {
        self.per_second.add(ours[0], theirs[0]);
        self.sent_per_second.add(ours[1], theirs[1]);
        self.middle.add(ours[2], theirs[2]);
        self.late.add(ours[3], theirs[3]);
        self.micros_of_cpu.add(ours[4], theirs[4]);
    }

    pub(crate) fn print(&self, title: &str, sends: bool) {
        self.per_second.print(title, "/s");
        if sends {
            self.sent_per_second.print("  until all were sent", "/s");
        }
        self.middle.print("  p50", "ms");
        self.late.print("  p99", "ms");
        self.micros_of_cpu.print("  processor per alert", "µs");
    }
}

/// One round, and until everything that it began is over: posts in a second, the same until all were sent, the middle
/// and the late answer in ms, and processor time for each alert in µs.
pub(crate) async fn measured(
    nodes: &[Contender],
    provider: &Provider,
    n_connections: usize,
    numbers: &Numbers,
    duration: Duration,
    sends: bool,
) -> [f64; 5] {
    provider.take();
    let ticks = || nodes.iter().map(Contender::ticks).sum::<u64>();
    let (begun, ticks_before) = (Instant::now(), ticks());
    let mut round = post_to_all_for(nodes, n_connections, numbers, duration).await;
    if sends {
        provider.until(round.n).await;
    }
    let drained = begun.elapsed();
    settle().await;
    let n = round.n as f64;
    let micros_of_cpu = (ticks() - ticks_before) as f64 * 10_000.0 / n;
    let (middle, late) = (round.answers.permille(500), round.answers.permille(990));
    [round.per_second, n / drained.as_secs_f64(), middle, late, micros_of_cpu]
}

/// `POST /alerts`, with the first message going out and without.
pub(crate) async fn post(wishes: &Wishes) {
    for (title, kind, sends) in [
        ("POST /alerts, the first message going out", "call", true),
        ("POST /alerts, sends held by the pace", "commit", false),
    ] {
        heading(title);
        let usual = [1, 16, 64, 256];
        for n_connections in wishes.n_connections.map_or(usual.to_vec(), |only| vec![only]) {
            let (provider, address) = Provider::start().await;
            let max_per_second = u32::from(!sends);
            let callout =
                Contender::callout(&Setup { max_per_second, store: wishes.store.clone(), ..Setup::new(address) });
            let floor = Contender::floor(kind, address);
            let numbers = numbers_from(1);
            let mut figures = Figures::default();
            for _ in 0..wishes.n_rounds {
                let [ours, theirs] = [from_ref(&callout), from_ref(&floor)];
                let ours = measured(ours, &provider, n_connections, &numbers, wishes.round, sends).await;
                let theirs = measured(theirs, &provider, n_connections, &numbers, wishes.round, sends).await;
                figures.add(ours, theirs);
            }
            figures.print(&format!("{n_connections} connections: posts"), sends);
        }
    }
    heading("a bare handler, for comparison");
    let (_provider, address) = Provider::start().await;
    let bare = Contender::floor("bare", address);
    let mut round = post_for(&bare, 64, &numbers_from(1), wishes.round).await;
    crate::figures::row("64 connections", &format!("{:.0} /s, {}", round.per_second, round.answers.line()));
}
