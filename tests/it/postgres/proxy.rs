//! Stands between a node and its database, and breaks what it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What PostgreSQL says when a group of changes is committed.
const COMMITTED: &[u8] = b"INSERT 0 1";

/// The proxy; its connections end with it.
pub(crate) struct Proxy {
    address: SocketAddr,
    orders: Arc<Orders>,
    _accepting: JoinSet<()>,
}

struct Orders {
    /// The next answer that tells of a commit is swallowed, and its connection broken.
    swallow: AtomicBool,
    n_swallowed: AtomicUsize,
    /// While it is set, nothing passes and nothing is refused: a cable that was pulled.
    is_cut: watch::Sender<bool>,
}

impl Proxy {
    /// In front of the server of this address (`postgres://USER@HOST:PORT/NAME`).
    pub(crate) async fn before(address: &str) -> (Self, String) {
        let url: url::Url = address.parse().unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy_address = listener.local_addr().unwrap();
        let orders = Arc::new(Orders {
            swallow: AtomicBool::new(false),
            n_swallowed: AtomicUsize::new(0),
            is_cut: watch::Sender::new(false),
        });
        let mut accepting = JoinSet::new();
        let for_all = Arc::clone(&orders);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (server, orders) = (server.clone(), Arc::clone(&for_all));
                connections.spawn(async move { pass(client, server, &orders).await });
            }
        });
        let mut through = url;
        through.set_port(Some(proxy_address.port())).unwrap();
        through.set_host(Some("127.0.0.1")).unwrap();
        (Self { address: proxy_address, orders, _accepting: accepting }, format!("{through}?sslmode=disable"))
    }

    pub(crate) fn swallow_next_commit(&self) {
        self.orders.swallow.store(true, Ordering::SeqCst);
    }

    pub(crate) fn n_swallowed(&self) -> usize {
        self.orders.n_swallowed.load(Ordering::SeqCst)
    }

    pub(crate) fn cut(&self, is_cut: bool) {
        self.orders.is_cut.send_replace(is_cut);
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn pass(mut client: TcpStream, server: (String, u16), orders: &Orders) {
    let mut cut = orders.is_cut.subscribe();
    drop(cut.wait_for(|is_cut| !is_cut).await);
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        drop(cut.wait_for(|is_cut| !is_cut).await);
        tokio::select! {
            n_bytes = client.read(&mut from_client) => {
                let Ok(n_bytes @ 1..) = n_bytes else { return };
                drop(cut.wait_for(|is_cut| !is_cut).await);
                if server.write_all(&from_client[..n_bytes]).await.is_err() { return }
            }
            n_bytes = server.read(&mut from_server) => {
                let Ok(n_bytes @ 1..) = n_bytes else { return };
                drop(cut.wait_for(|is_cut| !is_cut).await);
                let tells_of_commit = from_server[..n_bytes].windows(COMMITTED.len()).any(|bytes| bytes == COMMITTED);
                if tells_of_commit && orders.swallow.swap(false, Ordering::SeqCst) {
                    orders.n_swallowed.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if client.write_all(&from_server[..n_bytes]).await.is_err() { return }
            }
        }
    }
}
