//! A turnd that serves while the test runs.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use toml::{Table, Value};

use super::process::{Running, Scratch, run};
use super::{Namespace, Ports, StunClient, node};

pub(crate) const REALM: &str = "example.org";
pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "secret";

const START_LIMIT: Duration = Duration::from_secs(20);
/// Relay ports that a server gets when the test does not say.
const RELAYS: u16 = 112;

pub(crate) struct Turnd {
    running: Running,
    /// None inside a namespace, where every port is free.
    ports: Option<Ports>,
    address: SocketAddr,
}

impl Turnd {
    /// Starts the server with this configuration and waits until it answers. What it does not say is filled in: loopback
    /// addresses, ports of its own, the realm, loopback peers, and `USER` with `PASSWORD` when it names no credentials.
    pub(crate) fn start(toml: &str) -> Self {
        Self::start_with_relays(toml, RELAYS)
    }

    /// The same, with at least this many relay ports.
    pub(crate) fn start_with_relays(toml: &str, relays: u16) -> Self {
        Self::start_on(Ports::claim(relays), toml)
    }

    /// The same, on these ports.
    pub(crate) fn start_on(ports: Ports, toml: &str) -> Self {
        let (min, max) = ports.relays();
        let mut table = complete(toml);
        default(&mut table, "listening-ip", vec!["127.0.0.1", "::1"]);
        default(&mut table, "relay-ip", vec!["127.0.0.1", "::1"]);
        default(&mut table, "allow-loopback-peers", true);
        default(&mut table, "listening-port", i64::from(ports.listening()));
        default(&mut table, "min-port", i64::from(min));
        default(&mut table, "max-port", i64::from(max));
        default(
            &mut table,
            "tls-listening-port",
            i64::from(ports.tls_listening()),
        );
        let port = table["listening-port"]
            .as_integer()
            .unwrap()
            .try_into()
            .unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));

        let mut turnd = Self {
            running: spawn(&table, None),
            ports: Some(ports),
            address,
        };
        let deadline = Instant::now() + START_LIMIT;
        // A client of its own for each attempt, for a late answer to one would come to the next.
        while StunClient::new(address)
            .with_patience(Duration::from_millis(100))
            .binding()
            .is_none()
        {
            turnd.expect_alive();
            assert!(
                Instant::now() < deadline,
                "turnd does not answer on {address}"
            );
        }
        turnd
    }

    /// Starts the server in a namespace, on port 3478, and waits until it answers on `address`.
    pub(crate) fn start_in(namespace: &Namespace, address: SocketAddr, toml: &str) -> Self {
        let mut turnd = Self {
            running: spawn(&complete(toml), Some(namespace)),
            ports: None,
            address,
        };
        let question = json!({ "targets": [address.to_string()], "milliseconds": START_LIMIT.as_millis() as u64 });
        let answers = node(Some(namespace), "binding.mjs", &question, START_LIMIT * 2);
        turnd.expect_alive();
        assert!(
            answers[0]["mapped"].is_string(),
            "turnd does not answer on {address}: {answers}"
        );
        turnd
    }

    /// Where it listens, over IPv4.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens on `::1`.
    pub(crate) fn address_v6(&self) -> SocketAddr {
        SocketAddr::from((Ipv6Addr::LOCALHOST, self.address.port()))
    }

    /// The ports that belong to this server and its test.
    pub(crate) fn ports(&self) -> &Ports {
        self.ports.as_ref().expect("a namespace has all ports")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Sends the signal of this name.
    pub(crate) fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        run(
            kill.args(["-s", name, &self.pid().to_string()]),
            START_LIMIT,
        );
    }

    /// Waits until it has ended, and returns its exit code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.running.wait(START_LIMIT)?.code()
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        self.running.stdout() + &self.running.stderr()
    }

    /// Panics with the log when the server has ended.
    pub(crate) fn expect_alive(&mut self) {
        let ended = self.running.ended();
        assert!(ended.is_none(), "turnd ended ({ended:?}):\n{}", self.log());
    }
}

fn complete(toml: &str) -> Table {
    let mut table: Table = toml.parse().unwrap();
    default(&mut table, "realm", REALM);
    // Nobody else's address; a test that wants the admin listener names a place.
    default(&mut table, "admin-listen", Vec::<String>::new());
    if !["user", "static-auth-secret", "no-auth"]
        .iter()
        .any(|key| table.contains_key(*key))
    {
        default(&mut table, "user", vec![format!("{USER}:{PASSWORD}")]);
    }
    table
}

fn default(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.entry(key).or_insert_with(|| value.into());
}

fn spawn(table: &Table, namespace: Option<&Namespace>) -> Running {
    let scratch = Scratch::new();
    let file = scratch.path().join("turnd.toml");
    fs::write(&file, toml::to_string(table).unwrap()).unwrap();
    let binary = env!("CARGO_BIN_EXE_turnd");
    let mut command = match namespace {
        Some(namespace) => namespace.command(binary),
        None => Command::new(binary),
    };
    Running::start_with(command.args(["serve", "-c"]).arg(file), scratch)
}
