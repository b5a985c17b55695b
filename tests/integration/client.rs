//! Clients written in Rust: webrtc-rs's TURN client, and the tests' own.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stun::attributes::{ATTR_XOR_RELAYED_ADDRESS, ATTR_XORMAPPED_ADDRESS};
use stun::message::{CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE, METHOD_CHANNEL_BIND};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use turn::proto::PROTO_UDP;
use turn::proto::chandata::ChannelData;
use turn::proto::channum::ChannelNumber;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::reqfamily::REQUESTED_FAMILY_IPV6;
use turn::proto::reqtrans::RequestedTransport;
use webrtc_util::Conn;

use crate::support::{PASSWORD, Peer, REALM, StunClient, Turnd, USER, error_code, xor_address};

const LIMIT: Duration = Duration::from_secs(20);

/// Carries datagrams between one client and the server, and counts ChannelData both ways.
struct Tap {
    address: SocketAddr,
    to_server: Arc<AtomicUsize>,
    to_client: Arc<AtomicUsize>,
}

impl Tap {
    async fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let (to_server, to_client) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let counters = (Arc::clone(&to_server), Arc::clone(&to_client));
        tokio::spawn(async move {
            let mut client = None;
            let mut buffer = vec![0; 65_536];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let (counter, to) = if from == server {
                    (
                        &counters.1,
                        client.expect("the server does not speak first"),
                    )
                } else {
                    client = Some(from);
                    (&counters.0, server)
                };
                if (0x40..0x50).contains(&buffer[0]) {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                socket.send_to(&buffer[..len], to).await.unwrap();
            }
        });
        Self {
            address,
            to_server,
            to_client,
        }
    }
}

#[tokio::test]
async fn webrtc_rs_echoes_over_a_channel() {
    let turnd = Turnd::start("");
    let peer = Peer::echo(Ipv4Addr::LOCALHOST);
    let tap = Tap::new(turnd.address()).await;
    let client = Client::new(ClientConfig {
        stun_serv_addr: tap.address.to_string(),
        turn_serv_addr: tap.address.to_string(),
        username: USER.into(),
        password: PASSWORD.into(),
        realm: REALM.into(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()),
        vnet: None,
    })
    .await
    .unwrap();
    client.listen().await.unwrap();
    let relay = timeout(LIMIT, client.allocate())
        .await
        .expect("no allocation in time")
        .unwrap();
    let (min, max) = turnd.ports().relays();
    let relayed = relay.local_addr().unwrap();
    assert_eq!(relayed.ip(), Ipv4Addr::LOCALHOST);
    assert!(
        (min..=max).contains(&relayed.port()),
        "{relayed} is not within {min}..={max}"
    );

    // The first datagrams go out as Send indications; the client turns to the channel once it is bound.
    let mut echoes_on_channel = 0;
    let mut buffer = vec![0; 2048];
    for round in 0.. {
        let payload = format!("round {round} {}", "x".repeat(round % 7));
        timeout(LIMIT, relay.send_to(payload.as_bytes(), peer.address()))
            .await
            .expect("send hangs")
            .unwrap();
        let (len, from) = timeout(LIMIT, relay.recv_from(&mut buffer))
            .await
            .expect("no echo")
            .unwrap();
        assert_eq!((&buffer[..len], from), (payload.as_bytes(), peer.address()));
        if tap.to_server.load(Ordering::Relaxed) > 0 {
            echoes_on_channel += 1;
        }
        if echoes_on_channel == 20 {
            break;
        }
        assert!(
            round < 2000,
            "the client never used its channel:\n{}",
            turnd.log()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(
        tap.to_client.load(Ordering::Relaxed) >= 20,
        "echoes came without the channel"
    );
    timeout(LIMIT, client.close())
        .await
        .expect("close hangs")
        .unwrap();
}

#[test]
fn raw_client_echoes_over_a_channel_ipv4() {
    let turnd = Turnd::start("");
    raw_echo(&turnd, turnd.address(), &Peer::echo(Ipv4Addr::LOCALHOST));
}

#[test]
fn raw_client_echoes_over_a_channel_ipv6() {
    let turnd = Turnd::start("");
    raw_echo(&turnd, turnd.address_v6(), &Peer::echo(Ipv6Addr::LOCALHOST));
}

fn raw_echo(turnd: &Turnd, server: SocketAddr, peer: &Peer) {
    let mut client = StunClient::new(server);
    let reply = client.binding().expect("no answer to a Binding request");
    assert_eq!(
        xor_address(&reply, ATTR_XORMAPPED_ADDRESS),
        Some(client.address())
    );

    client.log_in(USER, "not the password");
    let reply = client
        .ask(&client.signed(METHOD_ALLOCATE, vec![]))
        .expect("no answer to a wrong password");
    assert_eq!(error_code(&reply), Some(401), "{reply}");

    client.log_in(USER, PASSWORD);
    let mut attributes: Vec<Box<dyn stun::message::Setter>> = vec![Box::new(RequestedTransport {
        protocol: PROTO_UDP,
    })];
    if peer.address().is_ipv6() {
        attributes.push(Box::new(REQUESTED_FAMILY_IPV6));
    }
    let reply = client.ask_signed(METHOD_ALLOCATE, attributes);
    assert_eq!(reply.typ.class, CLASS_SUCCESS_RESPONSE, "{reply}");
    assert_eq!(
        xor_address(&reply, ATTR_XORMAPPED_ADDRESS),
        Some(client.address())
    );
    let relayed = xor_address(&reply, ATTR_XOR_RELAYED_ADDRESS).expect("no XOR-RELAYED-ADDRESS");
    let (min, max) = turnd.ports().relays();
    assert_eq!(relayed.ip(), server.ip());
    assert!(
        (min..=max).contains(&relayed.port()),
        "{relayed} is not within {min}..={max}"
    );

    let address = PeerAddress {
        ip: peer.address().ip(),
        port: peer.address().port(),
    };
    let reply = client.ask_signed(
        METHOD_CHANNEL_BIND,
        vec![Box::new(ChannelNumber(0x4000)), Box::new(address)],
    );
    assert_eq!(reply.typ.class, CLASS_SUCCESS_RESPONSE, "{reply}");
    for payload in ["", "a", "abcde"] {
        let mut data = ChannelData {
            data: payload.into(),
            number: ChannelNumber(0x4000),
            raw: vec![],
        };
        data.encode();
        client.send(&data.raw);
        let mut echo = ChannelData {
            raw: client.receive().expect("no echo"),
            ..ChannelData::default()
        };
        echo.decode().unwrap();
        assert_eq!(
            (echo.number, echo.data.as_slice()),
            (data.number, payload.as_bytes())
        );
    }
}
