//! TCP and TLS, against coturn and turnd.

use super::probe;
use crate::support::probe::Identity;

#[test]
fn a_good_server_serves_over_tcp_and_tls() {
    let identity = Identity::new("localhost", (2020, 2090), true);
    let coturn = identity.serve();
    let outcome = identity.probe(&coturn);
    outcome.expect_served();
    let end = &outcome.json["uris"][0]["addresses"][0]["certificate_ends"];
    assert_eq!(*end, 3_786_912_000_u64, "2090-01-01");
    let tcp = format!(
        "turn:localhost:{}?transport=tcp",
        coturn.ports().listening()
    );
    probe(None, &[&tcp, "--user", "alice", "--password", "secret"]).expect_served();
    let wrong = probe(None, &[&tcp, "--user", "alice", "--password", "no"]);
    wrong.expect_fault("the server refuses the credentials of \"alice\" [401]", "");
}

#[test]
fn certificate_expired() {
    let identity = Identity::new("localhost", (2020, 2021), true);
    let outcome = identity.probe(&identity.serve());
    outcome.expect_fault(
        "the TLS certificate has expired [701]: it ended on 2021-01-01",
        "",
    );
}

#[test]
fn certificate_not_valid_yet() {
    let identity = Identity::new("localhost", (2080, 2090), true);
    let outcome = identity.probe(&identity.serve());
    outcome.expect_fault("the TLS certificate is not valid yet [701]", "");
}

#[test]
fn certificate_for_another_name() {
    let identity = Identity::new("turn.example.org", (2020, 2090), true);
    let outcome = identity.probe(&identity.serve());
    outcome.expect_fault(
        "the TLS certificate is not for localhost [701]",
        "turn.example.org",
    );
}

#[test]
fn certificate_self_signed() {
    let identity = Identity::new("localhost", (2020, 2090), false);
    let outcome = identity.probe(&identity.serve());
    outcome.expect_fault("the TLS certificate is self-signed [701]", "");
}

#[test]
fn certificate_of_an_authority_that_nobody_knows() {
    let identity = Identity::new("localhost", (2020, 2090), true);
    let coturn = identity.serve();
    let uri = format!("turns:localhost:{}", coturn.ports().tls_listening());
    let outcome = probe(None, &[&uri, "--user", "alice", "--password", "secret"]);
    outcome.expect_fault(
        "the TLS certificate comes from an authority that is not trusted [701]",
        "",
    );
}
