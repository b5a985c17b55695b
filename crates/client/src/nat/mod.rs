//! Tests of the NAT that this host is behind (RFC 5780), with the names of RFC 3489.
//!
//! The tests are state machines without sockets or clock: [`mapping::MappingTest`],
//! [`filtering::FilteringTest`], [`hairpin::HairpinTest`] and [`lifetime::LifetimeTest`] take
//! replies and give steps. [`Discovery`] runs them in order over packets and times that a driver
//! hands in. [`driver::discover`] is such a driver, on tokio or any other [`driver::Network`].
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use turnd_client::nat::{Options, driver};
//!
//! let server = "192.0.2.1:3478".parse().unwrap();
//! let report = driver::discover(&driver::Tokio, server, Options::default(), |_| {}).await;
//! println!("{}", report.meaning());
//! # Ok(())
//! # }
//! ```

pub mod ask;
mod discovery;
pub mod driver;
mod exchange;
pub mod filtering;
pub mod hairpin;
pub mod lifetime;
pub mod mapping;
mod report;
pub mod tcp;

pub use discovery::{Discovery, Options, Stage};
pub use exchange::{Arrived, Transmit};
pub use report::{Classic, Filtering, Learned, Lifetime, Mapping, Report, Unknown};

#[cfg(test)]
mod tests;
