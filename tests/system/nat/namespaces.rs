//! `turnd nat` behind NATs of the kernel's, against `turnd serve` with two addresses.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Namespace, Running, Turnd, link};

const SERVER: &str = "203.0.113.1";
const OTHER: &str = "203.0.113.3";
const CLIENT: &str = "192.168.77.2";
const LIMIT: Duration = Duration::from_secs(90);

/// Client, router and server, with these nft commands on the router.
struct Network {
    client: Namespace,
    _router: Namespace,
    _server: Namespace,
    turnd: Turnd,
}

impl Network {
    fn new(rules: &str) -> Self {
        Self::with(rules, true)
    }

    fn with(rules: &str, rfc5780: bool) -> Self {
        let [client, router, server] = ["client", "router", "server"].map(Namespace::new);
        link([
            (&client, "inside", &["192.168.77.2/24", "fd77::2/64"]),
            (&router, "inside", &["192.168.77.1/24", "fd77::1/64"]),
        ]);
        link([
            (&router, "outside", &["203.0.113.2/24", "2001:db8::2/64"]),
            (
                &server,
                "outside",
                &[
                    "203.0.113.1/24",
                    "203.0.113.3/24",
                    "2001:db8::1/64",
                    "2001:db8::3/64",
                ],
            ),
        ]);
        client.ip("route add default via 192.168.77.1");
        client.ip("-6 route add default via fd77::1");
        // For the networks without NAT.
        server.ip("route add 192.168.77.0/24 via 203.0.113.2");
        server.ip("-6 route add fd77::/64 via 2001:db8::2");
        router.shell(
            "echo 1 >/proc/sys/net/ipv4/ip_forward
             echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
             nft add table inet t
             nft add chain inet t post '{ type nat hook postrouting priority 100; }'
             nft add chain inet t pre '{ type nat hook prerouting priority -100; }'
             nft add chain inet t forward '{ type filter hook forward priority 0; }'",
        );
        router.shell(rules);
        let toml = format!(
            "listening-ip = ['{SERVER}', '{OTHER}', '2001:db8::1', '2001:db8::3']\n\
             relay-ip = '{SERVER}'\nrfc5780 = {rfc5780}\nrelay-threads = 2"
        );
        let address = SocketAddr::new(SERVER.parse().unwrap(), 3478);
        let turnd = Turnd::start_in(&server, address, &toml);
        Self {
            client,
            _router: router,
            _server: server,
            turnd,
        }
    }

    /// The findings of `turnd nat` with these arguments, and whether it succeeded.
    fn nat(&self, arguments: &str) -> (Value, bool) {
        let mut command = self.client.command(env!("CARGO_BIN_EXE_turnd"));
        command
            .args(["nat", "--json"])
            .args(arguments.split_whitespace());
        let mut running = Running::start(&mut command);
        let status = running.wait(LIMIT).expect("turnd nat hangs");
        let output = running.stdout();
        let found = serde_json::from_str(&output)
            .unwrap_or_else(|error| panic!("{error}: {output}{}", running.stderr()));
        (found, status.success())
    }

    fn expect(&self, arguments: &str, expected: &[(&str, Value)]) {
        let (found, _) = self.nat(arguments);
        for (path, value) in expected {
            let got = found["families"][0].pointer(path);
            assert_eq!(got, Some(value), "{path}: {found:#}\n{}", self.turnd.log());
        }
    }
}

fn behaviour(mapping: &str, filtering: &str, name: &str) -> [(&'static str, Value); 3] {
    [
        ("/behaviour/mapping", mapping.into()),
        ("/behaviour/filtering", filtering.into()),
        ("/rfc3489", name.into()),
    ]
}

const TO_SERVER: &str = "--server 203.0.113.1";

#[test]
fn masquerade_is_a_port_restricted_cone_that_keeps_ports() {
    let network = Network::new("nft add rule inet t post oifname outside masquerade");
    let both = behaviour(
        "endpoint-independent",
        "address-and-port-dependent",
        "port-restricted cone",
    );
    network.expect(TO_SERVER, &both);
    network.expect(
        TO_SERVER,
        &[
            ("/behaviour/port_preservation", true.into()),
            ("/behaviour/tcp_mapping", "endpoint-independent".into()),
            ("/behaviour/hairpinning", false.into()),
            ("/behaviour/alg", false.into()),
            ("/translated", true.into()),
        ],
    );
    // The same over IPv6.
    network.expect("--server 2001:db8::1", &both);
}

#[test]
fn fully_random_masquerade_is_symmetric() {
    let rule = "nft add rule inet t post oifname outside masquerade fully-random";
    let network = Network::new(rule);
    let symmetric = behaviour(
        "address-and-port-dependent",
        "address-and-port-dependent",
        "symmetric",
    );
    network.expect(TO_SERVER, &symmetric);
    network.expect(
        TO_SERVER,
        &[
            ("/behaviour/port_preservation", false.into()),
            (
                "/behaviour/tcp_mapping",
                "address-and-port-dependent".into(),
            ),
        ],
    );
    network.expect("--server 2001:db8::1", &symmetric);
    let (found, _) = network.nat(TO_SERVER);
    let meaning = found["families"][0]["meaning"].as_str().unwrap();
    assert!(meaning.contains("TURN"), "{meaning}");
}

#[test]
fn a_static_forward_is_a_full_cone_that_hairpins_where_the_rule_lets_it() {
    let cone = behaviour("endpoint-independent", "endpoint-independent", "full cone");
    for (source, hairpins) in [
        ("iifname outside", false),
        // Without the second rule the client would get packets from its own address.
        ("", true),
    ] {
        let network = Network::new(
            &format!(
                "nft add rule inet t post oifname outside masquerade
                 nft add rule inet t post ip saddr {CLIENT} ip daddr {CLIENT} masquerade
                 nft add rule inet t pre {source} ip daddr 203.0.113.2 meta l4proto udp dnat ip to {CLIENT}"
            ),
        );
        network.expect(TO_SERVER, &cone);
        network.expect(TO_SERVER, &[("/behaviour/hairpinning", hairpins.into())]);
    }
}

#[test]
fn a_firewall_that_blocks_udp() {
    let network = Network::new(
        "nft add rule inet t post oifname outside masquerade
         nft add rule inet t forward meta l4proto udp drop",
    );
    let (found, content) = network.nat("--server 203.0.113.1 --timeout 6");
    let family = &found["families"][0];
    assert_eq!(family["rfc3489"], "UDP blocked", "{found:#}");
    assert!(
        family["meaning"]
            .as_str()
            .unwrap()
            .contains("TURN server over TCP or TLS")
    );
    assert!(!content);
}

#[test]
fn routed_hosts_are_open_or_behind_a_symmetric_firewall() {
    let network = Network::new("true");
    network.expect(
        TO_SERVER,
        &behaviour(
            "endpoint-independent",
            "endpoint-independent",
            "open internet",
        ),
    );
    let network = Network::new("nft add rule inet t forward iifname outside ct state new drop");
    let firewall = behaviour(
        "endpoint-independent",
        "address-and-port-dependent",
        "symmetric firewall",
    );
    network.expect(TO_SERVER, &firewall);
    network.expect("--server 2001:db8::1", &firewall);
}

#[test]
fn n7_the_lifetime_is_that_of_the_kernels_table() {
    let network = Network::new(
        "nft add rule inet t post oifname outside masquerade
         echo 5 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout
         echo 5 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream",
    );
    let (found, _) = network.nat("--server 203.0.113.1 --lifetime 16s");
    let lifetime = &found["families"][0]["behaviour"]["lifetime"];
    let [alive, gone] = ["alive", "gone"]
        .map(|key| (lifetime[key].as_f64()).unwrap_or_else(|| panic!("no lifetime: {found:#}")));
    // The kernel looks at its table now and then, so what is gone may have been so for a second.
    assert!(
        (3.0..=6.0).contains(&alive) && (4.0..=7.0).contains(&gone),
        "{found:#}"
    );
    assert_eq!(found["families"][0]["behaviour"]["port_preservation"], true);
}

#[test]
fn two_plain_servers_give_the_mapping() {
    let rule = "nft add rule inet t post oifname outside masquerade fully-random";
    let network = Network::with(rule, false);
    let (found, _) = network.nat("--server 203.0.113.1 --server 203.0.113.3");
    let family = &found["families"][0];
    assert_eq!(
        family["behaviour"]["mapping"], "endpoint-dependent",
        "{found:#}"
    );
    assert_eq!(family["rfc3489"], "symmetric");
    assert!(family["unknown"]["filtering"].is_string());
}
