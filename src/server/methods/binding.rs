//! Binding (RFC 8489 §3, RFC 3489 §8.1).

use std::net::IpAddr;

use stun::attributes::ATTR_MAPPED_ADDRESS;
use stun::message::{
    BINDING_REQUEST, BINDING_SUCCESS, MESSAGE_HEADER_SIZE, METHOD_BINDING, Message,
};
use stun::xoraddr::XorMappedAddress;

use super::super::five_tuple::Path;
use super::super::output::{ClientVerdict, DropReason};
use super::super::{Server, check_understood};
use crate::Now;
use crate::policy::peer_filter::canonical_socket;
use crate::wire::message::{Head, Reply, attributes};

impl Server {
    /// Tells the client its address; needs no credentials and touches no allocation (S10).
    pub(in crate::server) fn binding<'a>(
        &mut self,
        now: Now,
        path: &Path,
        message: &Message,
        head: &Head,
    ) -> ClientVerdict<'a> {
        if !self.may_answer_binding(now, path) {
            return ClientVerdict::Drop(DropReason::ReplyRate);
        }
        let reply = match check_understood(message) {
            Ok(()) => {
                let client = canonical_socket(path.tuple.client);
                let mapped = XorMappedAddress {
                    ip: client.ip(),
                    port: client.port(),
                };
                Reply::success(head).with(&mapped)
            }
            Err(refusal) => refusal.reply(head),
        };
        self.finish(path, reply, None);
        ClientVerdict::Handled
    }

    /// Answers a Binding request of RFC 3489: no cookie, 16 bytes of transaction id (S3).
    pub(in crate::server) fn classic_binding<'a>(
        &mut self,
        now: Now,
        path: &Path,
        bytes: &[u8],
    ) -> ClientVerdict<'a> {
        if !is_classic_binding(bytes) {
            return ClientVerdict::Drop(DropReason::Malformed);
        }
        if !self.may_answer_binding(now, path) {
            return ClientVerdict::Drop(DropReason::ReplyRate);
        }
        let client = canonical_socket(path.tuple.client);
        let (family, ip) = match client.ip() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        let value_len = 4 + ip.len() as u16;
        let mut message = Vec::with_capacity(MESSAGE_HEADER_SIZE + 24);
        message.extend_from_slice(&BINDING_SUCCESS.value().to_be_bytes());
        message.extend_from_slice(&(4 + value_len).to_be_bytes());
        message.extend_from_slice(&bytes[4..MESSAGE_HEADER_SIZE]);
        message.extend_from_slice(&ATTR_MAPPED_ADDRESS.value().to_be_bytes());
        message.extend_from_slice(&value_len.to_be_bytes());
        message.extend_from_slice(&[0, family]);
        message.extend_from_slice(&client.port().to_be_bytes());
        message.extend_from_slice(&ip);
        self.counters.response(METHOD_BINDING, 0);
        self.send_message(path, message);
        ClientVerdict::Handled
    }

    fn may_answer_binding(&mut self, now: Now, path: &Path) -> bool {
        self.counters.binding_requests += 1;
        let source = path.tuple.client.ip();
        self.binding
            .as_mut()
            .is_none_or(|limiter| limiter.allow(now.mono, source))
    }
}

fn is_classic_binding(bytes: &[u8]) -> bool {
    let Some(header) = bytes.get(..MESSAGE_HEADER_SIZE) else {
        return false;
    };
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    header[..2] == BINDING_REQUEST.value().to_be_bytes()
        && len.is_multiple_of(4)
        && bytes
            .get(..MESSAGE_HEADER_SIZE + len)
            .is_some_and(|frame| attributes(frame).all(|a| a.is_ok()))
}
