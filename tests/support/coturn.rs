//! coturn's server, for turnd's own clients to talk to.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use stun::message::METHOD_BINDING;

use super::{Ports, Running, request};

/// A turnserver on loopback, over UDP and TCP, and TLS when it is given a certificate.
pub(crate) struct Coturn {
    _running: Running,
    ports: Ports,
}

impl Coturn {
    pub(crate) fn start(ips: &[&str], arguments: &str) -> Self {
        let ports = Ports::claim(100);
        let mut command = Command::new("turnserver");
        command.args(["-n", "--no-cli", "--no-dtls", "--log-file=stdout"]);
        command.args([
            "--allow-loopback-peers",
            "--pidfile=/dev/null",
            "--userdb=/dev/null",
        ]);
        let (min, max) = ports.relays();
        for (option, value) in [
            ("--listening-port", ports.listening()),
            ("--alt-listening-port", ports.listening() + 1),
            ("--tls-listening-port", ports.tls_listening()),
            ("--alt-tls-listening-port", ports.tls_listening() + 1),
            ("--min-port", min),
            ("--max-port", max),
        ] {
            command.args([option, &value.to_string()]);
        }
        for ip in ips {
            command.args(["-L", ip]);
        }
        command.args(arguments.split_whitespace());
        let mut running = Running::start(&mut command);
        let address = SocketAddr::new(ips[0].parse().unwrap(), ports.listening());
        let socket = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).unwrap();
        let timeout = Some(Duration::from_millis(100));
        socket.set_read_timeout(timeout).unwrap();
        let question = request(METHOD_BINDING, vec![]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while socket.send_to(&question.raw, address).is_err() || socket.recv(&mut [0; 512]).is_err()
        {
            assert!(running.ended().is_none(), "turnserver ended");
            assert!(Instant::now() < deadline, "turnserver does not answer");
        }
        Self {
            _running: running,
            ports,
        }
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.ports
    }
}
