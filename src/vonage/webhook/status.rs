//! What became of a message or of a whole workflow.

use crate::escalation::{Failure, ReportStatus, WorkflowOutcome};
use crate::id::ProviderId;
use crate::incoming::{Foreign, Incoming, MessageStatus, WorkflowEnd};
use crate::vonage::failure;

use super::fields::Fields;

/// A status, flat (Messages v1) or nested (v0.1 and Dispatch).
pub(super) fn message_status(body: Fields<'_>) -> Incoming {
    let Some(status) = report_status(body) else {
        return Incoming::Foreign(Foreign::UnknownStatus);
    };
    let (to, from) = (body.party("to"), body.party("from"));
    let channel = body.channel("channel").or(to.channel).or(from.channel);
    let address = channel.and_then(|channel| {
        // WhatsApp may put an id of the user in the place of the number, and the number here.
        let recipient = body.object("whatsapp").map(|whatsapp| whatsapp.party("recipient"));
        to.address(channel).or_else(|| recipient?.address(channel))
    });
    let private: Vec<String> = [&to.name, &from.name].into_iter().flatten().map(ToString::to_string).collect();
    Incoming::Status(MessageStatus {
        id: body.id("message_uuid"),
        workflow: workflow(body),
        reference: body.word("client_ref").and_then(|reference| reference.parse().ok()),
        channel,
        to: address,
        status,
        failure: why_failed(body, status, &private),
    })
}

/// Dispatch's final report.
pub(super) fn workflow_end(body: Fields<'_>) -> Incoming {
    let Some(workflow) = body.id("dispatch_uuid") else {
        return Incoming::Foreign(Foreign::UnknownShape);
    };
    let messages: Vec<MessageStatus> = body
        .object("_links")
        .map(|links| links.objects("messages"))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|message| {
            let status = report_status(message)?;
            Some(MessageStatus {
                id: message.id("message_uuid").or_else(|| message.id_of_link("href")),
                workflow: Some(workflow.clone()),
                reference: None,
                channel: message.channel("channel"),
                to: None,
                status,
                failure: why_failed(message, status, &[]),
            })
        })
        .collect();
    let outcome = match body.word("status").map(|status| status.to_ascii_lowercase()).as_deref() {
        Some("completed") => WorkflowOutcome::Completed,
        Some("error") => WorkflowOutcome::Error,
        // An end that we do not know may still tell of a read, and `completed` proves nothing.
        _ if !messages.is_empty() => WorkflowOutcome::Completed,
        _ => return Incoming::Foreign(Foreign::UnknownStatus),
    };
    Incoming::WorkflowEnd(WorkflowEnd { workflow, outcome, messages })
}

/// The workflow that a message belongs to. The specification links it as `workflow`, what people
/// received links it as `dispatch`; an application set to v1 webhooks may put it elsewhere yet.
pub(super) fn workflow(body: Fields<'_>) -> Option<ProviderId> {
    let link = |name| {
        let link = body.object("_links")?.object(name)?;
        link.id("dispatch_uuid").or_else(|| link.id_of_link("href"))
    };
    let native = || {
        let workflow = body.object("workflow")?;
        workflow.id("workflow_id").or_else(|| workflow.id("id"))
    };
    link("dispatch").or_else(|| link("workflow")).or_else(|| body.id("dispatch_uuid")).or_else(native)
}

fn report_status(body: Fields<'_>) -> Option<ReportStatus> {
    match body.word("status")?.to_ascii_lowercase().as_str() {
        "submitted" => Some(ReportStatus::Submitted),
        "delivered" => Some(ReportStatus::Delivered),
        "read" => Some(ReportStatus::Read),
        "rejected" => Some(ReportStatus::Rejected),
        "undeliverable" => Some(ReportStatus::Undeliverable),
        _ => None,
    }
}

/// Why a message failed: `error` holds `title` (the code, as text or number) and `detail` in v1,
/// `code` and `reason` in v0.1.
fn why_failed(body: Fields<'_>, status: ReportStatus, private: &[String]) -> Option<Failure> {
    match status {
        ReportStatus::Rejected | ReportStatus::Undeliverable => {}
        ReportStatus::Submitted | ReportStatus::Delivered | ReportStatus::Read => return None,
    }
    let error = body.object("error")?;
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let title = error.word("title");
    let fragment = error.word("type").and_then(|kind| kind.rsplit_once('#').map(|(_, fragment)| fragment.to_owned()));
    let code = error
        .word("code")
        .or_else(|| title.clone().filter(|title| is_number(title)))
        .and_then(|code| failure::code(&code))
        .or_else(|| fragment.and_then(|fragment| failure::code(&fragment)));
    let words = error.word("detail").or_else(|| error.word("reason")).or(title.filter(|title| !is_number(title)));
    let detail = words.map_or_else(|| "no reason given".into(), |words| failure::presentable(&words, private));
    Some(Failure { code, detail })
}
