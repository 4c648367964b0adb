//! Logs: one line for each thing that happened, readable alone, on standard error.
//!
//! No address, text, token or key is ever logged, at any level.
//!
//! A thread of its own carries the lines to standard error. Whatever has gathered in two milliseconds, and while it
//! wrote, goes out at once, so that a storm wakes neither this thread nor the log's reader for each line, and nobody who
//! works on an alert waits for it.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How long a line waits for those that follow it. To be woken for each line costs more than the line itself.
const GATHERING_FOR: Duration = Duration::from_millis(2);
/// How many bytes of lines are enough to go out at once.
const GATHERED_BYTES: usize = 64 << 10;
/// How many bytes of lines may wait; beyond it whoever logs waits, as it would for standard error itself.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// How long [`flush`] waits for whoever reads standard error.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The lines of this process.
static LINES: OnceLock<Arc<Lines>> = OnceLock::new();

/// Begins to log what `filter` lets through (the syntax of `RUST_LOG`), and to log panics as well.
/// A filter that cannot be read counts as `info`.
pub fn begin(filter: Option<&str>, format: Format) {
    let filter = filter.and_then(|filter| EnvFilter::try_new(filter).ok()).unwrap_or_else(|| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = LINES.get_or_init(Lines::begin);
    let layer = tracing_subscriber::fmt::layer().with_writer(Pen(Arc::clone(lines))).with_target(false);
    let begun = match format {
        Format::Text => registry.with(layer.with_ansi(io::stderr().is_terminal())).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    // A second service in the same process logs where the first one does.
    if begun.is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            tracing::error!(
                place = panic.location().map(tracing::field::display),
                "callout panicked; this is a defect of callout, please report it"
            );
            flush();
        }));
    }
}

/// Returns when every line has been written, or soon where nobody reads them. To be called before the process ends, and before
/// something else is written to standard error.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// The lines on their way to standard error.
#[derive(Debug, Default)]
struct Lines {
    waiting: Mutex<Waiting>,
    /// There is something to be written, or somebody cannot wait for more.
    filled: Condvar,
    /// What was there has been written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    carrier: Carrier,
    /// Somebody waits until it is written.
    is_awaited: bool,
}

/// What the thread does that carries the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Carrier {
    /// It waits for the first line.
    #[default]
    Waits,
    /// It knows that there is something, and waits for more.
    Gathers,
    /// It writes what was there.
    Writes,
    /// It could not be started: lines are written by whoever has one.
    Missing,
}

impl Lines {
    fn begin() -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let carried = Arc::clone(&lines);
        let thread =
            std::thread::Builder::new().name("callout-log".to_owned()).spawn(move || carried.carry(io::stderr()));
        if thread.is_err() {
            lines.lock().carrier = Carrier::Missing;
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes as long as the process lives.
    fn carry(&self, mut out: impl Write) {
        let mut bytes = Vec::new();
        let mut waiting = self.lock();
        loop {
            while waiting.bytes.is_empty() {
                waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            waiting.carrier = Carrier::Gathers;
            let is_early = |waiting: &mut Waiting| !waiting.is_awaited && waiting.bytes.len() < GATHERED_BYTES;
            let gathered = self.filled.wait_timeout_while(waiting, GATHERING_FOR, is_early);
            (waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut waiting.bytes, &mut bytes);
            waiting.carrier = Carrier::Writes;
            drop(waiting);
            // There is nowhere left to complain to.
            let _written = out.write_all(&bytes);
            bytes.clear();
            waiting = self.lock();
            waiting.carrier = Carrier::Waits;
            if std::mem::take(&mut waiting.is_awaited) {
                self.written.notify_all();
            }
        }
    }

    fn add(&self, line: &[u8]) -> io::Result<()> {
        let mut waiting = self.lock();
        if waiting.carrier == Carrier::Missing {
            drop(waiting);
            return io::stderr().write_all(line);
        }
        while waiting.bytes.len() >= WAITING_BYTES_MAX {
            waiting.is_awaited = true;
            self.filled.notify_one();
            waiting = self.written.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        // Whoever finds others' lines there need not wake anybody.
        let is_first = waiting.bytes.is_empty() && waiting.carrier == Carrier::Waits;
        waiting.bytes.extend_from_slice(line);
        let is_enough = waiting.carrier == Carrier::Gathers && waiting.bytes.len() >= GATHERED_BYTES;
        drop(waiting);
        if is_first || is_enough {
            self.filled.notify_one();
        }
        Ok(())
    }

    fn flush(&self) {
        let is_on_its_way = |waiting: &mut Waiting| {
            waiting.is_awaited = true;
            self.filled.notify_one();
            waiting.carrier == Carrier::Writes || !waiting.bytes.is_empty()
        };
        let waited = self.written.wait_timeout_while(self.lock(), FLUSH_MAX, is_on_its_way);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Takes lines down.
#[derive(Debug)]
struct Pen(Arc<Lines>);

impl<'a> MakeWriter<'a> for Pen {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

/// One line. What formats it hands it over whole.
#[derive(Debug)]
struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Standard error whose reader takes his time.
    struct Slow {
        begun: Sender<()>,
        may_go_on: Receiver<()>,
        read: Arc<Mutex<Vec<String>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _nobody_looks = self.begun.send(());
            let _nobody_holds_it_up = self.may_go_on.recv();
            self.read.lock().unwrap().push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_gather_while_others_are_written_go_out_together_and_in_order() {
        let lines = Arc::new(Lines::default());
        let ((begun, begins), (go_on, may_go_on)) = (channel(), channel());
        let read = Arc::new(Mutex::new(Vec::new()));
        let (carried, slow) = (Arc::clone(&lines), Slow { begun, may_go_on, read: Arc::clone(&read) });
        std::thread::spawn(move || carried.carry(slow));
        lines.add(b"one\n").unwrap();
        begins.recv().unwrap();
        for line in ["two\n", "three\n"] {
            lines.add(line.as_bytes()).unwrap();
        }
        assert!(read.lock().unwrap().is_empty(), "nobody who logs waits for whoever reads");
        drop(go_on);
        lines.flush();
        assert_eq!(*read.lock().unwrap(), ["one\n", "two\nthree\n"], "what was flushed has been written");
    }
}
