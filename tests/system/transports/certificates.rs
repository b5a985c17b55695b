//! TLS from outside (X2), and certificates that come and go.

use std::process::{Command, Stdio};

use crate::support::{Authority, Key, Turnd};

/// The output of OpenSSL's client about the server at `port`.
fn s_client(authority: &Authority, port: u16, arguments: &str) -> String {
    let output = Command::new("timeout")
        .args([
            "10",
            "openssl",
            "s_client",
            "-connect",
            &format!("127.0.0.1:{port}"),
        ])
        .args(["-CAfile", authority.certificate().to_str().unwrap()])
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Lets OpenSSL's client speak to both ports of a server with an RSA certificate for localhost and
/// an ECDSA one for turn.example; `good`: arguments, and what it says then.
pub(super) fn openssls_client(keys: &str, good: &[(&str, &str)], refused: &[&str]) {
    let authority = Authority::new();
    authority.issue("rsa", "localhost", Key::Rsa, 2);
    authority.issue("ec", "turn.example", Key::Ecdsa, 2);
    let turnd = Turnd::start(&format!("{keys}\n{}", authority.toml(&["rsa", "ec"])));
    for port in [turnd.ports().listening(), turnd.ports().tls_listening()] {
        for (arguments, expected) in good {
            let said = s_client(&authority, port, arguments);
            assert!(
                said.contains(expected),
                "{arguments}: {said}\n{}",
                turnd.log()
            );
            assert!(
                said.contains("Verify return code: 0 (ok)"),
                "{arguments}: {said}"
            );
        }
        for refused in refused {
            let said = s_client(&authority, port, refused);
            assert!(said.contains("Cipher is (NONE)"), "{refused}: {said}");
        }
    }
}

#[test]
fn x2_openssls_client_with_alpn_and_names() {
    let good = [
        ("-tls1_3 -alpn stun.turn", "ALPN protocol: stun.turn"),
        (
            "-tls1_2 -alpn x,stun.nat-discovery",
            "ALPN protocol: stun.nat-discovery",
        ),
        ("-tls1_2 -alpn http/1.1", "No ALPN negotiated"),
        ("-tls1_2", "ECDHE-RSA-AES256-GCM-SHA384"),
        (
            "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256",
            "Cipher is ECDHE-RSA-AES128-GCM-SHA256",
        ),
        ("-servername localhost", "subject=CN = localhost"),
        ("-servername turn.example", "subject=CN = turn.example"),
        ("-servername elsewhere", "subject=CN = localhost"),
    ];
    let refused = ["-tls1_1", "-tls1_2 -cipher AES128-SHA@SECLEVEL=0"];
    openssls_client("", &good, &refused);
}
