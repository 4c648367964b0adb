//! The import table of the project, as data, and the test that holds every source file to it.
//!
//! A module is the first name of a path within the crate: everything in `src/store/` is `store`. The
//! test reads what is written, comments and texts left out; it knows nothing of types.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that meets something impossible must say so and stop"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What one module may use of the crate.
struct Row {
    module: &'static str,
    may_use: &'static [&'static str],
}

/// A module may use itself and what its row lists. `engine` and `http` see the store as a trait, so
/// they may not name the stores themselves ([`HIDDEN`]).
const TABLE: [Row; 30] = [
    Row { module: "timestamp", may_use: &[] },
    Row { module: "id", may_use: &["timestamp"] },
    Row { module: "contact", may_use: &[] },
    Row { module: "hash", may_use: &[] },
    Row { module: "chain", may_use: &[] },
    Row { module: "wording", may_use: &["contact"] },
    Row { module: "escalation", may_use: &["timestamp", "id", "contact", "wording"] },
    Row { module: "clock", may_use: &["timestamp"] },
    Row { module: "chance", may_use: &[] },
    Row { module: "link", may_use: &["id"] },
    Row { module: "metrics", may_use: &[] },
    Row { module: "target", may_use: &[] },
    Row { module: "traces", may_use: &["timestamp", "id", "hash", "chain", "clock", "target"] },
    Row { module: "alarm", may_use: &["timestamp", "id", "metrics"] },
    Row { module: "sender", may_use: &["timestamp", "id", "contact", "escalation"] },
    Row { module: "incoming", may_use: &["timestamp", "id", "contact", "escalation"] },
    Row { module: "integrations", may_use: &["timestamp", "hash", "escalation"] },
    Row { module: "callback", may_use: &["timestamp", "id", "contact", "hash", "escalation"] },
    Row {
        module: "store",
        may_use: &[
            "timestamp",
            "id",
            "contact",
            "hash",
            "wording",
            "escalation",
            "incoming",
            "callback",
            "metrics",
            "clock",
            "chance",
        ],
    },
    Row {
        module: "config",
        may_use: &["timestamp", "id", "contact", "hash", "wording", "escalation", "callback", "target", "integrations"],
    },
    Row {
        module: "vonage",
        may_use: &[
            "timestamp",
            "id",
            "contact",
            "hash",
            "wording",
            "escalation",
            "sender",
            "incoming",
            "clock",
            "target",
        ],
    },
    Row {
        module: "engine",
        may_use: &[
            "timestamp",
            "id",
            "contact",
            "hash",
            "chain",
            "escalation",
            "clock",
            "chance",
            "sender",
            "incoming",
            "store",
            "link",
            "metrics",
            "traces",
            "alarm",
        ],
    },
    Row {
        module: "http",
        may_use: &[
            "timestamp",
            "id",
            "contact",
            "hash",
            "chain",
            "escalation",
            "clock",
            "incoming",
            "store",
            "integrations",
            "config",
            "vonage",
            "engine",
            "link",
            "traces",
            "outgoing",
        ],
    },
    Row {
        module: "outgoing",
        may_use: &[
            "timestamp",
            "id",
            "contact",
            "escalation",
            "clock",
            "chance",
            "metrics",
            "alarm",
            "sender",
            "callback",
            "target",
            "store",
            "vonage",
        ],
    },
    Row { module: "heartbeat", may_use: &[] },
    Row { module: "sandbox", may_use: &["timestamp", "contact", "clock"] },
    Row { module: "telemetry", may_use: &["clock"] },
    Row { module: "service", may_use: EVERYTHING },
    Row { module: "lib", may_use: EVERYTHING },
    Row { module: "main", may_use: EVERYTHING },
];

/// The commands wire everything together; so do the two roots.
const EVERYTHING: &[&str] = &["*"];
const WIRING: [&str; 4] = ["service", "cli", "lib", "main"];

/// What is inside a module and may be named by the wiring only.
const HIDDEN: [(&str, &str); 3] = [("store", "memory"), ("store", "sqlite"), ("store", "postgres")];

/// Crates that only these modules may name.
const CRATES: [(&str, &[&str]); 24] = [
    ("rusqlite", &["store"]),
    ("tokio_postgres", &["store"]),
    ("tokio_postgres_rustls", &["store"]),
    ("deadpool_postgres", &["store"]),
    ("rustls", &["store"]),
    ("rustls_platform_verifier", &["store"]),
    ("reqwest", &["vonage", "outgoing", "sandbox", "heartbeat", "traces", "cli"]),
    ("opentelemetry", &["traces"]),
    ("opentelemetry_http", &["traces"]),
    ("opentelemetry_otlp", &["traces"]),
    ("opentelemetry_sdk", &["traces"]),
    ("axum", &["http", "sandbox"]),
    ("lettre", &["outgoing"]),
    ("axum_server", &["http", "sandbox"]),
    ("tower_http", &["http", "sandbox"]),
    ("maud", &["http"]),
    ("minijinja", &["integrations"]),
    ("utoipa", &["http"]),
    ("utoipa_axum", &["http"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("granit_parser", &["config"]),
    ("serde_saphyr", &["sandbox"]),
];

/// The outside crates that the core may name, and the words that it may not contain.
const CORE: &str = "escalation";
const CORE_CRATES: [&str; 4] = ["std", "core", "alloc", "thiserror"];
const CORE_WORDS: [&str; 3] = ["async", "await", "unsafe"];

#[test]
fn every_module_uses_only_what_the_table_allows() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let outside = dependencies(&root);
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    assert!(files.len() > 10, "only {} files were found", files.len());
    let mut problems = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let text = std::fs::read_to_string(&file).unwrap();
        problems.extend(problems_of(&name, &text, &outside));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_forbidden_import_is_found_in_every_spelling() {
    let outside: BTreeSet<String> = ["serde", "rusqlite", "thiserror"].map(str::to_owned).into();
    let found = |file: &str, text: &str| problems_of(file, text, &outside);
    let cases = [
        ("src/id.rs", "use crate::escalation::Alert;", "src/id.rs:1: `id` may not use `escalation`"),
        ("src/id.rs", "\nfn f() { crate::clock::x() }", "src/id.rs:2: `id` may not use `clock`"),
        ("src/id.rs", "use crate::{timestamp::{A, B},\n    store::Store};", "src/id.rs:1: `id` may not use `store`"),
        ("src/id.rs", "use super::contact;", "src/id.rs:1: write `crate::` for a path out of the module"),
        (
            "src/store/a/b.rs",
            "use super::super::super::http;",
            "src/store/a/b.rs:1: write `crate::` for a path out of the module",
        ),
        (
            "src/engine/mod.rs",
            "use crate::store::sqlite::Sqlite;",
            "src/engine/mod.rs:1: `engine` may not name `store::sqlite`",
        ),
        (
            "src/engine/mod.rs",
            "let a = rusqlite::open();",
            "src/engine/mod.rs:1: `engine` may not name the crate `rusqlite`",
        ),
        (
            "src/escalation/step.rs",
            "use serde::Serialize;",
            "src/escalation/step.rs:1: `escalation` may not name the crate `serde`",
        ),
        ("src/escalation/step.rs", "async fn a() {}", "src/escalation/step.rs:1: `escalation` may not contain `async`"),
        ("src/helpers.rs", "", "src/helpers.rs: `helpers` has no row in the table"),
    ];
    for (file, text, expected) in cases {
        assert_eq!(found(file, text), [expected.to_owned()], "{text}");
    }
    for (file, text) in [
        ("src/id.rs", "use crate::timestamp::Timestamp; // crate::store\n//! [`crate::engine`]"),
        ("src/id.rs", "let a = \"crate::store \\\" crate::http\";"),
        ("src/store/sqlite.rs", "use super::Store; use rusqlite::Connection;"),
        ("src/escalation/alert.rs", "use super::plan::Plan; #[derive(thiserror::Error)] struct A;"),
        ("src/cli/serve.rs", "use crate::{http, engine, store::sqlite};"),
    ] {
        assert_eq!(found(file, text), Vec::<String>::new(), "{text}");
    }
}

/// Everything in one file that the table does not allow.
fn problems_of(file: &str, text: &str, outside: &BTreeSet<String>) -> Vec<String> {
    let (module, depth) = module_of(file);
    let Some(may_use) = may_use(&module) else {
        return vec![format!("{file}: `{module}` has no row in the table")];
    };
    let code = without_comments_and_texts(text);
    let mut problems = Vec::new();
    for (place, word) in words(&code) {
        let line = code[..place].matches('\n').count() + 1;
        let mut say = |what: String| problems.push(format!("{file}:{line}: {what}"));
        let rest = &code[place + word.len()..];
        let begins_path = rest.starts_with("::") && !code[..place].ends_with("::");
        if word == "crate" && begins_path {
            for path in paths(&rest[2..]) {
                let used = path.split("::").next().unwrap_or_default();
                let is_module = TABLE.iter().any(|row| row.module == used) || used == "cli";
                if is_module && used != module && !may_use.contains(&used) && may_use != EVERYTHING {
                    say(format!("`{module}` may not use `{used}`"));
                } else if let Some(hidden) = hidden(&module, &path) {
                    say(format!("`{module}` may not name `{hidden}`"));
                }
            }
        } else if word == "super" && begins_path && leads_out(rest, depth) && !WIRING.contains(&module.as_str()) {
            say("write `crate::` for a path out of the module".to_owned());
        } else if outside.contains(word) && begins_path && !may_name(&module, word) {
            say(format!("`{module}` may not name the crate `{word}`"));
        } else if module == CORE && CORE_WORDS.contains(&word) {
            say(format!("`{module}` may not contain `{word}`"));
        }
    }
    problems
}

fn may_use(module: &str) -> Option<&'static [&'static str]> {
    if WIRING.contains(&module) {
        return Some(EVERYTHING);
    }
    TABLE.iter().find(|row| row.module == module).map(|row| row.may_use)
}

fn may_name(module: &str, outside: &str) -> bool {
    let owners = CRATES.iter().find(|(name, _)| *name == outside);
    let is_owner = owners.is_none_or(|(_, modules)| modules.contains(&module));
    is_owner && (module != CORE || CORE_CRATES.contains(&outside))
}

fn hidden(module: &str, path: &str) -> Option<String> {
    let mut hidden = HIDDEN.iter().filter(|(owner, _)| *owner != module && !WIRING.contains(&module));
    let (owner, inner) = hidden.find(|(owner, inner)| path.starts_with(&format!("{owner}::{inner}")))?;
    Some(format!("{owner}::{inner}"))
}

/// The module that a file belongs to, and how many `super::` lead out of it.
fn module_of(file: &str) -> (String, usize) {
    let parts: Vec<&str> = file.trim_start_matches("src/").trim_end_matches(".rs").split('/').collect();
    let is_root = parts.last() == Some(&"mod") || parts.len() == 1;
    let depth = if is_root { parts.len().max(2) - 1 } else { parts.len() };
    (parts[0].to_owned(), depth)
}

/// Whether what follows the first `super` of a path leads to another module of the table. A module
/// within a file (its tests) is one deeper than the file, which `super::*` there does not matter for.
fn leads_out(rest: &str, depth: usize) -> bool {
    let mut n_supers = 1;
    let mut rest = rest.strip_prefix("::").unwrap_or(rest);
    while let Some(further) = rest.strip_prefix("super::") {
        n_supers += 1;
        rest = further;
    }
    let begun = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
    n_supers >= depth && TABLE.iter().any(|row| row.module == begun)
}

/// The paths that follow `crate::`: one, or each of a group in braces.
fn paths(rest: &str) -> Vec<String> {
    if !rest.starts_with('{') {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        return vec![rest[..end].to_owned()];
    }
    let mut paths = vec![String::new()];
    let mut depth = 0;
    for character in rest.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => paths.push(String::new()),
            _ if character.is_whitespace() => {}
            _ => paths.last_mut().unwrap().push(character),
        }
    }
    paths
}

/// Each word of a source text and where it begins.
fn words(code: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut begin = None;
    for (place, character) in code.char_indices().chain([(code.len(), ' ')]) {
        let is_of_word = character.is_alphanumeric() || character == '_';
        match (begin, is_of_word) {
            (None, true) => begin = Some(place),
            (Some(from), false) => {
                words.push((from, &code[from..place]));
                begin = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    words
}

/// The text with comments and quoted texts blanked out; lines keep their numbers.
fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let n_bytes = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if character == '"' {
            end_of_text(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else {
            code.push(character);
            rest = &rest[character.len_utf8()..];
            continue;
        };
        code.extend(rest[..n_bytes].chars().filter(|character| *character == '\n'));
        code.push(' ');
        rest = &rest[n_bytes..];
    }
    code
}

/// Where a text in double quotes ends.
fn end_of_text(rest: &str) -> usize {
    let mut is_escaped = false;
    for (place, character) in rest.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return place + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The names of the crates that the manifest lists, as source files spell them.
fn dependencies(root: &Path) -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let mut is_list = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_list = line.contains("dependencies");
        } else if is_list && !line.starts_with('#') {
            names.extend(line.split_once('=').map(|(name, _)| name.trim().replace('-', "_")));
        }
    }
    names
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}
