use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::thread;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn config(text: &str) -> Config {
    Config::from_toml(&format!("no-auth = true\n{text}")).unwrap()
}

/// A metadata service like Hetzner's that tells this address.
fn metadata(public: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let len = stream.read(&mut head).unwrap();
            let (status, text) = if head[..len].starts_with(b"GET /hetzner/") {
                (200, public)
            } else {
                (404, "")
            };
            let length = text.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            );
        }
    });
    address
}

/// A place where nobody is.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn around(config: &Config, host: &[IpAddr], service: SocketAddr, patience: Duration) -> Look {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(look_around(config, host, service, patience))
}

fn findings(look: &Look) -> Vec<String> {
    look.findings().collect()
}

#[test]
fn the_interface_comes_before_the_cloud_and_the_cloud_before_stun() {
    let auto = config("external-ip = 'auto'\nexternal-ip-stun = '127.0.0.1:9'");
    let look = around(&auto, &[ip("5.6.7.1")], metadata("5.6.7.2"), PATIENCE);
    assert_eq!(findings(&look), ["5.6.7.1 by the interface"]);
    assert!(look.announced().next().is_none());
    let host = [ip("10.0.0.5"), ip("2a01::1")];
    let look = around(&auto, &host, metadata("5.6.7.2"), PATIENCE);
    assert_eq!(
        findings(&look),
        [
            "2a01::1 by the interface",
            "5.6.7.2 for 10.0.0.5 by the metadata service of Hetzner"
        ]
    );
    assert!(look.is_complete());
}

#[test]
fn nothing_that_tells_is_said_with_a_remedy() {
    let auto = config("external-ip = 'auto'");
    let look = around(&auto, &[ip("10.0.0.5")], nobody(), PATIENCE);
    let warnings: Vec<_> = look.warnings().collect();
    assert_eq!(
        warnings,
        [
            "external-ip: no public address for 10.0.0.5: no metadata service of a cloud tells one; \
             write the address itself, or name a STUN server outside in external-ip-stun; \
             local addresses are announced meanwhile"
        ]
    );
    // An address of the same network is no public one.
    let look = around(&auto, &[ip("10.0.0.5")], metadata("10.0.0.6"), PATIENCE);
    assert!(!look.is_complete());
    assert_eq!(findings(&look), [""; 0]);
}

#[test]
fn a_silent_stun_server_is_waited_for_no_longer_than_patience_lasts() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let text = format!("external-ip = 'auto/127.0.0.1'\nexternal-ip-stun = '127.0.0.1:{port}'");
    let short = Duration::from_millis(300);
    let look = around(&config(&text), &[], nobody(), short);
    let warning = look.warnings().next().unwrap();
    assert!(
        warning.contains(&format!(
            "neither a metadata service of a cloud nor 127.0.0.1:{port} tells one"
        )),
        "{warning}"
    );
}

#[test]
fn what_was_found_stays_while_nobody_tells() {
    let auto = config("external-ip = 'auto'");
    let host = [ip("10.0.0.5")];
    let before = around(&auto, &host, metadata("5.6.7.2"), PATIENCE);
    let mut now = around(&auto, &host, nobody(), PATIENCE);
    now.keep(&auto, &host, &before);
    assert!(now.announces_as(&before));
    let warning = now.warnings().next().unwrap();
    assert!(warning.ends_with("; 5.6.7.2 stays meanwhile"), "{warning}");
    // An address that the host no longer has needs none.
    let other = [ip("10.0.0.9")];
    let mut moved = around(&auto, &other, nobody(), PATIENCE);
    moved.keep(&auto, &other, &before);
    assert!(moved.announced().next().is_none());
    // Nor does one that the configuration no longer looks for.
    let mut none = Look::default();
    none.keep(&config(""), &host, &before);
    assert_eq!(none, Look::default());
}
