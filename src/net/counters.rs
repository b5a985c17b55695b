//! Counters of a worker beside its server's.

use turnd_proto::server::output;
use turnd_udp::SendCounters;

use super::handshake::Reason;

/// Reason why something of a client has not reached the server, or has not left for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum DropReason {
    /// Bytes on a stream that are no message; counted with the server's of the same word.
    Malformed,
    /// A ClientHello of a source network that sends many; counted with the server's of the same word.
    ReplyRate,
    /// The client of a stream does not read as fast as its peers send.
    SlowClient,
    /// A PROXY header that is malformed, missing, or not from `trusted-proxies`.
    Proxy,
    /// A client without an allocation that ended for another: `max-idle-streams`,
    /// `max-idle-streams-per-ip`, `max-idle-memory`.
    TooManyStreams,
    /// `handshake-rate`.
    HandshakeRate,
    /// A TCP connection above ten times `handshake-rate`.
    ConnectionRate,
}

impl DropReason {
    /// Every reason and its word for metric labels, in the order of their numbers.
    const ALL: [(Self, &str); 7] = [
        (Self::Malformed, output::DropReason::Malformed.as_str()),
        (Self::ReplyRate, output::DropReason::ReplyRate.as_str()),
        (Self::SlowClient, "slow-client"),
        (Self::Proxy, "proxy"),
        (Self::TooManyStreams, "too-many-streams"),
        (Self::HandshakeRate, "handshake-rate"),
        (Self::ConnectionRate, "connection-rate"),
    ];
}

/// Counts of one worker since the start, or the sum over all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetCounters {
    drops: [u64; DropReason::ALL.len()],
    /// Handshakes of TLS and DTLS that are done.
    pub handshakes: u64,
    /// Handshakes that have failed, by [`Reason`].
    handshake_failures: [u64; Reason::ALL.len()],
    /// HelloVerifyRequests sent (RFC 6347 §4.2.1).
    pub hello_verify_requests: u64,
    /// Datagrams sent, and those that the kernel did not take.
    pub sent: SendCounters,
    /// Calls of `recvmmsg` that brought a datagram.
    pub receive_calls: u64,
    /// Datagrams received.
    pub received_datagrams: u64,
}

impl NetCounters {
    /// Counts drops.
    pub(super) fn drop(&mut self, reason: DropReason, count: u64) {
        self.drops[reason as usize] += count;
    }

    /// Counts a handshake that has failed.
    pub(super) fn handshake_failed(&mut self, reason: Reason) {
        self.handshake_failures[reason as usize] += 1;
    }

    /// Reasons why handshakes fail, and how many have failed for each.
    pub fn handshake_failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reason::ALL
            .map(|reason| (reason.as_str(), self.handshake_failures[reason as usize]))
            .into_iter()
    }

    /// Number of drops for one reason.
    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Reasons and their numbers, with the server's in `server`: each word once.
    pub(super) fn drops_with(
        &self,
        server: &[u64; output::DropReason::COUNT],
    ) -> impl Iterator<Item = (&'static str, u64)> {
        let own = DropReason::ALL.map(|(reason, word)| (word, self.dropped(reason)));
        let of_server =
            output::DropReason::ALL.map(|reason| (reason.as_str(), server[reason as usize]));
        let is_shared = move |word| of_server.iter().any(|(other, _)| *other == word);
        let summed = of_server.into_iter().map(move |(word, count)| {
            let own = own.iter().filter(|(other, _)| *other == word);
            (word, count + own.map(|(_, count)| count).sum::<u64>())
        });
        let not_sent = ("not-sent", self.sent.dropped);
        let rest = own.into_iter().filter(move |(word, _)| !is_shared(*word));
        summed.chain(rest).chain([not_sent])
    }

    /// Adds another worker's numbers.
    pub(super) fn add(&mut self, other: &Self) {
        for (into, from) in self.drops.iter_mut().zip(other.drops) {
            *into += from;
        }
        let failures = self.handshake_failures.iter_mut();
        for (into, from) in failures.zip(other.handshake_failures) {
            *into += from;
        }
        self.handshakes += other.handshakes;
        self.hello_verify_requests += other.hello_verify_requests;
        self.sent.sent += other.sent.sent;
        self.sent.dropped += other.sent.dropped;
        self.sent.segmented += other.sent.segmented;
        self.sent.flushes += other.sent.flushes;
        self.receive_calls += other.receive_calls;
        self.received_datagrams += other.received_datagrams;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_stands_once_with_what_server_and_worker_have_dropped_for_it() {
        for (number, (reason, _)) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
        let mut server = [0; output::DropReason::COUNT];
        server[output::DropReason::Malformed as usize] = 5;
        let mut worker = NetCounters::default();
        worker.drop(DropReason::Malformed, 2);
        worker.drop(DropReason::Proxy, 3);
        worker.sent.dropped = 4;
        let mut all = worker;
        all.add(&worker);
        let drops: Vec<_> = all.drops_with(&server).collect();
        for expected in [("malformed", 9), ("proxy", 6), ("not-sent", 8)] {
            assert!(drops.contains(&expected), "{expected:?} in {drops:?}");
        }
        let mut words: Vec<_> = drops.iter().map(|(word, _)| word).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), drops.len());
        assert_eq!(drops.iter().map(|(_, count)| count).sum::<u64>(), 23);
    }
}
