//! Access to the admin listener.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::error::ApiError;
use crate::config::Secret;
use crate::daemon::Daemon;
use crate::daemon::audit::Actor;

/// The refusal where there is no token.
const NEEDS_TOKEN: &str = "this server has no admin-token, and without one it serves health and \
    metrics over TCP, nothing else";
/// The remedy for that.
const NO_TOKEN: &str = "use turnd ctl, which takes the unix socket, or add admin-token to the \
    configuration (openssl rand -hex 32 makes one), reload it, and give that token here";

/// Way that a client has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// The unix socket, whose permissions decide; the actor is what the system tells of the client.
    UnixSocket(Actor),
    /// TCP, from this address.
    Tcp(SocketAddr),
}

/// Purpose of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Seeing and changing everything.
    Api,
    /// Numbers for monitoring, which are no secret on this machine.
    Metrics,
}

/// Rules for requests of one scope.
#[derive(Clone)]
pub(super) struct Access {
    daemon: Arc<Daemon>,
    scope: Scope,
}

impl Access {
    pub(super) fn new(daemon: &Arc<Daemon>, scope: Scope) -> Self {
        let daemon = Arc::clone(daemon);
        Self { daemon, scope }
    }

    /// Originator of the request, if it is allowed.
    fn admit(&self, caller: Caller, request: &Request) -> Result<Actor, ApiError> {
        let headers = request.headers();
        let actor = match caller {
            Caller::UnixSocket(actor) => actor,
            Caller::Tcp(client) => {
                // Read at each request: a reload may have changed it.
                let token = self.daemon.config().operation.admin_token;
                self.check_tcp(token.as_ref(), headers)?;
                Actor::Tcp(client)
            }
        };
        // A form of a foreign web page cannot send JSON without asking first.
        let changes = !matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::DELETE
        );
        let is_json = headers
            .get(CONTENT_TYPE)
            .is_some_and(|typ| typ.as_bytes().starts_with(b"application/json"));
        if changes && !is_json {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send Content-Type: application/json",
            ));
        }
        Ok(actor)
    }

    fn check_tcp(&self, token: Option<&Secret>, headers: &HeaderMap) -> Result<(), ApiError> {
        match (token, self.scope) {
            (Some(token), _) if bears(headers, token.reveal()) => Ok(()),
            (Some(_), _) => Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "the token is missing or wrong",
            )),
            // Every user of this machine can connect.
            (None, Scope::Api) => Err(ApiError::new(StatusCode::UNAUTHORIZED, NEEDS_TOKEN)
                .with(vec![NO_TOKEN.to_owned()])),
            // A name that leads to loopback could be the work of a web page that wants to reach
            // it (DNS rebinding).
            (None, Scope::Metrics) if !is_literal_host(headers) => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "use 127.0.0.1 or localhost as the host",
            )),
            (None, Scope::Metrics) => Ok(()),
        }
    }
}

/// Refuses who may not come in, and tells the handlers of the others.
pub(super) async fn check(
    State(access): State<Access>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
    next: Next,
) -> Response {
    match access.admit(caller, &request) {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
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
