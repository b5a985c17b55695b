//! Packets that the system does not take, or that their receiver does not: whoever has nothing to do with it notices nothing.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use socket2::{Domain, Socket, Type};
use stun::attributes::ATTR_DATA;
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_CREATE_PERMISSION};

use super::LIMIT;
use crate::support::messages::{decode, peer, relayed_address, request, send, status, transport};
use crate::support::{
    Extras, PASSWORD, Peer, StreamClient, StunClient, Turnd, USER, connect, dropped, wait_until,
};

/// The longest payload that a whole packet of the link has room for, and a bit less.
const PAYLOAD: [u8; 1200] = [0; 1200];

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
