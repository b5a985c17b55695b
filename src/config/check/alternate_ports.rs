//! `rfc5780` and its ports.

use crate::config::file::FileConfig;
use crate::config::problems::Problems;
use crate::config::values::{on, port};
use turnd_proto::server::settings::{AlternatePorts, Listen};

const ADDRESSES: &str =
    "name two addresses of this machine of one family in listening-ip, neither of them a wildcard";

/// Reads the other ports of RFC 5780 §6, and writes them into `file` too.
pub(super) fn check_alternate_ports(
    file: &mut FileConfig,
    listen: &Listen,
    problems: &mut Problems<'_>,
) -> Option<AlternatePorts> {
    if !on(file.rfc5780) {
        for (key, port) in [
            ("alt-listening-port", file.alt_listening_port),
            ("alt-tls-listening-port", file.alt_tls_listening_port),
        ] {
            if port.is_some() {
                problems.warn([format!("{key}: has no effect without rfc5780")]);
            }
        }
        return None;
    }
    let broken = ["listening-ip", "listening-port", "tls-listening-port"];
    if broken.iter().any(|key| problems.is_wrong(key)) {
        return None;
    }
    let wildcard = listen.ips.iter().any(|ip| ip.is_unspecified());
    if wildcard || (listen.pair(false).is_none() && listen.pair(true).is_none()) {
        let problem = "needs a second address to answer from";
        problems.wrong("rfc5780", None, problem, ADDRESSES);
        return None;
    }
    file.alt_listening_port = Some(next(
        "alt-listening-port",
        file.alt_listening_port,
        listen.port,
        problems,
    ));
    file.alt_tls_listening_port = Some(next(
        "alt-tls-listening-port",
        file.alt_tls_listening_port,
        listen.tls_port,
        problems,
    ));
    let ports = AlternatePorts {
        port: port("alt-listening-port", file.alt_listening_port, problems),
        tls_port: port(
            "alt-tls-listening-port",
            file.alt_tls_listening_port,
            problems,
        ),
    };
    let mut taken = vec![
        ("listening-port", listen.port),
        ("tls-listening-port", listen.tls_port),
    ];
    for (key, port) in [
        ("alt-listening-port", ports.port),
        ("alt-tls-listening-port", ports.tls_port),
    ] {
        if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == port) {
            let problem = format!("{port} is also {other}");
            problems.wrong(key, None, problem, format!("give {key} a port of its own"));
        }
        taken.push((key, port));
    }
    Some(ports)
}

/// The port that was given, or the one after `port`.
fn next(key: &str, given: Option<u16>, port: u16, problems: &mut Problems<'_>) -> u16 {
    given.unwrap_or_else(|| {
        port.checked_add(1).unwrap_or_else(|| {
            let problem = format!("there is no port after {port}");
            problems.wrong(key, None, problem, format!("give {key}"));
            port
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const TWO: &str = "listening-ip = ['192.0.2.1', '192.0.2.2']\nrfc5780 = true\nno-auth = true\n";

    fn ports(text: &str) -> Option<AlternatePorts> {
        let config = Config::from_toml(&format!("{TWO}{text}")).unwrap();
        config.listen.alternate_ports
    }

    fn errors(text: &str) -> String {
        let errors = Config::from_toml(text).unwrap_err();
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_next_ports_are_the_other_ones() {
        let both = |port, tls_port| Some(AlternatePorts { port, tls_port });
        assert_eq!(ports(""), both(3479, 5350));
        assert_eq!(ports("listening-port = 4000"), both(4001, 5350));
        assert_eq!(
            ports("alt-listening-port = 7000\nalt-tls-listening-port = 7001"),
            both(7000, 7001)
        );
    }

    #[test]
    fn only_pairs_listen_on_the_other_ports() {
        let text = TWO.replace("'192.0.2.2'", "'192.0.2.2', '192.0.2.3', '2001:db8::1'");
        let listen = Config::from_toml(&text).unwrap().listen;
        let ports = |n: usize| listen.ports(listen.ips[n]).collect::<Vec<_>>();
        assert_eq!(ports(0), [3478, 5349, 3479, 5350]);
        assert_eq!(ports(1), [3478, 5349, 3479, 5350]);
        assert_eq!(ports(2), [3478, 5349]);
        assert_eq!(ports(3), [3478, 5349]);
    }

    #[test]
    fn one_address_of_each_family_is_not_enough() {
        for ips in [
            "",
            "listening-ip = ['192.0.2.1', '2001:db8::1']",
            "listening-ip = ['0.0.0.0', '192.0.2.1']",
        ] {
            let errors = errors(&format!("rfc5780 = true\nno-auth = true\n{ips}"));
            let expected = format!("rfc5780: needs a second address to answer from; {ADDRESSES}");
            assert_eq!(errors, format!("turnd.toml:1: {expected}"));
        }
    }

    #[test]
    fn ports_that_are_taken() {
        for (text, message) in [
            (
                "alt-listening-port = 5349",
                "alt-listening-port: 5349 is also tls-listening-port; give alt-listening-port a port of its own",
            ),
            (
                "tls-listening-port = 3479",
                "alt-listening-port: 3479 is also tls-listening-port; give alt-listening-port a port of its own",
            ),
            (
                "tls-listening-port = 65535\nmax-port = 65000",
                "alt-tls-listening-port: there is no port after 65535; give alt-tls-listening-port",
            ),
            (
                "alt-listening-port = 50000",
                "alt-listening-port: 50000 is one of the relay ports 49152 to 65535; \
                 change alt-listening-port, min-port or max-port",
            ),
        ] {
            let found = errors(&format!("{TWO}{text}"));
            assert!(found.contains(message), "{found}");
        }
    }

    #[test]
    fn without_the_key_the_ports_do_nothing() {
        let text = "no-auth = true\nalt-listening-port = 3478";
        assert_eq!(
            Config::from_toml(text).unwrap().listen.alternate_ports,
            None
        );
    }
}
