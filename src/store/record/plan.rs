//! The stored form of a plan.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::contact::{Address, Channel};
use crate::escalation::{Backend, Condition, Confirm, Leg, Plan, Step};
use crate::hash::sha256;
use crate::wording::Wording;

use super::forms::{Form, InFull, List, Maybe, Text};
use super::wording::WordingForm;
use super::{Error, Record, VERSION, read};

/// The SHA-256 of a plan's record; two plans with the same record are the same plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanHash(pub [u8; 32]);

/// A plan, ready to be kept.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPlan {
    /// Names it.
    pub hash: PlanHash,
    /// The record: JSON.
    pub record: String,
}

impl std::fmt::Debug for StoredPlan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StoredPlan").field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// The record of a plan. Equal plans have equal records, to the byte.
pub fn write_plan(plan: &Plan) -> Result<StoredPlan, Error> {
    let written = PlanOut {
        v: VERSION,
        backend: plan.backend(),
        repeat: plan.repeat(),
        steps: plan.steps().iter().map(StepOut::of).collect(),
        wording: (*plan.wording() != Wording::default()).then(|| plan.wording().clone()),
        confirm: plan.confirm(),
    };
    let record = serde_json::to_string(&written)?;
    Ok(StoredPlan { hash: PlanHash(sha256(record.as_bytes())), record })
}

/// Reads the record of a plan.
pub fn read_plan(record: &str) -> Result<Plan, Error> {
    let PlanIn { v: _, backend, repeat, steps, wording, confirm } = read(record)?;
    let steps = steps.into_iter().map(|step| Step {
        place: step.place,
        user: step.user,
        first: step.first,
        further: step.further,
    });
    let plan = Plan::from_steps(backend, steps.collect(), repeat).map_err(Error::Plan)?;
    Ok(plan.with_wording(wording.map(Arc::new).unwrap_or_default()).with_confirm(confirm))
}

#[derive(Serialize)]
struct PlanOut<'a> {
    v: u32,
    #[serde(with = "BackendForm")]
    backend: Backend,
    repeat: u32,
    steps: Vec<StepOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "Maybe::<WordingForm>::serialize")]
    wording: Option<Wording>,
    #[serde(skip_serializing_if = "is_silent", with = "ConfirmForm")]
    confirm: Confirm,
}

#[derive(Deserialize)]
struct PlanIn {
    v: u32,
    #[serde(with = "BackendForm")]
    backend: Backend,
    repeat: u32,
    steps: Vec<StepIn>,
    #[serde(default, deserialize_with = "Maybe::<WordingForm>::deserialize")]
    wording: Option<Wording>,
    #[serde(default, with = "ConfirmForm")]
    confirm: Confirm,
}

impl Record for PlanIn {
    fn version(&self) -> u32 {
        self.v
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference to the field")]
const fn is_silent(confirm: &Confirm) -> bool {
    match confirm {
        Confirm::Nobody => true,
        Confirm::Everybody => false,
    }
}

#[derive(Serialize)]
struct StepOut<'a> {
    place: u16,
    user: &'a str,
    #[serde(with = "LegForm")]
    first: &'a Leg,
    #[serde(skip_serializing_if = "<[Leg]>::is_empty", serialize_with = "List::<LegForm>::serialize")]
    further: &'a [Leg],
}

impl<'a> StepOut<'a> {
    fn of(step: &'a Step) -> Self {
        Self { place: step.place, user: &step.user, first: &step.first, further: &step.further }
    }
}

#[derive(Deserialize)]
struct StepIn {
    place: u16,
    user: Arc<str>,
    #[serde(with = "LegForm")]
    first: Leg,
    #[serde(default, deserialize_with = "List::<LegForm>::deserialize")]
    further: Vec<Leg>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Leg")]
struct LegForm {
    #[serde(with = "Text::<Channel>")]
    channel: Channel,
    #[serde(with = "InFull")]
    address: Address,
    #[serde(rename = "expiry")]
    expiry_seconds: u32,
    #[serde(with = "ConditionForm")]
    condition: Condition,
}

impl Form for LegForm {
    type Of = Leg;

    fn serialize<S: Serializer>(value: &Leg, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(value, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Leg, D::Error> {
        Self::deserialize(deserializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Backend", rename_all = "snake_case")]
enum BackendForm {
    Messages,
    Dispatch,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Confirm", rename_all = "snake_case")]
enum ConfirmForm {
    Nobody,
    Everybody,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Condition", rename_all = "snake_case")]
enum ConditionForm {
    Read,
    Delivered,
}
