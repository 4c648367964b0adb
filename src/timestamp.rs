//! A moment, in whole milliseconds of UTC.
//!
//! The same 64-bit number stands in memory, in the stored record, in SQLite and in PostgreSQL,
//! so that a moment that was written is exactly the moment that is read back.

use std::fmt;
use std::num::NonZeroI64;
use std::str::FromStr;
use std::time::Duration;

/// A moment in whole milliseconds since 1970-01-01T00:00:00Z.
///
/// One more than the milliseconds is kept, which is never zero, so that a moment that there may not be takes no
/// more room than one that there is: an attempt has seven of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroI64);

/// The text is not an RFC 3339 moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a moment in RFC 3339 form, for example 2026-03-01T02:15:07.412Z")]
pub struct ParseError;

impl Timestamp {
    /// The first moment that can be written, 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(NonZeroI64::new(1).unwrap());
    /// The last moment that can be written in every time zone, at the end of the year 9999.
    pub const MAX: Self = Self(NonZeroI64::new(253_402_207_200_000 + 1).unwrap());

    /// A moment from milliseconds since 1970; moments outside of what RFC 3339 can write are moved to its ends.
    pub const fn from_millis(millis: i64) -> Self {
        if millis > Self::MAX.as_millis() {
            return Self::MAX;
        }
        match NonZeroI64::new(millis.saturating_add(1)) {
            Some(kept) if kept.get() > 0 => Self(kept),
            Some(_) | None => Self::EPOCH,
        }
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0.get() - 1
    }

    /// This moment and `duration` more, rounded down to the millisecond; never beyond [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.as_millis().saturating_add(millis))
    }

    /// The moment that much earlier; it stops at the edge of what a timestamp can be.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self::from_millis(self.as_millis().saturating_sub(millis))
    }

    /// How long after `earlier` this moment is; zero where it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.as_millis().saturating_sub(earlier.as_millis())).unwrap_or(0))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Timestamp").field(&self.as_millis()).finish()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(moment) = jiff::Timestamp::from_millisecond(self.as_millis()) else {
            return Err(fmt::Error);
        };
        write!(formatter, "{moment:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.parse::<jiff::Timestamp>() {
            Ok(moment) => Ok(Self::from_millis(moment.as_millisecond())),
            Err(_) => Err(ParseError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_utc_with_milliseconds() {
        let moment = Timestamp::from_millis(1_772_331_307_412);
        assert_eq!(moment.to_string(), "2026-03-01T02:15:07.412Z");
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_written_moment_is_read_back_the_same() {
        for millis in [0, 1, 999, 1_772_331_307_412, Timestamp::MAX.as_millis()] {
            let moment = Timestamp::from_millis(millis);
            assert_eq!(moment.to_string().parse(), Ok(moment));
        }
    }

    #[test]
    fn other_offsets_are_moved_to_utc() {
        let moment: Result<Timestamp, _> = "2026-03-01T03:15:07+01:00".parse();
        assert_eq!(moment, Ok(Timestamp::from_millis(1_772_331_307_000)));
        assert_eq!("2026-03-01 02:15".parse::<Timestamp>(), Err(ParseError));
    }

    #[test]
    fn arithmetic_stays_within_what_can_be_written() {
        assert_eq!(Timestamp::MAX.plus(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::MAX), Duration::ZERO);
        let moment = Timestamp::from_millis(1_500);
        assert_eq!(moment.since(Timestamp::from_millis(500)), Duration::from_secs(1));
    }
}
