//! `kill -9`, at any instant and at the worst ones, again and again on one database under load.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use callout::clock::system_now;
use callout::timestamp::Timestamp;
use serde_json::Value;

use crate::dice::Dice;
use crate::history::{crashes, judge_by_the_oracle};
use crate::home::{Home, PATIENCE, Server, beside_another, copy_database, pause};
use crate::judge::{Evidence, Life, Pace, judge};
use crate::load::{Ledger, Load};
use crate::postgres::Database;
use crate::shim::{POINTS, POINTS_OF_A_FILE, POINTS_ON_POSTGRES, Shim};
use crate::size::{Size, seed};

const KILLS: Size = Size { name: "KILLS", taste: 10, ci: 60, long: 1_000 };
const KILLS_ON_POSTGRES: Size = Size { name: "KILLS_ON_POSTGRES", taste: 4, ci: 15, long: 300 };
const N_CLIENTS: usize = 4;
const ALERTS_PER_SECOND_EACH: u64 = 8;
/// A named point that is not passed so often is given up, and the process killed where it is.
const POINT_PATIENCE: Duration = Duration::from_secs(3);
/// How long a process lives that is killed at any instant, in milliseconds.
const LIFE_MIN: u64 = 50;
const LIFE_MAX: u64 = 1_200;
/// The most times that a named point is passed before the process dies there.
const PASSES_MAX: u64 = 60;

/// How a process comes to its end.
#[derive(Debug)]
enum Death {
    /// While it starts, so many milliseconds after it was begun.
    Newborn(u64),
    /// So many milliseconds after it listens.
    AnyInstant(u64),
    /// The n-th time that it passes a point.
    At(&'static str, u64),
}

impl Death {
    fn of_round(round: usize, points: &[&'static str], dice: &mut Dice) -> Self {
        match round % 8 {
            3 => Self::Newborn(dice.below(120)),
            1 | 5 | 7 => Self::AnyInstant(LIFE_MIN + dice.below(LIFE_MAX - LIFE_MIN)),
            _ => Self::At(point_of(round, points).unwrap(), 1 + dice.below(PASSES_MAX)),
        }
    }
}

/// The named point of every second round.
fn point_of(round: usize, points: &[&'static str]) -> Option<&'static str> {
    round.is_multiple_of(2).then(|| points[round / 2 % points.len()])
}

/// What the rounds left behind.
#[derive(Default)]
struct Tally {
    lives: Vec<Life>,
    slowest_start: Duration,
    n_at_point: usize,
    /// The named points at which it died.
    points: BTreeSet<&'static str>,
}

impl Tally {
    fn started(&mut self, server: &Server) {
        self.lives.push(Life { begun: server.spawned, listens: Some(server.listens), ended: None });
        self.slowest_start = self.slowest_start.max(server.listens.since(server.spawned));
    }

    fn died_at(&mut self, death: &Death) {
        self.n_at_point += 1;
        if let Death::At(point, _) = death {
            self.points.insert(point);
        }
    }

    fn died(&mut self) {
        self.lives.last_mut().unwrap().ended = Some(system_now());
    }

    fn died_young(&mut self, begun: Timestamp) {
        self.lives.push(Life { begun, listens: None, ended: None });
    }
}

/// Lives and dies once.
async fn live_and_die(home: &Home, death: &Death, tally: &mut Tally) {
    if let Death::Newborn(after) = death {
        tally.died_young(system_now());
        let mut child = home.command().stderr(std::process::Stdio::null()).spawn().unwrap();
        pause(Duration::from_millis(*after)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        return;
    }
    let shim = match death {
        Death::At(point, n) => {
            let shim = Shim::over(&home.database()).dying_at(point, *n, home.sandbox_port);
            Some(shim.with_store_at(home.store_port()))
        }
        Death::Newborn(_) | Death::AnyInstant(_) => None,
    };
    let mut server = match home.start(shim.as_ref()).await {
        Ok(server) => server,
        Err(ended) => {
            assert_eq!(ended.code, None, "{death:?}: it was not killed but left: {}", ended.said);
            tally.died_young(ended.spawned);
            tally.died_at(death);
            return;
        }
    };
    tally.started(&server);
    if let Death::AnyInstant(after) = death {
        pause(Duration::from_millis(*after)).await;
    } else {
        let mut left = POINT_PATIENCE.as_millis() / 20;
        while server.ended().is_none() && left > 0 {
            pause(Duration::from_millis(20)).await;
            left -= 1;
        }
        if left > 0 {
            tally.died_at(death);
        }
    }
    if let Some(status) = server.ended() {
        assert_eq!(status.code(), None, "{death:?}: it was not killed but left: {}", server.said());
    }
    server.kill();
}

/// SQLite itself finds nothing wrong in a copy of the files.
pub(crate) fn check_copy(database: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    copy_database(database, &copy);
    if !copy.exists() {
        return;
    }
    let connection = rusqlite::Connection::open(&copy).unwrap();
    let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
}

/// Waits until everything has come to its end, and collects what is known.
pub(crate) async fn collect(home: &Home, ledger: Ledger, lives: Vec<Life>) -> Evidence {
    let mut patience = 2 * PATIENCE.as_millis() / 200;
    loop {
        let waiting = home.sandbox("/sandbox/webhooks").await["waiting"].as_u64().unwrap();
        let open = home.get(&format!("{}/alerts?status=escalating&limit=1", home.url())).await.unwrap();
        if waiting == 0 && open["alerts"].as_array().unwrap().is_empty() {
            break;
        }
        patience -= 1;
        assert!(patience > 0, "it does not come to an end: {waiting} webhooks wait, and {open:#}");
        pause(Duration::from_millis(200)).await;
    }
    let mut alerts = HashMap::new();
    for short in home.all_alerts().await {
        let id = short["id"].as_str().unwrap().to_owned();
        let alert = home.alert(&id).await.unwrap();
        alerts.insert(id, alert);
    }
    let of = |value: Value, key: &str| value[key].as_array().unwrap().clone();
    let sent = of(home.sandbox("/sent").await, "sent");
    let webhooks = of(home.sandbox("/sandbox/webhooks/tries").await, "tries");
    Evidence { ledger, alerts, sent, webhooks, lives }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_loses_nothing_and_skips_nobody() {
    let _beside = beside_another().await;
    let home = Home::new().await;
    torture(&home, KILLS.get(), &POINTS[POINTS_OF_A_FILE], Pace::WithinASecond).await;
    check_copy(&home.database());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_on_postgres_it_loses_nothing_either() {
    let _beside = beside_another().await;
    let Some(database) = Database::new().await else { return };
    let home = Home::with_store(Some(format!("{}?sslmode=disable", database.address()))).await;
    torture(&home, KILLS_ON_POSTGRES.get(), &POINTS[POINTS_ON_POSTGRES], Pace::WhenItCan).await;
}

async fn torture(home: &Home, n_kills: usize, points: &[&'static str], pace: Pace) {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let load = Load::begin(home, N_CLIENTS, ALERTS_PER_SECOND_EACH, seed);
    let mut tally = Tally::default();
    for round in 0..n_kills {
        let death = Death::of_round(round, points, &mut dice);
        live_and_die(home, &death, &mut tally).await;
        tally.died();
        if round % 8 == 0 && home.database().exists() {
            check_copy(&home.database());
        }
    }
    let mut last = home.start(None).await.unwrap();
    tally.started(&last);
    let ledger = load.end().await;
    let n_unanswered = ledger.n_unanswered;
    let evidence = collect(home, ledger, tally.lives).await;
    let mut verdict = judge(&evidence, pace);
    verdict.broken.extend(judge_by_the_oracle(home, &evidence, &crashes(&evidence.lives), pace));
    assert!(verdict.broken.is_empty(), "seed {seed}, {n_kills} kills:\n{}", verdict.broken.join("\n"));
    assert_eq!(last.terminate().await, Some(0));
    let n_answered = evidence.webhooks.iter().filter(|webhook| webhook["answered"] == 200).count();
    eprintln!(
        "seed {seed}: {n_kills} kills ({} at their named point); {} alerts accepted, {n_unanswered} requests unanswered, \
         {} sends of which {} repeated, {n_answered} webhooks answered; 0 lost, 0 skipped; \
         slowest start {:?}, latest deadline or send {:?} after it was due",
        tally.n_at_point,
        evidence.ledger.promised.len(),
        evidence.sent.len(),
        verdict.n_repeated,
        tally.slowest_start,
        verdict.latest,
    );
    assert!(evidence.ledger.promised.len() > n_kills, "there was load");
    assert!(tally.n_at_point * 4 > n_kills, "many died at a named point");
    let tried: BTreeSet<_> = (0..n_kills).filter_map(|round| point_of(round, points)).collect();
    let missed: Vec<_> = tried.difference(&tally.points).collect();
    assert!(missed.len() * 4 <= tried.len(), "nobody died at {missed:?}");
}
