//! Whole files with much wrong in them, bounds, and warnings.

use callout::config::channel::{CHANNELS_PER_USER_MAX, NAME_CHARS_MAX, USERS_PER_POLICY_MAX};
use callout::config::{DEPTH_MAX, FILE_BYTES_MAX, KEY_BYTES_MAX, POLICIES_MAX, USERS_MAX, VALUES_MAX};

use super::{SOUND, Story, TEST_ONLY_PRIVATE_KEY, sound_but};

const TUTORIAL: &str = include_str!("../../../config/sample.json");

/// The tutorial's file as Vonage published it, before anybody filled anything in.
fn unfilled_tutorial() -> String {
    TUTORIAL
        .replace("3f0c9d52-6b1e-4c7a-9d84-2b7e51a0c6f3", "abcd1234-8238-42d0-a03a-abcd1234...")
        .replace("108450971234567", "COMPANY MESSENGER ID")
        .replace("15263", "COMPANY VIBER ID")
        .replace("447700900100", "COMPANY WHATSAPP NUMBER")
        .replace("447700900101", "COMPANY SMS NAME/NUMBER")
        .replace("6542087712345678", "USER MESSENGER ID")
        .replace("447700900001", "USER PHONE NUMBER")
        .replace("447700900002", "USER PHONE NUMBER")
}

#[test]
fn the_unfilled_tutorial_is_told_what_is_left_to_fill_in() {
    assert_eq!(
        Story::of(&unfilled_tutorial()).problems(),
        "\
FILE:3:19: the application id still holds the tutorial's placeholder (the id of your Vonage application, for example 11111111-2222-4333-8444-555555555555)
FILE:7:22: `FROM.MESSENGER` still holds the tutorial's placeholder (the id of your Facebook Page, for example 108450971234567)
FILE:8:18: `FROM.VIBER` still holds the tutorial's placeholder (the id of your Viber service, for example 15263)
FILE:9:21: `FROM.WHATSAPP` still holds the tutorial's placeholder (your WhatsApp business number with country code, for example 447700900100)
FILE:10:16: `FROM.SMS` still holds the tutorial's placeholder (your virtual number, for example 447700900101, or a name such as CALLOUT)
FILE:18:31: `id_num` still holds the tutorial's placeholder (the id that the Page sees this user under, for example 6542087712345678)
FILE:22:31: `id_num` still holds the tutorial's placeholder (a phone number with country code, for example 447700900001)
FILE:31:31: `id_num` still holds the tutorial's placeholder (a phone number with country code, for example 447700900001)
FILE:35:31: `id_num` still holds the tutorial's placeholder (a phone number with country code, for example 447700900001)
FILE:39:31: `id_num` still holds the tutorial's placeholder (a phone number with country code, for example 447700900001)"
    );
}

#[test]
fn a_file_full_of_slips_is_told_all_of_them_at_once() {
    let text = r#"
server:
  lisen: 127.0.0.1:9000
  public_url: callout.example.org
store: "sqlite:"
vonage:
  backend: message
  application_id: 1234
  private_key: nowhere.key
  from: { messenger: "108450971234567", whatsap: "447700900100" }
  max_per_second: -1
users:
  - name: Tony
    channels:
      - { type: watsapp, id_num: "447700900001" }
      - { type: sms, id_num: "447700900001", expiry_time: soon, condition_status: seen }
      - { type: messenger, idnum: "6542087712345678", expiry_time: 0 }
  - name: Tony
    channels: []
  - chanels: []
policies:
  - { name: default, users: [Tonny], repeat: 101 }
  - { name: default, users: [] }
polices: []
"#;
    assert_eq!(
        Story::of(text).problems(),
        "\
FILE:3:3: `lisen` is not a key of `server` (did you mean `listen`?)
FILE:4:15: the public URL must begin with https:// or http:// (for example https://callout.example.org)
FILE:5:8: the store names no file (`sqlite:callout.db`, or `memory:` to keep nothing)
FILE:7:12: `message` is not a backend (did you mean `messages`?)
FILE:8:19: the application id `1234` is not a UUID (the id of your Vonage application, for example 11111111-2222-4333-8444-555555555555)
FILE:9:16: the private key `etc/nowhere.key`: there is no such file (the path is relative to the configuration; CALLOUT_PRIVATE_KEY can hold the key instead)
FILE:10:41: `whatsap` is not a key of `from` (did you mean `whatsapp`?)
FILE:11:19: the rate must be a whole number from 0 to 10000, not `-1` (messages per second; 0 for no limit)
FILE:15:17: `watsapp` is not a channel (did you mean `whatsapp`?)
FILE:16:17: no sender is configured for sms (add `vonage.from.sms` to the configuration)
FILE:16:59: `expiry_time` must be a whole number of seconds, not `soon` (for example 600)
FILE:16:83: `seen` is not a condition (the conditions are read and delivered)
FILE:17:28: `idnum` is not a key of a channel (did you mean `id_num`?)
FILE:17:68: `expiry_time` must be from 1 to 86400 seconds (60 to 600 is advised)
FILE:18:11: there are two users called `Tony` (a policy could not tell them apart)
FILE:19:15: `Tony` has no channels (add one)
FILE:20:5: `chanels` is not a key of a user (did you mean `channels`?)
FILE:20:5: `name` is missing
FILE:22:30: there is no user called `Tonny` (did you mean `Tony`?)
FILE:22:46: `repeat` must be from 0 to 100, not `101` (how many rounds follow the first)
FILE:23:13: there are two policies called `default`
FILE:23:29: the policy has no users
FILE:24:1: `polices` is not a key of the file (did you mean `policies`?)"
    );
}

#[test]
fn the_tutorials_rules_hold_on_both_backends() {
    let text = TUTORIAL.replace("viber_service_msg", "rcs").replacen(
        ",\n                {\n                    \"type\": \"sms\",\n                    \"id_num\": \"447700900001\"\n                }",
        "",
        1,
    );
    assert_eq!(
        Story::of(&text).problems(),
        "\
FILE:14:21: `Tony` has one channel; each user needs two or more (add one to fail over to, for example sms)
FILE:26:29: rcs is not available on Dispatch (use the messages backend for it)"
    );
    assert_eq!(
        Story::of(&text).with("CALLOUT_BACKEND", "messages").problems(),
        "\
FILE:14:21: `Tony` has one channel; each user needs two or more (add one to fail over to, for example sms)
FILE:26:29: no sender is configured for rcs (the tutorial's form of the configuration has no place for it; use the native form)"
    );
}

#[test]
fn a_tutorial_file_without_its_parts_is_told_which() {
    assert_eq!(
        Story::of(r#"{ "USERS": [] }"#).problems(),
        "\
FILE:1:1: `APP` is missing (it holds APP_ID and PRIVATE_KEY)
FILE:1:1: `FROM` is missing (it holds MESSENGER, VIBER, WHATSAPP and SMS)
FILE:1:12: there are no users (an alert needs somebody to call)"
    );
}

#[test]
fn dispatch_has_bounds_of_its_own() {
    let text = sound_but("backend: messages", "backend: dispatch")
        .replace("expiry_time: 300", "expiry_time: 14")
        .replace("type: sms", "type: rcs")
        .replace("policies:", "  - { name: Bo, channels: [{ type: sms, id_num: \"447700900002\" }] }\npolicies:");
    assert_eq!(
        Story::of(&text).problems(),
        "\
FILE:13:69: `expiry_time` must be from 15 to 86400 seconds on Dispatch (60 to 600 is advised)
FILE:14:17: rcs is not available on Dispatch (use the messages backend for it)
FILE:15:13: `Bo` has one channel; Dispatch needs two or more for each user (add one, or use the messages backend)"
    );
    let text = sound_but("backend: messages", "backend: dispatch").replace("expiry_time: 300", "expiry_time: 15");
    assert!(Story::of(&text).read().is_ok());
}

#[test]
fn an_expiry_may_be_a_second_or_a_day() {
    for seconds in ["1", "86400"] {
        let text = sound_but("expiry_time: 300", &format!("expiry_time: {seconds}"));
        assert!(Story::of(&text).read().is_ok(), "{seconds}");
    }
}

#[test]
fn a_key_that_cannot_sign_is_found_before_it_is_needed() {
    let begun = |kind: &str| format!("-----BEGIN {kind}-----\nMIIB\n-----END {kind}-----\n");
    let told = |key: &str| Story::of(SOUND).with_key(key).problems();
    let not_a_key = "FILE:7:16: the private key is not an RSA private key in PEM form";
    for (kind, hint) in [
        (
            "PUBLIC KEY",
            "this is the public key; the private one is needed, which Vonage gave when the application was made",
        ),
        ("CERTIFICATE", "this is a certificate; the private key of the Vonage application is needed"),
        ("ENCRYPTED PRIVATE KEY", "this key has a passphrase; a key without one is needed"),
        ("OPENSSH PRIVATE KEY", "this is an SSH key; the private key of the Vonage application is needed"),
        ("PRIVATE KEY", "it begins with -----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----"),
    ] {
        assert_eq!(told(&begun(kind)), format!("{not_a_key} ({hint})"));
    }
    let cut = TEST_ONLY_PRIVATE_KEY.replacen('A', "B", 1);
    assert!(told(&cut).starts_with(not_a_key), "one letter is changed");
    let large = format!("{TEST_ONLY_PRIVATE_KEY}{}", "\n".repeat(KEY_BYTES_MAX));
    assert_eq!(told(&large), "FILE:7:16: the private key `etc/private.key` is larger than 64 KiB");
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let text = SOUND
        .replace(", public_url: \"https://callout.example.org\"", "")
        .replace("an-invented-secret-of-more-than-32-characters", "short")
        .replace("sms: \"447700900101\"", "sms: CALLOUT, whatsapp: \"447700900100\"")
        .replace("expiry_time: 300", "expiry_time: 59")
        .replace(
            "policies:",
            "  - { name: Bo, channels: [{ type: sms, id_num: \"447700900002\", expiry_time: 601 }] }\npolicies:",
        )
        .replace("type: sms, id_num: \"447700900001\"", "type: whatsapp, id_num: \"447700900001\"");
    assert_eq!(
        Story::of(&text).with("CALLOUT_API_KEY", "letmein").warnings(),
        "\
CALLOUT_API_KEY: warning: the API key has 7 characters (16 or more keep others from guessing it)
FILE:8:21: warning: the signature secret has 5 characters (32 or more keep others from guessing it)
FILE:9:22: warning: Messenger refuses messages to people who have not written to the Page within 24 hours (set `vonage.messenger` to a tag that Facebook granted the Page, or let people write to it first)
FILE:9:62: warning: nobody can reply to the SMS sender `CALLOUT` (use a number if people should be able to answer)
FILE:9:81: warning: WhatsApp refuses free text to people who have not written within 24 hours (give an approved `whatsapp_template`; the next channel is tried meanwhile)
FILE:13:69: warning: an `expiry_time` of 59 seconds is unusual (60 to 600 is advised)
FILE:15:13: warning: `Bo` has one channel only (add one to fail over to, for example sms)
FILE:15:13: warning: `Bo` is in no policy (nobody will call this user; add it to the `users` of a policy)
FILE:15:13: warning: nobody can ever report that `Bo` read a message (SMS, MMS and e-mail have no read reports; set a public URL for the link, or rely on replies)
FILE:15:78: warning: an `expiry_time` of 601 seconds is unusual (60 to 600 is advised)"
    );
}

#[test]
fn the_sound_file_gives_no_warning() {
    let text = sound_but("users:", "  messenger: { category: message_tag, tag: HUMAN_AGENT }\nusers:");
    assert_eq!(Story::of(&text).warnings(), "");
}

#[test]
fn messenger_outside_its_window_is_a_warning_unless_a_tag_was_granted() {
    const WINDOW: &str = "FILE:9:22: warning: Messenger refuses messages to people who have not written to the Page within 24 hours (set `vonage.messenger` to a tag that Facebook granted the Page, or let people write to it first)";
    assert_eq!(Story::of(SOUND).warnings(), WINDOW);
    for category in ["response", "update"] {
        let text = sound_but("users:", &format!("  messenger: {{ category: {category} }}\nusers:"));
        assert_eq!(Story::of(&text).warnings(), WINDOW, "{category}");
    }
    let nobody_uses_it = sound_but("type: messenger, id_num: \"6542087712345678\"", "type: rcs, id_num: 447700900001");
    assert_eq!(Story::of(&nobody_uses_it).warnings(), "");
    let withdrawn = sound_but("users:", "  messenger: { category: message_tag, tag: ACCOUNT_UPDATE }\nusers:");
    assert_eq!(
        Story::of(&withdrawn).warnings(),
        "FILE:10:44: warning: Facebook has withdrawn the tag `ACCOUNT_UPDATE` (HUMAN_AGENT is left, for Pages that were granted it)"
    );
}

#[test]
fn a_whatsapp_template_that_says_too_little_is_a_warning() {
    let with = |template: &str| {
        let text = sound_but("repeat: 1", &format!("repeat: 1, whatsapp_template: {{ {template} }}"));
        let warnings = Story::of(&text).warnings();
        warnings.lines().filter(|line| !line.contains("Messenger")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        with("name: \"a:b\", locale: en_GB, parameters: [\"{{ user }}\"]"),
        "\
FILE:16:48: warning: `whatsapp_template` does not hold the alert's message (put `{{ message }}` into a parameter)
FILE:16:48: warning: `whatsapp_template` has neither the alert's code nor a button, so that a reply may be taken for a newer alert's (put `{{ code }}` into a parameter, or name its quick-reply `buttons`)"
    );
    assert_eq!(with("name: \"a:b\", locale: en_GB, parameters: [\"{{ message }}\", \"{{ code }}\"]"), "");
    assert_eq!(with("name: \"a:b\", locale: en_GB, parameters: [\"{{ message }}\"], buttons: [acknowledge]"), "");
}

#[test]
fn in_the_tutorials_form_an_unused_placeholder_and_a_namesake_are_warnings() {
    let text = TUTORIAL
        .replace("15263", "COMPANY VIBER ID")
        .replace("viber_service_msg", "sms")
        .replace("Michael", "Tony")
        .replace("whatsapp\"", "sms\"");
    assert_eq!(
        Story::of(&text).warnings(),
        "\
FILE:2:5: warning: `APP` has no signature secret, so that anybody can report a message as read (give Vonage's signature secret, for example in CALLOUT_SIGNATURE_SECRET)
FILE:7:22: warning: Messenger refuses messages to people who have not written to the Page within 24 hours (let people write to the Page at the start of their shift)
FILE:8:18: warning: `FROM.VIBER` still holds the tutorial's placeholder, and no user needs it (remove it, or fill it in)
FILE:27:21: warning: there are two users called `Tony` (both are called, each in its turn)
FILE:27:21: warning: nobody can ever report that `Tony` read a message (SMS, MMS and e-mail have no read reports; set a public URL for the link, or rely on replies)"
    );
}

#[test]
fn a_template_without_the_message_is_a_warning() {
    let text = sound_but("repeat: 1", "repeat: 1, text: { sms: \"call the office\" }");
    assert_eq!(
        Story::of(&text).warnings(),
        "\
FILE:9:22: warning: Messenger refuses messages to people who have not written to the Page within 24 hours (set `vonage.messenger` to a tag that Facebook granted the Page, or let people write to it first)
FILE:16:61: warning: `sms` does not hold the alert's message (put `{{ message }}` into it)"
    );
}

/// The sound file with other users and policies.
fn with_users_and_policies(users: &str, policies: &str) -> String {
    let head = SOUND.split("users:\n").next().unwrap_or_default();
    format!("{head}users: [{users}]\npolicies: [{policies}]\n")
}

fn repeated(count: usize, make: impl Fn(usize) -> String) -> String {
    (0..count).map(make).collect::<Vec<_>>().join(", ")
}

fn user(number: usize) -> String {
    format!("{{ name: u{number}, channels: [{{ type: sms, id_num: \"447700900001\" }}] }}")
}

#[test]
fn every_list_has_a_bound() {
    let sound = |text: &str| {
        let problems = Story::of(text).read().err();
        assert!(problems.is_none(), "{problems:?}");
    };
    let all = |n_users| repeated(n_users, |number| format!("u{number}"));
    let policy = |users: &str| format!("{{ name: p, users: [{users}] }}");

    sound(&with_users_and_policies(&repeated(USERS_MAX, user), &policy("u0")));
    let text = with_users_and_policies(&repeated(USERS_MAX + 1, user), &policy("u0"));
    assert_eq!(Story::of(&text).problems(), "FILE:10:8: there are 501 users; 500 is the most");

    sound(&with_users_and_policies(&repeated(101, user), &policy(&all(USERS_PER_POLICY_MAX))));
    let text = with_users_and_policies(&repeated(101, user), &policy(&all(USERS_PER_POLICY_MAX + 1)));
    assert_eq!(Story::of(&text).problems(), "FILE:11:30: the policy has 101 users; 100 is the most");

    let policies = |count| repeated(count, |number| format!("{{ name: p{number}, users: [u0] }}"));
    sound(&with_users_and_policies(&user(0), &policies(POLICIES_MAX)));
    let text = with_users_and_policies(&user(0), &policies(POLICIES_MAX + 1));
    assert_eq!(Story::of(&text).problems(), "FILE:11:11: there are 501 policies; 500 is the most");

    let channels = |count| {
        let channels = repeated(count, |_number| "{ type: sms, id_num: \"447700900001\" }".to_owned());
        format!("{{ name: Tony, channels: [{channels}] }}")
    };
    sound(&with_users_and_policies(&channels(CHANNELS_PER_USER_MAX), &policy("Tony")));
    let text = with_users_and_policies(&channels(CHANNELS_PER_USER_MAX + 1), &policy("Tony"));
    assert_eq!(Story::of(&text).problems(), "FILE:10:33: `Tony` has 21 channels; 20 is the most");

    let text =
        with_users_and_policies(&repeated(100, user), &format!("{{ name: p, users: [{}], repeat: 20 }}", all(100)));
    assert_eq!(
        Story::of(&text).problems(),
        "FILE:11:20: the policy `p` would make more than 2000 attempts in all its rounds (repeat it less often, or name fewer users)"
    );
}

#[test]
fn a_name_may_be_as_long_as_a_message_can_show() {
    let named = |n_chars| SOUND.replace("Tony", &"ü".repeat(n_chars));
    assert!(Story::of(&named(NAME_CHARS_MAX)).read().is_ok());
    let problems = Story::of(&named(NAME_CHARS_MAX + 1)).problems();
    assert!(problems.starts_with("FILE:11:11: `name` is longer than 100 characters"), "{problems}");
}

#[test]
fn a_file_may_be_large_but_not_endless() {
    let padded = |n_bytes: usize| format!("{SOUND}#{}", "x".repeat(n_bytes - SOUND.len() - 1));
    assert!(Story::of(&padded(FILE_BYTES_MAX)).read().is_ok());
    assert_eq!(Story::of(&padded(FILE_BYTES_MAX + 1)).problems(), "FILE: is larger than 1024 KiB");
}

#[test]
fn nothing_may_stand_too_deep() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let problems = Story::of(&nested(DEPTH_MAX)).problems();
    assert!(problems.starts_with("FILE:1:1: the file must be a mapping, not a list"), "{problems}");
    for depth in [DEPTH_MAX + 1, 100_000] {
        let problems = Story::of(&nested(depth)).problems();
        assert_eq!(problems, "FILE:1:33: lists and mappings stand more than 32 deep");
    }
}

#[test]
fn an_alias_bomb_goes_off_on_paper_only() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb = format!("{bomb}a{level}: &a{level} [{aliases}]\n");
    }
    let problems = Story::of(&bomb).problems();
    assert!(problems.ends_with(&format!("the file holds more than {VALUES_MAX} values")), "{problems}");

    let long = format!("[{}]", "x,".repeat(VALUES_MAX));
    let problems = Story::of(&long).problems();
    assert!(problems.ends_with(&format!("the file holds more than {VALUES_MAX} values")), "{problems}");
}

#[test]
fn what_is_not_utf8_is_found_where_it_begins() {
    let text = b"server:\n  # caf\xe9\n";
    assert_eq!(Story::of_bytes(text).problems(), "FILE:2:8: is not UTF-8 (save the file as UTF-8)");
}

#[test]
fn whatever_is_done_to_a_file_it_is_read_or_told_why() {
    let lines: Vec<&str> = SOUND.lines().collect();
    let mut mutilated = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let with = |replacement: &str| {
            let mut lines = lines.clone();
            lines[index] = replacement;
            lines.join("\n")
        };
        let key = line.split_inclusive(": ").next().unwrap_or_default();
        mutilated.extend([with(""), with(&format!("{line}\n{line}")), with(&format!(" {line}")), with(line.trim())]);
        mutilated.extend(["~", "[]", "{}", "[~]", "x"].map(|value| with(&format!("{key} {value}"))));
        mutilated.push(lines[..index].join("\n"));
    }
    for text in mutilated {
        if let Err(problems) = Story::of(&text).read() {
            assert!(problems.iter().count() > 0, "refused without a reason:\n{text}");
        }
    }
}
