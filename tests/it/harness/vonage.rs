//! A Vonage for the tests of the front door: it writes down what it is asked to send, and answers as it
//! is told to.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::PATIENCE;

/// How it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Accepts,
    /// This message is at fault.
    Refuses,
    /// Nothing is at fault but Vonage.
    Fails,
    /// It says nothing.
    Hangs,
}

/// One request to send.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) path: String,
    pub(crate) body: Value,
    /// What it is called in the answer.
    pub(crate) id: String,
}

impl Sent {
    pub(crate) fn channel(&self) -> &str {
        self.body["channel"].as_str().unwrap()
    }

    pub(crate) fn to(&self) -> &str {
        self.body["to"].as_str().unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        let v1 = self.body["text"].as_str();
        v1.or_else(|| self.body["workflow"][0]["message"]["content"]["text"].as_str()).unwrap()
    }

    /// The path of the acknowledge link in the text.
    pub(crate) fn link(&self) -> String {
        let (_, token) = self.text().split_once("/a/").unwrap();
        format!("/a/{}", token.split_whitespace().next().unwrap())
    }
}

struct Shared {
    mood: watch::Sender<Mood>,
    sent: watch::Sender<Vec<Sent>>,
}

pub(crate) struct FakeVonage {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Ends the server when the test does.
    _server: JoinSet<()>,
}

impl FakeVonage {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { mood: watch::Sender::new(Mood::Accepts), sent: watch::Sender::default() });
        let router = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, _server: server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it answers so, also to what hangs.
    pub(crate) fn becomes(&self, mood: Mood) {
        self.shared.mood.send_replace(mood);
    }

    /// Everything it was asked to send, in order.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.shared.sent.borrow().clone()
    }

    /// The `n`-th thing it was asked to send, from 1, as soon as it was.
    pub(crate) async fn nth(&self, n: usize) -> Sent {
        let mut sent = self.shared.sent.subscribe();
        let arrived = tokio::time::timeout(PATIENCE, sent.wait_for(|sent| sent.len() >= n)).await;
        let Ok(Ok(sent)) = arrived else { panic!("nothing was sent for the {n}th time in {PATIENCE:?}") };
        sent[n - 1].clone()
    }
}

async fn take(State(shared): State<Arc<Shared>>, uri: Uri, Json(body): Json<Value>) -> Response {
    let path = uri.path().to_owned();
    let mut id = String::new();
    shared.sent.send_modify(|sent| {
        id = format!("0f6d6a52-6f0b-4c5e-9a51-{:012}", sent.len() + 1);
        sent.push(Sent { path: path.clone(), body, id: id.clone() });
    });
    let mut moods = shared.mood.subscribe();
    let mood = *moods.wait_for(|mood| *mood != Mood::Hangs).await.unwrap();
    let problem = [(header::CONTENT_TYPE, "application/problem+json")];
    match mood {
        Mood::Accepts if path.ends_with("/dispatch") => accepted(&json!({ "dispatch_uuid": id })),
        Mood::Accepts => accepted(&json!({ "message_uuid": id })),
        Mood::Refuses => {
            let body = json!({ "type": "https://developer.vonage.com/api-errors/messages#1150", "title": "No",
                "detail": "This user cannot be reached." });
            (StatusCode::UNPROCESSABLE_ENTITY, problem, body.to_string()).into_response()
        }
        Mood::Fails => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Hangs => panic!("somebody waited for it to end"),
    }
}

fn accepted(body: &Value) -> Response {
    // Each send needs a connection of its own, as after a quiet time.
    (StatusCode::ACCEPTED, [(header::CONNECTION, "close")], Json(body)).into_response()
}

/// The `client_ref` of a message of Messages v1.
pub(crate) fn client_ref(sent: &Sent) -> &str {
    sent.body["client_ref"].as_str().unwrap()
}
