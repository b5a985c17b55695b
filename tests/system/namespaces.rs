//! Networks of the tests' own: a client behind a NAT, and a server with several addresses.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::browser::{call, candidates, gather};
use crate::support::{Namespace, PASSWORD, Turnd, link, node};

const SERVER: &str = "203.0.113.1";
const NAT: &str = "203.0.113.2";
const CLIENT: &str = "192.168.77.2";

/// A client, the NAT before it, and the server beyond, which has no way back to the client but the NAT's.
struct Network {
    client: Namespace,
    _nat: Namespace,
    server: Namespace,
}

impl Network {
    fn new() -> Self {
        let [client, nat, server] = ["client", "nat", "server"].map(Namespace::new);
        link([
            (&client, "inside", &[&format!("{CLIENT}/24")]),
            (&nat, "inside", &["192.168.77.1/24"]),
        ]);
        link([
            (&nat, "outside", &[&format!("{NAT}/24")]),
            (&server, "outside", &[&format!("{SERVER}/24")]),
        ]);
        client.ip("route add default via 192.168.77.1");
        nat.shell(
            "echo 1 >/proc/sys/net/ipv4/ip_forward
             nft add table ip nat
             nft add chain ip nat out '{ type nat hook postrouting priority 100; }'
             nft add rule ip nat out oifname outside masquerade fully-random",
        );
        Self {
            client,
            _nat: nat,
            server,
        }
    }

    fn serve(&self) -> Turnd {
        let address = SocketAddr::new(SERVER.parse().unwrap(), 3478);
        let toml = format!("listening-ip = '{SERVER}'\nrelay-ip = '{SERVER}'");
        Turnd::start_in(&self.server, address, &toml)
    }
}

#[test]
fn behind_nat_gathering_gives_the_nats_address_and_a_relay() {
    let network = Network::new();
    let turnd = network.serve();
    let result = gather(Some(&network.client), turnd.address(), PASSWORD);
    assert_eq!(result["errors"], json!([]), "{}", turnd.log());
    let reflexive = candidates(&result, "srflx");
    assert_eq!(reflexive.len(), 1, "{result}\n{}", turnd.log());
    assert_eq!(reflexive[0]["address"], NAT);
    assert_eq!(reflexive[0]["relatedAddress"], CLIENT);
    assert_ne!(
        reflexive[0]["port"], reflexive[0]["relatedPort"],
        "the NAT picks ports of its own"
    );
    let relays = candidates(&result, "relay");
    assert_eq!(relays.len(), 1, "{result}\n{}", turnd.log());
    assert_eq!(relays[0]["address"], SERVER);
    assert_eq!(relays[0]["relatedAddress"], NAT);
}

#[test]
fn behind_nat_a_call_goes_through_the_relay() {
    let network = Network::new();
    let turnd = network.serve();
    call(Some(&network.client), turnd.address());
}

/// conformance.md, S4: the reply leaves from the address that was asked, though every socket is a wildcard one.
#[test]
fn s4_wildcard_server_answers_from_the_address_asked() {
    let [client, server] = ["client", "server"].map(Namespace::new);
    let ips = [
        "203.0.113.1",
        "203.0.113.3",
        "203.0.113.4",
        "2001:db8::1",
        "2001:db8::3",
        "2001:db8::4",
    ];
    let with_prefix = ips.map(|ip| format!("{ip}/{}", if ip.contains(':') { 64 } else { 24 }));
    link([
        (&client, "client", &["203.0.113.2/24", "2001:db8::2/64"]),
        (
            &server,
            "server",
            &with_prefix.each_ref().map(String::as_str),
        ),
    ]);
    let addresses = ips.map(|ip| SocketAddr::new(ip.parse().unwrap(), 3478));
    let toml = "listening-ip = ['0.0.0.0', '::']\nrelay-ip = ['203.0.113.1', '2001:db8::1']";
    let turnd = Turnd::start_in(&server, addresses[0], toml);

    let question =
        json!({ "targets": addresses.map(|address| address.to_string()), "milliseconds": 10_000 });
    let answers = node(
        Some(&client),
        "binding.mjs",
        &question,
        Duration::from_secs(30),
    );
    for (address, answer) in addresses.iter().zip(answers.as_array().unwrap()) {
        assert_eq!(
            answer["from"],
            address.to_string(),
            "{answers}\n{}",
            turnd.log()
        );
        let mapped: SocketAddr = answer["mapped"].as_str().unwrap().parse().unwrap();
        let expected = if address.is_ipv4() {
            "203.0.113.2"
        } else {
            "2001:db8::2"
        };
        assert_eq!(mapped.ip().to_string(), expected);
    }
}
