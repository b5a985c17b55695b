//! The library's driver on webrtc-rs's virtual network, with its NATs and turnd's server without sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use turnd::config::Config;
use turnd_client::nat::driver::{self, Network, Socket};
use turnd_client::nat::{Classic, Filtering, Mapping, Options, Report};
use turnd_proto::Now;
use turnd_proto::auth::{Authenticator, nonce::NonceKey};
use turnd_proto::server::Server;
use turnd_proto::server::five_tuple::{ClientSocket, Path};
use turnd_proto::server::output::Output;
use turnd_proto::server::shared::Shared;
use webrtc_util::Conn;
use webrtc_util::vnet::nat::{EndpointDependencyType as Depends, NatMode, NatType};
use webrtc_util::vnet::net::{Net, NetConfig};
use webrtc_util::vnet::router::{Router, RouterConfig};

const SERVER: &str = "198.51.100.1:3478";
const PUBLIC: &str = "192.0.2.1";
const INSIDE: &str = "192.168.0.2";

/// Devices between client and server.
#[derive(Clone, Copy)]
enum Between {
    Nat(NatType),
    /// The client has a public address; its firewall lets answers in as this says.
    Firewall(Depends),
    Nothing,
    /// No packet gets through.
    Wall,
}

struct World {
    _wan: Arc<Mutex<Router>>,
    /// The routers hold their networks weakly.
    _server: Arc<Net>,
    client: Arc<Net>,
    ip: &'static str,
}

fn net(ips: &[&str]) -> Arc<Net> {
    Arc::new(Net::new(Some(NetConfig {
        static_ips: ips.iter().map(ToString::to_string).collect(),
        ..NetConfig::default()
    })))
}

async fn attach(router: &Arc<Mutex<Router>>, net: &Arc<Net>) {
    let nic = net.get_nic().unwrap();
    router.lock().await.add_net(Arc::clone(&nic)).await.unwrap();
    nic.lock()
        .await
        .set_router(Arc::clone(router))
        .await
        .unwrap();
}

fn router(config: RouterConfig) -> Arc<Mutex<Router>> {
    Arc::new(Mutex::new(Router::new(config).unwrap()))
}

impl World {
    async fn new(between: Between, hairpins: bool) -> Self {
        let wan = router(RouterConfig {
            cidr: "0.0.0.0/0".to_owned(),
            ..RouterConfig::default()
        });
        let server = net(&["198.51.100.1", "198.51.100.2"]);
        attach(&wan, &server).await;
        let (client, ip) = match between {
            Between::Nat(nat) => {
                let client = net(&[INSIDE]);
                let one_to_one = nat.mode == NatMode::Nat1To1;
                let lan = router(RouterConfig {
                    static_ips: vec![if one_to_one {
                        format!("{PUBLIC}/{INSIDE}")
                    } else {
                        PUBLIC.to_owned()
                    }],
                    cidr: "192.168.0.0/24".to_owned(),
                    nat_type: Some(nat),
                    ..RouterConfig::default()
                });
                attach(&lan, &client).await;
                wan.lock().await.add_router(Arc::clone(&lan)).await.unwrap();
                let child = lan.lock().await;
                webrtc_util::vnet::router::Nic::set_router(&*child, Arc::clone(&wan))
                    .await
                    .unwrap();
                drop(child);
                (client, INSIDE)
            }
            Between::Firewall(_) | Between::Nothing | Between::Wall => {
                let client = net(&[PUBLIC]);
                attach(&wan, &client).await;
                (client, PUBLIC)
            }
        };
        if !hairpins {
            let filter = |source: String, destination: String| {
                source.split(':').next() != destination.split(':').next()
            };
            wan.lock()
                .await
                .add_chunk_filter(Box::new(move |chunk| {
                    filter(
                        chunk.source_addr().to_string(),
                        chunk.destination_addr().to_string(),
                    )
                }))
                .await;
        }
        if let Between::Wall = between {
            wan.lock().await.add_chunk_filter(Box::new(|_| false)).await;
        }
        if let Between::Firewall(depends) = between {
            let asked = std::sync::Mutex::new(std::collections::HashSet::new());
            let key = move |client: SocketAddr, peer: SocketAddr| match depends {
                Depends::EndpointIndependent => (client, None),
                Depends::EndpointAddrDependent => (client, Some(SocketAddr::new(peer.ip(), 0))),
                Depends::EndpointAddrPortDependent => (client, Some(peer)),
            };
            wan.lock()
                .await
                .add_chunk_filter(Box::new(move |chunk| {
                    let (from, to) = (chunk.source_addr(), chunk.destination_addr());
                    let mut asked = asked.lock().unwrap();
                    if from.ip().to_string() == PUBLIC {
                        asked.insert(key(from, to));
                        return true;
                    }
                    asked.contains(&key(to, from))
                }))
                .await;
        }
        wan.lock().await.start().await.unwrap();
        serve(&server).await;
        Self {
            _wan: wan,
            _server: server,
            client,
            ip,
        }
    }

    async fn discover(&self, options: Options) -> Report {
        let network = Virtual {
            net: Arc::clone(&self.client),
            ip: self.ip,
            next: AtomicU16::new(5000),
        };
        let report = driver::discover(&network, SERVER.parse().unwrap(), options, |_| {});
        tokio::time::timeout(Duration::from_secs(60), report)
            .await
            .expect("discovery hangs")
    }
}

/// turnd's server, its sockets on the virtual network.
async fn serve(net: &Arc<Net>) {
    let config = Config::from_toml(
        "no-auth = true\nrfc5780 = true\nlistening-ip = ['198.51.100.1', '198.51.100.2']",
    )
    .unwrap();
    let bound: Vec<SocketAddr> = (config.listen.ips.iter())
        .flat_map(|ip| config.listen.ports(*ip).map(|p| SocketAddr::new(*ip, p)))
        .collect();
    let auth = Authenticator::new(&config.auth, NonceKey::new(&[7; 32])).unwrap();
    let shared = Shared::new(&config.server, auth, &config.listen.ips, &[]);
    let shared = shared.with_other_addresses(&config.listen, &bound);
    let now = || Now {
        mono: Instant::now(),
        unix: 0,
    };
    let mut server = Server::new(Arc::new(shared), [7; 32], now());
    let mut sockets = Vec::new();
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    for (index, address) in bound.iter().enumerate() {
        let socket = net.bind(*address).await.unwrap();
        sockets.push(Arc::clone(&socket));
        let arrived = arrived.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 2048];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let _ = arrived.send((index, from, buffer[..len].to_vec()));
            }
        });
    }
    tokio::spawn(async move {
        while let Some((index, client, bytes)) = arrivals.recv().await {
            let path = Path::udp(index as u16, client, bound[index]);
            server.handle_client(now(), &path, &bytes);
            while let Some(output) = server.poll_output() {
                if let Output::Transmit { path, message } = output
                    && let ClientSocket::Listener(index) = path.socket
                {
                    let socket = &sockets[usize::from(index)];
                    let _ = socket.send_to(&message, path.tuple.client).await;
                }
            }
        }
    });
}

struct Virtual {
    net: Arc<Net>,
    ip: &'static str,
    next: AtomicU16,
}

struct VirtualSocket(Arc<dyn Conn + Send + Sync>);

fn failed(error: webrtc_util::Error) -> io::Error {
    io::Error::other(error.to_string())
}

impl Network for Virtual {
    type Socket = VirtualSocket;

    async fn bind(&self, _server: SocketAddr) -> io::Result<VirtualSocket> {
        let port = self.next.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::new(self.ip.parse().unwrap(), port);
        self.net
            .bind(address)
            .await
            .map(VirtualSocket)
            .map_err(failed)
    }
}

impl Socket for VirtualSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr().map_err(failed)
    }

    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.0.send_to(bytes, to).await.map_err(failed)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.recv_from(buffer).await.map_err(failed)
    }
}

const DEPENDS: [Depends; 3] = [
    Depends::EndpointIndependent,
    Depends::EndpointAddrDependent,
    Depends::EndpointAddrPortDependent,
];

fn nat(mapping: Depends, filtering: Depends) -> NatType {
    NatType {
        mapping_behavior: mapping,
        filtering_behavior: filtering,
        ..NatType::default()
    }
}

fn options() -> Options {
    Options {
        answer_timeout: Duration::from_millis(500),
        ..Options::default()
    }
}

#[tokio::test]
async fn n5_n6_all_nine_combinations_and_hairpin_yes_and_no() {
    let mappings = [
        Mapping::EndpointIndependent,
        Mapping::AddressDependent,
        Mapping::AddressAndPortDependent,
    ];
    let filterings = [
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    ];
    for (map, mapping) in DEPENDS.into_iter().zip(mappings) {
        for (filter, filtering) in DEPENDS.into_iter().zip(filterings) {
            for hairpins in [false, true] {
                let world = World::new(Between::Nat(nat(map, filter)), hairpins).await;
                let report = world.discover(options()).await;
                let what = format!("{mapping:?} {filtering:?}: {report:?}");
                assert_eq!(report.mapping, Ok(mapping), "{what}");
                assert_eq!(report.filtering, Ok(filtering), "{what}");
                assert_eq!(report.port_preservation, Ok(false), "{what}");
                assert_eq!(report.alg, Ok(false), "{what}");
                // A port that differs per peer is reached by a filter that lets everyone in alone.
                let reachable = mapping == Mapping::EndpointIndependent
                    || filtering == Filtering::EndpointIndependent;
                if !hairpins || reachable {
                    assert_eq!(report.hairpinning, Ok(hairpins), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn n8_the_seven_names() {
    use Depends as D;
    let independent = |filter| Between::Nat(nat(D::EndpointIndependent, filter));
    for (between, name) in [
        (Between::Wall, Classic::UdpBlocked),
        (Between::Nothing, Classic::OpenInternet),
        (
            Between::Firewall(D::EndpointAddrPortDependent),
            Classic::SymmetricFirewall,
        ),
        (independent(D::EndpointIndependent), Classic::FullCone),
        (
            independent(D::EndpointAddrDependent),
            Classic::RestrictedCone,
        ),
        (
            independent(D::EndpointAddrPortDependent),
            Classic::PortRestrictedCone,
        ),
        (
            Between::Nat(nat(
                D::EndpointAddrPortDependent,
                D::EndpointAddrPortDependent,
            )),
            Classic::Symmetric,
        ),
    ] {
        let world = World::new(between, false).await;
        let report = world.discover(options()).await;
        assert_eq!(report.classic(), Some(name), "{report:?}");
    }
}

#[tokio::test]
async fn n7_lifetimes() {
    for seconds in [2, 5] {
        let short = NatType {
            mapping_life_time: Duration::from_secs(seconds),
            ..nat(Depends::EndpointIndependent, Depends::EndpointAddrDependent)
        };
        let world = World::new(Between::Nat(short), false).await;
        let report = world
            .discover(Options {
                lifetime: Some(Duration::from_secs(8)),
                precision: Duration::from_millis(500),
                ..options()
            })
            .await;
        let found = report.lifetime.unwrap();
        let real = Duration::from_secs(seconds);
        let slack = Duration::from_millis(200);
        let gone = found.gone.expect("it ends");
        assert!(
            found.alive <= real + slack && real <= gone + slack,
            "{real:?}: {found:?}"
        );
        assert!(gone - found.alive <= Duration::from_millis(500));
    }
}

#[tokio::test]
async fn n7_ports_kept_one_to_one() {
    let one_to_one = NatType {
        mode: NatMode::Nat1To1,
        ..NatType::default()
    };
    let world = World::new(Between::Nat(one_to_one), true).await;
    let report = world.discover(options()).await;
    assert_eq!(report.port_preservation, Ok(true));
    assert_eq!(report.classic(), Some(Classic::FullCone));
}
