//! The server, its clients and what they have seen so far.

use std::net::SocketAddr;

use stun::attributes::{
    ATTR_CHANNEL_NUMBER, ATTR_CONNECTION_ID, ATTR_NONCE, ATTR_REQUESTED_TRANSPORT,
    ATTR_RESERVATION_TOKEN,
};
use stun::fingerprint::FINGERPRINT;
use stun::message::{
    METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CONNECT, METHOD_CONNECTION_BIND,
    METHOD_CREATE_PERMISSION, METHOD_REFRESH, Method, Setter,
};
use turnd_proto::auth::rest;
use turnd_proto::auth::secret::Secret;
use turnd_proto::server::Filter;
use turnd_proto::server::OpenError;
use turnd_proto::server::connections::ConnectionId;
use turnd_proto::server::five_tuple::{ClientSocket, FiveTuple, Path, Transport};
use turnd_proto::server::output::{Output, PeerVerdict, RelayId};
use turnd_proto::server::settings::DefaultFamily;

use crate::messages::{
    Attributes, Login, addr, channel_data, decode, peer, raw, request, send, status,
};
use crate::settings::Settings;
use crate::step::{Attribute, Step};
use crate::world::{SERVER_V4, SERVER_V6, UNIX, World};
use crate::{PASSWORD, USER};

/// Settings by number: the usual ones, some that take much away, some without credentials.
fn change(number: usize) -> fn(&mut Settings) {
    [usual, strict, open][number % 3]
}

fn common(settings: &mut Settings) {
    settings.auth.nonce_secret = Some(Secret::new("a secret for tests, and long enough"));
    settings.ports(50000, 50019);
    let limits = &mut settings.server.limits;
    // The tables of the rate limits are large: making them would take most of the time.
    limits.binding_rate = None;
    limits.user_quota = Some(3);
    limits.total_quota = Some(5);
}

fn usual(settings: &mut Settings) {
    common(settings);
    settings.secrets(&["a secret of the application"]);
    settings.users(&["alice:secret", "bob:hidden"]);
    settings.protocol.rfc3489 = true;
    let limits = &mut settings.server.limits;
    limits.permissions = 4;
    limits.channels = 3;
    limits.peer_connections = 3;
    limits.max_bps = Some(5000);
    limits.unauthenticated_rate = None;
}

fn strict(settings: &mut Settings) {
    common(settings);
    settings.users(&["bob:changed"]);
    settings.deny(&["45.0.0.7", "2a00::7"]);
    settings.protocol.fingerprint = true;
    settings.protocol.software = Some("turnd".to_owned());
    settings.protocol.rfc5766_channels = true;
    settings.alternate_servers.drain = vec![addr("192.0.2.99:3478")];
    let limits = &mut settings.server.limits;
    limits.permissions = 1;
    limits.channels = 1;
    limits.peer_connections = 1;
    limits.unauthenticated_rate = Some(3);
}

fn open(settings: &mut Settings) {
    common(settings);
    settings.users(&[]);
    settings.auth.no_auth = true;
    settings.peers.allow_loopback = true;
    settings.tcp_relay = false;
    settings.protocol.secure_stun = true;
    settings.protocol.default_family = DefaultFamily::Client;
    settings.server.limits.unauthenticated_rate = None;
}

const PEERS: [&str; 10] = [
    "45.0.0.7:7000",
    "45.0.0.7:7001",
    "45.0.0.8:7000",
    "[2a00::7]:7000",
    "[2a00::8]:7000",
    "[::ffff:45.0.0.7]:7000",
    "10.0.0.1:1",
    "127.0.0.1:1",
    "198.51.100.1:3478",
    "[2001:db8::1]:50001",
];

const METHODS: [Method; 7] = [
    METHOD_ALLOCATE,
    METHOD_REFRESH,
    METHOD_CREATE_PERMISSION,
    METHOD_CHANNEL_BIND,
    METHOD_CONNECT,
    METHOD_CONNECTION_BIND,
    METHOD_BINDING,
];

struct Client {
    path: Path,
    user: String,
    password: String,
    /// Realm, nonce and key to sign with, once a nonce is known.
    login: Option<Login>,
}

impl Client {
    fn new(transport: Transport, client: &str, user: &str, password: &str) -> Self {
        let client = addr(client);
        let server = addr(if client.is_ipv4() {
            SERVER_V4
        } else {
            SERVER_V6
        });
        let tuple = FiveTuple {
            transport,
            client,
            server,
        };
        let socket = ClientSocket::Listener(client.port());
        let (user, password) = (user.to_owned(), password.to_owned());
        Self {
            path: Path {
                tuple,
                socket,
                proxied: false,
            },
            user,
            password,
            login: None,
        }
    }

    fn all() -> Vec<Self> {
        // Expires while a run goes on.
        let carol = rest::username(UNIX + 1000, Some("carol"), ':');
        let password = rest::password("a secret of the application", &carol);
        vec![
            Self::new(Transport::Udp, "192.0.2.10:1000", USER, PASSWORD),
            Self::new(Transport::Tcp, "192.0.2.10:2000", USER, PASSWORD),
            Self::new(Transport::Tcp, "192.0.2.10:3000", USER, PASSWORD),
            Self::new(Transport::Tls, "[2001:db8::10]:1000", USER, PASSWORD),
            Self::new(Transport::Udp, "[2001:db8::10]:2000", "bob", "hidden"),
            Self::new(Transport::Dtls, "127.0.0.1:1000", "bob", "hidden"),
            Self::new(Transport::Udp, "192.0.2.77:1000", &carol, &password),
            Self::new(Transport::Udp, "192.0.2.66:1000", USER, "wrong"),
        ]
    }
}

pub(crate) struct Run {
    world: World,
    clients: Vec<Client>,
    millis: u64,
    sent: Vec<Vec<u8>>,
    token: Vec<u8>,
    /// Connections with peers that are not closed.
    connections: Vec<ConnectionId>,
}

impl Run {
    pub(crate) fn new() -> Self {
        let mut world = World::new(usual);
        // Some ports are another program's, and on some the system gives up.
        world.bind = |addr| match addr.port() {
            port if port % 5 == 0 => Err(OpenError::InUse),
            port if port % 11 == 0 => Err(OpenError::Failed),
            _ => Ok(()),
        };
        let mut run = Self {
            world,
            clients: Client::all(),
            millis: 0,
            sent: vec![vec![]],
            token: vec![0; 8],
            connections: vec![],
        };
        (0..run.clients.len()).for_each(|client| run.log_in(client));
        run
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Wait(millis) => self.wait(millis),
            Step::LogIn(client) => self.log_in(client),
            Step::Request {
                client,
                method,
                how,
                attributes,
            } => {
                let bytes = self.request(client, METHODS[method % METHODS.len()], how, &attributes);
                self.client(client, bytes);
            }
            Step::Packet(client, bytes) => self.client(client, bytes.to_vec()),
            Step::Again(client, which) => {
                let bytes = self.sent[which % self.sent.len()].clone();
                self.client(client, bytes);
            }
            Step::Send(client, to, data) => {
                self.client(client, send(PEERS[to % PEERS.len()], data).raw)
            }
            Step::Channel(client, n, data) => {
                self.client(client, channel_data(0x3FFF + u16::from(n % 8), data))
            }
            Step::Peer(relay, from, len) => {
                let from = addr(PEERS[from % PEERS.len()]);
                let verdict = self
                    .world
                    .after(|server, now| server.handle_peer(now, RelayId(relay % 8), from, len))
                    .0;
                if let PeerVerdict::ToClient { path, .. } = verdict {
                    assert!(
                        self.world.open.contains_key(&(relay % 8)),
                        "data of a closed relay"
                    );
                    assert!(self.world.server.has_allocation(&path));
                }
            }
            Step::Inbound(relay, from) => {
                let from = addr(PEERS[from % PEERS.len()]);
                let inbound = |server: &mut turnd_proto::server::Server, now| {
                    server.handle_inbound(now, RelayId(relay % 8), from)
                };
                let taken = self.world.after(inbound).0;
                assert!(taken.is_none() || self.world.open.contains_key(&(relay % 8)));
                self.connections.extend(taken);
            }
            Step::Connection(which, what) => self.connection(which, what),
            Step::Disconnect(client) => {
                let path = self.clients[client % self.clients.len()].path;
                self.world
                    .after(|server, now| server.handle_disconnect(now, &path));
                assert!(!self.world.server.has_allocation(&path));
            }
            Step::Reload(which) => self.reload(which),
            Step::Kill(which) => {
                let user =
                    [None, Some(USER), Some("bob")][usize::from(which) % 3].map(str::to_owned);
                let filter = Filter {
                    user,
                    ..Filter::default()
                };
                self.world
                    .after(|server, now| server.handle_kill(now, &filter));
            }
            Step::Drain(on) => self.world.after(|server, _| server.handle_drain(on)).0,
        }
        self.look();
    }

    fn wait(&mut self, millis: u64) {
        self.millis += millis;
        self.world.at_milli(self.millis);
        // Takes what the server has said of its own accord: a Connect that came to nothing.
        self.world.after(|_, _| ());
    }

    /// Invariants, checked after every step.
    fn look(&mut self) {
        for output in std::mem::take(&mut self.world.peer_outputs) {
            match output {
                Output::Connect {
                    connection, from, ..
                } => {
                    assert!(
                        self.world.open.values().any(|open| *open == from),
                        "from a closed relay"
                    );
                    self.connections.push(connection);
                }
                Output::CloseConnection { connection } => {
                    let before = self.connections.len();
                    self.connections.retain(|open| *open != connection);
                    assert_eq!(self.connections.len(), before - 1, "closed but not open");
                }
                Output::HandOver { connection, .. } => {
                    let joined = self.world.server.handle_joined(connection);
                    assert_eq!(joined, self.connections.contains(&connection));
                }
                _ => {}
            }
        }
        let (allocations, ports, reserved, deadlines) = self.world.holds();
        assert_eq!(allocations, self.world.open.len());
        assert_eq!(ports as usize, allocations + reserved);
        assert!(ports <= 5, "more than total-quota");
        let most = allocations + reserved + self.connections.len();
        assert!(
            (allocations..=most).contains(&deadlines),
            "{deadlines} deadlines"
        );
        let counters = self.world.server.counters();
        assert_eq!(
            counters.created - counters.ended_in_all(),
            allocations as u64
        );
        assert_eq!(
            counters.active.as_flattened().iter().sum::<u64>(),
            allocations as u64
        );
    }

    fn log_in(&mut self, client: usize) {
        self.client(client, request(METHOD_ALLOCATE, vec![]).raw);
    }

    /// A client sends this.
    fn client(&mut self, client: usize, bytes: Vec<u8>) {
        let client = client % self.clients.len();
        let path = self.clients[client].path;
        let (relayed, replies) = self.world.handle(&path, &bytes);
        assert!(replies.len() + usize::from(relayed.is_some()) <= 1);
        for reply in replies
            .iter()
            .filter(|reply| reply[4..8] == [0x21, 0x12, 0xA4, 0x42])
        {
            let reply = decode(reply);
            if let Ok(token) = reply.get(ATTR_RESERVATION_TOKEN) {
                self.token = token;
            }
            if reply.contains(ATTR_NONCE) {
                let Client {
                    user,
                    password,
                    login,
                    ..
                } = &mut self.clients[client];
                *login = Some(Login::answer(&reply, user, password));
            }
        }
        self.sent.push(bytes);
    }

    fn request(&self, client: usize, method: Method, how: u8, attributes: &[Attribute]) -> Vec<u8> {
        let mut all: Attributes = Vec::new();
        if how & 8 == 0 {
            all.extend(self.needed(method, how));
        }
        all.extend(attributes.iter().map(|attribute| self.setter(attribute)));
        let signer = if how & 4 == 0 { client } else { client + 1 };
        let login = self.clients[signer % self.clients.len()].login.as_ref();
        let mut message = match login.filter(|_| how & 1 == 0) {
            Some(login) => login.sign(method, all),
            None => request(method, all),
        };
        if how & 2 != 0 {
            FINGERPRINT.add_to(&mut message).expect("there is none yet");
        }
        message.raw
    }

    /// The attributes that the method requires.
    fn needed(&self, method: Method, how: u8) -> Attributes {
        let protocol = if how & 16 == 0 { 17 } else { 6 };
        match method {
            METHOD_ALLOCATE => vec![raw(ATTR_REQUESTED_TRANSPORT, &[protocol, 0, 0, 0])],
            METHOD_CREATE_PERMISSION | METHOD_CONNECT => vec![peer(PEERS[0])],
            METHOD_CHANNEL_BIND => vec![raw(ATTR_CHANNEL_NUMBER, &[0x40, 0, 0, 0]), peer(PEERS[0])],
            METHOD_CONNECTION_BIND => vec![self.setter(&Attribute::Connection(0))],
            _ => vec![],
        }
    }

    fn setter(&self, attribute: &Attribute) -> Box<dyn Setter> {
        match *attribute {
            Attribute::Raw(typ, value) => raw(typ, value),
            Attribute::Number(typ, number) => raw(typ, &number.to_be_bytes()),
            Attribute::Peer(n) => peer(PEERS[n % PEERS.len()]),
            Attribute::Relayed(n) => {
                let open: Vec<SocketAddr> = self.world.open.values().copied().collect();
                let relayed = open.get(n % open.len().max(1)).map(SocketAddr::to_string);
                peer(relayed.as_deref().unwrap_or(PEERS[0]))
            }
            Attribute::Token => raw(ATTR_RESERVATION_TOKEN, &self.token),
            Attribute::Connection(n) => {
                let known = self.connections.get(n % self.connections.len().max(1));
                raw(
                    ATTR_CONNECTION_ID,
                    &known.map_or(0, |id| id.0).to_be_bytes(),
                )
            }
            Attribute::Channel(n) => {
                raw(ATTR_CHANNEL_NUMBER, &[0x40 | n >> 4 & 0x30, n & 0xF, 0, 0])
            }
        }
    }

    fn connection(&mut self, which: usize, what: u8) {
        let Some(connection) = self
            .connections
            .get(which % self.connections.len().max(1))
            .copied()
        else {
            return;
        };
        self.world.after(|server, now| match what % 4 {
            0 => server.handle_connected(now, connection, false),
            1 => server.handle_connected(now, connection, true),
            2 if server.may_carry(now, connection, what & 4 == 0).is_ok() => {
                server.handle_connection_data(
                    now,
                    connection,
                    what & 4 == 0,
                    usize::from(what) * 100,
                );
            }
            2 => {}
            _ => server.handle_connection_closed(connection),
        });
    }

    fn reload(&mut self, which: usize) {
        self.world.reload(change(which));
        self.world.after(|_, _| ());
    }

    /// Everything ends, and all of the quotas can be used again.
    pub(crate) fn finish(mut self) {
        self.reload(0);
        self.world.after(|server, _| server.handle_drain(false));
        self.wait(3_600_000);
        self.look();
        self.world.expect_empty();
        assert!(self.connections.is_empty() && self.world.shared.connections.is_empty());
        self.world.bind = |_| Ok(());
        let mut allocate = |n: u16, user: &str, password: &str| {
            let caller = self.world.log_in(&format!("127.0.0.2:{n}"), user, password);
            status(&self.world.try_allocate(&caller, vec![]))
        };
        assert_eq!(
            [1, 2, 3, 4].map(|n| allocate(n, USER, PASSWORD)),
            [200, 200, 200, 486]
        );
        assert_eq!(
            [5, 6, 7].map(|n| allocate(n, "bob", "hidden")),
            [200, 200, 486]
        );
    }
}
