//! The admin listener as other programs and other users meet it, and under load.

mod access;
mod ctl;
mod load;
mod logs;
mod metrics;
mod names;
mod page;
mod places;
mod terminal;

use crate::support::admin::*;
