//! Parts that the loads share: a turnd of this build, clients of it, and a network of their own.

pub(crate) mod client;
#[cfg(feature = "dtls")]
#[allow(dead_code)]
#[path = "../../tests/support/half_open.rs"]
pub(crate) mod half_open;
#[allow(dead_code, unused_imports)]
#[path = "../../tests/support/messages.rs"]
pub(crate) mod messages;
pub(crate) mod server;

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set in the namespace.
const INSIDE: &str = "TURND_LOAD_INSIDE";

/// Goes on in a network namespace of this program's own, where all of 198.51.100.0/24 and
/// 203.0.113.0/24 is at hand beside 127.0.0.0/8: loopback is exempt from some limits, they are not.
pub(crate) fn isolate() {
    if std::env::var_os(INSIDE).is_some() {
        rlimit::increase_nofile_limit(u64::MAX).unwrap();
        return;
    }
    let script = "ip link set lo up && ip address add 198.51.100.1/24 dev lo && \
                  ip address add 203.0.113.1/24 dev lo && exec \"$0\" \"$@\"";
    let error = Command::new("unshare")
        .args(["--net", "sh", "-ec", script])
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    panic!("unshare: {error}; run it as root");
}

/// Numbers on the command line, in their order; `cargo bench` adds a flag.
pub(crate) fn numbers() -> Vec<u64> {
    let words = std::env::args().skip(1);
    words.filter_map(|word| word.parse().ok()).collect()
}

/// A peer on loopback that sends back what it gets, as long as the program runs.
pub(crate) fn echo() -> std::net::SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        loop {
            // A relay that is gone makes the next call fail.
            if let Ok((count, from)) = socket.recv_from(&mut bytes) {
                let _ = socket.send_to(&bytes[..count], from);
            }
        }
    });
    address
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        // Xorshift, by Marsaglia.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// One of 65,000 loopback addresses that begin with 127 and this.
    pub(crate) fn source(&mut self, second: u8) -> std::net::IpAddr {
        let [third, fourth] = [self.below(255), self.below(254) + 1].map(|n| n as u8);
        [127, second, third, fourth].into()
    }
}
