//! Forms in which applications take places and credentials.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::Login;
use super::places::{Place, Scheme};
use crate::config::Secret;
use crate::problem::Problem;

/// Form of credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Configuration of an RTCPeerConnection.
    #[default]
    #[value(name = "iceservers")]
    IceServers,
    /// Answer of a TURN REST API (draft-uberti-behave-turn-rest).
    Rest,
    /// Answer of Twilio's Network Traversal Service.
    Twilio,
    /// Answer of Cloudflare's generate-ice-servers.
    Cloudflare,
    /// Link headers of WHIP and WHEP (RFC 9725).
    #[serde(rename = "whip-link")]
    WhipLink,
    /// external_services of Prosody and Jitsi Meet.
    Prosody,
    /// mod_stun_disco of ejabberd.
    Ejabberd,
    /// turn_servers of LiveKit.
    Livekit,
    /// Commands for Nextcloud Talk.
    Nextcloud,
    /// Keys of Synapse's homeserver.yaml.
    Synapse,
}

impl Format {
    /// Whether it is an application's configuration, which credentials that expire would soon be wrong in.
    pub fn is_configuration(self) -> bool {
        match self {
            Self::IceServers | Self::Rest | Self::Twilio | Self::Cloudflare | Self::WhipLink => {
                false
            }
            Self::Prosody | Self::Ejabberd | Self::Livekit | Self::Nextcloud | Self::Synapse => {
                true
            }
        }
    }
}

/// Way in which clients prove that they may allocate.
pub enum Access {
    /// None: for STUN, or for clients that have credentials.
    Free,
    /// User name and password.
    Login(Login),
    /// Secret of which the application makes credentials: for the operator alone.
    Secret(Secret),
}

/// Places of a server, and the way in.
pub struct Offer {
    /// The places, the best for a browser first.
    pub places: Vec<Place>,
    /// The way in.
    pub access: Access,
    /// Lifetime of credentials.
    pub ttl: Duration,
    /// The time, since the Unix epoch.
    pub now: Duration,
}

/// Entry of `iceServers`.
#[derive(Debug, PartialEq, Serialize)]
pub struct IceServer {
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

/// An answer, with its fields in the order in which people read them.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Configuration of an RTCPeerConnection.
    IceServers {
        /// The servers.
        #[serde(rename = "iceServers")]
        ice_servers: Vec<IceServer>,
    },
    /// Answer of another service.
    Other(Value),
}

/// An offer in its form.
#[derive(Debug, PartialEq)]
pub enum Shown {
    /// JSON.
    Json(Answer),
    /// Lines of text.
    Text(String),
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(answer) => {
                let json = serde_json::to_string_pretty(answer).map_err(|_| fmt::Error)?;
                f.write_str(&json)
            }
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Offer {
    /// The offer in this form.
    pub fn show(&self, format: Format) -> Result<Shown, Problem> {
        Ok(match format {
            Format::IceServers => Shown::Json(Answer::IceServers {
                ice_servers: vec![self.ice_server(&self.places)],
            }),
            Format::Rest => Shown::Json(Answer::Other(self.rest())),
            Format::Twilio => Shown::Json(Answer::Other(self.twilio())),
            Format::Cloudflare => Shown::Json(Answer::IceServers {
                ice_servers: self.cloudflare(),
            }),
            Format::WhipLink => Shown::Text(self.whip_link()),
            Format::Prosody => Shown::Text(self.prosody()),
            Format::Ejabberd => Shown::Text(self.ejabberd()?),
            Format::Livekit => Shown::Text(self.livekit()),
            Format::Nextcloud => Shown::Text(self.nextcloud()?),
            Format::Synapse => Shown::Text(self.synapse()),
        })
    }

    fn login(&self) -> Option<&Login> {
        match &self.access {
            Access::Login(login) => Some(login),
            Access::Free | Access::Secret(_) => None,
        }
    }

    /// The secret, for an application that knows nothing else.
    fn secret(&self, application: &str) -> Result<&str, Problem> {
        match &self.access {
            Access::Secret(secret) => Ok(secret.reveal()),
            Access::Free | Access::Login(_) => Err(Problem::new(
                format!(
                    "{application} makes credentials of a secret, which the server does not give out and static users do not have"
                ),
                "set static-auth-secret, and run `turnd credentials` on the server",
            )),
        }
    }

    fn turn(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| place.scheme.is_turn())
    }

    /// One entry of `iceServers` with these places.
    fn ice_server<'a>(&self, places: impl IntoIterator<Item = &'a Place>) -> IceServer {
        let login = self.login();
        IceServer {
            urls: places.into_iter().map(ToString::to_string).collect(),
            username: login.map(|login| login.name.clone()),
            credential: login.map(|login| login.password.clone()),
        }
    }

    fn rest(&self) -> Value {
        let uris: Vec<_> = self.turn().map(ToString::to_string).collect();
        let mut answer = json!({ "ttl": self.ttl.as_secs(), "uris": uris });
        if let Some(login) = self.login() {
            answer["username"] = json!(login.name);
            answer["password"] = json!(login.password);
        }
        answer
    }

    fn twilio(&self) -> Value {
        let server = |place: &Place| {
            let url = place.to_string();
            let mut server = json!({ "url": url, "urls": url });
            if let Some(login) = self.login().filter(|_| place.scheme.is_turn()) {
                server["username"] = json!(login.name);
                server["credential"] = json!(login.password);
            }
            server
        };
        let servers: Vec<_> = self.places.iter().map(server).collect();
        let date = rfc2822(self.now);
        let mut token = json!({
            // A SID's form; turnd has no accounts.
            "account_sid": format!("AC{:032}", 0),
            "date_created": date,
            "date_updated": date,
            "ttl": self.ttl.as_secs().to_string(),
            "ice_servers": servers,
        });
        if let Some(login) = self.login() {
            token["username"] = json!(login.name);
            token["password"] = json!(login.password);
        }
        token
    }

    fn cloudflare(&self) -> Vec<IceServer> {
        let stun = self.places.iter().filter(|place| !place.scheme.is_turn());
        let mut servers = vec![IceServer {
            urls: stun.map(ToString::to_string).collect(),
            username: None,
            credential: None,
        }];
        if self.turn().next().is_some() {
            servers.push(self.ice_server(self.turn()));
        }
        servers
    }

    fn whip_link(&self) -> String {
        let line = |place: &Place| {
            let line = format!("Link: <{place}>; rel=\"ice-server\"");
            match self.login().filter(|_| place.scheme.is_turn()) {
                Some(login) => format!(
                    "{line}; username={}; credential={}; credential-type=\"password\"",
                    quoted(&login.name),
                    quoted(&login.password)
                ),
                None => line,
            }
        };
        lines(self.places.iter().map(line))
    }

    fn prosody(&self) -> String {
        let mut text = String::new();
        let access = match &self.access {
            Access::Free => String::new(),
            Access::Login(login) => format!(
                ", username = {}, password = {}",
                lua(&login.name),
                lua(&login.password)
            ),
            Access::Secret(secret) => {
                text += &format!("external_service_secret = {}\n", lua(secret.reveal()));
                let ttl = self.ttl.as_secs();
                format!(", secret = true, ttl = {ttl}, algorithm = \"turn\"")
            }
        };
        text += "external_services = {\n";
        for place in &self.places {
            let access = if place.scheme.is_turn() { &*access } else { "" };
            text += &format!(
                "  {{ type = \"{}\", transport = \"{}\", host = {}, port = {}{access} }};\n",
                place.scheme.name(),
                place.transport(),
                lua(bare(&place.host)),
                place.port
            );
        }
        text + "}"
    }

    fn ejabberd(&self) -> Result<String, Problem> {
        let secret = self.secret("ejabberd")?;
        let head = format!(
            "modules:\n  mod_stun_disco:\n    secret: {}\n    offer_local_services: false\n    credentials_lifetime: {}\n    services:",
            json!(secret),
            self.ttl.as_secs()
        );
        let service = |place: &Place| {
            format!(
                "      - {{ host: {}, port: {}, type: {}, transport: {}, restricted: {} }}",
                json!(bare(&place.host)),
                place.port,
                place.scheme.name(),
                place.transport(),
                place.scheme.is_turn()
            )
        };
        let services = self.places.iter().map(service);
        Ok(lines(std::iter::once(head).chain(services)))
    }

    fn livekit(&self) -> String {
        let access = match &self.access {
            Access::Free => String::new(),
            Access::Login(login) => format!(
                ", username: {}, credential: {}",
                json!(login.name),
                json!(login.password)
            ),
            Access::Secret(secret) => format!(
                ", secret: {}, ttl: {}",
                json!(secret.reveal()),
                self.ttl.as_secs()
            ),
        };
        let server = |place: &Place| {
            let protocol = if place.scheme.is_secure() {
                "tls"
            } else {
                place.transport()
            };
            format!(
                "    - {{ host: {}, port: {}, protocol: {protocol}{access} }}",
                json!(bare(&place.host)),
                place.port
            )
        };
        let head = "rtc:\n  turn_servers:".to_owned();
        lines(std::iter::once(head).chain(self.turn().map(server)))
    }

    fn nextcloud(&self) -> Result<String, Problem> {
        let secret = self.secret("Nextcloud Talk")?;
        let secret = shlex::try_quote(secret).map_err(|error| {
            Problem::new(
                format!("the secret cannot stand in a command: {error}"),
                "choose another",
            )
        })?;
        let mut commands = Vec::new();
        let mut entries: Vec<(Scheme, String, Vec<&str>)> = Vec::new();
        for place in &self.places {
            let at = format!("{}:{}", place.host, place.port);
            if !place.scheme.is_turn() {
                commands.push(format!("occ talk:stun:add {at}"));
                continue;
            }
            let same = entries
                .iter_mut()
                .find(|(scheme, host, _)| (*scheme, host) == (place.scheme, &at));
            match same {
                Some((_, _, transports)) => transports.push(place.transport()),
                None => entries.push((place.scheme, at, vec![place.transport()])),
            }
        }
        for (scheme, at, transports) in entries {
            commands.push(format!(
                "occ talk:turn:add {} {at} {} --secret={secret}",
                scheme.name(),
                transports.join(",")
            ));
        }
        Ok(lines(commands))
    }

    fn synapse(&self) -> String {
        let mut text = vec!["turn_uris:".to_owned()];
        text.extend(self.turn().map(|place| format!("  - \"{place}\"")));
        match &self.access {
            Access::Free => {}
            Access::Login(login) => {
                text.push(format!("turn_username: {}", json!(login.name)));
                text.push(format!("turn_password: {}", json!(login.password)));
            }
            Access::Secret(secret) => {
                text.push(format!("turn_shared_secret: {}", json!(secret.reveal())));
                text.push(format!("turn_user_lifetime: {}", self.ttl.as_millis()));
            }
        }
        lines(text)
    }
}

fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

/// A host without the brackets that an IPv6 address has in a URI.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// A quoted-string (RFC 9110 §5.6.4).
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    format!("\"{}\"", visible.collect::<String>())
}

/// A string of Lua.
fn lua(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_ascii_control() => quoted += &format!("\\{:03}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// A date as mail has it (RFC 5322 §3.3).
fn rfc2822(unix: Duration) -> String {
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (weekday, month) = (time.weekday().to_string(), time.month().to_string());
    let (hour, minute, second) = time.to_hms();
    format!(
        "{:.3}, {:02} {:.3} {} {hour:02}:{minute:02}:{second:02} +0000",
        weekday,
        time.day(),
        month,
        time.year()
    )
}

#[cfg(test)]
mod tests {
    use super::super::places::places;
    use super::*;
    use crate::config::Config;

    fn offer(access: Access) -> Offer {
        let config = Config::from_toml("no-auth = true").unwrap();
        let hosts = [
            "turn.example.org",
            "turns:turn.example.org:443?transport=tcp",
        ];
        Offer {
            places: places(&config, &hosts).unwrap(),
            access,
            ttl: Duration::from_secs(3600),
            now: Duration::from_secs(1_588_297_377),
        }
    }

    fn of_login(format: Format) -> Shown {
        let login = Login {
            name: "1588300977:a\"b".to_owned(),
            password: "p=/+".to_owned(),
        };
        offer(Access::Login(login)).show(format).unwrap()
    }

    fn json_of_login(format: Format) -> Value {
        match of_login(format) {
            Shown::Json(answer) => serde_json::to_value(answer).unwrap(),
            Shown::Text(text) => panic!("{text}"),
        }
    }

    fn of_secret(format: Format) -> String {
        match offer(Access::Secret(Secret::new("it's \"s\""))).show(format) {
            Ok(Shown::Text(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    const UDP: &str = "turn:turn.example.org:3478?transport=udp";
    const TCP: &str = "turn:turn.example.org:3478?transport=tcp";
    const TLS: &str = "turns:turn.example.org:443?transport=tcp";
    const STUN: &str = "stun:turn.example.org:3478";
    const NAME: &str = "1588300977:a\"b";

    #[test]
    fn answers_of_others() {
        assert_eq!(
            json_of_login(Format::Rest),
            json!({"username": NAME, "password": "p=/+", "ttl": 3600, "uris": [UDP, TCP, TLS]})
        );
        assert_eq!(
            json_of_login(Format::Cloudflare),
            json!({"iceServers": [
                {"urls": [STUN]},
                {"urls": [UDP, TCP, TLS], "username": NAME, "credential": "p=/+"},
            ]})
        );
        let token = json_of_login(Format::Twilio);
        assert_eq!(token["date_created"], "Fri, 01 May 2020 01:42:57 +0000");
        assert_eq!(
            (&token["ttl"], &token["password"]),
            (&json!("3600"), &json!("p=/+"))
        );
        assert_eq!(token["account_sid"].as_str().unwrap().len(), 34);
        assert_eq!(token["ice_servers"][0], json!({"url": STUN, "urls": STUN}));
        assert_eq!(
            token["ice_servers"][3],
            json!({"url": TLS, "urls": TLS, "username": NAME, "credential": "p=/+"})
        );
        let Shown::Text(links) = of_login(Format::WhipLink) else {
            panic!()
        };
        let links: Vec<_> = links.lines().collect();
        assert_eq!(links[0], format!("Link: <{STUN}>; rel=\"ice-server\""));
        assert_eq!(
            links[3],
            format!(
                "Link: <{TLS}>; rel=\"ice-server\"; username=\"1588300977:a\\\"b\"; credential=\"p=/+\"; credential-type=\"password\""
            )
        );
    }

    #[test]
    fn configurations_with_the_secret() {
        let prosody = of_secret(Format::Prosody);
        assert!(
            prosody.starts_with("external_service_secret = \"it's \\\"s\\\"\"\n"),
            "{prosody}"
        );
        assert!(
            prosody.contains(
                "{ type = \"turns\", transport = \"tcp\", host = \"turn.example.org\", port = 443, secret = true, ttl = 3600, algorithm = \"turn\" };"
            ),
            "{prosody}"
        );
        assert!(
            prosody.contains("{ type = \"stun\", transport = \"udp\", host = \"turn.example.org\", port = 3478 };"),
            "{prosody}"
        );
        let ejabberd = of_secret(Format::Ejabberd);
        assert!(
            ejabberd.ends_with(
                "      - { host: \"turn.example.org\", port: 443, type: turns, transport: tcp, restricted: true }"
            ),
            "{ejabberd}"
        );
        let livekit = of_secret(Format::Livekit);
        assert!(
            livekit.ends_with(
                "    - { host: \"turn.example.org\", port: 443, protocol: tls, secret: \"it's \\\"s\\\"\", ttl: 3600 }"
            ),
            "{livekit}"
        );
        assert_eq!(
            of_secret(Format::Nextcloud).lines().collect::<Vec<_>>(),
            [
                "occ talk:stun:add turn.example.org:3478",
                "occ talk:turn:add turn turn.example.org:3478 udp,tcp --secret=\"it's \\\"s\\\"\"",
                "occ talk:turn:add turns turn.example.org:443 tcp --secret=\"it's \\\"s\\\"\"",
            ]
        );
        let synapse = of_secret(Format::Synapse);
        assert!(
            synapse.ends_with("turn_user_lifetime: 3600000"),
            "{synapse}"
        );
    }

    #[test]
    fn configurations_with_a_user() {
        for (format, part) in [
            (
                Format::Prosody,
                "username = \"1588300977:a\\\"b\", password = \"p=/+\" };",
            ),
            (
                Format::Livekit,
                "username: \"1588300977:a\\\"b\", credential: \"p=/+\" }",
            ),
            (Format::Synapse, "turn_password: \"p=/+\""),
        ] {
            let Shown::Text(text) = of_login(format) else {
                panic!()
            };
            assert!(text.contains(part), "{text}");
        }
        let free = offer(Access::Free);
        for format in [Format::Ejabberd, Format::Nextcloud] {
            let problem = free.show(format).unwrap_err().to_string();
            assert!(problem.contains("set static-auth-secret"), "{problem}");
        }
    }
}
