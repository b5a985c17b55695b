//! A turnd that serves while the test runs.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use toml::{Table, Value};

use super::process::{Running, Scratch};
use super::{Namespace, Ports, StunClient, node};

pub(crate) const REALM: &str = "example.org";
pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "secret";

/// In the server's own folder.
const ADMIN_SOCKET: &str = "admin.sock";
const START_LIMIT: Duration = Duration::from_secs(20);
/// Relay ports that a server gets when the test does not say.
const RELAYS: u16 = 112;

/// How a server is started beyond its configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extras<'a> {
    /// At least so many relay ports; 0: the usual number.
    pub(crate) relays: u16,
    /// An admin listener on loopback and one on a unix socket, unless the configuration says where.
    pub(crate) admin: bool,
    /// Variables of its environment.
    pub(crate) env: &'a [(&'a str, &'a str)],
    /// Where its standard error goes, and then not into [`Turnd::log`].
    pub(crate) stderr: Option<&'a Path>,
    /// A command that comes first, in the mount namespace that the server then has to itself; empty:
    /// none.
    pub(crate) before: &'a str,
}

pub(crate) struct Turnd {
    running: Running,
    admin: bool,
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
        let extras = Extras {
            relays,
            ..Extras::default()
        };
        Self::start_with(toml, extras)
    }

    /// The same, on these ports.
    pub(crate) fn start_on(ports: Ports, toml: &str) -> Self {
        Self::launch(ports, toml, Extras::default())
    }

    /// The same, with more.
    pub(crate) fn start_with(toml: &str, extras: Extras<'_>) -> Self {
        let relays = if extras.relays == 0 {
            RELAYS
        } else {
            extras.relays
        };
        Self::launch(Ports::claim(relays), toml, extras)
    }

    fn launch(ports: Ports, toml: &str, extras: Extras<'_>) -> Self {
        let admin = extras.admin;
        let scratch = Scratch::new();
        let table = fill(toml, &ports, admin.then(|| scratch.path()));
        let port = table["listening-port"]
            .as_integer()
            .unwrap()
            .try_into()
            .unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let no_udp = table.get("no-udp").and_then(Value::as_bool) == Some(true);

        let mut turnd = Self {
            running: spawn(&table, None, extras, scratch),
            admin,
            ports: Some(ports),
            address,
        };
        let deadline = Instant::now() + START_LIMIT;
        // A client of its own for each attempt, for a late answer to one would come to the next.
        let answers = || {
            let client = StunClient::new(address).with_timeout(Duration::from_millis(100));
            client.binding().is_some() || no_udp && TcpStream::connect(address).is_ok()
        };
        while !answers() {
            turnd.expect_alive();
            assert!(
                Instant::now() < deadline,
                "turnd does not answer on {address}"
            );
        }
        // It comes after the workers; the unix socket is the last to be bound.
        while admin && UnixStream::connect(turnd.admin_socket()).is_err() {
            turnd.expect_alive();
            assert!(Instant::now() < deadline, "turnd has no admin listener");
            thread::sleep(Duration::from_millis(5));
        }
        turnd
    }

    /// Starts the server in a namespace, on port 3478, and waits until it answers on `address`.
    pub(crate) fn start_in(namespace: &Namespace, address: SocketAddr, toml: &str) -> Self {
        let mut turnd = Self {
            running: spawn(
                &complete(toml),
                Some(namespace),
                Extras::default(),
                Scratch::new(),
            ),
            admin: false,
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

    /// Writes another configuration to its file, filled in as at the start.
    pub(crate) fn configure(&self, toml: &str) {
        let folder = self.admin.then(|| self.running.folder());
        let table = fill(toml, self.ports(), folder);
        self.configure_raw(&toml::to_string(&table).unwrap());
    }

    /// Writes this text to its configuration file.
    pub(crate) fn configure_raw(&self, text: &str) {
        // As editors do it: whoever reads sees the old file or the new one.
        let new = self.running.folder().join("turnd.toml.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.config()).unwrap();
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.running.folder().join("turnd.toml")
    }

    /// Its admin listener on loopback.
    pub(crate) fn admin(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports().admin()))
    }

    /// Its admin listener on a unix socket.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.running.folder().join(ADMIN_SOCKET)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Kills it in the middle of its work, and starts another on its ports at once.
    pub(crate) fn killed_and_restarted(mut self, toml: &str) -> Self {
        self.signal(Signal::KILL);
        assert_eq!(self.exit_code(START_LIMIT), None, "{}", self.log());
        let ports = self.ports.take().expect("a namespace has all ports");
        Self::start_on(ports, toml)
    }

    /// The exit code; panics when it is still there after `limit`.
    pub(crate) fn exit_code(&mut self, limit: Duration) -> Option<i32> {
        let status = self.running.wait(limit);
        status.expect("turnd does not leave").code()
    }

    /// Whether it has not ended.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.running.ended().is_none()
    }

    /// Output of the server so far.
    pub(crate) fn log(&self) -> String {
        self.running.stdout() + &self.running.stderr()
    }

    /// Output of the server so far, as soon as it contains `text`: the log has a thread of its own.
    pub(crate) fn log_with(&self, text: &str) -> String {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let log = self.log();
            if log.contains(text) {
                return log;
            }
            assert!(Instant::now() < deadline, "not in the log: {text}\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Panics with the log when the server has ended.
    pub(crate) fn expect_alive(&mut self) {
        let ended = self.running.ended();
        assert!(ended.is_none(), "turnd ended ({ended:?}):\n{}", self.log());
    }
}

/// The given configuration, completed with all that a test server needs.
fn fill(toml: &str, ports: &Ports, admin: Option<&Path>) -> Table {
    let (min, max) = ports.relays();
    let mut table: Table = toml.parse().unwrap();
    if let Some(folder) = admin {
        let socket = folder.join(ADMIN_SOCKET).to_str().unwrap().to_owned();
        let places = vec![format!("127.0.0.1:{}", ports.admin()), socket];
        default(&mut table, "admin-listen", places);
    }
    complete_table(&mut table);
    default(&mut table, "listening-ip", vec!["127.0.0.1", "::1"]);
    default(&mut table, "relay-ip", vec!["127.0.0.1", "::1"]);
    default(&mut table, "allow-loopback-peers", true);
    default(&mut table, "listening-port", i64::from(ports.listening()));
    default(&mut table, "min-port", i64::from(min));
    default(&mut table, "max-port", i64::from(max));
    let tls_port = i64::from(ports.tls_listening());
    default(&mut table, "tls-listening-port", tls_port);
    table
}

fn complete(toml: &str) -> Table {
    let mut table: Table = toml.parse().unwrap();
    complete_table(&mut table);
    table
}

fn complete_table(table: &mut Table) {
    default(table, "realm", REALM);
    // Nobody else's address; a test that wants the admin listener says so.
    default(table, "admin-listen", Vec::<String>::new());
    if !["user", "static-auth-secret", "no-auth"]
        .iter()
        .any(|key| table.contains_key(*key))
    {
        default(table, "user", vec![format!("{USER}:{PASSWORD}")]);
    }
}

fn default(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.entry(key).or_insert_with(|| value.into());
}

fn spawn(
    table: &Table,
    namespace: Option<&Namespace>,
    extras: Extras<'_>,
    scratch: Scratch,
) -> Running {
    let file = scratch.path().join("turnd.toml");
    fs::write(&file, toml::to_string(table).unwrap()).unwrap();
    let binary = env!("CARGO_BIN_EXE_turnd");
    let mut command = match namespace {
        Some(namespace) => namespace.command(binary),
        None if !extras.before.is_empty() => {
            let mut command = Command::new("unshare");
            let script = format!("{} && exec {binary} \"$@\"", extras.before);
            command.args(["--mount", "sh", "-c", &script, "turnd"]);
            command
        }
        None => Command::new(binary),
    };
    command.envs(extras.env.iter().copied());
    command.args(["serve", "-c"]).arg(file);
    match extras.stderr {
        Some(path) => {
            let stderr = fs::File::options().write(true).open(path).unwrap();
            Running::start_with_stderr(&mut command, scratch, stderr)
        }
        None => Running::start_with(&mut command, scratch),
    }
}

/// How many packets the server says it has dropped for this reason.
pub(crate) fn dropped(admin: &Path, reason: &str) -> u64 {
    let mut stream = UnixStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(START_LIMIT)).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let name = format!("turnd_packets_dropped_total{{reason=\"{reason}\"}} ");
    let sample = page.lines().find_map(|line| line.strip_prefix(&name));
    sample.unwrap_or_else(|| panic!("{page}")).parse().unwrap()
}
