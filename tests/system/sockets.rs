//! Relayed packets as a packet capture shows them: the DF bit, DSCP and ECN.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use stun::attributes::{ATTR_DONT_FRAGMENT, ATTR_REQUESTED_ADDRESS_FAMILY};
use stun::message::{METHOD_ALLOCATE, METHOD_CREATE_PERMISSION};

use crate::support::messages::{channel_data, peer, raw, relayed_address, send, status, transport};
use crate::support::{PASSWORD, Peer, Running, StreamClient, StunClient, Turnd, USER, mark};

const LIMIT: Duration = Duration::from_secs(20);

/// A packet capture on the loopback interface.
struct Capture(Running);

impl Capture {
    /// Takes the next `count` packets that fit the filter.
    fn start(count: usize, filter: &str) -> Self {
        let mut command = Command::new("tcpdump");
        command.args(["-i", "lo", "-n", "-l", "-v", "--immediate-mode", "-c"]);
        command.arg(count.to_string()).arg(filter);
        let mut capture = Running::start(&mut command);
        let deadline = Instant::now() + LIMIT;
        while !capture.stderr().contains("listening on") {
            let (ended, said) = (capture.ended(), capture.stderr());
            assert!(ended.is_none() && Instant::now() < deadline, "{said}");
            thread::sleep(Duration::from_millis(20));
        }
        Self(capture)
    }

    /// The text between `before` and `after` in each packet's line; nothing where it has no `before`.
    fn values(mut self, before: &str, after: &[char]) -> Vec<String> {
        let ended = self.0.wait(LIMIT);
        let output = self.0.stdout();
        assert!(ended.is_some_and(|status| status.success()), "{output}");
        let packets = output
            .lines()
            .filter(|line| line.contains("IP (") || line.contains("IP6 ("));
        let value = |line: &str| Some(line.split(before).nth(1)?.split(after).next()?.to_owned());
        packets
            .map(|line| value(line).unwrap_or_default())
            .collect()
    }
}

/// L13, I2: the DF bit, as a packet capture has it.
#[test]
fn i2_l13_dont_fragment_is_on_the_wire_for_that_datagram_only() {
    let turnd = Turnd::start("");
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let (client, relayed) = StunClient::allocated(turnd.address());
    let to = echo.address().to_string();
    client.bind_channel(echo.address());

    let filter = format!(
        "udp and src port {} and dst port {}",
        relayed.port(),
        echo.address().port()
    );
    let capture = Capture::start(5, &filter);
    let filter = format!("udp and dst port {}", client.address().port());
    let answers = Capture::start(5, &filter);
    let plain = send(&to, b"plain").raw;
    let mut unfragmented = send(&to, b"whole");
    unfragmented.add(ATTR_DONT_FRAGMENT, b"");
    let channel = channel_data(0x4000, b"channel");
    for bytes in [
        &plain,
        &unfragmented.raw,
        &plain,
        &unfragmented.raw,
        &channel,
    ] {
        client.send(bytes);
        assert!(client.receive().is_some(), "no echo\n{}", turnd.log());
    }
    let flags = capture.values("flags [", &[']']);
    assert_eq!(flags, ["none", "DF", "none", "DF", "none"]);
    let flags = answers.values("flags [", &[']']);
    assert_eq!(flags, ["none"; 5], "what is relayed to the client");
}

/// Not what any system gives a packet by default: AF41, ECT(1).
const MARK: u32 = 0x89;

/// Relays an indication, then ChannelData, from a client and back from a peer, both of which mark all that they
/// send. The marks of what left the relayed address, and of what the client got: the ChannelBind's answer is between.
fn relayed_marks(server: SocketAddr, relay_ip: &str) -> [Vec<String>; 2] {
    let relay_ip: IpAddr = relay_ip.parse().unwrap();
    let mut client = StunClient::new(server);
    client.log_in(USER, PASSWORD);
    let family = [if relay_ip.is_ipv4() { 1 } else { 2 }, 0, 0, 0];
    let family = raw(ATTR_REQUESTED_ADDRESS_FAMILY, &family);
    let reply = client.ask_signed(METHOD_ALLOCATE, vec![transport(), family]);
    let relayed = relayed_address(&reply);
    let socket = UdpSocket::bind((relay_ip, 0)).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let address = socket.local_addr().unwrap();
    let permission = vec![peer(&address.to_string())];
    let reply = client.ask_signed(METHOD_CREATE_PERMISSION, permission);
    assert_eq!(status(&reply), 200);
    client.mark(MARK);
    mark(&socket, MARK);

    let capture = |count, from: SocketAddr, to: SocketAddr| {
        let (from, to) = (from.port(), to.port());
        Capture::start(count, &format!("udp and src port {from} and dst port {to}"))
    };
    let captures = [
        (capture(2, relayed, address), relayed),
        (capture(3, server, client.address()), server),
    ];
    let echo = |bytes: &[u8]| {
        client.send(bytes);
        let mut buffer = [0; 100];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&buffer[..len], from).unwrap();
        assert!(client.receive().is_some());
    };
    echo(&send(&address.to_string(), b"indication").raw);
    client.bind_channel(address);
    echo(&channel_data(0x4000, b"channel"));
    captures.map(|(capture, from)| match from {
        SocketAddr::V4(_) => capture.values("(tos ", &[',', ' ']),
        SocketAddr::V6(_) => capture.values("(class ", &[',', ' ']),
    })
}

/// F1. The marks of an IPv6 packet are shown only where there are some.
#[test]
fn f1_dscp_and_ecn_are_copied_within_a_family_and_default_between_families() {
    let turnd = Turnd::start("relay-ip = ['127.0.0.1', '::1']");
    let copied = "0x89";
    let [to_peer, to_client] = relayed_marks(turnd.address(), "127.0.0.1");
    assert_eq!(to_peer, [copied; 2]);
    assert_eq!(to_client, [copied, "0x0", copied]);
    let [to_peer, to_client] = relayed_marks(turnd.address_v6(), "::1");
    assert_eq!(to_peer, [copied; 2]);
    assert_eq!(to_client, [copied, "", copied]);

    let [to_peer, to_client] = relayed_marks(turnd.address(), "::1");
    assert_eq!(to_peer, [""; 2]);
    assert_eq!(to_client, ["0x0"; 3]);
    let [to_peer, to_client] = relayed_marks(turnd.address_v6(), "127.0.0.1");
    assert_eq!(to_peer, ["0x0"; 2]);
    assert_eq!(to_client, [""; 3]);
}

/// F1: ECN is the TCP connection's own affair.
#[test]
fn f1_what_comes_over_tcp_leaves_unmarked() {
    let turnd = Turnd::start("");
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = sink.local_addr().unwrap();
    let mut client = StreamClient::new(turnd.address());
    SockRef::from(&client.stream).set_tos_v4(MARK).unwrap();
    client.log_in(USER, PASSWORD);
    let allocated = client.ask_signed(METHOD_ALLOCATE, vec![transport()]);
    assert_eq!(status(&allocated), 200);
    let permission = vec![peer(&to.to_string())];
    let permitted = client.ask_signed(METHOD_CREATE_PERMISSION, permission);
    assert_eq!(status(&permitted), 200);

    let capture = Capture::start(1, &format!("udp and dst port {}", to.port()));
    client.send(&send(&to.to_string(), b"text").raw);
    assert_eq!(capture.values("(tos ", &[',', ' ']), ["0x0"]);
}
