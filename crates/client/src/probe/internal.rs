//! Peers inside the server's own network, which a server on the internet should not relay to.

use std::net::{IpAddr, SocketAddr};

use super::connection::Connection;
use super::explain::unroutable;
use super::finding::Finding;
use crate::turn::Request;

/// Port of the peers; nothing is sent there.
const PORT: u16 = 9;
/// Channels to bind, none of which the round trip uses.
const CHANNELS: std::ops::RangeFrom<u16> = 0x4001..;

/// Addresses to try, and coturn's `denied-peer-ip` against their like.
const PEERS: [(&str, &str); 12] = [
    ("127.0.0.1", "127.0.0.0-127.255.255.255"),
    ("0.0.0.0", "0.0.0.0-0.255.255.255"),
    ("10.0.0.1", "10.0.0.0-10.255.255.255"),
    ("172.16.0.1", "172.16.0.0-172.31.255.255"),
    ("192.168.0.1", "192.168.0.0-192.168.255.255"),
    ("100.64.0.1", "100.64.0.0-100.127.255.255"),
    ("169.254.169.254", "169.254.0.0-169.254.255.255"),
    ("::1", "::1"),
    ("::ffff:127.0.0.1", "::ffff:0:0-::ffff:ffff:ffff"),
    ("64:ff9b::7f00:1", "64:ff9b::-64:ff9b::ffff:ffff"),
    ("fd00::1", "fc00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::1", "fe80::-febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
];

/// An address of that list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Internal {
    ip: IpAddr,
    range: &'static str,
}

/// Answers of a server that was asked for such peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tried {
    pub(super) refused: usize,
    pub(super) accepted: Vec<Internal>,
}

impl Tried {
    /// Adds the answers of another allocation.
    pub(super) fn add(&mut self, other: Self) {
        self.refused += other.refused;
        self.accepted.extend(other.accepted);
    }

    /// Addresses that the server accepts.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.accepted.iter().map(|peer| peer.ip).collect()
    }

    /// The finding that it is worth, if any.
    pub(super) fn finding(&self) -> Option<Finding> {
        if self.accepted.is_empty() {
            return None;
        }
        let list = |show: &dyn Fn(&Internal) -> String, between| {
            let shown: Vec<_> = self.accepted.iter().map(show).collect();
            shown.join(between)
        };
        let kind = |peer: &Internal| match unroutable(peer.ip) {
            Some(kind) => format!("{} ({kind})", peer.ip),
            None => peer.ip.to_string(),
        };
        Some(Finding::warning(
            format!("the server accepts as peers {}", list(&kind, ", ")),
            "whoever has credentials may reach services on its host and inside its network, such as a cloud's metadata",
            format!(
                "at turnd, take them out of allowed-peer-ip and allow-loopback-peers; at coturn, add {}",
                list(&|peer| format!("denied-peer-ip={}", peer.range), ", ")
            ),
        ))
    }
}

/// Addresses to try from a relayed one. Within one private network such peers are wanted.
fn candidates(relayed: IpAddr) -> Vec<Internal> {
    let own = unroutable(relayed);
    let all = PEERS.iter().filter_map(|(ip, range)| {
        let ip = ip.parse().ok()?;
        Some(Internal { ip, range })
    });
    let fits = |peer: &Internal| {
        peer.ip.is_ipv4() == relayed.is_ipv4() && (own.is_none() || unroutable(peer.ip) != own)
    };
    all.filter(fits).collect()
}

/// Asks for permissions and channels to such peers and sends nothing there; `None`: not all was answered.
pub(super) async fn try_peers(client: &mut Connection, relayed: IpAddr) -> Option<Tried> {
    let peers = candidates(relayed);
    let address = |peer: &Internal| SocketAddr::new(peer.ip, PORT);
    let permissions = peers
        .iter()
        .map(|peer| Request::CreatePermission(vec![address(peer)]));
    let channels = peers
        .iter()
        .zip(CHANNELS)
        .map(|(peer, number)| Request::ChannelBind(number, address(peer)));
    let responses = client.ask_all(permissions.chain(channels).collect()).await;
    let responses = responses.ok()?;
    let (permissions, channels) = responses.split_at(peers.len());
    let mut tried = Tried::default();
    for ((peer, permission), channel) in peers.iter().zip(permissions).zip(channels) {
        if permission.error.is_none() || channel.error.is_none() {
            tried.accepted.push(*peer);
        } else {
            tried.refused += 1;
        }
    }
    Some(tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried_from(relayed: &str) -> Vec<String> {
        let peers = candidates(relayed.parse().unwrap());
        peers.iter().map(|peer| peer.ip.to_string()).collect()
    }

    #[test]
    fn peers_of_the_relays_family_and_not_of_its_own_network() {
        assert_eq!(tried_from("5.6.7.8").len(), 7);
        assert_eq!(tried_from("2a01::1").len(), 5);
        let private = tried_from("10.7.7.2");
        assert_eq!(private, ["127.0.0.1", "0.0.0.0", "169.254.169.254"]);
        assert!(!tried_from("127.0.0.1").contains(&"127.0.0.1".to_owned()));
    }

    #[test]
    fn the_remedy_is_for_what_is_accepted() {
        assert_eq!(Tried::default().finding(), None);
        let accepted = candidates([5, 6, 7, 8].into());
        let accepted = vec![accepted[0], accepted[6]];
        let finding = Tried {
            refused: 5,
            accepted,
        }
        .finding()
        .unwrap()
        .to_string();
        assert!(
            finding.starts_with("warning: the server accepts as peers 127.0.0.1 (loopback), 169.254.169.254 (link-local): "),
            "{finding}"
        );
        assert!(
            finding.ends_with("at coturn, add denied-peer-ip=127.0.0.0-127.255.255.255, denied-peer-ip=169.254.0.0-169.254.255.255"),
            "{finding}"
        );
    }
}
