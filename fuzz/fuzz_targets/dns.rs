//! Any message as the DNS's answer to whatever `turnd probe` asks: no panic, an end, and no address
//! twice.
#![no_main]

use std::collections::HashSet;
use std::future::ready;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use libfuzzer_sys::fuzz_target;
use turnd_client::probe::{Dns, Naptr, Srv, Uri, resolve};

const URIS: [&str; 5] = [
    "turn:example.org",
    "turn:example.org?transport=udp",
    "turns:example.org",
    "stun:example.org",
    "turn:example.org:3478",
];

/// A name server that has one answer, until the client's time is up.
struct Server {
    answer: Vec<RData>,
    left: AtomicU32,
}

impl Server {
    fn ask<T>(&self, read: impl Fn(&RData) -> Option<T>) -> Vec<T> {
        if self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .is_err()
        {
            return Vec::new();
        }
        self.answer.iter().filter_map(read).collect()
    }
}

impl Dns for Server {
    fn addresses(&self, _: &str) -> impl Future<Output = Result<Vec<IpAddr>, String>> + Send {
        let ips: HashSet<_> = self.ask(RData::ip_addr).into_iter().collect();
        ready(Ok(ips.into_iter().collect()))
    }

    fn srv(&self, _: &str) -> impl Future<Output = Vec<Srv>> + Send {
        ready(self.ask(Srv::of))
    }

    fn naptr(&self, _: &str) -> impl Future<Output = Vec<Naptr>> + Send {
        ready(self.ask(Naptr::of))
    }
}

fuzz_target!(|input: &[u8]| {
    // Which URI, then the answer.
    let Some((which, message)) = input.split_first() else {
        return;
    };
    let Ok(message) = Message::from_vec(message) else {
        return;
    };
    let uri: Uri = URIS[usize::from(*which) % URIS.len()]
        .parse()
        .expect("a URI");
    let answer = message
        .answers
        .into_iter()
        .map(|record| record.data)
        .collect();
    let server = Server {
        answer,
        left: AtomicU32::new(200),
    };
    let resolving = pin!(resolve(&uri, &server));
    let Poll::Ready(resolved) = resolving.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("no answer is waited for");
    };
    let mut seen = HashSet::new();
    for target in &resolved.targets {
        assert!(
            seen.insert((target.addr, target.transport)),
            "{target:?} twice"
        );
        assert_ne!(target.addr.port(), 0);
    }
    assert!(resolved.targets.is_sorted_by_key(|target| !target.browser));
});
