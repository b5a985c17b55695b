//! Networks whose connections the kernel drops for a while: to take one and close it costs as much
//! as eight refused requests.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SKF_NET_OFF,
};
use socket2::SockFilter;
use turnd_proto::policy::ip_range::IpRange;

/// Refused connections of one network, in [`WINDOW`], at which the kernel drops the next.
const MOST_REFUSED: u32 = 100;
/// Time in which refused connections are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// Time for which a network is dropped: as long as a client waits before it sends a SYN again.
const DROPPED_FOR: Duration = Duration::from_secs(1);
/// Networks that are watched at a time; a filter has 4,096 instructions at the most.
const MAX_NETWORKS: usize = 64;

/// Offset of the flags in a TCP header, and those of the first segment of a connection.
const FLAGS: u32 = 13;
const SYN: u32 = 0x02;
const SYN_AND_ACK: u32 = 0x12;
/// Offset of the source address in an IPv4 header.
const IPV4_SOURCE: u32 = 12;
/// Offset of the source address in an IPv6 header.
const IPV6_SOURCE: u32 = 8;
/// Bits of the last word of a network: /24, and the second word of a /56.
const LAST_WORD: u32 = 0xffff_ff00;
/// Return value that keeps all of a segment.
const KEEP: u32 = u32::MAX;
const DROP: u32 = 0;

/// Source network, as the rates of connections count: /24 or /56.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    V4(u32),
    V6([u32; 2]),
}

impl From<IpAddr> for Network {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(u32::from(ip) & LAST_WORD),
            IpAddr::V6(ip) => {
                let high = (u128::from(ip) >> 64) as u64;
                Self::V6([(high >> 32) as u32, high as u32 & LAST_WORD])
            }
        }
    }
}

/// Whether an address of `range` is dropped together with `source`.
pub(super) fn shares_network(source: IpAddr, range: &IpRange) -> bool {
    let network = Network::from(source);
    range.contains(source)
        || [range.first(), range.last()]
            .map(Network::from)
            .contains(&network)
}

/// A network that has been refused.
#[derive(Debug)]
struct Refused {
    network: Network,
    /// Connections since `since`.
    count: u32,
    since: Instant,
    /// End of the time for which the kernel drops it.
    dropped_until: Option<Instant>,
}

impl Refused {
    fn is_over(&self, now: Instant) -> bool {
        match self.dropped_until {
            Some(until) => until <= now,
            None => self.since + WINDOW <= now,
        }
    }
}

/// Networks whose connections one worker has refused of late, and which the kernel drops.
#[derive(Debug, Default)]
pub(super) struct SynFilter {
    refused: Vec<Refused>,
}

impl SynFilter {
    /// Notes a connection that was refused; `true`: the kernel has to drop other networks now.
    pub(super) fn refuse(&mut self, now: Instant, source: IpAddr) -> bool {
        let network = Network::from(source);
        let known = self.refused.iter_mut().find(|of| of.network == network);
        let Some(refused) = known else {
            self.watch(now, network);
            return false;
        };
        if refused.dropped_until.is_some() {
            // The connection was made before.
            return false;
        }
        if refused.is_over(now) {
            (refused.count, refused.since) = (0, now);
        }
        refused.count += 1;
        let too_many = refused.count >= MOST_REFUSED;
        if too_many {
            refused.dropped_until = Some(now + DROPPED_FOR);
        }
        too_many
    }

    fn watch(&mut self, now: Instant, network: Network) {
        let refused = Refused {
            network,
            count: 1,
            since: now,
            dropped_until: None,
        };
        if self.refused.len() < MAX_NETWORKS {
            return self.refused.push(refused);
        }
        let counted = self
            .refused
            .iter_mut()
            .filter(|of| of.dropped_until.is_none());
        if let Some(least) = counted.min_by_key(|of| of.count) {
            *least = refused;
        }
    }

    /// Time of the next [`Self::expire`].
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.refused.iter().filter_map(|of| of.dropped_until).min()
    }

    /// Lets go of networks whose time is over; `true`: the kernel has to drop fewer now.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let due = self.next_due().is_some_and(|at| at <= now);
        if due {
            self.refused.retain(|of| !of.is_over(now));
        }
        due
    }

    /// Program for a listening socket of one family; empty: nothing is dropped.
    ///
    /// Sockets of connections inherit it from the listening one. It looks at SYNs alone, so that
    /// no connection feels it.
    pub(super) fn program(&self, ipv6: bool) -> Vec<SockFilter> {
        let dropped = self.refused.iter().filter(|of| of.dropped_until.is_some());
        let mut tests = Vec::new();
        for refused in dropped {
            match refused.network {
                Network::V4(network) if !ipv6 => tests.extend([
                    load_network(IPV4_SOURCE),
                    and(LAST_WORD),
                    unless_equal_skip(network, 1),
                    end(DROP),
                ]),
                Network::V6([first, second]) if ipv6 => tests.extend([
                    load_network(IPV6_SOURCE),
                    unless_equal_skip(first, 4),
                    load_network(IPV6_SOURCE + 4),
                    and(LAST_WORD),
                    unless_equal_skip(second, 1),
                    end(DROP),
                ]),
                Network::V4(_) | Network::V6(_) => {}
            }
        }
        if tests.is_empty() {
            return tests;
        }
        let mut program = vec![
            instruction(BPF_LD | BPF_B | BPF_ABS, 0, 0, FLAGS),
            and(SYN_AND_ACK),
            instruction(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, SYN),
            end(KEEP),
        ];
        program.append(&mut tests);
        program.push(end(KEEP));
        program
    }
}

fn instruction(code: u32, if_equal: u8, if_not: u8, operand: u32) -> SockFilter {
    SockFilter::new(code as u16, if_equal, if_not, operand)
}

/// Loads a word of the IP header.
fn load_network(offset: u32) -> SockFilter {
    let header = SKF_NET_OFF as u32;
    instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0, header + offset)
}

fn and(mask: u32) -> SockFilter {
    instruction(BPF_ALU | BPF_AND | BPF_K, 0, 0, mask)
}

fn unless_equal_skip(operand: u32, count: u8) -> SockFilter {
    instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, count, operand)
}

fn end(value: u32) -> SockFilter {
    instruction(BPF_RET | BPF_K, 0, 0, value)
}

#[cfg(test)]
mod tests;
