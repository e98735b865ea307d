//! What a bearer tells of a signal that it has not failed to send.

/// A step of a signal's story. A bearer's word decides only how the ladder goes on: the answer to a
/// signal is a dial-back, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The operator has it.
    Submitted,
    /// The operator may have it; the bearer has it no longer.
    Unknown,
    /// The operator says that it has arrived.
    Delivered,
    /// The operator could not deliver it and holds it no longer: the terminal cannot be reached by
    /// this bearer now.
    Undelivered,
}

impl Progress {
    /// Every step.
    pub const ALL: [Self; 4] = [Self::Submitted, Self::Unknown, Self::Delivered, Self::Undelivered];
}
