//! How much is tortured: a taste, what the gate runs, or long; and with which seed.

/// A size that is not given by a variable of its own (`CALLOUT_CHAOS_` and its name).
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    pub(crate) taste: usize,
    pub(crate) ci: usize,
    pub(crate) long: usize,
}

impl Size {
    pub(crate) fn get(self) -> usize {
        if let Some(given) = variable(&format!("CALLOUT_CHAOS_{}", self.name)) {
            return given.parse().unwrap_or_else(|_| panic!("CALLOUT_CHAOS_{} must be a number", self.name));
        }
        match variable("CALLOUT_CHAOS").as_deref() {
            None | Some("taste") => self.taste,
            Some("ci") => self.ci,
            Some("long") => self.long,
            Some(other) => panic!("CALLOUT_CHAOS is taste, ci or long, not {other}"),
        }
    }
}

/// The seed, which is said in each failure, so that the run can be had again.
pub(crate) fn seed() -> u64 {
    variable("CALLOUT_CHAOS_SEED").map_or(1, |text| text.parse().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "the size of a test is given from outside the program")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
