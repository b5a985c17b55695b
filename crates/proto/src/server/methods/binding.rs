//! Binding (RFC 8489 §3, RFC 5780 §6, RFC 3489 §8.1).

use stun::attributes::{
    ATTR_CHANGE_REQUEST, ATTR_CHANGED_ADDRESS, ATTR_MAPPED_ADDRESS, ATTR_OTHER_ADDRESS,
    ATTR_PADDING, ATTR_RESPONSE_ORIGIN, ATTR_RESPONSE_PORT, ATTR_SOURCE_ADDRESS, AttrType,
};
use stun::message::{BINDING_REQUEST, MESSAGE_HEADER_SIZE, METHOD_BINDING, Message};
use stun::xoraddr::XorMappedAddress;

use super::super::alternates::Alternates;
use super::super::five_tuple::{Path, Transport};
use super::super::output::{ClientVerdict, DropReason};
use super::super::refusal::Refusal;
use super::super::{Server, check_understood};
use super::classic::ClassicReply;
use super::optional;
use crate::Now;
use crate::policy::peer_filter::canonical_socket;
use crate::wire::attributes::is_understood;
use crate::wire::discovery::{ChangeRequest, Padding, PlainAddress, ResponsePort};
use crate::wire::message::{Head, Reply, attributes};

/// The longest PADDING in a reply: an Ethernet's MTU (RFC 5780 §7.6).
const MAX_PADDING: usize = 1500;

/// Why a Binding request gets no success response.
enum Refused {
    /// An error response.
    With(Refusal),
    /// Silence: it would be one too many.
    Rate,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::With(refusal)
    }
}

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
        let len = match self.binding_reply(now, path, message, head) {
            Ok((path, reply)) => self.finish(&path, reply, None),
            Err(Refused::With(refusal)) => self.finish(path, refusal.reply(head), None),
            Err(Refused::Rate) => return ClientVerdict::Drop(DropReason::ReplyRate),
        };
        self.answered_binding(now, path, len);
        ClientVerdict::Handled
    }

    /// The response, and the way that it takes.
    fn binding_reply(
        &mut self,
        now: Now,
        path: &Path,
        message: &Message,
        head: &Head,
    ) -> Result<(Path, Reply), Refused> {
        let client = canonical_socket(path.tuple.client);
        let reply = Reply::success(head).with(&XorMappedAddress {
            ip: client.ip(),
            port: client.port(),
        });
        let Some(alternates) = &self.shared.alternates else {
            check_binding(message, vec![])?;
            return Ok((*path, reply));
        };
        let reply = reply.with(&PlainAddress(ATTR_MAPPED_ADDRESS, client));
        // The tests that steer the reply exist for UDP alone (RFC 5780 §3).
        let steered = path.tuple.transport == Transport::Udp;
        let other = alternates.other(path.tuple.server);
        let mut known = Vec::new();
        if steered {
            known.extend([ATTR_RESPONSE_PORT, ATTR_PADDING]);
            // Without an alternate, a change cannot be had and gets 420 (RFC 5780 §6.1).
            known.extend(other.map(|_| ATTR_CHANGE_REQUEST));
        }
        let change = check_binding(message, known)?;

        let port = optional(message, ATTR_RESPONSE_PORT, "malformed RESPONSE-PORT")?;
        let padding = message
            .get(ATTR_PADDING)
            .ok()
            .map(|padding| padding.len().min(MAX_PADDING) & !3);
        if port.is_some() && padding.is_some() {
            // Together they would aim long replies at a port (RFC 5780 §10).
            return Err(Refusal::bad_request("RESPONSE-PORT with PADDING").into());
        }
        let mut path = depart(alternates, path, change)?;
        let public = |addr| self.shared.relays.public(addr);
        let mut reply = reply.with(&PlainAddress(
            ATTR_RESPONSE_ORIGIN,
            public(path.tuple.server),
        ));
        if let Some(other) = other {
            reply = reply.with(&PlainAddress(ATTR_OTHER_ADDRESS, public(other)));
        }
        if let Some(len) = padding {
            // No longer than the client's own, though the RFC would have the MTU: that would
            // multiply what comes from a forged address.
            reply = reply.with(&Padding(len as u16));
        }
        if let Some(ResponsePort(port)) = port {
            let source = path.tuple.client.ip();
            if !self.shared.rates.allow_redirect(now.mono, source) {
                return Err(Refused::Rate);
            }
            path.tuple.client.set_port(port);
        }
        Ok((path, reply))
    }

    /// Answers a Binding request of RFC 3489: no cookie, 16 bytes of transaction id (S3).
    pub(in crate::server) fn classic_binding<'a>(
        &mut self,
        now: Now,
        path: &Path,
        bytes: &[u8],
    ) -> ClientVerdict<'a> {
        let Some(frame) = classic_frame(bytes) else {
            return ClientVerdict::Drop(DropReason::Malformed);
        };
        if !self.may_answer_binding(now, path) {
            return ClientVerdict::Drop(DropReason::ReplyRate);
        }
        let (way, message, code) = match self.classic_reply(path, frame) {
            Ok((way, reply)) => (way, reply.finish(), 0),
            Err(refusal) => {
                let reply = ClassicReply::error(frame, &refusal);
                (*path, reply.finish(), refusal.code)
            }
        };
        self.counters.response(METHOD_BINDING, code);
        self.answered_binding(now, path, message.len());
        self.send_message(&way, message);
        ClientVerdict::Handled
    }

    /// The response of RFC 3489 §8.1; RESPONSE-ADDRESS is one of the unknown attributes (N9).
    fn classic_reply(&self, path: &Path, frame: &[u8]) -> Result<(Path, ClassicReply), Refusal> {
        let alternates = self.shared.alternates.as_ref();
        let other = alternates.and_then(|a| a.other(path.tuple.server));
        let mut change = ChangeRequest::default();
        let mut unknown = Vec::new();
        // The frame has been checked: no attribute is malformed.
        for (typ, value) in attributes(frame).flatten() {
            if typ == ATTR_CHANGE_REQUEST {
                change = ChangeRequest::decode(value)
                    .ok_or_else(|| Refusal::bad_request("malformed CHANGE-REQUEST"))?;
                if !change.is_none() && other.is_none() {
                    unknown.push(typ);
                }
            } else if !is_understood(typ) {
                unknown.push(typ);
            }
        }
        if !unknown.is_empty() {
            return Err(Refusal::unknown_attributes(unknown.into_iter()));
        }
        let client = canonical_socket(path.tuple.client);
        let reply = ClassicReply::success(frame).with(ATTR_MAPPED_ADDRESS, client);
        let (Some(alternates), Some(other)) = (alternates, other) else {
            return Ok((*path, reply));
        };
        let path = depart(alternates, path, change)?;
        let public = |addr| self.shared.relays.public(addr);
        let reply = reply
            .with(ATTR_SOURCE_ADDRESS, public(path.tuple.server))
            .with(ATTR_CHANGED_ADDRESS, public(other));
        Ok((path, reply))
    }

    /// Over UDP the sender may be forged, and asks again.
    fn may_answer_binding(&mut self, now: Now, path: &Path) -> bool {
        self.counters.binding_requests += 1;
        let source = path.tuple.client.ip();
        path.tuple.transport != Transport::Udp || self.shared.rates.allow_binding(now.mono, source)
    }

    fn answered_binding(&self, now: Now, path: &Path, len: usize) {
        if path.tuple.transport == Transport::Udp {
            let source = path.tuple.client.ip();
            self.shared.rates.sent_binding(now.mono, source, len);
        }
    }
}

/// CHANGE-REQUEST of a message in which all attributes are understood or `known`; 420 for others.
///
/// One that asks for no change is as if it were not there, also where none can be had: there are
/// clients that always send it.
pub(in crate::server) fn check_binding(
    message: &Message,
    mut known: Vec<AttrType>,
) -> Result<ChangeRequest, Refusal> {
    let asked = optional(message, ATTR_CHANGE_REQUEST, "malformed CHANGE-REQUEST")?;
    if asked.is_some_and(ChangeRequest::is_none) {
        known.push(ATTR_CHANGE_REQUEST);
    }
    check_understood(message, &known)?;
    Ok(asked.unwrap_or_default())
}

/// The way back from the socket that CHANGE-REQUEST asks for, which stays with this worker.
fn depart(alternates: &Alternates, path: &Path, change: ChangeRequest) -> Result<Path, Refusal> {
    if change.is_none() {
        return Ok(*path);
    }
    let (server, socket) = alternates
        .origin(path.tuple.server, change)
        .ok_or_else(|| Refusal::unknown_attributes([ATTR_CHANGE_REQUEST].into_iter()))?;
    let mut path = Path { socket, ..*path };
    path.tuple.server = server;
    Ok(path)
}

/// The one Binding request of RFC 3489 that `bytes` begin with.
fn classic_frame(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.get(..MESSAGE_HEADER_SIZE)?;
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let frame = bytes.get(..MESSAGE_HEADER_SIZE + len)?;
    let well_formed = header[..2] == BINDING_REQUEST.value().to_be_bytes()
        && len.is_multiple_of(4)
        && attributes(frame).all(|a| a.is_ok());
    well_formed.then_some(frame)
}

#[cfg(test)]
mod tests;
