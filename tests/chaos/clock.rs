//! Somebody steps the wall clock, while callout runs and while it is down, and kills callout in between.

use std::time::Duration;

use callout::clock::system_now;

use crate::dice::Dice;
use crate::history::{crashes, judge_by_the_oracle};
use crate::home::{Home, beside_another, pause, quick_folder};
use crate::judge::{Life, Pace, judge};
use crate::kills::collect;
use crate::load::Load;
use crate::shim::{Shim, Switch};
use crate::size::{Size, seed};

const STEPS: Size = Size { name: "CLOCK_STEPS", taste: 4, ci: 12, long: 300 };
const N_CLIENTS: usize = 4;
const ALERTS_PER_SECOND_EACH: u64 = 8;
/// How far it is stepped, in seconds; most times back again soon.
const FAR: [i32; 8] = [3, -3, 60, -60, 3_600, -3_600, 86_400, -86_400];

#[tokio::test(flavor = "multi_thread")]
async fn a_stepped_wall_clock_fires_nothing_early_and_holds_nothing_back() {
    let _beside = beside_another().await;
    let seed = seed();
    let mut dice = Dice::new(seed);
    let folder = quick_folder();
    let nowhere = folder.path().join("nowhere");
    let wall = Shim::over(&nowhere).switched(&folder.path().join("switches"));
    let home = Home::with_wall_clock(&wall).await;
    let load = Load::begin(&home, N_CLIENTS, ALERTS_PER_SECOND_EACH, seed);
    let mut lives = Vec::new();
    let n_steps = STEPS.get();
    for step in 0..n_steps {
        let mut server = home.start(Some(&wall)).await.unwrap();
        // Until there is something that waits for a moment.
        pause(Duration::from_millis(500 + dice.below(500))).await;
        let far = FAR[step % FAR.len()];
        if step % 2 == 0 {
            wall.turn(Switch::Wall, far);
            pause(Duration::from_millis(500 + dice.below(500))).await;
        }
        server.kill();
        lives.push(Life { begun: server.spawned, listens: Some(server.listens), ended: Some(system_now()) });
        wall.turn(Switch::Wall, if step % 2 == 0 { 0 } else { far });
    }
    let mut last = home.start(Some(&wall)).await.unwrap();
    lives.push(Life { begun: last.spawned, listens: Some(last.listens), ended: None });
    let ledger = load.end().await;
    let evidence = collect(&home, ledger, lives).await;
    let mut verdict = judge(&evidence, Pace::WithinASecond);
    verdict.broken.extend(judge_by_the_oracle(&home, &evidence, &crashes(&evidence.lives), Pace::WithinASecond));
    assert!(verdict.broken.is_empty(), "seed {seed}, {n_steps} steps:\n{}", verdict.broken.join("\n"));
    let said = last.said();
    let is_stepped = n_steps.is_multiple_of(2);
    assert_eq!(said.contains("the wall clock was stepped"), is_stepped, "it is told of: {said}");
    assert_eq!(last.terminate().await, Some(0));
    eprintln!(
        "seed {seed}: the wall clock stepped {n_steps} times by up to a day; {} alerts accepted, {} sends; \
         latest deadline or send {:?} after it was due",
        evidence.ledger.promised.len(),
        evidence.sent.len(),
        verdict.latest,
    );
}
