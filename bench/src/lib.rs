//! The hot paths of the machines, ready to be repeated: for micro-benchmarks and for instruction counts.

pub mod board;
pub mod seals;
