//! The storm: ten thousand alerts within a minute, against a provider that takes so many requests a second.
//!
//! Nine of ten are read five seconds after their first message; the others get a second one when a minute has
//! passed, which must wait until nobody waits for a first one any more.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::contender::{API_KEY, Contender, Setup};
use crate::figures::{Sample, heading, mebibytes, row};
use crate::latency::paced;
use crate::provider::Provider;
use crate::wire::Wire;

const N_ALERTS: u64 = 10_000;
const POSTED_PER_SECOND: u64 = N_ALERTS / 60;
/// The policy of the storm: how long its first channel waits, in seconds.
const EXPIRY: u64 = 60;
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];
/// When somebody reads a message.
const READ_AFTER: Duration = Duration::from_secs(5);
/// How long is watched at most; at 25 a second the whole storm takes about seven minutes and a half.
const WATCHED: Duration = Duration::from_mins(12);
/// Two sends that are on their way together may arrive in either order.
const SLACK: Duration = Duration::from_millis(500);
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const COLOURS: [&str; 4] = ["#c0202c", "#d9731a", "#b59a00", "#2c7fb8"];

/// One alert of the storm, in seconds since its beginning.
struct Course {
    severity: usize,
    posted: Instant,
    first: Instant,
    second: Option<Instant>,
}

pub(crate) async fn storm() {
    for max_per_second in [25, 1_000] {
        heading(&format!("a storm: {N_ALERTS} alerts in a minute, {max_per_second} sends a second"));
        let (provider, address) = Provider::start().await;
        let callout = Contender::callout(&Setup { max_per_second, ..Setup::new(address) });
        let began = Instant::now();
        let requests = (1..=N_ALERTS).map(|number| {
            (Contender::alert_of(number, SEVERITIES[severity(number)], &EXPIRY.to_string()), API_KEY.to_owned())
        });
        let reading = tokio::spawn(read_messages(callout.address, provider.clone(), began));
        let posted = paced(&callout, POSTED_PER_SECOND, "/alerts", 201, requests.collect()).await;
        let mut answers = Sample::default();
        for (_, took) in &posted {
            answers.add(*took);
        }
        row("posted → answered", &answers.line());
        reading.await.expect("everything is read");
        let drained = began.elapsed();
        let mut calls: HashMap<u64, Vec<Instant>> = HashMap::new();
        provider.take().into_iter().for_each(|call| calls.entry(call.number).or_default().push(call.at));
        let courses: Vec<Course> = (1..)
            .zip(&posted)
            .map(|(number, (posted, _))| {
                let calls = calls.get(&number).expect("a first message");
                Course { severity: severity(number), posted: *posted, first: calls[0], second: calls.get(1).copied() }
            })
            .collect();
        judge(&courses, drained);
        row("memory at its peak", &format!("{:.1} MiB", mebibytes(callout.memory_at_its_peak())));
        let path = format!("{}/storm-{max_per_second}.svg", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&path, plot(&courses, began, max_per_second)).expect("a file");
        row("drawn in", &path);
    }
}

/// Spread evenly and without order.
fn severity(number: u64) -> usize {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62) as usize
}

/// Reads messages until every alert was read.
async fn read_messages(address: std::net::SocketAddr, provider: Provider, began: Instant) {
    let mut wire = Wire::connect(address).await.expect("it listens");
    let (mut n_seen, mut n_read) = (0, 0);
    let mut n_messages: HashMap<u64, usize> = HashMap::new();
    while n_read < N_ALERTS {
        assert!(began.elapsed() < WATCHED, "{n_read} of {N_ALERTS} alerts were read");
        for call in provider.since(n_seen) {
            tokio::time::sleep_until((call.at + READ_AFTER).into()).await;
            n_seen += 1;
            let n_messages = n_messages.entry(call.number).or_default();
            *n_messages += 1;
            if *n_messages == 1 && call.number.is_multiple_of(10) {
                continue;
            }
            let (body, token) = Contender::status(&call.message, "read");
            let answer = wire.post("/webhooks/status", &token, &body).await.expect("it answers");
            assert_eq!(answer.status, 200);
            n_read += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Says what came of the promises.
fn judge(courses: &[Course], drained: Duration) {
    for (index, name) in SEVERITIES.iter().enumerate() {
        let mut waits = Sample::default();
        let of_it = courses.iter().filter(|course| course.severity == index);
        of_it.for_each(|course| waits.add(course.first.saturating_duration_since(course.posted)));
        row(&format!("{name}: posted → first request"), &waits.line());
    }
    let goes_before = |a: &Course, b: &Course| (a.severity, a.posted) < (b.severity, b.posted);
    let passed_over = |a: &&Course| {
        courses.iter().any(|b| b.posted + SLACK < a.first && a.first + SLACK < b.first && goes_before(b, a))
    };
    row("first messages that passed a worse or older one", &courses.iter().filter(passed_over).count().to_string());
    let seconds = || courses.iter().filter_map(|course| Some((course, course.second?)));
    let before_a_first =
        seconds().filter(|(_, at)| courses.iter().any(|b| b.posted + SLACK < *at && *at + SLACK < b.first)).count();
    row("later messages that passed a first one", &format!("{before_a_first} of {}", seconds().count()));
    let n_early = seconds().filter(|(course, at)| *at < course.first + Duration::from_secs(EXPIRY)).count();
    row("deadlines that passed early", &n_early.to_string());
    row("everything drained and read", &format!("after {:.0} s", drained.as_secs_f64()));
}

/// How many were posted and messaged by each moment.
fn plot(courses: &[Course], began: Instant, max_per_second: u32) -> String {
    let since = |at: Instant| at.saturating_duration_since(began).as_secs_f64();
    let posts: Vec<f64> = courses.iter().map(|course| since(course.posted)).collect();
    let seconds: Vec<f64> = courses.iter().filter_map(|course| Some(since(course.second?))).collect();
    let firsts: Vec<Vec<f64>> = (0..SEVERITIES.len())
        .map(|index| {
            courses.iter().filter(|course| course.severity == index).map(|course| since(course.first)).collect()
        })
        .collect();
    let end = (firsts.iter().flatten().chain(&seconds).copied().fold(60.0, f64::max) / 30.0).ceil() * 30.0;
    let line = |moments: &[f64], colour: &str, dashes: &str| {
        let mut sorted = moments.to_vec();
        sorted.sort_by(f64::total_cmp);
        let every = (sorted.len() / 150).max(1);
        let last = sorted.len().saturating_sub(1);
        let points: Vec<String> = sorted
            .iter()
            .enumerate()
            .filter(|(index, _)| index % every == 0 || *index == last)
            .map(|(index, at)| {
                format!("{:.1},{:.1}", at / end * WIDTH, HEIGHT - (index + 1) as f64 / N_ALERTS as f64 * HEIGHT)
            })
            .collect();
        format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>\n",
            points.join(" ")
        )
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-60 -50 720 350\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect x=\"-60\" y=\"-50\" width=\"720\" height=\"350\" fill=\"#fff\"/>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#888\"/>\n\
         <text x=\"0\" y=\"-32\">{N_ALERTS} alerts in a minute, {max_per_second} sends a second: how many by each moment</text>\n"
    );
    svg.push_str(&line(&posts, "#444", " stroke-dasharray=\"5 4\""));
    for (moments, colour) in firsts.iter().zip(COLOURS) {
        svg.push_str(&line(moments, colour, ""));
    }
    svg.push_str(&line(&seconds, "#666", " stroke-dasharray=\"1 3\""));
    let names = SEVERITIES.map(|name| format!("first, {name}"));
    let names = [("posted", "#444")].into_iter().chain(names.iter().map(String::as_str).zip(COLOURS));
    for (index, (name, colour)) in names.chain([("second messages", "#666")]).enumerate() {
        svg.push_str(&format!("<text x=\"{}\" y=\"-12\" fill=\"{colour}\">{name}</text>\n", index * 110));
    }
    svg.push_str(&format!(
        "<text x=\"-6\" y=\"8\" text-anchor=\"end\">{N_ALERTS}</text><text x=\"-6\" y=\"{HEIGHT}\" text-anchor=\"end\">0</text>\
         <text x=\"0\" y=\"278\">0 s</text><text x=\"{WIDTH}\" y=\"278\" text-anchor=\"end\">{end:.0} s</text></svg>\n"
    ));
    svg
}
