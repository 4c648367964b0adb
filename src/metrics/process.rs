//! What the operating system says of this process, under the names that every Prometheus client uses.
//! Read from `/proc`; where there is none, the figures stay at zero.

use std::fs;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Linux tells times of processes in hundredths of a second on every platform (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct Process {
    cpu: Counter<f64, AtomicU64>,
    memory: Gauge,
    files: Gauge,
    threads: Gauge,
    started: Gauge<f64, AtomicU64>,
}

impl Process {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let cpu = Counter::default();
        registry.register("process_cpu_seconds", "Processor time of this process", Counter::clone(&cpu));
        let memory = Gauge::default();
        registry.register("process_resident_memory_bytes", "Memory of this process", Gauge::clone(&memory));
        let files = Gauge::default();
        registry.register("process_open_fds", "Files and connections that are open", Gauge::clone(&files));
        let threads = Gauge::default();
        registry.register("process_threads", "Threads of this process", Gauge::clone(&threads));
        let started = Gauge::default();
        registry.register("process_start_time_seconds", "When this process began, since 1970", Gauge::clone(&started));
        Self { cpu, memory, files, threads, started }
    }

    /// Brings the figures up to date.
    pub(super) fn read(&self) {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name of the program stands in brackets and may hold anything; what follows is numbers.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        // Numbered as in proc(5), which begins with 1 and has two before the bracket's end.
        let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok());
        if let (Some(user), Some(system)) = (field(14), field(15)) {
            self.cpu.inc_by(((user + system) / TICKS_PER_SECOND - self.cpu.get()).max(0.0));
        }
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        if let (Some(boot), Some(since_boot)) = (boot, field(22)) {
            self.started.set(boot + since_boot / TICKS_PER_SECOND);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let of_status = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<i64>().ok()
        };
        self.memory.set(of_status("VmRSS:").unwrap_or(0).saturating_mul(1024));
        self.threads.set(of_status("Threads:").unwrap_or(0));
        let n_files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.files.set(i64::try_from(n_files).unwrap_or(i64::MAX));
    }
}
