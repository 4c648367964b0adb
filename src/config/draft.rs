//! The file as both forms fill it in, and the one way from there to a configuration.
//!
//! A form only knows its keys. What a value means, which values must be there and what must fit
//! together is decided here, once for both.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::api_key;
use super::callback;
use super::channel::ChannelRules;
use super::credential::{self, ReadFile};
use super::environment::{Override, Overrides};
use super::integration;
use super::keeping;
use super::mail;
use super::messenger;
use super::policy::{Manner, Material, Policies};
use super::problem::{Place, Report};
use super::secret::Secret;
use super::section::{Given, Section, Written};
use super::sender::{self, Form, SenderKey, Senders};
use super::setting::{self, LISTEN_DEFAULT, MAX_PER_SECOND_DEFAULT, StoreChoice};
use super::span::{self, RETENTION_DEFAULT, Retention};
use super::tree::Node;
use super::user::{self, Users};
use super::{Config, Server, Vonage};
use crate::contact::Channel;
use crate::escalation::Backend;
use crate::wording::MessengerCategory;

/// A value of the file.
pub(super) type Value<'t> = Written<Given<'t>>;

/// A list of the file and its place.
pub(super) type List<'t> = Written<(&'t [Node], Place)>;

/// The values of a file, before anybody has asked what they mean.
#[derive(Debug)]
pub(super) struct Draft<'t> {
    pub(super) form: Form,
    /// The backend when nobody names one.
    pub(super) backend_default: Backend,
    pub(super) listen: Value<'t>,
    pub(super) public_url: Value<'t>,
    pub(super) api_key: Value<'t>,
    pub(super) api_keys: List<'t>,
    pub(super) store: Value<'t>,
    pub(super) retention: Value<'t>,
    pub(super) backup: Option<Section<'t, 'static>>,
    pub(super) heartbeat: Option<Section<'t, 'static>>,
    pub(super) backend: Value<'t>,
    pub(super) vonage_url: Value<'t>,
    pub(super) rcs_url: Value<'t>,
    pub(super) max_per_second: Value<'t>,
    /// The name and place of the section that credentials stand in.
    pub(super) credentials: (&'static str, Place),
    pub(super) application_id: (&'static str, Value<'t>),
    pub(super) private_key: (&'static str, Value<'t>),
    pub(super) signature_secrets: Vec<Given<'t>>,
    pub(super) signature_age_max: Value<'t>,
    pub(super) senders: Vec<(SenderKey, Given<'t>)>,
    /// Senders that are there but were complained about already.
    pub(super) reported_senders: BTreeSet<SenderKey>,
    /// What Messenger messages are for.
    pub(super) messenger: Option<Section<'t, 'static>>,
    pub(super) users: (&'static str, List<'t>),
    pub(super) policies: List<'t>,
    /// The file's top mapping.
    pub(super) top: Section<'t, 'static>,
}

/// What a draft is settled with.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The file, as it was named.
    pub(super) path: &'a Path,
    /// The folder of the file.
    pub(super) folder: &'a Path,
    pub(super) overrides: &'a Overrides,
    pub(super) read_file: ReadFile<'a>,
}

/// The value that counts: the one from outside, else the file's.
fn chosen<'t>(outside: Option<&'t Override>, file: Value<'t>) -> Value<'t> {
    outside.map_or(file, |given| Written::Given(Given::from_outside(given)))
}

/// Reads a value that has a default. One that is wrong has been reported, and the default stands in
/// for it until the end, so that the rest can be checked.
fn read_or<T>(
    value: Value<'_>,
    default: T,
    read: impl FnOnce(Given<'_>, &mut Report) -> Option<T>,
    report: &mut Report,
) -> T {
    value.given().and_then(|given| read(given, report)).unwrap_or(default)
}

impl Draft<'_> {
    /// Makes a configuration of the draft. `None` only when the report has errors.
    pub(super) fn settle(&self, around: Surroundings<'_>, report: &mut Report) -> Option<Config> {
        let overrides = around.overrides;
        let server = self.server(overrides, report);
        let store = chosen(overrides.store.as_ref(), self.store);
        let store = read_or(store, StoreChoice::beside(around.folder), setting::store, report);
        let retention = read_or(self.retention, Retention::For(RETENTION_DEFAULT), span::retention, report).span();
        let backup = self.backup.and_then(|section| keeping::backup(&section, around.folder, report));
        let heartbeat = self.heartbeat.and_then(|section| keeping::heartbeat(&section, around.folder, report));
        let backend = chosen(overrides.backend.as_ref(), self.backend);
        let backend = read_or(backend, self.backend_default, setting::backend, report);

        let rules = ChannelRules::new(backend, self.sending_channels(), self.form);
        let (users, users_place) = self.users(&rules, report);
        let senders = sender::read(&self.senders, &users.used, self.form, report);
        let vonage = self.vonage(backend, senders, around, report);
        let manner = Manner::default().refined(&self.top, report);
        let material = Material { backend, users: &users, manner: &manner };
        let policies = match self.policies {
            Written::Absent => material.default_policy(users_place, report),
            Written::Given((items, place)) => material.policies(items, place, report),
            Written::Reported => None,
        };
        let callbacks = callback::read(&self.top, report);
        let alarm_recipients = mail::alarm_recipients(&self.top, report);
        let smtp = mail::smtp(&self.top, report);
        warn_of_silence(&server, &users, report);
        self.warn_of_free_text(&users, &manner, policies.as_ref(), report);
        let messenger = vonage.as_ref().and_then(|vonage| vonage.messenger.as_ref());
        self.warn_of_messengers_window(&users, messenger, report);
        let integrations = self.top.list("integrations", report);
        let integrations = integration::read(integrations, policies.as_ref(), &server, report);
        let config = Config {
            server,
            store,
            vonage: vonage?,
            retention,
            policies: policies?,
            integrations,
            smtp,
            alarm_recipients,
            callbacks,
            backup,
            heartbeat,
            path: around.path.into(),
        };
        (!report.has_errors()).then_some(config)
    }

    /// Where the service is found, and the key that the configuration gives.
    pub(super) fn whereabouts(
        &self,
        folder: &Path,
        overrides: &Overrides,
        report: &mut Report,
    ) -> (SocketAddr, StoreChoice, Option<Secret>) {
        let listen = read_or(chosen(overrides.listen.as_ref(), self.listen), LISTEN_DEFAULT, setting::listen, report);
        let store = chosen(overrides.store.as_ref(), self.store);
        let store = read_or(store, StoreChoice::beside(folder), setting::store, report);
        let api_key = chosen(overrides.api_key.as_ref(), self.api_key).given();
        (listen, store, api_key.and_then(|given| api_key::api_key(given, LISTEN_DEFAULT, report)))
    }

    fn server(&self, overrides: &Overrides, report: &mut Report) -> Server {
        let listen: SocketAddr =
            read_or(chosen(overrides.listen.as_ref(), self.listen), LISTEN_DEFAULT, setting::listen, report);
        let public_url = chosen(overrides.public_url.as_ref(), self.public_url).given();
        let api_key = chosen(overrides.api_key.as_ref(), self.api_key).given();
        let api_key = api_key.and_then(|given| api_key::api_key(given, listen, report));
        let api_keys = self.api_keys.given();
        Server {
            listen,
            public_url: public_url.and_then(|given| setting::public_url(given, report)),
            api_keys: api_keys.map_or_else(Vec::new, |list| api_key::api_keys(list, api_key.as_ref(), listen, report)),
            api_key,
        }
    }

    /// The channels that some sender stands for, even one with a problem of its own.
    fn sending_channels(&self) -> BTreeSet<Channel> {
        let given = self.senders.iter().map(|(key, _given)| *key);
        let mail = (!self.top.lacks("smtp")).then_some(Channel::Email);
        given.chain(self.reported_senders.iter().copied()).flat_map(SenderKey::channels).chain(mail).collect()
    }

    fn users(&self, rules: &ChannelRules, report: &mut Report) -> (Users, Place) {
        let (key, list) = self.users;
        let hint = "an alert needs somebody to call";
        match list.or_missing(self.top.place, key, Some(hint), report) {
            Some((items, place)) => (user::read(items, place, rules, self.form, report), place),
            None => (Users { incomplete: true, ..Users::default() }, self.top.place),
        }
    }

    fn vonage(
        &self,
        backend: Backend,
        senders: Senders,
        around: Surroundings<'_>,
        report: &mut Report,
    ) -> Option<Vonage> {
        let overrides = around.overrides;
        let (_section, place) = self.credentials;
        let (key, application_id) = self.application_id;
        let application_id = application_id
            .or_missing(place, key, Some("the id of your Vonage application"), report)
            .and_then(|given| credential::application_id(given, report));
        let private_key = self.private_key(around, report);
        let base_url = match chosen(overrides.vonage_url.as_ref(), self.vonage_url) {
            Written::Given(given) => setting::vonage_url(given, report),
            Written::Absent | Written::Reported => setting::vonage_url_default(),
        };
        let rcs_url = self.rcs_url.given().and_then(|given| setting::rcs_url(given, report));
        // Whoever points the service at another Vonage from outside means all of it.
        let rcs_url = rcs_url.filter(|_file| overrides.vonage_url.is_none()).or_else(|| base_url.clone());
        let messenger = self.messenger.and_then(|section| messenger::read(&section, report));
        let signature_secrets = self.signature_secrets(overrides, report);
        let signature_age_max: Option<Duration> =
            self.signature_age_max.given().and_then(|given| setting::signature_age_max(given, report));
        let max_per_second = chosen(overrides.max_per_second.as_ref(), self.max_per_second);
        let max_per_second = read_or(max_per_second, MAX_PER_SECOND_DEFAULT, setting::max_per_second, report);
        Some(Vonage {
            backend,
            base_url: base_url?,
            application_id: application_id?,
            private_key: private_key?,
            signature_secrets,
            signature_age_max,
            senders,
            messenger,
            rcs_url: rcs_url?,
            max_per_second,
        })
    }

    fn private_key(&self, around: Surroundings<'_>, report: &mut Report) -> Option<Secret> {
        if let Some(given) = &around.overrides.private_key {
            return credential::private_key(&given.text, given.place, report);
        }
        let (key, value) = self.private_key;
        let (_section, place) = self.credentials;
        let hint = "the path of the PEM file, or CALLOUT_PRIVATE_KEY with its text";
        let given = value.or_missing(place, key, Some(hint), report)?;
        credential::private_key_of_file(given, around.read_file, report)
    }

    fn signature_secrets(&self, overrides: &Overrides, report: &mut Report) -> Vec<Secret> {
        let outside = overrides.signature_secret.as_ref().map(Given::from_outside);
        let given = match &outside {
            Some(given) => std::slice::from_ref(given),
            None => &self.signature_secrets,
        };
        if given.is_empty() {
            let (section, place) = self.credentials;
            report.warning(
                place,
                format!("`{section}` has no signature secret, so that anybody can report a message as read"),
                "give Vonage's signature secret, for example in CALLOUT_SIGNATURE_SECRET",
            );
        }
        given.iter().filter_map(|given| credential::signature_secret(*given, report)).collect()
    }

    /// WhatsApp delivers free text only within 24 hours of the user's own last message.
    fn warn_of_free_text(&self, users: &Users, manner: &Manner, policies: Option<&Policies>, report: &mut Report) {
        let lacks = match policies {
            Some(policies) => policies.iter().any(|policy| policy.plan.wording().whatsapp_template.is_none()),
            None => manner.wording.whatsapp_template.is_none(),
        };
        let sender = self.senders.iter().find(|(key, _given)| *key == SenderKey::Whatsapp);
        if let Some((_key, given)) = sender
            && users.used.contains(&Channel::Whatsapp)
            && lacks
        {
            report.warning(
                given.place,
                "WhatsApp refuses free text to people who have not written within 24 hours",
                "give an approved `whatsapp_template`; the next channel is tried meanwhile",
            );
        }
    }

    /// Messenger delivers within 24 hours of the user's own last message, or with a granted tag.
    fn warn_of_messengers_window(&self, users: &Users, category: Option<&MessengerCategory>, report: &mut Report) {
        let sender = self.senders.iter().find(|(key, _given)| *key == SenderKey::Messenger);
        if let Some((_key, given)) = sender
            && users.used.contains(&Channel::Messenger)
            && !matches!(category, Some(MessengerCategory::MessageTag(_)))
        {
            let hint = match self.form {
                Form::Native => {
                    "set `vonage.messenger` to a tag that Facebook granted the Page, or let people write to it first"
                }
                Form::Tutorial => "let people write to the Page at the start of their shift",
            };
            let message = "Messenger refuses messages to people who have not written to the Page within 24 hours";
            report.warning(given.place, message, hint);
        }
    }
}

/// Vonage never reports `read` for SMS and MMS, so that such a user can only answer, or press
/// the link, which needs a public URL.
fn warn_of_silence(server: &Server, users: &Users, report: &mut Report) {
    if server.public_url.is_some() {
        return;
    }
    for user in users.list.iter().filter(|user| user.never_reports_read()) {
        report.warning(
            user.place,
            format!("nobody can ever report that `{}` read a message", user.name),
            "SMS, MMS and e-mail have no read reports; set a public URL for the link, or rely on replies",
        );
    }
}
