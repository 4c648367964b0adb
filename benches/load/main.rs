//! What callout costs and how quick it is: `cargo bench --bench load -- [NAME…] [--rounds N] [--seconds N]
//! [--connections N] [--live N] [--store URL]`.
//!
//! Each figure stands beside the [`floor`]'s, the least program that answers the same requests, measured in
//! short rounds in turn with it, in the same run on the same machine. Figures move with the disk and with
//! neighbours, ratios do so less, and instruction counts not at all. Nothing is asserted about times.
//! `docs/performance.md` explains each figure.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    clippy::allow_attributes,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark measures real time, prints what it finds and stops where it is surprised"
)]

mod contender;
mod figures;
mod floor;
mod hold;
mod ingest;
mod instructions;
mod latency;
mod live;
mod nodes;
mod provider;
mod start;
mod storm;
mod timers;
mod webhooks;
mod wire;

use std::time::Duration;

/// The floor allocates as callout does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What can be asked for, in the order in which it is measured, and whether it is when nobody names anything.
const ALL: [(&str, bool); 10] = [
    ("start", true),
    ("post", true),
    ("webhooks", true),
    ("latency", true),
    ("timers", true),
    ("storm", false),
    ("live", false),
    ("nodes", false),
    ("hold", false),
    ("instructions", false),
];

/// What whoever runs the benchmark wants.
struct Wishes {
    names: Vec<String>,
    /// How many alerts live in `live`.
    n_live: u64,
    /// How long each round of a closed loop takes.
    round: Duration,
    /// How many rounds each comparison has.
    n_rounds: usize,
    /// The only number of connections of a closed loop, if it is not to be several.
    n_connections: Option<usize>,
    /// Where alerts are kept, if it is not in SQLite.
    store: Option<String>,
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
    let n_processors = std::thread::available_parallelism().map_or(0, Into::into);
    println!("callout {}, {n_processors} processors", env!("CARGO_PKG_VERSION"));
    println!(
        "middle of {} rounds in turn; the ratio is the middle one of the rounds' (least to most)",
        wishes.n_rounds
    );
    runtime.block_on(async {
        for name in &wishes.names {
            match name.as_str() {
                "start" => start::start().await,
                "post" => ingest::post(&wishes).await,
                "webhooks" => webhooks::webhooks(&wishes).await,
                "latency" => latency::latency(&wishes).await,
                "timers" => timers::timers().await,
                "storm" => storm::storm().await,
                "live" => live::live(&wishes).await,
                "nodes" => nodes::nodes(&wishes).await,
                "hold" => hold::hold().await,
                "instructions" => instructions::instructions().await,
                other => println!("nothing is called {other}; there are {:?}", ALL.map(|(name, _)| name)),
            }
        }
    });
}

fn read(arguments: &[String]) -> Wishes {
    let mut wishes = Wishes {
        names: Vec::new(),
        n_live: 100_000,
        round: Duration::from_secs(1),
        n_rounds: 5,
        n_connections: None,
        store: None,
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut next = || words.next().expect("a value follows");
        match word.as_str() {
            "--live" => wishes.n_live = next().parse().expect("a number"),
            "--seconds" => wishes.round = Duration::from_secs(next().parse().expect("a number")),
            "--rounds" => wishes.n_rounds = next().parse().expect("a number"),
            "--connections" => wishes.n_connections = Some(next().parse().expect("a number")),
            "--store" => wishes.store = Some(next().clone()),
            name => wishes.names.push(name.to_owned()),
        }
    }
    if wishes.names.is_empty() {
        // What takes many minutes is for whoever asks for it.
        wishes.names = ALL.iter().filter(|(_, is_usual)| *is_usual).map(|(name, _)| (*name).to_owned()).collect();
    }
    wishes
}
