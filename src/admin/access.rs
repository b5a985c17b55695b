//! Who may use the API.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::api::Problem;
use crate::daemon::Daemon;

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The file's permissions say who may.
    UnixSocket,
    /// Loopback, or with a token.
    Network,
}

/// What a request is checked against.
#[derive(Clone)]
pub(super) struct Access {
    daemon: Arc<Daemon>,
    origin: Origin,
}

impl Access {
    pub(super) fn new(daemon: &Arc<Daemon>, origin: Origin) -> Self {
        let daemon = Arc::clone(daemon);
        Self { daemon, origin }
    }

    fn refusal(&self, request: &Request) -> Option<Problem> {
        let headers = request.headers();
        if self.origin == Origin::Network {
            // Read at each request: a reload may have changed it.
            match self.daemon.config().operation.admin_token {
                Some(token) if !bears(headers, token.reveal()) => {
                    return Some(Problem::new(
                        StatusCode::UNAUTHORIZED,
                        "the token is missing or wrong",
                    ));
                }
                Some(_) => {}
                // Without a token only loopback is served, and a name that leads there could be
                // the work of a web page that wants to reach it (DNS rebinding).
                None if !is_literal_host(headers) => {
                    return Some(Problem::new(
                        StatusCode::FORBIDDEN,
                        "use 127.0.0.1 or localhost as the host",
                    ));
                }
                None => {}
            }
        }
        // A form of a foreign web page cannot send JSON without asking first.
        let changes = !matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::DELETE
        );
        let is_json = headers
            .get(CONTENT_TYPE)
            .is_some_and(|typ| typ.as_bytes().starts_with(b"application/json"));
        (changes && !is_json).then(|| {
            Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send Content-Type: application/json",
            )
        })
    }
}

/// Refuses who may not come in.
pub(super) async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.refusal(&request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

fn bears(headers: &HeaderMap, token: &str) -> bool {
    let given = headers
        .get(AUTHORIZATION)
        .map(|value| value.as_bytes())
        .unwrap_or_default();
    let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
    // The time that it takes to compare two MACs says nothing of the token (A12).
    let mac = |text: &[u8]| {
        Hmac::<Sha256>::new_from_slice(token.as_bytes())
            .expect("HMAC takes a key of any length (RFC 2104 §3)")
            .chain_update(text)
    };
    mac(given)
        .verify(&mac(token.as_bytes()).finalize().into_bytes())
        .is_ok()
}

fn is_literal_host(headers: &HeaderMap) -> bool {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default();
    name == "localhost" || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn only_the_whole_token_counts() {
        let bearer = |value: &str| bears(&headers(AUTHORIZATION, value), "north");
        assert!(bearer("Bearer north"));
        for wrong in [
            "Bearer nort",
            "Bearer northe",
            "Bearer ",
            "north",
            "Basic north",
            "",
        ] {
            assert!(!bearer(wrong), "{wrong}");
        }
        assert!(!bears(&HeaderMap::new(), "north"));
    }

    #[test]
    fn names_that_could_lead_anywhere_are_refused() {
        let literal = |value: &str| is_literal_host(&headers(HOST, value));
        for good in ["127.0.0.1:9641", "localhost:1", "localhost", "[::1]:9641"] {
            assert!(literal(good), "{good}");
        }
        for wrong in [
            "evil.example:9641",
            "",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ] {
            assert!(!literal(wrong), "{wrong}");
        }
    }
}
