//! A provider that accepts everything at once and remembers when it was asked what.
//!
//! It runs in the generator's process, so that what is sent and what arrives are timed by one clock.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

/// Marks the number of an alert in its text.
pub(crate) const MARK: &str = "bench-";
/// How long the end of what was begun is awaited.
const DRAINED_WITHIN: Duration = Duration::from_mins(5);

/// What the webhooks about a message say.
#[derive(Clone)]
pub(crate) struct Message {
    /// Callout's own name for the attempt, or the floor's row.
    pub(crate) reference: Box<str>,
    /// What the provider calls it.
    pub(crate) uuid: Box<str>,
}

/// One request.
#[derive(Clone)]
pub(crate) struct Call {
    /// The number of the alert, as the generator counts them.
    pub(crate) number: u64,
    pub(crate) at: Instant,
    pub(crate) message: Message,
}

#[derive(Clone, Default)]
pub(crate) struct Provider(Arc<Mutex<Vec<Call>>>);

impl Provider {
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let provider = Self::default();
        let router = Router::new().fallback(accept).with_state(provider.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        (provider, address)
    }

    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn n_calls(&self) -> u64 {
        self.calls().len() as u64
    }

    /// Takes everything that was asked so far.
    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls())
    }

    /// What was asked after the first `n` requests.
    pub(crate) fn since(&self, n: usize) -> Vec<Call> {
        self.calls().get(n..).unwrap_or_default().to_vec()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn until(&self, n_calls: u64) {
        let begun = Instant::now();
        while self.n_calls() < n_calls {
            assert!(begun.elapsed() < DRAINED_WITHIN, "{} of {n_calls} requests have come", self.n_calls());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn accept(State(provider): State<Provider>, body: Bytes) -> impl IntoResponse {
    let at = Instant::now();
    let text = String::from_utf8_lossy(&body);
    let number = text.split_once(MARK).map_or(0, |(_, rest)| digits(rest));
    let reference = text.split_once(r#""client_ref":""#).and_then(|(_, rest)| Some(rest.split_once('"')?.0));
    let mut calls = provider.calls();
    let message_uuid = format!("aaaaaaaa-bbbb-4ccc-8ddd-{:012x}", uuid(calls.len(), at));
    let message = Message { reference: reference.unwrap_or_default().into(), uuid: message_uuid.as_str().into() };
    calls.push(Call { number, at, message });
    drop(calls);
    let answer = format!(r#"{{"message_uuid":"{message_uuid}"}}"#);
    (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], answer)
}

fn digits(text: &str) -> u64 {
    text.chars().map_while(|digit| digit.to_digit(10)).fold(0, |all, digit| all * 10 + u64::from(digit))
}

/// Vonage's ids come in no order, which is what a store has to bear.
fn uuid(index: usize, at: Instant) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one((index, at)) & 0xffff_ffff_ffff
}
