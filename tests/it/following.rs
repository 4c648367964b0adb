//! Whoever raises an alert at a terminal and stays to watch it.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{FakeVonage, KEY, Lines, Mood, PATIENCE};
use crate::process::{Process, config, write};

/// A command that goes on until the alert does not, and what it prints.
struct Follower {
    child: Child,
    printed: Lines,
    complained: Lines,
}

impl Follower {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_callout"))
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("TZ", "Asia/Tokyo")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = Lines::of(child.stdout.take().unwrap());
        let complained = Lines::of(child.stderr.take().unwrap());
        Self { child, printed, complained }
    }

    /// The exit code, and what was printed since anybody looked.
    async fn end(mut self) -> (Option<i32>, Vec<String>) {
        let mut rest = Vec::new();
        let read = async {
            while let Some(line) = self.printed.next().await {
                rest.push(line);
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("it does not end: {rest:?}"));
        (self.child.wait().unwrap().code(), rest)
    }
}

async fn the_alert(process: &Process) -> Value {
    let list = process.call(reqwest::Method::GET, "/alerts", KEY, None).await.is(200).json();
    list["alerts"][0].clone()
}

#[tokio::test]
async fn whoever_follows_sees_each_line_once_across_a_restart_and_ends_with_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    let mut config = config(&vonage);
    write(folder.path(), &config);
    let process = Process::start(folder.path()).await;
    // The next one must be found where this one was.
    config["server"]["listen"] = process.address().into();
    write(folder.path(), &config);
    let mut follower = Follower::start(folder.path(), &["send", "Main server is down", "--follow"]);
    let headline = follower.printed.says("Main server is down").await;
    follower.printed.says("raised").await;
    follower.printed.says("sent").await;
    process.signal("KILL");
    follower.complained.says("looking for it again").await;
    drop(process);
    let process = Process::start(folder.path()).await;
    follower.complained.says("answers again").await;
    let code = headline.split_whitespace().next().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_callout"))
        .args(["ack", code, "--by", "Tony", "--json"])
        .current_dir(folder.path())
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let acknowledged: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(acknowledged["acknowledged"]["by"], "Tony");
    assert_eq!(acknowledged["id"], the_alert(&process).await["id"]);
    let (exit_code, rest) = follower.end().await;
    assert_eq!(exit_code, Some(0));
    assert_eq!(rest.len(), 1, "nothing twice: {rest:?}");
    assert!(rest[0].contains("acknowledged") && rest[0].contains("Tony"), "{rest:?}");
}

#[tokio::test]
async fn following_an_alert_that_nobody_answers_ends_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    write(folder.path(), &config(&vonage));
    let process = Process::start(folder.path()).await;
    vonage.becomes(Mood::Refuses);
    let url = format!("http://{}", process.address());
    let follower =
        Follower::start(folder.path(), &["send", "Main server is down", "--follow", "--json", "--url", &url]);
    let (exit_code, lines) = follower.end().await;
    assert_eq!(exit_code, Some(3));
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["message"], "Main server is down");
    let events: Vec<&str> = lines[1..].iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["raised", "refused", "exhausted"]);
    // Whoever comes later sees the same and ends alike.
    let id = lines[0]["id"].as_str().unwrap();
    let (exit_code, lines) = Follower::start(folder.path(), &["show", id, "--follow", "--url", &url]).end().await;
    assert_eq!((exit_code, lines.len()), (Some(3), 4), "{lines:?}");
    let raised_at = the_alert(&process).await["created_at"].as_str().unwrap().to_owned();
    let (hour, rest) = raised_at.split_once('T').unwrap().1.split_once(':').unwrap();
    let in_tokyo = format!(" {:02}:{} ", (hour.parse::<u32>().unwrap() + 9) % 24, rest.split_once('.').unwrap().0);
    assert!(lines[1].contains(&in_tokyo), "{lines:?} are in the time of whoever reads them; UTC was {raised_at}");
}

#[tokio::test]
async fn a_terminal_gets_colours_and_the_time_that_is_left_unless_it_wants_none() {
    let folder = tempfile::tempdir().unwrap();
    let vonage = FakeVonage::start().await;
    write(folder.path(), &config(&vonage));
    let process = Process::start(folder.path()).await;
    let on_terminal = |no_colour: bool| {
        let command = format!(
            "{} send Down --follow --dedup-key d --url http://{}",
            env!("CARGO_BIN_EXE_callout"),
            process.address()
        );
        let mut script = Command::new("script");
        script.args(["-qefc", &command, "/dev/null"]).current_dir(folder.path()).env_clear();
        script.env("PATH", "/usr/bin:/bin").env("TERM", "xterm").stdin(Stdio::null());
        if no_colour {
            script.env("NO_COLOR", "1");
        }
        script.stdout(Stdio::piped()).spawn().unwrap()
    };
    let (mut coloured, mut plain) = (on_terminal(false), on_terminal(true));
    let screen = tokio::task::spawn_blocking({
        let mut stdout = coloured.stdout.take().unwrap();
        move || {
            let mut screen = Vec::new();
            let mut part = [0; 4096];
            while !String::from_utf8_lossy(&screen).contains(" left") {
                match stdout.read(&mut part).unwrap() {
                    0 => break,
                    n_bytes => screen.extend_from_slice(&part[..n_bytes]),
                }
            }
            (String::from_utf8_lossy(&screen).into_owned(), stdout)
        }
    });
    let (screen, _open) = tokio::time::timeout(PATIENCE, screen).await.unwrap().unwrap();
    assert!(screen.contains("\u{1b}[33mescalating"), "{screen:?}");
    assert!(screen.contains("calling "), "{screen:?}");
    let alert = the_alert(&process).await;
    process
        .call(reqwest::Method::POST, &format!("{}/resolve", crate::harness::path_of(&alert)), KEY, None)
        .await
        .is(200);
    let mut text = String::new();
    let read = tokio::task::spawn_blocking(move || {
        plain.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        (plain.wait().unwrap().code(), text)
    });
    let (exit_code, text) = tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    assert!(text.contains("resolved") && !text.contains('\u{1b}'), "{text:?}");
    assert_eq!(exit_code, Some(0));
    coloured.wait().unwrap();
}
