//! Causes and remedies.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::connection::NoResponse;
use super::finding::Finding;
use super::tls::moment;
use super::uri::{Transport, Uri};
use crate::Oddity;
use crate::turn::{ChallengeError, Login, Proof};
use turnd_proto::policy::peer_filter::PeerRules;
use turnd_proto::policy::peer_filter::{PeerFilter, Reason};

/// Ports that a firewall has to let through.
const RELAY_PORTS: &str = "UDP from min-port to max-port (49152 to 65535)";

/// The server cannot be reached at all.
pub(super) fn unreachable(addr: SocketAddr, transport: Transport, error: &io::Error) -> Finding {
    let name = transport.name();
    let finding = match error.kind() {
        io::ErrorKind::TimedOut => Finding::fault(
            format!("{addr} does not answer over {name}"),
            "a firewall drops the packets, the address is wrong, or the server is down",
            format!("open port {} for {name} at the server", addr.port()),
        ),
        io::ErrorKind::ConnectionRefused => Finding::fault(
            format!("{addr} refuses {name}"),
            "no server listens there, or a firewall rejects the packets, which looks the same (REJECT in place of DROP)",
            format!(
                "start it, write its port into the URI, or open port {} for {name}; turnd listens over {name} unless told not to",
                addr.port()
            ),
        ),
        io::ErrorKind::HostUnreachable | io::ErrorKind::PermissionDenied => Finding::fault(
            format!("{addr} cannot be reached over {name}"),
            format!("a firewall rejects the packets, or no host has the address ({error})"),
            format!("open port {} for {name} at the server", addr.port()),
        ),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => Finding::note(
            format!("{addr} cannot be tried"),
            format!("this host has no way there ({error})"),
            "try it from a host that has",
        ),
        io::ErrorKind::InvalidData => not_stun(addr),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Finding::fault(
            format!("{addr} closed the connection"),
            format!("what serves {name} there takes no STUN messages"),
            "write the port of the TURN server into the URI",
        ),
        _ => Finding::fault(
            format!("{addr} cannot be reached over {name}"),
            error.to_string(),
            "look at the network of this host",
        ),
    };
    finding.with_code(701)
}

/// The server can be reached, but does not respond.
pub(super) fn no_response(addr: SocketAddr, transport: Transport, why: &NoResponse) -> Finding {
    let oddity = match why {
        NoResponse::Broken(error) => return unreachable(addr, transport, error),
        NoResponse::Silent(oddity) => oddity,
    };
    let finding = match oddity {
        None if transport == Transport::Udp => {
            return unreachable(addr, transport, &io::ErrorKind::TimedOut.into());
        }
        None => Finding::fault(
            format!(
                "{addr} is connected over {}, but answers no STUN message",
                transport.name()
            ),
            "no firewall is in the way: another program, such as a web server, has the port, or a load balancer with nothing behind it",
            "write the port of the TURN server into the URI, or look at what listens there",
        ),
        Some(Oddity::NotStun) => not_stun(addr),
        Some(Oddity::WrongSource(from)) => Finding::fault(
            format!("answers come from {from} in place of {addr}"),
            "the server answers from another of its addresses, or a NAT before it changes them; browsers drop such answers",
            "name its addresses in listening-ip, or mend the port forwarding",
        ),
        Some(Oddity::Damaged) => Finding::fault(
            format!("the answers of {addr} are damaged"),
            "something between changes them, or what serves there is broken",
            "try another transport, best turns: over TLS",
        ),
        Some(Oddity::Forged) => Finding::fault(
            format!("what {addr} sends answers nothing that was asked"),
            "it is forged, or what serves there is no STUN server",
            "look at what listens there",
        ),
    };
    finding.with_code(701)
}

/// Binding requests are answered, but not Allocate.
pub(super) fn stun_alone(addr: SocketAddr, transport: Transport) -> Finding {
    Finding::fault(
        format!(
            "{addr} answers STUN over {}, but no TURN request",
            transport.name()
        ),
        "the server relays nothing (stun-only), or is a STUN server without TURN",
        "remove stun-only at the server, or name a TURN server",
    )
    .with_code(701)
}

/// The challenge came, but nothing after it.
pub(super) fn silent_to_login(addr: SocketAddr) -> Finding {
    Finding::fault(
        format!("{addr} asks for credentials, and is silent when they come"),
        "it limits or bans this host (fail2ban), or something between drops longer packets",
        "look at its log, and try from another host",
    )
    .with_code(701)
}

fn not_stun(addr: SocketAddr) -> Finding {
    Finding::fault(
        format!("what answers at {addr} is not a STUN server"),
        "another program has the port",
        "write the port of the TURN server into the URI",
    )
}

/// An error response to Allocate.
pub(super) fn refused(code: u16, login: &Login, realm: &str, now: u64) -> Finding {
    if code == 0 {
        return Finding::fault(
            "the server refuses without saying why",
            "its error response has no ERROR-CODE",
            "look at its log, and for a newer version of it",
        )
        .with_code(600);
    }
    let finding = match code {
        401 => wrong_login(login, realm, now),
        403 => Finding::fault(
            "the server forbids allocations",
            "its policy is against this user or address",
            "look at its log for the rule",
        ),
        437 => Finding::fault(
            "the server says that this port has an allocation already",
            "something between reuses ports at once, or answers for the server",
            "try again; if it stays, look at the NAT or load balancer before the server",
        ),
        438 => Finding::fault(
            "the server's own nonce is stale at once",
            "several servers answer on one address, each with its own nonces; browsers give up on this",
            "give all of them the same nonce-secret, or tie each client to one",
        ),
        440 | 442 => Finding::fault(
            "the server does not relay UDP over this address family",
            "it has no relay address for it",
            "give it a relay-ip of the family, and remove no-udp-relay",
        ),
        486 => Finding::fault(
            "the quota is reached",
            "this user or the server has as many allocations as user-quota or total-quota let",
            "raise it, or wait until allocations end",
        ),
        508 => Finding::fault(
            "the server takes no more allocations",
            "it is draining, or all relay ports from min-port to max-port are taken",
            "wait for the restart, or widen min-port to max-port",
        ),
        400 => Finding::fault(
            "the server does not accept the request",
            "it finds it malformed",
            "look at its log; it may be very old",
        ),
        _ => Finding::fault(
            format!("the server refuses the allocation with error {code}"),
            "its log says more",
            "look there",
        ),
    };
    finding.with_code(code)
}

fn wrong_login(login: &Login, realm: &str, now: u64) -> Finding {
    let Login { user, proof } = login;
    let expiry = user
        .split_once(|c: char| !c.is_ascii_digit())
        .map_or(user.as_str(), |(expiry, _)| expiry);
    // Ten digits are a time since 2001; shorter numbers are names.
    let expiry = expiry.parse::<u64>().ok().filter(|_| expiry.len() == 10);
    if let Some(expiry) = expiry.filter(|expiry| *expiry < now) {
        return Finding::fault(
            format!("the credentials of {user:?} have expired"),
            format!(
                "they were good until {} ({} s ago)",
                moment(expiry),
                now - expiry
            ),
            "make fresh ones: turnd credentials",
        );
    }
    let (why, remedy) = match (proof, expiry) {
        (Proof::Key(_), _) => (
            format!("the key is wrong, or was made for another realm than {realm:?}"),
            format!("make it anew: turnd key {user} {realm} PASSWORD"),
        ),
        (_, Some(_)) => (
            "the secret that made the password is not the server's static-auth-secret, or its clock is ahead".to_owned(),
            "give both the same secret".to_owned(),
        ),
        _ => (
            format!(
                "name or password is wrong, or the server keeps a key that was made for another realm than {realm:?}"
            ),
            format!("look at user in its configuration; make keys with: turnd key {user} {realm} PASSWORD"),
        ),
    };
    Finding::fault(
        format!("the server refuses the credentials of {user:?}"),
        why,
        remedy,
    )
}

/// No signed request can be made.
pub(super) fn no_log_in(why: &ChallengeError) -> Finding {
    match why {
        ChallengeError::Challenge => Finding::fault(
            "the server asks for credentials without REALM or NONCE",
            "browsers wait for ever then",
            "set realm at the server",
        ),
        ChallengeError::Altered => Finding::fault(
            "the server's nonce announces password algorithms, and its answer names none",
            "somebody on the way has altered the answer (RFC 8489, section 9.2.1)",
            "look at what is between, or use TLS",
        ),
        ChallengeError::Credentials(why) => Finding::fault(
            "the credentials cannot be used",
            why.clone(),
            "choose others",
        ),
    }
}

/// The reason why the world cannot reach `ip`, if there is one.
pub(super) fn unroutable(ip: IpAddr) -> Option<Reason> {
    let nobody = PeerRules {
        allowed: Vec::new(),
        denied: Vec::new(),
        allow_loopback: false,
    };
    PeerFilter::new(&nobody)
        .check(ip)
        .err()
        .map(|denied| denied.reason)
}

/// The relayed address was told, but nothing that is sent there arrives; `out`: whether what it sends arrives here.
pub(super) fn unanswered(relayed: SocketAddr, server: SocketAddr, out: Option<bool>) -> Finding {
    let ip = relayed.ip();
    match unroutable(ip) {
        _ if ip == server.ip() => {
            let why = match out {
                Some(true) => ", while what they send comes out",
                Some(false) => ", and what they send does not come out either",
                None => "",
            };
            Finding::fault(
                format!("nothing arrives at the relayed address {relayed}"),
                format!("a firewall before the server drops what comes to its relay ports{why}"),
                format!("let {RELAY_PORTS} in at the server"),
            )
        }
        Some(reason) => not_routable(relayed, server, reason),
        None => Finding::fault(
            format!("nothing arrives at the relayed address {relayed}"),
            format!(
                "the server was reached at {}: external-ip names another host, or a firewall drops what comes to the relay ports",
                server.ip()
            ),
            format!(
                "set external-ip to {}, and let {RELAY_PORTS} in",
                server.ip()
            ),
        ),
    }
}

/// Packets to the relayed address arrive, but none comes back from it.
pub(super) fn nothing_out(relayed: SocketAddr) -> Finding {
    Finding::fault(
        format!("nothing comes from the relayed address {relayed}"),
        "what is sent there arrives, but a firewall at the server drops what its relay ports send",
        format!("let {RELAY_PORTS} out at the server, to any address and port"),
    )
}

/// The relayed address is one that the world does not route.
pub(super) fn not_routable(relayed: SocketAddr, server: SocketAddr, reason: Reason) -> Finding {
    let (ip, server) = (relayed.ip(), server.ip());
    let public = if server.is_ipv4() == ip.is_ipv4() {
        server.to_string()
    } else {
        "PUBLIC".to_owned()
    };
    // The server may have the address itself, or external-ip may name one that nobody has.
    Finding::fault(
        format!("the relayed address {relayed} is of no use to others"),
        format!(
            "it is a {reason} address, but the server was reached at {server}: external-ip is missing, or names a {reason} address"
        ),
        format!(
            "set external-ip = \"{public}\"; with several relay-ip \"{public}/\" and the one that it stands for"
        ),
    )
}

/// DTLS, which no browser speaks.
pub(super) fn dtls(uri: &Uri) -> Finding {
    Finding::fault(
        format!("browsers do not use {uri}"),
        "none of them speaks DTLS to a TURN server",
        "write turns: with ?transport=tcp, or turn: with ?transport=udp",
    )
}
