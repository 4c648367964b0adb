//! Clients that raise alerts and act on them, and write down what they were answered.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callout::clock::system_now;
use callout::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::home::{API_KEY, Home, POLICIES, pause};

/// What the clients know.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Every alert that was promised.
    pub(crate) promised: Vec<Promised>,
    /// Everything that was done to one and answered 200.
    pub(crate) done: Vec<Done>,
    /// Everything that was refused with 503.
    pub(crate) refused: Vec<Refused>,
    /// How many requests were not answered, or refused with 503.
    pub(crate) n_unanswered: usize,
}

/// A request that was refused with 503.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) what: &'static str,
    pub(crate) asked_at: Timestamp,
    pub(crate) at: Timestamp,
    /// Whether the answer says when to come again.
    pub(crate) retry_after: bool,
}

/// An alert that was answered 2xx.
#[derive(Clone, Debug)]
pub(crate) struct Promised {
    pub(crate) id: String,
    pub(crate) policy: &'static str,
    /// What it says, which no other one does.
    pub(crate) message: String,
    /// When it was asked for, by the request that was answered.
    pub(crate) asked_at: Timestamp,
    pub(crate) at: Timestamp,
}

/// Something done to an alert.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) id: String,
    pub(crate) what: &'static str,
    pub(crate) asked_at: Timestamp,
    pub(crate) at: Timestamp,
}

/// Writes into the record of a power cut (`shim.c`, `struct entry`) what a client was promised, as soon
/// as it was.
#[derive(Clone, Debug)]
pub(crate) struct Witness(PathBuf);

impl Witness {
    /// The kind of its entries.
    pub(crate) const PROMISED: u32 = 100;

    pub(crate) fn over(record: &Path) -> Self {
        Self(record.to_owned())
    }

    fn promised(&self, what: &str, id: &str) {
        let text = format!("{what} {id}");
        let length = u32::try_from(text.len()).unwrap();
        let words = [Self::PROMISED, 0, 0, 0, length, 0];
        let mut entry: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        entry.extend_from_slice(text.as_bytes());
        // One write, so that the entries of several writers do not mix.
        File::options().append(true).open(&self.0).unwrap().write_all(&entry).unwrap();
    }
}

/// Clients at work.
pub(crate) struct Load {
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    enough: CancellationToken,
    clients: JoinSet<()>,
}

/// How long a client waits before it asks again.
const AGAIN_AFTER: Duration = Duration::from_millis(30);

impl Load {
    /// So many clients, each raising about this many alerts a second.
    pub(crate) fn begin(home: &Home, n_clients: usize, per_second: u64, seed: u64) -> Self {
        Self::begin_before(home, n_clients, per_second, seed, None)
    }

    /// The same before a witness.
    pub(crate) fn begin_before(
        home: &Home,
        n_clients: usize,
        per_second: u64,
        seed: u64,
        witness: Option<&Witness>,
    ) -> Self {
        let (ledger, enough) = (Arc::<Mutex<Ledger>>::default(), CancellationToken::new());
        let mut clients = JoinSet::new();
        for n in 0..n_clients {
            let client = Client {
                number: n,
                http: home.http.clone(),
                url: home.url(),
                ledger: Arc::clone(&ledger),
                dice: Dice::new(seed.wrapping_mul(1_000).wrapping_add(u64::try_from(n).unwrap())),
                enough: enough.clone(),
                witness: witness.cloned(),
            };
            clients.spawn(client.work(Duration::from_millis(1_000 / per_second)));
        }
        Self { ledger, enough, clients }
    }

    /// Lets every client finish what it has begun; callout must be there.
    pub(crate) async fn end(self) -> Ledger {
        self.enough.cancel();
        self.clients.join_all().await;
        Arc::into_inner(self.ledger).unwrap().into_inner().unwrap()
    }
}

struct Client {
    number: usize,
    http: reqwest::Client,
    url: String,
    ledger: Arc<Mutex<Ledger>>,
    dice: Dice,
    enough: CancellationToken,
    witness: Option<Witness>,
}

impl Client {
    async fn work(mut self, pace: Duration) {
        let mut n_raised = 0_u32;
        while !self.enough.is_cancelled() {
            n_raised += 1;
            let (policy, _) = *self.dice.pick(&POLICIES);
            let message = format!("alert {n_raised} of client {}", self.number);
            let id = self.raise(policy, &message).await;
            if self.dice.percent(15) {
                let what = *self.dice.pick(&["acknowledge", "resolve"]);
                self.act(&id, what).await;
            }
            pause(pace).await;
        }
    }

    /// Asks until it is promised, as a client does that got no answer: with the same key.
    async fn raise(&mut self, policy: &'static str, message: &str) -> String {
        let body = json!({ "message": message, "policy": policy });
        loop {
            let asked_at = system_now();
            let request = self.http.post(format!("{}/alerts", self.url)).bearer_auth(API_KEY).json(&body);
            if let Some((201, alert)) = self.answer("raise", request.header("Idempotency-Key", message)).await {
                let id = alert["id"].as_str().unwrap().to_owned();
                self.witness("alert", &id);
                let promised =
                    Promised { id: id.clone(), policy, message: message.to_owned(), asked_at, at: system_now() };
                self.ledger.lock().unwrap().promised.push(promised);
                return id;
            }
            self.ledger.lock().unwrap().n_unanswered += 1;
            pause(AGAIN_AFTER).await;
        }
    }

    fn witness(&self, what: &str, id: &str) {
        if let Some(witness) = &self.witness {
            witness.promised(what, id);
        }
    }

    /// Asks until there is an answer. One that is impossible by now is no matter.
    async fn act(&mut self, id: &str, what: &'static str) {
        loop {
            let asked_at = system_now();
            let request = self.http.post(format!("{}/alerts/{id}/{what}", self.url)).bearer_auth(API_KEY);
            match self.answer(what, request).await {
                Some((200, _)) => {
                    self.witness(what, id);
                    self.ledger.lock().unwrap().done.push(Done { id: id.to_owned(), what, asked_at, at: system_now() });
                    return;
                }
                Some((409, _)) => return,
                Some((404, _)) => panic!("alert {id} was promised and is gone"),
                _ => {}
            }
            self.ledger.lock().unwrap().n_unanswered += 1;
            pause(AGAIN_AFTER).await;
        }
    }

    async fn answer(&self, what: &'static str, request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
        let asked_at = system_now();
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        assert!(matches!(status, 200 | 201 | 409 | 404 | 503), "an answer of {status}");
        if status == 503 {
            let retry_after = answer.headers().contains_key("retry-after");
            let refused = Refused { what, asked_at, at: system_now(), retry_after };
            self.ledger.lock().unwrap().refused.push(refused);
        }
        Some((status, answer.json().await.ok()?))
    }
}
