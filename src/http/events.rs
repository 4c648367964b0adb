//! The timeline of one alert as server-sent events: what is past first, then what happens.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::escalation::Alert;
use crate::id::AlertId;

use super::App;
use super::extract::AlertPath;
use super::openapi::schemas;
use super::problem::Problem;
use super::view::EntryView;

/// How often a quiet stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A listener to one alert.
struct Listener {
    engine: Engine,
    id: AlertId,
    changes: Receiver<AlertId>,
    stop: CancellationToken,
    n_told: usize,
    waiting: VecDeque<Event>,
    is_over: bool,
}

/// Follow an alert
///
/// The timeline as server-sent events: what is past first, then what happens. Ends when the alert is no longer
/// escalating. Each event is named by what happened, has the number of its line as id, and the line as JSON.
#[utoipa::path(get, path = "/alerts/{id}/events", tag = "alerts", security(("key" = [])),
    params(("id" = String, Path, description = "The alert's id, or its short code."),
        ("Last-Event-ID" = Option<String>, Header, description = "Goes on behind this line; what is no number of a line is not looked at.")),
    responses((status = 200, description = "The lines", content_type = "text/event-stream", body = schemas::ServerSentEvents)))]
pub(super) async fn listen(
    State(app): State<App>,
    AlertPath(id): AlertPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let engine = app.engine().clone();
    // Listening begins before the alert is read, so that nothing in between is missed.
    let changes = engine.changes();
    let alert = engine.alert(id).await?;
    let last_seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let mut listener = Listener {
        engine,
        id,
        changes,
        stop: app.stop(),
        // An id that was never given must not keep silent what happens from now on.
        n_told: last_seen.unwrap_or(0).min(alert.timeline.len()),
        waiting: VecDeque::new(),
        is_over: false,
    };
    listener.take(&alert);
    let events = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<Event, Infallible>(event), listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            let changed = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                changed = self.changes.recv() => changed,
            };
            match changed {
                Ok(id) if id != self.id => {}
                // Whoever has fallen behind looks for itself.
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    let alert: Arc<Alert> = self.engine.alert(self.id).await.ok()?;
                    self.take(&alert);
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Takes in what the timeline has more than was told.
    fn take(&mut self, alert: &Alert) {
        for (index, entry) in alert.timeline.iter().enumerate().skip(self.n_told) {
            let event = Event::default().id((index + 1).to_string()).event(entry.happening.name());
            match event.json_data(EntryView::of(alert, entry)) {
                Ok(event) => self.waiting.push_back(event),
                Err(error) => {
                    tracing::error!(alert.id = %alert.id(), error = %error, "an entry of the timeline cannot be shown");
                }
            }
        }
        self.n_told = self.n_told.max(alert.timeline.len());
        self.is_over = alert.progress().is_none();
    }
}
