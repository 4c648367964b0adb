//! What the program is made of: held to `.deny.toml` by every build, without another tool.

#![expect(clippy::expect_used, clippy::panic, reason = "a test ends where it is surprised")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A package of the program, of its tests or of what builds it.
struct Package {
    name: String,
    version: String,
    licence: String,
    /// Where it comes from, where that is not the registry.
    elsewhere: Option<String>,
}

fn packages() -> Vec<Package> {
    let arguments =
        ["tree", "--locked", "--offline", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}|{l}"];
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .filter(|line| line.contains('|'))
        .collect();
    let package = |line: &String| {
        let (package, licence) = line.split_once('|').expect("a package and its licence");
        let mut words = package.split_whitespace();
        let (name, version) = (words.next().expect("a name"), words.next().expect("a version"));
        let elsewhere = words.find(|word| *word != "(proc-macro)").map(str::to_owned);
        let version = version.trim_start_matches('v').to_owned();
        Package { name: name.to_owned(), version, licence: licence.to_owned(), elsewhere }
    };
    lines.iter().map(package).filter(|package| package.name != env!("CARGO_PKG_NAME")).collect()
}

/// The texts of a list of `.deny.toml`: those in quotes, or those behind `crate = `.
fn listed(name: &str) -> BTreeSet<String> {
    let rules = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".deny.toml")).expect("the rules");
    let begin = format!("\n{name} = [");
    let (_, list) = rules.split_once(&begin).unwrap_or_else(|| panic!("there is no {name}"));
    let (list, _) = list.split_once(']').expect("the list ends");
    let lines = list.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect()
}

/// Whether an expression of SPDX can be met with these licences alone. `AND` binds closer than `OR`.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = either(&mut rest, allowed);
    assert!(rest.is_empty(), "{expression} cannot be understood");
    met
}

fn either(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = both(rest, allowed);
    while let ["OR", behind @ ..] = rest {
        *rest = behind;
        met |= both(rest, allowed);
    }
    met
}

fn both(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = one(rest, allowed);
    while let ["AND", behind @ ..] = rest {
        *rest = behind;
        met &= one(rest, allowed);
    }
    met
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    match *rest {
        ["(", behind @ ..] => {
            *rest = behind;
            let met = either(rest, allowed);
            let [")", behind @ ..] = rest else { panic!("a bracket is never closed") };
            *rest = behind;
            met
        }
        // An exception only ever allows more.
        [licence, "WITH", _, behind @ ..] | [licence, behind @ ..] => {
            *rest = behind;
            allowed.contains(*licence)
        }
        [] => false,
    }
}

#[test]
fn every_licence_is_one_that_asks_for_no_more_than_a_mention() {
    let allowed = listed("allow");
    let others = packages().into_iter().filter(|package| !is_met(&package.licence, &allowed));
    let others: Vec<String> = others.map(|package| format!("{}: {}", package.name, package.licence)).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = ["MIT", "ISC"].map(str::to_owned).into();
    for met in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "ISC AND MIT",
        "(GPL-3.0 OR ISC) AND MIT",
        "ISC AND MIT OR GPL-3.0",
        "MIT WITH exception OR GPL-3.0",
    ] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for not_met in ["", "GPL-3.0", "GPL-3.0 AND MIT", "(GPL-3.0 OR Apache-2.0) AND MIT", "GPL-3.0 OR ISC AND GPL-3.0"] {
        assert!(!is_met(not_met, &allowed), "{not_met}");
    }
}

#[test]
fn everything_comes_from_the_registry() {
    let elsewhere: Vec<String> = packages().into_iter().filter_map(|package| package.elsewhere).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).expect("the lock");
    let registries = listed("allow-registry");
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = \"registry+"));
    let others: Vec<&str> = sources.filter(|source| !registries.contains(source.trim_end_matches('"'))).collect();
    assert!(others.is_empty() && !lock.contains("source = \"git+"), "{others:?}");
}

#[test]
fn nothing_that_is_banned_has_come_in() {
    let banned = listed("deny");
    assert!(banned.contains("openssl") && banned.contains("ring"), "{banned:?}");
    let found: Vec<String> =
        packages().into_iter().map(|package| package.name).filter(|name| banned.contains(name)).collect();
    assert!(found.is_empty(), "{found:?}; find them with `cargo tree --invert`");
}

#[test]
fn what_is_there_twice_is_known_and_has_a_reason() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(package.name).or_default().push(package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let excused = listed("skip");
    let is_excused = |name: &str, version: &str| {
        excused.iter().any(|excuse| {
            excuse
                .split_once('@')
                .is_some_and(|(other, older)| other == name && version.starts_with(&format!("{older}.")))
        })
    };
    for (name, versions) in &versions {
        let n_others = versions.iter().filter(|version| !is_excused(name, version)).count();
        assert!(n_others <= 1, "{name} is there as {versions:?}");
    }
    for excuse in &excused {
        let (name, _) = excuse.split_once('@').expect("a version");
        assert!(versions.contains_key(name), "{excuse} needs no excuse any more");
    }
}
