//! A PostgreSQL server for tests: the one in `CALLOUT_TEST_POSTGRES`, or one that is started for this run of
//! the tests alone and ends with it. Each test has a database of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_postgres::NoTls;

use super::leave_out;

/// How long a server may take to start.
const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// Where the server is: an address that ends before the name of a database.
static SERVER: OnceLock<Option<Server>> = OnceLock::new();

struct Server {
    address: String,
    /// Holds the pipe whose end tells the server to end, which happens with this process.
    _temporary: Option<(Child, tempfile::TempDir)>,
}

/// A database of one test; gone with it.
pub(crate) struct Database {
    server: String,
    name: String,
}

/// What older nodes may not write to.
pub(crate) struct Forbidden {
    client: tokio_postgres::Client,
    known: (i64, i64),
}

impl Forbidden {
    pub(crate) async fn allow_again(self) {
        let (schema, writers_from) = self.known;
        let known = format!("UPDATE callout.installation SET schema = {schema}, writers_from = {writers_from}");
        self.client.batch_execute(&known).await.unwrap();
    }
}

impl Database {
    /// An empty database; none, said aloud, where there is no PostgreSQL.
    pub(crate) async fn new() -> Option<Self> {
        static N_MADE: AtomicU32 = AtomicU32::new(0);
        let server = server()?.address.clone();
        let name = format!("callout_test_{}_{}", std::process::id(), N_MADE.fetch_add(1, Ordering::Relaxed));
        let database = Self { server, name };
        database.administer(&format!("CREATE DATABASE {}", database.name)).await;
        Some(database)
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    /// A connection to it, for looking at what callout keeps and for standing in its way.
    pub(crate) async fn connect(&self) -> tokio_postgres::Client {
        connect(&self.address()).await
    }

    /// A newer callout brings a schema that older ones may not write to. What is returned takes that back: from then on,
    /// this program stands for the newer one.
    pub(crate) async fn forbid_to_write(&self) -> Forbidden {
        let client = self.connect().await;
        let known = client.query_one("SELECT schema, writers_from FROM callout.installation", &[]).await.unwrap();
        let known: (i64, i64) = (known.get(0), known.get(1));
        client.batch_execute("UPDATE callout.installation SET schema = 99, writers_from = 99").await.unwrap();
        Forbidden { client, known }
    }

    async fn administer(&self, sql: &str) {
        connect(&format!("{}/postgres", self.server)).await.batch_execute(sql).await.unwrap();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = connect(&format!("{server}/postgres")).await;
                drop(client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await);
            });
        });
        drop(dropping.join());
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no tracker; the task ends with the connection")]
async fn connect(address: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[expect(clippy::disallowed_methods, reason = "which server to use is said to the tests, not to callout")]
fn server() -> Option<&'static Server> {
    let found = SERVER.get_or_init(|| {
        if let Ok(address) = std::env::var("CALLOUT_TEST_POSTGRES") {
            let address = address.trim_end_matches('/').to_owned();
            return Some(Server { address, _temporary: None });
        }
        let found = binaries().map(|binaries| start(&binaries));
        if found.is_none() {
            leave_out(
                "no PostgreSQL is there: set CALLOUT_TEST_POSTGRES=postgres://USER@HOST:PORT, or install postgresql",
            );
        }
        found
    });
    found.as_ref()
}

/// Where the programs of a server are: on the way that programs are looked for, or where Debian puts them.
#[expect(clippy::disallowed_methods, reason = "which server to use is said to the tests, not to callout")]
pub(crate) fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).chain(debian).collect();
    folders.retain(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file());
    folders.into_iter().next_back()
}

/// Starts a server with a directory of its own, as another user where we are root, which PostgreSQL refuses.
fn start(binaries: &Path) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let data = make_data(binaries, directory.path());
    let server = start_on(binaries, directory.path(), &data, &[]);
    Server { address: server.1, _temporary: Some((server.0, directory)) }
}

/// Makes what a new server keeps its databases in.
pub(crate) fn make_data(binaries: &Path, directory: &Path) -> PathBuf {
    let data = directory.join("data");
    let initdb = ["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--pgdata"];
    let mut made = as_postgres(directory, &binaries.join("initdb"));
    let made = made.args(initdb).arg(&data).output().unwrap();
    assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
    data
}

/// Starts a server on a directory that is there. It ends when the child's pipe does.
pub(crate) fn start_on(binaries: &Path, directory: &Path, data: &Path, settings: &[&str]) -> (Child, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings: String = settings.iter().map(|setting| format!(" -c {setting}")).collect();
    // The shell waits for the end of its input, which comes with the end of whoever holds the other end.
    let script = format!(
        "'{postgres}' -D '{data}' -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
         -c max_connections=300{settings} >'{data}/log-{port}' 2>&1 & server=$!; echo started; read -r _; kill -QUIT $server; wait",
        postgres = binaries.join("postgres").display(),
        data = data.display(),
    );
    let mut child = as_postgres(directory, Path::new("/bin/sh"))
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let began = tempfile_time();
    let is_ready =
        || std::fs::read_to_string(data.join(format!("log-{port}"))).is_ok_and(|log| log.contains("ready to accept"));
    while !is_ready() {
        assert!(began.elapsed() < STARTED_WITHIN, "the server did not start; see {}", data.display());
        pause();
    }
    (child, format!("postgres://postgres@127.0.0.1:{port}"))
}

#[expect(clippy::disallowed_methods, reason = "a server starts in real time")]
fn tempfile_time() -> std::time::Instant {
    std::time::Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a server starts in real time")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// A program that is run as the user `postgres` where we are root, with a directory that this user owns.
pub(crate) fn as_postgres(directory: &Path, program: &Path) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !is_root {
        return Command::new(program);
    }
    let owned = Command::new("chown").args(["-R", "postgres"]).arg(directory).status();
    assert!(owned.is_ok_and(|status| status.success()), "the directory cannot be given to the user postgres");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command.current_dir(directory);
    command
}
