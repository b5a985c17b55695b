//! coturn's own client against turnd.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Authority, Key, PASSWORD, Running, Turnd, USER};

const LIMIT: Duration = Duration::from_secs(60);

/// uclient draws its channel numbers from the range of RFC 5766.
const OLD_CHANNELS: &str = "rfc5766-channel-numbers = true";

/// coturn's echo server: two ports on both loopback addresses.
fn start_peer(turnd: &Turnd) -> Running {
    let port = turnd.ports().peers();
    let mut command = Command::new("turnutils_peer");
    command.args(["-L", "127.0.0.1", "-L", "::1", "-p", &port.to_string()]);
    let mut peer = Running::start(&mut command);

    let probe = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    probe
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    // The second port opens last.
    while probe
        .send_to(b"?", (Ipv4Addr::LOCALHOST, port + 1))
        .is_err()
        || probe.recv(&mut [0; 16]).is_err()
    {
        assert!(peer.ended().is_none(), "turnutils_peer ended");
        assert!(Instant::now() < deadline, "turnutils_peer does not answer");
    }
    peer
}

fn uclient(turnd: &Turnd, arguments: &str) -> Command {
    let mut command = Command::new("turnutils_uclient");
    command.args(["-u", USER, "-p", &turnd.address().port().to_string()]);
    command.args(["-r", &turnd.ports().peers().to_string()]);
    command.args(arguments.split_whitespace()).arg("127.0.0.1");
    command
}

/// The last number after `label` in uclient's output, which has one per second and the totals at the end.
fn last_number(output: &str, label: &str) -> u64 {
    let found = output
        .rfind(label)
        .unwrap_or_else(|| panic!("no {label:?} in {output}"));
    let digits = &output[found + label.len()..];
    let end = digits
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end]
        .parse()
        .unwrap_or_else(|error| panic!("{label:?} in {output}: {error}"))
}

/// Runs uclient to its end and returns what it printed.
///
/// It binds two channels for each client, draws both numbers at random and gives up when they are the
/// same, as one in 16,384 is: the server has to refuse the second (C2). That run says nothing.
fn run_uclient(turnd: &Turnd, arguments: &str) -> String {
    let same_number_twice = |log: String| log.matches("bound to another peer").count();
    loop {
        let before = same_number_twice(turnd.log());
        let mut running = Running::start(&mut uclient(turnd, arguments));
        let status = running.wait(LIMIT);
        if status.is_some_and(|status| status.success()) {
            return running.stdout();
        }
        let drawn = same_number_twice(turnd.log()) > before;
        assert!(
            drawn && running.stdout().contains("channel bind: error 400"),
            "{arguments}: {status:?}\n{}",
            running.last_lines()
        );
    }
}

/// Runs uclient and checks that all of its messages came back: its exit code does not say so.
fn passes(turnd: &Turnd, arguments: &str, messages: u64, bytes: u64) {
    let _peer = start_peer(turnd);
    let output = run_uclient(turnd, arguments);
    let number = |label| last_number(&output, label);
    let sent = (number("tot_send_msgs="), number("tot_send_bytes ~ "));
    let received = (number("tot_recv_msgs="), number("tot_recv_bytes ~ "));
    assert_eq!(
        sent,
        (messages, bytes),
        "{arguments}: not all was sent\n{output}\n{}",
        turnd.log()
    );
    assert_eq!(
        received,
        sent,
        "{arguments}: not all came back\n{output}\n{}",
        turnd.log()
    );
}

/// The same with the password of the static user.
fn passes_with_password(arguments: &str, messages: u64, bytes: u64) {
    passes(
        &Turnd::start(OLD_CHANNELS),
        &format!("-w {PASSWORD} {arguments}"),
        messages,
        bytes,
    );
}

#[test]
fn rtcp_pairs_with_reservation() {
    passes_with_password("-e 127.0.0.1 -X -g -n 20", 40, 4000);
}

#[test]
fn without_rtcp() {
    passes_with_password("-e 127.0.0.1 -c", 5, 500);
}

#[test]
fn send_indications() {
    passes_with_password("-e 127.0.0.1 -s", 10, 1000);
}

#[test]
fn client_to_client() {
    passes_with_password("-y", 20, 2000);
}

#[test]
fn padded_channel_data() {
    passes_with_password("-e 127.0.0.1 -D -l 171", 10, 1710);
}

#[test]
fn ipv6_relay() {
    passes_with_password("-x -e ::1", 10, 1000);
}

#[test]
fn ten_clients() {
    passes_with_password("-e 127.0.0.1 -m 10 -n 100 -l 170 -z 5 -c", 1000, 170_000);
}

#[test]
fn extra_requests() {
    passes_with_password("-e 127.0.0.1 -G", 10, 1000);
}

#[test]
fn tcp() {
    passes_with_password("-t -e 127.0.0.1 -X -n 20 -l 171", 40, 6840);
}

#[test]
fn tcp_send_indications() {
    passes_with_password("-t -e 127.0.0.1 -s -l 171", 10, 1710);
}

#[test]
fn tcp_client_to_client() {
    passes_with_password("-t -y", 20, 2000);
}

#[test]
fn tcp_ipv6_relay() {
    passes_with_password("-t -x -e ::1", 10, 1000);
}

#[test]
fn tcp_ten_clients() {
    passes_with_password("-t -e 127.0.0.1 -m 10 -n 100 -l 170 -z 5 -c", 1000, 170_000);
}

/// The same over TLS or DTLS, to both ports.
fn passes_securely(arguments: &str, messages: u64, bytes: u64) {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let dtls = cfg!(feature = "dtls");
    let toml = format!(
        "{OLD_CHANNELS}\ndtls = {dtls}\n{}",
        authority.toml(&["server"])
    );
    passes(
        &Turnd::start(&toml),
        &format!("-w {PASSWORD} {arguments}"),
        messages,
        bytes,
    );
}

#[test]
fn tls() {
    passes_securely("-t -S -e 127.0.0.1 -X -n 20 -l 171", 40, 6840);
}

#[test]
fn tls_client_to_client() {
    passes_securely("-t -S -y", 20, 2000);
}

#[test]
fn tls_ten_clients() {
    passes_securely(
        "-t -S -e 127.0.0.1 -m 10 -n 100 -l 170 -z 5 -c",
        1000,
        170_000,
    );
}

#[test]
fn tls_ipv6_relay() {
    passes_securely("-t -S -x -e ::1", 10, 1000);
}

#[cfg(feature = "dtls")]
mod dtls {
    use super::passes_securely;

    #[test]
    fn one_client() {
        passes_securely("-S -e 127.0.0.1 -X -n 20 -l 171", 40, 6840);
    }

    #[test]
    fn client_to_client() {
        passes_securely("-S -y", 20, 2000);
    }

    #[test]
    fn ten_clients() {
        passes_securely("-S -e 127.0.0.1 -m 10 -n 100 -l 170 -z 5 -c", 1000, 170_000);
    }

    #[test]
    fn ipv6_relay() {
        passes_securely("-S -x -e ::1", 10, 1000);
    }
}

#[test]
fn tcp_relay() {
    passes_with_password("-T -e 127.0.0.1 -n 20", 40, 4000);
}

#[test]
fn tcp_relay_client_to_client() {
    passes_with_password("-T -y", 10, 1000);
}

#[test]
fn tcp_relay_over_tls() {
    passes_securely("-T -S -e 127.0.0.1 -n 20", 40, 4000);
}

#[test]
fn tcp_relay_ipv6() {
    passes_with_password("-T -x -y", 10, 1000);
}

#[test]
fn rest_credentials() {
    let turnd = Turnd::start(&format!(
        "{OLD_CHANNELS}\nuse-auth-secret = true\nstatic-auth-secret = 'north'"
    ));
    passes(&turnd, "-W north -e 127.0.0.1", 10, 1000);
}

/// coturn's client knows neither, and goes on as before.
#[test]
fn what_rfc_8489_added_is_passed_over() {
    let toml = format!("{OLD_CHANNELS}\npassword-algorithms = true\nusername-anonymity = true");
    let turnd = Turnd::start(&toml);
    let login = format!("-w {PASSWORD} -e 127.0.0.1");
    passes(&turnd, &format!("{login} -X -g -n 20"), 40, 4000);
    passes(&turnd, &format!("{login} -t -X -n 20 -l 171"), 40, 6840);
    passes(&turnd, &format!("{login} -T -n 20"), 40, 4000);
}

#[test]
fn a_client_goes_where_alternate_server_sends_it() {
    let other = Turnd::start("");
    let first = Turnd::start(&format!("alternate-server = '{}'", other.address()));
    passes(&first, &format!("-w {PASSWORD} -e 127.0.0.1 -s"), 10, 1000);
    first.log_with("sent on to an alternate server");
    other.log_with("allocation created");
    assert!(!first.log().contains("allocation created"));
}

#[test]
fn a_client_on_tls_goes_where_tls_alternate_server_sends_it() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let toml = authority.toml(&["server"]);
    let other = Turnd::start(&toml);
    let servers = format!(
        "alternate-server = '127.0.0.1:9'\ntls-alternate-server = '{}'",
        other.address()
    );
    let first = Turnd::start(&format!("{toml}\n{servers}"));
    passes(
        &first,
        &format!("-w {PASSWORD} -t -S -e 127.0.0.1 -s -l 171"),
        10,
        1710,
    );
    other.log_with("allocation created");
}

#[test]
fn negative_tests_leave_the_server_serving() {
    let mut turnd = Turnd::start(OLD_CHANNELS);
    {
        let _peer = start_peer(&turnd);
        for _ in 0..3 {
            // It sends random requests and ends when one is refused, or never: the server is what is looked at.
            let mut command = uclient(&turnd, &format!("-w {PASSWORD} -e 127.0.0.1 -N -R"));
            Running::start(&mut command).wait(Duration::from_secs(8));
            turnd.expect_alive();
        }
    }
    passes(&turnd, &format!("-w {PASSWORD} -e 127.0.0.1 -c"), 5, 500);
}

#[test]
fn totals_are_read_from_the_last_lines() {
    let output = "1: : start_mclient: msz=2, tot_send_msgs=9, tot_recv_msgs=8, tot_send_bytes ~ 900, tot_recv_bytes ~ 800\n\
                  2: : start_mclient: tot_send_msgs=40, tot_recv_msgs=39\n\
                  2: : start_mclient: tot_send_bytes ~ 4000, tot_recv_bytes ~ 3900";
    assert_eq!(last_number(output, "tot_send_msgs="), 40);
    assert_eq!(last_number(output, "tot_recv_msgs="), 39);
    assert_eq!(last_number(output, "tot_recv_bytes ~ "), 3900);
}
