//! Network namespaces of the test's own, removed with it.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::run;

const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Namespace(String);

impl Namespace {
    /// A namespace with nothing but its loopback interface.
    pub(crate) fn new(role: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("turnd-{}-{number}-{role}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        let made = made
            .unwrap_or_else(|error| panic!("ip: {error} (tests/setup installs what is needed)"));
        assert!(
            made.status.success(),
            "this test makes network namespaces and must run as root: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let namespace = Self(name);
        namespace.ip("link set lo up");
        namespace
    }

    /// A command that runs inside.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.0])
            .arg(program.as_ref());
        command
    }

    /// Calls `make` inside: a socket stays in the namespace that it was made in.
    pub(crate) fn inside<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        let name = Path::new("/run/netns").join(&self.0);
        let namespace = File::open(&name).unwrap();
        let network = Some(LinkNameSpaceType::Network);
        thread::scope(|scope| {
            let made = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), network).unwrap();
                make()
            });
            made.join().unwrap()
        })
    }

    /// A UDP socket inside, bound to this transport address.
    pub(crate) fn socket(&self, address: &str) -> UdpSocket {
        self.inside(|| UdpSocket::bind(address).unwrap())
    }

    /// `ip` with these words, inside.
    pub(crate) fn ip(&self, words: &str) {
        run(
            Command::new("ip")
                .args(["-n", &self.0])
                .args(words.split_whitespace()),
            LIMIT,
        );
    }

    /// A shell command inside.
    pub(crate) fn shell(&self, script: &str) {
        run(self.command("sh").args(["-ec", script]), LIMIT);
    }
}

/// A client's host and a server's, on one network named `net`.
pub(crate) fn client_and_server(client: &[&str], server: &[&str]) -> [Namespace; 2] {
    let hosts = ["client", "server"].map(Namespace::new);
    link([(&hosts[0], "net", client), (&hosts[1], "net", server)]);
    hosts
}

impl Drop for Namespace {
    /// Ends what is left inside, and takes the interfaces along.
    fn drop(&mut self) {
        let inside = Command::new("ip").args(["netns", "pids", &self.0]).output();
        if let Ok(inside) = inside {
            for pid in String::from_utf8_lossy(&inside.stdout).split_whitespace() {
                let _ = Command::new("kill").args(["-KILL", pid]).status();
            }
        }
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A cable between two namespaces: an interface of this name and these addresses at each end.
pub(crate) fn link(ends: [(&Namespace, &str, &[&str]); 2]) {
    let [(one, one_name, _), (other, other_name, _)] = ends;
    one.ip(&format!(
        "link add {one_name} type veth peer name {other_name} netns {}",
        other.0
    ));
    for (namespace, name, addresses) in ends {
        for address in addresses {
            // IPv6 addresses are usable at once, without duplicate address detection.
            let nodad = if address.contains(':') { "nodad" } else { "" };
            namespace.ip(&format!("address add {address} dev {name} {nodad}"));
        }
        namespace.ip(&format!("link set {name} up"));
    }
}
