//! Cookies that prove a client's address and cost the server no memory (X3).

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::random;
use turnd_proto::Now;
use turnd_proto::wire::dtls_hello::{COOKIE_LEN, ClientHello};

/// Seconds that a cookie is good for, at the least; at the most, twice that.
const LIFETIME: u64 = 30;

/// Makes and checks cookies. A client stays on its worker, so each worker has its own secret.
pub(super) struct Cookies {
    keyed: Hmac<Sha256>,
}

impl Cookies {
    pub(super) fn new() -> Self {
        let secret: [u8; 64] = random::bytes();
        Self {
            keyed: Hmac::new(&secret.into()),
        }
    }

    /// The cookie for what `client` says.
    pub(super) fn issue(
        &self,
        now: Now,
        client: SocketAddr,
        hello: &ClientHello<'_>,
    ) -> [u8; COOKIE_LEN] {
        self.tag(now.unix / LIFETIME, client, hello)
            .finalize()
            .into_bytes()
            .into()
    }

    /// Whether the cookie in `hello` was issued to `client`, for these parameters, not long ago.
    pub(super) fn is_good(&self, now: Now, client: SocketAddr, hello: &ClientHello<'_>) -> bool {
        let period = now.unix / LIFETIME;
        [period, period.wrapping_sub(1)].into_iter().any(|period| {
            let tag = self.tag(period, client, hello);
            tag.verify_slice(hello.cookie).is_ok()
        })
    }

    fn tag(&self, period: u64, client: SocketAddr, hello: &ClientHello<'_>) -> Hmac<Sha256> {
        let mut tag = self.keyed.clone();
        tag.update(&period.to_be_bytes());
        // One length for both families, so that no two inputs look alike.
        let ip = match client.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        tag.update(&ip.octets());
        tag.update(&client.port().to_be_bytes());
        tag.update(hello.parameters());
        tag
    }
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cookies").finish_non_exhaustive()
    }
}
