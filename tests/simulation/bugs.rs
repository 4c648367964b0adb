//! Deliberate faults of callout, to show that the simulation finds such. Each sits in one of the engine's
//! ports or doors; bugs of the machine itself are planted in `tests/it/planted_bugs.rs`.

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    ClockRunsFast,
    ClockWakesLate,
    ClockFollowsTheWall,
    StartTrustsTheWall,
    InsertsAreNotSynced,
    AnswersAreNotKept,
    KeysAreForgotten,
    DedupKeyIsDropped,
    TimelineLosesLines,
    WindowIsCut,
    ArmedForgets,
    LostSendsAreLeft,
    ParkedAreDropped,
    SenderSwallows,
    SenderSendsTwice,
    SenderDawdles,
    WrongAddress,
    TroubleIsRefusal,
    AnsweredBeforeCommit,
    LateReadsAreDropped,
    SignaturesAreNotChecked,
    AccountIsTakenForRate,
    NodesTellNothing,
}

/// Each bug with a few words and the promises that may be found broken by it.
pub(crate) const BUGS: &[(Bug, &str, &[&str])] = &[
    (Bug::ClockRunsFast, "a clock that runs a tenth too fast", &["P6"]),
    (Bug::ClockWakesLate, "a clock that wakes late", &["P7", "P11"]),
    (Bug::ClockFollowsTheWall, "a clock that somebody can step", &["P6", "P7", "P11"]),
    (Bug::StartTrustsTheWall, "a start that goes by a stepped wall clock", &["P6", "P7", "P11"]),
    (Bug::InsertsAreNotSynced, "an accepted alert that is not on disk", &["P1"]),
    (Bug::AnswersAreNotKept, "an answer that is not on disk", &["P1", "P9", "P14"]),
    (Bug::KeysAreForgotten, "idempotency keys that are forgotten", &["P3"]),
    (Bug::DedupKeyIsDropped, "dedup keys that are not kept", &["P3"]),
    (Bug::TimelineLosesLines, "a timeline that loses lines", &["P23", "P5", "P14"]),
    (Bug::WindowIsCut, "half of the time for everybody", &["P6"]),
    (Bug::ArmedForgets, "alerts that are not taken up after a start", &["P7", "P11"]),
    (Bug::LostSendsAreLeft, "half-done sends that are not taken up", &["P4", "P11", "P7"]),
    (Bug::ParkedAreDropped, "webhooks that come too early and are dropped", &["P9", "P14"]),
    (Bug::SenderSwallows, "a sender that sends nothing", &["P5", "P10", "P4"]),
    (Bug::SenderSendsTwice, "a sender that sends twice", &["P10"]),
    (Bug::SenderDawdles, "a sender that waits with a message", &["P8", "P4"]),
    (Bug::WrongAddress, "a message to somebody else", &["P5"]),
    (Bug::TroubleIsRefusal, "trouble on the way that counts as a refusal", &["P5"]),
    (Bug::AnsweredBeforeCommit, "a webhook that is answered before it is kept", &["P9", "P14", "P1"]),
    (Bug::LateReadsAreDropped, "late reads that are dropped", &["P9"]),
    (Bug::SignaturesAreNotChecked, "signatures that are not checked", &["P13"]),
    (Bug::AccountIsTakenForRate, "a refused account that is taken for a busy one", &["P17"]),
    (Bug::NodesTellNothing, "nodes that tell each other nothing", &["P16"]),
];
