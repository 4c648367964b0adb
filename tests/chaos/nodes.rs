//! Three nodes on one PostgreSQL, each in a network of its own: killed, frozen, and cut off from the
//! database, from the provider, or from both.
//!
//! Each node has two cables, one to the database and one to everybody else; a partition pulls one out, or lets one
//! direction of it go nowhere. Which node sent a message is known by its sender's number.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use callout::clock::system_now;
use callout::timestamp::Timestamp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::history::judge_by_the_oracle;
use crate::home::{Home, Server, beside_another, free_port, pause, signal};
use crate::judge::{Life, Pace, judge};
use crate::kills::collect;
use crate::left_out::leave_out;
use crate::load::Load;
use crate::postgres::Database;
use crate::size::{Size, seed};

const ROUNDS: Size = Size { name: "NODE_ROUNDS", taste: 1, ci: 1, long: 40 };
const N_NODES: usize = 3;
/// How long a node is frozen, or cut off from the provider.
const SHORT: Duration = Duration::from_secs(4);
/// How long a node is cut off from the database: longer than it may go on sending (10 s).
const LONG: Duration = Duration::from_secs(13);
/// How long somebody waits for a node to take a connection before the next one is asked.
const CONNECTED_WITHIN: Duration = Duration::from_millis(300);

/// The address of a network card that nobody has.
const NOBODY: &str = "02:00:00:00:00:01";

/// One of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Net {
    World,
    Database,
}

impl Net {
    const BOTH: [Self; 2] = [Self::World, Self::Database];

    fn letter(self) -> char {
        match self {
            Self::World => 'w',
            Self::Database => 'd',
        }
    }

    /// The address of this end.
    fn address(self, last: usize) -> String {
        let net = match self {
            Self::World => 201,
            Self::Database => 202,
        };
        format!("10.{net}.{}.{last}", std::process::id() % 250)
    }
}

/// The networks; gone with it.
struct Networks;

fn try_ip(arguments: &str) -> bool {
    let mut ip = Command::new("ip");
    ip.args(arguments.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null());
    ip.status().is_ok_and(|status| status.success())
}

fn ip(arguments: &str) {
    assert!(try_ip(arguments), "ip {arguments}");
}

fn name(what: &str) -> String {
    format!("ch{}{what}", std::process::id() % 100_000)
}

fn namespace(node: usize) -> String {
    name(&format!("n{node}"))
}

/// The end of a cable that is not in the node's own network.
fn cable(node: usize, net: Net) -> String {
    name(&format!("{}{node}", net.letter()))
}

impl Networks {
    /// None where this machine does not let us.
    fn lay() -> Option<Self> {
        if !try_ip(&format!("link add {} type bridge", name("w"))) {
            return None;
        }
        let networks = Self;
        ip(&format!("link add {} type bridge", name("d")));
        for net in Net::BOTH {
            let bridge = name(&net.letter().to_string());
            ip(&format!("addr add {}/24 dev {bridge}", net.address(1)));
            ip(&format!("link set {bridge} up"));
        }
        for node in 0..N_NODES {
            let namespace = namespace(node);
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
            for net in Net::BOTH {
                let (outer, inner) = (cable(node, net), format!("{}x", cable(node, net)));
                ip(&format!("link add {outer} type veth peer name {inner}"));
                ip(&format!("link set {inner} netns {namespace}"));
                ip(&format!("link set {outer} master {}", name(&net.letter().to_string())));
                ip(&format!("link set {outer} up"));
                ip(&format!("-n {namespace} addr add {}/24 dev {inner}", net.address(11 + node)));
                ip(&format!("-n {namespace} link set {inner} up"));
            }
        }
        Some(networks)
    }

    fn pull(node: usize, net: Net) {
        ip(&format!("link set {} down", cable(node, net)));
    }

    /// What a node sends to the database goes nowhere; what the database sends arrives.
    fn mute(node: usize) {
        let (namespace, inner) = (namespace(node), format!("{}x", cable(node, Net::Database)));
        ip(&format!(
            "-n {namespace} neigh replace {} lladdr {NOBODY} dev {inner} nud permanent",
            Net::Database.address(1)
        ));
    }

    fn unmute(node: usize) {
        let (namespace, inner) = (namespace(node), format!("{}x", cable(node, Net::Database)));
        ip(&format!("-n {namespace} neigh del {} dev {inner}", Net::Database.address(1)));
    }

    /// What the provider, and everybody else, sends to a node goes nowhere; what the node sends arrives.
    fn deafen(node: usize) {
        let address = Net::World.address(11 + node);
        ip(&format!("neigh replace {address} lladdr {NOBODY} dev {} nud permanent", name("w")));
    }

    fn undeafen(node: usize) {
        ip(&format!("neigh del {} dev {}", Net::World.address(11 + node), name("w")));
    }

    fn plug(node: usize, net: Net) {
        ip(&format!("link set {} up", cable(node, net)));
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for node in 0..N_NODES {
            try_ip(&format!("netns del {}", namespace(node)));
            for net in Net::BOTH {
                try_ip(&format!("link del {}", cable(node, net)));
            }
        }
        for net in Net::BOTH {
            try_ip(&format!("link del {}", name(&net.letter().to_string())));
        }
    }
}

/// Carries every connection to the first of these that takes it, beginning with another one each time.
async fn carry(listener: TcpListener, to: Arc<[SocketAddr]>) {
    let mut connections = JoinSet::new();
    let mut turn = 0;
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        turn += 1;
        let to = Arc::clone(&to);
        connections.spawn(async move {
            for n in 0..to.len() {
                let address = to[(turn + n) % to.len()];
                if let Ok(Ok(mut server)) = tokio::time::timeout(CONNECTED_WITHIN, TcpStream::connect(address)).await {
                    // Either end may break off.
                    let _carried = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// The number that a node sends from.
fn sender(node: usize) -> String {
    format!("44770090010{node}")
}

/// What happened to a node from then until now.
fn fault(kind: &str, node: usize, at: Timestamp) -> Value {
    json!({ "kind": kind, "at": at.to_string(), "until": system_now().to_string(), "node": sender(node) })
}

struct Nodes<'a> {
    home: &'a Home,
    port: u16,
    running: Vec<Server>,
}

impl Nodes<'_> {
    async fn start(&self, node: usize) -> Server {
        let file = self.home.file(&format!("node-{node}.yaml"));
        let text = std::fs::read_to_string(self.home.file("callout.yaml")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        for channel in ["sms", "whatsapp", "viber"] {
            config["vonage"]["from"][channel] = sender(node).into();
        }
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace(node)]);
        command.arg(env!("CARGO_BIN_EXE_callout"));
        let listen = format!("{}:{}", Net::World.address(11 + node), self.port);
        match self.home.start_with(command, &listen, &file).await {
            Ok(server) => server,
            Err(ended) => panic!("node {node} does not start: {ended:?}"),
        }
    }

    /// Some node is killed, some is frozen, some is cut off from the provider, and some from the database; then some is
    /// not heard by the database and some does not hear the provider. Returns the faults as the oracle is told of them.
    async fn suffer(&mut self, dice: &mut Dice) -> Vec<Value> {
        let mut faults = Vec::new();
        let node = dice.index(N_NODES);
        let at = system_now();
        self.running[node].kill();
        pause(SHORT).await;
        self.running[node] = self.start(node).await;
        faults.push(fault("crash", node, at));

        let node = dice.index(N_NODES);
        let (at, frozen) = (system_now(), self.running[node].process.0.id());
        signal(frozen, "STOP");
        pause(SHORT).await;
        signal(frozen, "CONT");
        faults.push(fault("pause", node, at));

        // Without the provider a node is as good as frozen.
        for (net, lasts, kind) in [(Net::World, SHORT, "pause"), (Net::Database, LONG, "partition")] {
            let node = dice.index(N_NODES);
            let at = system_now();
            Networks::pull(node, net);
            pause(lasts).await;
            faults.push(fault(kind, node, at));
            Networks::plug(node, net);
        }

        // One node cannot be heard by the database, another one cannot hear the provider. Its requests arrive, and their
        // answers do not: what it sends may go out twice, as after a crash.
        let mute = dice.index(N_NODES);
        let deaf = (mute + 1 + dice.index(N_NODES - 1)) % N_NODES;
        let at = system_now();
        Networks::mute(mute);
        Networks::deafen(deaf);
        pause(LONG).await;
        faults.push(fault("partition", mute, at));
        faults.push(fault("pause", deaf, at));
        Networks::unmute(mute);
        Networks::undeafen(deaf);

        pause(SHORT).await;
        for (node, server) in self.running.iter_mut().enumerate() {
            assert!(server.ended().is_none(), "node {node} left: {}", server.said());
        }
        faults
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_lose_nothing_while_they_are_killed_frozen_and_cut_off() {
    let _beside = beside_another().await;
    let Some(database) = Database::new().await else { return };
    let Some(_networks) = Networks::lay() else {
        return leave_out("three nodes in networks of their own: this needs root, and `ip` of iproute2");
    };
    let url: url::Url = database.address().parse().unwrap();
    let server = SocketAddr::new(url.host_str().unwrap().parse().unwrap(), url.port().unwrap_or(5432));
    let to_database = TcpListener::bind((Net::Database.address(1), 0)).await.unwrap();
    let mut through = url.clone();
    through.set_host(Some(&Net::Database.address(1))).unwrap();
    through.set_port(Some(to_database.local_addr().unwrap().port())).unwrap();
    let store = format!("{through}?sslmode=disable");
    let home = Home::among(Some(store), &Net::World.address(1), None).await;
    let port = free_port();
    let everyone = (0..N_NODES).map(|node| format!("{}:{port}", Net::World.address(11 + node)).parse().unwrap());
    let to_nodes = TcpListener::bind((Net::World.address(1), home.port)).await.unwrap();
    let mut carriers = JoinSet::new();
    carriers.spawn(carry(to_database, Arc::new([server])));
    carriers.spawn(carry(to_nodes, everyone.collect()));

    let mut nodes = Nodes { home: &home, port, running: Vec::new() };
    for node in 0..N_NODES {
        nodes.running.push(nodes.start(node).await);
    }
    let lives = vec![Life { begun: nodes.running[0].spawned, listens: Some(nodes.running[0].listens), ended: None }];
    let load = Load::begin(&home, 4, 5, seed());
    let mut dice = Dice::new(seed());
    let mut faults = Vec::new();
    pause(Duration::from_secs(1)).await;
    for _ in 0..ROUNDS.get() {
        faults.extend(nodes.suffer(&mut dice).await);
    }
    let evidence = collect(&home, load.end().await, lives).await;
    let mut verdict = judge(&evidence, Pace::SeveralNodes);
    verdict.broken.extend(judge_by_the_oracle(&home, &evidence, &faults, Pace::SeveralNodes));
    assert!(verdict.broken.is_empty(), "seed {}:\n{}", seed(), verdict.broken.join("\n"));
    eprintln!(
        "seed {}: {} rounds of 6 faults on 3 nodes: {} alerts accepted, {} sends of which {} repeated; 0 lost, 0 skipped; \
         latest deadline {:?} after it was due",
        seed(),
        ROUNDS.get(),
        evidence.ledger.promised.len(),
        evidence.sent.len(),
        verdict.n_repeated,
        verdict.latest,
    );
    for node in &mut nodes.running {
        assert_eq!(node.terminate().await, Some(0));
    }
}
