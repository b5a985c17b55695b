//! Firewalls and wrong external addresses, on networks of the test's own.

use std::net::SocketAddr;

use super::{Outcome, probe};
use crate::support::{Namespace, PASSWORD, Turnd, USER, client_and_server, link};

/// Public addresses; nothing of them leaves the namespaces.
const SERVER: &str = "5.6.7.1";

/// A client with a public address, and the server on the same network.
struct Network {
    client: Namespace,
    server: Namespace,
}

impl Network {
    fn new() -> Self {
        let [client, server] =
            client_and_server(&["5.6.7.2/24", "2a01::2/64"], &["5.6.7.1/24", "2a01::1/64"]);
        server.shell(
            "nft add table inet t
             nft add chain inet t in '{ type filter hook input priority 0; }'",
        );
        Self { client, server }
    }

    fn serve(&self, toml: &str) -> Turnd {
        let address = SocketAddr::new(SERVER.parse().unwrap(), 3478);
        let toml = format!(
            "listening-ip = ['{SERVER}', '2a01::1']\nrelay-ip = ['{SERVER}', '2a01::1']\n{toml}"
        );
        Turnd::start_in(&self.server, address, &toml)
    }

    fn probe(&self, words: &[&str]) -> Outcome {
        let login = ["--user", USER, "--password", PASSWORD];
        probe(Some(&self.client), &[words, &login].concat())
    }
}

#[test]
fn a_good_server_serves_over_both_families() {
    let network = Network::new();
    let _turnd = network.serve("allocation-default-address-family = 'keep'");
    let uris = [
        "stun:5.6.7.1",
        "turn:5.6.7.1",
        "stun:[2a01::1]",
        "turn:[2a01::1]:3478",
    ];
    let outcome = network.probe(&uris);
    outcome.expect_served();
    assert!(outcome.findings().is_empty(), "{:?}", outcome.findings());
}

#[test]
fn firewall_on_the_relay_ports() {
    let network = Network::new();
    let _turnd = network.serve("");
    network
        .server
        .shell("nft add rule inet t in iifname net udp dport 49152-65535 drop");
    network.probe(&["turn:5.6.7.1"]).expect_fault(
        "nothing arrives at the relayed address 5.6.7.1:",
        "a firewall before the server drops what comes to its relay ports, while what they send comes out",
    );
}

#[test]
fn firewall_on_what_the_relay_ports_send() {
    let network = Network::new();
    let _turnd = network.serve("");
    network.server.shell(
        "nft add chain inet t out '{ type filter hook output priority 0; }'
         nft add rule inet t out oifname net udp sport 49152-65535 drop",
    );
    network.probe(&["turn:5.6.7.1"]).expect_fault(
        "nothing comes from the relayed address 5.6.7.1:",
        "a firewall at the server drops what its relay ports send",
    );
    network
        .server
        .shell("nft add rule inet t in iifname net udp dport 49152-65535 drop");
    network.probe(&["turn:5.6.7.1"]).expect_fault(
        "nothing arrives at the relayed address 5.6.7.1:",
        "and what they send does not come out either",
    );
}

#[test]
fn a_firewall_that_rejects() {
    let network = Network::new();
    let _turnd = network.serve("");
    network
        .server
        .shell("nft add rule inet t in udp dport 3478 reject");
    network
        .probe(&["turn:5.6.7.1", "--timeout", "2"])
        .expect_fault(
            "5.6.7.1:3478 refuses UDP [701]",
            "or a firewall rejects the packets, which looks the same",
        );
    network.server.shell(
        "nft flush chain inet t in
         nft add rule inet t in udp dport 3478 reject with icmpx type admin-prohibited",
    );
    network
        .probe(&["turn:5.6.7.1", "--timeout", "2"])
        .expect_fault(
            "5.6.7.1:3478 cannot be reached over UDP [701]",
            "a firewall rejects the packets",
        );
}

#[test]
fn external_ip_of_another_host() {
    let network = Network::new();
    let _turnd = network.serve("external-ip = '5.6.7.77'");
    network.probe(&["turn:5.6.7.1"]).expect_fault(
        "nothing arrives at the relayed address 5.6.7.77:",
        "external-ip names another host",
    );
}

#[test]
fn external_ip_forgotten() {
    let [client, router, server] = ["client", "router", "server"].map(Namespace::new);
    link([
        (&client, "net", &["5.6.7.2/24"]),
        (&router, "net", &["5.6.7.1/24"]),
    ]);
    link([
        (&router, "inside", &["10.7.7.1/24"]),
        (&server, "net", &["10.7.7.2/24"]),
    ]);
    server.ip("route add default via 10.7.7.1");
    router.shell(
        "echo 1 >/proc/sys/net/ipv4/ip_forward
         nft add table ip t
         nft add chain ip t pre '{ type nat hook prerouting priority -100; }'
         nft add rule ip t pre ip daddr 5.6.7.1 meta l4proto udp dnat to 10.7.7.2",
    );
    let toml = "listening-ip = '10.7.7.2'\nrelay-ip = '10.7.7.2'";
    let address = SocketAddr::new("10.7.7.2".parse().unwrap(), 3478);
    let serve = |toml: &str| Turnd::start_in(&server, address, toml);
    let network = Network {
        client,
        server: Namespace::new("spare"),
    };
    {
        let _turnd = serve(toml);
        network.probe(&["turn:5.6.7.1"]).expect_fault(
            "the relayed address 10.7.7.2:",
            "it is a private address, but the server was reached at 5.6.7.1: external-ip is missing",
        );
    }
    {
        let _turnd = serve(&format!("{toml}\nexternal-ip = '192.168.1.5'"));
        network.probe(&["turn:5.6.7.1"]).expect_fault(
            "the relayed address 192.168.1.5:",
            "external-ip is missing, or names a private address; set external-ip = \"5.6.7.1\"",
        );
    }
    {
        // The remedy as it stands.
        let _turnd = serve(&format!("{toml}\nexternal-ip = '5.6.7.1'"));
    }
    let _turnd = serve(&format!("{toml}\nexternal-ip = '5.6.7.1/10.7.7.2'"));
    network.probe(&["turn:5.6.7.1"]).expect_served();
}

#[test]
fn tcp_blocked_and_udp_blocked() {
    let network = Network::new();
    let _turnd = network.serve("");
    network
        .server
        .shell("nft add rule inet t in meta l4proto tcp drop");
    let words = ["turn:5.6.7.1?transport=tcp", "--timeout", "2"];
    let outcome = network.probe(&words);
    outcome.expect_fault("5.6.7.1:3478 does not answer over TCP [701]", "a firewall");
    assert!(outcome.took.as_secs() < 5);
    network
        .server
        .shell("nft add rule inet t in udp dport 3478 drop");
    let outcome = network.probe(&["turn:5.6.7.1", "--timeout", "2"]);
    outcome.expect_fault("5.6.7.1:3478 does not answer over UDP [701]", "a firewall");
    assert!(outcome.took.as_secs() < 5);
}

#[test]
fn peers_denied() {
    let network = Network::new();
    let _turnd = network.serve("denied-peer-ip = '5.6.7.2'");
    let findings = network.probe(&["turn:5.6.7.1"]).findings();
    assert!(
        findings[0].starts_with("warning the server refuses 5.6.7.2 as a peer [403]"),
        "{findings:#?}"
    );
}

#[test]
fn a_host_without_the_family_says_so() {
    let network = Network::new();
    let _turnd = network.serve("");
    let outcome = network.probe(&["turn:[2a02::1]", "--timeout", "2"]);
    let findings = outcome.findings();
    assert!(
        findings[0].starts_with("note [2a02::1]:3478 cannot be tried"),
        "{findings:#?}"
    );
    assert_eq!(outcome.code, Some(1));
}
