//! Clients of DTLS.

#[cfg_attr(not(feature = "dtls"), path = "association/absent.rs")]
mod association;
mod cookie;
#[cfg_attr(
    not(feature = "dtls"),
    allow(dead_code, reason = "only OpenSSL reads and writes it")
)]
mod wire;

#[cfg(test)]
#[cfg(feature = "dtls")]
mod test_client;
#[cfg(test)]
#[cfg(feature = "dtls")]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;
use turnd_proto::server::five_tuple::{ClientSocket, FiveTuple, Path, Transport};
use turnd_proto::wire::dtls_hello::{self, ClientHello};
use turnd_proto::wire::proxy::Addresses;

use self::association::{Association, Ended, MAX_RECORD};
use self::cookie::Cookies;
use self::wire::Wire;
use super::admission::{Displaced, Watch};
use super::certs::Certificates;
use super::context::Ctx;
use super::counters::DropReason;
use super::egress::UdpFlow;
use super::handshake::{Failure, Reason};

/// Interval at which a handshake is looked at; OpenSSL sends a flight again after a second.
const RETRANSMIT: Duration = Duration::from_millis(1100);
/// Longest duration of a handshake: three flights may get lost, one after the other.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Minimum interval between two associations of one flow, each of which costs a signature.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct DtlsClient {
    association: Association,
    flow: UdpFlow,
    path: Path,
    /// Random bytes of the ClientHello that began the association.
    random: [u8; 32],
    begun: Instant,
    watch: Watch,
}

/// All DTLS clients of one worker.
#[derive(Debug)]
pub(super) struct DtlsClients {
    /// By [`ClientSocket::Dtls`].
    slab: Slab<DtlsClient>,
    by_flow: HashMap<UdpFlow, usize>,
    cookies: Cookies,
    /// Certificates; `None`: DTLS is not served.
    certificates: Option<Arc<Certificates>>,
    /// Plain text of one record.
    plain: Box<[u8]>,
    wire: Wire,
}

impl DtlsClients {
    pub(super) fn new(certificates: Option<Arc<Certificates>>) -> Self {
        Self {
            slab: Slab::new(),
            by_flow: HashMap::new(),
            cookies: Cookies::new(),
            certificates,
            plain: vec![0; MAX_RECORD].into(),
            wire: Wire::default(),
        }
    }

    /// Handles a datagram that looks like DTLS, of a client with the addresses `named`.
    pub(super) fn on_datagram(
        &mut self,
        ctx: &mut Ctx<'_>,
        flow: UdpFlow,
        named: Addresses,
        proxied: bool,
        datagram: &[u8],
    ) {
        let hello = ClientHello::parse(datagram);
        let known = self.by_flow.get(&flow).copied();
        if let Some(id) = known
            && let Some(client) = self.slab.get_mut(id)
            && hello.is_none_or(|hello| client.random == hello.random())
        {
            let received = client.receive(ctx, datagram, &mut self.wire, &mut self.plain);
            if let Err(Ended(failure)) = received {
                self.end(ctx, id, failure);
            }
            return;
        }
        // No hello: the rest of one whose first fragment was answered, or nobody waits for it.
        if let Some(hello) = hello
            && self.may_begin(ctx, &flow, named, &hello)
        {
            // The client has begun anew on the same port (RFC 6347 §4.2.8).
            if let Some(before) = known {
                self.end(ctx, before, Reason::CutOff.into());
            }
            let tuple = FiveTuple {
                transport: Transport::Dtls,
                client: named.client,
                server: named.server,
            };
            self.begin(ctx, flow, tuple, proxied, (&hello, datagram));
        }
    }

    /// Whether a ClientHello that belongs to no association begins one; without a good cookie it
    /// is answered with one.
    fn may_begin(
        &self,
        ctx: &mut Ctx<'_>,
        flow: &UdpFlow,
        named: Addresses,
        hello: &ClientHello<'_>,
    ) -> bool {
        if self.certificates.is_none() {
            return false;
        }
        let (now, client) = (ctx.now, named.client);
        if !self.cookies.is_good(now, client, hello) {
            if ctx.admission.may_answer_hello(now, client.ip()) {
                let cookie = self.cookies.issue(now, client, hello);
                let answer = dtls_hello::hello_verify_request(&cookie);
                ctx.counters.hello_verify_requests += 1;
                ctx.egress.answer(flow, &answer);
            } else {
                ctx.counters.drop(DropReason::ReplyRate, 1);
            }
            return false;
        }
        let before = self.by_flow.get(flow).and_then(|id| self.slab.get(*id));
        let too_soon = before.is_some_and(|before| now.mono < before.begun + RENEWAL_INTERVAL);
        if too_soon || !ctx.admission.may_begin_handshake(now, client.ip()) {
            ctx.counters.drop(DropReason::HandshakeRate, 1);
            return false;
        }
        true
    }

    fn begin(
        &mut self,
        ctx: &mut Ctx<'_>,
        flow: UdpFlow,
        tuple: FiveTuple,
        proxied: bool,
        (hello, datagram): (&ClientHello<'_>, &[u8]),
    ) {
        let Some(material) = self
            .certificates
            .as_ref()
            .map(|certificates| certificates.current())
        else {
            return;
        };
        let Some(context) = &material.dtls else {
            return;
        };
        let Some(association) = Association::new(context, &mut self.wire, datagram) else {
            return self.wire.clear_outgoing();
        };
        let failure = association.failure();
        let entry = self.slab.vacant_entry();
        let id = entry.key();
        let socket = ClientSocket::Dtls(id as u32);
        let (source, bytes) = (tuple.client.ip(), association::BYTES);
        let mut watch = ctx.admission.admit(ctx.now, source, socket, bytes);
        ctx.admission.arm(&mut watch, ctx.now.mono + RETRANSMIT);
        let mut random = [0; 32];
        random.copy_from_slice(hello.random());
        let client = entry.insert(DtlsClient {
            association,
            flow,
            path: Path {
                tuple,
                socket,
                proxied,
            },
            random,
            begun: ctx.now.mono,
            watch,
        });
        client.send(ctx, &mut self.wire);
        self.by_flow.insert(flow, id);
        if let Some(failure) = failure {
            self.tell_failure(ctx, id, failure);
            self.remove(ctx, id);
        }
    }

    /// Addresses of the client of this flow.
    pub(super) fn addresses(&self, flow: &UdpFlow) -> Option<Addresses> {
        let client = self.slab.get(*self.by_flow.get(flow)?)?;
        Some(Addresses {
            client: client.path.tuple.client,
            server: client.path.tuple.server,
        })
    }

    /// Whether a client has come in by this listening socket.
    pub(super) fn use_listener(&self, listener: u16) -> bool {
        let mut clients = self.slab.iter();
        clients.any(|(_, client)| client.flow.listener == listener)
    }

    /// Encrypts the messages that wait, and queues their records; one that is longer than a record
    /// is lost.
    pub(super) fn flush(&mut self, ctx: &mut Ctx<'_>) {
        if ctx.egress.dtls.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut ctx.egress.dtls);
        for (id, message) in pending.messages() {
            if let Some(client) = self.slab.get_mut(id as usize) {
                client.association.send(&mut self.wire, message);
                client.send(ctx, &mut self.wire);
            }
        }
        pending.clear();
        ctx.egress.dtls = pending;
    }

    /// Goes on with the handshake of a client whose deadline has come, or looks whether it has an
    /// allocation.
    pub(super) fn on_due(&mut self, ctx: &mut Ctx<'_>, id: u32) {
        let id = id as usize;
        let Some(client) = self.slab.get_mut(id) else {
            return;
        };
        let now = ctx.now;
        let over = if client.association.is_established() {
            let has_allocation = ctx.server.has_allocation(&client.path);
            let (charge, watch) = (client.charge(), &mut client.watch);
            ctx.admission.is_over(now, watch, has_allocation, charge)
        } else {
            let advanced = client.association.advance(&mut self.wire);
            client.send(ctx, &mut self.wire);
            let watch = &mut client.watch;
            ctx.admission.arm(watch, now.mono + RETRANSMIT);
            if let Err(Ended(failure)) = advanced {
                return self.end(ctx, id, failure);
            }
            now.mono >= client.begun + HANDSHAKE
        };
        if over {
            self.end(ctx, id, Reason::TimedOut.into());
        }
    }

    /// Takes in a client again whose allocation has ended.
    pub(super) fn on_allocation_ended(&mut self, ctx: &mut Ctx<'_>, id: u32) {
        if let Some(client) = self.slab.get_mut(id as usize) {
            let ((source, bytes), watch) = (client.charge(), &mut client.watch);
            ctx.admission.readmit(ctx.now, watch, source, bytes);
        }
    }

    /// Ends a client that has to, unless its name is another's by now.
    pub(super) fn displace(&mut self, ctx: &mut Ctx<'_>, id: u32, displaced: &Displaced) {
        let client = self.slab.get(id as usize);
        if client.is_some_and(|client| client.watch.is(displaced)) {
            ctx.counters.drop(DropReason::TooManyStreams, 1);
            self.end(ctx, id as usize, Reason::Displaced.into());
        }
    }

    /// Ends a client; `failure`: the reason if its handshake is not done.
    fn end(&mut self, ctx: &mut Ctx<'_>, id: usize, failure: Failure) {
        self.tell_failure(ctx, id, failure);
        // The last answer may say why.
        self.flush(ctx);
        if let Some(mut client) = self.remove(ctx, id) {
            client.association.close(&mut self.wire);
            client.send(ctx, &mut self.wire);
            ctx.disconnect(&client.path);
        }
    }

    /// Counts and logs a handshake that ends before it is done.
    fn tell_failure(&self, ctx: &mut Ctx<'_>, id: usize, failure: Failure) {
        let client = self.slab.get(id);
        if let Some(client) = client.filter(|client| !client.association.is_established()) {
            let association = &client.association;
            let failure = association.alert().unwrap_or(failure);
            let name = association.server_name();
            ctx.handshake_failed(&client.path.tuple, name, failure);
        }
    }

    fn remove(&mut self, ctx: &mut Ctx<'_>, id: usize) -> Option<DtlsClient> {
        let client = self.slab.try_remove(id)?;
        self.by_flow.remove(&client.flow);
        ctx.admission.forget(&client.watch);
        Some(client)
    }
}

impl DtlsClient {
    /// Handles a datagram of the association.
    fn receive(
        &mut self,
        ctx: &mut Ctx<'_>,
        datagram: &[u8],
        wire: &mut Wire,
        plain: &mut [u8],
    ) -> Result<(), Ended> {
        let heard = self.read(ctx, datagram, wire, plain);
        // A flight of the handshake, maybe one that reading has found to be lost, or an alert.
        self.send(ctx, wire);
        let heard = heard?;
        let has_allocation = || ctx.server.has_allocation(&self.path);
        let watch = &mut self.watch;
        ctx.admission.hear(ctx.now, watch, heard, has_allocation);
        Ok(())
    }

    /// Handles the messages of a datagram, and tells whether there were any.
    fn read(
        &mut self,
        ctx: &mut Ctx<'_>,
        datagram: &[u8],
        wire: &mut Wire,
        plain: &mut [u8],
    ) -> Result<bool, Ended> {
        let before = self.association.is_established();
        self.association.receive(wire, datagram)?;
        if self.association.is_established() && !before {
            ctx.counters.handshakes += 1;
            ctx.admission.restart(ctx.now, &mut self.watch);
        }
        let mut heard = false;
        while let Some(len) = self.association.read(wire, plain)? {
            heard = true;
            ctx.client_packet(&self.path, &plain[..len], None);
        }
        Ok(heard)
    }

    /// Queues the datagrams that the association has made.
    fn send(&self, ctx: &mut Ctx<'_>, wire: &mut Wire) {
        for datagram in wire.outgoing() {
            ctx.egress.answer(&self.flow, datagram);
        }
        wire.clear_outgoing();
    }

    /// Source network and memory that the client counts with.
    fn charge(&self) -> (IpAddr, usize) {
        (self.path.tuple.client.ip(), association::BYTES)
    }
}

/// Whether a datagram is for DTLS (RFC 7983 §7).
pub(super) fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=63))
}
