//! Clients on streams: TCP, and TLS over TCP.

mod accept;
mod client;
mod syn_filter;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};

use mio::Registry;
use mio::net::TcpStream;
use slab::Slab;
use turnd_proto::server::five_tuple::{ClientSocket, FiveTuple, Path, Transport};

use self::client::{Buffers, End, STREAM_BYTES, TcpClient};
use super::admission::Displaced;
use super::context::{Ctx, HandOver};
use super::counters::DropReason;
use super::mailbox::Command;
use super::poll::{Readiness, Turn};
use super::tcp_relay::DataStream;

pub(super) use self::accept::Acceptors;
pub(super) use self::client::TcpOptions;

/// All stream clients of one worker, by [`ClientSocket::Stream`].
#[derive(Debug)]
pub(super) struct TcpClients<S = TcpStream> {
    slab: Slab<TcpClient<S>>,
    options: TcpOptions,
    buffers: Buffers,
    /// Clients that may have [`TcpClient::failed`].
    failed: Vec<u32>,
}

impl<S: Read + Write> TcpClients<S> {
    pub(super) fn new(options: TcpOptions) -> Self {
        Self {
            slab: Slab::new(),
            buffers: Buffers::new(&options),
            options,
            failed: Vec::new(),
        }
    }

    /// Whether `source` is a proxy's, whose connections begin with a PROXY header.
    fn trusts(&self, source: IpAddr) -> bool {
        self.options.proxies.trusts(source)
    }

    /// Whether a proxy is in the network of `source`.
    fn trusts_network_of(&self, source: IpAddr) -> bool {
        let mut proxies = self.options.proxies.ranges().iter();
        proxies.any(|range| syn_filter::shares_network(source, range))
    }

    /// Number that the next client will have.
    pub(super) fn next_id(&self) -> u32 {
        self.slab.vacant_key() as u32
    }

    /// Serves a connection of `client` to `server`.
    pub(super) fn insert(
        &mut self,
        ctx: &mut Ctx<'_>,
        connection: S,
        client: SocketAddr,
        server: SocketAddr,
    ) {
        let id = self.next_id();
        let path = Path {
            tuple: FiveTuple {
                transport: Transport::Tcp,
                client,
                server,
            },
            socket: ClientSocket::Stream(id),
            proxied: self.trusts(client.ip()),
        };
        ctx.egress.streams.open(id);
        let source = client.ip();
        let watch = ctx
            .admission
            .admit(ctx.now, source, path.socket, STREAM_BYTES);
        self.slab
            .insert(TcpClient::new(id, connection, path, watch));
    }

    /// Writes what was queued since the last time.
    pub(super) fn flush(&mut self, ctx: &mut Ctx<'_>) {
        while let Some(id) = ctx.egress.streams.pop_dirty() {
            if let Some(client) = self.slab.get_mut(id as usize) {
                client.flush(ctx);
                if client.failed.is_some() {
                    self.failed.push(id);
                }
            }
        }
    }

    /// Closes what failed while others were served.
    pub(super) fn close_failed(&mut self, ctx: &mut Ctx<'_>) {
        while let Some(id) = self.failed.pop() {
            // The name may be another stream's by now.
            let client = self.slab.get(id as usize);
            if let Some(end) = client.and_then(|client| client.failed) {
                self.close(ctx, id, end);
            }
        }
    }

    /// Looks at a client whose deadline has come.
    pub(super) fn on_due(&mut self, ctx: &mut Ctx<'_>, id: u32) {
        let Some(client) = self.slab.get_mut(id as usize) else {
            return;
        };
        let has_allocation = ctx.server.has_allocation(&client.path);
        let (charge, watch) = (client.charge(ctx), &mut client.watch);
        if ctx
            .admission
            .is_over(ctx.now, watch, has_allocation, charge)
        {
            self.close(ctx, id, End::Idle);
        }
    }

    /// Takes in a client again whose allocation has ended.
    pub(super) fn on_allocation_ended(&mut self, ctx: &mut Ctx<'_>, id: u32) {
        if let Some(client) = self.slab.get_mut(id as usize) {
            let ((source, bytes), watch) = (client.charge(ctx), &mut client.watch);
            ctx.admission.readmit(ctx.now, watch, source, bytes);
        }
    }

    /// Has a client end that has to, unless its name is another's by now.
    pub(super) fn displace(&mut self, id: u32, displaced: &Displaced) {
        if let Some(client) = self.slab.get_mut(id as usize)
            && client.watch.is(displaced)
        {
            client.failed = Some(End::Displaced);
            self.failed.push(id);
        }
    }

    /// One turn of a client; the order is returned if its stream is a data connection from now on.
    fn turn(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: u32,
        readiness: Readiness,
    ) -> (Turn, Option<HandOver>) {
        let Some(client) = self.slab.get_mut(id as usize) else {
            return (Turn::Drained, None);
        };
        client.hung_up |= readiness.is_hang_up();
        match client.on_ready(ctx, &self.options, &mut self.buffers) {
            Ok(more) => (Turn::more(more), None),
            Err(End::Bound(hand_over)) => (Turn::Drained, Some(hand_over)),
            Err(end) => {
                self.close(ctx, id, end);
                (Turn::Drained, None)
            }
        }
    }

    fn close(&mut self, ctx: &mut Ctx<'_>, id: u32, end: End) {
        let Some(mut client) = self.slab.try_remove(id as usize) else {
            return;
        };
        // The last answer may say why.
        client.say_goodbye(ctx);
        ctx.admission.forget(&client.watch);
        let queue = ctx.egress.streams.close(id);
        let dropped = queue.map_or(0, |queue| queue.dropped());
        let tuple = client.path.tuple;
        if let Some(failure) = client.handshake_failure(end) {
            ctx.handshake_failed(&tuple, client.server_name(), failure);
        }
        ctx.log
            .connection_closed(ctx.now, &tuple, end.name(), dropped);
        ctx.counters.drop(DropReason::SlowClient, dropped);
        if end == End::Displaced {
            ctx.counters.drop(DropReason::TooManyStreams, 1);
        }
        ctx.disconnect(&client.path);
    }
}

impl TcpClients {
    /// Serves one turn of a client.
    pub(super) fn on_ready(
        &mut self,
        ctx: &mut Ctx<'_>,
        registry: &Registry,
        id: u32,
        readiness: Readiness,
    ) -> Turn {
        let (turn, hand_over) = self.turn(ctx, id, readiness);
        if let Some(hand_over) = hand_over {
            self.hand_over(ctx, registry, id, hand_over);
        }
        turn
    }

    /// Sends the connection, with all that is in it, to the worker that has the peer connection.
    fn hand_over(
        &mut self,
        ctx: &mut Ctx<'_>,
        registry: &Registry,
        id: u32,
        HandOver { connection, worker }: HandOver,
    ) {
        let Some(client) = self.slab.try_remove(id as usize) else {
            return;
        };
        ctx.admission.forget(&client.watch);
        let unsent = ctx.egress.streams.close(id).unwrap_or_default();
        let (mut tcp, tls, early) = client.into_parts();
        if registry.deregister(&mut tcp).is_err() {
            return;
        }
        let data = DataStream {
            tcp,
            tls,
            unsent,
            early,
        };
        // A worker that is gone closes the connection by dropping it.
        if let Some(mailbox) = ctx.mailboxes.get(worker) {
            mailbox.send(Command::Join(connection, Box::new(data)));
        }
    }
}

#[cfg(test)]
mod tests;
