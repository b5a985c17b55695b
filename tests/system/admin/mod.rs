//! The admin listener, as other programs and other users meet it.

mod access;
mod ctl;
mod logs;
mod metrics;
mod names;
mod page;
mod places;

use crate::support::admin::*;
