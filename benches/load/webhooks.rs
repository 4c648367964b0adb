//! Signed status webhooks, each of another alert, in a closed loop.

use std::time::Instant;

use tokio::task::JoinSet;

use crate::Wishes;
use crate::contender::{Contender, Setup, random_uuid};
use crate::figures::{Pairs, Sample, heading};
use crate::ingest::{Round, fill};
use crate::provider::{Message, Provider};
use crate::wire::Wire;

/// Webhooks in one round for each connection, so that a round takes about a second.
const PER_ROUND: [(usize, usize); 3] = [(1, 1_000), (16, 4_000), (64, 6_000)];

/// A webhook of each message.
pub(crate) async fn webhook_loop(to: &Contender, messages: &[Message], n_connections: usize, status: &str) -> Round {
    let signed: Vec<_> = messages.iter().map(|message| Contender::status(message, status)).collect();
    let share = signed.len().div_ceil(n_connections).max(1);
    let begun = Instant::now();
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
    Round::of(answers, begun)
}

/// Fills a contender with alerts, and returns what webhooks about them say.
pub(crate) async fn filled(to: &Contender, provider: &Provider, n: usize) -> Vec<Message> {
    provider.take();
    fill(to, provider, 1, n as u64).await;
    if to.is_callout {
        provider.take().into_iter().map(|call| call.message).collect()
    } else {
        (1..=n as u64).map(of_row).collect()
    }
}

/// What the floor knows an alert by.
pub(crate) fn of_row(row: u64) -> Message {
    Message { reference: row.to_string().into(), uuid: random_uuid().into() }
}

/// Signed webhooks, stored and applied.
pub(crate) async fn webhooks(wishes: &Wishes) {
    for status in ["delivered", "read"] {
        heading(&format!("signed `{status}` webhooks, stored and applied"));
        let (provider, address) = Provider::start().await;
        let callout = Contender::callout(&Setup { store: wishes.store.clone(), ..Setup::new(address) });
        let floor = Contender::floor("commit", address);
        let is_wanted = |(n, _): &&(usize, usize)| wishes.n_connections.is_none_or(|only| only == *n);
        let wanted = || PER_ROUND.iter().filter(is_wanted).copied();
        let n = wanted().map(|(_, n_webhooks)| n_webhooks * wishes.n_rounds).sum();
        let (ours, theirs) = (filled(&callout, &provider, n).await, filled(&floor, &provider, n).await);
        let (mut ours, mut theirs) = (ours.as_slice(), theirs.as_slice());
        for (n_connections, n_webhooks) in wanted() {
            let [mut per_second, mut middle, mut late, mut micros_of_cpu] = [(); 4].map(|()| Pairs::default());
            for _ in 0..wishes.n_rounds {
                let mut measured = Vec::new();
                for (to, references) in [(&callout, &mut ours), (&floor, &mut theirs)] {
                    let (now, later) = references.split_at(n_webhooks);
                    *references = later;
                    let ticks = to.ticks();
                    let mut round = webhook_loop(to, now, n_connections, status).await;
                    let micros = (to.ticks() - ticks) as f64 * 10_000.0 / n_webhooks as f64;
                    let times = (round.answers.permille(500), round.answers.permille(990));
                    measured.push([round.per_second, times.0, times.1, micros]);
                }
                per_second.add(measured[0][0], measured[1][0]);
                middle.add(measured[0][1], measured[1][1]);
                late.add(measured[0][2], measured[1][2]);
                micros_of_cpu.add(measured[0][3], measured[1][3]);
            }
            per_second.print(&format!("{n_connections} connections"), "/s");
            middle.print("  p50", "ms");
            late.print("  p99", "ms");
            micros_of_cpu.print("  processor per webhook", "µs");
        }
    }
}
