//! A provider that accepts everything at once and remembers when it was asked what.
//!
//! It runs in the generator's process, so that what is sent and what arrives are timed by one clock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

/// Marks the number of an alert in its text.
pub(crate) const MARK: &str = "bench-";

/// One request.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) at: Instant,
    pub(crate) message_uuid: String,
}

#[derive(Clone, Default)]
pub(crate) struct Provider(Arc<Mutex<Calls>>);

#[derive(Default)]
struct Calls {
    all: Vec<Call>,
    by_number: HashMap<u64, Vec<usize>>,
}

impl Provider {
    pub(crate) async fn start() -> (Self, SocketAddr) {
        let provider = Self::default();
        let router = Router::new().fallback(accept).with_state(provider.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        (provider, address)
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn n_calls(&self) -> usize {
        self.calls().all.len()
    }

    pub(crate) fn clear(&self) {
        *self.calls() = Calls::default();
    }

    pub(crate) fn all(&self) -> Vec<Call> {
        self.calls().all.clone()
    }

    /// The calls for an alert, oldest first.
    pub(crate) fn of(&self, number: u64) -> Vec<Call> {
        let calls = self.calls();
        calls.by_number.get(&number).into_iter().flatten().map(|index| calls.all[*index].clone()).collect()
    }
}

async fn accept(State(provider): State<Provider>, body: Bytes) -> impl IntoResponse {
    let at = Instant::now();
    let text = String::from_utf8_lossy(&body);
    let digits = text.split_once(MARK).map_or("", |(_, rest)| rest);
    let number = digits.chars().map_while(|digit| digit.to_digit(10)).fold(0, |all, digit| all * 10 + u64::from(digit));
    let mut calls = provider.calls();
    let index = calls.all.len();
    let message_uuid = format!("aaaaaaaa-bbbb-4ccc-8ddd-{index:012x}");
    calls.all.push(Call { number, at, message_uuid: message_uuid.clone() });
    calls.by_number.entry(number).or_default().push(index);
    drop(calls);
    let answer = format!(r#"{{"message_uuid":"{message_uuid}"}}"#);
    (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], answer)
}
