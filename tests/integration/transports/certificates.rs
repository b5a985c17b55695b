//! TLS from outside (X2), and certificates that come and go.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use turnd_proto::wire::channel_data;

use super::wait_until;
use crate::support::messages::channel_data as frame;
use crate::support::{Authority, Key, Peer, Running, Scratch, StreamClient, Turnd};

#[test]
fn certificates_are_exchanged_under_a_call() {
    let authority = Authority::new();
    authority.issue("first", "localhost", Key::Rsa, 2);
    authority.issue("second", "localhost", Key::Ecdsa, 2);
    authority.issue("server", "localhost", Key::Rsa, 2);
    let turnd = Turnd::start(&authority.toml(&["server"]));
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let mut client = StreamClient::secure(turnd.address(), &authority.certificate(), "localhost");
    client.bind_channel(echo.address());

    let mut sent = 0u32;
    let mut goes_on = |client: &mut StreamClient<_>| {
        for _ in 0..50 {
            let payload = sent.to_be_bytes();
            client.send(&frame(0x4000, &payload));
            let answer = client.receive();
            assert_eq!(channel_data::parse(&answer), Some((0x4000, &payload[..])));
            sent += 1;
        }
    };
    let copy = |name: &str| {
        for ending in ["pem", "key"] {
            let from = authority.path(&format!("{name}.{ending}"));
            fs::copy(from, authority.path(&format!("server.{ending}"))).unwrap();
        }
    };
    let is_served = |name: &str| {
        let client = StreamClient::secure(turnd.address(), &authority.certificate(), "localhost");
        let chain = client.stream.conn.peer_certificates().unwrap();
        let own = CertificateDer::from_pem_file(authority.path(&format!("{name}.pem")));
        chain[0] == own.unwrap()
    };
    goes_on(&mut client);
    // By signal.
    copy("second");
    turnd.signal(Signal::USR2);
    wait_until("no reload", &turnd, || {
        turnd.log().contains("certificates reloaded")
    });
    goes_on(&mut client);
    assert!(is_served("second"));
    // A key that does not fit: the old one stays.
    fs::copy(authority.path("first.key"), authority.path("server.key")).unwrap();
    turnd.signal(Signal::USR2);
    wait_until("no refusal", &turnd, || {
        turnd.log().contains("kept the old one, because")
    });
    turnd.log_with("is not the key of the first certificate");
    goes_on(&mut client);
    assert!(is_served("second"));
    // Without a signal, as the files change.
    copy("first");
    wait_until("the change is not seen", &turnd, || {
        goes_on(&mut client);
        thread::sleep(Duration::from_millis(200));
        turnd.log().matches("certificates reloaded").count() == 2
    });
    assert!(is_served("first"));
    goes_on(&mut client);
}

#[test]
fn dtls_that_cannot_be_served_is_refused_with_a_remedy() {
    let authority = Authority::new();
    authority.issue("one", "localhost", Key::Ecdsa, 2);
    let (keys, expected) = if cfg!(feature = "dtls") {
        let expected = "turnd.toml:2: dtls: needs a certificate; give cert and pkey";
        (String::new(), expected)
    } else {
        let expected = "turnd.toml:2: dtls: this program is built without DTLS; install turnd's \
                        package or image, or build it with --features dtls";
        (authority.toml(&["one"]), expected)
    };
    for command in ["serve", "check"] {
        let scratch = Scratch::new();
        let file = scratch.path().join("turnd.toml");
        fs::write(&file, format!("no-auth = true\ndtls = true\n{keys}")).unwrap();
        let mut turnd = Command::new(env!("CARGO_BIN_EXE_turnd"));
        let mut running = Running::start_with(turnd.args([command, "-c"]).arg(file), scratch);
        let status = running.wait(Duration::from_secs(10)).unwrap();
        let said = running.stderr();
        assert_eq!(status.code(), Some(2), "{command}: {said}");
        assert!(said.contains(expected), "{command}: {said}");
    }
}

#[test]
fn a_certificate_that_is_about_to_expire_is_announced() {
    let authority = Authority::new();
    authority.issue("short", "localhost", Key::Ecdsa, 13);
    authority.issue("long", "localhost", Key::Ecdsa, 16);
    let short = Turnd::start(&authority.toml(&["short"]));
    short.log_with("expires soon; renew it");
    let long = Turnd::start(&authority.toml(&["long"]));
    assert!(!long.log().contains("expires soon"), "{}", long.log());
}

#[test]
fn a_key_that_is_missing_or_of_another_certificate_ends_the_start_with_2() {
    let authority = Authority::new();
    authority.issue("one", "localhost", Key::Ecdsa, 2);
    authority.issue("other", "localhost", Key::Ecdsa, 2);
    let start = |cert: &str, key: &str| {
        let scratch = Scratch::new();
        let file = scratch.path().join("turnd.toml");
        let (cert, key) = (authority.path(cert), authority.path(key));
        let toml = format!(
            "no-auth = true\ncert = '{}'\npkey = '{}'\n",
            cert.display(),
            key.display()
        );
        fs::write(&file, toml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
        let mut running = Running::start_with(command.args(["serve", "-c"]).arg(file), scratch);
        let status = running.wait(Duration::from_secs(10)).unwrap();
        (status.code(), running.stderr())
    };
    let (code, said) = start("one.pem", "nowhere.key");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("turnd.toml:3: pkey: ") && said.contains("nowhere.key"),
        "{said}"
    );
    assert!(
        said.contains("; name a PEM file that this user may read"),
        "{said}"
    );
    let (code, said) = start("one.pem", "other.key");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("is not the key of the first certificate"),
        "{said}"
    );
}
