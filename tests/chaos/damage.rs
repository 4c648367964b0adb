//! The database's files are damaged while nobody looks: cut short, emptied, written over, or with a bit
//! turned over. callout must refuse, or say of which alert it cannot know, or give what was there; it must
//! never begin with nothing, and never believe what nobody wrote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use callout::escalation::{Alert, next_wake};
use callout::id::AlertId;
use callout::store::{Page, SqliteStore, Store};

use crate::dice::Dice;
use crate::home::{Home, beside_another, copy_database, free_port, pause, quick_folder, until};
use crate::load::Load;
use crate::size::{Size, seed};

const FLIPS: Size = Size { name: "FLIPS", taste: 40, ci: 120, long: 2_000 };
const N_ALERTS: usize = 60;

/// A database that was in use, and what it holds.
struct Template {
    files: BTreeMap<&'static str, Vec<u8>>,
    alerts: BTreeMap<AlertId, Arc<Alert>>,
}

/// What a store says that was opened on damaged files.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// It does not open, and why.
    Refused(String),
    /// It gives what was there; of so many alerts it says that it cannot know them.
    Right { n_unknown: usize },
    /// It gives what was there at an earlier commit; of so many alerts there is more to know.
    Earlier { n_behind: usize },
    /// It gives less or something else, and nobody could know.
    Wrong(String),
}

impl Template {
    async fn of(path: &Path) -> Self {
        let folder = quick_folder();
        let copy = folder.path().join("callout.db");
        copy_database(path, &copy);
        let files = ["", "-wal"].into_iter().filter_map(|end| {
            let bytes = std::fs::read(beside(&copy, end)).ok()?;
            Some((end, bytes))
        });
        let files = files.collect();
        let store = SqliteStore::open(&copy).unwrap();
        let page = Page { limit: 10_000, ..Page::default() };
        let alerts = store.list(&page).await.unwrap();
        store.close().await;
        let alerts: BTreeMap<_, _> = alerts.into_iter().map(|alert| (alert.id(), alert)).collect();
        assert!(alerts.len() >= N_ALERTS);
        Self { files, alerts }
    }

    fn write(&self, path: &Path) {
        for (end, bytes) in &self.files {
            std::fs::write(beside(path, end), bytes).unwrap();
        }
        // As the process before left it.
        std::fs::write(beside(path, "-owner"), "1\nmade\n").unwrap();
    }

    /// Opens the files after this was done to them, and asks for everything.
    async fn after(&self, damage: impl FnOnce(&Path)) -> Said {
        let folder = quick_folder();
        let path = folder.path().join("callout.db");
        self.write(&path);
        damage(&path);
        let store = match SqliteStore::open(&path) {
            Ok(store) => store,
            Err(error) => return Said::Refused(error.to_string()),
        };
        let (mut n_unknown, mut n_behind, mut wrong) = (0, 0, None);
        let mut expected = BTreeMap::new();
        for (id, alert) in &self.alerts {
            let wakes_at = match store.get(*id).await {
                Err(_told) => {
                    n_unknown += 1;
                    next_wake(alert)
                }
                Ok(Some(stored)) if stored.alert == *alert => next_wake(alert),
                Ok(Some(stored)) if is_earlier(&stored.alert, alert) => {
                    n_behind += 1;
                    next_wake(&stored.alert)
                }
                Ok(None) => {
                    n_behind += 1;
                    None
                }
                Ok(found) => {
                    wrong = Some(format!("{found:?} instead of {alert:?}"));
                    None
                }
            };
            expected.insert(*id, wakes_at);
        }
        match store.armed(None, 10_000).await {
            Err(_told) => n_unknown += 1,
            Ok(armed) => {
                let wakes: BTreeMap<_, _> = armed.iter().map(|armed| (armed.id, armed.wake_at)).collect();
                for (id, wakes_at) in expected {
                    if wakes.get(&id).copied() != wakes_at {
                        wrong = Some(format!("alert {id} wakes at another time"));
                    }
                }
            }
        }
        store.close().await;
        match wrong {
            None if n_behind == 0 => Said::Right { n_unknown },
            None => Said::Earlier { n_behind },
            Some(wrong) => Said::Wrong(wrong),
        }
    }
}

/// Whether this is what an alert once was.
fn is_earlier(found: &Alert, alert: &Alert) -> bool {
    found.raised == alert.raised && found.updated_at <= alert.updated_at && alert.timeline.starts_with(&found.timeline)
}

fn beside(database: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", database.display()))
}

/// A database of a real run, left in order and left by a kill.
async fn templates() -> (Template, Template) {
    let home = Home::new().await;
    let mut server = home.start(None).await.unwrap();
    let load = Load::begin(&home, 4, 25, seed());
    until("enough alerts", async || (load.ledger.lock().unwrap().promised.len() >= N_ALERTS).then_some(())).await;
    load.end().await;
    server.kill();
    let killed = Template::of(&home.database()).await;
    let mut server = home.start(None).await.unwrap();
    assert_eq!(server.terminate().await, Some(0));
    (killed, Template::of(&home.database()).await)
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// What is done to a file.
type Damage = fn(&mut Vec<u8>);

/// What makes a database useless; it must be refused.
const RUINS: [(&str, Damage); 12] = [
    ("emptied", Vec::clear),
    ("one byte left", |bytes| bytes.truncate(1)),
    ("half of its header left", |bytes| bytes.truncate(50)),
    ("its header left", |bytes| bytes.truncate(100)),
    ("one page left", |bytes| bytes.truncate(4_096)),
    ("two pages left", |bytes| bytes.truncate(8_192)),
    ("cut in the middle", |bytes| bytes.truncate(bytes.len() / 8_192 * 4_096)),
    ("the last page missing", |bytes| bytes.truncate(bytes.len() - 4_096)),
    ("zeros in place of everything", |bytes| bytes.fill(0)),
    ("zeros in place of the first page", |bytes| bytes[..4_096].fill(0)),
    ("other words in place of its name", |bytes| bytes[..16].copy_from_slice(b"nothing like it\0")),
    ("a text in place of it", |bytes| *bytes = b"call Tony, then Anna".to_vec()),
];

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_refused_or_told_of_and_never_believed() {
    let _beside = beside_another().await;
    let (killed, closed) = templates().await;
    for template in [&killed, &closed] {
        assert_eq!(template.after(|_| {}).await, Said::Right { n_unknown: 0 }, "nothing was done to it");
    }
    for (name, damage) in RUINS {
        let said = closed.after(|path| rewrite(path, damage)).await;
        assert!(matches!(said, Said::Refused(_) | Said::Right { n_unknown: 1.. }), "{name}: {said:?}");
    }
    let gone = closed.after(|path| std::fs::remove_file(path).unwrap()).await;
    assert!(matches!(&gone, Said::Refused(why) if why.contains("gone or empty")), "{gone:?}");

    let mut dice = Dice::new(seed());
    let (n_flips, mut n_right, mut n_told, mut n_cut_short) = (FLIPS.get(), 0, 0, 0);
    for n in 0..n_flips {
        let template = if n % 2 == 0 { &closed } else { &killed };
        let (end, bytes) = template.files.iter().nth(dice.index(template.files.len())).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let (place, bit) = (dice.index(bytes.len()), dice.below(8));
        let flip = |path: &Path| rewrite(&beside(path, end), |bytes| bytes[place] ^= 1 << bit);
        match template.after(flip).await {
            Said::Right { n_unknown: 0 } => n_right += 1,
            Said::Refused(_) | Said::Right { .. } => n_told += 1,
            // The log's own sums end it at the first frame that does not fit, as after a power cut; SQLite
            // cannot tell one from the other.
            Said::Earlier { .. } if *end == "-wal" => n_cut_short += 1,
            wrong @ (Said::Earlier { .. } | Said::Wrong(_)) => {
                panic!("seed {}: bit {bit} of byte {place}: {wrong:?}", seed())
            }
        }
    }
    eprintln!(
        "{} ruins refused or told of; {n_flips} bits turned over: {n_right} did no harm, {n_told} refused or told of, \
         {n_cut_short} cut the log short as a power cut would",
        RUINS.len() + 1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_program_says_what_is_wrong_with_its_database_and_leaves() {
    let _beside = beside_another().await;
    let home = Home::new().await;
    let mut server = home.start(None).await.unwrap();
    let load = Load::begin(&home, 2, 20, seed());
    until("some alerts", async || (load.ledger.lock().unwrap().promised.len() >= 10).then_some(())).await;

    // A second process on the same database is sent away within two seconds.
    let mut second = home.command_at(free_port());
    let mut second = second.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut left = 100;
    while second.try_wait().unwrap().is_none() {
        left -= 1;
        assert!(left > 0, "the second process does not leave");
        pause(Duration::from_millis(20)).await;
    }
    let second = second.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("another callout"), "{said}");
    load.end().await;
    assert_eq!(server.terminate().await, Some(0));

    let database = home.database();
    let good = std::fs::read(&database).unwrap();
    // How it was left stands beside it: closed, so that a log is not missed.
    let left = std::fs::read(beside(&database, "-owner")).unwrap();
    for (name, damage) in RUINS {
        rewrite(&database, damage);
        match home.start(None).await {
            Err(ended) => {
                assert!(ended.code.is_some_and(|code| code > 0), "{name}: {ended:?}");
                assert!(ended.said.contains("callout.db"), "{name}: {}", ended.said);
            }
            Ok(_server) => panic!("{name}: it serves a damaged database"),
        }
        for end in ["-wal", "-journal"] {
            // There may be none.
            let _removed = std::fs::remove_file(beside(&database, end));
        }
        std::fs::write(&database, &good).unwrap();
        std::fs::write(beside(&database, "-owner"), &left).unwrap();
    }
    assert!(home.start(None).await.is_ok(), "put back, it serves again");
}
