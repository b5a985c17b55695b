//! DTLS associations in a program that is built without them: there is none.

use super::wire::Wire;
use crate::net::certs::dtls::Context;
use crate::net::handshake::Failure;

/// The longest plain text of a record.
pub(super) const MAX_RECORD: usize = 1 << 14;

/// Bytes that an association would hold.
pub(super) const BYTES: usize = 0;

/// An association, which nobody can make.
#[derive(Debug)]
pub(super) enum Association {}

/// The end of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended(pub(super) Failure);

impl Association {
    pub(super) fn new(context: &Context, _: &mut Wire, _: &[u8]) -> Option<Self> {
        match *context {}
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        match *self {}
    }

    pub(super) fn alert(&self) -> Option<Failure> {
        match *self {}
    }

    pub(super) fn server_name(&self) -> Option<&str> {
        match *self {}
    }

    pub(super) fn is_established(&self) -> bool {
        match *self {}
    }

    pub(super) fn receive(&mut self, _: &mut Wire, _: &[u8]) -> Result<(), Ended> {
        match *self {}
    }

    pub(super) fn read(&mut self, _: &mut Wire, _: &mut [u8]) -> Result<Option<usize>, Ended> {
        match *self {}
    }

    pub(super) fn advance(&mut self, _: &mut Wire) -> Result<(), Ended> {
        match *self {}
    }

    pub(super) fn send(&mut self, _: &mut Wire, _: &[u8]) {
        match *self {}
    }

    pub(super) fn close(&mut self, _: &mut Wire) {
        match *self {}
    }
}
