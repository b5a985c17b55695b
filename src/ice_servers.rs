//! The `iceServers` that browsers take, and credentials for them.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use turnd_proto::auth::rest;
use turnd_proto::auth::{Credential, Settings};

use crate::config::{Config, Secret};
use crate::problem::Problem;

/// User name and password of a browser.
pub struct Login {
    /// `username`.
    pub name: String,
    /// `credential`.
    pub password: String,
}

/// Credentials that the server accepts until `expiry` (since the Unix epoch), or always for a
/// static user: for the operator, who may read those passwords.
pub fn login(auth: &Settings, name: Option<&str>, expiry: Duration) -> Result<Login, Problem> {
    if let Some(login) = issued(auth, name, expiry) {
        return login;
    }
    let mut keyed = None;
    for user in &auth.users {
        if name.is_some_and(|name| name != user.name) {
            continue;
        }
        match &user.credential {
            Credential::Password(password) => {
                return Ok(Login {
                    name: user.name.clone(),
                    password: password.reveal().to_owned(),
                });
            }
            Credential::Keys(_) => keyed = keyed.or(Some(&user.name)),
        }
    }
    Err(match (keyed, name) {
        (Some(user), _) => Problem::new(
            format!(
                "user {user:?} is stored as a key, which cannot be turned back into a password"
            ),
            "use the password that the key was made from",
        ),
        (None, Some(name)) => Problem::new(
            format!("there is no user {name:?}"),
            "name one of the configuration",
        ),
        (None, None) => Problem::new("there are no users", "add user or static-auth-secret"),
    })
}

/// Credentials that the server accepts until `expiry` (since the Unix epoch), for whoever asks it:
/// a static user's password never leaves it.
pub fn issue(auth: &Settings, name: Option<&str>, expiry: Duration) -> Result<Login, Problem> {
    issued(auth, name, expiry).unwrap_or_else(|| {
        let what = "there is no static-auth-secret to make credentials with, and a user's password \
                    stays in the server";
        let remedy = "add static-auth-secret, or use name and password of a user";
        Err(Problem::new(what, remedy))
    })
}

/// Credentials that are nobody's own; `None`: there are only static users.
fn issued(auth: &Settings, name: Option<&str>, expiry: Duration) -> Option<Result<Login, Problem>> {
    if auth.no_auth {
        // Browsers insist on credentials, the server accepts any.
        let any = || "any".to_owned();
        return Some(Ok(Login {
            name: name.map_or_else(any, ToOwned::to_owned),
            password: any(),
        }));
    }
    let secret = auth.secrets.first()?;
    Some(rest_login(secret, name, expiry, auth.rest_separator))
}

/// Fails if credentials are to be good for `ttl`, and `max` is less or `ttl` nothing.
pub fn check_ttl(ttl: Duration, max: Duration) -> Result<(), Problem> {
    let (ttl, max) = (ttl.as_secs(), max.as_secs());
    if ttl == 0 {
        Err(Problem::new(
            "ttl: nothing is good for no time",
            "ask for 1 second or more",
        ))
    } else if ttl > max {
        Err(Problem::new(
            format!("ttl: {ttl} seconds are more than max-credential-ttl, {max}"),
            "ask for less, or raise that key",
        ))
    } else {
        Ok(())
    }
}

fn rest_login(
    secret: &Secret,
    name: Option<&str>,
    expiry: Duration,
    separator: char,
) -> Result<Login, Problem> {
    if name.is_some_and(|name| name.is_empty() || name.chars().any(char::is_control)) {
        return Err(Problem::new(
            "name: is empty or holds a control character",
            "leave it out or choose another",
        ));
    }
    let name = rest::username(expiry.as_secs(), name, separator);
    let password = rest::password(secret.reveal(), &name);
    Ok(Login { name, password })
}

/// Configuration of an `RTCPeerConnection`.
#[derive(Serialize)]
pub struct IceServers {
    #[serde(rename = "iceServers")]
    servers: [IceServer; 1],
}

impl IceServers {
    /// The URLs, those to be tried first in front.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.servers
            .iter()
            .flat_map(|s| &s.urls)
            .map(String::as_str)
    }
}

#[derive(Serialize)]
struct IceServer {
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

/// The URLs of the server that `config` describes, with `login` if there is one.
pub fn ice_servers(
    config: &Config,
    host: Option<&str>,
    login: Option<Login>,
) -> Result<IceServers, Problem> {
    let host = match host {
        Some(host) => checked_host(host)?,
        None => default_host(config),
    };
    let urls = urls(config, &host);
    let (username, credential) = login.map(|l| (l.name, l.password)).unzip();
    Ok(IceServers {
        servers: [IceServer {
            urls,
            username,
            credential,
        }],
    })
}

/// URLs of the transports that are served, the best for a browser first.
fn urls(config: &Config, host: &str) -> Vec<String> {
    let turn = !config.server.protocol.stun_only;
    let (transports, port) = (&config.transports, config.listen.port);
    // Browsers refuse a certificate that came from no file.
    let secure = transports.tls && !config.tls.files.is_empty();
    let tls_port = config.listen.tls_port;
    let all = [
        (transports.udp, format!("stun:{host}:{port}")),
        (
            transports.udp && turn,
            format!("turn:{host}:{port}?transport=udp"),
        ),
        (
            transports.tcp && turn,
            format!("turn:{host}:{port}?transport=tcp"),
        ),
        (
            secure && turn,
            format!("turns:{host}:{tls_port}?transport=tcp"),
        ),
    ];
    let served = all.into_iter().filter(|(served, _)| *served);
    served.map(|(_, url)| url).collect()
}

fn default_host(config: &Config) -> String {
    let external = config.server.relay.external.iter().map(|e| e.public);
    let listening = config.listen.ips.iter().copied();
    let known = external.chain(listening).find(|ip| !ip.is_unspecified());
    bracketed(known.unwrap_or(IpAddr::from([127, 0, 0, 1])))
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A host as it stands in a URL.
fn checked_host(host: &str) -> Result<String, Problem> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(host).parse() {
        return Ok(bracketed(ip));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty() || !host.chars().all(fits) {
        return Err(Problem::new(
            format!("host: {host:?} is not a host name or an IP address"),
            "write it without scheme and port",
        ));
    }
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(text).unwrap()
    }

    fn json(config: &Config, host: Option<&str>, name: Option<&str>) -> serde_json::Value {
        let login = login(&config.auth, name, Duration::from_secs(1_700_000_000)).unwrap();
        serde_json::to_value(ice_servers(config, host, Some(login)).unwrap()).unwrap()
    }

    fn refusal(outcome: Result<impl Sized, Problem>) -> String {
        outcome.err().unwrap().to_string()
    }

    #[test]
    fn static_user() {
        let config = config("user = ['k:0x00112233445566778899aabbccddeeff', 'bob:se:cret']");
        let expected = serde_json::json!({"iceServers": [{
            "urls": [
                "stun:127.0.0.1:3478",
                "turn:127.0.0.1:3478?transport=udp",
                "turn:127.0.0.1:3478?transport=tcp",
            ],
            "username": "bob",
            "credential": "se:cret",
        }]});
        assert_eq!(json(&config, None, None), expected);
        assert_eq!(
            refusal(login(&config.auth, Some("k"), Duration::ZERO)),
            "user \"k\" is stored as a key, which cannot be turned back into a password; \
             use the password that the key was made from"
        );
        assert_eq!(
            refusal(login(&config.auth, Some("eve"), Duration::ZERO)),
            "there is no user \"eve\"; name one of the configuration"
        );
    }

    #[test]
    fn a_static_password_is_for_the_operator_alone() {
        let only = config("user = ['bob:hidden']");
        let text = refusal(issue(&only.auth, Some("bob"), Duration::ZERO));
        assert!(text.contains("add static-auth-secret"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
        let both = config("user = ['bob:hidden']\nstatic-auth-secret = 'north'");
        let login = issue(&both.auth, Some("bob"), Duration::from_secs(7)).unwrap();
        assert_eq!(login.name, "7:bob");
        assert_eq!(login.password, rest::password("north", "7:bob"));
        // A client with a login needs the URLs only.
        let servers = ice_servers(&only, Some("h"), None).unwrap();
        let json = serde_json::to_value(&servers).unwrap();
        assert_eq!(
            json["iceServers"][0]["urls"][1],
            "turn:h:3478?transport=udp"
        );
        assert_eq!(json["iceServers"][0].get("credential"), None);
    }

    #[test]
    fn how_long_credentials_may_be_good() {
        let check = |ttl, max| check_ttl(Duration::from_secs(ttl), Duration::from_secs(max));
        assert_eq!(check(1, 1), Ok(()));
        assert_eq!(check(86_400, 86_400), Ok(()));
        assert_eq!(
            check(86_401, 86_400).unwrap_err().to_string(),
            "ttl: 86401 seconds are more than max-credential-ttl, 86400; ask for less, or raise that key"
        );
        assert!(check(0, 60).is_err());
    }

    #[test]
    fn rest_credentials_come_from_the_first_secret() {
        let config =
            config("static-auth-secret = ['north', 'old']\nuser = 'a:b'\nrest-api-separator = '|'");
        let json = json(&config, Some("turn.example.org"), Some("alice"));
        let server = &json["iceServers"][0];
        assert_eq!(server["username"], "1700000000|alice");
        assert_eq!(
            server["credential"],
            rest::password("north", "1700000000|alice")
        );
        assert_eq!(
            server["urls"][1],
            "turn:turn.example.org:3478?transport=udp"
        );
    }

    #[test]
    fn anyone_and_nobody() {
        let json = json(&config("no-auth = true"), None, None);
        assert_eq!(json["iceServers"][0]["username"], "any");
        let stun = ice_servers(&config("stun-only = true"), None, None).unwrap();
        let stun = serde_json::to_value(stun).unwrap();
        let expected = serde_json::json!({"iceServers": [{"urls": ["stun:127.0.0.1:3478"]}]});
        assert_eq!(stun, expected);
    }

    #[test]
    fn only_what_is_served_is_listed() {
        let listed = |text: &str| {
            let mut config = config(&format!("no-auth = true\n{text}"));
            config.transports.tls = text.contains("no-udp");
            urls(&config, "h")
        };
        assert_eq!(
            listed("no-tcp = true"),
            ["stun:h:3478", "turn:h:3478?transport=udp"]
        );
        // A certificate without a file is the demonstration's.
        assert_eq!(listed("no-udp = true"), ["turn:h:3478?transport=tcp"]);
    }

    #[test]
    fn hosts() {
        let host = |text: &str| default_host(&config(&format!("no-auth = true\n{text}")));
        assert_eq!(host(""), "127.0.0.1");
        assert_eq!(
            host("listening-ip = ['::', '2001:db8::1']"),
            "[2001:db8::1]"
        );
        assert_eq!(
            host("listening-ip = '10.0.0.1'\nexternal-ip = '192.0.2.1/10.0.0.1'"),
            "192.0.2.1"
        );
        assert_eq!(checked_host("::1").unwrap(), "[::1]");
        assert_eq!(checked_host("[::1]").unwrap(), "[::1]");
        assert_eq!(
            refusal(checked_host("turn:x:1")),
            "host: \"turn:x:1\" is not a host name or an IP address; write it without scheme and port"
        );
    }
}
