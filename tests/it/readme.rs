//! The README and docs/ say what is true: their files load, their commands exist, their links lead
//! somewhere, the limits are the source's, and every name that the API can show is explained.
//!
//! What has a name (keys, variables, calls, metrics, limits) is told in one place: docs/reference.md.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::process::Command;

use callout::config::{Environment, Flags, Overrides, parse};
use callout::escalation::Happening;

use crate::config::TEST_ONLY_PRIVATE_KEY;

const README: &str = include_str!("../../README.md");
const REFERENCE: &str = include_str!("../../docs/reference.md");
const GATE: &str = include_str!("../../.ci/run");

/// Limits that nobody meets from outside, and why they are not in the tables.
const NOT_SHOWN: [(&str, &str, &str); 5] = [
    ("config/problem.rs", "SHOWN_CHARS_MAX", "how much of a wrong value a message quotes"),
    ("config/suggestion.rs", "LETTERS_MAX", "how long a slip of the pen may be to be guessed at"),
    ("vonage/text.rs", "CLUSTER_UNITS_MAX", "how long one character may be"),
    ("store/sqlite/live.rs", "GENERATION_MAX", "follows from LIVE_MAX"),
    ("store/sqlite/live.rs", "GENERATION_BYTES_MAX", "follows from LIVE_BYTES_MAX"),
];

/// A block between fences, without the indentation of the list it stands in.
struct Block {
    language: String,
    text: String,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for line in markdown.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        match (&mut open, text.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some((indent, Block { language: language.to_owned(), text: String::new() }));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), None) => {
                block.text.push_str(line.get(*indent..).unwrap_or(text));
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is never closed");
    blocks
}

/// Every page that users read, by its path from the project's folder.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> =
        ["README.md", "README.ja.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned).into();
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    assert!(names.len() > 7, "the pages are found");
    let read = |name: String| {
        let text = std::fs::read_to_string(root.join(&name)).unwrap();
        (name, text)
    };
    names.into_iter().map(read).collect()
}

/// A section of the reference.
fn section(title: &str) -> &'static str {
    let (_, after) = REFERENCE.split_once(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
    after.split("\n## ").next().unwrap()
}

/// The cells of every table row that begins with a code span.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix('|')?.strip_suffix('|'))
        .map(|row| row.split(" | ").map(str::trim).collect())
        .collect()
}

/// What stands between single backticks.
fn code_spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The rows of the table under a heading whose first cell is one code span, by that span.
fn names_in_table(heading: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let (_, after) = REFERENCE.split_once(heading).unwrap_or_else(|| panic!("no table {heading}"));
    let table = after.split("\n\n").next().unwrap();
    let named = rows(table).into_iter().filter_map(|cells| {
        let name = cells.first()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name, cells))
    });
    named.collect()
}

fn set<'t>(names: impl IntoIterator<Item = &'t str>) -> BTreeSet<&'t str> {
    names.into_iter().collect()
}

/// Every file under `src`, by its path there.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    walk(&root, &root, &mut found);
    found
}

fn source(name: &str) -> String {
    sources().remove(name).unwrap_or_else(|| panic!("no file src/{name}"))
}

// Configuration

/// Adds what a block leaves out because it is about something else.
fn completed(block: &str) -> String {
    let has = |key: &str| block.lines().any(|line| line.starts_with(key));
    let mut text = block.to_owned();
    if !has("vonage:") {
        text.push_str(
            "vonage:\n  application_id: 11111111-2222-4333-8444-555555555555\n  private_key: private.key\n  \
             from: { sms: \"447700900101\", whatsapp: \"447700900100\" }\n",
        );
    }
    if !has("users:") {
        text.push_str("users: [{ name: Tony, channels: [{ type: sms, id_num: \"447700900001\" }] }]\n");
    }
    text
}

fn load(text: &str) {
    let environment: Environment =
        [("VONAGE_SIGNATURE_SECRET", "0123456789abcdef0123456789abcdef")].into_iter().collect();
    let overrides = Overrides::new(&Flags::default(), &environment);
    let read_file = |path: &Path, _: usize| {
        if path == Path::new("private.key") {
            Ok(TEST_ONLY_PRIVATE_KEY.as_bytes().to_vec())
        } else {
            Err(io::Error::from(io::ErrorKind::NotFound))
        }
    };
    let loaded = parse(Path::new("callout.yaml"), text.as_bytes(), &overrides, &environment, &read_file);
    if let Err(problems) = loaded {
        panic!("a file of the pages does not load:\n{problems}\n\n{text}");
    }
}

#[test]
fn every_configuration_in_the_pages_loads() {
    let configuration = blocks(section("Configuration"));
    let whole: Vec<Block> = pages().iter().flat_map(|(_, text)| blocks(text)).collect();
    let is_configuration = |block: &&Block| block.language == "yaml" || block.language == "json";
    let of_section: Vec<&Block> = configuration.iter().filter(is_configuration).collect();
    assert!(of_section.len() >= 3, "both forms and the wording are shown");
    for block in of_section {
        load(&if block.language == "json" { block.text.clone() } else { completed(&block.text) });
    }
    let elsewhere: Vec<&Block> =
        whole.iter().filter(|block| block.language == "yaml" && block.text.contains("application_id")).collect();
    assert!(elsewhere.len() >= 3, "each way of setting callout up is shown");
    for block in elsewhere {
        load(&block.text);
    }
}

#[test]
fn the_people_of_the_readme_can_be_played() {
    let whole = blocks(README);
    let people = whole.iter().find(|block| block.text.starts_with("people:")).expect("people are shown");
    callout::sandbox::habits::People::parse("people.yaml", &people.text).unwrap();
}

#[test]
fn every_key_of_the_native_form_is_explained() {
    let native = source("config/native.rs");
    let explained = code_spans(section("Configuration"));
    let keys_of = |name: &str| -> Vec<String> {
        let (_, after) = native.split_once(&format!("const {name}:")).unwrap_or_else(|| panic!("no {name}"));
        after.split_once("];").unwrap().0.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let of = |section: &'static str, keys: Vec<String>| keys.into_iter().map(move |key| format!("{section}{key}"));
    let top = keys_of("KEYS").into_iter().filter(|key| !matches!(&**key, "$schema" | "server" | "vonage" | "users"));
    let all = top.chain(of("server.", keys_of("SERVER_KEYS"))).chain(of("vonage.", keys_of("VONAGE_KEYS")));
    let all: Vec<String> = all.collect();
    assert!(all.len() > 14, "the keys are found");
    for key in all {
        assert!(explained.contains(&&*key), "docs/reference.md does not explain the key `{key}`");
    }
}

#[test]
fn every_variable_is_in_the_table_and_every_variable_in_the_table_is_read() {
    let table = section("Configuration").split("### Flags and environment").nth(1).unwrap();
    let told: BTreeSet<&str> = code_spans(table.split("\n### ").next().unwrap())
        .into_iter()
        .filter(|span| span.starts_with("CALLOUT_"))
        .collect();
    let sources = sources();
    let read: BTreeSet<&str> = sources
        .values()
        .flat_map(|text| text.split('"'))
        .filter(|text| text.starts_with("CALLOUT_"))
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
        .collect();
    assert_eq!(told, read, "left: docs/reference.md, right: the source");
}

// Commands

/// What `callout ARGUMENTS` prints.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_callout")).args(arguments).output().unwrap();
    assert!(output.status.success(), "callout {arguments:?} fails");
    String::from_utf8(output.stdout).unwrap()
}

/// The command lines of a page that call callout, from the name of the command on.
fn command_lines(page: &str) -> Vec<String> {
    let shell = blocks(page);
    let lines = shell.iter().filter(|block| block.language == "sh").flat_map(|block| block.text.lines());
    let spans = page.lines().filter(|line| !line.trim_start().starts_with("```")).flat_map(code_spans);
    lines
        .chain(spans)
        .filter_map(|line| {
            let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
            let line = line.strip_prefix("docker exec callout ").unwrap_or(line);
            let call = line.strip_prefix("callout ").or_else(|| line.strip_prefix("cargo run -- "))?;
            call.starts_with(|first: char| first.is_ascii_lowercase()).then(|| call.to_owned())
        })
        .collect()
}

#[test]
fn every_command_and_flag_in_the_pages_exists() {
    let help = printed(&["--help"]);
    let commands: BTreeSet<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(command_lines(README).len() > 10, "the README shows commands");
    let helps: BTreeMap<&str, String> =
        commands.iter().map(|command| (*command, printed(&[command, "--help"]))).collect();
    for (page, text) in pages() {
        for line in command_lines(&text) {
            let command = line.split_whitespace().next().unwrap();
            let help = helps.get(command);
            let help = help.unwrap_or_else(|| panic!("{page}: there is no `callout {command}` (in `callout {line}`)"));
            for flag in line.split_whitespace().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap();
                assert!(help.contains(flag), "{page}: `callout {command}` has no {flag}");
            }
        }
    }
    let of_reference = command_lines(REFERENCE);
    let explained: BTreeSet<&str> = of_reference.iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(explained, commands, "left: docs/reference.md, right: --help");
    let table = section("Command line");
    for row in rows(table).iter().filter(|row| row[0].starts_with("`callout ")) {
        let command = row[0].trim_matches('`').split_whitespace().nth(1).unwrap();
        let help = printed(&[command, "--help"]);
        for flag in code_spans(row[1]).into_iter().filter_map(|span| span.split_whitespace().next()) {
            assert!(help.contains(flag), "`callout {command}` has no {flag}");
        }
    }
}

#[test]
fn the_first_screen_has_the_two_commands_and_the_gate_runs_the_second() {
    let first = blocks(README).into_iter().next().unwrap();
    let commands: Vec<&str> = first
        .text
        .lines()
        .filter_map(|line| Some(line.split('#').next()?.trim()))
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(commands, ["cargo run -- demo", "cargo test"]);
    let line = README.lines().position(|line| line.starts_with("cargo test")).unwrap();
    assert!(line < 25, "the commands are within the first screen, not on line {line}");
    let of_gate: Vec<&str> = GATE.lines().filter(|line| line.starts_with("cargo test")).collect();
    assert_eq!(of_gate, ["cargo test --locked"], "the gate runs the README's test command");
}

/// The name by which a link reaches a heading.
fn anchor_of(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut n_files = 0;
    for (page, text) in pages() {
        let links = text.split("](").skip(1).filter_map(|after| after.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let path = root.join(&page).parent().unwrap().join(file);
            let path = if file.is_empty() { root.join(&page) } else { path };
            assert!(path.exists(), "{page} links to {link}, which does not exist");
            n_files += usize::from(!file.is_empty());
            if let Some(anchor) = anchor {
                let target = std::fs::read_to_string(&path).unwrap();
                let has_it = target.lines().any(|line| line.starts_with('#') && anchor_of(line) == anchor);
                assert!(has_it, "{page} links to {link}, but there is no such heading");
            }
        }
    }
    assert!(n_files > 10, "the pages link to files");
}

/// The Japanese README is the same README: what is to be typed is the same, and it leads to the same pages.
#[test]
fn the_japanese_readme_shows_the_same_commands_and_pages() {
    let japanese = include_str!("../../README.ja.md");
    let (ours, theirs) = (blocks(README), blocks(japanese));
    let texts: BTreeSet<&str> = ours.iter().map(|block| &*block.text).collect();
    for block in &theirs {
        assert!(texts.contains(&*block.text), "README.ja.md shows what README.md does not:\n{}", block.text);
    }
    let shown: BTreeSet<&str> = theirs.iter().map(|block| &*block.text).collect();
    for block in &ours {
        assert!(shown.contains(&*block.text), "README.ja.md does not show:\n{}", block.text);
    }
    let files = |text: &'static str| -> BTreeSet<&str> {
        let links = text.split("](").skip(1).filter_map(|after| after.split(')').next());
        links.filter(|link| !link.starts_with(['#', 'h'])).map(|link| link.split('#').next().unwrap()).collect()
    };
    for file in files(japanese) {
        assert!(files(README).contains(file) || file == "README.md", "README.md does not lead to {file}");
    }
}

// Names

#[test]
fn every_event_of_a_timeline_is_explained() {
    let told = names_in_table("| timeline `event` |");
    assert_eq!(
        set(told.into_keys()),
        set(Happening::ALL.map(Happening::name)),
        "left: docs/reference.md, right: the source"
    );
}

#[test]
fn every_status_of_an_attempt_is_explained() {
    let text = source("escalation/attempt_status.rs");
    let names =
        text.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \"")?.1.split('"').next());
    let told = names_in_table("| attempt `status` |");
    assert_eq!(set(told.into_keys()), set(names), "left: docs/reference.md, right: the source");
}

#[test]
fn every_problem_is_explained_with_its_status() {
    let text = source("http/problem.rs");
    let calls = text.split("Self::new(").skip(1).filter_map(|call| {
        let code = call.trim_start().strip_prefix("StatusCode::")?;
        let (name, rest) = code.split_once(',')?;
        Some((rest.split('"').nth(1)?.to_owned(), number(name).to_string()))
    });
    let known: BTreeMap<String, String> = calls.collect();
    let told: BTreeMap<String, String> = names_in_table("| `type`, behind `/problems/` |")
        .into_iter()
        .map(|(name, cells)| (name.to_owned(), cells[1].to_owned()))
        .collect();
    assert!(known.len() > 10, "the problems are found in the source");
    assert_eq!(told, known, "left: docs/reference.md, right: the source");
}

/// The number of an HTTP status by its name in the source.
fn number(name: &str) -> u16 {
    match name {
        "BAD_REQUEST" => 400,
        "UNAUTHORIZED" => 401,
        "FORBIDDEN" => 403,
        "NOT_FOUND" => 404,
        "METHOD_NOT_ALLOWED" => 405,
        "CONFLICT" => 409,
        "GONE" => 410,
        "PAYLOAD_TOO_LARGE" => 413,
        "UNSUPPORTED_MEDIA_TYPE" => 415,
        "UNPROCESSABLE_ENTITY" => 422,
        "TOO_MANY_REQUESTS" => 429,
        "INTERNAL_SERVER_ERROR" => 500,
        "SERVICE_UNAVAILABLE" => 503,
        other => panic!("which number has {other}?"),
    }
}

#[test]
fn every_metric_is_listed() {
    let text = source("metrics/mod.rs") + &source("metrics/process.rs");
    let kept = text.split("registry.register(").skip(1).filter_map(|call| call.split('"').nth(1));
    let told = names_in_table("| name | counts |");
    let told = told.keys().map(|name| name.trim_start_matches("callout_").trim_end_matches("_total"));
    assert_eq!(set(told), set(kept), "left: docs/reference.md, right: the source");
}

// Limits

/// A number of bytes, characters, things or milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Count(u128),
    Millis(u128),
}

/// The value of a constant, as its line in the source has it.
fn value_of(name: &str, expression: &str) -> Option<Size> {
    if let Some(duration) = expression.strip_prefix("Duration::from_") {
        let (unit, amount) = duration.split_once('(')?;
        let amount = product(amount.strip_suffix(')')?)?;
        let millis = match unit {
            "millis" => 1,
            "secs" => 1_000,
            "mins" => 60_000,
            "hours" => 3_600_000,
            _ => return None,
        };
        return Some(Size::Millis(amount * millis));
    }
    let number = expression.strip_prefix("NonZeroU32::new(").and_then(|rest| rest.strip_suffix(").unwrap()"));
    let count = product(number.unwrap_or(expression))?;
    Some(if name.contains("_SECONDS_") { Size::Millis(count * 1_000) } else { Size::Count(count) })
}

fn product(expression: &str) -> Option<u128> {
    if let Some((left, right)) = expression.split_once(" << ") {
        return Some(product(left)? << product(right)?);
    }
    expression.split(" * ").map(|factor| factor.trim().replace('_', "").parse::<u128>().ok()).product()
}

/// A value as a person writes it.
fn told_size(text: &str) -> Size {
    let (amount, unit) = text.split_once(' ').unwrap_or((text, ""));
    let amount: u128 = amount.parse().unwrap_or_else(|_| panic!("{text} is not a limit"));
    match unit {
        "" | "characters" => Size::Count(amount),
        "KiB" => Size::Count(amount << 10),
        "MiB" => Size::Count(amount << 20),
        "ms" => Size::Millis(amount),
        "s" => Size::Millis(amount * 1_000),
        "min" => Size::Millis(amount * 60_000),
        "h" => Size::Millis(amount * 3_600_000),
        "days" => Size::Millis(amount * 86_400_000),
        other => panic!("what is {amount} {other}?"),
    }
}

/// Every constant of a file that stands outside functions and types: its name and expression.
fn constants(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let rest = line.strip_prefix("pub(super) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
        let (name, rest) = rest.strip_prefix("const ")?.split_once(':')?;
        Some((name, rest.split_once(" = ")?.1.trim_end_matches(';')))
    })
}

#[test]
fn every_limit_is_told_as_it_stands_in_the_source() {
    let sources = sources();
    let mut told = BTreeSet::new();
    for row in rows(section("Limits")) {
        let [_, limit, place] = row.as_slice() else { continue };
        let [file, name] = code_spans(place)[..] else { continue };
        let text = sources.get(file).unwrap_or_else(|| panic!("there is no src/{file}"));
        let expression = constants(text).find(|(known, _)| *known == name);
        let (_, expression) = expression.unwrap_or_else(|| panic!("src/{file} has no constant {name}"));
        let value = value_of(name, expression).unwrap_or_else(|| panic!("cannot read {name} = {expression}"));
        assert_eq!(told_size(limit), value, "{name} of src/{file}; left: docs/reference.md, right: the source");
        told.insert((file.to_owned(), name.to_owned()));
    }
    assert!(told.len() > 50, "the tables are found");
    let not_shown: BTreeSet<_> =
        NOT_SHOWN.iter().map(|(file, name, _)| ((*file).to_owned(), (*name).to_owned())).collect();
    let ours = sources.iter().filter(|(file, _)| !file.starts_with("sandbox") && !file.starts_with("cli"));
    let missing: Vec<String> = ours
        .flat_map(|(file, text)| constants(text).map(move |(name, expression)| (file, name, expression)))
        .filter(|(_, name, _)| ["_MAX", "_KEPT", "_TIMEOUT", "_LEASE"].iter().any(|end| name.ends_with(end)))
        .map(|(file, name, expression)| ((file.clone(), name.to_owned()), expression))
        .filter(|(key, _)| !told.contains(key) && !not_shown.contains(key))
        .map(|((file, name), expression)| format!("`{file}` `{name}` = {expression}"))
        .collect();
    assert!(missing.is_empty(), "docs/reference.md does not tell of these limits:\n{}", missing.join("\n"));
    for key in &not_shown {
        let is_there = sources.get(&key.0).is_some_and(|text| constants(text).any(|(name, _)| name == key.1));
        assert!(is_there, "there is no {} in src/{}", key.1, key.0);
    }
}
