//! Who asks callout for something: monitoring tools, and people at the API.

use std::sync::Arc;
use std::time::Duration;

use callout::clock::Clock;
use callout::contact::{Address, Channel};
use callout::engine::{self, NewAlert, Raising, Request};
use callout::escalation::{Backend, Condition, Leg, Plan, Recipient, Severity, Via};
use callout::id::AlertId;
use callout::store::ClaimKey;

use super::{World, millis, moment};
use crate::oracle::history::{BackendTold, Call, CallKind, ChannelTold, ConditionTold, Moment, PlanTold, UserTold};

impl World {
    fn some_plan(&self, name: &str) -> Arc<Plan> {
        let mut dice = self.dice();
        let backend = if dice.permille(200) { Backend::Dispatch } else { Backend::Messages };
        let repeat = dice.one_of(&[0, 0, 1, 2]);
        let n_users = dice.between(1, 3);
        let mut recipients = Vec::new();
        let mut users = Vec::new();
        for user in 0..n_users {
            let user_name = format!("user-{user}");
            let n_channels = if backend == Backend::Dispatch { 2 } else { dice.between(1, 2) };
            let mut channels = Vec::new();
            let mut told = Vec::new();
            for index in 0..n_channels {
                let channel = match (backend, index) {
                    (Backend::Messages, 0) => dice.one_of(&[
                        Channel::Messenger,
                        Channel::ViberService,
                        Channel::Whatsapp,
                        Channel::Rcs,
                        Channel::Mms,
                    ]),
                    (Backend::Dispatch, 0) => {
                        dice.one_of(&[Channel::Messenger, Channel::ViberService, Channel::Whatsapp])
                    }
                    (_, _) => Channel::Sms,
                };
                // Some people are called on for many things, so that a reply of theirs may mean any of them. On Dispatch
                // a report whose workflow is unknown is known by its address alone.
                let id_num = if backend == Backend::Messages && dice.permille(300) {
                    dice.one_of(&["447700900001", "447700900002"]).to_owned()
                } else {
                    format!("4477{:04}{:04}", dice.next() % 10_000, dice.next() % 10_000)
                };
                let expiry = dice.one_of(&[15, 60, 300, 600, 3_600]);
                let condition = if dice.permille(150) { Condition::Delivered } else { Condition::Read };
                let address = Address::parse(channel, &id_num).unwrap();
                channels.push(Leg { channel, address, expiry_seconds: expiry, condition });
                told.push(ChannelTold {
                    channel: channel.name().into(),
                    id_num,
                    expiry_time: i64::from(expiry),
                    condition_status: match condition {
                        Condition::Read => ConditionTold::Read,
                        Condition::Delivered => ConditionTold::Delivered,
                    },
                });
            }
            recipients.push(Recipient { name: user_name.as_str().into(), channels });
            users.push(UserTold { name: user_name, channels: told });
        }
        drop(dice);
        let backend_told = match backend {
            Backend::Messages => BackendTold::Messages,
            Backend::Dispatch => BackendTold::Dispatch,
        };
        self.notes().plans.insert(name.to_owned(), PlanTold { backend: backend_told, repeat, users });
        Arc::new(Plan::new(backend, &recipients, repeat).unwrap())
    }

    /// Somebody's monitoring raises an alert at some time of the day.
    pub(super) async fn raise_some_time(self: Arc<Self>) {
        let at = self.some_time();
        self.clock.sleep_until(at).await;
        self.raise_one().await;
    }

    /// So many alerts are raised within a few minutes.
    pub(super) fn raise_together(self: &Arc<Self>, n_alerts: usize) {
        for _ in 0..n_alerts {
            let (world, after) = (Arc::clone(self), millis(self.dice().between(0, 180_000)));
            self.spawn(async move {
                world.sleep(after).await;
                world.raise_one().await;
            });
        }
    }

    /// Somebody's monitoring raises an alert, and asks again until it is answered.
    async fn raise_one(self: Arc<Self>) {
        let name = format!("plan-{}", self.notes().plans.len());
        let plan = self.some_plan(&name);
        let problem = self.dice().between(0, 6);
        let dedup_key = (problem < 2).then(|| format!("problem-{problem}"));
        let key = self.dice().permille(800).then(|| format!("key-{name}"));
        let bytes = self.dice().next().to_le_bytes();
        let request = key.as_ref().map(|_| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&bytes);
            Request { key: ClaimKey(hash), fingerprint: hash }
        });
        let again = self.dice().permille(200);
        for try_number in 0..8_u32 {
            let at = moment(self.clock.now());
            let new = NewAlert {
                message: "Main server is down".into(),
                severity: Severity::Critical,
                policy: Some(name.as_str().into()),
                dedup_key: dedup_key.as_deref().map(Into::into),
                source: None,
                link: None,
                details: "{}".into(),
                plan: Arc::clone(&plan),
            };
            let answer = match self.some_engine() {
                Some(engine) => self.within(Duration::from_secs(20), engine.raise(new, request.as_ref())).await,
                None => None,
            };
            let (status, id) = match &answer {
                Some(Ok(Raising::Created(alert))) => (Some(201), Some(alert.id())),
                Some(Ok(Raising::Repeated(alert))) => (Some(200), Some(alert.id())),
                Some(Err(engine::Error::KeyReused)) => (Some(422), None),
                Some(Err(engine::Error::Stopped)) | None => (None, None),
                Some(Err(_)) => (Some(503), None),
            };
            self.answered(at, CallKind::Raise, status, id, key.clone(), dedup_key.clone());
            if let (Some(id), 0) = (id, self.dice().between(0, 3)) {
                self.spawn(Arc::clone(&self).meddle(id));
            }
            match status {
                Some(_) if again && try_number < 2 => self.mark("a request was made again"),
                Some(503) | None if key.is_some() => {}
                _ => return,
            }
            self.sleep(millis(1_000 << try_number)).await;
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the line of the log, field by field")]
    fn answered(
        &self,
        at: Moment,
        what: CallKind,
        status: Option<u16>,
        id: Option<AlertId>,
        key: Option<String>,
        dedup_key: Option<String>,
    ) {
        self.trace(|| format!("{what:?} answered {status:?} {id:?}"));
        let answered_at = status.map(|_| moment(self.clock.now()));
        let body = Some("body".to_owned());
        let id = id.map(|id| id.to_string());
        self.notes().client.push(Call { at, answered_at, what, status, id, key, body, dedup_key, retry_after: None });
    }

    /// Somebody acknowledges, resolves or escalates at the API.
    async fn meddle(self: Arc<Self>, id: AlertId) {
        let wait = self.dice().between(0, 1_200_000);
        self.sleep(millis(wait)).await;
        let what = self.dice().one_of(&[CallKind::Acknowledge, CallKind::Resolve, CallKind::Escalate]);
        let at = moment(self.clock.now());
        let Some(engine) = self.some_engine() else { return };
        let work = async {
            match what {
                CallKind::Acknowledge => engine.acknowledge(id, "Bob", Via::Api, None).await,
                CallKind::Resolve => engine.resolve(id, "Bob").await,
                CallKind::Escalate | CallKind::Raise => engine.escalate(id, "Bob", None, None).await,
            }
        };
        let status = match self.within(Duration::from_secs(20), work).await {
            Some(Ok(_)) => Some(200),
            Some(Err(engine::Error::Stopped)) | None => None,
            Some(Err(engine::Error::Impossible(_))) => Some(409),
            Some(Err(_)) => Some(503),
        };
        self.mark("somebody called the API");
        self.answered(at, what, status, Some(id), None, None);
    }
}
