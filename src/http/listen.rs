//! The listener: HTTP/1 only, with a limit on connections and on how long a caller may take.
//!
//! axum's own server never closes a silent connection, and a server that also speaks HTTP/2 waits
//! without limit for the first bytes; so this one speaks HTTP/1 only and has a timer.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::Accept;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// How long a caller may take to send a request's head, and how long an idle connection is kept.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most connections at one moment; further ones wait until one is closed.
pub const CONNECTIONS_MAX: usize = 4_096;
/// How long open connections may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `stop` is cancelled, then lets requests that have begun come to their end.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(Limited(Arc::new(Semaphore::new(CONNECTIONS_MAX))))
        .handle(handle.clone())
        .http1_only();
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let serving = server.serve(router.into_make_service_with_connect_info::<SocketAddr>());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => ended,
        () = stop.cancelled() => {
            handle.graceful_shutdown(Some(DRAIN));
            serving.await
        }
    }
}

/// Accepts a connection when there is room for it.
#[derive(Clone, Debug)]
struct Limited(Arc<Semaphore>);

impl<S: Send + 'static> Accept<TcpStream, S> for Limited {
    type Stream = Counted;
    type Service = S;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Counted, S)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let room = Arc::clone(&self.0);
        Box::pin(async move {
            let permit = room.acquire_owned().await.map_err(io::Error::other)?;
            // Answers are small and each one is awaited; holding them back would only add to the wait.
            stream.set_nodelay(true)?;
            Ok((Counted { stream, _permit: permit }, service))
        })
    }
}

/// A connection that counts while it is open.
#[derive(Debug)]
struct Counted {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
