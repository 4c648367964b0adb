//! Integrations as their author writes them, and every word of what is wrong with them.

use callout::integrations::{Form, Kind};

use super::{SOUND, Story};

fn with(integrations: &str) -> String {
    format!("{SOUND}integrations:\n{integrations}")
}

#[test]
fn each_kind_is_read_with_what_belongs_to_it() {
    let text = with(
        "  - { name: prometheus, kind: alertmanager, key: \"${AM_KEY}\", policy: default }\n\
         \x20 - { name: cloud, kind: grafana, key: cloud-key-0123456789, hmac_secret: \"${HMAC}\", hmac_timestamp_header: X-Time }\n\
         \x20 - { name: legacy, kind: pagerduty, key: 0123456789abcdef0123456789abcdef }\n\
         \x20 - { name: genie, kind: opsgenie, key: genie-key-0123456789 }\n\
         \x20 - { name: go, kind: goalert, key: goalert-key-0123456789 }\n\
         \x20 - name: ci\n    kind: json\n    key: ci-key-0123456789abc\n    \
         map: { message: \"{{ body.title }}\", dedup_key: \"{{ body.id }}\", details: { branch: \"{{ body.branch }}\" } }\n",
    );
    let story = Story::of(&text).with("AM_KEY", "am-key-of-this-test").with("HMAC", "grafanas-own-secret");
    let loaded = story.loaded();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(!warnings.iter().any(|warning| warning.contains("key")), "{warnings:?}");
    let kinds: Vec<Kind> = loaded.config.integrations.iter().map(|integration| integration.form.kind()).collect();
    assert_eq!(kinds, Kind::ALL);
    let [prometheus, cloud, ..] = loaded.config.integrations.as_slice() else { panic!("six were given") };
    assert_eq!((&*prometheus.name, prometheus.policy.as_deref()), ("prometheus", Some("default")));
    assert!(prometheus.key.is(&callout::config::KeyHash::of("am-key-of-this-test")));
    assert!(matches!(cloud.form, Form::Grafana(Some(_))));
    let shown = format!("{:?}", loaded.config);
    assert!(!shown.contains("am-key") && !shown.contains("grafanas-own"), "a key is never shown");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let text = with(
        "  - { name: prometheus, kind: alertmanger, key: am-key-0123456789abc, policy: defalt }\n\
         \x20 - { name: prometheus, kind: alertmanager, key: \"${AM_KEY}\" }\n\
         \x20 - { name: a/b, kind: json, key: json-key-0123456789, hmac_secret: x }\n\
         \x20 - { kind: grafana, key: am-key-0123456789abc, hmac_header: \"X Y\", map: {} }\n\
         \x20 - { name: ci, kind: json, key: ci-key-0123456789abc, map: { mesage: x, link: \"{{ body.url \" } }\n\
         \x20 - { name: x, kind: grafana, key: am-key-0123456789abc }\n\
         \x20 - { name: y, kind: goalert, key: \"with spaces in it, many\" }\n",
    );
    let told = Story::of(&text).problems();
    for (line, says) in [
        (18, "`alertmanger` is not a kind of integration (did you mean `alertmanager`?)"),
        (18, "`defalt` is not a policy (did you mean `default`?)"),
        (19, "there are two integrations called `prometheus`"),
        (19, "`${AM_KEY}` is not set in the environment"),
        (20, "`a/b` cannot stand in an address (1 to 64 letters, digits"),
        (20, "`hmac_secret` means nothing for the kind `json` (it is for the kind `grafana`)"),
        (20, "`map` is missing"),
        (21, "`name` is missing"),
        (21, "`hmac_header` is not the name of a header"),
        (21, "`map` means nothing for the kind `grafana`"),
        (22, "`mesage` is not a key of `map` (did you mean `message`?)"),
        (22, "the template of `link` cannot be used"),
        (24, "the key cannot be sent as a bearer token"),
    ] {
        let is_told = told.lines().any(|told| told.starts_with(&format!("FILE:{line}:")) && told.contains(says));
        assert!(is_told, "line {line} does not say {says:?}:\n{told}");
    }
}

#[test]
fn a_key_belongs_to_one_integration_and_never_to_the_api() {
    let text = with(
        "  - { name: a, kind: goalert, key: one-key-for-both-of-them }\n\
         \x20 - { name: b, kind: pagerduty, key: one-key-for-both-of-them }\n\
         \x20 - { name: c, kind: pagerduty, key: the-key-of-the-api-itself }\n",
    );
    let told = Story::of(&text).with("CALLOUT_API_KEY", "the-key-of-the-api-itself").problems();
    assert_eq!(
        told,
        "FILE:19:38: the integration `a` has the same key (give each its own)\n\
         FILE:20:38: this is a key of the API (it stands in the tool's addresses; give the integration a key of its own)"
    );
}

#[test]
fn a_short_key_is_warned_of_and_refused_where_strangers_reach_the_service() {
    let text = with(
        "  - { name: a, kind: goalert, key: short }\n  - { name: b, kind: json, key: long-enough-for-anybody, map: { message: x } }\n",
    );
    let warned = Story::of(&text).warnings();
    assert!(warned.contains("FILE:18:36: warning: the key has 5 characters"), "{warned}");
    assert!(warned.contains("`dedup_key` is missing in `map`"), "{warned}");
    let open = text.replace("127.0.0.1:9000", "0.0.0.0:9000");
    let told = Story::of(&open).problems();
    assert!(told.starts_with("FILE:18:36: the key has 5 characters (where others reach the service"), "{told}");
}
