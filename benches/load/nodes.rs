//! Nodes that share a PostgreSQL, beside one process with SQLite.

use tokio_postgres::NoTls;
use url::Url;

use crate::Wishes;
use crate::contender::{Contender, Setup, random_uuid};
use crate::figures::{heading, row};
use crate::ingest::{Figures, measured, numbers_from};
use crate::provider::Provider;

const CONNECTIONS: usize = 64;

pub(crate) async fn nodes(wishes: &Wishes) {
    heading("POST /alerts to nodes that share a PostgreSQL, beside one process with SQLite");
    let Some(server) = &wishes.store else {
        return row("not measured", "say where a server is: --store postgres://…");
    };
    row("", "(below, the floor is callout with SQLite)");
    for n_nodes in [1, 3] {
        for sends in [true, false] {
            let database = Database::made_on(server).await;
            let (provider, address) = Provider::start().await;
            let setup = Setup { max_per_second: u32::from(!sends), ..Setup::new(address) };
            let shared = Setup { store: Some(database.url.clone()), ..setup };
            let nodes: Vec<Contender> = (0..n_nodes).map(|_| Contender::callout(&shared)).collect();
            let alone = [Contender::callout(&Setup { store: None, ..shared })];
            let numbers = numbers_from(1);
            let mut figures = Figures::default();
            for _ in 0..wishes.n_rounds {
                let ours = measured(&nodes, &provider, CONNECTIONS, &numbers, wishes.round, sends).await;
                let theirs = measured(&alone, &provider, CONNECTIONS, &numbers, wishes.round, sends).await;
                figures.add(ours, theirs);
            }
            let held = if sends { "" } else { ", sends held by the pace" };
            figures.print(&format!("{n_nodes} on it{held}: posts"), sends);
            drop(nodes);
            database.drop_it().await;
        }
    }
}

/// A database of its own for each measurement, so that none works on what another has left.
struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    async fn made_on(server: &str) -> Self {
        let name = format!("callout_bench_{}", random_uuid().replace('-', ""));
        execute(server, &format!("CREATE DATABASE {name}")).await;
        let mut url = Url::parse(server).expect("the address of a server");
        url.set_path(&name);
        Self { server: server.to_owned(), url: url.into(), name }
    }

    async fn drop_it(self) {
        execute(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

async fn execute(server: &str, statement: &str) {
    let (client, connection) = tokio_postgres::connect(server, NoTls).await.expect("a connection to the server");
    let connection = tokio::spawn(connection);
    client.batch_execute(statement).await.expect("it may make databases");
    drop(client);
    connection.await.expect("no panic").expect("it ends well");
}
