//! The users of a file, which both forms write alike.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::channel::{
    self, CHANNELS_PER_USER_MAX, ChannelField, ChannelFields, ChannelRules, EXPIRY_SECONDS_ADVISED_MAX,
    EXPIRY_SECONDS_ADVISED_MIN,
};
use super::problem::{Place, Report, counted, quoted};
use super::section::{Section, Written, text};
use super::sender::Form;
use super::tree::{Node, Scalar};
use crate::contact::Channel;
use crate::escalation::{Backend, Leg, Recipient};

/// The most users of a file.
pub const USERS_MAX: usize = 500;

/// A user of the file. One with a problem keeps its name, so that a policy may still name it
/// without a second complaint.
#[derive(Debug)]
pub(super) struct User {
    pub(super) place: Place,
    pub(super) name: Arc<str>,
    /// The user's channels; none when one of them has a problem.
    channels: Option<Vec<Leg>>,
}

impl User {
    /// The user as a plan is made from; none when the user has a problem.
    pub(super) fn recipient(&self) -> Option<Recipient> {
        self.channels.clone().map(|channels| Recipient { name: Arc::clone(&self.name), channels })
    }

    /// Whether reports can never say that this user read something.
    pub(super) fn never_reports_read(&self) -> bool {
        self.channels.as_ref().is_some_and(|channels| channels.iter().all(|leg| !leg.channel.reports_read()))
    }
}

/// The users of a file in its order.
#[derive(Debug, Default)]
pub(super) struct Users {
    pub(super) list: Vec<User>,
    /// The channels that some user has, sound or not.
    pub(super) used: BTreeSet<Channel>,
    /// Whether a user's name could not be read, so that the list is not all there is.
    pub(super) incomplete: bool,
}

/// Reads the list of users.
pub(super) fn read(items: &[Node], place: Place, rules: &ChannelRules, form: Form, report: &mut Report) -> Users {
    let mut users = Users::default();
    if items.is_empty() {
        report.error_with_hint(place, "there are no users", Some("an alert needs somebody to call".into()));
    }
    if items.len() > USERS_MAX {
        report.error(place, format!("there are {} users; {USERS_MAX} is the most", items.len()));
    }
    for item in items.iter().take(USERS_MAX) {
        match read_user(item, rules, form, &mut users.used, report) {
            Some(user) => users.list.push(user),
            None => users.incomplete = true,
        }
    }
    report_namesakes(&users.list, form, report);
    users
}

fn read_user(
    node: &Node,
    rules: &ChannelRules,
    form: Form,
    used: &mut BTreeSet<Channel>,
    report: &mut Report,
) -> Option<User> {
    let section = Section::open(node, "a user", &["name", "channels"], report)?;
    let name = section.text("name", report).or_missing(section.place, "name", None, report);
    let name = name.and_then(|(scalar, place)| read_name(scalar, place, report));
    let place = section.place_of("name");
    let channels = match section.list("channels", report) {
        Written::Reported => None,
        Written::Absent => {
            report.error_with_hint(place, "`channels` is missing", Some("a user needs a way to be reached".into()));
            None
        }
        Written::Given((items, list_place)) => {
            let shown = name.as_deref().unwrap_or("the user");
            check_count(items.len(), shown, (place, list_place), (rules.backend(), form), report);
            read_channels(items, rules, used, report)
        }
    };
    Some(User { place, name: name?, channels })
}

/// The name of a user or a policy.
pub(super) fn read_name(scalar: &Scalar, place: Place, report: &mut Report) -> Option<Arc<str>> {
    match channel::name(&scalar.text) {
        Ok(name) => Some(name),
        Err(problem) => {
            report.error(place, format!("`name` {problem}"));
            None
        }
    }
}

fn check_count(
    n_channels: usize,
    name: &str,
    (place, list_place): (Place, Place),
    (backend, form): (Backend, Form),
    report: &mut Report,
) {
    let has = format!("{} has {}", quoted(name), counted(n_channels, "channel"));
    match (n_channels, form, backend) {
        (0, _, _) => {
            report.error_with_hint(list_place, format!("{} has no channels", quoted(name)), Some("add one".into()));
        }
        (1, Form::Tutorial, _) => {
            let message = format!("{has}; each user needs two or more");
            report.error_with_hint(place, message, Some("add one to fail over to, for example sms".into()));
        }
        (1, Form::Native, Backend::Dispatch) => {
            let message = format!("{has}; Dispatch needs two or more for each user");
            report.error_with_hint(place, message, Some("add one, or use the messages backend".into()));
        }
        (1, Form::Native, Backend::Messages) => {
            report.warning(place, format!("{has} only"), "add one to fail over to, for example sms");
        }
        (n_channels, _, _) if n_channels > CHANNELS_PER_USER_MAX => {
            report.error(list_place, format!("{has}; {CHANNELS_PER_USER_MAX} is the most"));
        }
        (_, _, _) => {}
    }
}

fn read_channels(
    items: &[Node],
    rules: &ChannelRules,
    used: &mut BTreeSet<Channel>,
    report: &mut Report,
) -> Option<Vec<Leg>> {
    let mut legs = Vec::with_capacity(items.len().min(CHANNELS_PER_USER_MAX));
    for item in items.iter().take(CHANNELS_PER_USER_MAX) {
        legs.extend(read_channel(item, rules, used, report));
    }
    (legs.len() == items.len()).then_some(legs)
}

fn read_channel(node: &Node, rules: &ChannelRules, used: &mut BTreeSet<Channel>, report: &mut Report) -> Option<Leg> {
    let keys = ChannelField::ALL.map(ChannelField::key);
    let section = Section::open(node, "a channel", &keys, report)?;
    let mut field = |field: ChannelField| section.text(field.key(), report).map(|(scalar, _place)| &*scalar.text);
    let fields = ChannelFields {
        kind: field(ChannelField::Type),
        id_num: field(ChannelField::IdNum),
        expiry_time: field(ChannelField::ExpiryTime),
        condition_status: field(ChannelField::ConditionStatus),
    };
    if let Some(Ok(channel)) = fields.kind.given().map(|text| text.trim().parse()) {
        used.insert(channel);
    }
    match channel::read(fields, rules) {
        Ok(leg) => {
            if !(EXPIRY_SECONDS_ADVISED_MIN..=EXPIRY_SECONDS_ADVISED_MAX).contains(&leg.expiry_seconds) {
                report.warning(
                    section.place_of(ChannelField::ExpiryTime.key()),
                    format!("an `expiry_time` of {} seconds is unusual", leg.expiry_seconds),
                    format!("{EXPIRY_SECONDS_ADVISED_MIN} to {EXPIRY_SECONDS_ADVISED_MAX} is advised"),
                );
            }
            Some(leg)
        }
        Err(problems) => {
            for problem in problems {
                let place = section.place_of(problem.field().key());
                report.error_with_hint(place, problem.to_string(), problem.hint());
            }
            None
        }
    }
}

/// In the native form a policy names its users, so a name must mean one of them. In the tutorial's
/// form the list is the policy, and somebody may stand in it twice.
fn report_namesakes(users: &[User], form: Form, report: &mut Report) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for user in users {
        if seen.insert(&user.name) {
            continue;
        }
        let message = format!("there are two users called {}", quoted(&user.name));
        match form {
            Form::Native => {
                report.error_with_hint(user.place, message, Some("a policy could not tell them apart".into()));
            }
            Form::Tutorial => report.warning(user.place, message, "both are called, each in its turn"),
        }
    }
}

/// The names that a list of texts holds, each with its place.
pub(super) fn names<'t>(items: &'t [Node], name: &str, report: &mut Report) -> Vec<(&'t Scalar, Place)> {
    items.iter().filter_map(|item| text(item, name, report).given()).collect()
}
