//! One connection, made polite and made safe.
//!
//! Three things that hyper leaves to whoever owns the socket:
//! - a caller who reads nothing of its answers does not hold the connection for ever;
//! - a refusal that hyper writes by itself, because it could not read the request, leaves as a problem
//!   (RFC 9457) like every other error;
//! - a connection is closed only after what is still coming in was taken in, as far as that is little:
//!   else the operating system answers it with a reset, which can overtake the answer and destroy it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::place::Place;
use super::problem::refusal;

/// How long a connection that is being closed goes on taking in what still comes.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it is taken in.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A connection that counts how long it is not read from, and lingers when it is closed.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    place: Arc<Place>,
    unread_max: Duration,
    unread: Option<Pin<Box<Sleep>>>,
    refusal: Option<Refusal>,
    lingering: Option<Lingering>,
}

/// What is written in the place of hyper's own refusal.
#[derive(Debug)]
struct Refusal {
    bytes: Vec<u8>,
    n_written: usize,
}

#[derive(Debug)]
struct Lingering {
    until: Pin<Box<Sleep>>,
    n_bytes: usize,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, place: Arc<Place>, unread_max: Duration) -> Self {
        Self { stream, place, unread_max, unread: None, refusal: None, lingering: None }
    }

    /// A write that makes no progress for too long is an error, and ends the connection.
    fn timed<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        self.place.unread();
        let unread_max = self.unread_max;
        let unread = self.unread.get_or_insert_with(|| timer(unread_max));
        match unread.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes the refusal, whole, for the `n_bytes` that it stands for.
    fn poll_refuse(&mut self, context: &mut Context<'_>, n_bytes: usize) -> Poll<io::Result<usize>> {
        while let Some(refusal) = &mut self.refusal
            && let Some(rest) = refusal.bytes.get(refusal.n_written..).filter(|rest| !rest.is_empty())
        {
            let written = Pin::new(&mut self.stream).poll_write(context, rest);
            match ready!(self.timed(context, written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n_more => {
                    if let Some(refusal) = &mut self.refusal {
                        refusal.n_written += n_more;
                    }
                }
            }
        }
        self.refusal = None;
        Poll::Ready(Ok(n_bytes))
    }
}

/// The one place here that makes a timer.
#[expect(clippy::disallowed_methods, reason = "a limit on a socket is real time, whatever the service's clock says")]
fn timer(duration: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(duration))
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n_before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > n_before {
            self.place.heard();
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if self.refusal.is_none()
            && let Some(bytes) = refusal(buffer)
        {
            self.refusal = Some(Refusal { bytes, n_written: 0 });
        }
        if self.refusal.is_some() {
            return self.poll_refuse(context, buffer.len());
        }
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.timed(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.timed(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        let lingering = this.lingering.get_or_insert_with(|| Lingering { until: timer(LINGER), n_bytes: 0 });
        let mut scratch = [0; 8 * 1024];
        while lingering.n_bytes < LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => lingering.n_bytes += buffer.filled().len(),
                // The caller has closed its side, or is gone.
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(Ok(())),
                Poll::Pending => return lingering.until.as_mut().poll(context).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A refusal of hyper's is one buffer with a head and nothing else.
        let mut filled = buffers.iter().filter(|buffer| !buffer.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next()) {
            return self.poll_write(context, only);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.timed(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
