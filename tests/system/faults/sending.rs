//! Packets that the system does not take, or that their receiver does not: whoever has nothing to do with it notices nothing.

use std::net::IpAddr;
use std::path::PathBuf;

use stun::message::{METHOD_BINDING, METHOD_CREATE_PERMISSION};

use super::LIMIT;
use crate::support::messages::{addr, peer, request, send, status};
use crate::support::{
    Namespace, PASSWORD, Peer, Scratch, StunClient, Turnd, USER, dropped, link, run,
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
