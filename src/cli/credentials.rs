//! `turnd credentials`, and the `iceServers` that browsers take.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{Failure, complain, say};
use crate::auth::rest;
use crate::config::file::FileConfig;
use crate::config::{self, Auth, Config, Credential, SEARCH, Secret};

/// Print credentials as iceServers JSON, ready for an RTCPeerConnection.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  turnd credentials --host turn.example.org --name alice --ttl 1h
  turnd credentials --secret north --host 192.0.2.1"
)]
pub(super) struct Credentials {
    /// Configuration file; otherwise turnd.toml here, then /etc/turnd/turnd.toml.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Secret (static-auth-secret) of the server, in place of a configuration file.
    #[arg(long, conflicts_with = "config")]
    secret: Option<String>,
    /// User to make credentials for, or the static user to print.
    #[arg(long)]
    name: Option<String>,
    /// How long the credentials are good for, as 90 (seconds), 30m, 24h or 7d.
    #[arg(long, default_value = "24h", value_parser = duration)]
    ttl: Duration,
    /// Host of the server; otherwise external-ip, listening-ip or 127.0.0.1.
    #[arg(long)]
    host: Option<String>,
}

impl Credentials {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.secret.as_deref() == Some("") {
            let message = "--secret: is empty; give static-auth-secret of the server";
            return Err(Failure::usage(message));
        }
        let flags = FileConfig {
            static_auth_secret: self.secret.clone().map(|secret| vec![secret]),
            ..FileConfig::default()
        };
        let loaded = if self.secret.is_some() {
            config::from_flags(&flags)?
        } else if self.config.is_none() && config::search().is_none() {
            return Err(no_file());
        } else {
            config::load(self.config.as_deref(), &flags)?
        };
        for warning in &loaded.warnings {
            complain(format_args!("warning: {warning}"));
        }
        let config = &loaded.config;
        let login = if config.protocol.stun_only {
            None
        } else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.unwrap_or_default();
            Some(login(
                &config.auth,
                self.name.as_deref(),
                now.saturating_add(self.ttl),
            )?)
        };
        say(ice_servers(config, self.host.as_deref(), login)?)
    }
}

fn no_file() -> Failure {
    Failure::usage(format!(
        "no configuration file ({}); name one with -c, or give --secret",
        SEARCH.join(", ")
    ))
}

/// What a browser logs in with.
pub(super) struct Login {
    name: String,
    password: String,
}

/// Credentials that the server accepts until `expiry`, or always for a static user.
pub(super) fn login(auth: &Auth, name: Option<&str>, expiry: Duration) -> Result<Login, Failure> {
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
    Err(Failure::usage(match (keyed, name) {
        (Some(user), _) => format!(
            "user {user:?} is stored as a key, which cannot be turned back into a password; \
             use the password that the key was made from"
        ),
        (None, Some(name)) => format!("there is no user {name:?}; name one of the configuration"),
        (None, None) => "there are no users; add user or static-auth-secret".to_owned(),
    }))
}

fn rest_login(
    secret: &Secret,
    name: Option<&str>,
    expiry: Duration,
    separator: char,
) -> Result<Login, Failure> {
    if name.is_some_and(|name| name.is_empty() || name.chars().any(char::is_control)) {
        return Err(Failure::usage(
            "--name: is empty or holds a control character; leave it out or choose another",
        ));
    }
    let name = rest::username(expiry.as_secs(), name, separator);
    let password = rest::password(secret.reveal(), &name);
    Ok(Login { name, password })
}

#[derive(Serialize)]
struct IceServers {
    #[serde(rename = "iceServers")]
    servers: [IceServer; 1],
}

#[derive(Serialize)]
struct IceServer {
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

/// The JSON that `RTCPeerConnection` takes; without a login for STUN only.
pub(super) fn ice_servers(
    config: &Config,
    host: Option<&str>,
    login: Option<Login>,
) -> Result<String, Failure> {
    let host = match host {
        Some(host) => checked_host(host)?,
        None => default_host(config),
    };
    let urls = urls(config, &host, login.is_some());
    let (username, credential) = login.map(|l| (l.name, l.password)).unzip();
    let servers = IceServers {
        servers: [IceServer {
            urls,
            username,
            credential,
        }],
    };
    serde_json::to_string_pretty(&servers).map_err(|error| Failure::Run(error.to_string()))
}

/// What is really served, in the order in which a browser had best try it.
fn urls(config: &Config, host: &str, turn: bool) -> Vec<String> {
    let (transports, port) = (&config.transports, config.listen.port);
    // Browsers refuse a certificate that came from no file.
    let secure = transports.tls && !config.tls.files.is_empty();
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
            format!("turns:{host}:{}?transport=tcp", config.listen.tls_port),
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
fn checked_host(host: &str) -> Result<String, Failure> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(host).parse() {
        return Ok(bracketed(ip));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty() || !host.chars().all(fits) {
        return Err(Failure::usage(format!(
            "--host: {host:?} is not a host name or an IP address; write it without scheme and port"
        )));
    }
    Ok(host.to_owned())
}

/// Reads `90`, `90s`, `30m`, `24h` or `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write seconds, or a number with s, m, h or d";
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 86400),
        _ => (text, 1),
    };
    let number: u32 = number.parse().map_err(|_| FORM.to_owned())?;
    if number == 0 {
        return Err("nothing is good for no time".to_owned());
    }
    Ok(Duration::from_secs(u64::from(number) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(text).unwrap()
    }

    fn json(config: &Config, host: Option<&str>, name: Option<&str>) -> serde_json::Value {
        let login = login(&config.auth, name, Duration::from_secs(1_700_000_000)).unwrap();
        let text = ice_servers(config, host, Some(login)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn refusal(outcome: Result<impl Sized, Failure>) -> String {
        match outcome.err().unwrap() {
            Failure::Usage(lines) => lines.join("\n"),
            Failure::Run(line) => line,
        }
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
        let stun: serde_json::Value = serde_json::from_str(&stun).unwrap();
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
            "--host: \"turn:x:1\" is not a host name or an IP address; write it without scheme and port"
        );
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86400)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert!(duration("4294967295d").is_ok());
        for wrong in [
            "",
            "h",
            "-1h",
            "1.5h",
            "24 h",
            "1w",
            "99999999999",
            "h24",
            "é",
        ] {
            assert_eq!(
                duration(wrong),
                Err("write seconds, or a number with s, m, h or d".to_owned())
            );
        }
        assert_eq!(
            duration("0h"),
            Err("nothing is good for no time".to_owned())
        );
    }
}
