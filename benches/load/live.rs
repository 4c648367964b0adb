//! Many alerts that live at once, beside a process with few: memory, what an event costs, idle work, deadlines,
//! restart.

use crate::Wishes;
use crate::contender::{Contender, Setup};
use crate::figures::{Pairs, Sample, heading, mebibytes, row};
use crate::ingest::{Numbers, fill, numbers_from, post_for, settle};
use crate::provider::{Message, Provider};
use crate::start::WATCHED;
use crate::{timers, webhooks};

/// How many alerts live in the process beside it.
const FEW: u64 = 1_000;
/// How many are posted before the provider's memory of them is cleared.
const STRETCH: u64 = 50_000;
const CONNECTIONS: usize = 16;
/// How many webhooks are sent in a round.
const WEBHOOKS: usize = 2_000;
const RESTARTS: usize = 3;

/// One of the two processes.
struct Stage {
    to: Contender,
    provider: Provider,
    numbers: Numbers,
    /// The messages of its oldest alerts.
    oldest: Vec<Message>,
}

impl Stage {
    async fn with(n_alerts: u64) -> Self {
        let (provider, address) = Provider::start().await;
        let to = Contender::callout(&Setup::new(address));
        let mut oldest = Vec::new();
        let mut first = 1;
        while first <= n_alerts {
            let n = STRETCH.min(n_alerts + 1 - first);
            fill(&to, &provider, first, n).await;
            let calls = provider.take();
            if oldest.is_empty() {
                oldest = calls.into_iter().map(|call| call.message).collect();
            }
            first += n;
        }
        Self { to, provider, numbers: numbers_from(n_alerts + 1), oldest }
    }

    async fn post(&self, wishes: &Wishes) -> [f64; 2] {
        self.provider.take();
        let mut round = post_for(&self.to, CONNECTIONS, &self.numbers, wishes.round).await;
        self.provider.until(round.n).await;
        settle().await;
        [round.per_second, round.answers.permille(500)]
    }

    async fn webhooks(&self, status: &str, round: usize) -> [f64; 2] {
        // The process with few gets the same ones again and again; each has its effect once.
        let skipped = (round * WEBHOOKS) % self.oldest.len().max(1);
        let some: Vec<_> = self.oldest.iter().cycle().skip(skipped).take(WEBHOOKS).cloned().collect();
        let mut round = webhooks::webhook_loop(&self.to, &some, CONNECTIONS, status).await;
        [round.per_second, round.answers.permille(500)]
    }
}

pub(crate) async fn live(wishes: &Wishes) {
    heading(&format!("{} live alerts", wishes.n_live));
    let few = Stage::with(FEW.max(WEBHOOKS as u64 * wishes.n_rounds as u64)).await;
    let idle = few.to.memory();
    let mut many = Stage::with(wishes.n_live).await;
    let memory = many.to.memory();
    row(
        "memory",
        &format!("{:.1} MiB, {:.1} MiB at its peak", mebibytes(memory), mebibytes(many.to.memory_at_its_peak())),
    );
    let each = memory.saturating_sub(idle) as f64 / wishes.n_live as f64;
    row("memory of each alert", &format!("{each:.0} bytes"));
    row("files", &format!("{:.1} MiB", mebibytes(many.to.file_bytes())));
    let busy = many.to.busy_for(WATCHED).await;
    row("processor while nothing happens", &format!("{:.2} %", busy * 100.0));
    let [mut posts, mut post_times, mut hooks, mut hook_times] = [(); 4].map(|()| Pairs::default());
    for round in 0..wishes.n_rounds {
        let (ours, theirs) = (many.post(wishes).await, few.post(wishes).await);
        posts.add(ours[0], theirs[0]);
        post_times.add(ours[1], theirs[1]);
        let (ours, theirs) = (many.webhooks("delivered", round).await, few.webhooks("delivered", round).await);
        hooks.add(ours[0], theirs[0]);
        hook_times.add(ours[1], theirs[1]);
    }
    row("", "(below, the floor is callout with a thousand or so live alerts)");
    posts.print("posts", "/s");
    post_times.print("  p50", "ms");
    hooks.print("webhooks to the oldest alerts", "/s");
    hook_times.print("  p50", "ms");
    drop(few);
    timers::fire(&many.to, &many.provider, 1_000, 1_000_000_000).await;
    timers::fire(&many.to, &many.provider, 5_000, 2_000_000_000).await;
    let mut starts = Sample::default();
    for _ in 0..RESTARTS {
        starts.add(many.to.kill_and_start().await);
    }
    row("kill -9 to ready again, timers armed", &starts.line());
    row("memory then", &format!("{:.1} MiB", mebibytes(many.to.memory())));
}
