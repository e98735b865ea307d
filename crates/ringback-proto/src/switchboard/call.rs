//! A call: the signals of one ladder, which count together, and how it ended.

/// Which call a signal belongs to, and where it stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Names the call, from 1.
    pub id: u64,
    /// Counts its signals by whatever route, from 1; those count too that no bearer took.
    pub signal: usize,
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
