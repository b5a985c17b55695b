//! `/metrics` while sessions run.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use stun::message::{CLASS_SUCCESS_RESPONSE, METHOD_CHANNEL_BIND};
use turn::proto::chandata::ChannelData;
use turn::proto::channum::ChannelNumber;
use turn::proto::peeraddr::PeerAddress;

use super::{allocate, api, refresh, session, start, usual_session};
use crate::support::admin::{of, samples};
use crate::support::{Authority, Key, PASSWORD, Peer, StunClient, Turnd, USER, error_code};

/// Binds a channel to `peer` and sends this many messages of 100 bytes, each sent back.
fn exchange(client: &StunClient, peer: &Peer, messages: usize) {
    let address = PeerAddress {
        ip: peer.address().ip(),
        port: peer.address().port(),
    };
    let bind: Vec<Box<dyn stun::message::Setter>> =
        vec![Box::new(ChannelNumber(0x4000)), Box::new(address)];
    let reply = client.ask_signed(METHOD_CHANNEL_BIND, bind);
    assert_eq!(reply.typ.class, CLASS_SUCCESS_RESPONSE, "{reply}");
    let mut data = ChannelData {
        data: vec![7; 100],
        number: ChannelNumber(0x4000),
        raw: vec![],
    };
    data.encode();
    for _ in 0..messages {
        client.send(&data.raw);
        assert_eq!(client.receive().as_ref(), Some(&data.raw));
    }
}

#[test]
fn they_move_while_a_session_runs() {
    let turnd = start("");
    let peer = Peer::echo(Ipv4Addr::LOCALHOST);
    let before = samples(&turnd);
    let client = usual_session(&turnd);
    exchange(&client, &peer, 25);
    let during = samples(&turnd);
    let moved = |name: &str| of(&during, name) - of(&before, name);
    assert_eq!(of(&during, "turn_total_allocations{type=\"UDP\"}"), 1.0);
    let live = "turnd_allocations_active{transport=\"udp\",family=\"ipv4\"}";
    assert_eq!(of(&during, live), 1.0);
    assert_eq!(of(&during, "turnd_relay_ports_used"), 1.0);
    for side in ["rcvp", "sentp"] {
        assert_eq!(moved(&format!("turn_total_traffic_peer_{side}")), 25.0);
        assert_eq!(
            moved(&format!(
                "turn_traffic_peer_{side}{{realm=\"example.org\"}}"
            )),
            25.0
        );
    }
    assert_eq!(moved("turn_total_traffic_peer_rcvb"), 2500.0);
    assert!(moved("turn_total_traffic_rcvp") >= 25.0);
    assert!(moved("turn_total_traffic_sentb") >= 2500.0);
    assert!(moved("turn_packet_processed") >= 50.0);
    // The session's own numbers are live as well.
    let listed = api(&turnd).get("/api/v1/sessions").json();
    assert_eq!(listed["sessions"][0]["packets_to_peers"], 25);
    assert_eq!(listed["sessions"][0]["bytes_to_client"], 2500);
    assert_eq!(listed["sessions"][0]["channels"][0]["number"], 0x4000);

    assert_eq!(refresh(&client, 0), None);
    let after = samples(&turnd);
    assert_eq!(of(&after, live), 0.0);
    let ended = |reason: &str| {
        let name = format!("turnd_allocations_ended_total{{reason=\"{reason}\"}}");
        of(&after, &name)
    };
    assert_eq!(ended("deleted"), 1.0);
    for other in [
        "expired",
        "shutdown",
        "killed",
        "disconnected",
        "revoked",
        "credentials-expired",
    ] {
        assert_eq!(ended(other), 0.0, "{other}");
    }
    assert_eq!(of(&after, "turnd_relay_ports_used"), 0.0);
}

#[test]
fn refusals_are_counted() {
    let turnd = start("user-quota = 1");
    let _client = usual_session(&turnd);
    let reply = allocate(&mut StunClient::new(turnd.address()), USER, PASSWORD);
    assert_eq!(error_code(&reply), Some(486));
    let mut wrong = StunClient::new(turnd.address());
    wrong.log_in(USER, "wrong");
    let reply = wrong
        .ask(&wrong.signed(stun::message::METHOD_ALLOCATE, vec![]))
        .unwrap();
    assert_eq!(error_code(&reply), Some(401));
    StunClient::new(turnd.address()).send(b"\x40\x00\x00\x04data");
    super::eventually("a drop", || {
        of(
            &samples(&turnd),
            "turnd_packets_dropped_total{reason=\"no-allocation\"}",
        ) == 1.0
    });
    let now = samples(&turnd);
    assert_eq!(of(&now, "turnd_quota_refusals_total{quota=\"user\"}"), 1.0);
    assert_eq!(
        of(&now, "turnd_auth_failures_total{reason=\"wrong-password\"}"),
        1.0
    );
    assert_eq!(
        of(
            &now,
            "turnd_responses_total{method=\"allocate\",code=\"486\"}"
        ),
        1.0
    );
    assert_eq!(
        of(&now, "turn_unauthenticated_401_requests"),
        of(&now, "turn_unauthenticated_401_responses")
    );
}

#[test]
fn no_client_can_multiply_them() {
    let users: Vec<String> = (0..40).map(|n| format!("user{n}:{PASSWORD}")).collect();
    let turnd = start(&format!("user = {}", json!(users)));
    let names = |turnd: &Turnd| samples(turnd).into_keys().collect::<BTreeSet<_>>();
    // The codes that clients here run into, once each.
    let probe = session(turnd.address(), "user0", PASSWORD);
    assert_eq!(refresh(&probe, 0), None);
    assert_eq!(refresh(&probe, 0), Some(437));
    let before = names(&turnd);
    let clients: Vec<StunClient> = (0..40)
        .flat_map(|n| {
            let user = format!("user{n}");
            [turnd.address(), turnd.address_v6()].map(|server| session(server, &user, PASSWORD))
        })
        .collect();
    for client in &clients[..20] {
        assert_eq!(refresh(client, 0), None);
    }
    assert_eq!(names(&turnd), before);
    assert!(before.len() < 150, "{}", before.len());
}

/// Dashboards for coturn's releases up to 4.17 find what they ask for.
#[test]
fn each_name_of_coturn_is_there() {
    let turnd = start("");
    let names: BTreeSet<String> = samples(&turnd)
        .into_keys()
        .map(|sample| sample.split('{').next().unwrap_or_default().to_owned())
        .collect();
    let traffic = ["turn_traffic", "turn_total_traffic"].into_iter();
    let traffic = traffic.flat_map(|prefix| {
        ["rcvp", "rcvb", "sentp", "sentb"]
            .into_iter()
            .flat_map(move |flow| [format!("{prefix}_{flow}"), format!("{prefix}_peer_{flow}")])
    });
    let others = [
        "stun_binding_request",
        "stun_binding_response",
        "stun_binding_error",
        "turn_unauthenticated_401_requests",
        "turn_unauthenticated_401_responses",
        "turn_unauthenticated_401_dropped_responses",
        "turn_ratelimit_hash_collisions",
        "turn_ratelimit_occupied_buckets",
        "turn_ratelimit_total_buckets",
        "turn_total_allocations",
        "turn_packet_processed",
        "turn_packet_dropped",
        "turn_udp_recvmmsg_calls",
        "turn_udp_recvmmsg_packets",
        "turn_udp_sendmmsg_flushes",
        "turn_udp_sendmmsg_datagrams",
        "turn_udp_sendmmsg_gso_datagrams",
    ];
    let missing: Vec<_> = traffic
        .chain(others.map(str::to_owned))
        .filter(|name| !names.contains(name))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_metric_is_documented() {
    let documented = include_str!("../../../docs/metrics.md");
    let words: BTreeSet<&str> = documented
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let authority = Authority::new();
    authority.issue("one", "localhost", Key::Ecdsa, 2);
    let turnd = start(&authority.toml(&["one"]));
    let missing: BTreeSet<String> = samples(&turnd)
        .into_keys()
        .map(|sample| sample.split('{').next().unwrap_or_default().to_owned())
        .filter(|name| !words.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
}

#[test]
fn batches_are_counted_by_call_and_by_datagram() {
    let turnd = start("");
    let peer = Peer::echo(Ipv4Addr::LOCALHOST);
    let client = usual_session(&turnd);
    exchange(&client, &peer, 10);
    let now = samples(&turnd);
    // Ten messages, each once from the client and once from the peer.
    let received = of(&now, "turn_udp_recvmmsg_packets");
    let calls = of(&now, "turn_udp_recvmmsg_calls");
    assert!(received >= 20.0, "{received}");
    assert!(calls > 0.0 && calls <= received, "{calls} of {received}");
    let sent = of(&now, "turn_udp_sendmmsg_datagrams");
    let flushes = of(&now, "turn_udp_sendmmsg_flushes");
    assert!(sent >= 20.0, "{sent}");
    assert!(flushes > 0.0 && flushes <= sent, "{flushes} of {sent}");
}

#[test]
fn the_process_itself_is_measured() {
    let turnd = start("");
    let before = samples(&turnd);
    let _clients = [0; 20].map(|_| usual_session(&turnd));
    let after = samples(&turnd);
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_max_fds",
    ] {
        assert!(of(&after, name) > 0.0, "{name}");
    }
    // Each allocation has a socket.
    let open = |samples| of(samples, "process_open_fds");
    assert!(open(&after) >= open(&before) + 20.0, "{}", open(&after));
    assert!(of(&after, "process_cpu_seconds_total") >= of(&before, "process_cpu_seconds_total"));
    let started = of(&after, "process_start_time_seconds");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let age = now.as_secs_f64() - started;
    assert!((0.0..600.0).contains(&age), "{age}");
    assert_eq!(of(&before, "process_start_time_seconds"), started);
}
