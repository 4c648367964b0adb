//! Every parser of what comes from outside, fed with what nobody meant to send.
//!
//! The cases are made from the samples in `tests/corpus` by a generator that gives the same ones in each
//! run: bytes are changed, cut out, doubled, moved between samples, and replaced by what parsers like
//! least. A few hundred of each are tried by default; `CALLOUT_FUZZ_CASES` asks for as many as one likes.
//! Nothing may panic or take long, what is refused must be refused in order, and what can be written
//! must be read back the same.

#![expect(clippy::expect_used, reason = "a case that goes wrong must say which it was")]

use std::fmt::{Debug, Display};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callout::config::{Environment, Flags, Overrides, parse};
use callout::contact::{Address, Channel};
use callout::id::{AlertId, AlertNumber, AttemptRef, ProviderId, ShortCode};
use callout::link::Token;
use callout::sandbox::faults::Faults;
use callout::sandbox::habits::People;
use callout::store::record::{
    read_alert, read_incoming, read_plan, read_raised, write_incoming, write_plan, write_raised, write_state,
};
use callout::timestamp::Timestamp;
use callout::vonage::{SignatureSecret, signature, webhook};
use reqwest::Method;
use serde_json::Value;

use crate::alerts::Dice;
use crate::config::TEST_ONLY_PRIVATE_KEY;
use crate::strangers::{KEY, Stage};

/// How many cases each parser gets when nobody asks for more.
const CASES_DEFAULT: u64 = 400;
/// The longest that one case may take; a usual one takes a thousandth of it.
const CASE_MAX: Duration = Duration::from_secs(2);
/// How many times a sample is changed at most before it is tried.
const CHANGES_MAX: u64 = 6;
/// The most bytes of a case.
const CASE_BYTES_MAX: usize = 64 * 1024;

/// How many characters of an address are shown, its last ones, so that people can tell two apart.
const SHOWN_OF_AN_ADDRESS: usize = 4;

/// What parsers like least.
const NASTY: [&[u8]; 26] = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xf0\x9f\xa6\x8a",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\x1b[2J",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":{\"a\":{\"a\":",
    b"\\u0000",
    b"\\ud800",
    b"\"",
    b"'",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"0.1",
    b"null",
    b"${",
    b"${X}",
    b"*a",
    b"&a",
    b"%00%ff%",
];

#[expect(clippy::disallowed_methods, reason = "a tester asks for more cases, and time is what is tested")]
fn n_cases() -> u64 {
    std::env::var("CALLOUT_FUZZ_CASES").ok().and_then(|n_cases| n_cases.parse().ok()).unwrap_or(CASES_DEFAULT)
}

#[expect(clippy::disallowed_methods, reason = "as above")]
fn now() -> Instant {
    Instant::now()
}

/// The samples of one parser, in the order of their names.
fn samples(parser: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(parser);
    let files = fs::read_dir(&folder).expect("a folder of samples").map(|file| file.expect("a sample").path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    assert!(!files.is_empty(), "{parser} has no samples");
    files.iter().map(|file| fs::read(file).expect("a sample")).collect()
}

/// A number below `n`, which may be zero.
fn below(dice: &mut Dice, n: usize) -> usize {
    let n = u64::try_from(n.max(1)).expect("few");
    usize::try_from(dice.below(n)).expect("few")
}

/// A place in the case, and a further one not far behind it.
fn span(dice: &mut Dice, case: &[u8]) -> std::ops::Range<usize> {
    let from = below(dice, case.len() + 1);
    let length = below(dice, 24).min(case.len() - from);
    from..from + length
}

fn change(dice: &mut Dice, case: &mut Vec<u8>, samples: &[Vec<u8>]) {
    let at = span(dice, case);
    match dice.below(8) {
        0 => drop(case.splice(at, dice.one_of(&NASTY).iter().copied())),
        1 => drop(case.drain(at)),
        2 => case.truncate(at.start),
        3 => {
            let piece = case[at.clone()].to_vec();
            let times = below(dice, 40);
            drop(case.splice(at.start..at.start, piece.repeat(times)));
        }
        4 => {
            let other = &samples[below(dice, samples.len())];
            let piece = other[span(dice, other)].to_vec();
            drop(case.splice(at, piece));
        }
        5 => {
            for byte in &mut case[at] {
                *byte = byte.wrapping_add(1);
            }
        }
        6 => case[at].reverse(),
        _ => {
            if let Some(byte) = case.get_mut(at.start) {
                *byte ^= 1 << dice.below(8);
            }
        }
    }
    case.truncate(CASE_BYTES_MAX);
}

/// One case: a sample, changed a few times, or not at all.
fn case(dice: &mut Dice, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut case = samples[below(dice, samples.len())].clone();
    for _ in 0..dice.below(CHANGES_MAX + 1) {
        change(dice, &mut case, samples);
    }
    case
}

/// Feeds a parser. A panic names the case by its number, and shows it.
fn feed(parser: &str, mut parse: impl FnMut(&[u8])) {
    let (samples, mut dice) = (samples(parser), Dice::new(1));
    for n in 0..n_cases() {
        let case = case(&mut dice, &samples);
        let began = now();
        let parsed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| parse(&case)));
        assert!(parsed.is_ok(), "case {n} of {parser} panics: {}", case.escape_ascii());
        assert!(
            began.elapsed() < CASE_MAX,
            "case {n} of {parser} takes {:?}: {}",
            began.elapsed(),
            case.escape_ascii()
        );
    }
}

/// A text that can be read is written so that it is read as the same thing again.
fn comes_back<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().expect("what was written is read"), value, "{text:?}");
    }
}

#[test]
fn the_configuration() {
    feed("config", |bytes| {
        let environment: Environment = [("HOME", "/root"), ("X", "${X}")].into_iter().collect();
        let overrides = Overrides::new(&Flags::default(), &environment);
        let key = |_: &Path, _: usize| Ok(TEST_ONLY_PRIVATE_KEY.as_bytes().to_vec());
        match parse(Path::new("callout.yaml"), bytes, &overrides, &environment, &key) {
            Ok(loaded) => assert!(loaded.config.policies.iter().count() > 0, "somebody is called"),
            Err(problems) => {
                assert!(problems.iter().count() > 0, "a refusal has its reasons");
                for problem in &problems {
                    let line = problem.to_string();
                    assert!(!line.chars().any(char::is_control), "{line:?}");
                }
            }
        }
    });
}

#[test]
fn the_people_of_the_stand_in() {
    feed("people", |bytes| {
        let people = People::parse("people.yaml", &String::from_utf8_lossy(bytes));
        assert!(people.is_ok() || people.is_err_and(|error| !error.to_string().is_empty()));
    });
}

#[test]
fn the_faults_of_the_stand_in() {
    feed("faults", |bytes| {
        let faults = String::from_utf8_lossy(bytes).parse::<Faults>();
        assert!(faults.is_ok() || faults.is_err_and(|error| !error.to_string().is_empty()));
    });
}

#[test]
fn webhooks_and_how_they_are_kept() {
    feed("webhook", |bytes| {
        if let Ok(incoming) = webhook::read(bytes) {
            let record = write_incoming(&incoming).expect("it can be kept");
            assert_eq!(read_incoming(&record).expect("it can be read"), incoming);
        }
    });
}

#[test]
fn signatures() {
    let secrets = [SignatureSecret::new("a-secret-that-nobody-who-makes-these-cases-knows").expect("a secret")];
    feed("authorization", |bytes| {
        assert!(signature::verify([bytes], b"{}", &secrets).is_err());
        assert!(signature::verify([bytes, bytes], b"{}", &secrets).is_err());
        assert!(signature::verify([&[b"Bearer ", bytes].concat()[..]], bytes, &secrets).is_err());
    });
}

#[test]
fn names_and_numbers() {
    for parser in ["token", "reference", "query", "authorization"] {
        feed(parser, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            comes_back::<Token>(&text);
            comes_back::<AttemptRef>(&text);
            comes_back::<AlertId>(&text);
            comes_back::<ProviderId>(&text);
            comes_back::<ShortCode>(&text);
            comes_back::<Channel>(&text);
            comes_back::<Timestamp>(&text);
            for channel in [Channel::Sms, Channel::Messenger] {
                if let Ok(address) = Address::parse(channel, &text)
                    && text.chars().count() > SHOWN_OF_AN_ADDRESS
                {
                    assert!(!format!("{address:?}").contains(&*text), "an address does not show itself");
                }
            }
        });
    }
}

#[test]
fn stored_records() {
    feed("record", |bytes| {
        let Ok(sample) = serde_json::from_slice::<Value>(bytes) else {
            let text = String::from_utf8_lossy(bytes);
            assert!(read_plan(&text).is_err() && read_incoming(&text).is_err(), "what is no JSON is no record");
            return;
        };
        let text = |name: &str| sample.get(name).unwrap_or(&sample).to_string();
        for webhook in sample.as_array().into_iter().flatten() {
            if let Ok(incoming) = read_incoming(&webhook.to_string()) {
                let record = write_incoming(&incoming).expect("it can be kept");
                assert_eq!(read_incoming(&record).expect("it can be read"), incoming);
            }
        }
        let Ok(plan) = read_plan(&text("plan")) else { return };
        let record = write_plan(&plan).expect("it can be kept").record;
        assert_eq!(read_plan(&record).expect("it can be read"), plan);
        let (id, number) = (AlertId::from_bits(1), AlertNumber(1));
        let Ok(raised) = read_raised(&text("raised"), id, number, Arc::new(plan.clone())) else { return };
        let record = write_raised(&raised).expect("it can be kept");
        assert_eq!(read_raised(&record, id, number, Arc::new(plan)).expect("it can be read"), raised);
        let Ok(alert) = read_alert(Arc::new(raised), &text("state")) else { return };
        let record = write_state(&alert).expect("it can be kept");
        assert_eq!(read_alert(Arc::clone(&alert.raised), &record).expect("it can be read"), alert);
    });
}

/// The bodies and queries of the API have no way in but the service itself.
#[tokio::test]
async fn bodies_and_queries() {
    let stage = Stage::usual().await;
    let mut dice = Dice::new(1);
    for (parser, method) in [("alert", Method::POST), ("query", Method::GET), ("webhook", Method::POST)] {
        let samples = samples(parser);
        // A request takes a hundred times as long as a parser.
        for n in 0..n_cases().div_ceil(4) {
            let case = case(&mut dice, &samples);
            let request = match parser {
                "alert" => stage.with_key(KEY, method.clone(), "/alerts").body(case.clone()),
                "webhook" => stage.request(method.clone(), "/webhooks/status").body(case.clone()),
                _ => {
                    let visible: String =
                        case.iter().filter(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect();
                    stage.with_key(KEY, method.clone(), &format!("/alerts?{}", visible.replace('#', "")))
                }
            };
            let answer = request.send();
            let answer = tokio::time::timeout(CASE_MAX, answer).await.expect("it takes not long").expect("an answer");
            let status = answer.status().as_u16();
            assert!(
                matches!(status, 200 | 201 | 400 | 422 | 503) && (status != 503 || parser == "webhook"),
                "case {n} of {parser} is answered {status}: {}",
                case.escape_ascii()
            );
            let content_type = answer.headers().get("content-type").cloned().unwrap_or_else(|| panic!("case {n}"));
            let expected = if status < 300 { "application/json" } else { "application/problem+json" };
            assert_eq!(content_type, expected, "case {n} of {parser}");
        }
    }
    stage.end().await;
}
