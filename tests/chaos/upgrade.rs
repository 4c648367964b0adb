//! A really older program gives way to this one: after `kill -9` on the same file, and as one node after the other.
//!
//! The older program is built elsewhere and named by `CALLOUT_CHAOS_OLDER` (docs/promise.md says how).

use std::path::PathBuf;
use std::time::Duration;

use callout::clock::system_now;

use crate::history::{crashes, judge_by_the_oracle};
use crate::home::{Home, Server, beside_another, free_port, pause};
use crate::judge::{Life, Pace, judge};
use crate::kills::{check_copy, collect};
use crate::load::{Ledger, Load};
use crate::postgres::Database;
use crate::size::{seed, variable};

/// How long each of the two has the alerts to itself, and both together.
const TURN: Duration = Duration::from_secs(4);

/// The older program; none where nobody named one.
fn older() -> Option<PathBuf> {
    let older = variable("CALLOUT_CHAOS_OLDER").map(PathBuf::from);
    if older.is_none() {
        // The gate has only the program that it builds.
        eprintln!("LEFT OUT: an older callout; name one with CALLOUT_CHAOS_OLDER");
    }
    older
}

fn life(server: &Server) -> Life {
    Life { begun: server.spawned, listens: Some(server.listens), ended: None }
}

/// What it said beyond the usual.
fn warnings(server: &Server) -> String {
    let said = server.said();
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    warnings.join("\n")
}

async fn judged(home: &Home, ledger: Ledger, lives: Vec<Life>, pace: Pace) {
    let evidence = collect(home, ledger, lives).await;
    let mut verdict = judge(&evidence, pace);
    verdict.broken.extend(judge_by_the_oracle(home, &evidence, &crashes(&evidence.lives), pace));
    assert!(verdict.broken.is_empty(), "seed {}:\n{}", seed(), verdict.broken.join("\n"));
    eprintln!(
        "seed {}: {} alerts accepted, {} requests unanswered, {} sends of which {} repeated; 0 lost, 0 skipped; \
         latest deadline or send {:?} after it was due",
        seed(),
        evidence.ledger.promised.len(),
        evidence.ledger.n_unanswered,
        evidence.sent.len(),
        verdict.n_repeated,
        verdict.latest,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_one_is_killed_and_this_one_goes_on_with_its_file() {
    let _beside = beside_another().await;
    let Some(older) = older() else { return };
    let home = Home::new().await;
    let mut old = Home::start_command(home.command_of(&older, home.port)).await.unwrap();
    let load = Load::begin(&home, 4, 8, seed());
    pause(TURN).await;
    old.kill();
    let mut lives = vec![Life { ended: Some(system_now()), ..life(&old) }];
    let mut new = home.start(None).await.unwrap();
    lives.push(life(&new));
    pause(TURN).await;
    eprintln!("the older one said:\n{}\nthis one said:\n{}", warnings(&old), warnings(&new));
    judged(&home, load.end().await, lives, Pace::WithinASecond).await;
    assert_eq!(new.terminate().await, Some(0));
    check_copy(&home.database());
    // And back: the older one refuses what it does not know, and leaves it as it is.
    let refused = Home::start_command(home.command_of(&older, home.port)).await;
    match refused {
        Ok(mut old) => old.kill(),
        Err(ended) => eprintln!("the older one ended with {:?} on the newer file:\n{}", ended.code, ended.said),
    }
    let mut new = home.start(None).await.unwrap();
    assert_eq!(new.terminate().await, Some(0), "it is still there for this one");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_replaced_one_after_the_other() {
    let _beside = beside_another().await;
    let Some(older) = older() else { return };
    let Some(database) = Database::new().await else { return };
    let home = Home::with_store(Some(format!("{}?sslmode=disable", database.address()))).await;
    let mut old = Home::start_command(home.command_of(&older, home.port)).await.unwrap();
    let load = Load::begin(&home, 4, 8, seed());
    pause(TURN).await;
    let mut beside = Home::start_command(home.command_at(free_port())).await.unwrap();
    // The schema is the newer one now, and the older node works on.
    pause(TURN).await;
    assert!(old.ended().is_none(), "the older one ended: {}", old.said());
    old.kill();
    let mut lives = vec![Life { ended: Some(system_now()), ..life(&old) }];
    let mut new = home.start(None).await.unwrap();
    lives.push(life(&new));
    pause(TURN).await;
    eprintln!("the older one said:\n{}\nthis one, beside it:\n{}", warnings(&old), warnings(&beside));
    judged(&home, load.end().await, lives, Pace::SeveralNodes).await;
    assert_eq!((beside.terminate().await, new.terminate().await), (Some(0), Some(0)));
}
