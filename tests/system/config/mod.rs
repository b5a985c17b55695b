//! The configuration beside what other programs make.

mod transports;
