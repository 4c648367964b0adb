//! How figures are summed up and printed.

use std::time::Duration;

/// Durations that were measured, in any order.
#[derive(Default)]
pub(crate) struct Sample(Vec<Duration>);

impl Sample {
    pub(crate) fn add(&mut self, measured: Duration) {
        self.0.push(measured);
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn n(&self) -> usize {
        self.0.len()
    }

    /// The value that so many thousandths of the sample do not exceed.
    pub(crate) fn permille(&mut self, thousandths: usize) -> Duration {
        self.0.sort_unstable();
        let index = (self.0.len().saturating_sub(1)) * thousandths / 1_000;
        self.0.get(index).copied().unwrap_or_default()
    }

    /// The middle, the 99th percentile and the worst, in milliseconds.
    pub(crate) fn line(&mut self) -> String {
        let [middle, late, worst] = [500, 990, 1_000].map(|thousandths| millis(self.permille(thousandths)));
        format!("p50 {middle} p99 {late} max {worst} ms")
    }
}

pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1_000.0)
}

pub(crate) fn heading(text: &str) {
    println!("\n== {text}");
}

pub(crate) fn row(what: &str, figure: &str) {
    println!("{what:<44} {figure}");
}

/// A figure of callout beside the floor's, with their ratio.
pub(crate) fn beside(what: &str, ours: f64, floor: f64, unit: &str) {
    row(what, &format!("callout {ours:.1} {unit}, floor {floor:.1} {unit}, ratio {:.2}", ours / floor));
}
