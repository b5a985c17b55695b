//! The `iceServers` that browsers take, and credentials for them.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::auth::rest;
use crate::config::{Auth, Config, Credential, Secret};

/// What a browser logs in with.
pub struct Login {
    /// `username`.
    pub name: String,
    /// `credential`.
    pub password: String,
}

/// Credentials that the server accepts until `expiry` (since the Unix epoch), or always for a
/// static user.
///
/// # Errors
/// Why there are none, with the remedy.
pub fn login(auth: &Auth, name: Option<&str>, expiry: Duration) -> Result<Login, String> {
    if auth.no_auth {
        // Browsers insist on credentials, the server accepts any.
        let any = || "any".to_owned();
        return Ok(Login {
            name: name.map_or_else(any, ToOwned::to_owned),
            password: any(),
        });
    }
    if let Some(secret) = auth.secrets.first() {
        return rest_login(secret, name, expiry, auth.rest_separator);
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
            Credential::Key(_) => keyed = keyed.or(Some(&user.name)),
        }
    }
    Err(match (keyed, name) {
        (Some(user), _) => format!(
            "user {user:?} is stored as a key, which cannot be turned back into a password; \
             use the password that the key was made from"
        ),
        (None, Some(name)) => format!("there is no user {name:?}; name one of the configuration"),
        (None, None) => "there are no users; add user or static-auth-secret".to_owned(),
    })
}

fn rest_login(
    secret: &Secret,
    name: Option<&str>,
    expiry: Duration,
    separator: char,
) -> Result<Login, String> {
    if name.is_some_and(|name| name.is_empty() || name.chars().any(char::is_control)) {
        let text = "name: is empty or holds a control character; leave it out or choose another";
        return Err(text.to_owned());
    }
    let name = rest::username(expiry.as_secs(), name, separator);
    let password = rest::password(secret.reveal(), &name);
    Ok(Login { name, password })
}

/// What `RTCPeerConnection` takes.
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

/// The URLs of the server that `config` describes, with `login`; without one for STUN only.
///
/// # Errors
/// A host that is none.
pub fn ice_servers(
    config: &Config,
    host: Option<&str>,
    login: Option<Login>,
) -> Result<IceServers, String> {
    let host = match host {
        Some(host) => checked_host(host)?,
        None => default_host(config),
    };
    let urls = urls(config, &host, login.is_some());
    let (username, credential) = login.map(|l| (l.name, l.password)).unzip();
    Ok(IceServers {
        servers: [IceServer {
            urls,
            username,
            credential,
        }],
    })
}

/// What is really served, in the order in which a browser had best try it.
fn urls(config: &Config, host: &str, turn: bool) -> Vec<String> {
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
    let external = config.relay.external.iter().map(|e| e.public);
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
fn checked_host(host: &str) -> Result<String, String> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(host).parse() {
        return Ok(bracketed(ip));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty() || !host.chars().all(fits) {
        return Err(format!(
            "host: {host:?} is not a host name or an IP address; write it without scheme and port"
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

    fn refusal(outcome: Result<impl Sized, String>) -> String {
        outcome.err().unwrap()
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
            urls(&config, "h", true)
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
