//! The rules of a channel as `POST /alerts` applies them, where there is no file to point into.

use callout::config::Written;
use callout::config::channel::{self, ChannelField, ChannelFields, ChannelRules};
use callout::contact::Channel;
use callout::escalation::{Condition, Leg};

use super::{SOUND, Story};

fn rules() -> ChannelRules {
    Story::of(SOUND).loaded().config.channel_rules()
}

fn fields<'a>(kind: Option<&'a str>, id_num: Option<&'a str>) -> ChannelFields<'a> {
    ChannelFields {
        kind: kind.into(),
        id_num: id_num.into(),
        expiry_time: Written::Absent,
        condition_status: Written::Absent,
    }
}

/// What is wrong: the field, the message and the hint.
fn told(fields: ChannelFields<'_>) -> Vec<(ChannelField, String, String)> {
    let problems = channel::read(fields, &rules()).expect_err("it should be refused");
    let told = problems.iter().map(|problem| {
        let hint = problem.hint().map(String::from).unwrap_or_default();
        (problem.field(), problem.to_string(), hint)
    });
    told.collect()
}

#[test]
fn a_channel_of_an_alert_follows_the_rules_of_the_configuration() {
    let fields = fields(Some("viber_service_msg"), Some("+44 7700 900001"));
    let Leg { channel, address, expiry_seconds, condition } = channel::read(fields, &rules()).unwrap();
    assert_eq!((channel, expiry_seconds, condition), (Channel::ViberService, 600, Condition::Read));
    assert_eq!(address.reveal(), "447700900001");
}

#[test]
fn every_field_that_is_wrong_is_named() {
    let fields = ChannelFields {
        kind: Written::Given("whatsapp"),
        id_num: Written::Given("12"),
        expiry_time: Written::Given("0"),
        condition_status: Written::Given("opened"),
    };
    let told: Vec<(ChannelField, String)> =
        told(fields).into_iter().map(|(field, message, _hint)| (field, message)).collect();
    assert_eq!(
        told,
        [
            (ChannelField::Type, "no sender is configured for whatsapp".to_owned()),
            (
                ChannelField::IdNum,
                "`id_num` is not a phone number with country code: it must have 7 to 15 digits".to_owned()
            ),
            (ChannelField::ExpiryTime, "`expiry_time` must be from 1 to 86400 seconds".to_owned()),
            (ChannelField::ConditionStatus, "`opened` is not a condition".to_owned()),
        ]
    );
}

#[test]
fn a_missing_field_is_named_with_what_belongs_there() {
    let hint = "the phone number or Messenger id of the user".to_owned();
    assert_eq!(
        told(fields(Some("sms"), None)),
        [(ChannelField::IdNum, "`id_num` is missing".to_owned(), hint.clone())]
    );
    assert_eq!(
        told(fields(None, Some("USER PHONE NUMBER")))[1],
        (ChannelField::IdNum, "`id_num` still holds the tutorial's placeholder".to_owned(), hint)
    );
}

#[test]
fn what_was_complained_about_elsewhere_is_not_complained_about_again() {
    let fields = ChannelFields { kind: Written::Reported, ..fields(None, Some("447700900001")) };
    assert_eq!(channel::read(fields, &rules()), Err(Vec::new()));
}

#[test]
fn a_name_is_trimmed_and_must_be_one_line() {
    assert_eq!(channel::name(" Tony ").as_deref(), Ok("Tony"));
    assert_eq!(channel::name("\t").map_err(|problem| problem.to_string()), Err("is empty".to_owned()));
    let told = channel::name("To\nny").map_err(|problem| problem.to_string());
    assert_eq!(told, Err("must not hold line feeds or other control characters".to_owned()));
}
