//! Binding lifetime (RFC 5780 §4.6).

use std::net::SocketAddr;
use std::time::Duration;

use super::ask::{Ask, Port, Reply, Step};
use super::mapping::failed;
use super::report::{Learned, Lifetime, Unknown};

/// Lifetime test: leaves a mapping alone for one time after another, and has the server try it by way of another port.
///
/// The times double from an eighth of the longest until one is too long; then the search halves the
/// interval between.
#[derive(Clone, Debug)]
pub struct LifetimeTest {
    server: SocketAddr,
    longest: Duration,
    precision: Duration,
    alive: Duration,
    gone: Option<Duration>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Start,
    /// X has asked, to make its mapping or make it anew.
    Opening,
    /// X is left alone; its mapping has this port.
    Waiting(u16),
    /// Y has asked for an answer to X.
    Trying,
}

impl LifetimeTest {
    /// A test of times up to `longest`, until no more than `precision` is left in doubt.
    pub fn new(server: SocketAddr, longest: Duration, precision: Duration) -> Self {
        Self {
            server,
            longest,
            precision: precision.max(Duration::from_millis(1)),
            alive: Duration::ZERO,
            gone: None,
            state: State::Start,
        }
    }

    /// The time that is tried now, or would be next.
    pub fn time(&self) -> Duration {
        match self.gone {
            Some(gone) => self.alive + (gone - self.alive) / 2,
            None if self.alive.is_zero() => self.longest / 8,
            None => (self.alive * 2).min(self.longest),
        }
    }

    /// Takes the reply to the last step, `None` at first, and gives the next one.
    pub fn step(&mut self, reply: Option<Reply>) -> Step<Learned<Lifetime>> {
        match (self.state, reply) {
            (State::Opening, Some(Reply::Answer(answer))) => {
                self.state = State::Waiting(answer.mapped.port());
                Step::Wait(self.time())
            }
            (State::Opening, Some(reply)) => Step::Done(Err(failed(self.server, reply))),
            (State::Waiting(port), Some(_)) => {
                self.state = State::Trying;
                Step::Ask(Ask {
                    answer_at: Some((port, Port::LIFETIME_X)),
                    ..Ask::plain(Port::LIFETIME_Y, self.server)
                })
            }
            (State::Trying, Some(Reply::Error(420))) => {
                Step::Done(Err(Unknown::NotSupported("RESPONSE-PORT")))
            }
            (State::Trying, Some(Reply::Error(code))) => {
                Step::Done(Err(Unknown::Refused(self.server, code)))
            }
            (State::Trying, Some(reply)) => {
                // An answer at Y means that the NAT has given X's port to Y: X's mapping is gone.
                let alive = matches!(reply, Reply::Answer(a) if a.at == Port::LIFETIME_X);
                self.tried(alive)
            }
            (State::Start, _) | (_, None) => self.open(),
        }
    }

    fn open(&mut self) -> Step<Learned<Lifetime>> {
        self.state = State::Opening;
        Step::Ask(Ask::plain(Port::LIFETIME_X, self.server))
    }

    fn tried(&mut self, alive: bool) -> Step<Learned<Lifetime>> {
        let time = self.time();
        if alive {
            self.alive = time;
        } else {
            self.gone = Some(time);
        }
        let decided = match self.gone {
            Some(gone) => gone - self.alive <= self.precision,
            None => self.alive >= self.longest,
        };
        if decided {
            return Step::Done(Ok(Lifetime {
                alive: self.alive,
                gone: self.gone,
            }));
        }
        self.open()
    }
}
