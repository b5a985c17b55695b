//! The addresses of this host, which come and go while the server runs.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::sleep;

/// Least time between two changes that are told: addresses come in groups.
const SETTLE: Duration = Duration::from_millis(100);

/// Interval at which the addresses are listed where netlink is refused (a sandbox).
pub const LOOK: Duration = Duration::from_secs(5);

/// The addresses of this host's interfaces, as far as they mean something without an interface.
///
/// # Errors
/// The system's error.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let interfaces = if_addrs::get_if_addrs()?;
    let all = interfaces.iter().map(if_addrs::Interface::ip);
    let mut addresses = Vec::new();
    for ip in all.filter(|ip| !link_local(ip)) {
        // Two interfaces can have the same.
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    Ok(addresses)
}

/// The addresses at the start; none, and a warning, where they cannot be listed.
pub(super) fn addresses_or_none() -> Vec<IpAddr> {
    addresses().unwrap_or_else(|error| {
        tracing::warn!(
            %error,
            "the host's addresses cannot be listed, so peers there are not refused: set relay-ip, and denied-peer-ip for the others"
        );
        Vec::new()
    })
}

/// The elements of `some` that are not among `others`.
pub(super) fn beyond<T: Copy + PartialEq>(some: &[T], others: &[T]) -> Vec<T> {
    let missing = |one: &&T| !others.contains(one);
    some.iter().filter(missing).copied().collect()
}

/// Tells when the host's addresses may have changed.
#[derive(Debug)]
pub struct Changes(Option<news::Socket>);

impl Changes {
    /// Watches from now on; inside a tokio runtime.
    #[must_use]
    pub fn watch() -> Self {
        Self(news::Socket::open().map_err(without_news).ok())
    }

    /// Returns when there may be other addresses than at the last call.
    pub async fn next(&mut self) {
        if let Some(socket) = &self.0 {
            sleep(SETTLE).await;
            match socket.news().await {
                Ok(()) => return,
                Err(error) => {
                    without_news(error);
                    self.0 = None;
                }
            }
        }
        sleep(LOOK).await;
    }
}

fn without_news(error: io::Error) {
    let seconds = LOOK.as_secs();
    tracing::debug!(%error, seconds, "the system does not tell when addresses change: they are listed again and again");
}

mod news {
    //! Netlink, which says that addresses were added and removed (rtnetlink(7)).

    use std::io;
    use std::os::unix::net::UnixDatagram as StdDatagrams;

    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    use tokio::net::UnixDatagram as Datagrams;

    const GROUPS: u32 = (libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;

    /// Netlink socket, held as another kind of datagram socket: waiting and reading are the same, and
    /// tokio has none for netlink.
    #[derive(Debug)]
    pub(super) struct Socket(Datagrams);

    impl Socket {
        pub(super) fn open() -> io::Result<Self> {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            // No protocol: NETLINK_ROUTE is number 0.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            // Port 0: the kernel chooses.
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            Ok(Self(Datagrams::from_std(StdDatagrams::from(socket))?))
        }

        /// Waits for news and takes all of it. Nothing is read in them: the kernel drops some when
        /// many come, and a list of all addresses is right in any case.
        pub(super) async fn news(&self) -> io::Result<()> {
            self.0.readable().await?;
            let mut start = [0; 16];
            loop {
                match self.0.try_recv(&mut start) {
                    Ok(_) => {}
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_does_not_tell_is_looked_at_again_and_again() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let limit = 10 * LOOK;
            let next = tokio::time::timeout(limit, async { Changes(None).next().await });
            next.await.expect("nobody looks");
        });
    }
}
