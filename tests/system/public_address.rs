//! `external-ip = "auto"` and host names: metadata services of clouds, NATs, and addresses that change.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use stun::attributes::{ATTR_DATA, ATTR_XOR_PEER_ADDRESS};
use stun::message::METHOD_CREATE_PERMISSION;

use crate::support::messages::{decode, peer, relayed_address, send, status};
use crate::support::{
    Extras, Namespace, PASSWORD, StunClient, Turnd, USER, link, node, run, xor_address,
};

const LIMIT: Duration = Duration::from_secs(20);
/// The server's own address, and the NAT's on both sides. Nothing leaves the namespaces.
const SERVER: &str = "10.0.0.5";
const NAT: &str = "5.6.7.1";
const OUTSIDE: &str = "5.6.7.2";
const SERVICE: &str = "169.254.169.254";

/// A server behind a NAT, where a cloud's metadata service may be, and the world outside.
struct Network {
    nat: Namespace,
    server: Namespace,
    outside: Namespace,
}

impl Network {
    fn new() -> Self {
        let [nat, server, outside] = ["nat", "server", "outside"].map(Namespace::new);
        link([
            (&server, "inside", &[&format!("{SERVER}/24")]),
            (&nat, "inside", &["10.0.0.1/24", "169.254.169.254/32"]),
        ]);
        link([
            (&nat, "outside", &[&format!("{NAT}/24")]),
            (&outside, "outside", &[&format!("{OUTSIDE}/24")]),
        ]);
        server.ip("route add default via 10.0.0.1");
        nat.shell(
            "echo 1 >/proc/sys/net/ipv4/ip_forward
             nft add table ip nat
             nft add chain ip nat out '{ type nat hook postrouting priority 100; }'
             nft add rule ip nat out oifname outside masquerade",
        );
        Self {
            nat,
            server,
            outside,
        }
    }

    fn serve(&self, toml: &str) -> Turnd {
        let toml = format!("external-ip = 'auto'\nrelay-threads = 2\n{toml}");
        Turnd::start_in(
            &self.server,
            SocketAddr::new(SERVER.parse().unwrap(), 3478),
            &toml,
        )
    }

    fn client(&self) -> StunClient {
        let server = SocketAddr::new(SERVER.parse().unwrap(), 3478);
        let mut client = StunClient::on(self.nat.socket("10.0.0.1:0"), server);
        client.log_in(USER, PASSWORD);
        client
    }

    /// The address that a new client is told, with the client.
    fn allocated(&self) -> (StunClient, SocketAddr) {
        let client = self.client();
        let relayed = relayed_address(&client.try_allocate());
        (client, relayed)
    }

    fn metadata(&self, cloud: &Cloud) -> Metadata {
        let place = format!("{SERVICE}:80");
        let listener = self.nat.inside(|| TcpListener::bind(&place).unwrap());
        let public = Arc::new(Mutex::new(String::new()));
        let (shared, page) = (Arc::clone(&public), cloud.page);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let public = shared.lock().unwrap().clone();
                // An answer that the server no longer wants is no failure.
                let _ = answer(&mut stream.unwrap(), |line, head| page(line, head, &public));
            }
        });
        Metadata(public)
    }
}

/// A metadata service, and the address that it tells; empty: none.
struct Metadata(Arc<Mutex<String>>);

impl Metadata {
    fn tells(&self, public: &str) {
        public.clone_into(&mut self.0.lock().unwrap());
    }
}

/// A cloud by its name, and the page that it has for a request line and head.
struct Cloud {
    name: &'static str,
    page: fn(&str, &str, &str) -> Option<String>,
}

const CLOUDS: [Cloud; 3] = [
    Cloud {
        name: "AWS",
        page: |line, head, public| {
            let root = "GET /latest/meta-data/network/interfaces/macs/";
            let mac = "02:29:96:8f:6a:2d/";
            if line == "PUT /latest/api/token" {
                return head
                    .contains("x-aws-ec2-metadata-token-ttl-seconds: ")
                    .then(|| "the-token".to_owned());
            }
            if !head.contains("x-aws-ec2-metadata-token: the-token") {
                return None;
            }
            match line.strip_prefix(root)? {
                "" => Some(mac.to_owned()),
                "02:29:96:8f:6a:2d/ipv4-associations/" => Some(public.to_owned()),
                rest => {
                    (rest == format!("{mac}ipv4-associations/{public}")).then(|| SERVER.to_owned())
                }
            }
        },
    },
    Cloud {
        name: "GCP",
        page: |line, head, public| {
            let path = "GET /computeMetadata/v1/instance/network-interfaces/?recursive=true";
            let asked = line == path && head.contains("metadata-flavor: google");
            let access = json!([{ "externalIp": public }]);
            asked.then(|| json!([{ "ip": SERVER, "accessConfigs": access }]).to_string())
        },
    },
    Cloud {
        name: "Hetzner",
        page: |line, _, public| {
            (line == "GET /hetzner/v1/metadata/public-ipv4").then(|| public.to_owned())
        },
    },
];

fn answer(
    stream: &mut TcpStream,
    page: impl Fn(&str, &str) -> Option<String>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let line = head.lines().next().unwrap_or_default();
    let line = line.trim_end_matches(" HTTP/1.1");
    let (status, text) = match page(line, &head.to_lowercase()) {
        Some(text) => ("200 OK", text),
        None => ("404 Not Found", String::new()),
    };
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}

fn permit(client: &StunClient, to: &str) -> u16 {
    status(&client.ask_signed(METHOD_CREATE_PERMISSION, vec![peer(to)]))
}

/// Data of one client comes to another from relay to relay, by the addresses that they were told.
fn talk(from: &(StunClient, SocketAddr), to: &(StunClient, SocketAddr)) {
    from.0.send(&send(&to.1.to_string(), b"call").raw);
    let data = decode(&to.0.receive().expect("no call from relay to relay"));
    assert_eq!(data.get(ATTR_DATA).unwrap(), b"call");
    assert_eq!(xor_address(&data, ATTR_XOR_PEER_ADDRESS), Some(from.1));
}

#[test]
fn a_cloud_tells_the_public_address() {
    for cloud in &CLOUDS {
        let network = Network::new();
        let metadata = network.metadata(cloud);
        metadata.tells("5.6.7.8");
        let turnd = network.serve("");
        let log = turnd.log_with("public address found");
        let expected = format!("the metadata service of {}", cloud.name);
        assert!(log.contains(&expected), "{log}");
        let (client, relayed) = network.allocated();
        assert_eq!(relayed.ip().to_string(), "5.6.7.8", "{}", turnd.log());
        // Nobody else gets there through a relay.
        assert_eq!(permit(&client, &format!("{SERVICE}:80")), 403);
        assert_eq!(permit(&client, "5.6.7.2:9"), 200);
    }
}

#[test]
fn a_call_keeps_the_address_that_it_was_told_when_another_is_found() {
    let network = Network::new();
    let metadata = network.metadata(&CLOUDS[0]);
    metadata.tells("5.6.7.8");
    let turnd = network.serve("external-ip-interval = 10");
    let (one, other) = (network.allocated(), network.allocated());
    assert_eq!(one.1.ip().to_string(), "5.6.7.8", "{}", turnd.log());
    assert_eq!(permit(&one.0, &other.1.to_string()), 200);
    assert_eq!(permit(&other.0, &one.1.to_string()), 200);
    talk(&one, &other);

    // By itself, after the interval.
    metadata.tells("5.6.7.9");
    let log = turnd.log_with("public address changed");
    let change = log.lines().find(|line| line.contains("changed")).unwrap();
    for word in ["old=5.6.7.8", "new=5.6.7.9", "10.0.0.5", "AWS"] {
        assert!(change.contains(word), "{change}");
    }
    talk(&one, &other);
    talk(&other, &one);
    // Permissions of the old call are refreshed by the addresses that its clients know.
    assert_eq!(permit(&one.0, &other.1.to_string()), 200);
    talk(&other, &one);

    let late = network.allocated();
    assert_eq!(late.1.ip().to_string(), "5.6.7.9", "{}", turnd.log());
    assert_eq!(permit(&late.0, &one.1.to_string()), 200);
    assert_eq!(permit(&one.0, &late.1.to_string()), 200);
    talk(&late, &one);
    talk(&one, &late);

    // A reload asks at once; what is the same is not said again, and what is not told stays.
    turnd.signal(Signal::HUP);
    metadata.tells("");
    turnd.log_with("5.6.7.9 stays meanwhile");
    assert_eq!(network.allocated().1.ip().to_string(), "5.6.7.9");
    assert_eq!(turnd.log().matches("public address changed").count(), 1);
    assert_eq!(turnd.log().matches("public address found").count(), 1);
}

#[test]
fn a_stun_server_tells_the_public_address_where_no_cloud_does() {
    let network = Network::new();
    let server = SocketAddr::new(OUTSIDE.parse().unwrap(), 3478);
    let _stun = Turnd::start_in(&network.outside, server, "stun-only = true");
    let turnd = network.serve(&format!("external-ip-stun = '{OUTSIDE}'"));
    let log = turnd.log_with("public address found");
    assert!(log.contains("STUN server 5.6.7.2:3478"), "{log}");
    assert_eq!(network.allocated().1.ip().to_string(), NAT);

    let check = |toml: &str| {
        let file = turnd.config().with_file_name("checked.toml");
        fs::write(&file, toml).unwrap();
        let mut command = network.server.command(env!("CARGO_BIN_EXE_turnd"));
        command.args(["check", "-c", file.to_str().unwrap()]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap())
    };
    let toml = format!("no-auth = true\nexternal-ip = 'auto'\nexternal-ip-stun = '{OUTSIDE}'");
    let [told, _] = check(&toml);
    assert!(told.contains("; announces 5.6.7.1\n"), "{told}");
    assert!(
        told.contains("# external-ip:  5.6.7.1 for 10.0.0.5 by STUN server 5.6.7.2:3478"),
        "{told}"
    );
    let [_, warned] = check("no-auth = true\nexternal-ip = 'auto'");
    assert!(
        warned.contains("external-ip: no public address for 10.0.0.5"),
        "{warned}"
    );
}

#[test]
fn a_silent_metadata_service_does_not_keep_the_server_from_its_clients() {
    let network = Network::new();
    let place = format!("{SERVICE}:80");
    let silent = network.nat.inside(|| TcpListener::bind(&place).unwrap());
    let turnd = network.serve("");
    turnd.log_with("local addresses are announced meanwhile");
    assert_eq!(network.allocated().1.ip().to_string(), SERVER);
    drop(silent);
    let metadata = network.metadata(&CLOUDS[2]);
    metadata.tells("5.6.7.8");
    turnd.log_with("public address found");
    assert_eq!(network.allocated().1.ip().to_string(), "5.6.7.8");
}

#[test]
fn an_interface_that_gets_a_public_address_needs_nobody_else() {
    let network = Network::new();
    let turnd = network.serve("");
    turnd.log_with("no public address for 10.0.0.5");
    network.server.ip("address add 5.6.8.1/32 dev inside");
    network.nat.ip("route add 5.6.8.1/32 via 10.0.0.5");
    let log = turnd.log_with("the interface");
    assert!(log.contains("address=5.6.8.1"), "{log}");
    // Served and answered there.
    let question = json!({ "targets": ["5.6.8.1:3478"], "milliseconds": 10_000 });
    let answers = node(Some(&network.nat), "binding.mjs", &question, LIMIT);
    assert!(answers[0]["mapped"].is_string(), "{answers}");
}

#[test]
fn a_host_name_is_looked_up_and_looked_up_again() {
    let hosts = "mount -t tmpfs none /mnt && echo '5.6.7.8 turn.example.org' >/mnt/hosts && mount --bind /mnt/hosts /etc/hosts";
    let toml =
        "external-ip = 'turn.example.org'\nlistening-ip = '127.0.0.1'\nrelay-ip = '127.0.0.1'";
    let extras = Extras {
        admin: true,
        before: hosts,
        ..Extras::default()
    };
    let turnd = Turnd::start_with(toml, extras);
    let (_early, relayed) = StunClient::allocated(turnd.address());
    assert_eq!(relayed.ip().to_string(), "5.6.7.8", "{}", turnd.log());
    let file = format!("/proc/{}/root/mnt/hosts", turnd.pid());
    fs::write(file, "5.6.7.9 turn.example.org\n").unwrap();
    turnd.signal(Signal::HUP);
    let log = turnd.log_with("public address changed");
    assert!(log.contains("the host name turn.example.org"), "{log}");
    let (_late, relayed) = StunClient::allocated(turnd.address());
    assert_eq!(relayed.ip().to_string(), "5.6.7.9");

    let mut ctl = std::process::Command::new(env!("CARGO_BIN_EXE_turnd"));
    ctl.args(["ctl", "--admin"]).arg(turnd.admin_socket());
    let told = run(ctl.arg("status"), LIMIT);
    assert!(told.contains("\npublic address    5.6.7.9\n"), "{told}");
}
