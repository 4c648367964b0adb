//! Both hot paths for ten minutes, minute by minute, through checkpoints.

use std::time::Duration;

use crate::contender::{Contender, Setup};
use crate::figures::{heading, mebibytes, row};
use crate::ingest::{numbers_from, post_for, settle};
use crate::provider::{Message, Provider};
use crate::webhooks::webhook_loop;

const MINUTES: u32 = 10;
const CONNECTIONS: usize = 16;
/// How long posts go on in each minute; the rest of it is for their webhooks.
const POSTING: Duration = Duration::from_secs(30);

pub(crate) async fn hold() {
    heading("ten minutes of posts and `read` webhooks, 16 connections");
    let (provider, address) = Provider::start().await;
    let callout = Contender::callout(&Setup::new(address));
    let numbers = numbers_from(1);
    for minute in 1..=MINUTES {
        let mut posts = post_for(&callout, CONNECTIONS, &numbers, POSTING).await;
        provider.until(posts.n).await;
        settle().await;
        let messages: Vec<Message> = provider.take().into_iter().map(|call| call.message).collect();
        let mut reads = webhook_loop(&callout, &messages, CONNECTIONS, "read").await;
        row(&format!("minute {minute}: posts"), &format!("{:.0} /s, {}", posts.per_second, posts.answers.line()));
        row("  reads", &format!("{:.0} /s, {}", reads.per_second, reads.answers.line()));
        let (memory, files) = (mebibytes(callout.memory()), mebibytes(callout.file_bytes()));
        row("  memory, files", &format!("{memory:.0} MiB, {files:.0} MiB"));
    }
}
