//! Slips in a sound file, one at a time, and every word that is said about each.

use super::{Story, sound_but};

/// Each slip is what somebody replaced, by what, and the problems: line, column, message, hint.
type Slip = (&'static str, &'static str, &'static [&'static str]);

#[track_caller]
fn assert_told(slips: &[Slip]) {
    for (piece, replacement, told) in slips {
        let told: Vec<String> = told.iter().map(|line| format!("FILE:{line}")).collect();
        assert_eq!(
            Story::of(&sound_but(piece, replacement)).problems(),
            told.join("\n"),
            "{piece:?} replaced by {replacement:?}"
        );
    }
}

const SHAPES: &[Slip] = &[
    (
        "server: {",
        "server: [] #{",
        &["2:9: `server` must be a mapping, not a list (its keys are listen, public_url, api_key and api_keys)"],
    ),
    (r#"store: "memory:""#, "store: [memory]", &["3:8: `store` must be a text or number, not a list"]),
    ("users: [Tony]", "users: Tony", &["16:29: `users` must be a list, not a single value"]),
    ("repeat: 1", "repeat: [1]", &["16:45: `repeat` must be a text or number, not a list"]),
    ("name: Tony", "name: { first: Tony }", &["11:11: `name` must be a text or number, not a mapping"]),
    (
        r#"- { type: sms, id_num: "447700900001" }"#,
        "- sms",
        &[
            "14:9: a channel must be a mapping, not a single value (its keys are type, id_num, expiry_time and condition_status)",
        ],
    ),
    ("policies:\n  - {", "policies:\n    {", &["16:5: `policies` must be a list, not a mapping"]),
];

#[test]
fn a_value_of_the_wrong_shape_is_named_with_what_should_stand_there() {
    assert_told(SHAPES);
}

const KEYS: &[Slip] = &[
    (
        "store:",
        "$schema: https://example.org/callout.json\nstor:",
        &["4:1: `stor` is not a key of the file (did you mean `store`?)"],
    ),
    (
        "store:",
        "databaze: x\nstore:",
        &[
            "3:1: `databaze` is not a key of the file (its keys are server, store, retention, backup, heartbeat, vonage, users, policies, integrations, text, whatsapp_template, confirm, callbacks, smtp and alarms)",
        ],
    ),
    (
        "application_id",
        "aplication_id",
        &["6:3: `aplication_id` is not a key of `vonage` (did you mean `application_id`?)"],
    ),
    ("    channels:", "    chanels:", &["12:5: `chanels` is not a key of a user (did you mean `channels`?)"]),
    ("users: [Tony], repeat: 1", "repeat: 1", &["16:5: `users` is missing (the names of whom to call)"]),
    ("type: sms, ", "type: sms, <<: {}, ", &["14:22: merge keys are not read"]),
    (
        "type: sms, ",
        "",
        &["14:9: `type` is missing (the channels are messenger, viber_service, whatsapp, sms, rcs, mms and email)"],
    ),
    (r#", id_num: "447700900001""#, "", &["14:9: `id_num` is missing (the phone number or Messenger id of the user)"]),
    (
        r#", id_num: "447700900001""#,
        ", id_num: ~",
        &["14:9: `id_num` is missing (the phone number or Messenger id of the user)"],
    ),
    (
        "  private_key: private.key\n",
        "",
        &["4:1: `private_key` is missing (the path of the PEM file, or CALLOUT_PRIVATE_KEY with its text)"],
    ),
    (
        "name: Tony",
        "nick: Tony",
        &["11:5: `nick` is not a key of a user (its keys are name and channels)", "11:5: `name` is missing"],
    ),
];

#[test]
fn a_key_that_is_unknown_mistyped_or_missing_is_named() {
    assert_told(KEYS);
}

const VALUES: &[Slip] = &[
    (
        "127.0.0.1:9000",
        "callout.example.org:9000",
        &[
            "2:19: `callout.example.org:9000` is not an address to listen on (an IP address and a port, for example 127.0.0.1:9000)",
        ],
    ),
    (
        "https://callout.example.org",
        "callout.example.org",
        &["2:49: the public URL must begin with https:// or http:// (for example https://callout.example.org)"],
    ),
    (
        "https://callout.example.org",
        "https://callout.example.org?a=b",
        &["2:49: the public URL must end before any ? or # (for example https://callout.example.org)"],
    ),
    (
        "https://callout.example.org",
        "https://me:hush@callout.example.org",
        &["2:49: the public URL must not hold a user name or password (for example https://callout.example.org)"],
    ),
    ("memory:", "sqlite:", &["3:8: the store names no file (`sqlite:callout.db`, or `memory:` to keep nothing)"]),
    ("memory:", "sqlite:callout.db?mode=ro", &["3:8: the path of the store must not hold `?` (options are not read)"]),
    (
        "memory:",
        "postgres:///callout",
        &[
            "3:8: the address of the Postgres database names no host (`memory:`, `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`)",
        ],
    ),
    (
        "memory:",
        "redis://:hush@db",
        &["3:8: this is not a store (`memory:`, `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`)"],
    ),
    ("backend: messages", "backend: Dispatch", &["5:12: `Dispatch` is not a backend (did you mean `dispatch`?)"]),
    (
        "3f0c9d52-6b1e-4c7a-9d84-2b7e51a0c6f3",
        "3f0c9d52",
        &[
            "6:19: the application id `3f0c9d52` is not a UUID (the id of your Vonage application, for example 11111111-2222-4333-8444-555555555555)",
        ],
    ),
    (
        "3f0c9d52-6b1e-4c7a-9d84-2b7e51a0c6f3",
        "abcd1234-8238...",
        &[
            "6:19: the application id still holds the tutorial's placeholder (the id of your Vonage application, for example 11111111-2222-4333-8444-555555555555)",
        ],
    ),
    (
        "from: {",
        "max_per_second: 10001\n  signature_age_max: 0\n  url: api\n  from: {",
        &[
            "9:19: the rate must be a whole number from 0 to 10000, not `10001` (messages per second; 0 for no limit)",
            "10:22: `signature_age_max` must be a whole number from 1 to 2592000, not `0` (seconds; Vonage repeats a webhook for 24 hours, so less than 90000 may lose some)",
            "11:8: the URL of Vonage's API must begin with https:// or http:// (for example https://api.nexmo.com)",
        ],
    ),
    (
        r#"messenger: "108450971234567""#,
        r#"messenger: "10845 0971234567""#,
        &[
            "9:22: `vonage.from.messenger` must not hold spaces or control characters (the id of your Facebook Page, for example 108450971234567)",
        ],
    ),
    (
        r#"viber: "15263""#,
        r#"viber: """#,
        &["9:48: `vonage.from.viber` is empty (the id of your Viber service, for example 15263)"],
    ),
    (
        r#"sms: "447700900101""#,
        "sms: CalloutOnCall",
        &[
            "9:62: `vonage.from.sms` must be a number of at most 15 digits, or at most 11 letters and digits (your virtual number, for example 447700900101, or a name such as CALLOUT)",
        ],
    ),
    (
        r#"sms: "447700900101""#,
        "sms: Call-Out",
        &[
            "9:62: `vonage.from.sms` must be a number of at most 15 digits, or at most 11 letters and digits (your virtual number, for example 447700900101, or a name such as CALLOUT)",
        ],
    ),
    (
        r#"sms: "447700900101""#,
        r#"sms: "4477009001014477""#,
        &[
            "9:62: `vonage.from.sms` must be a number of at most 15 digits, or at most 11 letters and digits (your virtual number, for example 447700900101, or a name such as CALLOUT)",
        ],
    ),
    (
        "rcs: CalloutOps",
        "rcs: Callout Ops",
        &[
            "9:83: `vonage.from.rcs` must be 1 to 50 letters, digits, `-`, `_` or `&` (the id of your RCS agent, for example CalloutOps)",
        ],
    ),
    (
        "repeat: 1",
        "repeat: +1",
        &["16:45: `repeat` must be from 0 to 100, not `+1` (how many rounds follow the first)"],
    ),
    (
        "repeat: 1",
        "repeat: 101",
        &["16:45: `repeat` must be from 0 to 100, not `101` (how many rounds follow the first)"],
    ),
    ("name: Tony", "name: \"To\\nny\"", &["11:11: `name` must not hold line feeds or other control characters"]),
    ("name: Tony", "name: ' '", &["11:11: `name` is empty"]),
    (
        "type: sms",
        "type: pigeon",
        &[
            "14:17: `pigeon` is not a channel (the channels are messenger, viber_service, whatsapp, sms, rcs, mms and email)",
        ],
    ),
    (
        r#"id_num: "447700900001""#,
        r#"id_num: "12345""#,
        &[
            "14:30: `id_num` is not a phone number with country code: it must have 7 to 15 digits (for example 447700900001)",
        ],
    ),
    (
        r#"id_num: "447700900001""#,
        r#"id_num: "tony@example.org""#,
        &["14:30: `id_num` is not a phone number: only digits can stand here (for example 447700900001)"],
    ),
    (
        r#"id_num: "6542087712345678""#,
        r#"id_num: "65420877 12345678""#,
        &["13:36: `id_num` must not hold spaces or control characters (for example 6542087712345678)"],
    ),
    (
        r#"id_num: "447700900001""#,
        r#"id_num: "USER PHONE NUMBER""#,
        &[
            "14:30: `id_num` still holds the tutorial's placeholder (a phone number with country code, for example 447700900001)",
        ],
    ),
    (
        "expiry_time: 300",
        "expiry_time: 0",
        &["13:69: `expiry_time` must be from 1 to 86400 seconds (60 to 600 is advised)"],
    ),
    (
        "expiry_time: 300",
        "expiry_time: 86401",
        &["13:69: `expiry_time` must be from 1 to 86400 seconds (60 to 600 is advised)"],
    ),
    (
        "expiry_time: 300",
        "expiry_time: 5.5",
        &["13:69: `expiry_time` must be a whole number of seconds, not `5.5` (for example 600)"],
    ),
    (
        "expiry_time: 300",
        "expiry_time: 99999999999999999999",
        &["13:69: `expiry_time` must be from 1 to 86400 seconds (60 to 600 is advised)"],
    ),
    ("expiry_time: 300", "condition_status: READ", &["13:74: `READ` is not a condition (did you mean `read`?)"]),
];

#[test]
fn a_value_that_means_nothing_is_explained() {
    assert_told(VALUES);
}

const RELATIONS: &[Slip] = &[
    (
        "type: sms",
        "type: whatsapp",
        &["14:17: no sender is configured for whatsapp (add `vonage.from.whatsapp` to the configuration)"],
    ),
    (
        "users: [Tony]",
        "users: [Tony, Bo, Tonny]",
        &["16:36: there is no user called `Bo`", "16:40: there is no user called `Tonny` (did you mean `Tony`?)"],
    ),
    (
        "policies:",
        "  - { name: Tony, channels: [] }\npolicies:",
        &[
            "15:13: there are two users called `Tony` (a policy could not tell them apart)",
            "15:29: `Tony` has no channels (add one)",
        ],
    ),
    (
        "repeat: 1 }",
        "repeat: 1 }\n  - { name: default, users: [] }",
        &["17:13: there are two policies called `default`", "17:29: the policy has no users"],
    ),
    (
        "policies:\n  - { name: default, users: [Tony], repeat: 1 }",
        "policies: []",
        &["15:11: there are no policies (leave `policies` out for one policy of all users)"],
    ),
    (
        "users:\n",
        "people:\n",
        &[
            "2:1: `users` is missing (an alert needs somebody to call)",
            "10:1: `people` is not a key of the file (its keys are server, store, retention, backup, heartbeat, vonage, users, policies, integrations, text, whatsapp_template, confirm, callbacks, smtp and alarms)",
        ],
    ),
];

#[test]
fn what_does_not_fit_together_is_pointed_at() {
    assert_told(RELATIONS);
}

const WORDINGS: &[Slip] = &[
    (
        "store:",
        "text: \"{{ mesage }}\"\nstore:",
        &["3:7: `text` has the unknown word `mesage` (did you mean `message`?)"],
    ),
    ("store:", "text: \"{{ message\"\nstore:", &["3:7: `text` has a `{{` that no `}}` closes"]),
    ("store:", "text: \" \"\nstore:", &["3:7: `text` is empty"]),
    (
        "store:",
        "text: { default: \"{{ host }}\", smss: \"x\" }\nstore:",
        &[
            "3:18: `default` has the unknown word `host` (the words are user, message, severity, policy, source, link, code and acknowledge_link)",
            "3:32: `smss` is not a key of `text` (did you mean `sms`?)",
        ],
    ),
    (
        "store:",
        "whatsapp_template: { name: \"two words\", parameters: [\"{{ }}\"], buttons: [ack, shout] }\nstore:",
        &[
            "3:1: `locale` is missing (for example en_GB)",
            "3:28: `name` must be one word",
            "3:54: a parameter has the unknown word `` (the words are user, message, severity, policy, source, link, code and acknowledge_link)",
            "3:74: `ack` is not a button (the buttons are acknowledge, next and resolve)",
            "3:79: `shout` is not a button (the buttons are acknowledge, next and resolve)",
        ],
    ),
    ("repeat: 1", r#"repeat: 1, text: { sms: "" }"#, &["16:61: `sms` is empty"]),
    ("repeat: 1", "repeat: 1, confirm: yes", &["16:57: `confirm` must be true or false, not `yes`"]),
    ("store:", "confirm: [true]\nstore:", &["3:10: `confirm` must be a text or number, not a list"]),
];

const MESSENGER: &[Slip] = &[
    (
        "users:",
        "  messenger: { tag: HUMAN_AGENT }\nusers:",
        &["10:3: `category` is missing (one of response, update and message_tag)"],
    ),
    (
        "users:",
        "  messenger: { category: message-tag, tag: HUMAN_AGENT }\nusers:",
        &["10:26: `message-tag` is not a category (did you mean `message_tag`?)"],
    ),
    (
        "users:",
        "  messenger: { category: message_tag }\nusers:",
        &["10:26: `tag` is missing (a tag that Facebook has granted your Page, for example HUMAN_AGENT)"],
    ),
    (
        "users:",
        "  messenger: { category: message_tag, tag: \"human agent\" }\nusers:",
        &["10:44: `human agent` is not a tag (a tag that Facebook has granted your Page, for example HUMAN_AGENT)"],
    ),
    (
        "users:",
        "  messenger: { category: update, tag: HUMAN_AGENT }\nusers:",
        &["10:39: `tag` goes with the category message_tag only (remove it)"],
    ),
    (
        "users:",
        "  rcs_url: api-eu.nexmo.com\nusers:",
        &[
            "10:12: the URL of Vonage's RCS API must begin with https:// or http:// (https://api-eu.nexmo.com, https://api-us.nexmo.com or https://api-ap.nexmo.com)",
        ],
    ),
];

#[test]
fn what_messenger_and_rcs_cannot_take_is_pointed_at() {
    assert_told(MESSENGER);
}

#[test]
fn a_wording_that_cannot_be_rendered_is_refused() {
    assert_told(WORDINGS);
}

const VARIABLES: &[Slip] = &[
    (
        r#"sms: "447700900101""#,
        r#"sms: "${NOT_SET}""#,
        &[
            "9:62: `${NOT_SET}` is not set in the environment (set it, or write `$${` for the two characters themselves)",
        ],
    ),
    (
        "private.key",
        "${NOT_SET}",
        &[
            "7:16: `${NOT_SET}` is not set in the environment (set it, or write `$${` for the two characters themselves)",
        ],
    ),
    (
        r#"sms: "447700900101""#,
        r#"sms: "${NOT SET}""#,
        &[
            "9:62: `${…}` must hold the name of an environment variable (set it, or write `$${` for the two characters themselves)",
        ],
    ),
    (
        r#"sms: "447700900101""#,
        r#"sms: "${NOT_SET""#,
        &["9:62: `${` is never closed by `}` (set it, or write `$${` for the two characters themselves)"],
    ),
    (
        r#"sms: "447700900101""#,
        "sms: ${NOT_SET}",
        &[
            "9:63: cannot be read as YAML or JSON: while parsing a flow mapping, did not find expected ',' or '}' (inside braces or brackets `${NAME}` must stand in quotes)",
        ],
    ),
];

#[test]
fn a_variable_of_the_environment_that_is_not_there_is_an_error_at_its_place() {
    assert_told(VARIABLES);
}

const OTHER_TEXTS: &[(&str, &[&str])] = &[
    ("", &["1:1: the file is empty"]),
    ("# nothing but a remark\n", &["1:1: the file is empty"]),
    (
        "- a\n- b\n",
        &[
            "1:1: the file must be a mapping, not a list (its keys are server, store, retention, backup, heartbeat, vonage, users, policies, integrations, text, whatsapp_template, confirm, callbacks, smtp and alarms)",
        ],
    ),
    (
        "hello\n",
        &[
            "1:1: the file must be a mapping, not a single value (its keys are server, store, retention, backup, heartbeat, vonage, users, policies, integrations, text, whatsapp_template, confirm, callbacks, smtp and alarms)",
        ],
    ),
    (
        "{ \"APP\": { \"APP_ID\": \"x\" \"PRIVATE_KEY\": \"y\" } }\n",
        &[
            "1:26: cannot be read as YAML or JSON: invalid trailing content after double-quoted scalar (is a comma, a quote or a bracket missing here or on the line before?)",
        ],
    ),
    (
        "{\n  \"APP\": {\n    // our application\n    \"APP_ID\": \"x\"\n  }\n}\n",
        &[
            "1:1: `FROM` is missing (it holds MESSENGER, VIBER, WHATSAPP and SMS)",
            "1:1: `USERS` is missing (an alert needs somebody to call)",
            "2:3: `APP_ID` is missing (the id of your Vonage application)",
            "2:3: `PRIVATE_KEY` is missing (the path of the PEM file, or CALLOUT_PRIVATE_KEY with its text)",
            r#"3:5: `// our application "APP_ID"` is not a key of `APP` (comments begin with `#`)"#,
        ],
    ),
    (
        "server:\n\tlisten: x\n",
        &[
            "2:2: cannot be read as YAML or JSON: tabs disallowed within this context (block indentation) (indent YAML with spaces, not with tabs)",
        ],
    ),
    (
        "server: { listen: 127.0.0.1:9000\n",
        &[
            "1:9: cannot be read as YAML or JSON: unclosed bracket '{' (is a comma, a quote or a bracket missing here or on the line before?)",
        ],
    ),
    ("a: 1\n---\nb: 2\n", &["2:1: a second document begins here; there must be one only"]),
    ("a: &a [*a]\n", &["1:8: this alias stands inside the value that it repeats"]),
    (
        "a: *nobody\n",
        &[
            "1:4: cannot be read as YAML or JSON: while parsing node, found unknown anchor (a value that begins with `*` must stand in quotes)",
        ],
    ),
    ("a: !secret password\n", &["1:12: the tag `!secret` means nothing here"]),
    ("? [a, b]\n: 1\n", &["1:3: a key must be a plain text"]),
    (
        "server: {}\nserver: {}\n",
        &[
            "1:1: `vonage` is missing (it holds the application id, the private key and the senders)",
            "1:1: `users` is missing (an alert needs somebody to call)",
            "2:1: `server` stands here for the second time (the first is on line 1; remove one of them)",
        ],
    ),
    (
        "app:\n  - \"\\ud83d\"\n",
        &[
            "2:5: cannot be read as YAML or JSON: while parsing a quoted scalar, found high surrogate without following low surrogate (is a comma, a quote or a bracket missing here or on the line before?)",
        ],
    ),
];

#[test]
fn a_text_that_is_no_configuration_at_all_is_told_why() {
    for (text, told) in OTHER_TEXTS {
        let told: Vec<String> = told.iter().map(|line| format!("FILE:{line}")).collect();
        assert_eq!(Story::of(text).problems(), told.join("\n"), "{text:?}");
    }
}
