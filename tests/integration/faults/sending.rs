//! Packets that the system does not take, or that their receiver does not: whoever has nothing to do with it notices nothing.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;

use socket2::{Domain, Socket, Type};
use stun::attributes::ATTR_DATA;
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_CREATE_PERMISSION};

use super::LIMIT;
use crate::support::messages::{
    addr, decode, peer, relayed_address, request, send, status, transport,
};
use crate::support::{
    Extras, Namespace, PASSWORD, Peer, Scratch, StreamClient, StunClient, Turnd, USER, connect,
    dropped, link, run, wait_until,
};

/// Public addresses; nothing of them leaves the namespaces.
const SERVER: &str = "5.6.7.1:3478";
const NEAR: &str = "5.6.7.2";
const FAR: &str = "5.6.8.2:7000";
/// The longest payload that a whole packet of the link has room for, and a bit less.
const PAYLOAD: [u8; 1200] = [0; 1200];

/// Clients and peers near the server, and a peer behind another link.
struct Network {
    near: Namespace,
    _far: Namespace,
    server: Namespace,
    admin: Scratch,
}

impl Network {
    fn new() -> Self {
        let [near, far, server] = ["near", "far", "server"].map(Namespace::new);
        link([
            (&near, "net", &["5.6.7.2/24"]),
            (&server, "net", &["5.6.7.1/24"]),
        ]);
        link([
            (&far, "slow", &["5.6.8.2/24"]),
            (&server, "slow", &["5.6.8.1/24"]),
        ]);
        server.shell(
            "nft add table inet t
             nft add chain inet t out '{ type filter hook output priority 0; }'",
        );
        Self {
            near,
            _far: far,
            server,
            admin: Scratch::new(),
        }
    }

    fn admin_socket(&self) -> PathBuf {
        self.admin.path().join("admin.sock")
    }

    fn serve(&self) -> Turnd {
        // One worker, in whose way all of it is.
        let toml = format!(
            "relay-threads = 1\nlistening-ip = '5.6.7.1'\nrelay-ip = '5.6.7.1'\nadmin-listen = ['{}']",
            self.admin_socket().display()
        );
        Turnd::start_in(&self.server, addr(SERVER), &toml)
    }

    fn client(&self) -> StunClient {
        let mut client = StunClient::on(self.near.socket(&format!("{NEAR}:0")), addr(SERVER));
        client.log_in(USER, PASSWORD);
        assert_eq!(status(&client.try_allocate()), 200);
        client
    }

    fn echo(&self) -> Peer {
        let ip: IpAddr = NEAR.parse().unwrap();
        self.near.inside(|| Peer::echo(ip))
    }

    fn not_sent(&self) -> u64 {
        dropped(&self.admin_socket(), "not-sent")
    }
}

fn permit(client: &StunClient, to: &str) {
    let reply = client.ask_signed(METHOD_CREATE_PERMISSION, vec![peer(to)]);
    assert_eq!(status(&reply), 200);
}

/// EPERM.
#[test]
fn what_a_firewall_refuses_to_send_is_counted_and_the_rest_is_sent() {
    const REFUSED: &str = "5.6.7.2:7000";
    let network = Network::new();
    let turnd = network.serve();
    let echo = network.echo();
    let [one, other] = [network.client(), network.client()];
    permit(&one, REFUSED);
    for verdict in ["drop", "reject"] {
        network
            .server
            .shell(&format!("nft add rule inet t out udp dport 7000 {verdict}"));
        let before = network.not_sent();
        for _ in 0..50 {
            one.send(&send(REFUSED, &PAYLOAD).raw);
        }
        assert!(one.echoes(&echo) && other.echoes(&echo), "{}", turnd.log());
        assert_eq!(network.not_sent() - before, 50, "{verdict}");

        // And what goes to a client.
        let port = one.address().port();
        network.server.shell(&format!(
            "nft flush chain inet t out
             nft add rule inet t out udp dport {port} {verdict}"
        ));
        one.send(&request(METHOD_BINDING, vec![]).raw);
        assert!(other.echoes(&echo));
        assert_eq!(network.not_sent() - before, 51, "{verdict}");
        network.server.shell("nft flush chain inet t out");
        assert!(one.echoes(&echo), "{}", turnd.log());
    }
}

/// EAGAIN.
#[test]
fn a_relay_socket_whose_buffer_is_full_stops_no_other() {
    let network = Network::new();
    let turnd = network.serve();
    let echo = network.echo();
    let [one, other] = [network.client(), network.client()];
    network
        .server
        .shell("tc qdisc add dev slow root tbf rate 100kbit burst 100kb limit 100mb");
    permit(&one, FAR);
    for _ in 0..400 {
        for _ in 0..50 {
            one.send(&send(FAR, &PAYLOAD).raw);
        }
        assert!(
            one.binding().is_some() && other.echoes(&echo),
            "{}",
            turnd.log()
        );
        if network.not_sent() > 0 {
            break;
        }
    }
    assert!(network.not_sent() > 0, "the buffer never was full");
    assert!(other.echoes(&echo));
    // With the queue, all that waits in it goes.
    network.server.shell("tc qdisc del dev slow root");
    assert!(one.echoes(&echo), "{}", turnd.log());
}

/// ENOBUFS, which Linux keeps from UDP sockets that have not asked for it.
#[test]
fn a_device_whose_queue_is_full_stops_nobody() {
    let network = Network::new();
    let turnd = network.serve();
    let echo = network.echo();
    let [one, other] = [network.client(), network.client()];
    network
        .server
        .shell("tc qdisc add dev slow root tbf rate 8kbit burst 3000 limit 3000");
    permit(&one, FAR);
    for _ in 0..10 {
        for _ in 0..20 {
            one.send(&send(FAR, &PAYLOAD).raw);
        }
        assert!(one.echoes(&echo) && other.echoes(&echo), "{}", turnd.log());
    }
    let mut statistics = network.server.command("tc");
    let statistics = run(
        statistics.args(["-s", "qdisc", "show", "dev", "slow"]),
        LIMIT,
    );
    assert!(!statistics.contains("dropped 0"), "{statistics}");
}

#[test]
fn a_stream_client_that_does_not_read_loses_its_own_packets_alone() {
    // Far more than the kernel keeps for one connection.
    const BURSTS: u32 = 150;
    const BURST: u32 = 100;
    let extras = Extras {
        admin: true,
        ..Extras::default()
    };
    let turnd = Turnd::start_with("relay-threads = 1", extras);
    let allocated = |stream: TcpStream| {
        let mut client = StreamClient::over(stream);
        client.log_in(USER, PASSWORD);
        let relayed = relayed_address(&client.ask_signed(METHOD_ALLOCATE, vec![transport()]));
        (client, relayed)
    };
    let permit = |client: &mut StreamClient, to: SocketAddr| {
        let attributes = vec![peer(&to.to_string())];
        let reply = client.ask_signed(METHOD_CREATE_PERMISSION, attributes);
        assert_eq!(status(&reply), 200);
    };
    let talker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (mut deaf, relayed) = allocated(connect_with_small_buffer(turnd.address()));
    permit(&mut deaf, talker.local_addr().unwrap());
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let (by_udp, _) = StunClient::allocated(turnd.address());
    let (mut by_tcp, _) = allocated(connect(turnd.address()));
    permit(&mut by_tcp, echo.address());

    let before = resident(turnd.pid());
    for burst in 0..BURSTS {
        for packet in 0..BURST {
            let mut payload = PAYLOAD;
            payload[..4].copy_from_slice(&(burst * BURST + packet).to_be_bytes());
            talker.send_to(&payload, relayed).unwrap();
        }
        assert!(by_udp.echoes(&echo), "{}", turnd.log());
        by_tcp.send(&send(&echo.address().to_string(), b"echo").raw);
        assert_eq!(decode(&by_tcp.receive()).get(ATTR_DATA).unwrap(), b"echo");
    }
    let grown = resident(turnd.pid()).saturating_sub(before);
    assert!(grown < 4096, "{grown} kB more");

    // When it reads after all, it has lost whole packets only, and it is answered.
    let question = request(METHOD_BINDING, vec![]);
    deaf.send(&question.raw);
    let (mut next, mut received) = (0, 0);
    loop {
        let message = decode(&deaf.receive());
        let Ok(data) = message.get(ATTR_DATA) else {
            assert_eq!(message.transaction_id, question.transaction_id);
            break;
        };
        assert_eq!(data.len(), PAYLOAD.len());
        let number = u32::from_be_bytes(data[..4].try_into().unwrap());
        assert!(number >= next && number < BURSTS * BURST);
        (next, received) = (number + 1, received + 1);
    }
    assert!((1..BURSTS * BURST).contains(&received), "{received}");
    drop(deaf);
    wait_until("its losses are not counted", || {
        dropped(&turnd.admin_socket(), "slow-client") > 0
    });
}

/// A connection of which little waits on the client's side.
fn connect_with_small_buffer(server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Resident memory in kB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}
