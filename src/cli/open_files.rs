//! Limit on open files: each relayed address is a socket.

use rlimit::Resource;

use crate::config::Config;

/// Files besides relay sockets: listening sockets of every worker, logs, timers.
const OTHERS: u64 = 256;

/// Most files that the configuration can need.
fn needed(config: &Config) -> u64 {
    let ports = u64::from(
        config
            .server
            .relay
            .max_port
            .saturating_sub(config.server.relay.min_port),
    ) + 1;
    let addresses = config.server.relay.ips.len().max(1) as u64;
    let sockets = match config.server.limits.total_quota {
        _ if config.server.protocol.stun_only => 0,
        // An allocation has up to two addresses (RFC 8656 §7), or holds one in reserve.
        Some(quota) => (ports * addresses).min(2 * u64::from(quota)),
        None => ports * addresses,
    };
    sockets + streams(config, sockets) + OTHERS + 16 * config.workers.get() as u64
}

/// Connections: one beside each relayed address, and those that have none yet.
fn streams(config: &Config, sockets: u64) -> u64 {
    if config.transports.tcp || config.transports.tls {
        sockets + u64::from(config.transports.unallocated.clients)
    } else {
        0
    }
}

/// Raises the limit as far as is needed; says what to do if it cannot be.
pub(super) fn raise(config: &Config) -> Option<String> {
    let needed = needed(config);
    let (soft, hard) = Resource::NOFILE.get().ok()?;
    if soft >= needed {
        return None;
    }
    // Only root may raise the hard limit.
    if hard < needed && Resource::NOFILE.set(needed, needed).is_ok() {
        return None;
    }
    let _ = Resource::NOFILE.set(hard.min(needed), hard);
    let (now, _) = Resource::NOFILE.get().ok()?;
    (now < needed).then(|| advice(config, now, needed))
}

fn advice(config: &Config, now: u64, needed: u64) -> String {
    format!(
        "this process may open {now} files, but relay ports {} to {} and their connections need {needed}; \
         raise it (systemd: LimitNOFILE={needed}, shell: ulimit -n {needed}), \
         set total-quota, lower max-idle-streams, or narrow min-port and max-port",
        config.server.relay.min_port, config.server.relay.max_port
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_the_whole_port_range() {
        let needed = |text: &str| {
            needed(
                &Config::from_toml(&format!("relay-threads = 1\nno-tcp = true\n{text}")).unwrap(),
            )
        };
        assert_eq!(needed("no-auth = true"), 16384 + 272);
        assert_eq!(needed("no-auth = true\nmin-port = 65535"), 1 + 272);
        assert_eq!(
            needed("no-auth = true\nrelay-ip = ['192.0.2.1', '2001:db8::1']"),
            2 * 16384 + 272
        );
        assert_eq!(needed("no-auth = true\ntotal-quota = 100"), 200 + 272);
        assert_eq!(needed("stun-only = true"), 272);
        let text = "no-auth = true\nrelay-threads = 1\ntotal-quota = 100\nmax-idle-streams = 50";
        let with_streams = Config::from_toml(text).unwrap();
        assert_eq!(super::needed(&with_streams), 200 + 200 + 50 + 272);
    }

    #[test]
    fn advice_names_the_number() {
        let config = Config::from_toml("no-auth = true").unwrap();
        assert_eq!(
            advice(&config, 1024, 17000),
            "this process may open 1024 files, but relay ports 49152 to 65535 and their connections need 17000; \
             raise it (systemd: LimitNOFILE=17000, shell: ulimit -n 17000), \
             set total-quota, lower max-idle-streams, or narrow min-port and max-port"
        );
    }
}
