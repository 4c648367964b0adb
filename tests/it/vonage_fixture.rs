//! An attempt as the engine hands it over, for the tests of what goes to Vonage.

use std::sync::Arc;
use std::time::Duration;

use callout::contact::{Address, Channel};
use callout::escalation::{Backend, Condition, Leg, Plan, Raised, Severity, Step};
use callout::id::{AlertId, AlertNumber, AttemptRef, ShortCode};
use callout::sender::{Late, Outbound};
use callout::timestamp::Timestamp;
use callout::vonage::Senders;
use callout::wording::{Template, Wording};

/// The time in these tests: 2026-03-01T02:15:07Z.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_772_331_307_000);
/// What every phone number of these tests is.
pub(crate) const NUMBER: &str = "447700900001";
/// What every Messenger id of these tests is.
pub(crate) const PSID: &str = "6542087712345678";

/// A channel of a user with an expiry in seconds.
pub(crate) fn leg(channel: Channel, expiry_seconds: u32) -> Leg {
    let address = if channel.has_number() { NUMBER } else { PSID };
    Leg { channel, address: Address::parse(channel, address).unwrap(), expiry_seconds, condition: Condition::Read }
}

/// The first attempt to tell Tony over these channels that the main server is down.
pub(crate) fn outbound(backend: Backend, first: Leg, further: Vec<Leg>) -> Outbound {
    let id = AlertId::new(NOW, [7; 10]);
    let step = Step { place: 0, user: "Tony".into(), first, further };
    let raised = Raised {
        id,
        number: AlertNumber(17),
        message: "Main server is down".into(),
        severity: Severity::Critical,
        policy: Some("default".into()),
        dedup_key: None,
        source: None,
        link: None,
        details: "{}".into(),
        at: NOW,
        plan: Arc::new(Plan::from_steps(backend, vec![step.clone()], 0).unwrap()),
    };
    Outbound {
        reference: AttemptRef { alert: id, attempt: 1 },
        backend,
        step,
        raised: Arc::new(raised),
        code: ShortCode::of(AlertNumber(17)),
        link: None,
        late: None,
    }
}

/// The same attempt with another text.
pub(crate) fn saying(mut outbound: Outbound, message: &str) -> Outbound {
    Arc::make_mut(&mut outbound.raised).message = message.into();
    outbound
}

/// The same attempt, a quarter of an hour late.
pub(crate) fn late(mut outbound: Outbound) -> Outbound {
    outbound.late = Some(Late { due_at: NOW, by: Duration::from_mins(15) });
    outbound
}

/// The same attempt with an acknowledge link.
pub(crate) fn with_link(mut outbound: Outbound, link: &str) -> Outbound {
    outbound.link = Some(link.into());
    outbound
}

/// The same attempt of an alert with another wording.
pub(crate) fn worded(mut outbound: Outbound, wording: Wording) -> Outbound {
    let raised = Arc::make_mut(&mut outbound.raised);
    raised.plan = Arc::new(Plan::clone(&raised.plan).with_wording(Arc::new(wording)));
    outbound
}

/// A text with words to be filled in.
pub(crate) fn template(text: &str) -> Template {
    text.parse().unwrap()
}

/// A sender on every channel.
pub(crate) fn senders() -> Senders {
    Senders {
        messenger: Some("108450971234567".into()),
        messenger_category: None,
        viber_service: Some("15263".into()),
        whatsapp: Some("447700900100".into()),
        sms: Some("447700900101".into()),
        rcs: Some("CalloutOps".into()),
    }
}
