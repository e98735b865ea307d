//! The ring gate: whether a client may cause a ring.
//!
//! Only the gate makes an [`Admitted`], and nothing is rung without one.

/// Proof that the client on whose behalf a ring is asked for may cause it.
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted {
    level: Level,
}

/// What a client must have shown before its terminal is rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing but a request that names a known terminal and one of its services.
    Open,
}

/// Admits a client whose request was complete, by the level its service asks for.
pub fn admit(level: Level) -> Admitted {
    match level {
        Level::Open => Admitted { level },
    }
}

impl Admitted {
    /// What the client has shown; only clients of one level share a ring.
    pub fn level(&self) -> Level {
        self.level
    }
}
