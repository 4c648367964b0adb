//! Spans of time as people write them: a whole number and a unit, such as `30d` or `15m`.

use std::time::Duration;

use super::problem::{Report, quoted};
use super::section::Given;

/// How long settled alerts are kept when nobody says how long.
pub const RETENTION_DEFAULT: Duration = Duration::from_hours(24 * 30);
/// The shortest that they can be kept: as long as an idempotency key, which must not outlive its alert.
pub const RETENTION_MIN: Duration = Duration::from_hours(24);
/// The longest that can be asked for in figures.
pub const RETENTION_MAX: Duration = Duration::from_hours(24 * 3_650);

/// How long settled alerts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retention {
    For(Duration),
    Forever,
}

impl Retention {
    /// The span, where there is one.
    pub(super) const fn span(self) -> Option<Duration> {
        match self {
            Self::For(span) => Some(span),
            Self::Forever => None,
        }
    }
}

pub(super) fn retention(given: Given<'_>, report: &mut Report) -> Option<Retention> {
    if given.text.trim() == "forever" {
        return Some(Retention::Forever);
    }
    let hint = "for example 30d, or forever";
    span(given, "`retention`", (RETENTION_MIN, RETENTION_MAX), hint, report).map(Retention::For)
}

/// A span between two others, both included.
pub(super) fn span(
    given: Given<'_>,
    name: &str,
    (min, max): (Duration, Duration),
    hint: &str,
    report: &mut Report,
) -> Option<Duration> {
    let complaint = match parse(given.text.trim()) {
        Some(span) if (min..=max).contains(&span) => return Some(span),
        Some(_) => format!("{name} must be from {} to {}, not {}", written(min), written(max), quoted(given.written)),
        None => {
            format!("{name} must be a whole number and a unit (`s`, `m`, `h` or `d`), not {}", quoted(given.written))
        }
    };
    report.error_with_hint(given.place, complaint, Some(hint.into()));
    None
}

fn parse(text: &str) -> Option<Duration> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let seconds_of_unit = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds_of_unit).map(Duration::from_secs)
}

fn written(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let fitting = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        assert_eq!(parse("90s"), Some(Duration::from_secs(90)));
        assert_eq!(parse("15m"), Some(Duration::from_mins(15)));
        assert_eq!(parse("15 min"), Some(Duration::from_mins(15)));
        assert_eq!(parse("36h"), Some(Duration::from_hours(36)));
        assert_eq!(parse("30d"), Some(RETENTION_DEFAULT));
        for nonsense in ["", "30", "d", "-1d", "1.5h", "30 years", "99999999999999999999d", "9999999999999999999d"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn spans_are_told_in_the_unit_that_fits() {
        let told = [RETENTION_DEFAULT, Duration::from_hours(36), Duration::from_mins(15), Duration::from_secs(90)];
        assert_eq!(told.map(written), ["30d", "36h", "15m", "90s"]);
    }
}
