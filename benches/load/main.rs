//! What callout costs and how quick it is: `cargo bench --bench load [-- NAME…] [--live N] [--seconds N]`.
//!
//! Every figure stands beside the floor's, measured in the same run on the same machine: the least
//! program that does the same durable work ([`floor`]). Figures move with the disk and with neighbours, ratios
//! do so less. Nothing is asserted about times. `docs/performance.md` explains each figure.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "a benchmark measures real time, prints what it finds and stops where it is surprised"
)]

mod contender;
mod figures;
mod floor;
mod provider;
mod storm;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use contender::{API_KEY, Contender, Setup};
use figures::{Sample, beside, heading, millis, row};
use provider::Provider;
use wire::Wire;

/// What can be asked for, in the order in which it is measured.
const ALL: [&str; 8] = ["start", "post", "webhooks", "latency", "timers", "storm", "live", "hold"];

struct Wishes {
    names: Vec<String>,
    /// How many alerts live in `live`.
    n_live: u64,
    /// How long each closed loop runs.
    seconds: u64,
    /// How often each comparison is repeated; the middle one counts.
    rounds: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let [floor, kind, database, provider] = arguments.as_slice()
        && floor == "--floor"
    {
        return runtime.block_on(floor::serve(kind, database, provider));
    }
    let wishes = read(&arguments);
    println!("callout {}, {} processors", env!("CARGO_PKG_VERSION"), std::thread::available_parallelism().map_or(0, Into::into));
    runtime.block_on(async {
        for name in &wishes.names {
            match name.as_str() {
                "start" => start().await,
                "post" => post(&wishes).await,
                "webhooks" => webhooks(&wishes).await,
                "latency" => latency().await,
                "timers" => timers().await,
                "storm" => storm::storm().await,
                "live" => live(&wishes).await,
                "hold" => hold().await,
                other => println!("nothing is called {other}; there are {ALL:?}"),
            }
        }
    });
}

fn read(arguments: &[String]) -> Wishes {
    let mut wishes = Wishes { names: Vec::new(), n_live: 100_000, seconds: 5, rounds: 3 };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|number| number.parse().ok()).expect("a number follows");
        match word.as_str() {
            "--live" => wishes.n_live = number(),
            "--seconds" => wishes.seconds = number(),
            "--rounds" => wishes.rounds = usize::try_from(number()).expect("a small number"),
            name => wishes.names.push(name.to_owned()),
        }
    }
    if wishes.names.is_empty() {
        // Ten minutes of load are for whoever asks for them.
        wishes.names = ALL.iter().filter(|name| **name != "hold").map(|name| (*name).to_owned()).collect();
    }
    wishes
}

/// What a closed loop did.
struct Loop {
    per_second: f64,
    answers: Sample,
    micros_of_cpu: f64,
}

/// Posts alerts over so many connections, each waiting for its answer before the next.
async fn post_loop(to: &Contender, n_connections: usize, duration: Duration, numbers: &Arc<AtomicU64>) -> Loop {
    let (begun, ticks) = (Instant::now(), to.ticks());
    let mut posting = JoinSet::new();
    for _ in 0..n_connections {
        let (address, numbers) = (to.address, Arc::clone(numbers));
        posting.spawn(async move {
            let mut wire = Wire::connect(address).await.expect("it listens");
            let mut answers = Sample::default();
            while begun.elapsed() < duration {
                let body = Contender::alert(numbers.fetch_add(1, Ordering::Relaxed));
                let asked = Instant::now();
                let answer = wire.post("/alerts", API_KEY, &body).await.expect("it answers");
                assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
                answers.add(asked.elapsed());
            }
            answers
        });
    }
    let mut answers = Sample::default();
    while let Some(one) = posting.join_next().await {
        answers.join(one.expect("it posted"));
    }
    summed(answers, begun, to.ticks() - ticks)
}

fn summed(answers: Sample, begun: Instant, ticks: u64) -> Loop {
    let n = answers.n() as f64;
    Loop { per_second: n / begun.elapsed().as_secs_f64(), answers, micros_of_cpu: ticks as f64 * 10_000.0 / n }
}

/// The loop in the middle by throughput.
fn middle(mut loops: Vec<Loop>) -> Loop {
    loops.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    loops.swap_remove(loops.len() / 2)
}

fn compare(what: &str, mut ours: Loop, mut floor: Loop) {
    beside(what, ours.per_second, floor.per_second, "/s");
    let late = |one: &mut Loop| one.answers.permille(990).as_secs_f64() * 1_000.0;
    beside("  p99", late(&mut ours), late(&mut floor), "ms");
    beside("  processor per request", ours.micros_of_cpu, floor.micros_of_cpu, "µs");
}

/// `POST /alerts`, with the first message going out and without.
async fn post(wishes: &Wishes) {
    let duration = Duration::from_secs(wishes.seconds);
    for (title, kind, max_per_second) in
        [("POST /alerts, the first message going out", "call", 0), ("POST /alerts, sends held by the pace", "commit", 1)]
    {
        heading(title);
        for n_connections in [1, 16, 64, 256] {
            let (mut ours, mut floors) = (Vec::new(), Vec::new());
            for _ in 0..wishes.rounds {
                let (provider, address) = Provider::start().await;
                let callout = Contender::callout(&Setup { max_per_second, ..Setup::new(address) });
                ours.push(post_loop(&callout, n_connections, duration, &Arc::new(AtomicU64::new(1))).await);
                drop(callout);
                provider.clear();
                let floor = Contender::floor(kind, address);
                floors.push(post_loop(&floor, n_connections, duration, &Arc::new(AtomicU64::new(1))).await);
            }
            compare(&format!("{n_connections} connections"), middle(ours), middle(floors));
        }
    }
    heading("a bare handler, for comparison");
    let (_provider, address) = Provider::start().await;
    let bare = Contender::floor("bare", address);
    let mut bare = post_loop(&bare, 64, duration, &Arc::new(AtomicU64::new(1))).await;
    row("64 connections", &format!("{:.0} /s, {}", bare.per_second, bare.answers.line()));
}

/// Posts `n` alerts as fast as it goes and waits until each has been messaged.
async fn fill(to: &Contender, provider: &Provider, first: u64, n: u64) {
    const CONNECTIONS: u64 = 64;
    let numbers = Arc::new(AtomicU64::new(first));
    let mut posting = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (address, numbers) = (to.address, Arc::clone(&numbers));
        posting.spawn(async move {
            let mut wire = Wire::connect(address).await.expect("it listens");
            loop {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                if number >= first + n {
                    return;
                }
                let answer = wire.post("/alerts", API_KEY, &Contender::alert(number)).await.expect("it answers");
                assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
            }
        });
    }
    while posting.join_next().await.is_some() {}
    if to.is_callout {
        let begun = Instant::now();
        while (provider.n_calls() as u64) < n {
            assert!(begun.elapsed() < Duration::from_mins(5), "{} of {n} were sent", provider.n_calls());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The answers to the last ones are being written down.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Signed status webhooks, each of another message, over so many connections.
async fn webhook_loop(to: &Contender, calls: Vec<(u64, String)>, n_connections: usize, status: &'static str) -> Loop {
    let signed: Vec<_> = calls.iter().map(|(number, uuid)| to.status(*number, uuid, status)).collect();
    let share = signed.len().div_ceil(n_connections);
    let (begun, ticks) = (Instant::now(), to.ticks());
    let mut posting = JoinSet::new();
    for part in signed.chunks(share) {
        let (address, part) = (to.address, part.to_vec());
        posting.spawn(async move {
            let mut wire = Wire::connect(address).await.expect("it listens");
            let mut answers = Sample::default();
            for (body, token) in part {
                let asked = Instant::now();
                let answer = wire.post("/webhooks/status", &token, &body).await.expect("it answers");
                assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                answers.add(asked.elapsed());
            }
            answers
        });
    }
    let mut answers = Sample::default();
    while let Some(one) = posting.join_next().await {
        answers.join(one.expect("it posted"));
    }
    summed(answers, begun, to.ticks() - ticks)
}

/// The messages that went out, as what a webhook names; the floor's rows carry the same numbers.
fn messages(provider: &Provider, is_callout: bool, n: u64) -> Vec<(u64, String)> {
    if is_callout {
        provider.all().into_iter().map(|call| (call.number, call.message_uuid)).collect()
    } else {
        (1..=n).map(|number| (number, format!("aaaaaaaa-bbbb-4ccc-8ddd-{number:012x}"))).collect()
    }
}

/// Signed webhooks, stored and applied.
async fn webhooks(wishes: &Wishes) {
    heading("signed `delivered` webhooks, stored and applied");
    for n_connections in [1, 16, 64] {
        let n = if n_connections == 1 { 3_000 } else { 20_000 };
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..wishes.rounds {
            for (kind, loops) in [("callout", &mut ours), ("commit", &mut floors)] {
                let (provider, address) = Provider::start().await;
                let contender =
                    if kind == "callout" { Contender::callout(&Setup::new(address)) } else { Contender::floor(kind, address) };
                fill(&contender, &provider, 1, n).await;
                let calls = messages(&provider, contender.is_callout, n);
                loops.push(webhook_loop(&contender, calls, n_connections, "delivered").await);
            }
        }
        compare(&format!("{n_connections} connections"), middle(ours), middle(floors));
    }
}

/// Alerts at an even pace; returns when each post began and how long its answer took.
async fn paced(to: &Contender, per_second: u64, n: u64) -> (Vec<Instant>, Sample) {
    let begun = Instant::now() + Duration::from_millis(50);
    let every = Duration::from_secs(1) / u32::try_from(per_second).expect("a small number");
    let mut posting = JoinSet::new();
    // Enough connections that none is waited for.
    const CONNECTIONS: u64 = 32;
    for lane in 0..CONNECTIONS {
        let address = to.address;
        posting.spawn(async move {
            let mut wire = Wire::connect(address).await.expect("it listens");
            let mut asked = Vec::new();
            for number in (lane..n).step_by(usize::try_from(CONNECTIONS).expect("a small number")) {
                let at = begun + every * u32::try_from(number).expect("a small number");
                tokio::time::sleep_until(at.into()).await;
                let began = Instant::now();
                let answer = wire.post("/alerts", API_KEY, &Contender::alert(number + 1)).await.expect("it answers");
                assert_eq!(answer.status, 201);
                asked.push((number, began, began.elapsed()));
            }
            asked
        });
    }
    let mut asked: Vec<_> = posting.join_all().await.into_iter().flatten().collect();
    asked.sort_unstable();
    let mut answers = Sample::default();
    let begun = asked.into_iter().map(|(_, began, took)| {
        answers.add(took);
        began
    });
    (begun.collect(), answers)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(2), "{what} takes too long");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Posted to first request; rejected to the next channel's request; `read` to stopped on disk.
async fn latency() {
    for per_second in [100, 500] {
        heading(&format!("at {per_second} a second"));
        let n = per_second * 6;
        for kind in ["callout", "call"] {
            let (provider, address) = Provider::start().await;
            let contender =
                if kind == "callout" { Contender::callout(&Setup::new(address)) } else { Contender::floor(kind, address) };
            let (begun, mut answers) = paced(&contender, per_second, n).await;
            until("the last call", || provider.n_calls() as u64 >= n).await;
            let name = if kind == "callout" { "callout" } else { "floor" };
            let mut first = Sample::default();
            for (index, began) in begun.iter().enumerate() {
                if let Some(call) = provider.of(index as u64 + 1).first() {
                    first.add(call.at.saturating_duration_since(*began));
                }
            }
            row(&format!("{name}: posted → answered"), &answers.line());
            row(&format!("{name}: posted → first request"), &first.line());
            if contender.is_callout {
                let calls = messages(&provider, true, n);
                let (half, other) = calls.split_at(calls.len() / 2);
                failover(&contender, &provider, half, per_second).await;
                stop(&contender, &provider, other, per_second).await;
            } else {
                let calls = messages(&provider, false, n / 2);
                let mut answers = paced_webhooks(&contender, &calls, per_second, "read").await.1;
                row("floor: webhook → its row stopped on disk", &answers.line());
            }
        }
    }
}

async fn paced_webhooks(
    to: &Contender,
    calls: &[(u64, String)],
    per_second: u64,
    status: &str,
) -> (Vec<Instant>, Sample) {
    let every = Duration::from_secs(1) / u32::try_from(per_second).expect("a small number");
    let mut wires = Vec::new();
    for _ in 0..8 {
        wires.push(Wire::connect(to.address).await.expect("it listens"));
    }
    let signed: Vec<_> = calls.iter().map(|(number, uuid)| to.status(*number, uuid, status)).collect();
    let begun = Instant::now();
    let n_lanes = wires.len();
    let mut posting = JoinSet::new();
    for (lane, mut wire) in wires.into_iter().enumerate() {
        let mine: Vec<_> = signed.iter().cloned().enumerate().skip(lane).step_by(n_lanes).collect();
        posting.spawn(async move {
            let mut asked = Vec::new();
            for (index, (body, token)) in mine {
                tokio::time::sleep_until((begun + every * u32::try_from(index).expect("a small number")).into()).await;
                let began = Instant::now();
                let answer = wire.post("/webhooks/status", &token, &body).await.expect("it answers");
                assert_eq!(answer.status, 200);
                asked.push((index, began, began.elapsed()));
            }
            asked
        });
    }
    let mut asked: Vec<_> = posting.join_all().await.into_iter().flatten().collect();
    asked.sort_unstable();
    let mut answers = Sample::default();
    let begun = asked.into_iter().map(|(_, began, took)| {
        answers.add(took);
        began
    });
    (begun.collect(), answers)
}

async fn failover(to: &Contender, provider: &Provider, calls: &[(u64, String)], per_second: u64) {
    let (begun, _) = paced_webhooks(to, calls, per_second, "rejected").await;
    until("the last failover", || calls.iter().all(|(number, _)| provider.of(*number).len() > 1)).await;
    let mut next = Sample::default();
    for ((number, _), began) in calls.iter().zip(begun) {
        if let Some(call) = provider.of(*number).get(1) {
            next.add(call.at.saturating_duration_since(began));
        }
    }
    row("callout: rejected → the next channel's request", &next.line());
}

async fn stop(to: &Contender, provider: &Provider, calls: &[(u64, String)], per_second: u64) {
    let (_, mut answers) = paced_webhooks(to, calls, per_second, "read").await;
    row("callout: read → stopped on disk", &answers.line());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let n_more = calls.iter().filter(|(number, _)| provider.of(*number).len() > 1).count();
    row("callout: sends after the 200 of a read", &n_more.to_string());
}

/// How late a deadline fires: from the first message's expiry to the second message at the provider.
async fn timers() {
    const EXPIRY: u32 = 10;
    heading("deadlines, from the moment they are due to the next request at the provider");
    for (per_second, n) in [(1_000, 8_000), (5_000, 30_000)] {
        let (provider, address) = Provider::start().await;
        let callout = Contender::callout(&Setup { expiry: EXPIRY, ..Setup::new(address) });
        let (_, _) = paced(&callout, per_second, n).await;
        until("the last deadline", || provider.n_calls() as u64 >= 2 * n).await;
        let (mut late, mut n_early) = (Sample::default(), 0);
        for number in 1..=n {
            if let [first, second, ..] = provider.of(number).as_slice() {
                let due = first.at + Duration::from_secs(EXPIRY.into());
                n_early += usize::from(second.at < due);
                late.add(second.at.saturating_duration_since(due));
            }
        }
        row(&format!("{per_second}/s: late (with commit and request)"), &late.line());
        row(&format!("{per_second}/s: early"), &n_early.to_string());
    }
}

/// Cold start, idle memory, size of the program.
async fn start() {
    heading("start");
    let (_provider, address) = Provider::start().await;
    let mut starts = Sample::default();
    let mut memory = 0;
    for _ in 0..11 {
        let mut callout = Contender::callout(&Setup::new(address));
        starts.add(callout.kill_and_start().await);
        memory = callout.memory();
    }
    row("start to ready", &starts.line());
    row("idle memory", &format!("{:.1} MiB", memory as f64 / 1_048_576.0));
    let size = std::fs::metadata(contender::program()).map_or(0, |file| file.len());
    row("program", &format!("{:.1} MiB", size as f64 / 1_048_576.0));
}

/// Many alerts that live at once: memory, what an event costs then, idle work, restart.
async fn live(wishes: &Wishes) {
    const FEW: u64 = 1_000;
    heading(&format!("{} live alerts", wishes.n_live));
    let (provider, address) = Provider::start().await;
    let mut callout = Contender::callout(&Setup::new(address));
    let idle = callout.memory();
    fill(&callout, &provider, 1, FEW).await;
    let numbers = Arc::new(AtomicU64::new(1_000_000_000));
    let few = post_loop(&callout, 16, Duration::from_secs(wishes.seconds), &numbers).await;
    let before = provider.n_calls() as u64;
    fill(&callout, &provider, FEW + 1, wishes.n_live.saturating_sub(before)).await;
    let n_live = provider.n_calls() as f64;
    let memory = callout.memory();
    row("memory", &format!("{:.1} MiB", memory as f64 / 1_048_576.0));
    row("memory of each alert", &format!("{:.0} bytes", memory.saturating_sub(idle) as f64 / n_live));
    row("files", &format!("{:.1} MiB", callout.file_bytes() as f64 / 1_048_576.0));
    let many = post_loop(&callout, 16, Duration::from_secs(wishes.seconds), &numbers).await;
    beside("posts a second, many beside few", many.per_second, few.per_second, "/s");
    let reported = provider.all().into_iter().take(20_000).map(|call| (call.number, call.message_uuid)).collect();
    let mut webhooks = webhook_loop(&callout, reported, 16, "delivered").await;
    row("webhooks to the oldest of them", &format!("{:.0} /s, {}", webhooks.per_second, webhooks.answers.line()));
    let ticks = callout.ticks();
    let watched = Duration::from_secs(20);
    tokio::time::sleep(watched).await;
    let busy = (callout.ticks() - ticks) as f64 / 100.0 / watched.as_secs_f64();
    row("processor while nothing happens", &format!("{:.2} %", busy * 100.0));
    let took = callout.kill_and_start().await;
    row("kill -9 to ready again", &format!("{} ms", millis(took)));
}

/// Both hot paths for ten minutes, minute by minute, through checkpoints.
async fn hold() {
    heading("ten minutes of posts and `read` webhooks, 16 connections each");
    let (provider, address) = Provider::start().await;
    let callout = Contender::callout(&Setup::new(address));
    let numbers = Arc::new(AtomicU64::new(1));
    for minute in 1..=10 {
        provider.clear();
        let mut posts = post_loop(&callout, 16, Duration::from_secs(30), &numbers).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let calls = messages(&provider, true, 0);
        let mut reads = webhook_loop(&callout, calls, 16, "read").await;
        let line = format!(
            "posts {:.0} /s {}, reads {:.0} /s {}, {:.0} MiB memory, {:.0} MiB files",
            posts.per_second,
            posts.answers.line(),
            reads.per_second,
            reads.answers.line(),
            callout.memory() as f64 / 1_048_576.0,
            callout.file_bytes() as f64 / 1_048_576.0
        );
        row(&format!("minute {minute}"), &line);
    }
}
