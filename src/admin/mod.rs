//! The admin listener: metrics, health, the JSON API and the web page, over HTTP.

mod access;
mod api;
mod metrics;
mod page;

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::AbortHandle;

use crate::config::{AdminAddr, AdminListen};
use crate::daemon::Daemon;

/// Where it listens when `admin-listen` is absent, as far as that is possible.
pub const DEFAULT_TCP: &str = "127.0.0.1:9641";
/// As [`DEFAULT_TCP`]; where the package makes the folder.
pub const DEFAULT_UNIX: &str = "/run/turnd/turnd.sock";

/// Connections at a time to one listener. One more ends the oldest: whoever only holds them keeps
/// nobody out.
const MAX_CONNECTIONS: usize = 64;
/// What a client has for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connection has in all: a client that reads nothing ends here. The page opens new ones.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// One bound place.
enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

/// Removes the file of a unix socket at the end.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have been faster; then it is gone, which is all that was wanted.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The bound listeners, not yet served.
pub struct Admin {
    listeners: Vec<Listener>,
}

impl Admin {
    /// Binds what the configuration says.
    ///
    /// # Errors
    /// A place that was asked for and cannot be had, with the remedy.
    pub async fn bind(wanted: &AdminListen) -> Result<Self, String> {
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
                            tracing::info!(address = %place, %error, "admin not listening")
                        }
                    }
                }
            }
        }
        Ok(Self { listeners })
    }

    /// The unix sockets among them.
    pub fn unix_sockets(&self) -> impl Iterator<Item = &Path> {
        self.listeners.iter().filter_map(|listener| match listener {
            Listener::Tcp(_) => None,
            Listener::Unix {
                _file: SocketFile(path),
                ..
            } => Some(path.as_path()),
        })
    }

    /// Serves until the task is dropped.
    pub fn serve(self, daemon: &Arc<Daemon>) {
        for listener in self.listeners {
            tokio::spawn(accept(listener, Arc::clone(daemon)));
        }
    }
}

async fn bind(place: &AdminAddr) -> io::Result<Listener> {
    match place {
        AdminAddr::Tcp(addr) => Ok(Listener::Tcp(TcpListener::bind(addr).await?)),
        AdminAddr::Unix(path) => bind_unix(path),
    }
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    // A file that nobody listens on is what a crash has left behind.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    let _file = SocketFile(path.to_owned());
    Ok(Listener::Unix { listener, _file })
}

fn explain(place: &AdminAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "admin-listen: {place} is in use by another program; stop it, or choose another place"
            )
        }
        io::ErrorKind::NotFound => {
            format!(
                "admin-listen: the folder of {place} does not exist; make it, or choose another place"
            )
        }
        _ => format!("admin-listen: {place} cannot be had: {error}; choose another place"),
    }
}

async fn accept(listener: Listener, daemon: Arc<Daemon>) {
    let origin = match &listener {
        Listener::Tcp(_) => access::Origin::Network,
        Listener::Unix { .. } => access::Origin::UnixSocket,
    };
    let router = router(daemon, origin);
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let router = router.clone();
        let accepted = match &listener {
            Listener::Tcp(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| tokio::spawn(connection(stream, router))),
            Listener::Unix { listener, .. } => listener
                .accept()
                .await
                .map(|(stream, _)| tokio::spawn(connection(stream, router))),
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

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that breaks the protocol or leaves early is no event.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
}

fn router(daemon: Arc<Daemon>, origin: access::Origin) -> Router {
    let guarded = api::router(api::guarded()).layer(axum::middleware::from_fn_with_state(
        access::Access::new(&daemon, origin),
        access::check,
    ));
    Router::new()
        .merge(guarded)
        .merge(api::router(api::health()))
        .with_state(daemon)
        .merge(page::router())
        .layer(axum::extract::DefaultBodyLimit::max(api::MAX_BODY))
        .layer(axum::middleware::map_response(page::harden))
}
