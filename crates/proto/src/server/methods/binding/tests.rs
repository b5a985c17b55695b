use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stun::agent::TransactionId;
use stun::attributes::{
    ATTR_CHANGE_REQUEST, ATTR_MAPPED_ADDRESS, ATTR_OTHER_ADDRESS, ATTR_PADDING,
    ATTR_RESPONSE_ORIGIN, ATTR_RESPONSE_PORT, ATTR_UNKNOWN_ATTRIBUTES, ATTR_XORMAPPED_ADDRESS,
    AttrType, RawAttribute,
};
use stun::error_code::ErrorCodeAttribute;
use stun::message::{BINDING_REQUEST, Getter as _, Message, Setter};

use super::*;
use crate::Now;
use crate::auth::nonce::NonceKey;
use crate::auth::{self, Authenticator};
use crate::server::Server;
use crate::server::five_tuple::{ClientSocket, FiveTuple};
use crate::server::output::Output;
use crate::server::settings::{AlternatePorts, ExternalIp, Listen, Settings};
use crate::server::shared::Shared;
use crate::wire::address;
use crate::wire::discovery::Padding;
use crate::wire::message::attributes;
use crate::wire::numbers::MESSAGE_HEADER_LEN;

const CLIENT: &str = "192.0.2.9:4000";

fn external(public: &str, private: &str) -> ExternalIp {
    ExternalIp {
        public: public.parse().unwrap(),
        private: Some(private.parse().unwrap()),
    }
}

fn rfc5780(listen: &mut Listen) {
    listen.alternate_ports = Some(AlternatePorts {
        port: 3479,
        tls_port: 5350,
    });
}

/// A server, the addresses of its sockets, and its clock.
struct Bench {
    server: Server,
    bound: Vec<SocketAddr>,
    now: Now,
    transport: Transport,
}

impl Bench {
    /// A server that listens at `ips`, with what `adjust` makes of the usual settings.
    fn new(ips: &[&str], adjust: impl FnOnce(&mut Listen, &mut Settings)) -> Self {
        let mut settings = Settings::default();
        let mut listen = Listen {
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            port: 3478,
            tls_port: 5349,
            alternate_ports: None,
        };
        adjust(&mut listen, &mut settings);
        let bound: Vec<SocketAddr> = (listen.ips.iter())
            .flat_map(|ip| listen.ports(*ip).map(|p| SocketAddr::new(*ip, p)))
            .collect();
        let anyone = auth::Settings {
            no_auth: true,
            ..auth::Settings::default()
        };
        let auth = Authenticator::new(&anyone, NonceKey::new(&[7; 32])).unwrap();
        let shared = Shared::new(&settings, auth, &listen.ips, &[]);
        let now = Now {
            mono: Instant::now(),
            unix: 0,
        };
        let shared = Arc::new(shared.with_other_addresses(&listen, &bound));
        Self {
            server: Server::new(shared, [7; 32], now),
            bound,
            now,
            transport: Transport::Udp,
        }
    }

    /// Two addresses of each family.
    fn paired(adjust: impl FnOnce(&mut Listen, &mut Settings)) -> Self {
        let ips = ["198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db8::2"];
        Self::new(&ips, |listen, settings| {
            rfc5780(listen);
            adjust(listen, settings);
        })
    }

    /// The reply to `bytes` sent to `server`: source, destination and message.
    fn ask(&mut self, server: &str, bytes: &[u8]) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let server: SocketAddr = server.parse().unwrap();
        let socket = self.bound.iter().position(|b| *b == server).unwrap();
        let client = if server.is_ipv4() {
            CLIENT
        } else {
            "[2001:db8::9]:4000"
        };
        let path = Path {
            tuple: FiveTuple {
                transport: self.transport,
                client: client.parse().unwrap(),
                server,
            },
            socket: ClientSocket::Listener(socket as u16),
            proxied: false,
        };
        self.server.handle_client(self.now, &path, bytes);
        match self.server.poll_output()? {
            Output::Transmit { path, message } => {
                let ClientSocket::Listener(index) = path.socket else {
                    panic!("{path:?}");
                };
                let from = self.bound[usize::from(index)];
                assert_eq!(path.tuple.server, from);
                Some((from, path.tuple.client, message))
            }
            output => panic!("{output:?}"),
        }
    }

    fn binding(
        &mut self,
        server: &str,
        setters: Vec<Box<dyn Setter>>,
    ) -> (SocketAddr, SocketAddr, Message) {
        let (from, to, bytes) = self.ask(server, &request(setters)).unwrap();
        let mut message = Message::new();
        message.unmarshal_binary(&bytes).unwrap();
        (from, to, message)
    }
}

fn request(mut setters: Vec<Box<dyn Setter>>) -> Vec<u8> {
    setters.insert(0, Box::new(BINDING_REQUEST));
    setters.insert(1, Box::new(TransactionId::new()));
    let mut message = Message::new();
    message.build(&setters).unwrap();
    message.raw
}

fn plain(message: &Message, typ: AttrType) -> Option<String> {
    let value = message.get(typ).ok()?;
    Some(address::decode_plain(&value).unwrap().to_string())
}

fn code(message: &Message) -> Option<u16> {
    let mut code = ErrorCodeAttribute::default();
    code.get_from(message).ok().map(|()| code.code.0)
}

/// An attribute as it is.
struct Raw(AttrType, &'static [u8]);

impl Setter for Raw {
    fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
        message.add(self.0, self.1);
        Ok(())
    }
}

#[test]
fn n1_replies_tell_origin_and_other_address() {
    let mut bench = Bench::paired(|_, _| {});
    for (server, other) in [
        ("198.51.100.1:3478", "198.51.100.2:3479"),
        ("198.51.100.2:3478", "198.51.100.1:3479"),
        ("198.51.100.1:3479", "198.51.100.2:3478"),
        ("198.51.100.2:5350", "198.51.100.1:5349"),
        ("[2001:db8::1]:3478", "[2001:db8::2]:3479"),
    ] {
        let (from, to, reply) = bench.binding(server, vec![]);
        assert_eq!(from.to_string(), server);
        assert_eq!(plain(&reply, ATTR_RESPONSE_ORIGIN).unwrap(), server);
        assert_eq!(plain(&reply, ATTR_OTHER_ADDRESS).unwrap(), other);
        assert_eq!(plain(&reply, ATTR_MAPPED_ADDRESS).unwrap(), to.to_string());
        assert!(reply.contains(ATTR_XORMAPPED_ADDRESS));
    }
}

#[test]
fn n1_the_world_hears_of_external_addresses() {
    let mut bench = Bench::new(&["10.0.0.1", "10.0.0.2"], |listen, settings| {
        rfc5780(listen);
        settings.relay.external = vec![
            external("192.0.2.1", "10.0.0.1"),
            external("192.0.2.2", "10.0.0.2"),
        ];
    });
    let (.., reply) = bench.binding("10.0.0.1:3478", vec![]);
    assert_eq!(
        plain(&reply, ATTR_RESPONSE_ORIGIN).unwrap(),
        "192.0.2.1:3478"
    );
    assert_eq!(plain(&reply, ATTR_OTHER_ADDRESS).unwrap(), "192.0.2.2:3479");
}

#[test]
fn n2_change_request_picks_the_socket() {
    let mut bench = Bench::paired(|listen, _| {
        listen.alternate_ports.as_mut().unwrap().port = 40000;
    });
    let ips = ["198.51.100.1", "198.51.100.2"];
    let ports = [3478, 40000];
    for (i, p) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for (ip, port) in [(false, false), (true, false), (false, true), (true, true)] {
            let server = format!("{}:{}", ips[i], ports[p]);
            let (from, to, reply) =
                bench.binding(&server, vec![Box::new(ChangeRequest { ip, port })]);
            let expected = format!(
                "{}:{}",
                ips[i ^ usize::from(ip)],
                ports[p ^ usize::from(port)]
            );
            assert_eq!(from.to_string(), expected);
            assert_eq!(to.to_string(), CLIENT);
            assert_eq!(plain(&reply, ATTR_RESPONSE_ORIGIN).unwrap(), expected);
            let other = format!("{}:{}", ips[1 - i], ports[1 - p]);
            assert_eq!(plain(&reply, ATTR_OTHER_ADDRESS).unwrap(), other);
        }
    }
}

#[test]
fn n2_without_an_alternate_no_change_can_be_had() {
    let three = ["198.51.100.1", "198.51.100.2", "198.51.100.3"];
    for (mut bench, server) in [
        (Bench::new(&three[..1], |_, _| {}), "198.51.100.1:3478"),
        (
            Bench::new(&three, |listen, _| rfc5780(listen)),
            "198.51.100.3:3478",
        ),
    ] {
        let (.., reply) = bench.binding(server, vec![]);
        assert_eq!(code(&reply), None);
        assert!(!reply.contains(ATTR_OTHER_ADDRESS));
        for (ip, port) in [(false, true), (true, false), (true, true)] {
            let change = Box::new(ChangeRequest { ip, port });
            let (from, _, reply) = bench.binding(server, vec![change]);
            assert_eq!(from.to_string(), server);
            assert_eq!(code(&reply), Some(420));
            assert_eq!(reply.get(ATTR_UNKNOWN_ATTRIBUTES).unwrap(), [0, 3]);
            assert!(!reply.contains(ATTR_OTHER_ADDRESS));
        }
        let (.., reply) = bench.binding(server, vec![Box::new(ChangeRequest::default())]);
        assert_eq!(code(&reply), None);
    }
}

#[test]
fn n2_a_request_for_no_change_is_a_plain_one_on_every_transport() {
    for mut bench in [
        Bench::paired(|_, _| {}),
        Bench::new(&["198.51.100.1"], |_, _| {}),
    ] {
        for transport in Transport::ALL {
            bench.transport = transport;
            let server = "198.51.100.1:3478";
            let types = |reply: &Message| -> Vec<_> {
                let types = reply.attributes.0.iter().map(|a| (a.typ, a.value.clone()));
                types
                    .filter(|(typ, _)| *typ != ATTR_XORMAPPED_ADDRESS)
                    .collect()
            };
            let (.., plain) = bench.binding(server, vec![]);
            let none = Box::new(ChangeRequest::default());
            let (from, to, reply) = bench.binding(server, vec![none]);
            assert_eq!(code(&reply), None, "{transport:?}");
            assert_eq!(types(&reply), types(&plain));
            assert_eq!(
                (from.to_string(), to.to_string()),
                (server.into(), CLIENT.into())
            );
            let short = Box::new(Raw(ATTR_CHANGE_REQUEST, &[0, 0]));
            assert_eq!(code(&bench.binding(server, vec![short]).2), Some(400));
        }
    }
}

#[test]
fn n3_response_port_goes_to_the_askers_own_address() {
    let mut bench = Bench::paired(|_, _| {});
    let (from, to, reply) = bench.binding("198.51.100.1:3478", vec![Box::new(ResponsePort(5000))]);
    assert_eq!(from.to_string(), "198.51.100.1:3478");
    assert_eq!(to.to_string(), "192.0.2.9:5000");
    // The mapping told is still the asker's.
    assert_eq!(plain(&reply, ATTR_MAPPED_ADDRESS).unwrap(), CLIENT);
    let both: Vec<Box<dyn Setter>> = vec![
        Box::new(ResponsePort(5000)),
        Box::new(ChangeRequest {
            ip: true,
            port: true,
        }),
    ];
    let (from, to, _) = bench.binding("198.51.100.1:3478", both);
    assert_eq!(from.to_string(), "198.51.100.2:3479");
    assert_eq!(to.to_string(), "192.0.2.9:5000");
}

#[test]
fn n3_response_port_is_refused_with_padding_and_where_it_is_malformed() {
    let mut bench = Bench::paired(|_, _| {});
    let with_padding: Vec<Box<dyn Setter>> =
        vec![Box::new(ResponsePort(5000)), Box::new(Padding(8))];
    let zero: Vec<Box<dyn Setter>> = vec![Box::new(Raw(ATTR_RESPONSE_PORT, &[0, 0, 0, 0]))];
    let short: Vec<Box<dyn Setter>> = vec![Box::new(Raw(ATTR_RESPONSE_PORT, &[1]))];
    for setters in [with_padding, zero, short] {
        let (_, to, reply) = bench.binding("198.51.100.1:3478", setters);
        assert_eq!(code(&reply), Some(400));
        assert_eq!(to.to_string(), CLIENT);
    }
}

#[test]
fn n3_redirection_is_rate_limited() {
    let mut bench = Bench::paired(|_, settings| settings.limits.binding_rate = None);
    let redirected = |bench: &mut Bench| {
        (0..500)
            .filter(|_| {
                let bytes = request(vec![Box::new(ResponsePort(5000))]);
                bench.ask("198.51.100.1:3478", &bytes).is_some()
            })
            .count()
    };
    assert_eq!(redirected(&mut bench), 50);
    // A client that asks for replies to itself is not held up by the limit.
    assert_eq!(code(&bench.binding("198.51.100.1:3478", vec![]).2), None);
    bench.now = bench.now.after(Duration::from_secs(1));
    assert_eq!(redirected(&mut bench), 50);
}

#[test]
fn n4_padding_is_answered_with_padding_and_no_more_than_came() {
    let mut bench = Bench::paired(|_, _| {});
    for (asked, answered) in [(0, 0), (8, 8), (1500, 1500), (9000, 1500)] {
        let bytes = request(vec![Box::new(Padding(asked))]);
        let (.., reply) = bench.ask("198.51.100.1:3478", &bytes).unwrap();
        let mut message = Message::new();
        message.unmarshal_binary(&reply).unwrap();
        assert_eq!(message.get(ATTR_PADDING).unwrap(), vec![0; answered]);
        assert!(reply.len() <= bytes.len() + 48, "amplified");
    }
}

#[test]
fn n9_response_address_is_unknown() {
    let raw = || -> Vec<Box<dyn Setter>> {
        vec![Box::new(Raw(AttrType(2), &[0, 1, 0x10, 0, 192, 0, 2, 66]))]
    };
    for mut bench in [
        Bench::paired(|_, _| {}),
        Bench::new(&["198.51.100.1"], |_, _| {}),
    ] {
        let (_, to, reply) = bench.binding("198.51.100.1:3478", raw());
        assert_eq!(code(&reply), Some(420));
        assert_eq!(to.to_string(), CLIENT);
    }
}

#[test]
fn without_the_key_nothing_of_it_is_known_or_told() {
    let mut bench = Bench::new(&["198.51.100.1", "198.51.100.2"], |_, _| {});
    let (.., reply) = bench.binding("198.51.100.1:3478", vec![]);
    let types: Vec<_> = reply.attributes.0.iter().map(|a| a.typ).collect();
    assert_eq!(types, [ATTR_XORMAPPED_ADDRESS]);
    let no_change = vec![Box::new(ChangeRequest::default()) as Box<dyn Setter>];
    let (.., reply) = bench.binding("198.51.100.1:3478", no_change);
    let types: Vec<_> = reply.attributes.0.iter().map(|a| a.typ).collect();
    assert_eq!(types, [ATTR_XORMAPPED_ADDRESS]);
    let setters: [Box<dyn Setter>; 3] = [
        Box::new(ChangeRequest {
            ip: false,
            port: true,
        }),
        Box::new(ResponsePort(5000)),
        Box::new(Padding(8)),
    ];
    for setter in setters {
        assert_eq!(
            code(&bench.binding("198.51.100.1:3478", vec![setter]).2),
            Some(420)
        );
    }
}

/// A request of RFC 3489 with these attributes.
fn classic(attributes: &[RawAttribute]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, 0];
    bytes.extend_from_slice(b"sixteen bytes id");
    for attribute in attributes {
        bytes.extend_from_slice(&attribute.typ.value().to_be_bytes());
        bytes.extend_from_slice(&(attribute.value.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&attribute.value);
    }
    let len = (bytes.len() - MESSAGE_HEADER_LEN) as u16;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    bytes
}

fn classic_change(flags: u8) -> RawAttribute {
    RawAttribute {
        typ: ATTR_CHANGE_REQUEST,
        length: 4,
        value: vec![0, 0, 0, flags],
    }
}

fn classic_attributes(reply: &[u8]) -> Vec<(u16, String)> {
    assert_eq!(&reply[4..20], b"sixteen bytes id");
    assert_eq!(
        usize::from(u16::from_be_bytes([reply[2], reply[3]])),
        reply.len() - 20
    );
    attributes(reply)
        .map(|a| {
            let (typ, value) = a.unwrap();
            let text = address::decode_plain(value)
                .map_or_else(|| format!("{value:?}"), |addr| addr.to_string());
            (typ.0, text)
        })
        .collect()
}

#[test]
fn s3_classic_requests_get_the_attributes_of_their_time() {
    let mut bench = Bench::paired(|_, settings| settings.protocol.rfc3489 = true);
    for (flags, source) in [
        (0, "198.51.100.1:3478"),
        (2, "198.51.100.1:3479"),
        (4, "198.51.100.2:3478"),
        (6, "198.51.100.2:3479"),
    ] {
        let (from, to, reply) = bench
            .ask("198.51.100.1:3478", &classic(&[classic_change(flags)]))
            .unwrap();
        assert_eq!(from.to_string(), source);
        assert_eq!(to.to_string(), CLIENT);
        assert_eq!(
            classic_attributes(&reply),
            [
                (1, CLIENT.to_owned()),
                (4, source.to_owned()),
                (5, "198.51.100.2:3479".to_owned())
            ]
        );
    }
}

#[test]
fn s3_n9_classic_requests_are_not_redirected() {
    let response_address = RawAttribute {
        typ: AttrType(2),
        length: 8,
        value: vec![0, 1, 0x10, 0, 192, 0, 2, 66],
    };
    let mut bench = Bench::paired(|_, settings| settings.protocol.rfc3489 = true);
    let (from, to, reply) = bench
        .ask("198.51.100.1:3478", &classic(&[response_address]))
        .unwrap();
    assert_eq!(from.to_string(), "198.51.100.1:3478");
    assert_eq!(to.to_string(), CLIENT);
    assert_eq!(reply[..2], [1, 0x11]);
    let attributes = classic_attributes(&reply);
    assert_eq!(attributes[1], (10, "[0, 2, 0, 2]".to_owned()));
}

#[test]
fn s3_without_alternates_classic_replies_hold_the_mapping_alone() {
    let mut bench = Bench::new(&["198.51.100.1"], |_, settings| {
        settings.protocol.rfc3489 = true
    });
    let (.., reply) = bench
        .ask("198.51.100.1:3478", &classic(&[classic_change(0)]))
        .unwrap();
    assert_eq!(classic_attributes(&reply), [(1, CLIENT.to_owned())]);
    let (.., reply) = bench
        .ask("198.51.100.1:3478", &classic(&[classic_change(6)]))
        .unwrap();
    assert_eq!(
        classic_attributes(&reply)[1],
        (10, "[0, 3, 0, 3]".to_owned())
    );
    let mut off = Bench::paired(|_, _| {});
    assert!(off.ask("198.51.100.1:3478", &classic(&[])).is_none());
}
