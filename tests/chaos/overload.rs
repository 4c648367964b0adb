//! Far more is posted than a slow disk can keep: what is promised is kept, the rest is told to come again,
//! and nobody who was accepted waits behind those who were not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use callout::clock::system_now;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::history::judge_by_the_oracle;
use crate::home::{API_KEY, Home, Server, alone, pause};
use crate::judge::{Life, Pace, judge};
use crate::kills::collect;
use crate::load::{Load, Promised, Refused};
use crate::shim::{Shim, Switch};
use crate::size::{Size, seed};

/// How long it goes on.
const SECONDS: Size = Size { name: "OVERLOAD_SECONDS", taste: 3, ci: 4, long: 60 };
/// How much longer the disk takes for each commit meanwhile. A webhook waits for the commit that is on its way, for
/// those of other webhooks about the same alert, and for its own, and is answered within ten seconds all the same.
const COMMIT: Duration = Duration::from_millis(600);
/// How many webhooks in a hundred must be answered 200 at their first try. The others come again: an alert that many
/// webhooks are about at once takes them one commit after the other, and the machine is busy.
const FIRST_TRIES_PERCENT: usize = 95;
/// What each post of the flood weighs, and how many are on their way at every moment: together more than may wait
/// for the store (48 MiB of new alerts), and more than the bodies of all requests may have (64 MiB), so that some are
/// refused however little the machine gets done. A commit takes seventeen of them, so that in each second far more
/// than three times as much is asked for as can be kept.
const POST_BYTES: usize = 240_000;
const N_POSTERS: usize = 340;
/// How many posts a minute are accepted in the midst of it at the least: far fewer than the disk can keep (a thousand),
/// since the machine may be busy.
const KEPT_PER_MINUTE: i64 = 60;
/// How long a poster that was refused waits; it was told to wait longer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How many posts in a hundred may be cut off, because the machine has no time to read or write a whole one.
const CUT_OFF_PERCENT: usize = 5;
/// The flood swells for so long, since the machine's processors are not what is tried here.
const SWELLS: Duration = Duration::from_secs(3);
/// What callout may need of memory at the worst moment (docs/promise.md).
const MEMORY_MAX: u64 = 512 << 20;
/// The latest that a deadline may be taken up: it waits for the commits of what is said about the same alert meanwhile.
const LATE_MAX: Duration = Duration::from_secs(15);

/// What the flood was answered.
#[derive(Default)]
struct Answers {
    promised: Vec<Promised>,
    refused: Vec<Refused>,
    n_cut_off: usize,
}

struct Flood {
    answers: Arc<Mutex<Answers>>,
    enough: CancellationToken,
    posters: JoinSet<()>,
}

impl Flood {
    fn begin(home: &Home) -> Self {
        let (answers, enough) = (Arc::<Mutex<Answers>>::default(), CancellationToken::new());
        // Whoever waits longest is answered 503 by callout itself. Connections that nobody used for a while may be
        // closed just when they are used again.
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30));
        let http = http.pool_idle_timeout(Duration::from_secs(2)).build().unwrap();
        let details = Arc::<str>::from("x".repeat(POST_BYTES));
        let mut posters = JoinSet::new();
        for number in 0..N_POSTERS {
            let poster = Poster {
                number,
                http: http.clone(),
                url: format!("{}/alerts", home.url()),
                details: Arc::clone(&details),
                answers: Arc::clone(&answers),
                enough: enough.clone(),
            };
            posters.spawn(poster.work());
        }
        Self { answers, enough, posters }
    }

    /// Lets everybody finish what was begun.
    async fn end(self) -> Answers {
        self.enough.cancel();
        self.posters.join_all().await;
        Arc::into_inner(self.answers).unwrap().into_inner().unwrap()
    }
}

struct Poster {
    number: usize,
    http: reqwest::Client,
    url: String,
    details: Arc<str>,
    answers: Arc<Mutex<Answers>>,
    enough: CancellationToken,
}

impl Poster {
    async fn work(self) {
        pause(SWELLS * u32::try_from(self.number).unwrap() / u32::try_from(N_POSTERS).unwrap()).await;
        let mut n_raised = 0;
        while !self.enough.is_cancelled() {
            n_raised += 1;
            self.raise(&format!("post {n_raised} of the flood's poster {}", self.number)).await;
        }
    }

    /// Posts until it is promised.
    async fn raise(&self, message: &str) {
        let body = json!({ "message": message, "policy": "quick", "details": { "text": *self.details } }).to_string();
        loop {
            let asked_at = system_now();
            let request = self.http.post(&self.url).bearer_auth(API_KEY).header("Idempotency-Key", message);
            let request = request.header("Content-Type", "application/json").body(body.clone());
            let Ok(answer) = request.send().await else {
                // The machine had no time for a whole request: it was cut off, and nothing is promised.
                self.answers.lock().unwrap().n_cut_off += 1;
                pause(AGAIN_AFTER).await;
                continue;
            };
            match answer.status().as_u16() {
                201 => {
                    let alert: Value = answer.json().await.unwrap();
                    let id = alert["id"].as_str().unwrap().to_owned();
                    let (message, at) = (message.to_owned(), system_now());
                    let promised = Promised { id, policy: "quick", message, asked_at, at };
                    return self.answers.lock().unwrap().promised.push(promised);
                }
                503 => {
                    let retry_after = answer.headers().contains_key("retry-after");
                    let refused = Refused { what: "raise", asked_at, at: system_now(), retry_after };
                    self.answers.lock().unwrap().refused.push(refused);
                    pause(AGAIN_AFTER).await;
                }
                status => panic!("a post was answered {status}: {}", answer.text().await.unwrap()),
            }
        }
    }
}

/// The most memory that the process has had, in bytes.
fn memory_peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.0.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1_024
}

#[tokio::test(flavor = "multi_thread")]
async fn three_times_what_can_be_kept_delays_no_webhook_and_breaks_no_promise() {
    let _alone = alone().await;
    let home = Home::new().await;
    let shim = Shim::over(&home.database()).switched(&home.file("switches"));
    let mut server = home.start(Some(&shim)).await.unwrap();
    let lives = vec![Life { begun: server.spawned, listens: Some(server.listens), ended: None }];
    // Some people are being called before it begins, and go on being called.
    let load = Load::begin(&home, 2, 4, seed());
    pause(Duration::from_secs(1)).await;
    let began = system_now();
    shim.turn(Switch::SlowSync, i32::try_from(COMMIT.as_millis()).unwrap());
    let flood = Flood::begin(&home);
    let n_looks = SECONDS.get();
    for _ in 0..n_looks {
        pause(Duration::from_secs(1)).await;
        let live = home.http.get(format!("{}/healthz", home.url())).send().await.unwrap();
        assert_eq!(live.status(), 200, "it is alive all the while");
    }
    let n_refused_under_way = flood.answers.lock().unwrap().refused.len();
    let n_promised_under_way = flood.answers.lock().unwrap().promised.len();
    shim.turn(Switch::SlowSync, 0);
    let faults = [json!({ "kind": "overload", "at": began.to_string(), "until": system_now().to_string(),
        "keeps_per_minute": KEPT_PER_MINUTE, "late_max_ms": LATE_MAX.as_millis() })];
    let answers = flood.end().await;
    let (n_answered, n_cut_off) = (answers.promised.len() + answers.refused.len(), answers.n_cut_off);
    assert!(n_cut_off * 100 <= n_answered * CUT_OFF_PERCENT, "{n_cut_off} posts were cut off, {n_answered} answered");
    let mut ledger = load.end().await;
    ledger.promised.extend(answers.promised);
    ledger.refused.extend(answers.refused);
    let evidence = collect(&home, ledger, lives).await;
    let memory = memory_peak(&server);
    eprintln!(
        "seed {}: {n_looks} s of overload: {n_promised_under_way} alerts kept, {n_refused_under_way} posts refused, {n_cut_off} cut off; \
         {} alerts and {} sends in all; {} MiB of memory at most",
        seed(),
        evidence.ledger.promised.len(),
        evidence.sent.len(),
        memory >> 20,
    );
    let n_tries = evidence.webhooks.len();
    let again: Vec<&Value> = evidence.webhooks.iter().map(|webhook| &webhook["answered"]).collect();
    let again: Vec<&Value> = again.into_iter().filter(|answered| **answered != 200).collect();
    // Without an answer it comes again, too.
    assert!(again.iter().all(|answered| answered.is_null() || **answered == 503), "webhooks were answered {again:?}");
    let is_prompt = again.len() * 100 <= n_tries * (100 - FIRST_TRIES_PERCENT);
    assert!(is_prompt, "{} of {n_tries} webhooks were not answered 200 at their first try", again.len());
    let mut verdict = judge(&evidence, Pace::WhenItCan);
    verdict.broken.extend(judge_by_the_oracle(&home, &evidence, &faults, Pace::WhenItCan));
    assert!(verdict.broken.is_empty(), "seed {}:\n{}", seed(), verdict.broken.join("\n"));
    eprintln!(
        "{} of {n_tries} webhooks were answered 200 at their first try; latest deadline {:?} after it was due",
        n_tries - again.len(),
        verdict.latest
    );
    assert!(verdict.latest < LATE_MAX, "a deadline was taken up {:?} late", verdict.latest);
    assert!(n_refused_under_way > 0, "it was an overload");
    assert!(n_promised_under_way > 0, "and it was worked on");
    assert!(memory < MEMORY_MAX, "it had {} MiB of memory", memory >> 20);
    assert_eq!(server.terminate().await, Some(0));
}
