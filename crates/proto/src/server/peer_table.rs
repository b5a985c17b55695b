//! Permissions and channels of one allocation (RFC 8656 §9, §12).

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use super::five_tuple::PeerAddr;
use crate::random::HashKeys;

/// Ports of a permitted address that may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of them.
    Any,
    /// All but those of services that no client reaches ([`PeerFilter::with_never`]).
    ///
    /// [`PeerFilter::with_never`]: crate::policy::peer_filter::PeerFilter::with_never
    Guarded,
    /// The address is this server's: only ports that are relayed transport addresses now.
    RelayedOnly,
}

/// Leave to exchange data with one IP address (RFC 8656 §2.3).
#[derive(Clone, Copy, Debug)]
pub(super) struct Permission {
    /// From then on it is void.
    pub(super) expires: Instant,
    /// Ports that may be reached.
    pub(super) reach: Reach,
}

/// A channel number bound to a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    /// The peer.
    pub(super) peer: PeerAddr,
    /// From then on it is void.
    pub(super) expires: Instant,
    /// Reach of the permission for the peer's address.
    pub(super) reach: Reach,
}

/// The channels of one allocation, found by number and by peer.
#[derive(Debug)]
pub(super) struct Channels {
    by_number: HashMap<u16, Binding, HashKeys>,
    by_peer: HashMap<PeerAddr, u16, HashKeys>,
}

impl Channels {
    fn new(hash_keys: HashKeys) -> Self {
        Self {
            by_number: HashMap::with_hasher(hash_keys),
            by_peer: HashMap::with_hasher(hash_keys),
        }
    }

    /// The live binding of `number`.
    #[must_use]
    pub(super) fn get(&self, number: u16, now: Instant) -> Option<&Binding> {
        self.by_number
            .get(&number)
            .filter(|binding| now < binding.expires)
    }

    /// The number that is bound to `peer` and its binding, if it lives.
    #[must_use]
    pub(super) fn of_peer(&self, peer: PeerAddr, now: Instant) -> Option<u16> {
        let number = *self.by_peer.get(&peer)?;
        self.get(number, now).map(|_| number)
    }

    fn bind(&mut self, number: u16, binding: Binding) {
        self.by_peer.insert(binding.peer, number);
        self.by_number.insert(number, binding);
    }

    /// Removes the bindings that `keep` does not want and calls `gone` with each.
    fn retain(
        &mut self,
        mut keep: impl FnMut(&mut Binding) -> bool,
        mut gone: impl FnMut(u16, PeerAddr),
    ) {
        let by_peer = &mut self.by_peer;
        self.by_number.retain(|number, binding| {
            let lives = keep(binding);
            if !lives {
                by_peer.remove(&binding.peer);
                gone(*number, binding.peer);
            }
            lives
        });
    }

    /// All bindings, expired or not.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Binding)> {
        self.by_number
            .iter()
            .map(|(number, binding)| (*number, binding))
    }

    /// Number of channels.
    #[must_use]
    pub(super) fn count(&self) -> usize {
        self.by_number.len()
    }
}

/// Result of the look-up for a packet to a channel.
#[derive(Clone, Copy, Debug)]
struct LastChannel {
    number: u16,
    peer: PeerAddr,
    reach: Reach,
    until: Instant,
}

/// Result of the look-up for a packet from a peer.
#[derive(Clone, Copy, Debug)]
struct LastPeer {
    peer: PeerAddr,
    reach: Reach,
    number: Option<u16>,
    until: Instant,
}

/// The permissions and channels of one allocation.
///
/// Nearly every allocation has one peer, so what the last packet found is kept for the next one;
/// whatever changes the tables forgets it.
#[derive(Debug)]
pub(super) struct PeerTable {
    /// By address, ports ignored.
    permissions: HashMap<IpAddr, Permission, HashKeys>,
    channels: Channels,
    last_channel: Option<LastChannel>,
    last_peer: Option<LastPeer>,
    /// `None`: none was.
    refused: Option<Box<Refused>>,
}

/// Most refused addresses that one allocation remembers.
const MAX_REFUSED: usize = 1024;

/// Channels and permissions that a change of the settings took away.
#[derive(Debug)]
struct Refused {
    channels: HashSet<u16, HashKeys>,
    /// No more than [`MAX_REFUSED`].
    addresses: HashSet<IpAddr, HashKeys>,
}

impl PeerTable {
    /// No permissions and no channels.
    #[must_use]
    pub(super) fn new(hash_keys: HashKeys) -> Self {
        Self {
            permissions: HashMap::with_hasher(hash_keys),
            channels: Channels::new(hash_keys),
            last_channel: None,
            last_peer: None,
            refused: None,
        }
    }

    /// The live permission for `ip`.
    #[must_use]
    pub(super) fn permission(&self, ip: IpAddr, now: Instant) -> Option<&Permission> {
        self.permissions
            .get(&ip)
            .filter(|permission| now < permission.expires)
    }

    /// The permitted addresses, those whose permission has expired too.
    pub(super) fn permitted(&self) -> impl ExactSizeIterator<Item = &IpAddr> {
        self.permissions.keys()
    }

    /// Whether there is a permission for `ip`, expired or not.
    #[must_use]
    pub(super) fn knows(&self, ip: &IpAddr) -> bool {
        self.permissions.contains_key(ip)
    }

    /// Makes a permission, or lets its lifetime begin anew.
    pub(super) fn permit(&mut self, ip: IpAddr, permission: Permission) {
        self.forget();
        if let Some(refused) = &mut self.refused {
            refused.addresses.remove(&ip);
        }
        self.permissions.insert(ip, permission);
    }

    /// Remembers channels and permissions that a change of the settings took away.
    pub(super) fn refuse(&mut self, channels: Vec<u16>, addresses: Vec<IpAddr>) {
        let hash_keys = *self.permissions.hasher();
        let refused = self.refused.get_or_insert_with(|| {
            Box::new(Refused {
                channels: HashSet::with_hasher(hash_keys),
                addresses: HashSet::with_hasher(hash_keys),
            })
        });
        refused.channels.extend(channels);
        let room = MAX_REFUSED.saturating_sub(refused.addresses.len());
        refused.addresses.extend(addresses.into_iter().take(room));
    }

    /// Whether a change of the settings took the channel of this number.
    #[must_use]
    pub(super) fn has_refused_channel(&self, number: u16) -> bool {
        let refused = self.refused.as_ref();
        refused.is_some_and(|refused| refused.channels.contains(&number))
    }

    /// Whether a change of the settings took the permission for `ip`.
    #[must_use]
    pub(super) fn has_refused(&self, ip: IpAddr) -> bool {
        let refused = self.refused.as_ref();
        refused.is_some_and(|refused| refused.addresses.contains(&ip))
    }

    /// The channels.
    #[must_use]
    pub(super) fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Binds `number`, or lets its lifetime begin anew. The caller has ruled out conflicts.
    pub(super) fn bind(&mut self, number: u16, binding: Binding) {
        self.forget();
        if let Some(refused) = &mut self.refused {
            refused.channels.remove(&number);
        }
        self.channels.bind(number, binding);
    }

    /// Removes the permissions and bindings that are not to be kept, and calls `gone` with each
    /// channel among them.
    pub(super) fn retain(
        &mut self,
        mut keep_permission: impl FnMut(IpAddr, &mut Permission) -> bool,
        keep_binding: impl FnMut(&mut Binding) -> bool,
        gone: impl FnMut(u16, PeerAddr),
    ) {
        self.forget();
        self.permissions
            .retain(|ip, permission| keep_permission(*ip, permission));
        self.channels.retain(keep_binding, gone);
    }

    fn forget(&mut self) {
        self.last_channel = None;
        self.last_peer = None;
    }

    /// The peer of channel `number`, which may outlive the permission in this direction
    /// (§12.6).
    #[must_use]
    pub(super) fn of_channel(&mut self, number: u16, now: Instant) -> Option<(PeerAddr, Reach)> {
        let last_channel = match self.last_channel {
            Some(last) if last.number == number && now < last.until => last,
            _ => {
                let binding = self.channels.get(number, now)?;
                *self.last_channel.insert(LastChannel {
                    number,
                    peer: binding.peer,
                    reach: binding.reach,
                    until: binding.expires,
                })
            }
        };
        Some((last_channel.peer, last_channel.reach))
    }

    /// The reach of `peer`, and its channel if it has one; `None`: it has no permission.
    #[must_use]
    pub(super) fn of_peer(&mut self, peer: PeerAddr, now: Instant) -> Option<(Reach, Option<u16>)> {
        let last_peer = match self.last_peer {
            Some(last) if last.peer == peer && now < last.until => last,
            _ => {
                let permission = *self.permission(peer.ip(), now)?;
                let number = self.channels.of_peer(peer, now);
                let binding = number.and_then(|number| self.channels.get(number, now));
                let until = binding.map_or(permission.expires, |binding| {
                    permission.expires.min(binding.expires)
                });
                *self.last_peer.insert(LastPeer {
                    peer,
                    reach: permission.reach,
                    number,
                    until,
                })
            }
        };
        Some((last_peer.reach, last_peer.number))
    }

    /// Ends of all permissions and channels.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let permissions = self.permissions.values();
        let channels = self.channels.iter();
        permissions
            .map(|permission| permission.expires)
            .chain(channels.map(|(_, binding)| binding.expires))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::random::Random;

    const NUMBER: u16 = 0x4001;

    fn peer(port: u16) -> PeerAddr {
        PeerAddr(([192, 0, 2, 1], port).into())
    }

    /// Permission until second 300, channel until second 600.
    fn table(start: Instant) -> PeerTable {
        let mut table = PeerTable::new(Random::new([7; 32]).hash_keys());
        let expires = start + Duration::from_secs(300);
        let reach = Reach::Any;
        table.permit(peer(0).ip(), Permission { expires, reach });
        let expires = start + Duration::from_secs(600);
        let peer = peer(9);
        table.bind(
            NUMBER,
            Binding {
                peer,
                expires,
                reach,
            },
        );
        table
    }

    #[test]
    fn c7_what_is_remembered_ends_with_what_it_came_from() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut table = table(start);
        for second in [0, 1, 299] {
            let of_peer = table.of_peer(peer(9), at(second));
            assert_eq!(of_peer, Some((Reach::Any, Some(NUMBER))), "{second}");
            // Another port of the address is permitted too, and has no channel.
            let other = table.of_peer(peer(10), at(second));
            assert_eq!(other, Some((Reach::Any, None)), "{second}");
        }
        for second in [300, 301] {
            assert_eq!(table.of_peer(peer(9), at(second)), None, "{second}");
            assert_eq!(table.of_peer(peer(10), at(second)), None, "{second}");
        }
        for second in [0, 300, 599] {
            let of_channel = table.of_channel(NUMBER, at(second));
            assert_eq!(of_channel, Some((peer(9), Reach::Any)), "{second}");
            assert_eq!(table.of_channel(NUMBER + 1, at(second)), None);
        }
        assert_eq!(table.of_channel(NUMBER, at(600)), None);
    }

    #[test]
    fn what_is_remembered_is_forgotten_with_every_change() {
        let start = Instant::now();
        let mut table = table(start);
        assert!(table.of_peer(peer(10), start).is_some());
        let expires = start + Duration::from_secs(600);
        let binding = Binding {
            peer: peer(10),
            expires,
            reach: Reach::RelayedOnly,
        };
        table.bind(NUMBER + 1, binding);
        let number = Some(NUMBER + 1);
        assert_eq!(
            table.of_peer(peer(10), start),
            Some((Reach::Any, number)),
            "a new channel"
        );
        assert!(table.of_channel(NUMBER, start).is_some());
        table.retain(|_, _| false, |_| false, |_, _| {});
        assert_eq!(table.of_channel(NUMBER, start), None);
        assert_eq!(table.of_peer(peer(10), start), None);
    }
}
