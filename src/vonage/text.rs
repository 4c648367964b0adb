//! What people read, within each channel's limit.
//!
//! A message begins with the text of the alert's frozen [wording](crate::wording); below it, on lines
//! of their own, stand the note that it comes late (where it does), the alert's code and the
//! acknowledge link. What is too long is cut within that text and nowhere else: the code and the link
//! are how somebody answers, and Vonage would refuse what is over its limit. The parameters of an
//! approved WhatsApp template are made here too; no line can follow them.
//!
//! Vonage's pages count "characters" without saying which. UTF-16 units are counted here, because
//! there are never fewer of them than of any other kind that can be meant.
//!
//! Deliberately absent: a limit on the parts of a text message. [`sms_parts`] counts them for whoever
//! wants to know; Vonage's only limit is the one of characters.

use std::borrow::Cow;
use std::time::Duration;

use crate::contact::Channel;
use crate::escalation::Tone;
use crate::sender::{Late, Notice, Outbound};
use crate::wording::{Template, Word};

/// The most characters of one message on this channel (Messages API reference, `text` of each
/// channel; none is stated for MMS, which is given what an SMS has).
pub const fn limit(channel: Channel) -> usize {
    match channel {
        Channel::Messenger => 640,
        Channel::Whatsapp => 4_096,
        Channel::Rcs => 3_072,
        Channel::ViberService | Channel::Sms | Channel::Mms => 1_000,
        // No server limits it so low; long enough for every alert, and short enough for a phone.
        Channel::Email => 10_000,
    }
}

/// The text of an attempt's message on one of its channels.
///
/// It is within [`limit`] unless the lines below the alert's text alone are longer, which takes an
/// acknowledge link of hundreds of characters; they are kept whole even then.
pub fn compose(outbound: &Outbound, channel: Channel) -> String {
    let head = tidy(&outbound.raised.plan.wording().text(channel).render(|word| value(outbound, word)));
    let late = outbound.late.map(late_note);
    let code = outbound.code.to_string();
    let mut tail = String::new();
    for line in [late.as_deref(), Some(&code), outbound.link.as_deref()].into_iter().flatten() {
        tail.push('\n');
        tail.push_str(line);
    }
    let room = limit(channel).saturating_sub(units(&tail));
    let text = fit(&head, room, channel);
    // Where there is no room for any of the alert's text, the first line is not an empty one.
    if text.is_empty() { tail.trim_start().to_owned() } else { text + &tail }
}

/// What a word stands for in the messages of an attempt.
fn value(outbound: &Outbound, word: Word) -> Cow<'_, str> {
    let raised = &*outbound.raised;
    match word {
        Word::User => Cow::Borrowed(&outbound.step.user),
        Word::Message => Cow::Borrowed(&raised.message),
        Word::Severity => Cow::Borrowed(raised.severity.name()),
        Word::Policy => Cow::Borrowed(raised.policy.as_deref().unwrap_or_default()),
        Word::Source => Cow::Borrowed(raised.source.as_deref().unwrap_or_default()),
        Word::Link => Cow::Borrowed(raised.link.as_deref().unwrap_or_default()),
        Word::Code => Cow::Owned(outbound.code.to_string()),
        Word::AcknowledgeLink => Cow::Borrowed(outbound.link.as_deref().unwrap_or_default()),
    }
}

/// The most characters of a parameter: the body of a template, all parameters filled in, has no more
/// (Vonage's WhatsApp guide).
pub const PARAMETER_CHARS_MAX: usize = 1_024;
/// What stands for a parameter that would be empty; Meta refuses the whole message for one.
const NOTHING: &str = "-";

/// What fills one place of an approved WhatsApp template: a single line, since Meta refuses line
/// breaks, tabs and several spaces in a row. Only a parameter with the alert's message says that it
/// comes late.
pub fn parameter(outbound: &Outbound, template: &Template) -> String {
    let text = single_line(&template.render(|word| value(outbound, word)));
    let late = outbound.late.filter(|_late| template.holds(Word::Message)).map(late_note);
    let tail = late.map(|note| format!(" {note}")).unwrap_or_default();
    let text = fit(&text, PARAMETER_CHARS_MAX.saturating_sub(units(&tail)), Channel::Whatsapp) + &tail;
    if text.is_empty() { NOTHING.to_owned() } else { text }
}

/// The text with every run of white space and control characters as one space.
fn single_line(text: &str) -> String {
    let is_gap = |character: char| character.is_whitespace() || character.is_control();
    text.split(is_gap).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What people who were messaged are told once somebody has the alert.
pub fn confirmation(notice: &Notice) -> String {
    let channel = notice.leg.channel;
    let tail = format!("\n{}", notice.code);
    let words = match notice.tone {
        Tone::Thanks => format!("Thank you, {} has it", notice.by),
        Tone::News => format!("{} has it", notice.by),
    };
    fit(&single_line(&words), limit(channel).saturating_sub(units(&tail)), channel) + &tail
}

/// Says how late a message is, for example `Sent 14 min late (due 03:12 UTC).`
fn late_note(late: Late) -> String {
    /// Above this, hours are clearer than minutes.
    const MINUTES_MAX: u64 = 120;
    /// From here on, the time of day alone would leave open which day is meant.
    const SAME_DAY: Duration = Duration::from_hours(12);
    let due = late.due_at.to_string();
    let minutes = late.by.as_secs() / 60;
    let by = if minutes < MINUTES_MAX { format!("{minutes} min") } else { format!("{} h", minutes / 60) };
    let time = due.get(11..16).unwrap_or_default();
    if late.by < SAME_DAY {
        format!("Sent {by} late (due {time} UTC).")
    } else {
        format!("Sent {by} late (due {} {time} UTC).", due.get(..10).unwrap_or_default())
    }
}

/// Line breaks in one form, other control characters as spaces, nothing at the end: providers refuse
/// or drop some of them.
fn tidy(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let text = text.replace(|character: char| character.is_control() && character != '\n', " ");
    text.trim_end().to_owned()
}

/// The text cut to `room` units with an ellipsis, if it must be cut.
fn fit(text: &str, room: usize, channel: Channel) -> String {
    if units(text) <= room {
        return text.to_owned();
    }
    // `…` is not in GSM-7: one of them would turn a whole text message to UCS-2 and more than double
    // its parts. The lines below the text (note, code, link) are in GSM-7 always.
    let plain = format!("{}...", cut(text, room.saturating_sub(3)));
    if channel == Channel::Sms && room >= 3 && plain.chars().all(|character| gsm7_septets(character).is_some()) {
        return plain;
    }
    if room == 0 { String::new() } else { format!("{}…", cut(text, room.saturating_sub(1))) }
}

/// How many UTF-16 units a text has.
fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// More units than any sequence that people take for one character; beyond it, a sequence is a
/// prank and may be broken.
const CLUSTER_UNITS_MAX: usize = 32;

/// The longest beginning of at most `room` units that breaks no character apart, as a reader sees
/// characters: combining marks, emoji sequences and flags stay whole.
fn cut(text: &str, room: usize) -> &str {
    let mut kept = 0;
    let mut n_units = 0;
    let mut cluster_units = 0;
    let mut n_flag_halves = 0;
    let mut previous = None;
    for (index, character) in text.char_indices() {
        let joined = previous.is_some_and(|previous| joins(previous, character, n_flag_halves));
        if !joined || cluster_units >= CLUSTER_UNITS_MAX {
            kept = index;
            cluster_units = 0;
        }
        n_units += character.len_utf16();
        if n_units > room {
            return text.get(..kept).unwrap_or_default().trim_end();
        }
        cluster_units += character.len_utf16();
        n_flag_halves = if is_flag_half(character) { n_flag_halves + 1 } else { 0 };
        previous = Some(character);
    }
    text
}

const ZERO_WIDTH_JOINER: char = '\u{200D}';

/// Whether `next` belongs to the same visible character as `previous`.
fn joins(previous: char, next: char, n_flag_halves: usize) -> bool {
    let completes_flag = is_flag_half(next) && n_flag_halves % 2 == 1;
    previous == ZERO_WIDTH_JOINER || completes_flag || extends(next)
}

/// Two of these in a row are one flag.
fn is_flag_half(character: char) -> bool {
    matches!(character, '\u{1F1E6}'..='\u{1F1FF}')
}

/// What never stands alone: it changes how the character before it looks. The main blocks of Unicode's
/// extending characters, written out because the standard library has no table of them.
fn extends(character: char) -> bool {
    matches!(character,
        // Combining marks: Latin, Cyrillic, Hebrew, Arabic, Syriac.
        '\u{300}'..='\u{36F}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5BD}' | '\u{5BF}'
        | '\u{5C1}'..='\u{5C2}' | '\u{5C4}'..='\u{5C5}' | '\u{5C7}' | '\u{610}'..='\u{61A}'
        | '\u{64B}'..='\u{65F}' | '\u{670}' | '\u{6D6}'..='\u{6DC}' | '\u{6DF}'..='\u{6E4}'
        | '\u{6E7}'..='\u{6E8}' | '\u{6EA}'..='\u{6ED}' | '\u{711}' | '\u{730}'..='\u{74A}'
        // Vowel signs of India's scripts.
        | '\u{900}'..='\u{903}' | '\u{93A}'..='\u{93C}' | '\u{93E}'..='\u{94F}' | '\u{951}'..='\u{957}'
        | '\u{962}'..='\u{963}' | '\u{981}'..='\u{983}' | '\u{9BC}' | '\u{9BE}'..='\u{9CD}'
        | '\u{A01}'..='\u{A03}' | '\u{A3C}'..='\u{A4D}' | '\u{ABC}' | '\u{ABE}'..='\u{ACD}'
        | '\u{BBE}'..='\u{BCD}' | '\u{C3E}'..='\u{C4D}' | '\u{CBE}'..='\u{CCD}' | '\u{D3E}'..='\u{D4D}'
        // Thai, Lao, the second and third part of a Korean syllable.
        | '\u{E31}' | '\u{E34}'..='\u{E3A}' | '\u{E47}'..='\u{E4E}' | '\u{EB1}' | '\u{EB4}'..='\u{EBC}'
        | '\u{EC8}'..='\u{ECE}' | '\u{1160}'..='\u{11FF}'
        // Further combining marks, joiners, Japanese voicing marks in both widths.
        | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{200C}' | ZERO_WIDTH_JOINER
        | '\u{20D0}'..='\u{20FF}' | '\u{3099}'..='\u{309A}' | '\u{FF9E}'..='\u{FF9F}'
        // Variation selectors, skin tones, the tags of regional flags.
        | '\u{FE00}'..='\u{FE0F}' | '\u{FE20}'..='\u{FE2F}' | '\u{1F3FB}'..='\u{1F3FF}'
        | '\u{E0020}'..='\u{E007F}' | '\u{E0100}'..='\u{E01EF}')
}

/// How a text message is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Seven bits for a character; Latin and Greek capitals only.
    Gsm7,
    /// Sixteen bits for a unit of UTF-16; everything.
    Ucs2,
}

/// What a text message is carried in, and in how many parts; each part is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The narrower encoding that can carry it.
    pub encoding: Encoding,
    /// How many parts it takes, 1 or more.
    pub count: usize,
}

/// How a text goes out as SMS (Vonage's guide on concatenation and encoding): 160 septets or 70
/// units alone, 153 or 67 in each of several parts.
pub fn sms_parts(text: &str) -> Parts {
    let septets: Option<Vec<usize>> = text.chars().map(gsm7_septets).collect();
    if let Some(sizes) = septets {
        return Parts { encoding: Encoding::Gsm7, count: n_parts(&sizes, 160, 153) };
    }
    let units: Vec<usize> = text.chars().map(char::len_utf16).collect();
    Parts { encoding: Encoding::Ucs2, count: n_parts(&units, 70, 67) }
}

/// How many parts characters of these sizes fill. No character is split between two parts.
fn n_parts(sizes: &[usize], alone: usize, each: usize) -> usize {
    if sizes.iter().sum::<usize>() <= alone {
        return 1;
    }
    let mut count = 1;
    let mut filled = 0;
    for size in sizes {
        if filled + size > each {
            count += 1;
            filled = 0;
        }
        filled += size;
    }
    count
}

/// The characters of GSM-7 that take one septet (3GPP TS 23.038, default alphabet).
const GSM7_BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The characters that take two (the same, extension table).
const GSM7_EXTENDED: &str = "^{}\\[~]|€\u{C}";

/// How many septets a character takes; none where GSM-7 does not have it.
fn gsm7_septets(character: char) -> Option<usize> {
    if GSM7_BASIC.contains(character) {
        Some(1)
    } else if GSM7_EXTENDED.contains(character) {
        Some(2)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::timestamp::Timestamp;

    use super::*;

    #[test]
    fn a_text_message_is_counted_in_parts_as_the_networks_do() {
        let parts = |text: &str| {
            let parts = sms_parts(text);
            (parts.encoding, parts.count)
        };
        assert_eq!(parts(""), (Encoding::Gsm7, 1));
        assert_eq!(parts(&"a".repeat(160)), (Encoding::Gsm7, 1));
        assert_eq!(parts(&"a".repeat(161)), (Encoding::Gsm7, 2));
        assert_eq!(parts(&"a".repeat(306)), (Encoding::Gsm7, 2));
        assert_eq!(parts(&"a".repeat(307)), (Encoding::Gsm7, 3));
        assert_eq!(parts(&"€".repeat(80)), (Encoding::Gsm7, 1), "each counts double");
        assert_eq!(parts(&"€".repeat(81)), (Encoding::Gsm7, 2));
        assert_eq!(parts(&"€".repeat(153)), (Encoding::Gsm7, 3), "no character is split, so a part holds 76");
        assert_eq!(parts(&"サ".repeat(70)), (Encoding::Ucs2, 1));
        assert_eq!(parts(&"サ".repeat(71)), (Encoding::Ucs2, 2));
        assert_eq!(parts(&"サ".repeat(135)), (Encoding::Ucs2, 3));
        assert_eq!(parts(&"🔥".repeat(35)), (Encoding::Ucs2, 1), "each is two units");
        assert_eq!(parts(&"🔥".repeat(67)), (Encoding::Ucs2, 3), "33 in a part");
        assert_eq!(parts("caf\u{65}\u{301}"), (Encoding::Ucs2, 1), "a combining accent is not in GSM-7");
    }

    #[test]
    fn a_cut_keeps_what_a_reader_takes_for_one_character() {
        for (text, room, kept) in [
            ("abc", 2, "ab"),
            ("サーバー", 2, "サー"),
            ("🔥🔥", 3, "🔥"),
            ("ae\u{301}b", 2, "a"),
            ("👩\u{200D}🚒x", 5, "👩\u{200D}🚒"),
            ("x👩\u{200D}🚒", 4, "x"),
            ("🇯🇵🇩🇪", 6, "🇯🇵"),
            ("👍🏽!", 3, ""),
            ("か\u{3099}き", 1, ""),
            ("مُدَرِّس", 4, "مُدَ"),
            ("one two", 4, "one"),
        ] {
            assert_eq!(cut(text, room), kept, "{text:?} cut to {room}");
        }
    }

    #[test]
    fn marks_without_end_are_broken_so_that_the_text_is_not_lost() {
        let prank = format!("a{}", "\u{301}".repeat(2_000));
        assert_eq!(units(cut(&prank, 900)), 900 / CLUSTER_UNITS_MAX * CLUSTER_UNITS_MAX);
    }

    #[test]
    fn a_late_message_says_how_late_in_words_that_fit_the_delay() {
        let due_at = Timestamp::from_millis(1_772_334_720_000);
        let note = |minutes| late_note(Late { due_at, by: Duration::from_mins(minutes) });
        assert_eq!(note(14), "Sent 14 min late (due 03:12 UTC).");
        assert_eq!(note(119), "Sent 119 min late (due 03:12 UTC).");
        assert_eq!(note(180), "Sent 3 h late (due 03:12 UTC).");
        assert_eq!(note(26 * 60), "Sent 26 h late (due 2026-03-01 03:12 UTC).");
    }

    #[test]
    fn control_characters_do_not_reach_a_provider() {
        assert_eq!(tidy("a\r\nb\tc\u{0}d\u{1b}[0m \n"), "a\nb c d [0m");
    }
}
