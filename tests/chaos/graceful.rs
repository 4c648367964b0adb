//! Restarted as an operator does it, under load: no send is made twice, nothing is lost, and nobody who dawdles
//! keeps the process from ending.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use callout::clock::system_now;

use crate::history::{judge_by_the_oracle, stops};
use crate::home::{API_KEY, Home, beside_another, pause};
use crate::judge::{Life, Pace, judge};
use crate::kills::collect;
use crate::load::Load;
use crate::size::{Size, seed};

const RESTARTS: Size = Size { name: "RESTARTS", taste: 2, ci: 3, long: 100 };
/// How long each process lives.
const LIFE: Duration = Duration::from_secs(2);
/// How long a stop may take (docs/install.md).
const STOP_MAX: Duration = Duration::from_secs(20);
/// How many clients begin a request and never finish it.
const N_DAWDLERS: usize = 5;

/// A client that has sent half a request.
fn dawdler(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST /alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {API_KEY}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{\"message\":"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_again_and_again_it_sends_nothing_twice() {
    let _beside = beside_another().await;
    let home = Home::new().await;
    let load = Load::begin(&home, 4, 8, seed());
    let (mut lives, mut slowest) = (Vec::<Life>::new(), Duration::ZERO);
    for _ in 0..RESTARTS.get() {
        let mut server = home.start(None).await.unwrap();
        lives.push(Life { begun: server.spawned, listens: Some(server.listens), ended: None });
        pause(LIFE).await;
        let _dawdlers: Vec<TcpStream> = (0..N_DAWDLERS).map(|_| dawdler(home.port)).collect();
        let asked = system_now();
        assert_eq!(server.terminate().await, Some(0), "{}", server.said());
        slowest = slowest.max(system_now().since(asked));
        lives.last_mut().unwrap().ended = Some(system_now());
    }
    let mut last = home.start(None).await.unwrap();
    lives.push(Life { begun: last.spawned, listens: Some(last.listens), ended: None });
    let evidence = collect(&home, load.end().await, lives).await;
    let mut verdict = judge(&evidence, Pace::WithinASecond);
    let between = stops(&evidence.lives);
    verdict.broken.extend(judge_by_the_oracle(&home, &evidence, &between, Pace::WithinASecond));
    assert!(verdict.broken.is_empty(), "seed {}:\n{}", seed(), verdict.broken.join("\n"));
    eprintln!(
        "seed {}: {} restarts: {} alerts accepted, {} sends of which {} repeated; slowest stop {slowest:?}",
        seed(),
        RESTARTS.get(),
        evidence.ledger.promised.len(),
        evidence.sent.len(),
        verdict.n_repeated,
    );
    assert_eq!(verdict.n_repeated, 0, "each attempt went out once");
    assert!(slowest <= STOP_MAX, "a stop took {slowest:?}");
    assert_eq!(last.terminate().await, Some(0));
}
