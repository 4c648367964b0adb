//! The power fails at any instant.
//!
//! A run is recorded: every write to the database's files and to the one that remembers that there is a database,
//! every sync, and between them each answer that a client had. For any prefix of that record, the files are built as a disk could hold them:
//! what was synced is there; of what was not, each write is there, or is not, or is torn. callout must
//! open them, and find all that was answered before. Every prefix is opened with nothing of what was not synced, and
//! many with some of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callout::clock::system_now;
use callout::escalation::{Alert, Status};
use callout::id::AlertId;
use callout::store::{SqliteStore, Store};

use crate::dice::Dice;
use crate::home::{Home, beside_another, quick_folder, until};
use crate::load::{Load, Witness};
use crate::shim::Shim;
use crate::size::{Size, seed};

const CUTS: Size = Size { name: "CUTS", taste: 60, ci: 180, long: 5_000 };
const RECORDED_ALERTS: Size = Size { name: "RECORDED_ALERTS", taste: 300, ci: 300, long: 2_000 };
/// How many of the cuts are opened by the real program too.
const CUTS_OF_THE_PROGRAM: usize = 3;
/// The beginning of the record, in which the database is made, is cut more often than the rest.
const BEGINNING: usize = 120;
/// Of the states of the disk that all prefixes leave, every so manieth is searched for everything that was answered,
/// and the others for the newest.
const PROMISES_ALL_EVERY: usize = 50;
const PROMISES_NEWEST: usize = 30;
/// What a disk writes whole; both sizes occur.
const SECTORS: [usize; 2] = [512, 4_096];
/// Between the first bytes of the log and its first frame.
const LOG_HEADER_BYTES: usize = 32;

/// One entry of the record (`shim.c`, `struct entry`).
#[derive(Clone, Debug)]
enum Deed {
    Write {
        file: File,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: File,
        size: usize,
    },
    Sync {
        file: File,
        by_mover: bool,
    },
    Unlink {
        file: File,
    },
    DirectorySync,
    /// A client was promised this.
    Promised(Promise),
}

/// What must be found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Promise {
    Alert(AlertId),
    Acknowledged(AlertId),
    Resolved(AlertId),
}

/// The database and what stands beside it, by the end of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum File {
    Database,
    Log,
    Journal,
    /// Says who has the database, and remembers that there was one.
    Owner,
}

impl File {
    const ALL: [Self; 4] = [Self::Database, Self::Log, Self::Journal, Self::Owner];

    fn path(self, database: &Path) -> PathBuf {
        let end = match self {
            Self::Database => "",
            Self::Log => "-wal",
            Self::Journal => "-journal",
            Self::Owner => "-owner",
        };
        PathBuf::from(format!("{}{end}", database.display()))
    }
}

fn read_record(path: &Path) -> Vec<Deed> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut deeds = Vec::new();
    while let Some((head, after)) = rest.split_at_checked(24) {
        let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
        let offset = usize::try_from(u64::from_ne_bytes(head[8..16].try_into().unwrap())).unwrap();
        let (bytes, after) = after.split_at(usize::try_from(word(16)).unwrap());
        let file = File::ALL.get(usize::try_from(word(4)).unwrap()).copied();
        rest = after;
        deeds.push(match (word(0), file) {
            (1, Some(file)) => Deed::Write { file, offset, bytes: bytes.to_vec() },
            (2, Some(file)) => Deed::Truncate { file, size: offset },
            (3, Some(file)) => Deed::Sync { file, by_mover: word(20) == 1 },
            (4, Some(file)) => Deed::Unlink { file },
            (5, _) => Deed::DirectorySync,
            (Witness::PROMISED, _) => Deed::Promised(promise(std::str::from_utf8(bytes).unwrap())),
            (kind, file) => panic!("an entry of kind {kind} about {file:?}"),
        });
    }
    assert!(rest.is_empty(), "the record is whole");
    deeds
}

fn promise(text: &str) -> Promise {
    let (what, id) = text.split_once(' ').unwrap();
    let id = id.parse().unwrap();
    match what {
        "alert" => Promise::Alert(id),
        "acknowledge" => Promise::Acknowledged(id),
        "resolve" => Promise::Resolved(id),
        other => panic!("what is {other}?"),
    }
}

/// A file as it is on the disk for certain, and what may or may not have got there.
#[derive(Clone, Debug, Default)]
struct Disk {
    /// None where there is no such file.
    synced: Option<Vec<u8>>,
    /// Whether the directory knows of the file for certain.
    is_named: bool,
    pending: Vec<Deed>,
}

/// Does it to the bytes of a file; of a write, only the sectors that `lands` says.
fn carry_out(file: &mut Option<Vec<u8>>, deed: &Deed, sector: usize, mut lands: impl FnMut() -> bool) {
    match deed {
        Deed::Write { offset, bytes, .. } => {
            let image = file.get_or_insert_default();
            let mut at = 0;
            while at < bytes.len() {
                let place = offset + at;
                let n = (sector - place % sector).min(bytes.len() - at);
                if lands() {
                    if image.len() < place + n {
                        image.resize(place + n, 0);
                    }
                    image[place..place + n].copy_from_slice(&bytes[at..at + n]);
                }
                at += n;
            }
        }
        Deed::Truncate { size, .. } if lands() => file.get_or_insert_default().resize(*size, 0),
        Deed::Unlink { .. } if lands() => *file = None,
        // It did not land, or it changes no file.
        Deed::Truncate { .. } | Deed::Unlink { .. } | Deed::Sync { .. } | Deed::DirectorySync | Deed::Promised(_) => {}
    }
}

impl Disk {
    fn sync(&mut self) {
        for deed in std::mem::take(&mut self.pending) {
            carry_out(&mut self.synced, &deed, usize::MAX, || true);
        }
    }

    /// The directory is synced: the file has its name, or has it no more.
    fn sync_name(&mut self) {
        if let Some(unlinked) = self.pending.iter().rposition(|deed| matches!(deed, Deed::Unlink { .. })) {
            self.pending.drain(..=unlinked);
            self.synced = None;
        }
        self.is_named = self.synced.is_some() || !self.pending.is_empty();
    }

    /// What the disk holds after the power failed, with this chance.
    fn after_the_cut(&self, dice: &mut Dice) -> Option<Vec<u8>> {
        let mut file = self.synced.clone();
        let sector = *dice.pick(&SECTORS);
        let kept = dice.index(self.pending.len() + 1);
        let fate = dice.below(5);
        for (n, deed) in self.pending.iter().enumerate() {
            match fate {
                0 => {}
                1 => carry_out(&mut file, deed, usize::MAX, || true),
                2 => carry_out(&mut file, deed, usize::MAX, || n < kept),
                3 => carry_out(&mut file, deed, usize::MAX, || dice.percent(50)),
                _ => carry_out(&mut file, deed, sector, || dice.percent(50)),
            }
        }
        let is_forgotten = !self.is_named && dice.percent(50);
        file.filter(|_| !is_forgotten)
    }
}

/// How hard the database's log is forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Synchronous {
    /// As it was recorded: at each commit.
    Full,
    /// As `synchronous=NORMAL` would: not at a commit, only before the log is moved or begun anew.
    Normal,
}

/// Which syncs of the record count.
fn syncs_that_count(deeds: &[Deed], synchronous: Synchronous) -> Vec<bool> {
    let mut counts = Vec::new();
    let mut newest_write = 0;
    for (n, deed) in deeds.iter().enumerate() {
        if let Deed::Write { file: File::Log, offset: 0, bytes } = deed
            && bytes.len() == LOG_HEADER_BYTES
        {
            newest_write = n;
        }
        counts.push(match (synchronous, deed) {
            (Synchronous::Normal, Deed::Sync { file: File::Log, by_mover: false }) => {
                newest_write + 1 == n || next_is_a_move(&deeds[n + 1..])
            }
            _ => true,
        });
    }
    counts
}

/// Whether the writer moves the log into the database next.
fn next_is_a_move(deeds: &[Deed]) -> bool {
    let next = deeds.iter().find(|deed| !matches!(deed, Deed::Promised(_)));
    matches!(next, Some(Deed::Write { file: File::Database, .. } | Deed::Sync { file: File::Database, .. }))
}

/// The files as the power left them, and what must be found in them.
struct Cut {
    at: usize,
    files: BTreeMap<File, Vec<u8>>,
    promises: Vec<Promise>,
}

impl Cut {
    fn write(&self, database: &Path) {
        for file in File::ALL {
            let path = file.path(database);
            match self.files.get(&file) {
                Some(bytes) => std::fs::write(path, bytes).unwrap(),
                // It may never have been there.
                None => drop(std::fs::remove_file(path)),
            }
        }
    }

    /// Opens it as callout does, and says what is not found.
    async fn missing(&self) -> Vec<String> {
        let folder = quick_folder();
        let database = folder.path().join("callout.db");
        self.write(&database);
        let store = match SqliteStore::open(&database) {
            Ok(store) => store,
            Err(error) => return vec![format!("it does not open: {error}: {:?}", std::error::Error::source(&error))],
        };
        let mut missing = Vec::new();
        for promise in &self.promises {
            let (Promise::Alert(id) | Promise::Acknowledged(id) | Promise::Resolved(id)) = promise;
            let alert = store.get(*id).await.unwrap().map(|stored| stored.alert);
            if !alert.is_some_and(|alert| is_kept(promise, &alert)) {
                missing.push(format!("{promise:?}"));
            }
        }
        store.close().await;
        let connection = rusqlite::Connection::open(&database).unwrap();
        let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(found, "ok", "cut at {}", self.at);
        missing
    }
}

fn is_kept(promise: &Promise, alert: &Arc<Alert>) -> bool {
    match promise {
        Promise::Alert(_) => true,
        Promise::Acknowledged(_) => alert.acknowledged.is_some() || alert.status == Status::Resolved,
        Promise::Resolved(_) => alert.status == Status::Resolved,
    }
}

/// The record played from its beginning.
struct Playback<'a> {
    deeds: &'a [Deed],
    /// Which syncs count.
    counts: Vec<bool>,
    disks: BTreeMap<File, Disk>,
    promises: Vec<Promise>,
    at: usize,
}

impl<'a> Playback<'a> {
    fn of(deeds: &'a [Deed], synchronous: Synchronous) -> Self {
        let disks = File::ALL.map(|file| (file, Disk::default())).into();
        Self { deeds, counts: syncs_that_count(deeds, synchronous), disks, promises: Vec::new(), at: 0 }
    }

    /// The next deed, where there is one.
    fn next(&self) -> Option<&'a Deed> {
        self.deeds.get(self.at)
    }

    fn play(&mut self, deed: &Deed) {
        match deed {
            Deed::Write { file, .. } | Deed::Truncate { file, .. } | Deed::Unlink { file } => {
                self.disks.get_mut(file).unwrap().pending.push(deed.clone());
            }
            Deed::Sync { file, .. } if self.counts[self.at] => self.disks.get_mut(file).unwrap().sync(),
            Deed::Sync { .. } => {}
            Deed::DirectorySync => self.disks.values_mut().for_each(Disk::sync_name),
            Deed::Promised(promise) => self.promises.push(promise.clone()),
        }
        self.at += 1;
    }

    /// The power fails now, and the disk is left as `left` says.
    fn cut(&self, mut left: impl FnMut(&Disk) -> Option<Vec<u8>>) -> Cut {
        let files = self.disks.iter().filter_map(|(file, disk)| Some((*file, left(disk)?)));
        Cut { at: self.at, files: files.collect(), promises: self.promises.clone() }
    }
}

/// Cuts the record at these places, which go up.
fn cuts(deeds: &[Deed], places: &[usize], synchronous: Synchronous, dice: &mut Dice) -> Vec<Cut> {
    let (mut cuts, mut places) = (Vec::new(), places.iter().copied().peekable());
    let mut playback = Playback::of(deeds, synchronous);
    while let Some(deed) = playback.next() {
        while places.next_if_eq(&playback.at).is_some() {
            cuts.push(playback.cut(|disk| disk.after_the_cut(dice)));
        }
        playback.play(deed);
    }
    cuts
}

/// Opens what is left of each prefix of the record where nothing gets to the disk that was not synced, and returns how
/// many states of the disk these are and the first that is not as it should be. Between two syncs the disk stays as it
/// is, and what was answered grows; so each is judged by all that was answered before the sync that ends it.
async fn all_prefixes(deeds: &[Deed]) -> (usize, Option<(usize, Vec<String>)>) {
    let mut playback = Playback::of(deeds, Synchronous::Full);
    let mut n_states = 0;
    while let Some(deed) = playback.next() {
        if matches!(deed, Deed::Sync { .. } | Deed::DirectorySync) {
            let mut cut = playback.cut(|disk| disk.synced.clone().filter(|_| disk.is_named));
            // What was found once is looked for again now and then; the newest is what may be missing.
            if n_states % PROMISES_ALL_EVERY != 0 {
                cut.promises.drain(..cut.promises.len().saturating_sub(PROMISES_NEWEST));
            }
            let missing = cut.missing().await;
            if !missing.is_empty() {
                return (n_states, Some((cut.at, missing)));
            }
            n_states += 1;
        }
        playback.play(deed);
    }
    (n_states, None)
}

/// Where it is written down, or made sure, whose the database is and that there is one.
fn marks(deeds: &[Deed]) -> Vec<usize> {
    let is_mark =
        |deed: &Deed| matches!(deed, Deed::Write { file: File::Owner, .. } | Deed::Sync { file: File::Owner, .. });
    let marks: Vec<usize> = (0..deeds.len()).filter(|n| is_mark(&deeds[*n])).collect();
    let first_promise = deeds.iter().position(|deed| matches!(deed, Deed::Promised(_))).unwrap();
    let n_before = marks.iter().filter(|mark| **mark < first_promise).count();
    assert!(n_before >= 4, "whose it is, and then that there is a database, is kept before anything is promised");
    marks
}

/// Records a run of the real program.
async fn record(home: &Home) -> Vec<Deed> {
    let path = home.file("record");
    let shim = Shim::over(&home.database()).recording(&path);
    let mut server = home.start(Some(&shim)).await.unwrap();
    let load = Load::begin_before(home, 4, 25, seed(), Some(&Witness::over(&path)));
    let n_wanted = RECORDED_ALERTS.get();
    until("enough alerts", async || (load.ledger.lock().unwrap().promised.len() >= n_wanted).then_some(())).await;
    load.end().await;
    assert_eq!(server.terminate().await, Some(0));
    read_record(&path)
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_power_fails_all_that_was_answered_is_there() {
    let _beside = beside_another().await;
    let home = Home::new().await;
    let deeds = record(&home).await;
    let n_moves =
        deeds.iter().filter(|deed| matches!(deed, Deed::Sync { file: File::Database, by_mover: true })).count();
    assert!(n_moves > 0, "the log was moved at least once, or the test shows little");
    let mut dice = Dice::new(seed());
    let n_sampled = CUTS.get();
    let mut places: Vec<usize> =
        (0..n_sampled).map(|n| dice.index(if n % 5 == 0 { BEGINNING } else { deeds.len() })).collect();
    let marks = marks(&deeds);
    places.extend(marks.iter().flat_map(|mark| [*mark, mark + 1]));
    places.sort_unstable();

    let begun = system_now();
    let (n_states, wrong) = all_prefixes(&deeds).await;
    assert!(wrong.is_none(), "seed {}: of each prefix, what was synced: {wrong:#?}", seed());
    eprintln!("the disk after each of {} prefixes: {n_states} states, in {:?}", deeds.len(), system_now().since(begun));

    let (mut n_found, n_cuts) = (0, places.len());
    let full = cuts(&deeds, &places, Synchronous::Full, &mut dice);
    for cut in &full {
        let missing = cut.missing().await;
        assert!(missing.is_empty(), "seed {}, cut at {}: {missing:#?}", seed(), cut.at);
        n_found += cut.promises.len();
    }
    for _ in 0..CUTS_OF_THE_PROGRAM {
        let cut = dice.pick(&full);
        cut.write(&home.database());
        let mut server = home.start(None).await.unwrap();
        for promise in &cut.promises {
            let Promise::Alert(id) = promise else { continue };
            assert!(home.alert(&id.to_string()).await.is_some(), "cut at {}: {promise:?}", cut.at);
        }
        server.kill();
    }

    // The test could see a loss: with weaker syncs it does, though nothing is ever broken.
    let (mut n_lossy, mut n_lost) = (0, 0);
    for cut in cuts(&deeds, &places, Synchronous::Normal, &mut dice) {
        let missing = cut.missing().await;
        assert!(!missing.iter().any(|what| what.contains("does not open")), "cut at {}: {missing:?}", cut.at);
        n_lossy += usize::from(!missing.is_empty());
        n_lost += missing.len();
    }
    eprintln!(
        "seed {}: {n_cuts} power cuts over {} writes and syncs ({n_moves} moves of the log): all {n_found} promises kept; \
         with synchronous=NORMAL {n_lossy} cuts would have lost {n_lost}",
        seed(),
        deeds.len(),
    );
    assert!(n_lossy * 10 > n_cuts, "with synchronous=NORMAL answered alerts are lost");
}
