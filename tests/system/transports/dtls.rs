//! DTLS from outside (X2, X3), also where datagrams get lost.

use super::certificates::openssls_client;

#[test]
fn x2_openssls_client_with_alpn_and_names_over_dtls() {
    let good = [
        ("-dtls1_2 -alpn stun.turn", "ALPN protocol: stun.turn"),
        ("-dtls1_2", "Cipher is ECDHE-RSA-AES"),
        ("-dtls1_2 -servername localhost", "subject=CN = localhost"),
        (
            "-dtls1_2 -servername TURN.example",
            "subject=CN = turn.example",
        ),
        ("-dtls1_2 -servername elsewhere", "subject=CN = localhost"),
    ];
    let refused = ["-dtls1_2 -cipher AES128-SHA@SECLEVEL=0"];
    openssls_client("dtls = true", &good, &refused);
}
