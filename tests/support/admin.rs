//! A server with an admin listener, and those who ask it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use stun::attributes::ATTR_LIFETIME;
use stun::message::{CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE, METHOD_REFRESH, Message, Setter};
use turn::proto::PROTO_UDP;
use turn::proto::lifetime::Lifetime;
use turn::proto::reqtrans::RequestedTransport;

pub(crate) use super::http::{Answer, Http};
use super::{Extras, PASSWORD, Ports, Running, Scratch, StunClient, Turnd, USER, error_code};

/// A server with an admin listener.
pub(crate) fn start(toml: &str) -> Turnd {
    let extras = Extras {
        admin: true,
        ..Extras::default()
    };
    Turnd::start_with(toml, extras)
}

/// Its API, as those have it who may open the unix socket.
pub(crate) fn api(turnd: &Turnd) -> Http {
    Http::unix(&turnd.admin_socket())
}

/// The same as those have it who can connect to it over TCP.
pub(crate) fn tcp(turnd: &Turnd) -> Http {
    Http::tcp(turnd.admin())
}

pub(crate) fn status(turnd: &Turnd) -> serde_json::Value {
    api(turnd).get("/api/v1/status").json()
}

/// Asks for an allocation.
pub(crate) fn allocate(client: &mut StunClient, user: &str, password: &str) -> Message {
    client.log_in(user, password);
    let request: Vec<Box<dyn Setter>> = vec![Box::new(RequestedTransport {
        protocol: PROTO_UDP,
    })];
    client.ask_signed(METHOD_ALLOCATE, request)
}

/// A client of this user with an allocation.
pub(crate) fn session(server: SocketAddr, user: &str, password: &str) -> StunClient {
    let mut client = StunClient::new(server);
    let reply = allocate(&mut client, user, password);
    assert_eq!(reply.typ.class, CLASS_SUCCESS_RESPONSE, "{reply}");
    client
}

pub(crate) fn usual_session(turnd: &Turnd) -> StunClient {
    session(turnd.address(), USER, PASSWORD)
}

/// The code of the answer to a Refresh; None: the allocation lives.
pub(crate) fn refresh(client: &StunClient, lifetime: u64) -> Option<u16> {
    let lifetime = Lifetime(Duration::from_secs(lifetime));
    let reply = client.ask_signed(METHOD_REFRESH, vec![Box::new(lifetime)]);
    assert_eq!(reply.contains(ATTR_LIFETIME), error_code(&reply).is_none());
    error_code(&reply)
}

pub(crate) fn is_alive(client: &StunClient) -> bool {
    match refresh(client, 600) {
        None => true,
        Some(code) => {
            assert_eq!(code, 437);
            false
        }
    }
}

/// Waits until this holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(30));
    }
}

/// Exit code and output of a turnd command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// The standard output of a command that must have succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }
}

/// `turnd ctl` with these words, to a place.
pub(crate) fn ctl_at(place: &Path, words: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    Outcome::of(command.args(["ctl", "--admin"]).arg(place).args(words))
}

/// The same to a server's unix socket.
pub(crate) fn ctl(turnd: &Turnd, words: &[&str]) -> Outcome {
    ctl_at(&turnd.admin_socket(), words)
}

pub(crate) fn turnd_with(words: &[&str]) -> Outcome {
    Outcome::of(Command::new(env!("CARGO_BIN_EXE_turnd")).args(words))
}

/// The samples: name with labels, and value.
pub(crate) fn samples(turnd: &Turnd) -> BTreeMap<String, f64> {
    let answer = api(turnd).get("/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

pub(crate) fn of(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    *samples
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {samples:#?}"))
}

/// The outcome of a server that refuses to start with these lines of configuration.
pub(crate) fn refusal(lines: &str) -> Outcome {
    let (ports, scratch) = (Ports::claim(2), Scratch::new());
    let file = scratch.path().join("turnd.toml");
    let (min, max) = ports.relays();
    let mut text = format!(
        "no-auth = true\nlistening-ip = '127.0.0.1'\nlistening-port = {}\ntls-listening-port = {}\nmin-port = {min}\nmax-port = {max}\n{lines}\n",
        ports.listening(),
        ports.tls_listening()
    );
    if !lines.contains("admin-listen") {
        text += "admin-listen = []\n";
    }
    fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    let mut running = Running::start(command.args(["serve", "-c"]).arg(&file));
    let status = running.wait(Duration::from_secs(15)).expect("it serves");
    Outcome {
        code: status.code(),
        out: running.stdout(),
        err: running.stderr(),
    }
}
