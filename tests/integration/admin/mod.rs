//! The admin listener, `turnd ctl` and the page, on a server that relays.

mod access;
mod audit;
mod credentials;
mod ctl;
mod drain;
mod http;
mod load;
mod logs;
mod metrics;
mod names;
mod notify;
mod openapi;
mod page;
mod places;
mod reload;
mod sessions;
mod workers;

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

use self::http::{Answer, Http};
use crate::support::{Extras, PASSWORD, StunClient, Turnd, USER, error_code};

/// A server with an admin listener.
fn start(toml: &str) -> Turnd {
    let extras = Extras {
        admin: true,
        ..Extras::default()
    };
    Turnd::start_with(toml, extras)
}

/// Its API, as those have it who may open the unix socket.
fn api(turnd: &Turnd) -> Http {
    Http::unix(&turnd.admin_socket())
}

/// The same as those have it who can connect to it over TCP.
fn tcp(turnd: &Turnd) -> Http {
    Http::tcp(turnd.admin())
}

fn status(turnd: &Turnd) -> serde_json::Value {
    api(turnd).get("/api/v1/status").json()
}

/// Asks for an allocation.
fn allocate(client: &mut StunClient, user: &str, password: &str) -> Message {
    client.log_in(user, password);
    let request: Vec<Box<dyn Setter>> = vec![Box::new(RequestedTransport {
        protocol: PROTO_UDP,
    })];
    client.ask_signed(METHOD_ALLOCATE, request)
}

/// A client of this user with an allocation.
fn session(server: SocketAddr, user: &str, password: &str) -> StunClient {
    let mut client = StunClient::new(server);
    let reply = allocate(&mut client, user, password);
    assert_eq!(reply.typ.class, CLASS_SUCCESS_RESPONSE, "{reply}");
    client
}

fn usual_session(turnd: &Turnd) -> StunClient {
    session(turnd.address(), USER, PASSWORD)
}

/// The code of the answer to a Refresh; None: the allocation lives.
fn refresh(client: &StunClient, lifetime: u64) -> Option<u16> {
    let lifetime = Lifetime(Duration::from_secs(lifetime));
    let reply = client.ask_signed(METHOD_REFRESH, vec![Box::new(lifetime)]);
    assert_eq!(reply.contains(ATTR_LIFETIME), error_code(&reply).is_none());
    error_code(&reply)
}

fn is_alive(client: &StunClient) -> bool {
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

/// What a command of turnd came to.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Outcome {
    fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// What it printed; it must have done well.
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }
}

/// `turnd ctl` with these words, to a place.
fn ctl_at(place: &Path, words: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    Outcome::of(command.args(["ctl", "--admin"]).arg(place).args(words))
}

/// The same to a server's unix socket.
fn ctl(turnd: &Turnd, words: &[&str]) -> Outcome {
    ctl_at(&turnd.admin_socket(), words)
}
