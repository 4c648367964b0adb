//! The listener: HTTP/1 only, with limits on connections and on how long a caller may take.
//!
//! axum's own server never closes a silent connection, and a server that also speaks HTTP/2 waits
//! without limit for the first bytes; so this one speaks HTTP/1 only, by hyper, on connections of its
//! own ([`Connection`]). A connection is accepted when there is room for it; until then it waits in the
//! operating system's queue and costs nothing here. When few are left, each is closed after its answer, so
//! that callers who come again and again on connections of their own do not keep out all others, Vonage among
//! them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::connection::Connection;

/// How much a caller may ask of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a caller may take to send a request's head, and how long an idle connection is kept.
    pub head: Duration,
    /// The longest that a request may take from its head to its answer, body included.
    pub request: Duration,
    /// How long a caller may read nothing of an answer while more of it waits to be sent.
    pub unread: Duration,
    /// The most connections at one moment; further ones wait until one is closed.
    pub connections: usize,
    /// How long open connections may go on after a stop was asked for.
    pub drain: Duration,
}

/// How long a caller may take to send a request's head, and how long an idle connection is kept.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a request may take, body and answer together. Vonage waits 15 seconds for the answer
/// to a webhook, and its own retry is better than an answer that comes too late.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller may read nothing of an answer.
pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The most connections at one moment; further ones wait until one is closed.
pub const CONNECTIONS_MAX: usize = 4_096;
/// How long open connections may go on after a stop was asked for. Together with the engine's own
/// [`DRAIN_MAX`](crate::engine::DRAIN_MAX) it stays below the 20 seconds that a stop may take.
const DRAIN: Duration = Duration::from_secs(5);

impl Limits {
    /// What the service uses.
    pub const SERVICE: Self = Self {
        head: HEADER_TIMEOUT,
        request: REQUEST_TIMEOUT,
        unread: UNREAD_TIMEOUT,
        connections: CONNECTIONS_MAX,
        drain: DRAIN,
    };
}

/// Connections are closed after each answer while less than one in so many is free.
pub(super) const CROWDED_BELOW_ONE_IN: usize = 4;
/// How many open files are left to everything that is not a connection of a caller: the sends that are on
/// their way ([`crate::engine::IN_FLIGHT_MAX`]), the store, and what the runtime needs.
const FILES_LEFT: usize = 256;
/// Connections that are accepted however few files may be open.
const CONNECTIONS_MIN: usize = 16;

impl Limits {
    /// These limits where the process may have so many files open: callers alone must not use them up, or
    /// no message could be sent and nothing be kept.
    #[must_use]
    pub fn within_files(self, open_files_max: usize) -> Self {
        let room = open_files_max.saturating_sub(FILES_LEFT).max(CONNECTIONS_MIN);
        Self { connections: self.connections.min(room), ..self }
    }
}

/// The most bytes of a request's head. Hyper's own refusal of more is turned into a problem.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// How long to wait before the next connection is accepted when the operating system had no room for one.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Serves until `stop` is cancelled, then lets requests that have begun come to their end.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let end = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                let crowd = Crowd { room: Arc::clone(&room), few: limits.connections / CROWDED_BELOW_ONE_IN };
                let served = serve_connection(accepted, router.clone(), limits, crowd, stop.clone());
                let end = end.clone();
                connections.spawn(async move {
                    tokio::select! {
                        biased;
                        () = end.cancelled() => {}
                        () = served => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted; is the limit on open files too low?");
                // Either way it is time to go on.
                let _stopped = tokio::time::timeout(ACCEPT_AGAIN_AFTER, stop.cancelled()).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(n_open = connections.len(), "some connections did not end in time and were closed");
        end.cancel();
    }
    Ok(())
}

/// A connection that there is room for.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    /// Held while it is open.
    permit: OwnedSemaphorePermit,
}

/// How many others there are.
#[derive(Clone)]
struct Crowd {
    room: Arc<Semaphore>,
    few: usize,
}

impl Crowd {
    /// Has a connection end with this answer while there are too many of them.
    fn thin_out<B>(&self, answer: &mut Response<B>) {
        if self.room.available_permits() < self.few {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

async fn accept(listener: &tokio::net::TcpListener, room: &Arc<Semaphore>) -> io::Result<Accepted> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Answers are small and each one is awaited; holding them back would only add to the wait.
    stream.set_nodelay(true)?;
    Ok(Accepted { stream, peer, permit })
}

async fn serve_connection(accepted: Accepted, router: Router, limits: Limits, crowd: Crowd, stop: CancellationToken) {
    let Accepted { stream, peer, permit } = accepted;
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let service = service.map_response(move |mut answer| {
        crowd.thin_out(&mut answer);
        answer
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Connection::new(stream, limits.unread)), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = &mut connection => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection broke off");
    }
    drop(permit);
}
