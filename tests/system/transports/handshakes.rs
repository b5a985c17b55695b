//! Handshakes of OpenSSL's client and curl that fail, and the line that each leaves.

use std::process::{Command, Stdio};

use crate::support::{Authority, Key, Turnd};

/// Runs a client that fails.
fn fails(program: &str, arguments: &[&str]) {
    let output = Command::new("timeout")
        .args(["20", program])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        !output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}

#[test]
fn every_client_that_gives_up_leaves_a_line_that_says_why() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let turnd = Turnd::start(&authority.toml(&["server"]));
    let server = turnd.address().to_string();
    let trusted = authority.certificate();
    let trusted = trusted.to_str().unwrap();
    let openssl = |more: &[&str]| {
        let all = [
            &["s_client", "-connect", &server, "-verify_return_error"],
            more,
        ]
        .concat();
        fails("openssl", &all);
    };
    let told = |parts: &[&str]| {
        let log = turnd.log_with(parts[0]);
        let mut lines = log
            .lines()
            .filter(|line| line.contains(" TLS handshake failed "));
        let has_all = |line: &str| parts.iter().all(|part| line.contains(part));
        assert!(lines.any(has_all), "{parts:?}: {log}");
    };
    openssl(&["-tls1_3", "-servername", "one.example"]);
    told(&["one.example", "WARN", "unknown-ca", "alert=\"UnknownCA\""]);
    openssl(&["-tls1_2", "-servername", "two.example"]);
    told(&["two.example", "WARN", "unknown-ca", "alert=\"UnknownCA\""]);
    let named = ["-CAfile", trusted, "-verify_hostname", "turn.example.org"];
    openssl(&[&named[..], &["-servername", "turn.example.org"]].concat());
    told(&["turn.example.org", "WARN", "bad-certificate"]);
    openssl(&["-tls1_1", "-cipher", "ALL@SECLEVEL=0"]);
    told(&["protocol-version", " INFO "]);
    openssl(&["-tls1_2", "-cipher", "AES128-SHA@SECLEVEL=0"]);
    told(&["no-shared-cipher", " INFO "]);
    fails(
        "curl",
        &["--silent", "--fail", &format!("http://{server}/")],
    );
    told(&["reason=\"http\"", " INFO ", "this is no web server"]);
    let port = turnd.address().port();
    fails("curl", &["--silent", &format!("https://localhost:{port}/")]);
    told(&["name=\"localhost\"", "WARN", "unknown-ca"]);
}
