//! Hairpinning (RFC 5780 §3.4).

use std::net::SocketAddr;

use super::ask::{Answer, Ask, HairpinEnd, Port, Reply, Step};
use super::mapping::failed;
use super::report::{Learned, Unknown};

/// Hairpinning test: sends between two ports of this host by their public addresses.
///
/// Both send, as two WebRTC peers would, so that a filter alone does not hide the hairpin.
#[derive(Clone, Debug)]
pub struct HairpinTest {
    server: SocketAddr,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Start,
    First,
    Second(Answer),
    Crossing,
}

impl HairpinTest {
    /// A test that learns the public addresses from `server`.
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            state: State::Start,
        }
    }

    /// Takes the reply to the last step, `None` at first, and gives the next one.
    pub fn step(&mut self, reply: Option<Reply>) -> Step<Learned<bool>> {
        let [first, second] = Port::HAIRPIN;
        match (self.state, reply) {
            (State::First, Some(Reply::Answer(answer))) if answer.mapped == answer.local => {
                Step::Done(Err(Unknown::NotTranslated))
            }
            (State::First, Some(Reply::Answer(answer))) => {
                self.state = State::Second(answer);
                Step::Ask(Ask::plain(second, self.server))
            }
            (State::Second(one), Some(Reply::Answer(two))) => {
                self.state = State::Crossing;
                let end = |port, answer: Answer| HairpinEnd {
                    port,
                    mapped: answer.mapped,
                };
                Step::Cross([end(first, one), end(second, two)])
            }
            (State::Crossing, Some(Reply::Crossed(crossed))) => Step::Done(Ok(crossed)),
            (State::Start, _) | (_, None) => {
                self.state = State::First;
                Step::Ask(Ask::plain(first, self.server))
            }
            (_, Some(reply)) => Step::Done(Err(failed(self.server, reply))),
        }
    }
}
