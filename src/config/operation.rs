//! Checks of the keys about other servers, draining and the admin listener.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::credentials::secret;
use super::error::shown;
use super::file::FileConfig;
use super::problems::Problems;
use super::values::{on, seconds};
use super::weak::check_secret;
use super::{AdminAddr, AdminListen, Operation};
use turnd_proto::server::settings::{AlternateServers, Listen};

/// The ports of a server that is named without one (RFC 8656 §5).
const STUN_PORT: u16 = 3478;
const STUNS_PORT: u16 = 5349;

pub(super) fn check_operation(file: &FileConfig, problems: &mut Problems<'_>) -> Operation {
    let admin_token = secret(
        "admin-token",
        file.admin_token.as_ref(),
        file.admin_token_file.as_deref(),
        problems,
    );
    if let Some(token) = &admin_token {
        check_secret("admin-token", token, problems);
    }
    let timeout = file.drain_timeout.filter(|seconds| *seconds > 0);
    Operation {
        drain_timeout: timeout.map(|seconds| Duration::from_secs(seconds.into())),
        admin: match &file.admin_listen {
            Some(texts) => AdminListen::At(admin_listen(texts, admin_token.is_some(), problems)),
            None => AdminListen::Default,
        },
        admin_token,
        max_credential_ttl: seconds(
            "max-credential-ttl",
            file.max_credential_ttl,
            1..=u32::MAX,
            problems,
        ),
        reload_on_change: on(file.reload_on_change),
    }
}

pub(super) fn check_alternate_servers(
    file: &FileConfig,
    listen: &Listen,
    problems: &mut Problems<'_>,
) -> AlternateServers {
    let mut servers = |key, texts: &Option<Vec<String>>, port| {
        servers(key, texts.as_deref().unwrap_or_default(), port, problems)
    };
    let servers = AlternateServers {
        any: servers("alternate-server", &file.alternate_server, STUN_PORT),
        tls: servers(
            "tls-alternate-server",
            &file.tls_alternate_server,
            STUNS_PORT,
        ),
        drain: servers(
            "drain-alternate-server",
            &file.drain_alternate_server,
            STUN_PORT,
        ),
    };
    let own = |server: &&SocketAddr| {
        listen.ips.contains(&server.ip())
            && listen.ports(server.ip()).any(|port| port == server.port())
    };
    for (key, list) in [
        ("alternate-server", &servers.any),
        ("tls-alternate-server", &servers.tls),
    ] {
        if let Some(own) = list.iter().find(own) {
            problems.warn([format!(
                "{key}: {own} is this server's own address: clients that reach it there are served here, and not sent on"
            )]);
        }
    }
    servers
}

fn servers(key: &str, texts: &[String], port: u16, problems: &mut Problems<'_>) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let with_port = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
        match text.parse().or_else(|_| with_port()) {
            Ok(server) => servers.push(server),
            Err(_) => {
                let problem = format!("{} is not an address", shown(text));
                let remedy =
                    "write an IP address, with a port as 192.0.2.1:3478 or [2001:db8::1]:3478";
                problems.wrong(key, Some(n), problem, remedy);
            }
        }
    }
    servers
}

fn admin_listen(texts: &[String], has_token: bool, problems: &mut Problems<'_>) -> Vec<AdminAddr> {
    let mut places = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let place = if text.starts_with('/') {
            AdminAddr::Unix(text.into())
        } else if let Ok(addr) = text.parse::<SocketAddr>() {
            if !addr.ip().is_loopback() && !has_token {
                let problem = format!("{addr} can be reached from other machines");
                problems.wrong("admin-listen", Some(n), problem, "set admin-token as well");
            }
            AdminAddr::Tcp(addr)
        } else {
            let problem = format!("{} is no place to listen", shown(text));
            let remedy =
                "write \"127.0.0.1:9641\", or the path of a unix socket, which begins with /";
            problems.wrong("admin-listen", Some(n), problem, remedy);
            continue;
        };
        places.push(place);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn operation(text: &str) -> Result<Operation, String> {
        Config::from_toml(&format!("no-auth = true\n{text}"))
            .map(|config| config.operation)
            .map_err(|errors| errors.iter().map(|error| format!("{error}\n")).collect())
    }

    #[test]
    fn addresses_are_read() {
        let text = "alternate-server = ['192.0.2.1', '[2001:db8::1]:443']\n\
                    tls-alternate-server = '2001:db8::1'\n\
                    drain-alternate-server = '192.0.2.3'\n\
                    admin-listen = ['127.0.0.1:1', '/run/x.sock']\ndrain-timeout = 60";
        let read = Config::from_toml(&format!("no-auth = true\n{text}")).unwrap();
        let servers = &read.server.alternate_servers;
        let shown = [&servers.any, &servers.tls, &servers.drain].map(|list| format!("{list:?}"));
        assert_eq!(
            shown,
            [
                "[192.0.2.1:3478, [2001:db8::1]:443]",
                "[[2001:db8::1]:5349]",
                "[192.0.2.3:3478]"
            ]
        );
        let read = read.operation;
        let places = ["127.0.0.1:1", "/run/x.sock"];
        match read.admin {
            AdminListen::At(at) => assert_eq!(
                at.iter().map(ToString::to_string).collect::<Vec<_>>(),
                places
            ),
            AdminListen::Default => panic!("given"),
        }
        assert_eq!(read.drain_timeout, Some(Duration::from_secs(60)));
        assert_eq!(operation("").unwrap().admin, AdminListen::Default);
    }

    #[test]
    fn a_server_that_lists_itself_is_told_that_it_sends_nobody_on() {
        let warnings = |list: &str| {
            let text = format!(
                "no-auth = true\nlistening-ip = '192.0.2.1'\nlistening-port = 3479\nalternate-server = {list}"
            );
            crate::config::warnings(&text).unwrap().join("\n")
        };
        let told = warnings("['192.0.2.2', '192.0.2.1:3479']");
        assert!(
            told.contains("alternate-server: 192.0.2.1:3479 is this server's own address"),
            "{told}"
        );
        assert!(!warnings("'192.0.2.1'").contains("own address"));
    }

    #[test]
    fn an_open_admin_listener_needs_a_token() {
        assert_eq!(
            operation("admin-listen = '0.0.0.0:9641'").unwrap_err(),
            "turnd.toml:2: admin-listen: 0.0.0.0:9641 can be reached from other machines; set admin-token as well\n"
        );
        assert!(operation("admin-listen = '0.0.0.0:9641'\nadmin-token = 'x'").is_ok());
        assert_eq!(
            operation("admin-token = ''").unwrap_err(),
            "turnd.toml:2: admin-token: is empty; write a long random text, or leave it out\n"
        );
    }

    #[test]
    fn credentials_are_good_for_a_day_at_the_most_unless_it_says_so() {
        let day = Duration::from_secs(86_400);
        assert_eq!(operation("").unwrap().max_credential_ttl, day);
        let most = operation("max-credential-ttl = 4294967295").unwrap();
        assert_eq!(most.max_credential_ttl, Duration::from_secs(4_294_967_295));
        assert_eq!(
            operation("max-credential-ttl = 0").unwrap_err(),
            "turnd.toml:2: max-credential-ttl: 0 is below 1; write 1 or more\n"
        );
    }

    #[test]
    fn what_is_no_address_is_told() {
        assert_eq!(
            operation("alternate-server = 'turn.example.org'").unwrap_err(),
            "turnd.toml:2: alternate-server: \"turn.example.org\" is not an address; write an IP address, with a port as 192.0.2.1:3478 or [2001:db8::1]:3478\n"
        );
        let told = operation("tls-alternate-server = ['192.0.2.1', 'x']").unwrap_err();
        assert!(
            told.starts_with("turnd.toml:2: tls-alternate-server: \"x\" is not an address;"),
            "{told}"
        );
        assert_eq!(
            operation("admin-listen = 'localhost'").unwrap_err(),
            "turnd.toml:2: admin-listen: \"localhost\" is no place to listen; write \"127.0.0.1:9641\", or the path of a unix socket, which begins with /\n"
        );
    }
}
