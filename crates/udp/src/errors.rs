//! Error queue of a socket (`IP_RECVERR`, `IPV6_RECVERR`).

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use libc::{c_int, msghdr, sock_extended_err, sockaddr_in, sockaddr_in6, sockaddr_storage};

use crate::UdpSocket;
use crate::control::ControlBuffer;
use crate::options::retry;
use crate::sockaddr::socket_addr;

/// Room in bytes for an error and for what comes with every datagram.
const CONTROL_LEN: usize = 256;

/// Report that a datagram did not reach its destination.
#[derive(Debug)]
pub struct SocketError {
    /// Destination of the datagram; the port may be 0 in a local error.
    pub to: SocketAddr,
    /// Source of the report.
    pub origin: ErrorOrigin,
    /// MTU in bytes where the datagram was too long, pointer where a header was refused, otherwise 0.
    pub info: u32,
    /// Address of the host or router that sent the ICMP message; `None` for a local error.
    pub offender: Option<IpAddr>,
    /// The kernel's error code for the report.
    pub cause: io::Error,
}

/// Source of a [`SocketError`]. Anybody who can guess the ports of a datagram can forge an ICMP
/// message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorOrigin {
    /// The kernel of this host.
    Local,
    /// An ICMP message.
    Icmp {
        /// ICMP type.
        typ: u8,
        /// ICMP code.
        code: u8,
    },
    /// An ICMPv6 message.
    Icmpv6 {
        /// ICMPv6 type.
        typ: u8,
        /// ICMPv6 code.
        code: u8,
    },
}

impl ErrorOrigin {
    /// `None`: no error, as of a timestamp.
    fn of(error: &sock_extended_err) -> Option<Self> {
        let (typ, code) = (error.ee_type, error.ee_code);
        match error.ee_origin {
            libc::SO_EE_ORIGIN_LOCAL => Some(Self::Local),
            libc::SO_EE_ORIGIN_ICMP => Some(Self::Icmp { typ, code }),
            libc::SO_EE_ORIGIN_ICMP6 => Some(Self::Icmpv6 { typ, code }),
            _ => None,
        }
    }
}

/// Whether `error` can be the pending error of a socket, which is about an earlier datagram: the
/// errors that the kernel makes of ICMP messages.
pub(crate) fn is_pending(error: &io::Error) -> bool {
    const ERRORS: [c_int; 10] = [
        libc::EACCES,
        libc::ECONNREFUSED,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::EMSGSIZE,
        libc::ENETUNREACH,
        libc::ENONET,
        libc::ENOPROTOOPT,
        libc::EOPNOTSUPP,
        libc::EPROTO,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| ERRORS.contains(&code))
}

/// Takes the oldest error of the queue; `None` when it is empty.
pub(crate) fn read(socket: &UdpSocket) -> io::Result<Option<SocketError>> {
    loop {
        match read_entry(socket) {
            Ok(Some(error)) => return Ok(Some(error)),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Takes one entry of the queue; `None` when it is no error.
fn read_entry(socket: &UdpSocket) -> io::Result<Option<SocketError>> {
    let mut control = ControlBuffer::<CONTROL_LEN>::EMPTY;
    // SAFETY: all-zero bytes are valid for these plain C structures.
    let (mut name, mut message): (sockaddr_storage, msghdr) = unsafe { (zeroed(), zeroed()) };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of::<sockaddr_storage>() as _;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL_LEN as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: name and control live until the call returns, with the lengths given; there is no
    // iovec, so the datagram itself is cut off. An interrupted call has written nothing.
    retry(|| unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) })?;
    let mut found = None;
    // SAFETY: the kernel has just written the control messages, and their length. Each value is
    // read unaligned and with the type that its level and type stand for.
    unsafe {
        control.for_each(message.msg_controllen, |level, typ, data| {
            match (level, typ) {
                (libc::IPPROTO_IP, libc::IP_RECVERR) => {
                    let (error, offender) = read_error::<sockaddr_in>(data);
                    let v4 = c_int::from(offender.sin_family) == libc::AF_INET;
                    let ip = Ipv4Addr::from(u32::from_be(offender.sin_addr.s_addr));
                    found = Some((error, v4.then_some(IpAddr::V4(ip))));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                    let (error, offender) = read_error::<sockaddr_in6>(data);
                    let v6 = c_int::from(offender.sin6_family) == libc::AF_INET6;
                    let ip = Ipv6Addr::from(offender.sin6_addr.s6_addr);
                    found = Some((error, v6.then_some(IpAddr::V6(ip))));
                }
                _ => {}
            }
        });
    }
    Ok(found.and_then(|(error, offender)| {
        let origin = ErrorOrigin::of(&error)?;
        Some(SocketError {
            to: socket_addr(&name)?,
            origin,
            info: error.ee_info,
            offender: offender.filter(|_| origin != ErrorOrigin::Local),
            cause: io::Error::from_raw_os_error(error.ee_errno as i32),
        })
    }))
}

/// The value of an `IP_RECVERR` or `IPV6_RECVERR` message: the error, and the offender's address.
///
/// # Safety
/// `data` points to such a value, and `A` is the address type of the message's level.
unsafe fn read_error<A>(data: *const u8) -> (sock_extended_err, A) {
    // SAFETY: the kernel writes the address right behind the error (`SO_EE_OFFENDER`); neither need
    // be aligned.
    unsafe {
        let error = data.cast::<sock_extended_err>();
        (
            error.read_unaligned(),
            error.add(1).cast::<A>().read_unaligned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{Outgoing, Receiver, SendQueue};

    const LOCALHOSTS: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];

    fn bind(ip: IpAddr) -> UdpSocket {
        UdpSocket::bind((ip, 0).into()).unwrap()
    }

    fn with_errors(ip: IpAddr) -> UdpSocket {
        let mut socket = bind(ip);
        socket.enable_errors().unwrap();
        socket
    }

    /// An address at which nobody listens.
    fn closed(ip: IpAddr) -> SocketAddr {
        bind(ip).addr()
    }

    /// The payloads of the next datagrams in `socket`, at least one.
    fn received(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let mut receiver = Receiver::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while receiver.datagrams().next().is_none() {
            assert!(Instant::now() < deadline, "no datagram came");
            receiver.receive(socket).unwrap();
        }
        let payloads = receiver.datagrams().map(|datagram| datagram.bytes.to_vec());
        payloads.collect()
    }

    #[test]
    fn a_closed_port_is_reported_once() {
        for ip in LOCALHOSTS {
            let (socket, nobody) = (with_errors(ip), closed(ip));
            assert!(socket.read_error().unwrap().is_none());
            socket.send(b"anybody there?", nobody, None).unwrap();
            let error = socket.read_error().unwrap().unwrap();
            let origin = match ip {
                IpAddr::V4(_) => ErrorOrigin::Icmp { typ: 3, code: 3 },
                IpAddr::V6(_) => ErrorOrigin::Icmpv6 { typ: 1, code: 4 },
            };
            assert_eq!((error.to, error.origin, error.info), (nobody, origin, 0));
            assert_eq!(error.offender, Some(ip));
            assert_eq!(error.cause.kind(), io::ErrorKind::ConnectionRefused);
            assert!(socket.read_error().unwrap().is_none());
        }
    }

    #[test]
    fn errors_of_several_destinations_keep_their_order() {
        for ip in LOCALHOSTS {
            let socket = with_errors(ip);
            let nobody = [closed(ip), closed(ip), closed(ip)];
            for to in nobody {
                socket.send(b"", to, None).unwrap();
            }
            let errors = std::iter::from_fn(|| socket.read_error().unwrap());
            assert_eq!(errors.map(|error| error.to).collect::<Vec<_>>(), nobody);
        }
    }

    #[test]
    fn nothing_is_reported_unless_it_was_asked_for() {
        for ip in LOCALHOSTS {
            let socket = bind(ip);
            socket.send(b"anybody there?", closed(ip), None).unwrap();
            assert!(socket.read_error().unwrap().is_none());
        }
    }

    #[test]
    fn an_error_costs_no_other_datagram() {
        for ip in LOCALHOSTS {
            let (socket, nobody, peer) = (with_errors(ip), closed(ip), bind(ip));
            // Each of these leaves an error behind, which the kernel reports to the next call.
            let refused = || socket.send(b"anybody there?", nobody, None).unwrap();

            refused();
            socket.send(b"by itself", peer.addr(), None).unwrap();
            assert_eq!(received(&peer), [b"by itself"]);

            refused();
            let how = crate::Burst::Batched;
            let sent = socket.send_burst(b"burst", 5, peer.addr(), how).unwrap();
            assert_eq!((sent, received(&peer)), (1, vec![b"burst".to_vec()]));

            let (receiver, mut queue) = (Receiver::new(), SendQueue::new());
            for to in [nobody, peer.addr(), nobody, peer.addr()] {
                queue.push_copy(&Outgoing::plain((), to, None, b"queued"));
            }
            queue.flush(&receiver, |()| Some(&socket));
            assert_eq!((queue.counters().sent, queue.counters().dropped), (4, 0));
            let mut got = received(&peer);
            while got.len() < 2 {
                got.extend(received(&peer));
            }
            assert_eq!(got, [b"queued", b"queued"]);

            refused();
            peer.send(b"answer", socket.addr(), None).unwrap();
            assert_eq!(received(&socket), [b"answer"]);
        }
    }

    #[test]
    fn a_pending_error_is_told_as_more_to_come() {
        let ip = LOCALHOSTS[0];
        let socket = with_errors(ip);
        socket.send(b"anybody there?", closed(ip), None).unwrap();
        let mut receiver = Receiver::new();
        assert!(receiver.receive(&socket).unwrap());
        assert_eq!(receiver.datagrams().count(), 0);
        assert!(!receiver.receive(&socket).unwrap());
        assert!(socket.read_error().unwrap().is_some());
    }
}
