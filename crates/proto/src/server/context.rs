//! The parts of a server that every handler may use.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connections::{ConnectionId, PeerConnection};
use super::counters::Counters;
use super::deadlines::Subject;
use super::five_tuple::{Path, PeerAddr, Transport};
use super::lookups::{LookupId, Lookups, Parked};
use super::output::{ClientVerdict, DropReason, Event, Output, RelayId};
use super::rates::Proof;
use super::refusal::Refusal;
use super::shared::Shared;
use crate::Now;
use crate::auth::key::Key;
use crate::auth::{Identity, Rejected, Rejection, Unauthorized};
use crate::deadlines::Deadlines;
use crate::policy::peer_filter::Denied;
use crate::random::{HashKeys, Random};
use crate::wire::message::{Head, Message};
use crate::wire::numbers::{AttributeType, ErrorCode, TransactionId};
use crate::wire::response::{ErrorResponse, Success, Trailer};

/// Minimum interval between two `peer refused` log lines of one reason.
const DENIED_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of a user name in the log that is not proved.
const MAX_CLAIMED_USER: usize = 128;

/// Bytes of most responses.
const RESPONSE_CAPACITY: usize = 160;

/// All state of a server but its allocations.
pub(super) struct Context {
    /// The time of the input that is being handled.
    pub(super) now: Now,
    pub(super) shared: Arc<Shared>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) deadlines: Deadlines<Subject>,
    pub(super) counters: Counters,
    pub(super) random: Random,
    /// Keys of every hash table: tables in one process need not hash differently.
    pub(super) hash_keys: HashKeys,
    /// The allocation of each peer connection.
    pub(super) connections: HashMap<ConnectionId, RelayId, HashKeys>,
    /// Requests whose users are being looked up.
    pub(super) lookups: Lookups,
    /// Index of this server among those of the process.
    pub(super) worker: usize,
    pub(super) draining: bool,
    /// Whether events are told that only debugging needs.
    pub(super) details: bool,
    /// Transaction id of the last Data indication; random at first, then incremented.
    indication_id: u128,
    /// Time of the last log line about each reason to refuse a peer.
    denied_logged: Vec<(Denied, Instant)>,
}

impl Context {
    pub(super) fn new(shared: Arc<Shared>, mut random: Random, now: Now) -> Self {
        shared.begin(now, &mut random);
        let hash_keys = random.hash_keys();
        Self {
            now,
            shared,
            outputs: VecDeque::new(),
            deadlines: Deadlines::default(),
            counters: Counters::default(),
            hash_keys,
            connections: HashMap::with_hasher(hash_keys),
            lookups: Lookups::new(hash_keys),
            worker: 0,
            draining: false,
            details: false,
            indication_id: u128::from_ne_bytes(random.bytes()),
            denied_logged: Vec::new(),
            random,
        }
    }

    /// The transaction id of the next Data indication.
    pub(super) fn next_indication_id(&mut self) -> TransactionId {
        self.indication_id = self.indication_id.wrapping_add(1);
        let [_, _, _, _, id @ ..] = self.indication_id.to_be_bytes();
        TransactionId(id)
    }

    /// Takes a parked request out, with its deadline.
    pub(super) fn take_parked(&mut self, id: LookupId) -> Option<Parked> {
        let parked = self.lookups.take(id)?;
        self.deadlines.disarm(parked.until, Subject::Lookup(id));
        Some(parked)
    }

    /// Frees everything about a peer connection that is kept outside of its allocation.
    pub(super) fn forget_connection(&mut self, connection: ConnectionId, state: &PeerConnection) {
        self.connections.remove(&connection);
        self.shared.connections.remove(connection);
        if let Some(deadline) = state.deadline {
            self.deadlines
                .disarm(deadline, Subject::Connection(connection));
        }
        self.outputs
            .push_back(Output::CloseConnection { connection });
    }

    /// Answers a request whose sender could not be authenticated: 400, 401 or 438.
    ///
    /// Replies are limited over UDP alone, where a dropped one is asked for again, and not where
    /// the key was right: neither a stream's client nor the holder of a key is a forger's victim.
    /// `owner` has an allocation that lives in its own realm, whatever the server's is now.
    pub(super) fn reject<'a>(
        &mut self,
        path: &Path,
        message: &Message<'_>,
        rejected: &Rejected,
        owner: Option<&Identity>,
    ) -> ClientVerdict<'a> {
        let Rejected {
            rejection,
            fresh_nonce,
        } = rejected;
        let (now, source) = (self.now, path.tuple.client.ip());
        if let Rejection::Unauthorized(reason) = rejection {
            self.counters.unauthorized_requests += 1;
            self.counters.auth_failures[*reason as usize] += 1;
        }
        let limited = path.tuple.transport == Transport::Udp
            && !matches!(rejection, Rejection::StaleNonce(_));
        let proof = if *fresh_nonce {
            Proof::Nonce
        } else {
            Proof::None
        };
        if limited && !self.shared.rates.allow_error(now.mono, source, proof) {
            self.counters.unauthorized_dropped +=
                u64::from(matches!(rejection, Rejection::Unauthorized(_)));
            return ClientVerdict::Drop(DropReason::ReplyRate);
        }
        let (head, code) = (message.head(), rejection.code());
        if let Some(reason) = challenge_reason(rejection) {
            self.tell(|| Event::Challenged {
                tuple: path.tuple,
                user: claimed_user(message),
                method: head.typ.method,
                code: code.0,
                reason,
            });
        } else if let Some(reason) = logged(rejection) {
            self.outputs.push_back(Output::Event(Event::Refused {
                tuple: path.tuple,
                user: claimed_user(message),
                proven: *fresh_nonce || path.tuple.transport.proves_address(),
                method: head.typ.method,
                code: code.0,
                reason,
            }));
        }
        let auth = &self.shared.auth;
        let nonce = rejection
            .challenges()
            .then(|| auth.nonce(now, path.tuple.client));
        let owner = owner.filter(|_| *rejection == Unauthorized::NoIntegrity.into());
        let realm = rejection
            .realm()
            .or(owner.map(|owner| &*owner.realm))
            .unwrap_or(auth.realm());
        let challenge = nonce.as_deref().map(|nonce| auth.challenge(realm, nonce));
        let response = ErrorResponse {
            challenge,
            ..ErrorResponse::new(code)
        };
        let mut bytes = Vec::with_capacity(RESPONSE_CAPACITY);
        response.encode(head, &self.trailer(rejection.key()), &mut bytes);
        let len = bytes.len();
        self.send_response(path, head, code.0, bytes);
        if limited {
            self.shared.rates.sent_error(now.mono, source, proof, len);
        }
        ClientVerdict::Handled
    }

    /// Tells an event that only debugging needs, if it is wanted.
    pub(super) fn tell(&mut self, event: impl FnOnce() -> Event) {
        if self.details {
            self.outputs.push_back(Output::Event(event()));
        }
    }

    /// Logs a refusal and answers with it.
    pub(super) fn refuse(
        &mut self,
        path: &Path,
        head: &Head,
        identity: &Identity,
        refusal: &Refusal,
    ) {
        // A refused peer has been logged by `deny`.
        if refusal.code() != ErrorCode::FORBIDDEN {
            self.outputs.push_back(Output::Event(Event::Refused {
                tuple: path.tuple,
                user: identity.user.clone(),
                // A key is found only for a request with a fresh nonce.
                proven: identity.key.is_some() || path.tuple.transport.proves_address(),
                method: head.typ.method,
                code: refusal.code().0,
                reason: refusal.reason(),
            }));
        }
        self.send_refusal(path, head, identity.key.as_ref(), refusal);
    }

    /// Answers with a refusal, and tells the length of the response.
    pub(super) fn send_refusal(
        &mut self,
        path: &Path,
        head: &Head,
        key: Option<&Key>,
        refusal: &Refusal,
    ) -> usize {
        let mut bytes = Vec::with_capacity(RESPONSE_CAPACITY);
        refusal.encode(head, &self.trailer(key), &mut bytes);
        let len = bytes.len();
        self.send_response(path, head, refusal.code().0, bytes);
        len
    }

    /// Answers with success, and tells the length of the response.
    pub(super) fn send_success(
        &mut self,
        path: &Path,
        head: &Head,
        key: Option<&Key>,
        success: &Success,
    ) -> usize {
        let bytes = self.encode(head, key, success);
        let len = bytes.len();
        self.send_response(path, head, 0, bytes);
        len
    }

    /// A success response, signed if there is a key.
    pub(super) fn encode(&self, head: &Head, key: Option<&Key>, success: &Success) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RESPONSE_CAPACITY);
        success.encode(head, &self.trailer(key), &mut bytes);
        bytes
    }

    /// Counts a response with this code (0: success) and sends it.
    pub(super) fn send_response(&mut self, path: &Path, head: &Head, code: u16, message: Vec<u8>) {
        self.counters.response(head.typ.method, code);
        self.send_message(path, message);
    }

    /// Sends a message to a client.
    pub(super) fn send_message(&mut self, path: &Path, message: Vec<u8>) {
        self.counters.clients.send(message.len());
        self.outputs.push_back(Output::Transmit {
            path: *path,
            message,
        });
    }

    fn trailer<'a>(&'a self, key: Option<&'a Key>) -> Trailer<'a> {
        Trailer {
            software: self.shared.protocol.software.as_deref(),
            key: key.map(Key::as_bytes),
            fingerprint: self.shared.protocol.fingerprint,
        }
    }

    /// The refusal for a peer that policy denies; logged at most once a minute for each reason.
    pub(super) fn deny(
        &mut self,
        path: &Path,
        user: Option<&Arc<str>>,
        peer: PeerAddr,
        denied: Denied,
    ) -> Refusal {
        let now = self.now.mono;
        let logged = self
            .denied_logged
            .iter_mut()
            .find(|(reason, _)| *reason == denied);
        let due = match logged {
            Some((_, at)) if now.saturating_duration_since(*at) < DENIED_LOG_INTERVAL => false,
            Some((_, at)) => {
                *at = now;
                true
            }
            None => {
                self.denied_logged.push((denied, now));
                true
            }
        };
        if due {
            self.outputs.push_back(Output::Event(Event::PeerDenied {
                tuple: path.tuple,
                user: user.cloned(),
                peer,
                denied,
            }));
        }
        Refusal::PeerDenied
    }
}

/// The reason of a rejection that every client meets: its first request, and the age of a nonce.
fn challenge_reason(rejection: &Rejection) -> Option<&'static str> {
    match rejection {
        Rejection::Unauthorized(reason @ Unauthorized::NoIntegrity) => Some(reason.as_str()),
        Rejection::StaleNonce(_) | Rejection::StaleNonceOfAnyone => Some("stale-nonce"),
        Rejection::Unauthorized(_) | Rejection::BadRequest | Rejection::NotOffered => None,
    }
}

/// The reason of a rejection that is worth a log line, for one that is no challenge.
fn logged(rejection: &Rejection) -> Option<&'static str> {
    match rejection {
        Rejection::Unauthorized(reason) => Some(reason.as_str()),
        Rejection::BadRequest => Some("credentials are incomplete"),
        Rejection::NotOffered => Some("password algorithms are not those that were offered"),
        Rejection::StaleNonce(_) | Rejection::StaleNonceOfAnyone => None,
    }
}

/// USERNAME as the client sent it, cut to a length that no log needs to fear.
fn claimed_user(message: &Message<'_>) -> Option<Arc<str>> {
    let name = message.get(AttributeType::USERNAME)?;
    let start = &name[..name.len().min(MAX_CLAIMED_USER)];
    Some(String::from_utf8_lossy(start).into())
}
