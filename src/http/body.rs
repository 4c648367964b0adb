//! The bodies of requests: each within its limit, and all of them together within a budget of memory.
//!
//! Thousands of connections could each bring the largest body that its path takes, and together more than a machine
//! has. So a body takes its memory from a budget: before it is read where its length is known, else as it comes. Where
//! nothing is left, the caller is told to come again, and nothing is kept; what an answered request took is free again.
//!
//! The beginning of each body is free: it is no more than the number of connections allows, and nearly every alert and
//! every webhook has no more. So no flood of large bodies keeps those out, and they are not even counted.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::body::{Body as Stream, HttpBody};
use bytes::{Bytes, BytesMut};

use super::App;
use super::problem::Problem;

/// How much of each body takes nothing from a budget, in bytes.
pub const BODY_FREE_BYTES: usize = 8 * 1024;
/// The most memory that the bodies of callers with a key may have at one moment, in bytes.
pub const CALLERS_BODIES_MAX: usize = 64 * 1024 * 1024;
/// The most memory that the bodies of webhooks may have at one moment, in bytes. Nobody else's bodies take it.
pub const WEBHOOKS_BODIES_MAX: usize = 16 * 1024 * 1024;
/// The same for whoever shows a key only in the body: `PagerDuty`'s senders, and people who sign in.
pub const STRANGERS_BODIES_MAX: usize = 16 * 1024 * 1024;

/// Whose bodies share a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of callers who have shown a key.
    Callers,
    /// Of Vonage's webhooks, and of what claims to be one.
    Webhooks,
    /// Of others who have not shown a key yet.
    Strangers,
}

impl Whose {
    /// The name in metrics and logs.
    const fn name(self) -> &'static str {
        match self {
            Self::Callers => "callers",
            Self::Webhooks => "webhooks",
            Self::Strangers => "strangers",
        }
    }
}

/// What is left of each budget.
#[derive(Debug)]
pub(super) struct Budgets {
    callers: Budget,
    webhooks: Budget,
    strangers: Budget,
}

#[derive(Debug)]
struct Budget {
    bytes_max: usize,
    n_bytes: AtomicUsize,
    /// Whether it was told that somebody is refused, and still is.
    is_full: AtomicBool,
}

impl Budgets {
    /// With nothing taken.
    pub(super) const fn new() -> Self {
        Self {
            callers: Budget::of(CALLERS_BODIES_MAX),
            webhooks: Budget::of(WEBHOOKS_BODIES_MAX),
            strangers: Budget::of(STRANGERS_BODIES_MAX),
        }
    }

    const fn of(&self, whose: Whose) -> &Budget {
        match whose {
            Whose::Callers => &self.callers,
            Whose::Webhooks => &self.webhooks,
            Whose::Strangers => &self.strangers,
        }
    }
}

impl Budget {
    const fn of(bytes_max: usize) -> Self {
        Self { bytes_max, n_bytes: AtomicUsize::new(0), is_full: AtomicBool::new(false) }
    }

    /// Counted first and given back if it is too much, so that nobody slips past the limit.
    fn take(&self, n_bytes: usize) -> bool {
        let all = self.n_bytes.fetch_add(n_bytes, Ordering::Relaxed).saturating_add(n_bytes);
        if all > self.bytes_max {
            self.n_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
        }
        all <= self.bytes_max
    }

    fn give_back(&self, n_bytes: usize) {
        let all = self.n_bytes.fetch_sub(n_bytes, Ordering::Relaxed).saturating_sub(n_bytes);
        let has_room = all < self.bytes_max / 2;
        if has_room && self.is_full.load(Ordering::Relaxed) && self.is_full.swap(false, Ordering::Relaxed) {
            tracing::info!("there is room for large requests again");
        }
    }
}

/// What a body has taken from a budget; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    /// None where it has taken nothing.
    app: Option<App>,
    whose: Whose,
    n_bytes: usize,
}

impl Held {
    const fn nothing(whose: Whose) -> Self {
        Self { app: None, whose, n_bytes: 0 }
    }

    /// Takes what a body of so many bytes needs.
    fn grow(&mut self, app: &App, body_bytes: usize) -> Result<(), Problem> {
        let more = body_bytes.saturating_sub(BODY_FREE_BYTES).saturating_sub(self.n_bytes);
        if more == 0 {
            return Ok(());
        }
        let budget = app.budgets().of(self.whose);
        if budget.take(more) {
            self.n_bytes += more;
            self.app.get_or_insert_with(|| app.clone());
            return Ok(());
        }
        app.engine().metrics().body_refused(self.whose.name());
        if !budget.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                of = self.whose.name(),
                n_bytes = budget.bytes_max,
                "more large requests come in at once than there is memory for: such are answered 503 until it is less"
            );
        }
        Err(Problem::crowded())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(app) = &self.app {
            app.budgets().of(self.whose).give_back(self.n_bytes);
        }
    }
}

/// Reads a body of `limit` bytes at most. What it holds of the budget is to be kept as long as the bytes are.
pub(super) async fn read(app: &App, whose: Whose, mut body: Stream, limit: usize) -> Result<(Bytes, Held), Problem> {
    // How long the caller says it is; nothing where it does not say.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Problem::too_large(limit));
    }
    let mut held = Held::nothing(whose);
    held.grow(app, announced)?;
    // Most bodies come in one piece, which is not copied.
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_broken_off| Problem::bad_request("The body did not arrive whole."))?;
        let Ok(data) = frame.into_data() else { continue };
        let n_bytes = first.len().max(all.len()).saturating_add(data.len());
        if n_bytes > limit {
            return Err(Problem::too_large(limit));
        }
        held.grow(app, n_bytes)?;
        if first.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(announced.max(n_bytes));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok((if all.is_empty() { first } else { all.freeze() }, held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_what_it_has_and_takes_it_back() {
        let budget = Budget::of(1_000);
        assert!(budget.take(600) && budget.take(400));
        assert!(!budget.take(1), "nothing is left");
        budget.give_back(600);
        assert!(!budget.take(601) && budget.take(600), "what was refused took nothing");
    }
}
