//! New clients of a listening socket.

use std::net::{IpAddr, SocketAddr};

/// New clients that a listening socket takes, by the local address that they come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Newcomers {
    /// All that come.
    All,
    /// On a socket for every address, those who come to one of these.
    At(Vec<IpAddr>),
    /// None: the socket is open for clients who were there before.
    Nobody,
}

impl Newcomers {
    /// The new clients of a socket on `socket`, one of those that are `open`, when the server listens
    /// on the `wanted` addresses.
    ///
    /// A socket stays for an address that it has among others, and beside one that has more: where
    /// another took its place, the kernel would deal its clients out anew, to the wrong workers.
    pub(super) fn of(socket: SocketAddr, wanted: &[SocketAddr], open: &[SocketAddr]) -> Self {
        let wanted = wanted.iter().filter(|addr| have_same_port(**addr, socket));
        let is_all = |addr: &SocketAddr| *addr == socket || addr.ip().is_unspecified();
        if wanted.clone().any(is_all) {
            return Self::All;
        }
        // Clients of an address with a socket of its own come to that one.
        let without_socket = wanted.filter(|addr| !open.contains(addr));
        let ips: Vec<IpAddr> = without_socket.map(SocketAddr::ip).collect();
        if socket.ip().is_unspecified() && !ips.is_empty() {
            Self::At(ips)
        } else {
            Self::Nobody
        }
    }

    /// Whether those are among them who come to `local`.
    pub(super) fn include(&self, local: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::At(ips) => ips.contains(&local),
            Self::Nobody => false,
        }
    }
}

/// Whether two addresses are of one port and one family.
pub(super) fn have_same_port(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.is_ipv4() == other.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn sockets_serve_as_much_of_their_addresses_as_is_wanted() {
        let newcomers = |socket: &str, wanted: &[&str], others: &[&str]| {
            let socket = socket.parse().unwrap();
            let open = [addresses(others), vec![socket]].concat();
            Newcomers::of(socket, &addresses(wanted), &open)
        };
        let one = "127.0.0.1:3478";
        let all = "0.0.0.0:3478";
        for wanted in [one, all] {
            assert_eq!(newcomers(one, &[wanted], &[]), Newcomers::All, "{wanted}");
        }
        assert_eq!(newcomers(all, &[all, one], &[]), Newcomers::All);
        let at_one = Newcomers::At(vec![[127, 0, 0, 1].into()]);
        assert_eq!(newcomers(all, &[one, "[::1]:3478"], &[]), at_one);
        assert_eq!(newcomers(all, &[one], &[one]), Newcomers::Nobody);
        assert_eq!(
            newcomers(all, &[one, "127.0.0.2:3478"], &["127.0.0.2:3478"]),
            at_one
        );
        for other in ["127.0.0.1:3479", "127.0.0.2:3478", "[::]:3478"] {
            assert_eq!(newcomers(one, &[other], &[]), Newcomers::Nobody, "{other}");
        }
        assert!(!at_one.include([127, 0, 0, 2].into()));
        assert!(at_one.include([127, 0, 0, 1].into()));
    }
}
