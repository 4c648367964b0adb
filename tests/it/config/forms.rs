//! What is accepted: the tutorial's JSON as it is, and callout's own YAML.

use std::path::{Path, PathBuf};
use std::time::Duration;

use callout::config::{LISTEN_DEFAULT, Loaded, MAX_PER_SECOND_DEFAULT, Secret, StoreChoice};
use callout::contact::Channel;
use callout::escalation::{Backend, Condition, Confirm, Plan};
use callout::wording::{Button, Word};

use super::{SOUND, Story, TEST_ONLY_PRIVATE_KEY, sound_but};

const TUTORIAL: &str = include_str!("../../../config/sample.json");
const TUTORIAL_WITH_TIMES: &str = include_str!("../../../config/sample-with-times.json");
const EXAMPLE: &str = include_str!("../../../config/callout.example.yaml");

/// The first policy, a line for each user: name, then the channels.
fn first_policy(loaded: &Loaded) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for step in loaded.config.policies.first().plan.steps() {
        let channels: Vec<String> = step
            .legs()
            .map(|leg| {
                let condition = match leg.condition {
                    Condition::Read => "read",
                    Condition::Delivered => "delivered",
                };
                format!("{} {} {} {condition}", leg.channel, leg.address.reveal(), leg.expiry_seconds)
            })
            .collect();
        lines.push(format!("{}: {}", step.user, channels.join(", ")));
    }
    lines
}

#[test]
fn the_tutorials_file_is_read_unchanged() {
    let loaded = Story::of(TUTORIAL).loaded();
    assert_eq!(
        first_policy(&loaded),
        [
            "Tony: messenger 6542087712345678 600 read, sms 447700900001 600 read",
            "Michael: viber_service 447700900002 600 read, whatsapp 447700900002 600 read, sms 447700900002 600 read",
        ]
    );
    let config = loaded.config;
    assert_eq!(config.vonage.backend, Backend::Dispatch);
    assert_eq!(&*config.vonage.application_id, "3f0c9d52-6b1e-4c7a-9d84-2b7e51a0c6f3");
    assert_eq!(config.vonage.base_url.as_str(), "https://api.nexmo.com/");
    assert_eq!(config.vonage.max_per_second, MAX_PER_SECOND_DEFAULT);
    assert_eq!(config.vonage.senders.of(Channel::Messenger), Some("108450971234567"));
    assert_eq!(config.vonage.senders.of(Channel::ViberService), Some("15263"));
    assert_eq!(config.vonage.senders.of(Channel::Whatsapp), Some("447700900100"));
    assert_eq!(config.vonage.senders.of(Channel::Sms), Some("447700900101"));
    assert_eq!(config.vonage.senders.of(Channel::Rcs), None);
    assert_eq!(config.server.listen, LISTEN_DEFAULT);
    assert!(matches!(&config.store, StoreChoice::Sqlite(path) if path == Path::new("etc/callout.db")));
    assert_eq!(config.policies.iter().count(), 1);
    assert!(config.policies.get("default").is_some());
    assert_eq!(config.policies.first().plan.repeat(), 0);
}

#[test]
fn the_tutorials_times_and_conditions_may_be_texts_or_numbers() {
    assert_eq!(
        first_policy(&Story::of(TUTORIAL_WITH_TIMES).loaded()),
        [
            "Tony: messenger 6542087712345678 300 read, sms 447700900001 600 read",
            "Michael: viber_service 447700900002 120 delivered, whatsapp 447700900002 200 read, sms 447700900002 300 read",
        ]
    );
}

#[test]
fn the_tutorials_file_is_read_however_it_is_laid_out() {
    let wanted = first_policy(&Story::of(TUTORIAL).loaded());
    let minified: String = TUTORIAL.lines().map(str::trim).collect();
    let with_tabs = TUTORIAL.replace("    ", "\t");
    let with_byte_order_mark = format!("\u{feff}{TUTORIAL}");
    let with_windows_line_ends = TUTORIAL.replace('\n', "\r\n");
    let with_schema = TUTORIAL.replacen('{', "{ \"$schema\": \"https://example.org/schema.json\",", 1);
    for text in [minified, with_tabs, with_byte_order_mark, with_windows_line_ends, with_schema] {
        assert_eq!(first_policy(&Story::of(&text).loaded()), wanted, "{text}");
    }
}

#[test]
fn the_tutorials_form_runs_on_messages_when_told_so() {
    let loaded = Story::of(TUTORIAL).with("CALLOUT_BACKEND", "messages").loaded();
    assert_eq!(loaded.config.vonage.backend, Backend::Messages);
    assert_eq!(loaded.config.policies.first().plan.steps().len(), 5);
}

#[test]
fn names_in_any_script_are_kept_however_they_are_escaped() {
    let text = TUTORIAL.replace("Tony", r"\u5c71\u7530 \ud83d\ude00").replace("Michael", "محمد");
    let loaded = Story::of(&text).loaded();
    let users: Vec<String> = first_policy(&loaded);
    assert!(users[0].starts_with("山田 😀: "), "{users:?}");
    assert!(users[1].starts_with("محمد: "), "{users:?}");
}

#[test]
fn the_example_shows_every_option_and_is_read() {
    let loaded = Story::of(EXAMPLE).loaded();
    let config = &loaded.config;
    assert_eq!(config.server.public_url.as_deref(), Some("https://callout.example.org"));
    assert_eq!(config.vonage.senders.of(Channel::Rcs), Some("CalloutOps"));
    assert_eq!(config.vonage.senders.of(Channel::Mms), Some("447700900101"));
    assert_eq!(config.policies.iter().map(|policy| &*policy.name).collect::<Vec<_>>(), ["default", "night"]);
    assert_eq!(config.policies.first().plan.repeat(), 1);
    assert_eq!(
        first_policy(&loaded)[3],
        "Michael: whatsapp 447700900002 600 read",
        "each channel is a step on the messages backend"
    );
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "only the secret is left out: {warnings:?}");
}

#[test]
fn the_options_that_the_example_comments_out_are_read_too() {
    let text = EXAMPLE
        .replace("# api_key:", "api_key:")
        .replace("# signature_secret:", "signature_secret:")
        .replace("# signature_age_max:", "signature_age_max:");
    let loaded = Story::of(&text)
        .with("MY_API_KEY", "a-key-for-this-test")
        .with("VONAGE_SIGNATURE_SECRET", "an-invented-secret-of-more-than-32-characters")
        .loaded();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = loaded.config;
    assert_eq!(config.server.api_key.as_ref().map(Secret::reveal), Some("a-key-for-this-test"));
    assert_eq!(config.vonage.signature_secrets.len(), 1);
    assert_eq!(config.vonage.signature_age_max, Some(Duration::from_hours(25)));
}

#[test]
fn the_native_form_may_be_json() {
    let text = r#"{
        "vonage": {
            "application_id": "3f0c9d52-6b1e-4c7a-9d84-2b7e51a0c6f3", "private_key": "private.key",
            "from": { "sms": "447700900101" }
        },
        "users": [ { "name": "Tony", "channels": [ { "type": "sms", "id_num": 447700900001, "expiry_time": 60 } ] } ]
    }"#;
    let loaded = Story::of(text).loaded();
    assert_eq!(first_policy(&loaded), ["Tony: sms 447700900001 60 read"]);
    assert_eq!(loaded.config.vonage.backend, Backend::Messages);
}

#[test]
fn messages_are_worded_by_policy_and_channel() {
    let config = Story::of(EXAMPLE).loaded().config;
    let value_of = |word: Word| format!("<{}>", word.name()).into();
    let plan = |policy| &config.policies.get(policy).unwrap().plan;
    let said = |policy, channel| plan(policy).wording().text(channel).render(value_of);
    assert_eq!(said("default", Channel::Sms), "[<user>]: <message>");
    assert_eq!(said("night", Channel::Sms), "<message>");
    assert_eq!(said("night", Channel::Whatsapp), "[<user>] <severity>: <message> <link>");

    let template = plan("default").wording().whatsapp_template.as_ref().unwrap();
    assert_eq!(&*template.name, "9b6b4fcb_da19_4a26_8fe8_78074a91b584:oncall_alert");
    assert_eq!(&*template.locale, "en_GB");
    assert_eq!(template.parameters.len(), 2);
    assert_eq!(template.buttons, [Button::Acknowledge, Button::Next]);
    let night = plan("night").wording().whatsapp_template.as_ref().unwrap();
    assert_eq!(&*night.name, "9b6b4fcb_da19_4a26_8fe8_78074a91b584:oncall_night");
}

#[test]
fn people_are_told_who_has_it_where_the_policy_or_the_file_says_so() {
    let told = |text: &str| Story::of(text).loaded().config.policies.first().plan.confirm();
    assert_eq!(told(SOUND), Confirm::Nobody);
    assert_eq!(told(&sound_but("repeat: 1", "repeat: 1, confirm: true")), Confirm::Everybody);
    let file = sound_but("store:", "confirm: true\nstore:");
    assert_eq!(told(&file), Confirm::Everybody);
    assert_eq!(told(&file.replace("repeat: 1", "confirm: false")), Confirm::Nobody);
}

#[test]
fn an_alert_with_its_own_users_is_worded_as_the_file_says() {
    let text = sound_but("store:", "text: \"{{ message }}!\"\nconfirm: true\nstore:");
    let policies = Story::of(&text).loaded().config.policies;
    let own = Plan::from_steps(Backend::Messages, policies.first().plan.steps().to_vec(), 0).unwrap();
    let plan = policies.ad_hoc(own);
    assert_eq!(plan.wording().text(Channel::Sms).to_string(), "{{message}}!");
    assert_eq!(plan.confirm(), Confirm::Everybody);
}

#[test]
fn rcs_messages_are_revoked_where_the_agent_is_at_home() {
    let rcs_url = |story: Story<'_>| story.loaded().config.vonage.rcs_url.to_string();
    assert_eq!(rcs_url(Story::of(SOUND)), "https://api.nexmo.com/");
    let text = sound_but("users:", "  url: https://vonage.example\n  rcs_url: https://api-eu.nexmo.com\nusers:");
    assert_eq!(rcs_url(Story::of(&text)), "https://api-eu.nexmo.com/");
    let elsewhere = Story::of(&text).with("CALLOUT_VONAGE_URL", "http://127.0.0.1:9001");
    assert_eq!(rcs_url(elsewhere), "http://127.0.0.1:9001/", "a stand-in stands in for all of Vonage");
}

#[test]
fn what_is_filled_into_a_template_is_never_a_template() {
    let config = Story::of(SOUND).loaded().config;
    let value_of = |word: Word| match word {
        Word::Message => "{{ user }}".into(),
        Word::User => "Tony".into(),
        Word::Severity | Word::Policy | Word::Source | Word::Link | Word::Code | Word::AcknowledgeLink => "".into(),
    };
    let wording = config.policies.first().plan.wording();
    assert_eq!(wording.text(Channel::Sms).render(value_of), "[Tony]: {{ user }}");
}

#[test]
fn a_file_without_policies_has_one_of_all_users() {
    let text = sound_but("policies:\n  - { name: default, users: [Tony], repeat: 1 }", "policies:");
    let config = Story::of(&text).loaded().config;
    assert_eq!(&*config.policies.first().name, "default");
    assert_eq!(config.policies.first().plan.repeat(), 0);
    assert_eq!(config.policies.first().plan.steps().len(), 2);
}

#[test]
fn somebody_may_stand_twice_in_a_policy() {
    let config = Story::of(&sound_but("users: [Tony]", "users: [Tony, Tony]")).loaded().config;
    let places: Vec<u16> = config.policies.first().plan.steps().iter().map(|step| step.place).collect();
    assert_eq!(places, [0, 0, 1, 1]);
}

#[test]
fn numbers_without_quotes_stay_the_texts_they_are() {
    let text = sound_but(r#"id_num: "447700900001""#, "id_num: 00447700900001").replace("Tony", "no");
    let loaded = Story::of(&text).loaded();
    assert_eq!(first_policy(&loaded), ["no: messenger 6542087712345678 300 read", "no: sms 447700900001 600 read"]);
}

#[test]
fn an_anchor_can_be_repeated() {
    let text = format!(
        "{}\n",
        SOUND.replace("  - name: Tony\n    channels:", "  - name: Tony\n    channels: &usual").replace(
            "policies:",
            "  - name: Bo\n    channels: *usual\npolicies:\n  - { name: both, users: [Tony, Bo] }"
        )
    );
    let config = Story::of(&text).loaded().config;
    assert_eq!(config.policies.get("both").unwrap().plan.steps().len(), 4);
}

#[test]
fn senders_are_brought_into_the_form_that_vonage_takes() {
    for (written, meant) in [("+44 7700 900101", "447700900101"), ("72404", "72404"), ("Callout", "Callout")] {
        let text = sound_but(r#"sms: "447700900101""#, &format!("sms: \"{written}\""));
        let config = Story::of(&text).loaded().config;
        assert_eq!(config.vonage.senders.of(Channel::Sms), Some(meant));
        assert_eq!(config.vonage.senders.of(Channel::Mms), Some(meant));
    }
}

#[test]
fn every_kind_of_store_is_understood() {
    let store = |text: &str| {
        let text = sound_but(r#"store: "memory:""#, &format!("store: \"{text}\""));
        Story::of(&text).loaded().config.store
    };
    let sqlite = |text: &str| match store(text) {
        StoreChoice::Sqlite(path) => path,
        StoreChoice::Memory | StoreChoice::Postgres(_) => PathBuf::new(),
    };
    assert!(matches!(store("memory:"), StoreChoice::Memory));
    assert!(matches!(store("memory"), StoreChoice::Memory));
    assert_eq!(sqlite("sqlite:callout.db"), Path::new("etc/callout.db"), "beside the file");
    assert_eq!(sqlite("sqlite:/var/lib/callout.db"), Path::new("/var/lib/callout.db"));
    assert_eq!(sqlite("sqlite:///var/lib/callout.db"), Path::new("/var/lib/callout.db"));
    let StoreChoice::Postgres(address) = store("postgres://callout:hush@db/callout") else {
        panic!("a Postgres store")
    };
    assert_eq!(address.reveal(), "postgres://callout:hush@db/callout");
    let either = "postgres://callout:hush@one:6543,two:6544/callout?sslmode=require";
    let StoreChoice::Postgres(address) = store(either) else { panic!("several hosts are an address, too") };
    assert_eq!(address.reveal(), either);
    assert_eq!(format!("{address:?}"), "[secret]");
}

#[test]
fn the_store_in_memory_needs_no_quotes_though_yaml_asks_for_them() {
    for line in ["store: memory:", "store:  memory:  # until tomorrow"] {
        let text = sound_but(r#"store: "memory:""#, line);
        assert!(matches!(Story::of(&text).loaded().config.store, StoreChoice::Memory), "{line}");
    }
}

#[test]
fn localhost_and_both_kinds_of_address_can_be_listened_on() {
    for (written, meant) in
        [("localhost:9000", "127.0.0.1:9000"), ("0.0.0.0:80", "0.0.0.0:80"), ("[::1]:9000", "[::1]:9000")]
    {
        let text = sound_but("127.0.0.1:9000", written);
        assert_eq!(Story::of(&text).loaded().config.server.listen.to_string(), meant);
    }
}

#[test]
fn addresses_of_services_lose_the_slash_that_nobody_needs() {
    let text = sound_but("https://callout.example.org", "https://example.org/callout/");
    let text = text.replace("backend: messages", "backend: messages\n  url: http://127.0.0.1:9001/mock");
    let config = Story::of(&text).loaded().config;
    assert_eq!(config.server.public_url.as_deref(), Some("https://example.org/callout"));
    let joined = config.vonage.base_url.join("v1/messages").unwrap();
    assert_eq!(joined.as_str(), "http://127.0.0.1:9001/mock/v1/messages");
}

#[test]
fn a_signature_secret_can_be_replaced_without_a_gap() {
    let text = sound_but(
        "signature_secret: an-invented-secret-of-more-than-32-characters",
        "signature_secret: [the-old-secret-of-at-least-32-characters, the-new-secret-of-at-least-32-characters]",
    );
    let config = Story::of(&text).loaded().config;
    let secrets: Vec<&str> = config.vonage.signature_secrets.iter().map(Secret::reveal).collect();
    assert_eq!(secrets, ["the-old-secret-of-at-least-32-characters", "the-new-secret-of-at-least-32-characters"]);
}

#[test]
fn nothing_private_is_in_the_debug_form() {
    let text = sound_but("store: \"memory:\"", "store: postgres://callout:hush@db/callout");
    let loaded = Story::of(&text).with("CALLOUT_API_KEY", "a-key-for-this-test").loaded();
    let shown = format!("{loaded:?}");
    for private in ["hush", "a-key-for-this-test", "BEGIN", "an-invented", "447700900001", "447700900101", "65420877"] {
        assert!(!shown.contains(private), "{private} is shown in {shown}");
    }
    assert_eq!(loaded.config.vonage.private_key.reveal(), TEST_ONLY_PRIVATE_KEY.trim());
}
