//! Place and token of the server's admin listener.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::client::Client;
use crate::admin::{DEFAULT_TCP, DEFAULT_UNIX};
use crate::cli::{Failure, complain, secret};
use crate::config::file::FileConfig;
use crate::config::{self, AdminAddr, AdminListen, Secret};

/// Heading of these flags in the help of every command.
const CONNECTION: &str = "Connection";

/// Flags that say how to reach the server.
#[derive(clap::Args)]
pub(super) struct Reach {
    /// Admin listener of the server: 127.0.0.1:9641 or the path of a unix socket.
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS|PATH",
        help_heading = CONNECTION
    )]
    admin: Option<String>,
    /// Configuration file of the server; otherwise turnd.toml here, then /etc/turnd/turnd.toml.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        help_heading = CONNECTION
    )]
    config: Option<PathBuf>,
    /// Token of the admin listener, or - to read it from standard input. Others on this machine can read it here;
    /// --token-file or the variable TURND_TOKEN hides it.
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        conflicts_with = "token_file",
        help_heading = CONNECTION
    )]
    token: Option<Secret>,
    /// File with the token on one line, or - for standard input.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = CONNECTION
    )]
    token_file: Option<PathBuf>,
    /// Print JSON for programs.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl Reach {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let named = self.admin.as_deref().map(parse).transpose()?;
        let token = self.token()?;
        // With place and token as flags no file is needed, unless one is named.
        let found = if named.is_some() && token.is_some() && self.config.is_none() {
            Found::default()
        } else {
            self.file()?
        };
        let places = named.map(|place| vec![place]).or(found.places);
        let mut places = places.unwrap_or_else(default_places);
        // The unix socket needs no token, so it comes first.
        places.sort_by_key(|place| matches!(place, AdminAddr::Tcp(_)));
        Ok(Client {
            places: places.into_iter().map(reachable).collect(),
            token: token.or(found.token),
        })
    }

    fn token(&self) -> Result<Option<Secret>, Failure> {
        let file = self.token_file.as_deref();
        match secret::given("token", self.token.as_ref(), file, "Token")? {
            None => secret::variable("TURND_TOKEN"),
            given => Ok(given),
        }
    }

    /// Place and token in the configuration file. The server may be told to reload a broken one, or have
    /// flags without which it is not complete, so as much is taken from it as can be read.
    fn file(&self) -> Result<Found, Failure> {
        let path = self.config.as_deref().or_else(|| config::search());
        let Some(path) = path else {
            return Ok(Found::default());
        };
        if let Ok(loaded) = config::load(Some(path), &FileConfig::default()) {
            let operation = loaded.config.operation;
            return Ok(Found {
                places: match operation.admin {
                    AdminListen::At(places) => Some(places),
                    AdminListen::Default => None,
                },
                token: operation.admin_token,
            });
        }
        let shown = path.display();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if self.config.is_some() => {
                return Err(Failure::usage(format!("{shown} cannot be read: {error}")));
            }
            // A file that is not named and that this user may not read.
            Err(_) => return Ok(Found::default()),
        };
        match text.parse::<Table>() {
            Ok(table) => Ok(Found::roughly(&table)),
            Err(_) => {
                complain(format_args!(
                    "warning: {shown} is broken; --admin says where the server is if this fails"
                ));
                Ok(Found::default())
            }
        }
    }
}

/// Place and token in a configuration file.
#[derive(Default)]
struct Found {
    places: Option<Vec<AdminAddr>>,
    token: Option<Secret>,
}

impl Found {
    fn roughly(table: &Table) -> Self {
        let texts = match table.get("admin-listen") {
            Some(Value::String(text)) => Some(vec![text.as_str()]),
            Some(Value::Array(texts)) => Some(texts.iter().filter_map(Value::as_str).collect()),
            _ => None,
        };
        let places = texts.map(|texts| texts.into_iter().filter_map(|t| parse(t).ok()).collect());
        let token = table.get("admin-token").and_then(Value::as_str);
        let in_file = table
            .get("admin-token-file")
            .and_then(Value::as_str)
            .and_then(|path| fs::read_to_string(Path::new(path)).ok());
        Self {
            places,
            token: token
                .map(Secret::new)
                .or(in_file.map(|text| Secret::new(text.trim()))),
        }
    }
}

fn default_places() -> Vec<AdminAddr> {
    let tcp = DEFAULT_TCP.parse().map(AdminAddr::Tcp);
    [AdminAddr::Unix(DEFAULT_UNIX.into())]
        .into_iter()
        .chain(tcp)
        .collect()
}

fn parse(text: &str) -> Result<AdminAddr, Failure> {
    match text.parse() {
        Ok(addr) => Ok(AdminAddr::Tcp(addr)),
        Err(_) if text.contains('/') => Ok(AdminAddr::Unix(text.into())),
        Err(_) => Err(Failure::usage(format!(
            "--admin: {text:?} is no place; write 127.0.0.1:9641, or the path of a unix socket with a / in it"
        ))),
    }
}

/// A server that listens everywhere is reached on loopback.
fn reachable(place: AdminAddr) -> AdminAddr {
    match place {
        AdminAddr::Tcp(addr) if addr.ip().is_unspecified() => {
            let ip: IpAddr = if addr.is_ipv4() {
                Ipv4Addr::LOCALHOST.into()
            } else {
                Ipv6Addr::LOCALHOST.into()
            };
            AdminAddr::Tcp(SocketAddr::new(ip, addr.port()))
        }
        place => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(places: &[AdminAddr]) -> Vec<String> {
        places.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn places_are_addresses_or_paths() {
        for good in [
            "127.0.0.1:1",
            "[::1]:9641",
            "/run/turnd/turnd.sock",
            "./sock",
        ] {
            assert_eq!(parse(good).unwrap().to_string(), good);
        }
        for wrong in ["", "localhost:9641", "9641", "sock"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let places = default_places();
        assert_eq!(shown(&places), [DEFAULT_UNIX, DEFAULT_TCP]);
        let everywhere = ["0.0.0.0:1", "[::]:2"].map(|text| reachable(parse(text).unwrap()));
        assert_eq!(shown(&everywhere), ["127.0.0.1:1", "[::1]:2"]);
    }

    #[test]
    fn a_file_that_is_not_complete_still_says_where() {
        let table = "admin-listen = ['/x/y', '127.0.0.1:1']\nadmin-token = 'north'\nmin-port = 'x'";
        let found = Found::roughly(&table.parse().unwrap());
        assert_eq!(shown(&found.places.unwrap()), ["/x/y", "127.0.0.1:1"]);
        assert_eq!(found.token.unwrap().reveal(), "north");
        let found = Found::roughly(&"admin-listen = '[::1]:7'".parse().unwrap());
        assert_eq!(shown(&found.places.unwrap()), ["[::1]:7"]);
        assert!(Found::roughly(&Table::new()).places.is_none());
    }
}
