//! Data through a relay: from outside, and between two allocations.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, interval, timeout_at};

use super::connection::{Connection, NoResponse};
use super::finding::{Finding, known};
use crate::local::{any, local_ip};
use crate::turn::Response;

/// Packets of the round trip, and the time from one to the next: a voice call's.
const PACKETS: u32 = 50;
const INTERVAL: Duration = Duration::from_millis(20);
const PAYLOAD: usize = 160;
/// Time that the last packets have to arrive.
const STRAGGLERS: Duration = Duration::from_secs(1);
/// Bursts of the measurement of the rate: 20 Mbit/s for 0.4 s, a video call's peak.
const BURSTS: u32 = 80;
const BURST: u32 = 10;
const BURST_INTERVAL: Duration = Duration::from_millis(5);
const BURST_PAYLOAD: usize = 1250;
/// Time that a packet from outside has to arrive, and one to there.
const KNOCK: Duration = Duration::from_millis(1500);
const ANSWER: Duration = Duration::from_millis(1000);
/// Interval between two such packets.
const AGAIN: Duration = Duration::from_millis(200);

/// Ways that packets between a relayed address and this host take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    /// Packets arrive there, and packets from there arrive here.
    Both,
    /// Packets arrive there, but none from there arrives here.
    InOnly,
    /// No packet arrives there.
    NotIn {
        /// Packets from there arrive here; `None`: that could not be tried.
        out: Option<bool>,
    },
    /// The server refuses this host as a peer, with this code.
    Refused(SocketAddr, u16),
    /// No packet could be sent.
    NotTried,
}

/// Sends from this host's own address to the relayed one, and back.
pub(super) async fn from_outside(
    client: &mut Connection,
    relayed: SocketAddr,
    own: SocketAddr,
    deadline: Instant,
) -> Outside {
    if own.is_ipv4() != relayed.is_ipv4() {
        return Outside::NotTried;
    }
    match client.permit(own).await {
        Ok(Response { error: None, .. }) => {}
        Ok(Response { error, .. }) => {
            return Outside::Refused(own, known(error.unwrap_or_default()));
        }
        Err(_) => return Outside::NotTried,
    }
    let Ok(socket) = UdpSocket::bind(any(relayed)).await else {
        return Outside::NotTried;
    };
    // The server may take packets from its own address for its own relays' alone.
    let same_host = own.ip() == relayed.ip();
    match knock(client, &socket, relayed, deadline).await {
        Some(peer) if answer(client, &socket, peer, deadline).await => Outside::Both,
        _ if same_host => Outside::NotTried,
        Some(_) => Outside::InOnly,
        // Behind a NAT nobody has said yet what the socket's public address is.
        None => {
            let untranslated = local_ip(relayed).is_ok_and(|ip| ip == own.ip());
            let peer = socket.local_addr().ok().filter(|_| untranslated);
            let out = match peer {
                Some(local) => {
                    let peer = SocketAddr::new(own.ip(), local.port());
                    Some(answer(client, &socket, peer, deadline).await)
                }
                None => None,
            };
            Outside::NotIn { out }
        }
    }
}

/// Sends to the relayed address; the sender's address as the server sees it, if a packet arrives.
async fn knock(
    client: &mut Connection,
    socket: &UdpSocket,
    relayed: SocketAddr,
    deadline: Instant,
) -> Option<SocketAddr> {
    let knock: [u8; 16] = crate::random::bytes();
    let until = (Instant::now() + KNOCK).min(deadline);
    let mut again = interval(AGAIN);
    loop {
        tokio::select! {
            // A loopback or link-local address cannot be sent to from afar.
            _ = again.tick() => drop(socket.send_to(&knock, relayed).await.ok()?),
            received = timeout_at(until, client.receive_data()) => match received.ok()?.ok()? {
                (Some(peer), data) if data == knock => return Some(peer),
                _ => {}
            },
        }
    }
}

/// Sends from the relayed address; whether a packet arrives at `socket`, which is `peer` to the server.
async fn answer(
    client: &mut Connection,
    socket: &UdpSocket,
    peer: SocketAddr,
    deadline: Instant,
) -> bool {
    let payload: [u8; 16] = crate::random::bytes();
    let until = (Instant::now() + ANSWER).min(deadline);
    let mut again = interval(AGAIN);
    let mut buffer = [0; 64];
    loop {
        tokio::select! {
            _ = again.tick() => if client.send_to(peer, &payload).await.is_err() {
                return false;
            },
            received = timeout_at(until, socket.recv_from(&mut buffer)) => match received {
                Ok(Ok((len, _))) if buffer[..len] == payload => return true,
                // ICMP errors about the packets to the relayed address come too.
                Ok(_) => {}
                Err(_) => return false,
            },
        }
    }
}

/// Data that went through the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets sent from the first allocation to the second.
    pub sent: u32,
    /// Packets that arrived at the second.
    pub arrived: u32,
    /// Packets that came back to the first.
    pub returned: u32,
    /// Median of the times there and back.
    pub median: Duration,
    /// 95th percentile of those times.
    pub p95: Duration,
    /// Bits per second that arrived, of 20 million sent.
    pub rate: u64,
}

impl Traffic {
    /// The share of packets that did not come back, in percent.
    pub fn loss(&self) -> f64 {
        100.0 * f64::from(self.sent - self.returned) / f64::from(self.sent.max(1))
    }

    /// The finding that it is worth, if any.
    pub(super) fn finding(&self) -> Option<Finding> {
        if self.returned == 0 {
            return Some(Finding::fault(
                "nothing comes through from one relayed address to another",
                "the server does not reach its own relayed addresses: external-ip does not lead back, or a firewall is between",
                "let the server reach itself by external-ip, and open UDP from min-port to max-port",
            ));
        }
        if self.loss() > 2.0 {
            return Some(Finding::warning(
                format!("{:.0}% of the packets are lost", self.loss()),
                "the network or the server is overloaded, or max-bps is low",
                "try again at another time, and look at the server's drop counters",
            ));
        }
        None
    }
}

/// Sends between two allocations by way of their relayed addresses.
pub(super) async fn round_trip(
    ends: [(&mut Connection, SocketAddr); 2],
    deadline: Instant,
) -> Result<Traffic, Finding> {
    let [(first, first_relayed), (second, second_relayed)] = ends;
    bind(first, second_relayed).await?;
    bind(second, first_relayed).await?;
    let mut traffic = echo(first, second, deadline).await;
    if traffic.returned > 0 {
        traffic.rate = rate(first, second, deadline).await;
    }
    Ok(traffic)
}

async fn bind(client: &mut Connection, peer: SocketAddr) -> Result<(), Finding> {
    let failed = |why: String, code| {
        Finding::fault(
            format!("the server refuses {} as a peer", peer.ip()),
            why,
            "calls between two clients of this server need it: take it out of denied-peer-ip, or name it in allowed-peer-ip",
        )
        .with_code(code)
    };
    match client.bind_channel(peer).await {
        Ok(Response { error: None, .. }) => Ok(()),
        Ok(Response { error, .. }) => {
            let code = known(error.unwrap_or_default());
            let why = match code {
                403 => "it is its own relayed address, which its peer rules forbid".to_owned(),
                code => format!("it answers with error {code}"),
            };
            Err(failed(why, code))
        }
        Err(NoResponse::Silent(_)) => Err(failed("no answer came in time".to_owned(), 701)),
        Err(NoResponse::Broken(error)) => Err(failed(error.to_string(), 701)),
    }
}

async fn echo(first: &mut Connection, second: &mut Connection, deadline: Instant) -> Traffic {
    let begun = Instant::now();
    let mut traffic = Traffic::default();
    let mut trips = Vec::new();
    let mut tick = interval(INTERVAL);
    let end = begun + INTERVAL * PACKETS + STRAGGLERS;
    let end = end.min(deadline);
    let mut payload = [0; PAYLOAD];
    while traffic.returned < PACKETS {
        tokio::select! {
            _ = tick.tick(), if traffic.sent < PACKETS => {
                payload[..4].copy_from_slice(&traffic.sent.to_be_bytes());
                let now = begun.elapsed().as_micros() as u64;
                payload[4..12].copy_from_slice(&now.to_be_bytes());
                // A packet that cannot be sent is lost.
                let _ = first.send_channel(&payload).await;
                traffic.sent += 1;
            }
            arrived = timeout_at(end, second.receive_data()) => match arrived {
                Ok(Ok((_, data))) => {
                    traffic.arrived += 1;
                    let _ = second.send_channel(&data).await;
                }
                Ok(Err(_)) | Err(_) => break,
            },
            returned = first.receive_data() => match returned {
                Ok((_, data)) => {
                    traffic.returned += 1;
                    if let Some(sent) = data.get(4..12).and_then(|b| b.try_into().ok()) {
                        let sent = Duration::from_micros(u64::from_be_bytes(sent));
                        trips.push(begun.elapsed().saturating_sub(sent));
                    }
                }
                Err(_) => break,
            },
        }
    }
    trips.sort_unstable();
    let at = |share: usize| {
        trips
            .get(trips.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    Traffic {
        median: at(50),
        p95: at(95),
        ..traffic
    }
}

/// Bits per second that arrive of what is sent for a moment.
async fn rate(first: &mut Connection, second: &mut Connection, deadline: Instant) -> u64 {
    let begun = Instant::now();
    let mut tick = interval(BURST_INTERVAL);
    let (mut bursts, mut bytes) = (0, 0u64);
    let mut last = begun;
    let end = (begun + BURST_INTERVAL * BURSTS + STRAGGLERS / 4).min(deadline);
    let payload = [0; BURST_PAYLOAD];
    loop {
        tokio::select! {
            _ = tick.tick(), if bursts < BURSTS => {
                bursts += 1;
                for _ in 0..BURST {
                    let _ = first.send_channel(&payload).await;
                }
            }
            arrived = timeout_at(end, second.receive_data()) => match arrived {
                Ok(Ok((_, data))) => {
                    bytes += data.len() as u64;
                    last = Instant::now();
                }
                Ok(Err(_)) | Err(_) => break,
            },
        }
        if bytes >= u64::from(BURSTS * BURST) * BURST_PAYLOAD as u64 {
            break;
        }
    }
    // At least as long as the sending took.
    let elapsed = (last - begun).max(BURST_INTERVAL * BURSTS).as_secs_f64();
    (bytes as f64 * 8.0 / elapsed) as u64
}
