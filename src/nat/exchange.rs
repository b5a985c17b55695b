//! One step on the wire: requests, repeated until something answers or the time is up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use stun::agent::TransactionId;
use stun::attributes::{
    ATTR_CHANGE_REQUEST, ATTR_MAPPED_ADDRESS, ATTR_OTHER_ADDRESS, ATTR_RESPONSE_PORT,
    ATTR_XORMAPPED_ADDRESS,
};
use stun::error_code::ErrorCodeAttribute;
use stun::message::{
    BINDING_REQUEST, CLASS_ERROR_RESPONSE, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter,
    METHOD_BINDING, Message, Setter,
};

use super::ask::{Answer, Ask, End, Port, Reply, Step};
use super::report::Oddity;
use turnd_proto::policy::peer_filter::canonical_socket;
use turnd_proto::wire::classify::{Class, classify};
use turnd_proto::wire::discovery::ResponsePort;
use turnd_proto::wire::{address, numbers};

use crate::stun_message::{attribute, decode};

/// The first request is repeated after this time, and then after twice the time each.
const FIRST_RTO: Duration = Duration::from_millis(250);

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From this port.
    pub port: Port,
    /// There.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// To this port.
    pub port: Port,
    /// Whose local address this is, never a wildcard.
    pub local: SocketAddr,
    /// From there.
    pub from: SocketAddr,
    /// What.
    pub bytes: &'a [u8],
}

/// One step being carried out.
#[derive(Debug)]
pub(super) struct Exchange {
    kind: Kind,
    requests: Vec<(Transmit, TransactionId)>,
    deadline: Instant,
    /// When to repeat, and after how long again.
    repeat: Option<(Instant, Duration)>,
    oddity: Option<Oddity>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Ask(Ask),
    Cross([End; 2]),
    Wait,
}

impl Exchange {
    /// Begins a step; `None` for [`Step::Done`].
    pub(super) fn new<T>(step: &Step<T>, now: Instant, patience: Duration) -> Option<Self> {
        let (kind, requests) = match step {
            Step::Ask(ask) => (Kind::Ask(*ask), vec![request(ask)]),
            Step::Cross([one, two]) => (
                Kind::Cross([*one, *two]),
                vec![
                    request(&Ask::plain(one.port, two.mapped)),
                    request(&Ask::plain(two.port, one.mapped)),
                ],
            ),
            Step::Wait(time) => {
                return Some(Self {
                    kind: Kind::Wait,
                    requests: Vec::new(),
                    deadline: now + *time,
                    repeat: None,
                    oddity: None,
                });
            }
            Step::Done(_) => return None,
        };
        Some(Self {
            kind,
            requests,
            deadline: now + patience,
            repeat: Some((now, FIRST_RTO)),
            oddity: None,
        })
    }

    /// The transactions, whose late answers belong to nothing afterwards.
    pub(super) fn transactions(&self) -> impl Iterator<Item = TransactionId> {
        self.requests.iter().map(|(_, id)| *id)
    }

    /// What is due to be sent.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Vec<Transmit>> {
        let (at, rto) = self.repeat.filter(|(at, _)| *at <= now)?;
        self.repeat = Some((at.max(now) + rto, rto * 2));
        Some(self.requests.iter().map(|(t, _)| t.clone()).collect())
    }

    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Instant {
        let repeat = self.repeat.map_or(self.deadline, |(at, _)| at);
        repeat.min(self.deadline)
    }

    /// The reply once the time is up.
    pub(super) fn handle_timeout(&self, now: Instant) -> Option<Reply> {
        (self.deadline <= now).then_some(match self.kind {
            Kind::Ask(_) => Reply::Silent(self.oddity),
            Kind::Cross(_) => Reply::Crossed(false),
            Kind::Wait => Reply::Waited,
        })
    }

    /// The reply if this is one; `late` tells transactions of former steps.
    pub(super) fn handle_datagram(
        &mut self,
        arrived: &Arrived<'_>,
        late: impl Fn(TransactionId) -> bool,
    ) -> Option<Reply> {
        let decoded = decode(arrived.bytes);
        let Some(message) = decoded.filter(|message| message.typ.method == METHOD_BINDING) else {
            self.oddity.get_or_insert(match classify(arrived.bytes) {
                Class::Stun => Oddity::Damaged,
                _ => Oddity::NotStun,
            });
            return None;
        };
        let ours = self
            .requests
            .iter()
            .any(|(_, id)| *id == message.transaction_id);
        if !ours {
            if !late(message.transaction_id) {
                self.oddity.get_or_insert(Oddity::Forged);
            }
            return None;
        }
        match (self.kind, message.typ.class) {
            (Kind::Cross(ends), CLASS_REQUEST) => {
                let at_an_end = ends.iter().any(|end| end.port == arrived.port);
                at_an_end.then_some(Reply::Crossed(true))
            }
            (Kind::Ask(ask), CLASS_SUCCESS_RESPONSE | CLASS_ERROR_RESPONSE) => {
                let from = canonical_socket(arrived.from);
                // Refusals come from the address that was asked.
                if from != ask.from && from != ask.to {
                    self.oddity = Some(Oddity::WrongSource(from));
                    return None;
                }
                if message.typ.class == CLASS_ERROR_RESPONSE {
                    let mut code = ErrorCodeAttribute::default();
                    let code = code.get_from(&message).map(|()| code.code.0);
                    return Some(Reply::Error(code.unwrap_or(0)));
                }
                if from != ask.from {
                    self.oddity = Some(Oddity::WrongSource(from));
                    return None;
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
}

/// What a success response says; `None` without an address.
pub(super) fn answer(message: &Message, arrived: &Arrived<'_>) -> Option<Answer> {
    let plain_address = |typ| {
        let value = message.get(typ).ok()?;
        address::decode_plain(&value).map(canonical_socket)
    };
    let xor = message.get(ATTR_XORMAPPED_ADDRESS).ok();
    let id = numbers::TransactionId(message.transaction_id.0);
    let xor = xor.and_then(|value| address::decode_xor(&value, &id));
    let plain = plain_address(ATTR_MAPPED_ADDRESS);
    let mapped = xor.or(plain).map(canonical_socket)?;
    Some(Answer {
        at: arrived.port,
        local: canonical_socket(arrived.local),
        mapped,
        plain: plain.filter(|_| xor.is_some()),
        other: plain_address(ATTR_OTHER_ADDRESS),
    })
}

/// A Binding request with a fresh transaction.
pub(super) fn request(ask: &Ask) -> (Transmit, TransactionId) {
    let mut setters: Vec<Box<dyn Setter>> = vec![Box::new(BINDING_REQUEST)];
    if !ask.change.is_none() {
        let change = attribute(ATTR_CHANGE_REQUEST, &ask.change.encode());
        setters.push(Box::new(change));
    }
    if let Some((port, _)) = ask.answer_at {
        let port = attribute(ATTR_RESPONSE_PORT, &ResponsePort(port).encode());
        setters.push(Box::new(port));
    }
    let id = TransactionId(crate::random::bytes());
    let mut message = Message::new();
    message.transaction_id = id;
    let built = message.build(&setters);
    debug_assert!(built.is_ok(), "these setters do not fail: {built:?}");
    let transmit = Transmit {
        port: ask.port,
        to: ask.to,
        bytes: message.raw,
    };
    (transmit, id)
}
