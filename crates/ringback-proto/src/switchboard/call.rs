//! A call: the signals of one ladder, which count together, and how it ended.

/// Which call a signal belongs to, and where it stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Names the call, from 1.
    pub id: u64,
    /// Counts its signals by whatever route, from 1; those count too that no bearer took.
    pub signal: usize,
}

impl Call {
    /// What a probe counts as: a signal that its tenant pays, and that no client has caused. Neither
    /// its terminal nor any source has called by it.
    pub const PROBE: Self = Self { id: 0, signal: 2 };
}

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// Somebody dialed back.
    Answered,
    /// Nobody did within the patience of a client.
    Unanswered,
    /// It was given up before its time: its clients have gone, or no route took its signals.
    Abandoned,
}

impl CallEnd {
    /// Every end.
    pub const ALL: [Self; 3] = [Self::Answered, Self::Unanswered, Self::Abandoned];
}
