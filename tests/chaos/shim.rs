//! Compiles `shim.c` and preloads it into a `callout serve` (see there for what it can do).

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The library, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let name = format!("chaos-shim-{}.so", std::process::id());
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chaos/shim.c");
        let compiled = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .args([source, "-ldl", "-pthread"])
            .status()
            .expect("these tests need a C compiler called cc");
        assert!(compiled.success(), "the shim does not compile");
        library
    })
}

/// The points at which a process can be killed, as `shim.c` names them and in its order: those of a disk, those around a
/// request and an answer, and those around a commit on a database server.
pub(crate) const POINTS: [&str; 15] = [
    "sync-before",
    "sync-after",
    "write-before",
    "write-torn",
    "write-after",
    "move-before",
    "move-after",
    "post-before",
    "post-after",
    "accepted-before",
    "accepted-after",
    "answer-before",
    "answer-after",
    "commit-before",
    "commit-after",
];
/// The points that a process passes whose alerts are in a file, and those where they are on a database server.
pub(crate) const POINTS_OF_A_FILE: Range<usize> = 0..13;
pub(crate) const POINTS_ON_POSTGRES: Range<usize> = 7..15;

/// What can be made to fail while the process runs; the place in the file of switches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Switch {
    Full = 0,
    FailWrite = 1,
    FailSync = 2,
    FailRead = 3,
    NSyncs = 4,
    Wall = 5,
    SlowSync = 6,
}

/// How a process is to be watched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shim {
    database: PathBuf,
    record: Option<PathBuf>,
    switches: Option<PathBuf>,
    point: Option<(&'static str, u64)>,
    port: u16,
    store_port: Option<u16>,
}

impl Shim {
    pub(crate) fn over(database: &Path) -> Self {
        Self { database: database.to_owned(), ..Self::default() }
    }

    /// Writes every change of the database's files to this file.
    pub(crate) fn recording(mut self, record: &Path) -> Self {
        self.record = Some(record.to_owned());
        self
    }

    /// Dies when it passes this point for the n-th time.
    pub(crate) fn dying_at(mut self, point: &'static str, n: u64, provider: u16) -> Self {
        self.point = Some((point, n));
        self.port = provider;
        self
    }

    /// Its alerts are on a database server that listens there.
    pub(crate) fn with_store_at(self, store_port: Option<u16>) -> Self {
        Self { store_port, ..self }
    }

    /// With switches that can be turned with [`Shim::turn`].
    pub(crate) fn switched(mut self, switches: &Path) -> Self {
        std::fs::write(switches, [0_u8; 32]).unwrap();
        self.switches = Some(switches.to_owned());
        self
    }

    pub(crate) fn turn(&self, switch: Switch, to: i32) {
        self.switches().write_all_at(&to.to_ne_bytes(), place(switch)).unwrap();
    }

    pub(crate) fn read(&self, switch: Switch) -> i32 {
        let mut bytes = [0_u8; 4];
        self.switches().read_exact_at(&mut bytes, place(switch)).unwrap();
        i32::from_ne_bytes(bytes)
    }

    fn switches(&self) -> File {
        File::options().read(true).write(true).open(self.switches.as_ref().unwrap()).unwrap()
    }

    pub(crate) fn preload(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env("CHAOS_DB", &self.database);
        if let Some(record) = &self.record {
            command.env("CHAOS_RECORD", record);
        }
        if let Some(switches) = &self.switches {
            command.env("CHAOS_SWITCHES", switches);
        }
        if let Some(port) = self.store_port {
            command.env("CHAOS_STORE_PORT", port.to_string());
        }
        if let Some((point, n)) = self.point {
            command.env("CHAOS_POINT", format!("{point}:{n}")).env("CHAOS_PORT", self.port.to_string());
        }
    }
}

fn place(switch: Switch) -> u64 {
    4 * match switch {
        Switch::Full => 0,
        Switch::FailWrite => 1,
        Switch::FailSync => 2,
        Switch::FailRead => 3,
        Switch::NSyncs => 4,
        Switch::Wall => 5,
        Switch::SlowSync => 6,
    }
}
