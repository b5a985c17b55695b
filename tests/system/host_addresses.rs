//! Addresses that come to the server's host, and go, while it runs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::process::Signal;
use stun::attributes::ATTR_DATA;
use stun::message::{METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION};
use turn::proto::channum::ChannelNumber;

use crate::support::messages::{addr, channel_data, decode, peer, relayed_address, send, status};
use crate::support::{
    Namespace, PASSWORD, StunClient, Turnd, USER, client_and_server, run, wait_until,
};

const LIMIT: Duration = Duration::from_secs(20);
/// Public addresses; nothing of them leaves the namespaces.
const SERVER: &str = "5.6.7.1:3478";
const CLIENT: &str = "5.6.7.2:0";
/// An address that the server's host does not have at first, and a service there.
const COMING: &str = "11.0.0.7";
const SERVICE: &str = "11.0.0.7:7000";

/// A client, and a server that sends through the client's host what goes to 11.0.0.0/8.
struct Network {
    client: Namespace,
    server: Namespace,
}

impl Network {
    fn new() -> Self {
        let [client, server] = client_and_server(&["5.6.7.2/24", "11.0.0.7/32"], &["5.6.7.1/24"]);
        server.ip("route add 11.0.0.0/8 via 5.6.7.2");
        Self { client, server }
    }

    fn serve(&self, toml: &str) -> Turnd {
        // One worker: what is sent first is handled first.
        let toml = format!("relay-threads = 1\n{toml}");
        Turnd::start_in(&self.server, addr(SERVER), &toml)
    }

    fn client(&self, server: SocketAddr) -> StunClient {
        let mut client = StunClient::on(self.client.socket(CLIENT), server);
        client.log_in(USER, PASSWORD);
        client
    }
}

/// A service on port 7000 of every address of a host.
struct Service(UdpSocket);

impl Service {
    fn on(host: &Namespace) -> Self {
        let socket = host.socket("0.0.0.0:7000");
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self(socket)
    }

    fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 1500];
        let len = self.0.recv(&mut buffer).unwrap();
        buffer[..len].to_vec()
    }

    /// Panics if anything has come: the next thing is what the host itself sends now.
    fn expect_nothing(&self) {
        let own = self.0.local_addr().unwrap().port();
        self.0
            .send_to(b"from itself", (Ipv4Addr::LOCALHOST, own))
            .unwrap();
        assert_eq!(self.receive(), b"from itself");
    }
}

fn permit(client: &StunClient, to: &str) -> u16 {
    status(&client.ask_signed(METHOD_CREATE_PERMISSION, vec![peer(to)]))
}

fn bind(client: &StunClient, to: &str) -> u16 {
    let number = Box::new(ChannelNumber(0x4000));
    status(&client.ask_signed(METHOD_CHANNEL_BIND, vec![number, peer(to)]))
}

/// Sends to a peer by both ways, and waits until the server has done with it.
fn send_both(client: &StunClient, to: &str) {
    client.send(&send(to, b"indication").raw);
    client.send(&channel_data(0x4000, b"channel"));
    assert!(client.binding().is_some());
}

/// Waits until the server has said so for the `count`th time of this address.
fn wait_for(turnd: &Turnd, what: &str, address: &str, count: usize) {
    let of_it = |line: &&str| line.contains(what) && line.ends_with(&format!("={address}"));
    wait_until(&format!("not said: {what} {address}"), || {
        turnd.log().lines().filter(of_it).count() >= count
    });
}

const NEW: &str = "the host has a new address";
const GONE: &str = "the host no longer has an address";

/// Data of one client comes to another, from relay to relay.
fn call(from: (&StunClient, SocketAddr), to: (&StunClient, SocketAddr)) {
    let far = to.1.to_string();
    assert_eq!(permit(from.0, &far), 200);
    assert_eq!(permit(to.0, &from.1.to_string()), 200);
    from.0.send(&send(&far, b"call").raw);
    let data = to.0.receive().expect("no call from relay to relay");
    assert_eq!(decode(&data).get(ATTR_DATA).unwrap(), b"call");
}

/// Messages that the kernel has dropped because the one server inside did not read.
fn lost(namespace: &Namespace) -> u32 {
    let sockets = run(namespace.command("cat").arg("/proc/net/netlink"), LIMIT);
    let rows = sockets.lines().skip(1);
    let rows = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
    // Its groups: IPv4 and IPv6 addresses.
    let own = rows.filter(|row| row[3] == "00000110");
    own.map(|row| row[8].parse::<u32>().unwrap()).sum()
}

#[test]
fn a_new_address_is_taken_from_those_who_have_it_as_a_peer_and_comes_back_when_it_goes() {
    let network = Network::new();
    let turnd = network.serve("listening-ip = '5.6.7.1'\nrelay-ip = '5.6.7.1'");
    let client = network.client(addr(SERVER));
    assert_eq!(status(&client.try_allocate()), 200);
    let [there, here] = [&network.client, &network.server].map(Service::on);
    assert_eq!(permit(&client, SERVICE), 200);
    assert_eq!(bind(&client, SERVICE), 200);
    send_both(&client, SERVICE);
    assert_eq!(there.receive(), b"indication");
    assert_eq!(there.receive(), b"channel");

    network
        .server
        .ip(&format!("address add {COMING}/32 dev net"));
    wait_for(&turnd, NEW, COMING, 1);
    send_both(&client, SERVICE);
    here.expect_nothing();
    assert_eq!(permit(&client, SERVICE), 403, "{}", turnd.log());
    assert_eq!(bind(&client, SERVICE), 403);
    send_both(&client, SERVICE);
    here.expect_nothing();

    network
        .server
        .ip(&format!("address del {COMING}/32 dev net"));
    wait_for(&turnd, GONE, COMING, 1);
    assert_eq!(bind(&client, SERVICE), 200, "{}", turnd.log());
    send_both(&client, SERVICE);
    assert_eq!(there.receive(), b"indication");
    assert_eq!(there.receive(), b"channel");
    here.expect_nothing();
}

#[test]
fn on_a_wildcard_clients_are_served_and_relayed_at_a_new_address() {
    const NEW_IP: &str = "11.0.0.8";
    let network = Network::new();
    let turnd = network.serve("");
    let early = network.client(addr(SERVER));
    let early_relayed = relayed_address(&early.try_allocate());
    let service = format!("{NEW_IP}:7000");
    assert_eq!(bind(&early, &service), 200);
    network.client.ip("route add 11.0.0.8/32 via 5.6.7.1");
    network.server.ip("address add 11.0.0.8/32 dev net");
    wait_for(&turnd, NEW, NEW_IP, 1);

    let late = network.client(addr("11.0.0.8:3478"));
    let late_relayed = relayed_address(&late.try_allocate());
    assert_eq!(late_relayed.ip().to_string(), NEW_IP, "{}", turnd.log());
    // As at every relay address, relays can be reached there, and nothing else.
    let here = Service::on(&network.server);
    assert_eq!(permit(&early, &service), 200);
    send_both(&early, &service);
    here.expect_nothing();
    call((&early, early_relayed), (&late, late_relayed));

    // The relay's socket outlives the address.
    network.server.ip("address del 11.0.0.8/32 dev net");
    wait_for(&turnd, GONE, NEW_IP, 1);
    network.server.ip("address add 11.0.0.8/32 dev net");
    wait_for(&turnd, NEW, NEW_IP, 2);
    call((&early, early_relayed), (&late, late_relayed));
}

#[test]
fn a_reload_in_the_same_moment_loses_neither() {
    let network = Network::new();
    let turnd = network.serve("listening-ip = '5.6.7.1'\nrelay-ip = '5.6.7.1'");
    let client = network.client(addr(SERVER));
    assert_eq!(status(&client.try_allocate()), 200);
    let config = fs::read_to_string(turnd.config()).unwrap();
    let mut denied = Vec::new();
    for round in 1..=20 {
        let own = format!("11.2.0.{round}");
        let listed = format!("11.3.0.{round}");
        denied.push(format!("'{listed}'"));
        turnd.configure_raw(&format!(
            "denied-peer-ip = [{}]\n{config}",
            denied.join(",")
        ));
        let add = || network.server.ip(&format!("address add {own}/32 dev net"));
        if round % 2 == 0 {
            add();
            turnd.signal(Signal::HUP);
        } else {
            turnd.signal(Signal::HUP);
            add();
        }
        wait_for(&turnd, NEW, &own, 1);
        wait_until("no reload", || {
            turnd.log().matches("configuration reloaded").count() == round
        });
        for refused in [own, listed] {
            let code = permit(&client, &format!("{refused}:1"));
            assert_eq!(code, 403, "{refused}\n{}", turnd.log());
        }
    }
}

#[test]
fn of_more_changes_than_the_kernel_tells_none_is_missed() {
    let network = Network::new();
    let turnd = network.serve("listening-ip = '5.6.7.1'\nrelay-ip = '5.6.7.1'");
    // It reads nothing meanwhile.
    turnd.signal(Signal::STOP);
    network.server.shell(
        "for i in $(seq 0 7); do for j in $(seq 0 249); do
           echo address add 11.1.$i.$j dev net
         done; done | ip -batch -",
    );
    assert!(lost(&network.server) > 0);
    turnd.signal(Signal::CONT);
    wait_for(&turnd, NEW, "11.1.7.249", 1);
    let client = network.client(addr(SERVER));
    assert_eq!(status(&client.try_allocate()), 200);
    for own in ["11.1.0.0:1", "11.1.7.249:1"] {
        assert_eq!(permit(&client, own), 403, "{}", turnd.log());
    }
}
