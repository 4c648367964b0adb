//! What Facebook is told Messenger messages are for: `vonage.messenger`.

use super::problem::{Report, quoted};
use super::section::{Section, Written};
use super::suggestion;
use crate::wording::MessengerCategory;

/// The keys of the section.
pub(super) const KEYS: [&str; 2] = ["category", "tag"];
/// The categories (Messages API reference, `messenger.category`).
const CATEGORIES: [&str; 3] = ["response", "update", "message_tag"];
/// The most characters of a tag; the longest of Facebook's has 22.
pub const TAG_CHARS_MAX: usize = 64;
/// Tags that Facebook took back in 2026: a message with one of them is refused.
const WITHDRAWN: [&str; 3] = ["CONFIRMED_EVENT_UPDATE", "POST_PURCHASE_UPDATE", "ACCOUNT_UPDATE"];

pub(super) fn read(section: &Section<'_, '_>, report: &mut Report) -> Option<MessengerCategory> {
    let category = section.text("category", report);
    let tag = section.text("tag", report).map(|(scalar, place)| (scalar.text.trim(), &*scalar.written, place));
    let (category, place) = category.or_missing(section.place, "category", Some(&hint()), report)?;
    let other = match category.text.trim() {
        "response" => MessengerCategory::Response,
        "update" => MessengerCategory::Update,
        "message_tag" => {
            let hint = "a tag that Facebook has granted your Page, for example HUMAN_AGENT";
            let (tag, written, place) = tag.or_missing(place, "tag", Some(hint), report)?;
            let is_tag = (1..=TAG_CHARS_MAX).contains(&tag.len())
                && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_tag {
                report.error_with_hint(place, format!("{} is not a tag", quoted(written)), Some(hint.into()));
                return None;
            }
            if WITHDRAWN.contains(&tag) {
                let message = format!("Facebook has withdrawn the tag {}", quoted(tag));
                report.warning(place, message, "HUMAN_AGENT is left, for Pages that were granted it");
            }
            return Some(MessengerCategory::MessageTag(tag.into()));
        }
        unknown => {
            let hint = suggestion::hint(unknown, "the categories are", &CATEGORIES);
            let message = format!("{} is not a category", quoted(&category.written));
            report.error_with_hint(place, message, Some(hint));
            return None;
        }
    };
    if let Written::Given((_tag, _written, place)) = tag {
        report.error_with_hint(place, "`tag` goes with the category message_tag only", Some("remove it".into()));
    }
    Some(other)
}

fn hint() -> String {
    format!("one of {}", suggestion::listed(&CATEGORIES))
}
