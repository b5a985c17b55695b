use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;

/// Time limit of a question that is answered.
const LONG: Duration = Duration::from_secs(20);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn tied(public: &str, local: &str) -> Pair {
    Pair::tied(ip(public), local).unwrap()
}

/// A service that is given each request's head, and what it writes for it.
fn service(answer: impl Fn(&str, TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                answer(&String::from_utf8(head).unwrap().to_lowercase(), stream);
            });
        }
    });
    address
}

/// A service with these pages: the beginning of a request line, a header that must be there, and the
/// text.
fn pages(pages: &'static [(&str, &str, &str)]) -> SocketAddr {
    service(|head, mut stream| {
        let known = pages.iter().find(|(line, header, _)| {
            head.starts_with(&format!("{} ", line.to_lowercase()))
                && head.contains(&header.to_lowercase())
        });
        let (status, text) = known.map_or(("404 Not Found", ""), |(.., text)| ("200 OK", text));
        let length = text.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{text}"
        );
    })
}

fn asked(service: SocketAddr, limit: Duration) -> Option<(&'static str, Vec<Pair>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(ask_clouds(service, limit))
}

#[test]
fn aws_tells_the_addresses_of_every_interface_to_who_has_a_token() {
    const TOKEN: &str = "x-aws-ec2-metadata-token: abc";
    const MACS: &str = "02:29:96:8f:6a:2d/\n02:29:96:8f:6a:2e/\n../../../secret/\n";
    let found = asked(
        pages(&[
            (
                "PUT /latest/api/token",
                "x-aws-ec2-metadata-token-ttl-seconds: 60",
                "abc\n",
            ),
            (
                "GET /latest/meta-data/network/interfaces/macs/",
                TOKEN,
                MACS,
            ),
            (
                "GET /latest/meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/ipv4-associations/",
                TOKEN,
                "5.6.7.8\n5.6.7.9\nnonsense",
            ),
            (
                "GET /latest/meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/ipv4-associations/5.6.7.8",
                TOKEN,
                "10.0.0.5",
            ),
            (
                "GET /latest/meta-data/network/interfaces/macs/02:29:96:8f:6a:2d/ipv4-associations/5.6.7.9",
                TOKEN,
                "10.0.0.6",
            ),
        ]),
        LONG,
    );
    let pairs = vec![tied("5.6.7.8", "10.0.0.5"), tied("5.6.7.9", "10.0.0.6")];
    assert_eq!(found, Some(("AWS", pairs)));
    let simple = pages(&[
        ("PUT /latest/api/token", "", "abc"),
        ("GET /latest/meta-data/public-ipv4", TOKEN, "5.6.7.8"),
    ]);
    let pair = Pair::alone("5.6.7.8").unwrap();
    assert_eq!(asked(simple, LONG), Some(("AWS", vec![pair])));
}

#[test]
fn gcp_tells_the_addresses_of_every_interface() {
    let service = pages(&[(
        "GET /computeMetadata/v1/instance/network-interfaces/?recursive=true",
        "metadata-flavor: google",
        r#"[{"ip":"10.0.0.5","accessConfigs":[{"externalIp":"5.6.7.8","type":"ONE_TO_ONE_NAT"}]},
            {"ip":"10.0.0.6","accessConfigs":[{"externalIp":"","type":"ONE_TO_ONE_NAT"}]},
            {"ip":"10.0.0.7"}]"#,
    )]);
    let pairs = vec![tied("5.6.7.8", "10.0.0.5")];
    assert_eq!(asked(service, LONG), Some(("GCP", pairs)));
}

#[test]
fn azure_tells_basic_addresses_in_one_place_and_standard_ones_in_another() {
    let basic = pages(&[(
        "GET /metadata/instance/network?api-version=2021-02-01",
        "metadata: true",
        r#"{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.0.0.5","publicIpAddress":"5.6.7.8"}]},
            "ipv6":{"ipAddress":[]}}]}"#,
    )]);
    let pairs = vec![tied("5.6.7.8", "10.0.0.5")];
    assert_eq!(asked(basic, LONG), Some(("Azure", pairs.clone())));
    let standard = pages(&[
        (
            "GET /metadata/instance/network?api-version=2021-02-01",
            "metadata: true",
            r#"{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.0.0.5","publicIpAddress":""}]}}]}"#,
        ),
        (
            "GET /metadata/loadbalancer?api-version=2020-10-01",
            "metadata: true",
            r#"{"loadbalancer":{"publicIpAddresses":[{"frontendIpAddress":"5.6.7.8","privateIpAddress":"10.0.0.5"}]}}"#,
        ),
    ]);
    assert_eq!(asked(standard, LONG), Some(("Azure", pairs)));
}

#[test]
fn hetzner_oracle_and_digitalocean() {
    let alone = |text: &str| Pair::alone(text).unwrap();
    let hetzner = pages(&[("GET /hetzner/v1/metadata/public-ipv4", "", "5.6.7.8")]);
    assert_eq!(
        asked(hetzner, LONG),
        Some(("Hetzner", vec![alone("5.6.7.8")]))
    );
    let oracle = pages(&[(
        "GET /opc/v2/vnics/",
        "authorization: bearer oracle",
        r#"[{"privateIp":"10.0.0.5"},{"privateIp":"10.0.0.6","publicIp":"5.6.7.8"}]"#,
    )]);
    let pairs = vec![tied("5.6.7.8", "10.0.0.6")];
    assert_eq!(asked(oracle, LONG), Some(("Oracle", pairs)));
    let digitalocean = pages(&[(
        "GET /metadata/v1.json",
        "",
        r#"{"reserved_ip":{"ipv4":{"active":true,"ip_address":"5.6.7.9"}},"floating_ip":{"ipv4":{"active":false}},
            "interfaces":{"private":[{"ipv4":{"ip_address":"10.2.0.2"}}],
            "public":[{"ipv4":{"ip_address":"5.6.7.8"},"anchor_ipv4":{"ip_address":"10.10.0.5"}}]}}"#,
    )]);
    let pairs = vec![tied("5.6.7.9", "10.10.0.5"), alone("5.6.7.8")];
    assert_eq!(asked(digitalocean, LONG), Some(("DigitalOcean", pairs)));
}

#[test]
fn nonsense_is_no_address() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        "[1,[2],{\"ip\":3}]",
        "{\"interface\":{\"ipv4\":[]}}",
        "{\"interfaces\":{\"public\":7},\"reserved_ip\":{\"ipv4\":{\"active\":true}}}",
        "<html>",
        "[{\"ip\":\"10.0.0.5\",\"accessConfigs\":[{\"externalIp\":\"2a01::1\"}]}]",
        &"[".repeat(60_000),
    ] {
        for parse in [
            parse_gcp,
            parse_azure,
            parse_azure_balancer,
            parse_oracle,
            parse_digitalocean,
        ] {
            assert_eq!(parse(text), [], "{text:.40}");
        }
    }
    assert_eq!(words(&"5.6.7.8\n".repeat(1000)).count(), MOST);
}

#[test]
fn services_that_break_off_go_on_forever_or_say_nothing() {
    let short = Duration::from_millis(200);
    let refused = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(asked(refused, short), None);
    let ended = service(|_, _| {});
    assert_eq!(asked(ended, LONG), None);
    let no_http = service(|_, mut stream| drop(stream.write_all(b"SSH-2.0-x\r\n")));
    assert_eq!(asked(no_http, LONG), None);
    let elsewhere = service(|_, mut stream| {
        let head =
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 7\r\n\r\n";
        let _ = stream.write_all(head);
        let _ = stream.write_all(b"5.6.7.8");
    });
    assert_eq!(asked(elsewhere, LONG), None);
    // Endless ones are given up by their size, long before the time is over.
    let endless_head = service(|_, mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X: 5.6.7.8\r\n").is_ok() {}
    });
    assert_eq!(asked(endless_head, LONG), None);
    let endless_body = service(|_, mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(b"5.6.7.8\n").is_ok() {}
    });
    assert_eq!(asked(endless_body, LONG), None);
    let silent = service(|_, _| thread::park());
    assert_eq!(asked(silent, short), None);
    let slow = service(|_, mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n5.6");
        thread::park();
    });
    assert_eq!(asked(slow, short), None);
}
