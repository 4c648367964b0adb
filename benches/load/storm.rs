//! Ten thousand alerts within a minute, against a provider that takes so many requests a second.

use std::time::{Duration, Instant};

use crate::contender::{Contender, Setup};
use crate::figures::{Sample, heading, row};
use crate::provider::Provider;

const N_ALERTS: u64 = 10_000;
/// How long is watched at most; at 25 a second the whole storm takes seven minutes.
const WATCHED: Duration = Duration::from_mins(8);
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;

pub(crate) async fn storm() {
    for max_per_second in [25, 1_000] {
        heading(&format!("a storm: {N_ALERTS} alerts in a minute, {max_per_second} sends a second"));
        let (provider, address) = Provider::start().await;
        let callout = Contender::callout(&Setup { max_per_second, ..Setup::new(address) });
        let began = Instant::now();
        let (posted, mut answers) = crate::paced(&callout, N_ALERTS / 60, N_ALERTS).await;
        row("posted → answered", &answers.line());
        while (provider.n_calls() as u64) < N_ALERTS && began.elapsed() < WATCHED {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut first = Sample::default();
        for (index, posted) in posted.iter().enumerate() {
            if let Some(call) = provider.of(index as u64 + 1).first() {
                first.add(call.at.saturating_duration_since(*posted));
            }
        }
        let calls = provider.all();
        let n_first = calls.iter().map(|call| call.number).collect::<std::collections::BTreeSet<_>>().len();
        row("posted → first request", &first.line());
        row("alerts whose first message is out", &format!("{n_first} of {N_ALERTS}, after {:.0} s", began.elapsed().as_secs_f64()));
        let in_order = calls.windows(2).filter(|pair| pair[0].number <= pair[1].number).count();
        row("sends that follow an older alert", &format!("{in_order} of {}", calls.len().saturating_sub(1)));
        row("memory at the end", &format!("{:.1} MiB", callout.memory() as f64 / 1_048_576.0));
        let path = format!("{}/storm-{max_per_second}.svg", env!("CARGO_TARGET_TMPDIR"));
        let times: Vec<f64> = calls.iter().map(|call| call.at.saturating_duration_since(began).as_secs_f64()).collect();
        let posts: Vec<f64> = posted.iter().map(|at| at.saturating_duration_since(began).as_secs_f64()).collect();
        std::fs::write(&path, plot(&posts, &times, max_per_second)).expect("a file");
        row("drawn in", &path);
    }
}

/// How many were posted and how many messaged by each moment.
fn plot(posts: &[f64], sends: &[f64], max_per_second: u32) -> String {
    let end = sends.iter().chain(posts).copied().fold(1.0, f64::max);
    let n_max = posts.len().max(sends.len()).max(1) as f64;
    let line = |moments: &[f64]| {
        let mut sorted = moments.to_vec();
        sorted.sort_by(f64::total_cmp);
        let every = (sorted.len() / 200).max(1);
        let points = sorted.iter().enumerate().filter(|(index, _)| index % every == 0 || index + 1 == moments.len());
        let points = points.map(|(index, at)| {
            format!("{:.1},{:.1}", at / end * WIDTH, HEIGHT - (index + 1) as f64 / n_max * HEIGHT)
        });
        points.collect::<Vec<_>>().join(" ")
    };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-50 -20 720 300\" font-family=\"sans-serif\" font-size=\"11\">\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#888\"/>\
         <polyline points=\"{}\" fill=\"none\" stroke=\"#d33\" stroke-width=\"2\"/>\
         <polyline points=\"{}\" fill=\"none\" stroke=\"#27c\" stroke-width=\"2\"/>\
         <text x=\"0\" y=\"-6\">{N_ALERTS} alerts in a minute, {max_per_second} sends a second: posted (red), first messages out (blue)</text>\
         <text x=\"-45\" y=\"8\">{n_max:.0}</text><text x=\"-15\" y=\"{HEIGHT}\">0</text>\
         <text x=\"{WIDTH}\" y=\"256\" text-anchor=\"end\">{end:.0} s</text></svg>\n",
        line(posts),
        line(sends)
    )
}
