//! Flags, the environment and the disk: what wins over the file, and what the file takes from them.

use std::fs;
use std::path::Path;

use callout::config::{Environment, Flags, Overrides, Secret, StoreChoice, load};
use callout::escalation::Backend;

use super::{SOUND, Story, TEST_ONLY_PRIVATE_KEY, sound_but};

#[test]
fn flags_win_over_the_environment_and_both_over_the_file() {
    let config = Story::of(SOUND).with("CALLOUT_LISTEN", "127.0.0.1:7001").loaded().config;
    assert_eq!(config.server.listen.port(), 7001);
    let flags = Flags { listen: Some("127.0.0.1:7002".to_owned()), ..Flags::default() };
    let config = Story::of(SOUND).with("CALLOUT_LISTEN", "127.0.0.1:7001").with_flags(flags).loaded().config;
    assert_eq!(config.server.listen.port(), 7002);
}

#[test]
fn every_variable_replaces_its_value() {
    let config = Story::of(&sound_but("private_key: private.key", "private_key: nowhere.key"))
        .with("CALLOUT_STORE", "sqlite:work.db")
        .with("CALLOUT_BACKEND", "dispatch")
        .with("CALLOUT_VONAGE_URL", "http://127.0.0.1:9001")
        .with("CALLOUT_PUBLIC_URL", "https://other.example.org/")
        .with("CALLOUT_MAX_PER_SECOND", "0")
        .with("CALLOUT_API_KEY", "a-key-for-this-test")
        .with("CALLOUT_PRIVATE_KEY", TEST_ONLY_PRIVATE_KEY)
        .with("CALLOUT_SIGNATURE_SECRET", "another-secret-of-more-than-32-characters")
        .loaded()
        .config;
    assert!(
        matches!(&config.store, StoreChoice::Sqlite(path) if path == Path::new("work.db")),
        "relative to the working directory: {:?}",
        config.store
    );
    assert_eq!(config.vonage.backend, Backend::Dispatch);
    assert_eq!(config.vonage.base_url.as_str(), "http://127.0.0.1:9001/");
    assert_eq!(config.server.public_url.as_deref(), Some("https://other.example.org"));
    assert_eq!(config.vonage.max_per_second, 0);
    assert_eq!(config.server.api_key.as_ref().map(Secret::reveal), Some("a-key-for-this-test"));
    let secrets: Vec<&str> = config.vonage.signature_secrets.iter().map(Secret::reveal).collect();
    assert_eq!(secrets, ["another-secret-of-more-than-32-characters"]);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let config = Story::of(SOUND).with("CALLOUT_LISTEN", "").with("CALLOUT_STORE", " ").loaded().config;
    assert_eq!(config.server.listen.port(), 9000);
    assert!(matches!(config.store, StoreChoice::Memory));
}

#[test]
fn a_bad_value_from_outside_is_placed_at_its_flag_or_variable() {
    let flags = Flags {
        listen: Some("9000".to_owned()),
        backend: Some("dispatcher".to_owned()),
        vonage_url: Some("api.nexmo.com".to_owned()),
        ..Flags::default()
    };
    let problems = Story::of(SOUND)
        .with_flags(flags)
        .with("CALLOUT_PUBLIC_URL", "ftp://example.org")
        .with("CALLOUT_MAX_PER_SECOND", "fast")
        .with("CALLOUT_API_KEY", "two words")
        .with("CALLOUT_STORE", "mysql://root:hush@db")
        .with("CALLOUT_PRIVATE_KEY", "hush")
        .problems();
    assert_eq!(
        problems,
        "--backend: `dispatcher` is not a backend (did you mean `dispatch`?)\n\
         --listen: `9000` is not an address to listen on (an IP address and a port, for example 127.0.0.1:9000)\n\
         --vonage-url: the URL of Vonage's API must begin with https:// or http:// (for example https://api.nexmo.com)\n\
         CALLOUT_API_KEY: the API key cannot be sent as a bearer token (letters, digits and punctuation without spaces, as in an HTTP header)\n\
         CALLOUT_MAX_PER_SECOND: the rate must be a whole number from 0 to 10000, not `fast` (messages per second; 0 for no limit)\n\
         CALLOUT_PRIVATE_KEY: the private key is not an RSA private key in PEM form (it begins with -----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----)\n\
         CALLOUT_PUBLIC_URL: the public URL must begin with https:// or http:// (for example https://callout.example.org)\n\
         CALLOUT_STORE: this is not a store (`memory:`, `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`)"
    );
}

#[test]
fn a_value_of_the_file_can_come_from_the_environment() {
    let text = sound_but("an-invented-secret-of-more-than-32-characters", "${HUSH}")
        .replace("127.0.0.1:9000", "127.0.0.1:${PORT}")
        .replace("sms: \"447700900101\"", "sms: \"$${X}\"");
    let story = || Story::of(&text).with("HUSH", "a-secret-from-the-environment-32-characters");
    let problems = story().with("PORT", "7003").problems();
    assert_eq!(
        problems,
        "FILE:9:62: `vonage.from.sms` must be a number of at most 15 digits, or at most 11 letters and digits (your virtual number, for example 447700900101, or a name such as CALLOUT)",
        "a doubled dollar stands for itself"
    );
    let text = text.replace("$${X}", "447700900101");
    let config = Story::of(&text).with("HUSH", "a-secret-from-the-environment-32-characters").with("PORT", "7003");
    let config = config.loaded().config;
    assert_eq!(config.server.listen.port(), 7003);
    assert_eq!(config.vonage.signature_secrets[0].reveal(), "a-secret-from-the-environment-32-characters");
}

#[test]
fn a_key_may_be_carried_in_one_line() {
    let one_line = TEST_ONLY_PRIVATE_KEY.trim().replace('\n', "\\n");
    let config = Story::of(SOUND).with("CALLOUT_PRIVATE_KEY", &one_line).loaded().config;
    assert_eq!(config.vonage.private_key.reveal(), TEST_ONLY_PRIVATE_KEY.trim());
}

#[test]
fn the_file_is_found_read_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("callout.yaml");
    fs::write(folder.path().join("private.key"), TEST_ONLY_PRIVATE_KEY).unwrap();
    fs::write(&path, sound_but("store: \"memory:\"", "store: sqlite:callout.db")).unwrap();
    let environment: Environment = [("CALLOUT_CONFIG", path.to_str().unwrap())].into_iter().collect();
    let overrides = Overrides::new(&Flags::default(), &environment);

    let config = load(&overrides, &environment).unwrap().config;
    assert_eq!(config.path, path);
    let database = folder.path().join("callout.db");
    assert!(matches!(&config.store, StoreChoice::Sqlite(path) if *path == database), "beside the file");
    assert!(!database.exists(), "nothing is opened");

    fs::write(&path, sound_but("repeat: 1", "repeat: often")).unwrap();
    let problems = load(&overrides, &environment).unwrap_err().to_string();
    let shown = path.display();
    assert_eq!(
        problems,
        format!("{shown}:16:45: `repeat` must be from 0 to 100, not `often` (how many rounds follow the first)")
    );

    fs::write(&path, sound_but("repeat: 1", "repeat: 2")).unwrap();
    assert_eq!(load(&overrides, &environment).unwrap().config.policies.first().plan.repeat(), 2);
}

#[test]
fn the_samples_are_read_from_where_they_stand_with_a_key_from_the_environment() {
    for sample in ["config/sample.json", "config/sample-with-times.json", "config/callout.example.yaml"] {
        let environment: Environment =
            [("CALLOUT_CONFIG", sample), ("CALLOUT_PRIVATE_KEY", TEST_ONLY_PRIVATE_KEY)].into_iter().collect();
        let loaded = load(&Overrides::new(&Flags::default(), &environment), &environment);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.config.path, Path::new(sample));
        assert!(
            matches!(&loaded.config.store, StoreChoice::Sqlite(path) if path == Path::new("config/callout.db")),
            "{sample}"
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_said_to_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let named = |path: &Path| Flags { config: Some(path.to_str().unwrap().to_owned()), ..Flags::default() };
    let environment = Environment::default();
    let missing = folder.path().join("nowhere.yaml");
    let problems = load(&Overrides::new(&named(&missing), &environment), &environment).unwrap_err();
    assert_eq!(problems.to_string(), format!("{}: there is no such file", missing.display()));
    let problems = load(&Overrides::new(&named(folder.path()), &environment), &environment).unwrap_err();
    assert_eq!(problems.to_string(), format!("{}: is a folder", folder.path().display()));
}

#[test]
fn nothing_from_outside_is_in_the_debug_form() {
    let environment: Environment = [("CALLOUT_API_KEY", "hush")].into_iter().collect();
    let overrides = Overrides::new(&Flags::default(), &environment);
    assert_eq!(format!("{environment:?}"), r#"{"CALLOUT_API_KEY"}"#);
    assert_eq!(format!("{overrides:?}"), r#"{Variable("CALLOUT_API_KEY")}"#);
}
