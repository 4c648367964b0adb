//! Callers who open connections and say nothing, or say it very slowly.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::program::{Program, open_files_max};
use super::{KEY, client, configure};

/// How many slow callers there are where the system allows so many files to a process.
const SLOW_CALLERS: usize = 5_000;
/// How long an alert may take while they are there: they have made room by then.
const ALERT_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test]
async fn alerts_pass_while_thousands_of_callers_say_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    configure(folder.path(), "127.0.0.1:1".parse().unwrap(), &format!("api_key: {KEY}"));
    let program = Program::serve(folder.path(), &[]);
    let address = program.address().await;
    let spare = 200;
    let n_callers = SLOW_CALLERS.min(open_files_max("/proc/self/limits").saturating_sub(spare));
    assert!(n_callers >= 500, "a system on which this shows nothing: it allows {n_callers} connections");
    let beginnings = [
        "",
        "G",
        "POST /alerts HTTP/1.1\r\n",
        "POST /alerts HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        "GET / HTTP/1.1\r\nHost: x\r\n",
    ];
    let callers = tokio::task::spawn_blocking(move || {
        let call = |n: usize| {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
            stream.write_all(beginnings[n % beginnings.len()].as_bytes()).ok()?;
            Some(stream)
        };
        (0..n_callers).filter_map(call).collect::<Vec<TcpStream>>()
    });
    let callers = callers.await.unwrap();
    assert!(callers.len() > n_callers / 2, "{} of {n_callers} got through", callers.len());
    for n in 0..20 {
        let request = client().post(format!("http://{address}/alerts")).bearer_auth(KEY);
        let answer = request.json(&json!({ "message": format!("alert {n}") })).send();
        let answer = tokio::time::timeout(ALERT_WITHIN, answer).await.expect("it passes in time").unwrap();
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.json::<Value>().await.unwrap()["status"], "escalating");
    }
    drop(callers);
    program.stop().await;
}
