//! Filtering behaviour (RFC 5780 §4.4).

use std::net::SocketAddr;

use super::ask::{Ask, ChangeFlags, Port, Reply, Step};
use super::mapping::failed;
use super::report::{Filtering, Learned, Unknown};

/// Filtering test: the server answers from elsewhere to a port that has sent to nobody else.
#[derive(Clone, Debug)]
pub struct FilteringTest {
    server: SocketAddr,
    other: SocketAddr,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Start,
    Both,
    PortOnly,
    Plain,
}

impl FilteringTest {
    /// A test against a server that has told this OTHER-ADDRESS.
    pub fn new(server: SocketAddr, other: SocketAddr) -> Self {
        Self {
            server,
            other,
            state: State::Start,
        }
    }

    /// Takes the reply to the last step, `None` at first, and gives the next one.
    pub fn step(&mut self, reply: Option<Reply>) -> Step<Learned<Filtering>> {
        let (server, other) = (self.server, self.other);
        match (self.state, reply) {
            (State::Both | State::PortOnly, Some(Reply::Error(420))) => {
                Step::Done(Err(Unknown::NotSupported("CHANGE-REQUEST")))
            }
            (_, Some(Reply::Error(code))) => Step::Done(Err(Unknown::Refused(server, code))),
            (State::Both, Some(Reply::Answer(_))) => Step::Done(Ok(Filtering::EndpointIndependent)),
            (State::Both, Some(_)) => {
                self.state = State::PortOnly;
                self.ask(false, SocketAddr::new(server.ip(), other.port()))
            }
            (State::PortOnly, Some(Reply::Answer(_))) => {
                Step::Done(Ok(Filtering::AddressDependent))
            }
            (State::PortOnly, Some(_)) => {
                // Silence says something about a filter only while the server does answer.
                self.state = State::Plain;
                Step::Ask(Ask::plain(Port::FILTERING, server))
            }
            (State::Plain, Some(Reply::Answer(_))) => {
                Step::Done(Ok(Filtering::AddressAndPortDependent))
            }
            (State::Plain, Some(reply)) => Step::Done(Err(failed(server, reply))),
            (State::Start, _) | (_, None) => {
                self.state = State::Both;
                self.ask(true, other)
            }
        }
    }

    fn ask(&self, ip: bool, from: SocketAddr) -> Step<Learned<Filtering>> {
        Step::Ask(Ask {
            from,
            change: ChangeFlags { ip, port: true },
            ..Ask::plain(Port::FILTERING, self.server)
        })
    }
}
