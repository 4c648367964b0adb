//! How many instructions a post and a webhook take, counted by `valgrind --tool=callgrind`.
//!
//! Neighbours do not change the count, so it shows what a later change costs or brings on any machine. One
//! connection asks one thing after the other, so every request has a commit of its own; what the process does
//! to start is taken off by counting runs of different lengths.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::contender::{Contender, Setup};
use crate::figures::{heading, row};
use crate::ingest::fill;
use crate::provider::{Message, Provider};
use crate::webhooks::webhook_loop;

/// The longer and the shorter run, in alerts.
const MANY: u64 = 1_200;
const FEW: u64 = 200;

pub(crate) async fn instructions() {
    heading("instructions, counted by callgrind");
    let there_is = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !there_is.is_ok_and(|status| status.success()) {
        row("not counted", "valgrind is not installed");
        return;
    }
    let few = counted(FEW, 0).await;
    let many = counted(MANY, 0).await;
    let with_webhooks = counted(MANY, MANY).await;
    row("POST /alerts, to the outcome of its first send", &each(many - few, MANY - FEW));
    row("signed `delivered` webhook", &each(with_webhooks - many, MANY));
}

fn each(instructions: u64, n: u64) -> String {
    format!("{:.1} thousand instructions each", instructions as f64 / n as f64 / 1_000.0)
}

/// The instructions of a whole process that takes so many alerts and webhooks.
async fn counted(n_alerts: u64, n_webhooks: u64) -> u64 {
    let (provider, address) = Provider::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("callgrind.out");
    let out_file = format!("--callgrind-out-file={}", out.display());
    let watcher = ["valgrind", "--tool=callgrind", "--quiet", &out_file];
    let mut callout = Contender::callout_within(&Setup::new(address), &watcher);
    fill(&callout, &provider, 1, n_alerts).await;
    let messages: Vec<Message> = provider.take().into_iter().map(|call| call.message).collect();
    if n_webhooks > 0 {
        webhook_loop(&callout, &messages, 1, "delivered").await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    callout.end();
    let text = std::fs::read_to_string(out).expect("callgrind's figures");
    if let Some(keep) = std::env::var_os("CALLGRIND_KEPT_IN") {
        let name = format!("callgrind.{n_alerts}.{n_webhooks}.out");
        std::fs::write(std::path::Path::new(&keep).join(name), &text).expect("a copy");
    }
    let totals = text.lines().find_map(|line| line.strip_prefix("totals:").or(line.strip_prefix("summary:")));
    totals.and_then(|count| count.split_whitespace().next()?.parse().ok()).expect("a total")
}
