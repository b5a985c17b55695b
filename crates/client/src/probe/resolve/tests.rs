use super::*;

/// The records of RFC 5928's figures.
#[derive(Default)]
struct Zone {
    a: Vec<(&'static str, &'static str)>,
    srv: Vec<(&'static str, u16, u16, &'static str)>,
    naptr: Vec<(&'static str, u16, &'static str, &'static str, &'static str)>,
}

impl Dns for Zone {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let found: Vec<IpAddr> = (self.a.iter())
            .filter(|(name, _)| *name == host)
            .map(|(_, ip)| ip.parse().unwrap())
            .collect();
        if found.is_empty() {
            return Err("no such name".to_owned());
        }
        Ok(found)
    }

    async fn srv(&self, name: &str) -> Vec<Srv> {
        let records = self.srv.iter().filter(|(owner, ..)| *owner == name);
        records
            .map(|(_, priority, port, target)| Srv {
                priority: *priority,
                weight: 0,
                port: *port,
                target: (*target).to_owned(),
            })
            .collect()
    }

    async fn naptr(&self, name: &str) -> Vec<Naptr> {
        let records = self.naptr.iter().filter(|(owner, ..)| *owner == name);
        records
            .map(|(_, order, flags, services, replacement)| Naptr {
                order: *order,
                preference: 10,
                flags: (*flags).to_owned(),
                services: (*services).to_owned(),
                replacement: (*replacement).to_owned(),
            })
            .collect()
    }
}

fn figures() -> Zone {
    Zone {
        a: vec![("a.example.net", "192.0.2.1")],
        srv: vec![
            ("_turn._udp.example.net", 0, 3478, "a.example.net."),
            ("_turn._tcp.example.net", 0, 5000, "a.example.net."),
        ],
        naptr: vec![
            (
                "example.net",
                100,
                "",
                "RELAY:turn.udp",
                "datagram.example.net.",
            ),
            (
                "example.net",
                200,
                "",
                "RELAY:turn.tcp:turn.tls",
                "stream.example.net.",
            ),
            (
                "datagram.example.net",
                100,
                "S",
                "RELAY:turn.udp",
                "_turn._udp.example.net.",
            ),
            (
                "stream.example.net",
                100,
                "S",
                "RELAY:turn.tcp",
                "_turn._tcp.example.net.",
            ),
            (
                "stream.example.net",
                200,
                "A",
                "RELAY:turn.tls",
                "a.example.net.",
            ),
            (
                "example.com",
                100,
                "",
                "RELAY:turn.udp:turn.tcp:turn.tls",
                "example.net.",
            ),
        ],
    }
}

async fn targets(uri: &str, zone: &Zone) -> Vec<String> {
    let uri: Uri = uri.parse().unwrap();
    let resolved = resolve(&uri, zone).await;
    let show = |t: &Target| {
        let browser = if t.browser { " browser" } else { "" };
        format!("{} {}{browser}", t.transport.name(), t.addr)
    };
    resolved.targets.iter().map(show).collect()
}

#[tokio::test]
async fn figures_1_and_2_of_rfc_5928() {
    let zone = figures();
    let table_2 = [
        "UDP 192.0.2.1:3478",
        "TCP 192.0.2.1:5000",
        "TLS 192.0.2.1:5349",
    ];
    assert_eq!(targets("turn:example.net", &zone).await, table_2);
    assert_eq!(targets("turn:example.com", &zone).await, table_2);
    let failure = resolve(&"turn:example.net".parse().unwrap(), &zone)
        .await
        .failure;
    assert_eq!(failure.unwrap(), "no such name");
}

#[tokio::test]
async fn figure_3_of_rfc_5928() {
    let zone = Zone {
        naptr: Vec::new(),
        srv: vec![
            ("_turn._udp.example.com", 0, 3478, "a.example.net"),
            ("_turn._tcp.example.com", 0, 5000, "a.example.net"),
            ("_turns._tcp.example.com", 0, 5349, "a.example.net"),
            ("_stun._udp.example.com", 5, 3479, "a.example.net"),
            ("_stun._udp.example.com", 1, 3478, "a.example.net"),
        ],
        ..figures()
    };
    for (uri, expected) in [
        (
            "turn:example.com",
            vec!["UDP 192.0.2.1:3478", "TCP 192.0.2.1:5000"],
        ),
        ("turn:example.com?transport=tcp", vec!["TCP 192.0.2.1:5000"]),
        ("turns:example.com", vec!["TLS 192.0.2.1:5349"]),
        (
            "stun:example.com",
            vec!["UDP 192.0.2.1:3478", "UDP 192.0.2.1:3479"],
        ),
        ("turn:example.com:99", vec![]),
    ] {
        assert_eq!(targets(uri, &zone).await, expected, "{uri}");
    }
}

#[tokio::test]
async fn browsers_take_addresses_and_default_ports() {
    let zone = figures();
    for (uri, expected) in [
        ("turn:a.example.net", "UDP 192.0.2.1:3478 browser"),
        (
            "turn:a.example.net:99?transport=tcp",
            "TCP 192.0.2.1:99 browser",
        ),
        ("turns:a.example.net", "TLS 192.0.2.1:5349 browser"),
        ("turn:[2001:db8::1]", "UDP [2001:db8::1]:3478 browser"),
    ] {
        assert_eq!(targets(uri, &zone).await, [expected], "{uri}");
    }
    assert!(
        targets("turns:192.0.2.1?transport=udp", &zone)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn records_that_lead_in_circles_end() {
    let zone = Zone {
        naptr: vec![("x.org", 1, "", "RELAY:turn.udp", "x.org")],
        ..Zone::default()
    };
    assert!(targets("turn:x.org", &zone).await.is_empty());
}
