//! The keys of the API as they are written in the file.

use callout::config::{Flags, Role};

use super::{SOUND, Story, sound_but};

/// The sound file with these keys.
fn with_keys(keys: &str) -> String {
    sound_but("server: { ", &format!("server: {{ api_keys: {keys}, "))
}

/// What is told of these keys. `»` stands where the place must be, and is not in the file.
#[track_caller]
fn told_at_the_mark(keys: &str) -> String {
    let marked = with_keys(keys);
    let line = marked.lines().nth(1).expect("the server is on the second line");
    let column = line.chars().position(|character| character == '»').expect("a mark") + 1;
    let problem = Story::of(&marked.replace('»', "")).problems();
    match problem.strip_prefix(&format!("FILE:2:{column}: ")) {
        Some(problem) => problem.to_owned(),
        None => panic!("not at column {column}: {problem}"),
    }
}

const HASH: &str = "sha256:7bf0e9b5fdd4e4b6fa4b7e0ad3b3fa1aaf5a8b9f87b1c2d3e4f5061728394a5b";

#[test]
fn keys_have_names_and_roles_and_their_hashes_are_kept() {
    let keys = format!(
        "[{{ name: nagios, key: \"${{NAGIOS_KEY}}\", roles: [raise], max_per_second: 5 }}, \
          {{ name: Night shift, key_hash: \"{HASH}\", roles: [read, answer] }}]"
    );
    let config = Story::of(&with_keys(&keys)).with("NAGIOS_KEY", "a-key-of-nagios-alone").loaded().config;
    let [nagios, night_shift] = config.server.api_keys.as_slice() else { panic!("two keys were given") };
    assert_eq!((&*nagios.name, &*night_shift.name), ("nagios", "Night shift"));
    assert_eq!(nagios.max_per_second.map(std::num::NonZeroU32::get), Some(5));
    assert_eq!(Role::ALL.map(|role| nagios.roles.allow(role)), [true, false, false, false]);
    assert_eq!(Role::ALL.map(|role| night_shift.roles.allow(role)), [false, true, true, false]);
    assert!(!format!("{config:?}").contains("a-key-of-nagios"), "a key is never shown");
    assert!(config.server.api_key.is_none());
}

#[test]
fn every_mistake_in_a_key_is_told_at_its_place() {
    for (keys, problem) in [
        ("»[]", "there are no API keys (leave out `api_keys` to have one made)"),
        ("»nagios", "`api_keys` must be a list, not a single value"),
        (
            "[»nagios]",
            "an entry of `api_keys` must be a mapping, not a single value (its keys are name, key, key_hash, roles and max_per_second)",
        ),
        ("[»{ key: sixteen-characters, roles: [raise] }]", "`name` is missing"),
        ("[»{ name: a, roles: [raise] }]", "`key` is missing (or `key_hash`, `sha256:` and the key's SHA-256)"),
        ("[»{ name: a, key: sixteen-characters }]", "`roles` is missing (the roles are raise, read, answer and admin)"),
        (
            "[{ name: a, key: sixteen-characters, roles: »[] }]",
            "a key without a role may do nothing (raise, read, answer and admin)",
        ),
        ("[{ name: a, key: sixteen-characters, roles: [»rise] }]", "`rise` is not a role (did you mean `raise`?)"),
        (
            "[{ name: a, key: sixteen-characters, roles: [»root] }]",
            "`root` is not a role (the roles are raise, read, answer and admin)",
        ),
        (
            "[{ name: a, key: sixteen-characters, »role: [raise] }]",
            "`role` is not a key of an entry of `api_keys` (did you mean `roles`?)",
        ),
        (
            "[{ name: a, key: »\"two words\", roles: [raise] }]",
            "the API key cannot be sent as a bearer token (letters, digits and punctuation without spaces, as in an HTTP header)",
        ),
        (
            "[{ name: a, key_hash: »abc, roles: [raise] }]",
            "`key_hash` is not the hash of a key (`sha256:` and 64 hexadecimal digits, as `printf %s \"$KEY\" | sha256sum` gives them)",
        ),
        (
            "[{ name: a, key: sixteen-characters, roles: [raise], max_per_second: »0 }]",
            "`max_per_second` must be a whole number from 1 to 10000, not `0` (alerts that this key may raise in a second; leave it out for no limit)",
        ),
    ] {
        assert_eq!(told_at_the_mark(keys), problem, "{keys}");
    }
}

#[test]
fn a_key_or_its_hash_but_not_both() {
    let keys = format!("[{{ name: a, key: sixteen-characters, key_hash: »\"{HASH}\", roles: [raise] }}]");
    assert_eq!(told_at_the_mark(&keys), "`key` stands here already (give the key or its hash)");
}

#[test]
fn two_keys_are_alike_neither_in_name_nor_in_themselves() {
    let a = "{ name: a, key: sixteen-characters, roles: [raise] }";
    let namesake = format!("[{a}, {{ name: »a, key: other-sixteen-characters, roles: [read] }}]");
    assert_eq!(told_at_the_mark(&namesake), "another API key is called `a` too");
    let twin = format!("[{a}, {{ name: »b, key: sixteen-characters, roles: [read] }}]");
    assert_eq!(told_at_the_mark(&twin), "`a` and `b` are the same API key (give each its own)");
    let only_a = with_keys(&format!("[{a}]"));
    let twin_of_the_one = Story::of(&only_a).with("CALLOUT_API_KEY", "sixteen-characters");
    assert_eq!(twin_of_the_one.problems(), "FILE:2:30: `api` and `a` are the same API key (give each its own)");
    let named_api = with_keys("[{ name: api, key: sixteen-characters, roles: [raise] }]");
    let told = Story::of(&named_api).with("CALLOUT_API_KEY", "another-of-sixteen").problems();
    assert_eq!(told, "FILE:2:30: another API key is called `api` too");
}

#[test]
fn there_are_no_more_keys_than_can_be_compared_at_once() {
    let key = |n| format!("{{ name: key {n}, key: sixteen-characters-{n}, roles: [raise] }}");
    let keys = |n| format!("[{}]", (0..n).map(key).collect::<Vec<_>>().join(", "));
    assert_eq!(Story::of(&with_keys(&keys(100))).loaded().config.server.api_keys.len(), 100);
    assert_eq!(Story::of(&with_keys(&keys(101))).problems(), "FILE:2:21: there are 101 API keys; 100 is the most");
}

#[test]
fn a_short_key_is_warned_of_at_home_and_refused_where_strangers_come() {
    let text = with_keys("[{ name: a, key: short, roles: [raise] }]");
    let told = Story::of(&text).warnings();
    assert_eq!(
        told.lines().next(),
        Some("FILE:2:38: warning: the API key has 5 characters (16 or more keep others from guessing it)")
    );
    let everywhere = Flags { listen: Some("0.0.0.0:9000".into()), ..Flags::default() };
    let told = Story::of(&text).with_flags(everywhere.clone()).problems();
    let refused =
        "the API key has 5 characters (where others reach the service, 16 or more must keep them from guessing it)";
    assert_eq!(told, format!("FILE:2:38: {refused}"));
    let the_one = Story::of(SOUND).with_flags(everywhere).with("CALLOUT_API_KEY", "short");
    assert_eq!(the_one.problems(), format!("CALLOUT_API_KEY: {refused}"));
    let long = Story::of(SOUND).with("CALLOUT_API_KEY", &"x".repeat(1_025)).problems();
    assert_eq!(long, "CALLOUT_API_KEY: the API key has 1025 characters; 1024 is the most");
}
