//! Credentials, and the places where they are good, for browsers and for applications that have browsers.

mod formats;
mod places;

use std::time::Duration;

use turnd_proto::auth::rest;
use turnd_proto::auth::{Credential, Settings};

pub use self::formats::{Access, Answer, Format, IceServer, Offer, Shown};
pub use self::places::{Place, doubt, places};
use crate::config::Secret;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(text: &str) -> Config {
        Config::from_toml(text).unwrap()
    }

    fn json(config: &Config, host: Option<&str>, name: Option<&str>) -> serde_json::Value {
        let login = login(&config.auth, name, Duration::from_secs(1_700_000_000)).unwrap();
        ice_servers(config, host, Access::Login(login))
    }

    fn ice_servers(config: &Config, host: Option<&str>, access: Access) -> serde_json::Value {
        let offer = Offer {
            places: places(config, host.as_slice()).unwrap(),
            access,
            ttl: Duration::from_secs(60),
            now: Duration::ZERO,
        };
        match offer.show(Format::IceServers).unwrap() {
            Shown::Json(answer) => serde_json::to_value(answer).unwrap(),
            Shown::Text(text) => panic!("{text}"),
        }
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
        let json = ice_servers(&only, Some("h"), Access::Free);
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
        let stun = ice_servers(&config("stun-only = true"), None, Access::Free);
        let expected = serde_json::json!({"iceServers": [{"urls": ["stun:127.0.0.1:3478"]}]});
        assert_eq!(stun, expected);
    }
}
