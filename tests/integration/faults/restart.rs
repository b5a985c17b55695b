//! A server that is killed in the middle of its calls, and started again at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use stun::message::{METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_REFRESH, Method};
use turn::proto::channum::ChannelNumber;

use crate::support::messages::{Attributes, channel_data, decode, peer, status, transport};
use crate::support::{PASSWORD, Peer, Ports, StreamClient, StunClient, Turnd, USER};

const CLIENTS: usize = 20;
const CHANNEL: u16 = 0x4000;

fn bind(client: &StunClient, echo: &Peer) {
    let number = Box::new(ChannelNumber(CHANNEL));
    let attributes: Attributes = vec![number, peer(&echo.address().to_string())];
    assert_eq!(
        status(&client.ask_signed(METHOD_CHANNEL_BIND, attributes)),
        200
    );
}

/// The status of the answer to a request; data of the peer may come before it.
fn ask(client: &StunClient, method: Method, attributes: Attributes) -> u16 {
    let request = client.signed(method, attributes);
    client.send(&request.raw);
    loop {
        let bytes = client.receive().expect("no answer");
        if bytes[0] < 0x40 {
            let reply = decode(&bytes);
            assert_eq!(reply.transaction_id, request.transaction_id);
            return status(&reply);
        }
    }
}

fn connected(server: SocketAddr) -> StreamClient {
    let mut client = StreamClient::new(server);
    client.log_in(USER, PASSWORD);
    assert_eq!(
        status(&client.ask_signed(METHOD_ALLOCATE, vec![transport()])),
        200
    );
    client
}

#[test]
fn killed_under_load_it_is_back_on_its_ports_and_clients_recover_in_one_retry() {
    const TOML: &str = "nonce-secret = 'the same before and after, and long enough'";
    let ports = Ports::claim(112);
    let turnd = Turnd::start_on(ports, TOML);
    let server = turnd.address();
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (client, _) = StunClient::allocated(server);
            bind(&client, &echo);
            client
        })
        .collect();
    let mut streams: Vec<_> = (0..CLIENTS).map(|_| connected(server)).collect();

    let over = AtomicBool::new(false);
    let turnd = thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| {
                let data = channel_data(CHANNEL, &[0; 500]);
                while !over.load(Ordering::Relaxed) {
                    client.send(&data);
                    thread::yield_now();
                }
            });
        }
        let _guard = Over(&over);
        // Its port is free again for the one that follows, whatever the clients still send there.
        turnd.killed_and_restarted(TOML)
    });
    for client in &clients {
        assert_eq!(ask(client, METHOD_REFRESH, vec![]), 437, "{}", turnd.log());
        assert_eq!(ask(client, METHOD_ALLOCATE, vec![transport()]), 200);
        bind(client, &echo);
        let data = channel_data(CHANNEL, b"again");
        client.send(&data);
        assert_eq!(client.receive(), Some(data));
    }
    for stream in &mut streams {
        assert!(
            stream.try_receive().is_err(),
            "the connection outlives the server"
        );
        *stream = connected(server);
    }
}

#[test]
fn without_a_nonce_secret_the_new_nonce_comes_with_the_refusal() {
    let turnd = Turnd::start("");
    let (mut client, _) = StunClient::allocated(turnd.address());
    let turnd = turnd.killed_and_restarted("");
    assert_eq!(
        status(&client.ask(&client.signed(METHOD_REFRESH, vec![])).unwrap()),
        438
    );
    client.log_in(USER, PASSWORD);
    assert_eq!(ask(&client, METHOD_REFRESH, vec![]), 437, "{}", turnd.log());
    assert_eq!(ask(&client, METHOD_ALLOCATE, vec![transport()]), 200);
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
