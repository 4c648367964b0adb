//! Values that must not be seen.

use std::fmt;

/// A key, a token or a password. It prints as `[secret]`, and it cannot be compared: where two
/// secrets must be, the place that does it takes care of the time that takes.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes a text out of sight.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}
