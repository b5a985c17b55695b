//! The busy loop that sends and receives while a load runs.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use stun::message::{BINDING_SUCCESS, MESSAGE_HEADER_SIZE};
use turnd_udp::{Receiver, UdpSocket};

use super::BenchError;
use super::link::is_closed;
use super::load::{Kind, Load, Pace};
use super::measure::{Arrivals, Delays};
use super::progress::{Progress, Stage};
use super::setup::{CHANNEL, Client};
use super::stamp::Stamp;
use crate::turn::Request;
use crate::turn::message::{channel_data, data, parse_channel_data, send};

/// Bursts that leave between two looks at what came in.
const BURSTS_PER_LOOK: usize = 8;
/// Time by which the pace may lag behind; more is given up.
const LAG: Duration = Duration::from_millis(20);
/// Time without any packet after which those on their way are lost.
const LOST: Duration = Duration::from_millis(5);
/// Wait for the last packets.
const GRACE: Duration = Duration::from_millis(300);

/// One direction of one allocation.
struct Flow {
    /// Index into the sockets.
    socket: usize,
    to: SocketAddr,
    /// A burst of packets, ready but for their stamps.
    burst: Vec<u8>,
    /// Bytes of one packet, and where its payload or id begins.
    packet: usize,
    payload: usize,
    sent: u64,
    /// Packets before this one are not waited for any more.
    resolved: u64,
    arrivals: Arrivals,
}

/// Counts between [`Traffic::begin`] and [`Traffic::end`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) elapsed: Duration,
    pub(super) sent: u64,
    /// Packets that this host's own kernel did not take.
    pub(super) unsent: u64,
    /// Packets that came back before the end: the processor time was spent on them.
    pub(super) delivered: u64,
    /// Packets that were sent in that time and came back, also after the end.
    pub(super) received: u64,
    pub(super) reordered: u64,
    /// Time in which there was nothing to do.
    pub(super) idle: Duration,
}

/// Sockets, flows and counters of a load.
pub(super) struct Traffic<'a> {
    load: &'a Load,
    clients: &'a mut [Client],
    peers: &'a [UdpSocket],
    /// Number of clients whose connection the server has closed.
    closed: usize,
    tally: Tally,
    poll: Poll,
    events: Events,
    receiver: Receiver,
    /// Sockets to be asked, and whether each one is among them.
    pending: Vec<usize>,
    queued: Vec<bool>,
    epoch: Instant,
    next: usize,
}

/// Packets that went out and came in.
struct Tally {
    binding: bool,
    run: u32,
    flows: Vec<Flow>,
    /// Packets with stamps from here on are counted; `None`: none yet.
    from: Option<u64>,
    until: Option<u64>,
    totals: Totals,
    delays: Delays,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(
        load: &'a Load,
        clients: &'a mut [Client],
        peers: &'a [UdpSocket],
    ) -> Result<Self, BenchError> {
        let poll = Poll::new()?;
        for (index, client) in clients.iter().enumerate() {
            client.link.watch(poll.registry(), Token(index))?;
        }
        for (index, socket) in peers.iter().enumerate() {
            let (fd, token) = (socket.as_raw_fd(), Token(clients.len() + index));
            poll.registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        let queued = vec![false; clients.len() + peers.len()];
        let mut flows = Vec::new();
        for (index, client) in clients.iter().enumerate() {
            let relayed = client.relayed();
            if load.to_peer {
                let peer = peers[client.peer].addr();
                let packet = to_server(load, peer, client.link.is_stream());
                flows.push(Flow::new(load, index, client.server, packet));
            }
            if let Some(relayed) = relayed.filter(|_| load.to_client) {
                let packet = (vec![0; load.size], 0);
                let socket = clients.len() + client.peer;
                flows.push(Flow::new(load, socket, relayed, packet));
            }
        }
        let ids = u16::try_from(flows.len());
        if ids.is_err() && load.kind == Kind::Binding {
            return Err(BenchError::new("at most 65535 clients can ask at once"));
        }
        Ok(Self {
            load,
            clients,
            peers,
            closed: 0,
            tally: Tally {
                binding: load.kind == Kind::Binding,
                run: u32::from_ne_bytes(crate::random::bytes()),
                flows,
                from: None,
                until: None,
                totals: Totals::default(),
                delays: Delays::new(),
            },
            poll,
            events: Events::with_capacity(1024),
            receiver: Receiver::new(),
            pending: Vec::new(),
            queued,
            epoch: Instant::now(),
            next: 0,
        })
    }

    fn nanos(&self) -> u64 {
        // A run is bounded to minutes.
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Begins to count.
    pub(super) fn begin(&mut self) {
        let now = self.nanos();
        let tally = &mut self.tally;
        tally.totals = Totals::default();
        tally.delays = Delays::new();
        tally.from = Some(now);
        for flow in &mut tally.flows {
            flow.arrivals.reordered = 0;
        }
    }

    /// Ends the count; see [`Self::drain`] for packets on their way.
    pub(super) fn end(&mut self) {
        let now = self.nanos();
        let Tally {
            flows,
            from,
            until,
            totals,
            ..
        } = &mut self.tally;
        *until = Some(now);
        totals.elapsed = Duration::from_nanos(now - from.unwrap_or(now));
        totals.delivered = totals.received;
        totals.reordered = flows.iter().map(|flow| flow.arrivals.reordered).sum();
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.tally.totals
    }

    pub(super) fn delays(&self) -> &Delays {
        &self.tally.delays
    }

    /// Receives packets that are still on their way.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            self.receive()?;
        }
        Ok(())
    }

    /// Sends and receives for `duration`, or until `stop`, or until the server has closed all connections.
    pub(super) fn run(
        &mut self,
        duration: Duration,
        stop: &AtomicBool,
        report: &mut Progress<'_>,
    ) -> io::Result<()> {
        let start = Instant::now();
        let (mut last, mut idle, mut progress) = (start, false, start);
        let mut pace = start;
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let all_closed = self.closed == self.clients.len();
            if now.duration_since(start) >= duration || all_closed {
                break;
            }
            report.tell(now, || self.stage(now.duration_since(start)));
            if idle {
                self.tally.totals.idle += now.duration_since(last);
            }
            last = now;
            let sent = match self.load.pace {
                Pace::Rate(rate) => self.send_due(now, &mut pace, rate),
                Pace::Window(window) => {
                    if now.duration_since(progress) >= LOST {
                        progress = now;
                        let flows = &mut self.tally.flows;
                        flows.iter_mut().for_each(|flow| flow.resolved = flow.sent);
                    }
                    self.send_window(window)
                }
            };
            let received = self.receive()?;
            if received > 0 {
                progress = now;
            }
            idle = sent + received == 0;
        }
        Ok(())
    }

    fn stage(&self, elapsed: Duration) -> Stage {
        match self.tally.from {
            None => Stage::WarmingUp,
            Some(_) => Stage::Measuring {
                elapsed,
                sent: self.tally.totals.sent,
                received: self.tally.totals.received,
            },
        }
    }

    /// Sends the bursts that are due; `pace` is when the next one is.
    fn send_due(&mut self, now: Instant, pace: &mut Instant, rate: f64) -> u64 {
        if now.duration_since(*pace) > LAG {
            *pace = now - LAG;
        }
        let step = Duration::from_secs_f64(self.load.burst as f64 / rate);
        let mut sent = 0;
        for _ in 0..BURSTS_PER_LOOK {
            if *pace > now {
                break;
            }
            *pace += step;
            let flow = self.next;
            self.next = (flow + 1) % self.tally.flows.len();
            sent += self.send(flow);
        }
        sent
    }

    /// Sends a burst on every flow that has room in its window, in turn.
    fn send_window(&mut self, window: u64) -> u64 {
        let (mut sent, mut bursts) = (0, 0);
        for _ in 0..self.tally.flows.len() {
            let index = self.next;
            self.next = (index + 1) % self.tally.flows.len();
            let flow = &self.tally.flows[index];
            if flow.sent - flow.resolved + self.load.burst as u64 <= window {
                sent += self.send(index);
                bursts += 1;
                if bursts == BURSTS_PER_LOOK {
                    break;
                }
            }
        }
        sent
    }

    fn send(&mut self, index: usize) -> u64 {
        let nanos = self.nanos();
        let load = self.load;
        let Tally {
            binding,
            run,
            flows,
            totals,
            ..
        } = &mut self.tally;
        let flow = &mut flows[index];
        let first = flow.sent;
        for (sequence, packet) in (first..).zip(flow.burst.chunks_exact_mut(flow.packet)) {
            let stamp = Stamp {
                flow: index as u32,
                sequence,
                nanos,
            };
            let payload = &mut packet[flow.payload..];
            if *binding {
                payload[..12].copy_from_slice(&stamp.to_id());
            } else {
                stamp.write(*run, payload);
            }
        }
        flow.sent += load.burst as u64;
        let (bytes, size) = (&flow.burst, flow.packet);
        let taken = match self.clients.get_mut(flow.socket) {
            // Lost, and not for want of room.
            Some(client) if client.closed => Ok(load.burst),
            Some(client) => client.link.send_burst(bytes, size, flow.to, load.how),
            None => {
                let peer = &self.peers[flow.socket - self.clients.len()];
                peer.send_burst(bytes, size, flow.to, load.how)
            }
        };
        let taken = taken.unwrap_or(0) as u64;
        totals.sent += load.burst as u64;
        totals.unsent += load.burst as u64 - taken;
        taken
    }

    /// Takes one batch from every socket that has something; tells how many packets came.
    fn receive(&mut self) -> io::Result<u64> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let mut ready = std::mem::take(&mut self.pending);
        for event in &self.events {
            let Token(index) = event.token();
            if !std::mem::replace(&mut self.queued[index], true) {
                ready.push(index);
            }
        }
        let mut count = 0;
        let mut kept = 0;
        for at in 0..ready.len() {
            let index = ready[at];
            let more = match self.clients.get_mut(index) {
                Some(client) if client.closed => false,
                Some(client) => match client.link.receive(&mut self.receiver) {
                    Err(error) if is_closed(&error) => {
                        client.closed = true;
                        self.closed += 1;
                        client.link.unwatch(self.poll.registry())?;
                        false
                    }
                    received => received?,
                },
                None => {
                    let peer = &self.peers[index - self.clients.len()];
                    self.receiver.receive(peer)?
                }
            };
            if more {
                ready[kept] = index;
                kept += 1;
            } else {
                self.queued[index] = false;
            }
            count += self.take(index);
        }
        ready.truncate(kept);
        self.pending = ready;
        Ok(count)
    }

    fn take(&mut self, index: usize) -> u64 {
        let nanos = self.nanos();
        let (tally, receiver) = (&mut self.tally, &self.receiver);
        let mut count = 0;
        if let Some(client) = self.clients.get_mut(index) {
            client.link.messages(receiver, |message| {
                count += u64::from(tally.message(message, nanos));
            });
            return count;
        }
        let peer = &self.peers[index - self.clients.len()];
        for datagram in receiver.datagrams() {
            if self.load.echo {
                let _ = peer.send(datagram.bytes, datagram.source, None);
            } else {
                count += u64::from(tally.payload(datagram.bytes, nanos));
            }
        }
        count
    }
}

impl Tally {
    /// Counts a message that a client has got; `false`: it is not one of this run.
    fn message(&mut self, message: &[u8], nanos: u64) -> bool {
        if self.binding {
            transaction(message).is_some_and(|id| self.count(Stamp::from_id(id), nanos))
        } else {
            from_server(message).is_some_and(|payload| self.payload(payload, nanos))
        }
    }

    /// Counts a payload that has come through.
    fn payload(&mut self, payload: &[u8], nanos: u64) -> bool {
        Stamp::read(self.run, payload).is_some_and(|stamp| self.count(stamp, nanos))
    }

    fn count(&mut self, stamp: Stamp, nanos: u64) -> bool {
        let Some(flow) = self.flows.get_mut(stamp.flow as usize) else {
            return false;
        };
        flow.arrivals.add(stamp.sequence);
        flow.resolved = flow.resolved.max(flow.arrivals.next).min(flow.sent);
        let (from, until) = (
            self.from.unwrap_or(u64::MAX),
            self.until.unwrap_or(u64::MAX),
        );
        if (from..until).contains(&stamp.nanos) {
            self.totals.received += 1;
            self.delays.add(nanos.saturating_sub(stamp.nanos));
        }
        true
    }
}

impl Flow {
    fn new(
        load: &Load,
        socket: usize,
        to: SocketAddr,
        (packet, payload): (Vec<u8>, usize),
    ) -> Self {
        Self {
            socket,
            to,
            packet: packet.len(),
            payload,
            burst: packet.repeat(load.burst),
            sent: 0,
            resolved: 0,
            arrivals: Arrivals::default(),
        }
    }
}

/// A packet of a client, and the place of the stamp in it.
fn to_server(load: &Load, peer: SocketAddr, stream: bool) -> (Vec<u8>, usize) {
    if load.kind == Kind::Binding {
        return (Request::Binding.encode().raw, 8);
    }
    let payload = vec![0; load.size];
    if load.indications {
        let packet = send(peer, &payload).raw;
        // DATA is the last attribute.
        let at = packet.len() - load.size.next_multiple_of(4);
        return (packet, at);
    }
    let mut packet = channel_data(CHANNEL, &payload);
    let at = packet.len() - load.size;
    if stream {
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    (packet, at)
}

/// The payload of channel data or of a Data indication.
fn from_server(message: &[u8]) -> Option<&[u8]> {
    match parse_channel_data(message) {
        Some((_, payload)) => Some(payload),
        None if message.first()? & 0xC0 == 0 => data(message),
        None => None,
    }
}

/// The transaction id of a success response.
fn transaction(message: &[u8]) -> Option<[u8; 12]> {
    let header = message.get(..MESSAGE_HEADER_SIZE)?;
    let typ = u16::from_be_bytes([header[0], header[1]]);
    (typ == BINDING_SUCCESS.value())
        .then(|| header[8..].try_into().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use turnd_proto::wire::channel_data;
    use turnd_proto::wire::indication::parse_send;

    use super::*;

    #[test]
    fn what_clients_send_is_what_servers_read() {
        let peer: SocketAddr = "192.0.2.1:9".parse().unwrap();
        for size in [24, 25, 26, 1000] {
            let mut load = Load::named("voice").unwrap();
            load.size = size;
            let (packet, _) = to_server(&load, peer, true);
            assert_eq!(packet.len(), (size + 4).next_multiple_of(4), "C5");
            let (packet, payload) = to_server(&load, peer, false);
            assert_eq!((packet.len(), payload), (size + 4, 4));
            let (number, data) = channel_data::parse(&packet).unwrap();
            assert_eq!((number, data.len()), (CHANNEL, size));

            load.indications = true;
            let (packet, payload) = to_server(&load, peer, false);
            let send = parse_send(&packet).unwrap();
            assert_eq!((send.peer, send.data.len()), (peer, size));
            assert_eq!(packet[payload..].as_ptr(), send.data.as_ptr());
        }
    }

    #[test]
    fn what_servers_send_is_read() {
        use turnd_proto::wire::indication::Header;
        let peer: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        for header in [
            Header::channel_data(CHANNEL, 4),
            Header::data_indication(
                &turnd_proto::wire::numbers::TransactionId::default(),
                peer,
                4,
            ),
        ] {
            let datagram = [header.as_bytes(), b"data"].concat();
            assert_eq!(from_server(&datagram), Some(&b"data"[..]));
        }
        assert_eq!(from_server(b"\x40\0\0\x09x"), None);
        let mut response = Request::Binding.encode().raw;
        response[..2].copy_from_slice(&BINDING_SUCCESS.value().to_be_bytes());
        assert_eq!(transaction(&response), response[8..].try_into().ok());
        response[1] = 0;
        assert_eq!(transaction(&response), None);
    }
}
