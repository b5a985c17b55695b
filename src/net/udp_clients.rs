//! Clients of UDP: plain ones, those behind a proxy, and DTLS.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use turnd_proto::server::five_tuple::{ClientSocket, FiveTuple, Path, Transport};
use turnd_proto::wire::proxy::Addresses;
use turnd_udp::Datagram;

use super::admission::{Displaced, Watch};
use super::certs::Certificates;
use super::context::Ctx;
use super::counters::DropReason;
use super::dtls::{DtlsClients, is_dtls};
use super::egress::UdpFlow;
use super::proxy::{self, TrustedProxies};

/// Bytes of memory of a client behind a proxy.
const PROXIED_BYTES: usize = 512;

/// Ways in which UDP clients are served.
#[derive(Debug)]
pub(super) struct UdpOptions {
    /// Plain UDP; not `no-udp`.
    pub(super) plain: bool,
    /// DTLS, with these certificates.
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) proxies: Arc<TrustedProxies>,
}

/// All UDP clients of one worker; of plain ones without a proxy, nothing is kept.
#[derive(Debug)]
pub(super) struct UdpClients {
    plain: bool,
    proxies: Arc<TrustedProxies>,
    proxied: HashMap<UdpFlow, ProxiedClient>,
    pub(super) dtls: DtlsClients,
}

#[derive(Debug)]
struct ProxiedClient {
    path: Path,
    watch: Watch,
}

impl UdpClients {
    pub(super) fn new(options: UdpOptions) -> Self {
        Self {
            plain: options.plain,
            proxies: options.proxies,
            proxied: HashMap::new(),
            dtls: DtlsClients::new(options.certificates),
        }
    }

    /// Handles the datagrams that the receiver holds, which have come to the listening socket on
    /// `addr`.
    pub(super) fn on_datagrams(&mut self, ctx: &mut Ctx<'_>, listener: u16, addr: SocketAddr) {
        let receiver = ctx.receiver;
        for datagram in receiver.datagrams() {
            ctx.counters.received_datagrams += 1;
            let local = SocketAddr::new(datagram.local.unwrap_or(addr.ip()), addr.port());
            let flow = UdpFlow {
                listener,
                server: local,
                client: datagram.source,
            };
            let path = Path::udp(listener, flow.client, flow.server);
            if ctx.egress.sockets.takes_new(listener, local.ip())
                || ctx.server.has_allocation(&path)
                || self.knows(&flow)
            {
                self.on_datagram(ctx, flow, path, &datagram);
            }
        }
    }

    /// Handles one datagram; `path` is that of a client of plain UDP without a proxy.
    pub(super) fn on_datagram(
        &mut self,
        ctx: &mut Ctx<'_>,
        flow: UdpFlow,
        mut path: Path,
        datagram: &Datagram<'_>,
    ) {
        let (mut named, mut bytes) = (flow.addresses(), datagram.bytes);
        let proxied = self.proxies.trusts(flow.client.ip());
        if proxied {
            match proxy::read_datagram(bytes, named, || self.addresses(&flow)) {
                Some(client) => (named, bytes) = client,
                None => return ctx.counters.drop(DropReason::Proxy, 1),
            }
        }
        if is_dtls(bytes) {
            return self.dtls.on_datagram(ctx, flow, named, proxied, bytes);
        }
        if self.plain {
            if proxied {
                path = self.proxied_path(ctx, flow, named);
            }
            ctx.client_packet(&path, bytes, Some(datagram));
        }
    }

    /// Whether a client has a session on this flow.
    fn knows(&self, flow: &UdpFlow) -> bool {
        self.proxied.contains_key(flow) || self.dtls.addresses(flow).is_some()
    }

    /// Addresses that a proxy has named for this flow.
    fn addresses(&self, flow: &UdpFlow) -> Option<Addresses> {
        let proxied = self.proxied.get(flow).map(|client| addresses(&client.path));
        proxied.or_else(|| self.dtls.addresses(flow))
    }

    /// The path of a client behind a proxy, which is a new client if the proxy has named none or
    /// another one before.
    fn proxied_path(&mut self, ctx: &mut Ctx<'_>, flow: UdpFlow, named: Addresses) -> Path {
        if let Some(client) = self.proxied.get_mut(&flow) {
            let path = client.path;
            if addresses(&path) == named {
                let has_allocation = || ctx.server.has_allocation(&path);
                let watch = &mut client.watch;
                ctx.admission.hear(ctx.now, watch, true, has_allocation);
                return path;
            }
            // The proxy is trusted, and uses the port for another client now: what the one before
            // has there is nobody's any more. A proxy that heads the first datagram alone lets its
            // client end a session so, but none except the client's own.
            self.end(ctx, &flow);
        }
        let id = ctx.egress.proxied.insert(flow) as u32;
        let path = Path {
            tuple: FiveTuple {
                transport: Transport::Udp,
                client: named.client,
                server: named.server,
            },
            socket: ClientSocket::Proxied(id),
            proxied: true,
        };
        let (source, bytes) = charge(&path);
        let mut watch = ctx.admission.admit(ctx.now, source, path.socket, bytes);
        // A datagram is a whole message.
        ctx.admission.hear(ctx.now, &mut watch, true, || false);
        self.proxied.insert(flow, ProxiedClient { path, watch });
        path
    }

    /// Whether a session has come in by this listening socket.
    pub(super) fn use_listener(&self, listener: u16) -> bool {
        self.proxied.keys().any(|flow| flow.listener == listener)
            || self.dtls.use_listener(listener)
    }

    /// Looks at a client behind a proxy whose deadline has come.
    pub(super) fn on_due(&mut self, ctx: &mut Ctx<'_>, id: u32) {
        let Some((flow, client)) = self.proxied_client(ctx, id) else {
            return;
        };
        let has_allocation = ctx.server.has_allocation(&client.path);
        let charge = charge(&client.path);
        let (now, watch) = (ctx.now, &mut client.watch);
        if ctx.admission.is_over(now, watch, has_allocation, charge) {
            self.end(ctx, &flow);
        }
    }

    /// Takes in a client behind a proxy again whose allocation has ended.
    pub(super) fn on_allocation_ended(&mut self, ctx: &mut Ctx<'_>, id: u32) {
        if let Some((_, client)) = self.proxied_client(ctx, id) {
            let (source, bytes) = charge(&client.path);
            let watch = &mut client.watch;
            ctx.admission.readmit(ctx.now, watch, source, bytes);
        }
    }

    /// Ends a client behind a proxy that has to, unless its name is another's by now.
    pub(super) fn displace(&mut self, ctx: &mut Ctx<'_>, id: u32, displaced: &Displaced) {
        if let Some((flow, client)) = self.proxied_client(ctx, id)
            && client.watch.is(displaced)
        {
            ctx.counters.drop(DropReason::TooManyStreams, 1);
            self.end(ctx, &flow);
        }
    }

    fn proxied_client(&mut self, ctx: &Ctx<'_>, id: u32) -> Option<(UdpFlow, &mut ProxiedClient)> {
        let flow = *ctx.egress.proxied.get(id as usize)?;
        Some((flow, self.proxied.get_mut(&flow)?))
    }

    fn end(&mut self, ctx: &mut Ctx<'_>, flow: &UdpFlow) {
        let Some(client) = self.proxied.remove(flow) else {
            return;
        };
        ctx.admission.forget(&client.watch);
        ctx.disconnect(&client.path);
        if let ClientSocket::Proxied(id) = client.path.socket {
            ctx.egress.proxied.try_remove(id as usize);
        }
    }
}

/// Addresses that a proxy has named.
fn addresses(path: &Path) -> Addresses {
    Addresses {
        client: path.tuple.client,
        server: path.tuple.server,
    }
}

/// Source network and memory that a client behind a proxy counts with.
fn charge(path: &Path) -> (std::net::IpAddr, usize) {
    (path.tuple.client.ip(), PROXIED_BYTES)
}

#[cfg(test)]
mod tests;
