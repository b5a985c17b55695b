//! Taking connections.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::Registry;
use mio::net::TcpStream;
use socket2::SockRef;
use turnd_proto::Now;
use turnd_proto::ip::canonical_ip;

use super::TcpClients;
use crate::net::context::Ctx;
use crate::net::counters::DropReason;
use crate::net::newcomers::Newcomers;
use crate::net::poll::{Source, Turn};
use crate::net::tcp_sockets::{ACCEPT_PAUSE, Acceptor};

use super::syn_filter::SynFilter;

/// Connections that one turn takes at the most.
const AT_ONCE: usize = 64;

/// Listening sockets for stream clients.
#[derive(Debug)]
pub(in crate::net) struct Acceptors {
    registry: Registry,
    /// By [`Source::Acceptor`]; a closed one leaves its slot empty.
    slots: Vec<Option<Slot>>,
    filter: SynFilter,
}

#[derive(Debug)]
struct Slot {
    acceptor: Acceptor,
    newcomers: Newcomers,
}

impl Acceptors {
    pub(in crate::net) fn new(registry: Registry) -> Self {
        Self {
            registry,
            slots: Vec::new(),
            filter: SynFilter::default(),
        }
    }

    /// Takes connections from now on.
    pub(in crate::net) fn add(&mut self, mut acceptor: Acceptor) -> io::Result<()> {
        let source = Source::Acceptor(self.slots.len() as u32);
        source.watch_readable(&self.registry, &mut acceptor.listener)?;
        apply(&self.filter, &acceptor);
        self.slots.push(Some(Slot {
            acceptor,
            newcomers: Newcomers::All,
        }));
        Ok(())
    }

    /// Takes connections to these addresses only, and closes the sockets that are for others.
    pub(in crate::net) fn want(&mut self, wanted: &[SocketAddr]) {
        let slots = self.slots.iter().flatten();
        let open: Vec<_> = slots.map(|slot| slot.acceptor.addr()).collect();
        for slot in &mut self.slots {
            slot.take_if(|slot| {
                slot.newcomers = Newcomers::of(slot.acceptor.addr(), wanted, &open);
                slot.newcomers == Newcomers::Nobody
            });
        }
    }

    /// Takes some of the connections that wait at an acceptor.
    pub(in crate::net) fn on_ready(
        &mut self,
        ctx: &mut Ctx<'_>,
        clients: &mut TcpClients,
        id: u32,
    ) -> Turn {
        for _ in 0..AT_ONCE {
            let slot = self.slots.get(id as usize);
            let Some(Slot {
                acceptor,
                newcomers,
            }) = slot.and_then(Option::as_ref)
            else {
                return Turn::Drained;
            };
            match acceptor.listener.accept() {
                Ok((tcp, client)) => {
                    let local = tcp.local_addr();
                    if let Some(server) = local.ok().filter(|addr| newcomers.include(addr.ip())) {
                        self.open(ctx, clients, tcp, client, server);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Drained,
                Err(error) => {
                    ctx.log.socket_failed(ctx.now, acceptor.addr(), &error);
                    if lacks_descriptor(&error) {
                        // A client that says nothing has one for the next.
                        ctx.admission.displace_one();
                    }
                    return Turn::Later(ACCEPT_PAUSE);
                }
            }
        }
        Turn::More
    }

    /// Time of the next [`Self::on_due`].
    pub(in crate::net) fn next_due(&self) -> Option<Instant> {
        self.filter.next_due()
    }

    /// Takes connections again of networks that were beyond their rate.
    pub(in crate::net) fn on_due(&mut self, now: Now) {
        if self.filter.expire(now.mono) {
            self.apply_filter();
        }
    }

    fn apply_filter(&self) {
        for slot in self.slots.iter().flatten() {
            apply(&self.filter, &slot.acceptor);
        }
    }

    fn open(
        &mut self,
        ctx: &mut Ctx<'_>,
        clients: &mut TcpClients,
        mut tcp: TcpStream,
        client: SocketAddr,
        server: SocketAddr,
    ) {
        let network = canonical_ip(client.ip());
        // All clients of a proxy come from its address.
        if !clients.trusts(network) && !ctx.admission.may_connect(ctx.now, network) {
            ctx.counters.drop(DropReason::ConnectionRate, 1);
            if !clients.trusts_network_of(network) && self.filter.refuse(ctx.now.mono, network) {
                self.apply_filter();
            }
            return;
        }
        // Without it the connection is slower; one that has ended already fails when it is read.
        let _ = tcp.set_nodelay(true);
        let source = Source::Stream(clients.next_id());
        match source.watch(&self.registry, &mut tcp) {
            Ok(()) => clients.insert(ctx, tcp, client, server),
            Err(error) => ctx.log.socket_failed(ctx.now, server, &error),
        }
    }
}

/// Has the kernel drop what the filter says; where it takes no filters, the worker refuses it all.
fn apply(filter: &SynFilter, acceptor: &Acceptor) {
    let program = filter.program(acceptor.addr().is_ipv6());
    let socket = SockRef::from(&acceptor.listener);
    let _ = if program.is_empty() {
        socket.detach_filter()
    } else {
        socket.attach_filter(&program)
    };
}

/// Whether an error says that no descriptor is left, which the end of a client would give back.
fn lacks_descriptor(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_descriptors_is_helped_by_the_end_of_a_client() {
        let lacks = |code| lacks_descriptor(&io::Error::from_raw_os_error(code));
        assert!(lacks(libc::EMFILE) && lacks(libc::ENFILE));
        for other in [
            libc::ECONNABORTED,
            libc::ENETDOWN,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::EPERM,
            libc::EPROTO,
        ] {
            assert!(!lacks(other), "{other}");
        }
    }
}
