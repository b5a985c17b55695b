//! The busy loop that sends and receives while a load runs.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use stun::attributes::{ATTR_DATA, ATTR_XOR_PEER_ADDRESS};
use stun::message::{
    BINDING_REQUEST, BINDING_SUCCESS, CLASS_INDICATION, MAGIC_COOKIE, MESSAGE_HEADER_SIZE,
    METHOD_SEND, MessageType,
};

use super::BenchError;
use super::load::{Kind, Load, Pace};
use super::measure::{Arrivals, Delays};
use super::session::CHANNEL;
use super::setup::Client;
use super::stamp::Stamp;
use crate::net::udp::{Receiver, UdpSocket};
use turnd_proto::wire::address::{self, encode_xor};
use turnd_proto::wire::classify::{Class, classify};
use turnd_proto::wire::{channel_data, message, numbers};

/// Bursts that leave between two looks at what came in.
const BURSTS_PER_LOOK: usize = 8;
/// What the pace may lag behind before it is given up for good.
const LAG: Duration = Duration::from_millis(20);
/// After so long without any packet, those on their way are lost.
const LOST: Duration = Duration::from_millis(5);
/// How long to wait for the last packets.
const GRACE: Duration = Duration::from_millis(300);

/// One way of one allocation.
struct Lane {
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

/// What was counted between [`Traffic::begin`] and [`Traffic::end`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) elapsed: Duration,
    pub(super) sent: u64,
    /// Not taken by this host's own kernel.
    pub(super) unsent: u64,
    /// Came back before the end: what the processor time was spent on.
    pub(super) delivered: u64,
    /// Of those sent, also what came after the end.
    pub(super) received: u64,
    pub(super) reordered: u64,
    /// Time in which there was nothing to do.
    pub(super) idle: Duration,
}

/// Sockets, lanes and counters of a load.
pub(super) struct Traffic<'a> {
    load: &'a Load,
    clients: &'a mut [Client],
    peers: &'a [UdpSocket],
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

/// What went out and came in.
struct Tally {
    binding: bool,
    run: u32,
    lanes: Vec<Lane>,
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
        let mut lanes = Vec::new();
        for (index, client) in clients.iter().enumerate() {
            let relayed = client.relayed();
            if load.to_peer {
                let peer = peers[client.peer].addr();
                let packet = to_server(load, peer, client.link.is_stream());
                lanes.push(Lane::new(load, index, client.server, packet));
            }
            if let Some(relayed) = relayed.filter(|_| load.to_client) {
                let packet = (vec![0; load.size], 0);
                let socket = clients.len() + client.peer;
                lanes.push(Lane::new(load, socket, relayed, packet));
            }
        }
        let ids = u16::try_from(lanes.len());
        if ids.is_err() && load.kind == Kind::Binding {
            return Err(BenchError::new("at most 65535 clients can ask at once"));
        }
        Ok(Self {
            load,
            clients,
            peers,
            tally: Tally {
                binding: load.kind == Kind::Binding,
                run: u32::from_ne_bytes(crate::random::bytes()),
                lanes,
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
        for lane in &mut tally.lanes {
            lane.arrivals.reordered = 0;
        }
    }

    /// Ends it; see [`Self::drain`] for those on their way.
    pub(super) fn end(&mut self) {
        let now = self.nanos();
        let Tally {
            lanes,
            from,
            until,
            totals,
            ..
        } = &mut self.tally;
        *until = Some(now);
        totals.elapsed = Duration::from_nanos(now - from.unwrap_or(now));
        totals.delivered = totals.received;
        totals.reordered = lanes.iter().map(|lane| lane.arrivals.reordered).sum();
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.tally.totals
    }

    pub(super) fn delays(&self) -> &Delays {
        &self.tally.delays
    }

    /// Receives what is still on its way.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            self.receive()?;
        }
        Ok(())
    }

    /// Sends and receives for `duration`, or until `stop`.
    pub(super) fn run(&mut self, duration: Duration, stop: &AtomicBool) -> io::Result<()> {
        let start = Instant::now();
        let (mut last, mut idle, mut progress) = (start, false, start);
        let mut pace = start;
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now.duration_since(start) >= duration {
                break;
            }
            if idle {
                self.tally.totals.idle += now.duration_since(last);
            }
            last = now;
            let sent = match self.load.pace {
                Pace::Rate(rate) => self.send_due(now, &mut pace, rate),
                Pace::Window(window) => {
                    if now.duration_since(progress) >= LOST {
                        progress = now;
                        let lanes = &mut self.tally.lanes;
                        lanes.iter_mut().for_each(|lane| lane.resolved = lane.sent);
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
            let lane = self.next;
            self.next = (lane + 1) % self.tally.lanes.len();
            sent += self.send(lane);
        }
        sent
    }

    /// Sends a burst on every lane that has room in its window, in turn.
    fn send_window(&mut self, window: u64) -> u64 {
        let (mut sent, mut bursts) = (0, 0);
        for _ in 0..self.tally.lanes.len() {
            let index = self.next;
            self.next = (index + 1) % self.tally.lanes.len();
            let lane = &self.tally.lanes[index];
            if lane.sent - lane.resolved + self.load.burst as u64 <= window {
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
            lanes,
            totals,
            ..
        } = &mut self.tally;
        let lane = &mut lanes[index];
        let first = lane.sent;
        for (sequence, packet) in (first..).zip(lane.burst.chunks_exact_mut(lane.packet)) {
            let stamp = Stamp {
                lane: index as u32,
                sequence,
                nanos,
            };
            let payload = &mut packet[lane.payload..];
            if *binding {
                payload[..12].copy_from_slice(&stamp.to_id());
            } else {
                stamp.write(*run, payload);
            }
        }
        lane.sent += load.burst as u64;
        let (bytes, size) = (&lane.burst, lane.packet);
        let taken = match self.clients.get_mut(lane.socket) {
            Some(client) => client.link.send_burst(bytes, size, lane.to, load.how),
            None => {
                let peer = &self.peers[lane.socket - self.clients.len()];
                peer.send_burst(bytes, size, lane.to, load.how)
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
                Some(client) => client.link.receive(&mut self.receiver)?,
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
    /// Counts a message that a client has got; `false`: it is none of ours.
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
        let Some(lane) = self.lanes.get_mut(stamp.lane as usize) else {
            return false;
        };
        lane.arrivals.add(stamp.sequence);
        lane.resolved = lane.resolved.max(lane.arrivals.next).min(lane.sent);
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

impl Lane {
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

/// What a client sends, and where the stamp goes.
fn to_server(load: &Load, peer: SocketAddr, stream: bool) -> (Vec<u8>, usize) {
    // Far below 64 KiB: `--size` is bounded.
    let size = load.size as u16;
    if load.kind == Kind::Binding {
        return (header(BINDING_REQUEST, 0), 8);
    }
    let mut packet = if load.indications {
        let mut address = [0; address::MAX_LEN];
        let len = encode_xor(peer, &numbers::TransactionId::default(), &mut address);
        let padded = size.next_multiple_of(4);
        const SEND: MessageType = MessageType {
            method: METHOD_SEND,
            class: CLASS_INDICATION,
        };
        let mut packet = header(SEND, 8 + len as u16 + padded);
        packet.extend(ATTR_XOR_PEER_ADDRESS.value().to_be_bytes());
        packet.extend((len as u16).to_be_bytes());
        packet.extend(&address[..len]);
        packet.extend(ATTR_DATA.value().to_be_bytes());
        packet.extend(size.to_be_bytes());
        packet
    } else {
        channel_data::header(CHANNEL, size).to_vec()
    };
    let payload = packet.len();
    packet.resize(payload + load.size, 0);
    if load.indications || stream {
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    (packet, payload)
}

/// A STUN header whose transaction id is zero.
fn header(typ: MessageType, len: u16) -> Vec<u8> {
    let [t0, t1] = typ.value().to_be_bytes();
    let [l0, l1] = len.to_be_bytes();
    let mut header = vec![t0, t1, l0, l1];
    header.extend(MAGIC_COOKIE.to_be_bytes());
    header.resize(MESSAGE_HEADER_SIZE, 0);
    header
}

/// The payload of channel data or of a Data indication.
fn from_server(datagram: &[u8]) -> Option<&[u8]> {
    if classify(datagram) == Class::ChannelData {
        return channel_data::parse(datagram).map(|(_, payload)| payload);
    }
    let frame = message::frame(datagram).ok()?;
    message::attributes(frame)
        .filter_map(Result::ok)
        .find_map(|(typ, value)| (typ.0 == ATTR_DATA.value()).then_some(value))
}

/// The transaction id of a success response.
fn transaction(datagram: &[u8]) -> Option<[u8; 12]> {
    let frame = message::frame(datagram).ok()?;
    let typ = u16::from_be_bytes([frame[0], frame[1]]);
    (typ == BINDING_SUCCESS.value())
        .then(|| frame[8..MESSAGE_HEADER_SIZE].try_into().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnd_proto::wire::indication::parse_send;

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
            Header::data_indication(&numbers::TransactionId::default(), peer, 4),
        ] {
            let datagram = [header.as_bytes(), b"data"].concat();
            assert_eq!(from_server(&datagram), Some(&b"data"[..]));
        }
        assert_eq!(from_server(b"\x40\0\0\x09x"), None);
        let mut response = super::header(BINDING_SUCCESS, 0);
        assert_eq!(transaction(&response), Some([0; 12]));
        response[1] = 0;
        assert_eq!(transaction(&response), None);
    }
}
