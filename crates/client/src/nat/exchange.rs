//! One step on the wire: requests, repeated until something answers or the time is up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stun::agent::TransactionId;
use stun::attributes::{ATTR_MAPPED_ADDRESS, ATTR_OTHER_ADDRESS, ATTR_XORMAPPED_ADDRESS};
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, METHOD_BINDING, Message,
};

use super::ask::{Answer, Ask, ChangeFlags, HairpinEnd, Port, Reply, Step};
use crate::Oddity;
use crate::turn::message::{
    self, canonical, change_request, decode, error_code, plain_address, response_port, xor_address,
};
use crate::turn::{Expected, Timing, Transactions};

/// Wait before a request is sent for the second time; it doubles each time.
const FIRST_RTO: Duration = Duration::from_millis(250);

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Local port to send from.
    pub port: Port,
    /// Destination.
    pub to: SocketAddr,
    /// The encoded STUN message.
    pub bytes: Vec<u8>,
}

/// A datagram that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// Local port at which it arrived.
    pub port: Port,
    /// Local address of that port, never a wildcard.
    pub local: SocketAddr,
    /// Sender.
    pub from: SocketAddr,
    /// Payload of the datagram.
    pub bytes: &'a [u8],
}

/// One step being carried out.
#[derive(Debug)]
pub(super) struct Exchange {
    kind: Kind,
    /// The requests of the step, with the port and the destination of each.
    requests: Vec<(TransactionId, Port, SocketAddr)>,
    deadline: Instant,
    oddity: Option<Oddity>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Ask(Ask),
    Cross([HairpinEnd; 2]),
    Wait,
}

impl Exchange {
    /// Begins a step; `None` for [`Step::Done`].
    pub(super) fn new<T>(
        step: &Step<T>,
        now: Instant,
        timeout: Duration,
        transactions: &mut Transactions,
    ) -> Option<Self> {
        let (kind, asks, time) = match step {
            Step::Ask(ask) => (Kind::Ask(*ask), vec![*ask], timeout),
            Step::Cross([one, two]) => {
                let asks = [(one, two), (two, one)];
                let asks = asks.map(|(from, to)| Ask::plain(from.port, to.mapped));
                (Kind::Cross([*one, *two]), asks.to_vec(), timeout)
            }
            Step::Wait(time) => (Kind::Wait, Vec::new(), *time),
            Step::Done(_) => return None,
        };
        let timing = Timing {
            rto: FIRST_RTO,
            sends: u32::MAX,
            timeout,
        };
        let start = |ask: &Ask| {
            let request = request(ask);
            let id = request.transaction_id;
            transactions.start(now, request, timing);
            (id, ask.port, ask.to)
        };
        Some(Self {
            kind,
            requests: asks.iter().map(start).collect(),
            deadline: now + time,
            oddity: None,
        })
    }

    /// The datagram that carries a request of this step.
    pub(super) fn transmit(&self, id: TransactionId, bytes: &[u8]) -> Option<Transmit> {
        let mut requests = self.requests.iter();
        let (_, port, to) = requests.find(|(of, ..)| *of == id)?;
        Some(Transmit {
            port: *port,
            to: *to,
            bytes: bytes.to_vec(),
        })
    }

    /// Time at which the step ends without a reply.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The reply once the time is up.
    pub(super) fn handle_timeout(&self, now: Instant) -> Option<Reply> {
        (self.deadline <= now).then_some(match self.kind {
            Kind::Ask(_) => Reply::Silent(self.oddity),
            Kind::Cross(_) => Reply::Crossed(false),
            Kind::Wait => Reply::Waited,
        })
    }

    /// The reply, if the datagram is one.
    pub(super) fn handle_datagram(
        &mut self,
        arrived: &Arrived<'_>,
        transactions: &Transactions,
    ) -> Option<Reply> {
        let message = match decode(arrived.bytes) {
            Ok(message) if message.typ.method == METHOD_BINDING => message,
            Ok(_) => return self.odd(Oddity::Damaged),
            Err(oddity) => return self.odd(oddity),
        };
        match transactions.expects(message.transaction_id) {
            Expected::Now => {}
            Expected::Late => return None,
            Expected::Never => return self.odd(Oddity::Forged),
        }
        match (self.kind, message.typ.class) {
            (Kind::Cross(ends), CLASS_REQUEST) => {
                let at_an_end = ends.iter().any(|end| end.port == arrived.port);
                at_an_end.then_some(Reply::Crossed(true))
            }
            (Kind::Ask(ask), CLASS_SUCCESS_RESPONSE | CLASS_ERROR_RESPONSE) => {
                let from = canonical(arrived.from);
                let refused = message.typ.class == CLASS_ERROR_RESPONSE;
                // Refusals come from the address that was asked.
                if from != ask.from && !(refused && from == ask.to) {
                    self.oddity = Some(Oddity::WrongSource(from));
                    return None;
                }
                if refused {
                    return Some(Reply::Error(error_code(&message).unwrap_or(0)));
                }
                let answer = answer(&message, arrived);
                if answer.is_none() {
                    self.oddity = Some(Oddity::Damaged);
                }
                answer.map(Reply::Answer)
            }
            _ => None,
        }
    }

    fn odd(&mut self, oddity: Oddity) -> Option<Reply> {
        self.oddity.get_or_insert(oddity);
        None
    }
}

/// The addresses in a success response; `None` without a mapped one.
pub(super) fn answer(message: &Message, arrived: &Arrived<'_>) -> Option<Answer> {
    let xor = xor_address(message, ATTR_XORMAPPED_ADDRESS);
    let plain = plain_address(message, ATTR_MAPPED_ADDRESS);
    Some(Answer {
        at: arrived.port,
        local: canonical(arrived.local),
        mapped: xor.or(plain)?,
        plain: plain.filter(|_| xor.is_some()),
        other: plain_address(message, ATTR_OTHER_ADDRESS),
    })
}

/// Encodes a request.
pub(super) fn request(ask: &Ask) -> Message {
    let mut attributes = Vec::new();
    if ask.change != ChangeFlags::default() {
        attributes.push(change_request(ask.change.ip, ask.change.port));
    }
    if let Some((port, _)) = ask.answer_at {
        attributes.push(response_port(port));
    }
    message::request(METHOD_BINDING, attributes)
}
