//! The running program.

pub mod log;
