//! Mapping behaviour (RFC 5780 §4.3).

use std::net::SocketAddr;

use super::ask::{Answer, Ask, Port, Reply, Step};
use super::report::{Learned, Mapping, Unknown};

/// Result of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The answer to the first request: UDP gets through.
    pub first: Learned<Answer>,
    /// The mapping.
    pub mapping: Learned<Mapping>,
}

/// Mapping test: asks the server, its other address, and its other address and port.
///
/// Without OTHER-ADDRESS a second, plain server takes the place of the other address: it shows
/// whether the mapping depends on the endpoint, but not whether on its address or its port.
#[derive(Clone, Debug)]
pub struct MappingTest {
    server: SocketAddr,
    second: Option<SocketAddr>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Start,
    First,
    OtherIp(Answer, SocketAddr),
    OtherBoth(Answer, SocketAddr),
    Plain(Answer),
}

impl MappingTest {
    /// A test against `server`, and a second one if the first has no other address.
    pub fn new(server: SocketAddr, second: Option<SocketAddr>) -> Self {
        Self {
            server,
            second: second.filter(|second| second.is_ipv4() == server.is_ipv4()),
            state: State::Start,
        }
    }

    /// Takes the reply to the last step, `None` at first, and gives the next one.
    pub fn step(&mut self, reply: Option<Reply>) -> Step<Mapped> {
        match (self.state, reply) {
            (State::First, Some(Reply::Answer(first))) => self.first(first),
            (State::First, Some(reply)) => {
                let why = failed(self.server, reply);
                Step::Done(Mapped {
                    first: Err(why),
                    mapping: Err(why),
                })
            }
            (State::OtherIp(first, other), Some(Reply::Answer(second))) => {
                if second.mapped == first.mapped {
                    done(first, Ok(Mapping::EndpointIndependent))
                } else {
                    self.state = State::OtherBoth(first, second.mapped);
                    ask(other)
                }
            }
            (State::OtherBoth(first, second), Some(Reply::Answer(third))) => {
                let mapping = if third.mapped == second {
                    Mapping::AddressDependent
                } else {
                    Mapping::AddressAndPortDependent
                };
                done(first, Ok(mapping))
            }
            (State::OtherIp(first, other), Some(_)) => {
                self.plain(first, Unknown::OtherSilent(other))
            }
            // Two answers that differ already say most of it.
            (State::OtherBoth(first, _), Some(_)) => done(first, Ok(Mapping::Dependent)),
            (State::Plain(first), Some(Reply::Answer(second))) => {
                let same = second.mapped == first.mapped;
                done(
                    first,
                    Ok(if same {
                        Mapping::EndpointIndependent
                    } else {
                        Mapping::Dependent
                    }),
                )
            }
            (State::Plain(first), Some(reply)) => {
                let second = self.second.unwrap_or(self.server);
                done(first, Err(failed(second, reply)))
            }
            (State::Start, _) | (_, None) => {
                self.state = State::First;
                ask(self.server)
            }
        }
    }

    fn first(&mut self, first: Answer) -> Step<Mapped> {
        if first.mapped == first.local {
            // Without translation every peer sees the same.
            return done(first, Ok(Mapping::EndpointIndependent));
        }
        match first.other.filter(|other| is_other(self.server, *other)) {
            Some(other) => {
                self.state = State::OtherIp(first, other);
                ask(SocketAddr::new(other.ip(), self.server.port()))
            }
            None => self.plain(first, Unknown::NoOtherAddress),
        }
    }

    fn plain(&mut self, first: Answer, why: Unknown) -> Step<Mapped> {
        match self.second {
            Some(second) => {
                self.state = State::Plain(first);
                ask(second)
            }
            None => done(first, Err(why)),
        }
    }
}

/// Whether an OTHER-ADDRESS is of use.
pub(super) fn is_other(server: SocketAddr, other: SocketAddr) -> bool {
    other.ip() != server.ip()
        && other.is_ipv4() == server.is_ipv4()
        && !other.ip().is_unspecified()
        && other.port() != 0
}

/// Reason why a reply is no answer.
pub(super) fn failed(server: SocketAddr, reply: Reply) -> Unknown {
    match reply {
        Reply::Error(code) => Unknown::Refused(server, code),
        Reply::Silent(oddity) => Unknown::Silent(server, oddity),
        Reply::Answer(_) | Reply::Crossed(_) | Reply::Waited => Unknown::Silent(server, None),
    }
}

fn ask(to: SocketAddr) -> Step<Mapped> {
    Step::Ask(Ask::plain(Port::MAPPING, to))
}

fn done(first: Answer, mapping: Learned<Mapping>) -> Step<Mapped> {
    Step::Done(Mapped {
        first: Ok(first),
        mapping,
    })
}
