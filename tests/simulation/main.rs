//! Simulated days: the real engine and the real machine, one thread, one seed, simulated time, and everything
//! that can go wrong. Each day is judged by the oracle; the same seed gives the same day.
//!
//! ```text
//! cargo test --test simulation -- --seeds 20000 --from 1     as many days as you like, one line per promise
//! cargo test --test simulation -- --replay 4711              one day, with everything that happened
//! cargo test --test simulation -- --power                    planted bugs, and how soon each is found
//! ```
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for tests: it fails by panicking, and prints what it found"
)]

mod bugs;
mod dice;
#[path = "../oracle/mod.rs"]
mod oracle;
mod ports;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bugs::{BUGS, Bug};
use oracle::{Broken, PROMISES};
use world::{Day, MARKS, live};

/// How many days are lived where nothing else is asked for.
const SEEDS_DEFAULT: u64 = 100;
/// How many days a planted bug may stay unseen.
const POWER_SEEDS: u64 = 500;
/// How many days are lived twice, to see that they are the same.
const TWICE: u64 = 50;
/// From so many days on, each interesting situation must have come up and each planted bug is looked for.
const MARKS_FROM: u64 = 1_000;

/// Nothing is overloaded on these days; the real program is (`tests/chaos`).
const NOT_JUDGED: &str = "P19";

struct Wish {
    seeds: u64,
    from: u64,
    hours: u64,
    replay: Option<u64>,
    bug: Option<Bug>,
    is_power: bool,
    is_for_others: bool,
}

fn wish() -> Wish {
    let mut wish = Wish {
        seeds: SEEDS_DEFAULT,
        from: 1,
        hours: 24,
        replay: None,
        bug: None,
        is_power: false,
        is_for_others: false,
    };
    let days = std::env::vars().find(|(name, _)| name == "CALLOUT_SIMULATED_DAYS");
    wish.seeds = days.and_then(|(_, days)| days.parse().ok()).unwrap_or(SEEDS_DEFAULT);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number =
            || words.next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{word} wants a number"));
        match word.as_str() {
            "--seeds" => wish.seeds = number(),
            "--from" => wish.from = number(),
            "--hours" => wish.hours = number(),
            "--replay" => wish.replay = Some(number()),
            "--power" => wish.is_power = true,
            "--bug" => {
                let index = usize::try_from(number()).unwrap();
                wish.bug = Some(BUGS[index].0);
            }
            // What cargo gives to every test program.
            filter if !filter.starts_with('-') => wish.is_for_others = !"simulation".contains(filter),
            _ => {}
        }
    }
    wish
}

fn main() -> ExitCode {
    let wish = wish();
    if wish.is_for_others {
        return ExitCode::SUCCESS;
    }
    if let Some(seed) = wish.replay {
        let day = live(seed, wish.bug, wish.hours, true);
        for line in &day.lines {
            println!("{line}");
        }
        println!("seed {seed}: trace {:016x}", day.hash);
        for broken in &day.broken {
            println!("{broken}");
        }
        return if day.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let mut is_well = if wish.is_power { shows_its_power(wish.bug) } else { many(&wish) };
    if !wish.is_power {
        is_well &= repeats_itself(wish.from, wish.hours);
    }
    if !wish.is_power && wish.seeds >= MARKS_FROM {
        is_well &= shows_its_power(None);
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Lives through many days on all processors, until `enough` says so; each thread takes the next seed.
fn on_all_processors(from: u64, n: u64, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(from);
    let is_over = AtomicBool::new(false);
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + n {
                        return;
                    }
                    if !work(seed) {
                        is_over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[derive(Default)]
struct Sum {
    n_days: u64,
    n_alerts: usize,
    n_sent: usize,
    n_faults: usize,
    marks: BTreeSet<&'static str>,
    broken: BTreeMap<&'static str, Vec<(u64, Broken)>>,
}

impl Sum {
    fn add(&mut self, seed: u64, day: Day) {
        self.n_days += 1;
        self.n_alerts += day.n_alerts;
        self.n_sent += day.n_sent;
        self.n_faults += day.n_faults;
        self.marks.extend(day.marks);
        for broken in day.broken {
            self.broken.entry(broken.promise).or_default().push((seed, broken));
        }
    }
}

fn many(wish: &Wish) -> bool {
    let sum = Mutex::new(Sum::default());
    on_all_processors(wish.from, wish.seeds, |seed| {
        let day = live(seed, wish.bug, wish.hours, false);
        sum.lock().unwrap().add(seed, day);
        true
    });
    let sum = sum.into_inner().unwrap();
    println!(
        "{} simulated days from seed {}: {} alerts, {} requests to the provider, {} faults",
        sum.n_days, wish.from, sum.n_alerts, sum.n_sent, sum.n_faults
    );
    for (promise, words) in PROMISES {
        match sum.broken.get(promise) {
            None if *promise == NOT_JUDGED => {
                println!("{promise:<4} not judged here ({words}); tests/chaos/overload.rs does");
            }
            None => println!("{promise:<4} ok, {} seeds ({words})", sum.n_days),
            Some(broken) => {
                println!("{promise:<4} BROKEN {} times ({words})", broken.len());
                let mut first: Vec<_> = broken.iter().collect();
                first.sort();
                for (seed, broken) in first.into_iter().take(3) {
                    println!("     seed {seed}: {broken}");
                    println!("     replay: cargo test --test simulation -- --hours {} --replay {seed}", wish.hours);
                }
            }
        }
    }
    let unmet: Vec<_> = MARKS.iter().filter(|mark| !sum.marks.contains(*mark)).collect();
    println!("{} of {} interesting situations were met", MARKS.len() - unmet.len(), MARKS.len());
    for mark in &unmet {
        println!("     not met: {mark}");
    }
    sum.broken.is_empty() && (unmet.is_empty() || wish.seeds < MARKS_FROM)
}

/// The same seed gives the same day.
fn repeats_itself(from: u64, hours: u64) -> bool {
    let is_different = AtomicBool::new(false);
    on_all_processors(from, TWICE, |seed| {
        let (first, second) = (live(seed, None, hours, false).hash, live(seed, None, hours, false).hash);
        if first != second {
            println!("seed {seed} gave two days: {first:016x} and {second:016x}");
            is_different.store(true, Ordering::Relaxed);
        }
        true
    });
    let is_well = !is_different.into_inner();
    if is_well {
        println!("{TWICE} seeds gave the same day twice");
    }
    is_well
}

/// Each planted bug, or the one that is asked for, is found by a promise that it breaks.
fn shows_its_power(only: Option<Bug>) -> bool {
    let mut is_well = true;
    for (bug, words, breaks) in BUGS.iter().filter(|(bug, _, _)| only.is_none_or(|only| only == *bug)) {
        let found: Mutex<Option<(u64, Broken)>> = Mutex::default();
        on_all_processors(1, POWER_SEEDS, |seed| {
            let day = live(seed, Some(*bug), 24, false);
            let Some(broken) = day.broken.into_iter().find(|broken| breaks.contains(&broken.promise)) else {
                return true;
            };
            let mut found = found.lock().unwrap();
            if found.as_ref().is_none_or(|(earlier, _)| seed < *earlier) {
                *found = Some((seed, broken));
            }
            false
        });
        if let Some((seed, broken)) = found.into_inner().unwrap() {
            println!("found by seed {seed:>3}: {words}: {broken}");
        } else {
            println!("NOT FOUND in {POWER_SEEDS} seeds: {words}");
            is_well = false;
        }
    }
    is_well
}
