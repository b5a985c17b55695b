//! The admin listener: metrics, health, the JSON API and the web page, over HTTP.

mod access;
mod api;
mod error;
mod history;
mod metrics;
mod observer;
mod page;
mod process;
mod rates;
mod unix_socket;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use self::access::{Access, Caller, Scope};
use self::observer::Observer;
use self::unix_socket::{BindError, UnixSocket};
use crate::config::{AdminAddr, AdminListen};
use crate::daemon::Daemon;
use crate::daemon::audit::Actor;
use crate::problem::Problem;

/// Address to listen on when `admin-listen` is absent, if it is free.
pub const DEFAULT_TCP: &str = "127.0.0.1:9641";
/// Unix socket to listen on when `admin-listen` is absent; packages make the folder.
pub const DEFAULT_UNIX: &str = "/run/turnd/turnd.sock";

/// Most connections to one listener. One more ends the oldest, so that a client that only holds them keeps
/// nobody out.
const MAX_CONNECTIONS: usize = 64;
/// Time limit for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of a connection, also for a client that reads nothing. The page opens new ones.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// A bound listener.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// The bound listeners, not yet served.
pub struct Admin {
    listeners: Vec<Listener>,
}

impl Admin {
    /// Binds what the configuration says.
    pub async fn bind(wanted: &AdminListen) -> Result<Self, Problem> {
        let mut listeners = Vec::new();
        match wanted {
            AdminListen::At(places) => {
                for place in places {
                    let listener = bind(place).await.map_err(|error| explain(place, &error))?;
                    tracing::info!(address = %place, "admin listening");
                    listeners.push(listener);
                }
            }
            AdminListen::Default => {
                let tcp = DEFAULT_TCP.parse().map(AdminAddr::Tcp);
                let unix = AdminAddr::Unix(DEFAULT_UNIX.into());
                for place in tcp.into_iter().chain([unix]) {
                    match bind(&place).await {
                        Ok(listener) => {
                            tracing::info!(address = %place, "admin listening");
                            listeners.push(listener);
                        }
                        Err(error) => {
                            let reason = explain(&place, &error);
                            // Without the package there is no folder for the socket.
                            match place {
                                AdminAddr::Unix(_) => {
                                    tracing::debug!(address = %place, %reason, "admin not listening");
                                }
                                AdminAddr::Tcp(_) => {
                                    tracing::info!(address = %place, %reason, "admin not listening");
                                }
                            }
                        }
                    }
                }
            }
        }
        Ok(Self { listeners })
    }

    /// Transport addresses of the listeners.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let tcp = self.listeners.iter().filter_map(|listener| match listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        });
        tcp.collect()
    }

    /// Unix sockets among the listeners.
    pub fn unix_sockets(&self) -> impl Iterator<Item = &Path> {
        self.listeners.iter().filter_map(|listener| match listener {
            Listener::Tcp(_) => None,
            Listener::Unix(socket) => Some(socket.path()),
        })
    }

    /// Serves until the task is dropped.
    pub fn serve(self, daemon: &Arc<Daemon>) {
        if self.listeners.is_empty() {
            return;
        }
        let observer = Arc::new(Observer::default());
        tokio::spawn(Arc::clone(&observer).keep_history(Arc::clone(daemon)));
        let router = router(daemon, observer);
        for listener in self.listeners {
            tokio::spawn(accept(listener, router.clone()));
        }
    }
}

async fn bind(place: &AdminAddr) -> Result<Listener, BindError> {
    Ok(match place {
        AdminAddr::Tcp(addr) => Listener::Tcp(TcpListener::bind(addr).await?),
        AdminAddr::Unix(path) => Listener::Unix(UnixSocket::bind(path)?),
    })
}

fn explain(place: &AdminAddr, error: &BindError) -> Problem {
    let (what, remedy) = match error {
        BindError::NoSocket => (
            "is a file of another kind, which stays".to_owned(),
            "remove it yourself, or choose another place",
        ),
        BindError::Io(error) => match error.kind() {
            io::ErrorKind::AddrInUse => (
                "is in use by another program".to_owned(),
                "stop it, or choose another place",
            ),
            io::ErrorKind::NotFound => (
                "is in a folder that does not exist".to_owned(),
                "make it, or choose another place",
            ),
            _ => (format!("cannot be had: {error}"), "choose another place"),
        },
    };
    Problem::new(what, remedy).of(format_args!("admin-listen: {place}"))
}

async fn accept(listener: Listener, router: Router) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let router = router.clone();
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, client)| {
                tokio::spawn(connection(stream, Caller::Tcp(client), router))
            }),
            Listener::Unix(socket) => match socket.listener().accept().await {
                Ok((stream, _)) => stream.peer_cred().map(|peer| {
                    let actor = Actor::Unix {
                        uid: peer.uid(),
                        gid: peer.gid(),
                        pid: peer.pid(),
                    };
                    tokio::spawn(connection(stream, Caller::UnixSocket(actor), router))
                }),
                Err(error) => Err(error),
            },
        };
        open.retain(|connection| !connection.is_finished());
        match accepted {
            Ok(task) => open.push_back(task.abort_handle()),
            Err(error) => {
                tracing::warn!(%error, "admin connection not accepted");
                // Out of descriptors, most likely: others need the time to give some back.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        if open.len() > MAX_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    caller: Caller,
    router: Router,
) {
    let answers = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller);
        answers.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks the protocol or leaves early is no event.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
}

fn router(daemon: &Arc<Daemon>, observer: Arc<Observer>) -> Router {
    let guarded = |routes, scope| {
        api::router(routes).layer(axum::middleware::from_fn_with_state(
            Access::new(daemon, scope),
            access::check,
        ))
    };
    Router::new()
        .merge(guarded(api::guarded(), Scope::Api))
        .merge(guarded(api::metrics(), Scope::Metrics))
        .merge(api::router(api::health()))
        .layer(Extension(observer))
        .with_state(Arc::clone(daemon))
        .merge(page::router())
        .layer(axum::extract::DefaultBodyLimit::max(api::MAX_BODY))
        .layer(axum::middleware::map_response(page::harden))
}
