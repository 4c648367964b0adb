//! Policies: who is called, in which order, how often.

use std::sync::Arc;

use super::channel::USERS_PER_POLICY_MAX;
use super::problem::{Place, Report, quoted};
use super::section::{Section, Written};
use super::setting;
use super::suggestion;
use super::tree::{Node, Scalar};
use super::user::{User, Users, names, read_name};
use crate::escalation::{Backend, Confirm, Plan, PlanError};
use crate::wording::Wording;

/// The most policies of a file.
pub const POLICIES_MAX: usize = 500;
/// The most rounds after the first.
pub const REPEAT_MAX: u32 = 100;
/// The name of the only policy of a file that names none.
pub const POLICY_NAME_DEFAULT: &str = "default";

/// An ordered list of users, made into the plan that each alert of it freezes.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What alerts call it.
    pub name: Box<str>,
    /// Who is called when, in which words.
    pub plan: Arc<Plan>,
}

/// The policies of a configuration in the order of its file; there is always one.
#[derive(Clone, Debug)]
pub struct Policies {
    first: Policy,
    further: Vec<Policy>,
    manner: Manner,
}

/// How people are spoken to.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner {
    pub(super) wording: Arc<Wording>,
    pub(super) confirm: Confirm,
}

impl Manner {
    /// What a section says of it; what it does not say is as it was.
    pub(super) fn refined(&self, section: &Section<'_, '_>, report: &mut Report) -> Self {
        Self {
            wording: Arc::new(self.wording.refined(section, report)),
            confirm: setting::confirm(section, report).unwrap_or(self.confirm),
        }
    }

    fn of(&self, plan: Plan) -> Plan {
        plan.with_wording(Arc::clone(&self.wording)).with_confirm(self.confirm)
    }
}

impl Policies {
    /// The policy of an alert that names none.
    pub fn first(&self) -> &Policy {
        &self.first
    }

    /// The policy of that name.
    pub fn get(&self, name: &str) -> Option<&Policy> {
        self.iter().find(|policy| *policy.name == *name)
    }

    /// All policies in order.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        std::iter::once(&self.first).chain(&self.further)
    }

    /// The plan of an alert that brings its own users, worded as the file says for all alerts.
    #[must_use]
    pub fn ad_hoc(&self, plan: Plan) -> Plan {
        self.manner.of(plan)
    }

    fn from_list(policies: Vec<Policy>, manner: &Manner) -> Option<Self> {
        let mut policies = policies.into_iter();
        Some(Self { first: policies.next()?, further: policies.collect(), manner: manner.clone() })
    }
}

/// What policies are made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Material<'a> {
    pub(super) backend: Backend,
    pub(super) users: &'a Users,
    pub(super) manner: &'a Manner,
}

impl Material<'_> {
    /// The one policy of a file that names none: every user in order, one round. `place` is where
    /// the users stand.
    pub(super) fn default_policy(&self, place: Place, report: &mut Report) -> Option<Policies> {
        let users: Vec<&User> = self.users.list.iter().collect();
        let plan = Arc::new(self.manner.of(self.plan(&users, 0, place, POLICY_NAME_DEFAULT, report)?));
        Policies::from_list(vec![Policy { name: POLICY_NAME_DEFAULT.into(), plan }], self.manner)
    }

    /// The policies that a file names.
    pub(super) fn policies(&self, items: &[Node], place: Place, report: &mut Report) -> Option<Policies> {
        if items.is_empty() {
            let hint = "leave `policies` out for one policy of all users";
            report.error_with_hint(place, "there are no policies", Some(hint.into()));
        }
        if items.len() > POLICIES_MAX {
            report.error(place, format!("there are {} policies; {POLICIES_MAX} is the most", items.len()));
        }
        let mut seen: Vec<Arc<str>> = Vec::new();
        let mut called: Vec<Arc<str>> = Vec::new();
        let mut policies = Vec::new();
        for item in items.iter().take(POLICIES_MAX) {
            policies.extend(self.policy(item, &mut seen, &mut called, report));
        }
        for user in self.users.list.iter().filter(|user| !called.contains(&user.name)) {
            let message = format!("{} is in no policy", quoted(&user.name));
            report.warning(user.place, message, "nobody will call this user; add it to the `users` of a policy");
        }
        Policies::from_list(policies, self.manner)
    }

    fn policy(
        &self,
        node: &Node,
        seen: &mut Vec<Arc<str>>,
        called: &mut Vec<Arc<str>>,
        report: &mut Report,
    ) -> Option<Policy> {
        const KEYS: [&str; 6] = ["name", "users", "repeat", "text", "whatsapp_template", "confirm"];
        let section = Section::open(node, "a policy", &KEYS, report)?;
        let name = section.text("name", report).or_missing(section.place, "name", None, report);
        let name = name.and_then(|(scalar, place)| read_name(scalar, place, report));
        let place = section.place_of("name");
        if let Some(name) = &name {
            if seen.contains(name) {
                report.error(place, format!("there are two policies called {}", quoted(name)));
            }
            seen.push(Arc::clone(name));
        }
        let repeat = match section.text("repeat", report) {
            Written::Absent => Some(0),
            Written::Reported => None,
            Written::Given((scalar, place)) => read_repeat(scalar, place, report),
        };
        let users = self.members(&section, report);
        called.extend(users.iter().flatten().map(|user| Arc::clone(&user.name)));
        let manner = self.manner.refined(&section, report);
        let name = name?;
        let plan = Arc::new(manner.of(self.plan(&users?, repeat?, place, &name, report)?));
        Some(Policy { name: (*name).into(), plan })
    }

    /// The users of a policy; none when one of them is not known.
    fn members(&self, section: &Section<'_, '_>, report: &mut Report) -> Option<Vec<&User>> {
        let list = section.list("users", report);
        let (items, place) = list.or_missing(section.place, "users", Some("the names of whom to call"), report)?;
        if items.is_empty() {
            report.error(place, "the policy has no users");
        }
        if items.len() > USERS_PER_POLICY_MAX {
            let message = format!("the policy has {} users; {USERS_PER_POLICY_MAX} is the most", items.len());
            report.error(place, message);
        }
        let considered = items.get(..USERS_PER_POLICY_MAX).unwrap_or(items);
        let names = names(considered, "the name of a user", report);
        let mut members = Vec::with_capacity(names.len());
        for (scalar, place) in &names {
            let known = self.users.list.iter().find(|user| *user.name == *scalar.text.trim());
            if known.is_none() {
                let hint = self.nearest(scalar);
                // An unlike name may be that of a user whose own name has a problem.
                if hint.is_some() || !self.users.incomplete {
                    let message = format!("there is no user called {}", quoted(&scalar.written));
                    report.error_with_hint(*place, message, hint);
                }
            }
            members.extend(known);
        }
        (members.len() == items.len()).then_some(members)
    }

    fn nearest(&self, scalar: &Scalar) -> Option<Box<str>> {
        let known = self.users.list.iter().map(|user| &*user.name);
        let word = suggestion::nearest(&scalar.text, known)?;
        Some(format!("did you mean {}?", quoted(word)).into())
    }

    fn plan(&self, users: &[&User], repeat: u32, place: Place, name: &str, report: &mut Report) -> Option<Plan> {
        let recipients: Option<Vec<_>> = users.iter().map(|user| user.recipient()).collect();
        match Plan::new(self.backend, &recipients?, repeat) {
            Ok(plan) => Some(plan),
            // These three have been said of the list or the user that they are true of.
            Err(PlanError::NoUsers | PlanError::NoChannels | PlanError::TooFewChannels) => None,
            Err(error @ PlanError::TooLong) => {
                let hint = "repeat it less often, or name fewer users";
                report.error_with_hint(place, format!("the policy {} {error}", quoted(name)), Some(hint.into()));
                None
            }
        }
    }
}

fn read_repeat(scalar: &Scalar, place: Place, report: &mut Report) -> Option<u32> {
    let text = scalar.text.trim();
    match text.parse() {
        Ok(repeat) if repeat <= REPEAT_MAX && text.bytes().all(|byte| byte.is_ascii_digit()) => Some(repeat),
        Ok(_) | Err(_) => {
            let message = format!("`repeat` must be from 0 to {REPEAT_MAX}, not {}", quoted(&scalar.written));
            report.error_with_hint(place, message, Some("how many rounds follow the first".into()));
            None
        }
    }
}
