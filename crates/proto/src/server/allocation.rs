//! One allocation and its lifetimes (RFC 8656 §5).

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::connections::PeerConnections;
use super::context::Context;
use super::counters::Limit;
use super::deadlines::Subject;
use super::five_tuple::{Family, Path};
use super::output::{Channel, EndReason, Event, Output, RelayId, Session, Traffic};
use super::peer_table::{Binding, PeerTable, Permission, Reach};
use super::ports::{PortLease, Relayed};
use super::refusal::Refusal;
use crate::auth::Identity;
use crate::policy::account::{Directions, Holding};
use crate::policy::quota::QuotaGuard;
use crate::policy::rate::TokenBucket;
use crate::wire::message::Head;
use crate::wire::numbers::TransactionId;

/// A response that is repeated when its request is (RFC 8489 §6.3.1).
#[derive(Debug)]
pub(super) struct Replay {
    /// The request's transaction.
    pub(super) id: TransactionId,
    /// The response.
    pub(super) response: Box<[u8]>,
    /// Time from which the transaction id means a new request.
    pub(super) until: Instant,
}

/// Port that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortRequest {
    /// Any port.
    Any,
    /// EVEN-PORT with R = 0.
    Even,
    /// EVEN-PORT with R = 1: an even port, and the next one reserved.
    Pair,
    /// RESERVATION-TOKEN: the port that was reserved.
    Reserved,
}

/// An Allocate request whose relay socket is being opened.
#[derive(Debug)]
pub(super) struct Opening {
    /// Head of the request.
    pub(super) head: Head,
    /// Ports that could not be bound, kept until another is, so that none is tried twice.
    pub(super) refused: Vec<PortLease>,
    /// Port to reserve, with its place in the quotas.
    pub(super) partner: Option<(PortLease, QuotaGuard)>,
    /// Port that the client asks for.
    pub(super) port: PortRequest,
}

/// Allocation of a client (RFC 8656 §3.2).
#[derive(Debug)]
pub(super) struct Allocation {
    /// Number that no other allocation of this process has had.
    pub(super) serial: u64,
    /// Relay socket.
    pub(super) relay: RelayId,
    /// The client.
    pub(super) path: Path,
    /// The user who made it.
    pub(super) identity: Identity,
    /// The relayed transport address as it is bound.
    pub(super) lease: PortLease,
    /// The relayed transport address as clients and peers know it.
    pub(super) public: SocketAddr,
    /// Share of the quotas, held as long as the allocation lives.
    pub(super) _quota: QuotaGuard,
    /// Time of the Allocate request.
    pub(super) created: Instant,
    /// End of its lifetime.
    pub(super) expires: Instant,
    /// The deadline that is armed for it.
    pub(super) armed: Instant,
    /// Set until the relay socket is open.
    pub(super) opening: Option<Box<Opening>>,
    /// The Allocate response, for as long as its request may be repeated.
    pub(super) replay: Option<Replay>,
    /// Permissions and channels.
    pub(super) peers: PeerTable,
    /// Peer connections; `None`: the allocation relays UDP.
    pub(super) tcp: Option<Box<PeerConnections>>,
    /// Data that it has carried.
    pub(super) traffic: Traffic,
    /// Data that it may carry (`max-bps`).
    pub(super) bandwidth: Directions<TokenBucket>,
    /// Share of the permissions and channels of the user, and of all users.
    pub(super) holding: Holding,
}

impl Allocation {
    /// The family of its relayed transport address.
    pub(super) fn family(&self) -> Family {
        Family::of(self.lease.addr().ip())
    }

    /// Gives back the permissions and channels that it has no longer.
    pub(super) fn settle(&mut self) {
        let peers = &self.peers;
        self.holding
            .settle(peers.permitted().len(), peers.channels().count());
    }

    /// The part of it that log lines tell.
    pub(super) fn session(&self) -> Session {
        Session {
            serial: self.serial,
            tuple: self.path.tuple,
            user: self.identity.user.clone(),
            relayed: self.public,
        }
    }

    /// The earliest time at which something of it ends.
    fn next_deadline(&self) -> Instant {
        let replay = self.replay.iter().map(|replay| replay.until);
        self.peers
            .deadlines()
            .chain(replay)
            .fold(self.expires, Instant::min)
    }

    /// Arms its deadline anew, wherever that was.
    fn arm(&mut self, ctx: &mut Context) {
        let subject = Subject::Allocation(self.relay.0);
        ctx.deadlines.disarm(self.armed, subject);
        self.armed = self.next_deadline();
        ctx.deadlines.arm(self.armed, subject);
    }

    /// Moves its deadline forward if something of it ends at `at`, before the deadline.
    pub(super) fn arm_by(&mut self, ctx: &mut Context, at: Instant) {
        if at < self.armed {
            let subject = Subject::Allocation(self.relay.0);
            ctx.deadlines.disarm(self.armed, subject);
            self.armed = at;
            ctx.deadlines.arm(at, subject);
        }
    }

    /// Lets the permissions, channels and the replay end whose time has come.
    pub(super) fn expire_parts(&mut self, ctx: &mut Context) {
        let now = ctx.now.mono;
        let mut ended = Vec::new();
        self.retain(
            ctx,
            |ip, permission| {
                let lives = now < permission.expires;
                if !lives {
                    ended.push(ip);
                }
                lives
            },
            |binding| now < binding.expires,
        );
        self.replay.take_if(|replay| replay.until <= now);
        self.announce(ctx, |binding| ended.contains(&binding.peer.ip()));
        self.arm(ctx);
    }

    /// Takes from it the permissions and channels that the settings no longer allow, and tells
    /// whether there were any.
    pub(super) fn review(&mut self, ctx: &mut Context) -> bool {
        let shared = std::sync::Arc::clone(&ctx.shared);
        let mut addresses = Vec::new();
        let channels = self.retain(
            ctx,
            |ip, permission| match shared.reach(ip) {
                Ok(reach) => {
                    permission.reach = reach;
                    true
                }
                Err(_) => {
                    addresses.push(ip);
                    false
                }
            },
            |binding| match shared.reach(binding.peer.ip()) {
                Ok(reach) => {
                    binding.reach = reach;
                    // A relay that is not open now may be again.
                    reach == Reach::RelayedOnly || shared.reaches(reach, binding.peer, Relayed::Udp)
                }
                Err(_) => false,
            },
        );
        let lost = !(channels.is_empty() && addresses.is_empty());
        if lost {
            self.peers.refuse(channels, addresses);
        }
        // Rates may be others, and reaches.
        self.announce(ctx, |_| true);
        self.arm(ctx);
        lost
    }

    /// Removes the permissions and channels that are not to be kept, and tells the channels'
    /// numbers.
    fn retain(
        &mut self,
        ctx: &mut Context,
        keep_permission: impl FnMut(IpAddr, &mut Permission) -> bool,
        keep_binding: impl FnMut(&mut Binding) -> bool,
    ) -> Vec<u16> {
        let (relay, outputs) = (self.relay, &mut ctx.outputs);
        let mut gone = Vec::new();
        self.peers
            .retain(keep_permission, keep_binding, |number, _| {
                outputs.push_back(Output::ChannelDown { relay, number });
                gone.push(number);
            });
        self.settle();
        gone
    }

    /// Makes permissions, or lets their lifetime begin anew, unless that would be too many.
    pub(super) fn permit(
        &mut self,
        ctx: &mut Context,
        permitted: &[(IpAddr, Reach)],
    ) -> Result<(), Refusal> {
        let mut new: Vec<_> = permitted
            .iter()
            .map(|(ip, _)| *ip)
            .filter(|ip| !self.peers.knows(ip))
            .collect();
        new.sort_unstable();
        new.dedup();
        let limits = &ctx.shared.limits;
        if self.peers.permitted().len() + new.len() > limits.permissions {
            return Err(Refusal::MaxPermissions);
        }
        if !self
            .holding
            .add_permissions(new.len(), limits.permission_cap())
        {
            ctx.counters.refuse(Limit::Permissions);
            return Err(Refusal::TotalPermissions);
        }
        let expires = ctx.now.mono + ctx.shared.permission_lifetime;
        for (ip, reach) in permitted {
            let reach = *reach;
            self.peers.permit(*ip, Permission { expires, reach });
        }
        self.arm_by(ctx, expires);
        Ok(())
    }

    /// Tells the driver of the channels that are `meant`, as they are now.
    pub(super) fn announce(&self, ctx: &mut Context, meant: impl Fn(&Binding) -> bool) {
        let now = ctx.now.mono;
        let channels = self.peers.channels().iter();
        for (number, binding) in channels.filter(|(_, binding)| meant(binding)) {
            let permission = self.peers.permission(binding.peer.ip(), now);
            ctx.outputs.push_back(Output::ChannelUp(Channel {
                relay: self.relay,
                number,
                tuple: self.path.tuple,
                socket: self.path.socket,
                relayed: self.lease.addr(),
                peer: binding.peer,
                reach: binding.reach,
                until: binding.expires,
                permission_until: permission.map(|permission| permission.expires),
                rate: ctx.shared.limits.max_bps,
            }));
        }
    }

    /// Ends it; dropping it gives back its port and its place in the quotas.
    pub(super) fn end(self, ctx: &mut Context, reason: EndReason) {
        let relay = self.relay;
        ctx.deadlines
            .disarm(self.armed, Subject::Allocation(relay.0));
        for (number, _) in self.peers.channels().iter() {
            ctx.outputs.push_back(Output::ChannelDown { relay, number });
        }
        for (connection, state) in self.tcp.iter().flat_map(|all| all.iter()) {
            ctx.forget_connection(*connection, state);
        }
        ctx.outputs.push_back(Output::CloseRelay { relay });
        if !matches!(reason, EndReason::Disconnected | EndReason::Shutdown) {
            ctx.outputs.push_back(Output::Idle { path: self.path });
        }
        if self.opening.is_some() {
            // Not counted yet, and nobody has heard of it.
            return;
        }
        ctx.outputs.push_back(Output::Event(Event::Ended {
            session: self.session(),
            reason,
            duration: ctx.now.mono.saturating_duration_since(self.created),
            traffic: self.traffic,
        }));
        ctx.counters.ended[reason as usize] += 1;
        *ctx.counters
            .active(self.path.tuple.transport, self.family()) -= 1;
    }
}
