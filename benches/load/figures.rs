//! How figures are summed up and printed.

use std::time::Duration;

/// Durations that were measured, in any order.
#[derive(Clone, Default)]
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

    /// The value that so many thousandths of the sample do not exceed, in milliseconds.
    pub(crate) fn permille(&mut self, thousandths: usize) -> f64 {
        self.0.sort_unstable();
        let index = (self.0.len().saturating_sub(1)) * thousandths / 1_000;
        self.0.get(index).copied().unwrap_or_default().as_secs_f64() * 1_000.0
    }

    /// The middle, the 99th percentile and the worst.
    pub(crate) fn line(&mut self) -> String {
        let [middle, late, worst] = [500, 990, 1_000].map(|thousandths| self.permille(thousandths));
        format!("p50 {middle:.2} p99 {late:.2} max {worst:.2} ms")
    }
}

/// A figure that was taken of callout and of the floor in turn, once in each round.
///
/// Neighbours on the machine come and go within seconds, so only two measurements that follow each other are
/// compared: the ratio of each round is taken, and then the middle one of the ratios.
#[derive(Default)]
pub(crate) struct Pairs {
    ours: Vec<f64>,
    floors: Vec<f64>,
}

impl Pairs {
    pub(crate) fn add(&mut self, ours: f64, floor: f64) {
        self.ours.push(ours);
        self.floors.push(floor);
    }

    pub(crate) fn print(&self, what: &str, unit: &str) {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.floors).map(|(ours, floor)| ours / floor).collect();
        let (ours, floor, ratio) = (middle(&self.ours), middle(&self.floors), middle(&ratios));
        let (least, most) = (extreme(&ratios, f64::min), extreme(&ratios, f64::max));
        row(
            what,
            &format!("callout {ours:>9.2} floor {floor:>9.2} {unit:<4} ratio {ratio:.2} ({least:.2} to {most:.2})"),
        );
    }
}

pub(crate) fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn extreme(values: &[f64], choose: fn(f64, f64) -> f64) -> f64 {
    values.iter().copied().reduce(choose).unwrap_or_default()
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

pub(crate) fn heading(text: &str) {
    println!("\n== {text}");
}

pub(crate) fn row(what: &str, figure: &str) {
    println!("{what:<44} {figure}");
}
