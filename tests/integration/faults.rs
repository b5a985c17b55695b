//! Faults that turnd must live through, and those with which it must not start.

mod restart;
mod sending;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use stun::message::METHOD_ALLOCATE;

use crate::support::messages::{relayed_address, send, status, transport};
use crate::support::transports::datagrams;
use crate::support::{PASSWORD, Peer, Ports, Running, Scratch, StunClient, Turnd, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

/// Ports enough for a listener and two relays, and the configuration for the two.
fn two_relay_ports() -> (Ports, u16, String) {
    let ports = Ports::claim(2);
    let first = ports.relays().0;
    let toml = format!("min-port = {first}\nmax-port = {}", first + 1);
    (ports, first, toml)
}

#[test]
fn a_relay_port_that_another_program_has_is_passed_over() {
    let (ports, first, toml) = two_relay_ports();
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
    let turnd = Turnd::start_on(ports, &toml);
    for _ in 0..20 {
        let (client, relayed) = StunClient::allocated(turnd.address());
        assert_eq!(relayed.port(), first + 1);
        client.deallocate();
    }
    let mut client = StunClient::new(turnd.address());
    client.log_in("alice", PASSWORD);
    let both = UdpSocket::bind((Ipv4Addr::LOCALHOST, first + 1)).unwrap();
    assert_eq!(status(&client.try_allocate()), 508);
    drop((other, both));
    // A process that another test is just starting may hold them for a moment.
    wait_until("the ports are not used again", || {
        status(&client.try_allocate()) == 200
    });
}

#[test]
fn without_relay_ports_what_is_there_goes_on() {
    let (ports, _, toml) = two_relay_ports();
    let turnd = Turnd::start_on(ports, &toml);
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let (one, relayed) = StunClient::allocated(turnd.address());
    let (two, _) = StunClient::allocated(turnd.address());
    let mut third = StunClient::new(turnd.address());
    third.log_in("alice", PASSWORD);
    assert_eq!(status(&third.try_allocate()), 508);
    assert!(one.echoes(&echo) && two.echoes(&echo));
    one.deallocate();
    assert_eq!(
        relayed_address(&third.try_allocate()),
        relayed,
        "{}",
        turnd.log()
    );
    assert!(third.echoes(&echo) && two.echoes(&echo));
}

#[test]
fn a_peer_that_is_not_there_disturbs_nobody() {
    let turnd = Turnd::start("");
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, turnd.ports().peers()));
    let (client, _) = StunClient::allocated(turnd.address());
    assert!(client.echoes(&echo));
    for _ in 0..50 {
        // The kernel answers each with ICMP.
        client.send(&send(&nobody.to_string(), b"anybody?").raw);
    }
    assert!(client.echoes(&echo), "{}", turnd.log());
}

/// `turnd serve` with these flags, in a folder without a configuration file.
fn serve(folder: &Scratch, flags: &str) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    command.arg("serve").args(flags.split_whitespace());
    Running::start(command.current_dir(folder.path()))
}

/// Exit code and standard error of a start that fails.
fn failure(folder: &Scratch, flags: &str) -> (Option<i32>, String) {
    let mut running = serve(folder, flags);
    let status = running
        .wait(LIMIT)
        .unwrap_or_else(|| panic!("still running with {flags}"));
    (status.code(), running.stderr())
}

fn listen_on(ports: &Ports) -> String {
    let (min, max) = ports.relays();
    format!(
        "--listening-ip 127.0.0.1 --relay-ip 127.0.0.1 --listening-port {} --tls-listening-port {} \
         --min-port {min} --max-port {max}",
        ports.listening(),
        ports.tls_listening()
    )
}

#[test]
fn a_relay_address_of_another_host_ends_the_start() {
    let folder = Scratch::new();
    let ports = Ports::claim(2);
    let flags = listen_on(&ports).replace("--relay-ip 127.0.0.1", "--relay-ip 192.0.2.1");
    let (code, error) = failure(&folder, &format!("{flags} --user a:b"));
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains("relay-ip 192.0.2.1 cannot be bound"),
        "{error}"
    );
    assert!(error.contains("external-ip"), "{error}");
}

#[test]
fn a_port_in_use_ends_the_start_with_1_and_says_how_to_find_who_has_it() {
    let folder = Scratch::new();
    let ports = Ports::claim(2);
    let flags = format!("{} --user a:b", listen_on(&ports));
    for port in [ports.tls_listening(), ports.listening()] {
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (code, error) = failure(&folder, &flags);
        assert_eq!(code, Some(1), "{error}");
        let expected = format!(
            "127.0.0.1:{port}/udp is in use by another program: `ss -lunp 'sport = :{port}'` shows which"
        );
        assert!(error.contains(&expected), "{error}");
        drop(other);
    }
    // Another turnd, whose socket could be shared.
    let _first = Turnd::start_on(ports, "");
    let (code, error) = failure(&folder, &flags);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("is in use by another program"), "{error}");
}

#[test]
fn a_start_that_fails_says_so_on_the_terminal_though_the_log_is_a_file() {
    let folder = Scratch::new();
    let ports = Ports::claim(2);
    let _other = UdpSocket::bind((Ipv4Addr::LOCALHOST, ports.listening())).unwrap();
    fs::write(
        folder.path().join("turnd.toml"),
        "user = 'a:b'\nlog-file = 'turnd.log'",
    )
    .unwrap();
    let (code, error) = failure(&folder, &listen_on(&ports));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("is in use by another program"), "{error}");
    let log = fs::read_to_string(folder.path().join("turnd.log")).unwrap();
    assert!(log.contains("configuration read"), "{log}");
}

#[test]
fn a_wrong_configuration_ends_the_start_with_2_and_says_where() {
    let folder = Scratch::new();
    for (toml, expected) in [
        ("user = 'a:b'\nmin-prot = 5", "turnd.toml:2: "),
        ("user = 'a:b'\nmin-prot = 5", "min-port"),
        (
            "user = 'a:b'\nmin-port = 60000\nmax-port = 50000",
            "min-port",
        ),
        ("user = 'a:b'\nlistening-port = 50000", "listening-port"),
        (
            "realm = 'r'",
            "add user or static-auth-secret, or set no-auth = true",
        ),
        ("user = ", "turnd.toml:1"),
    ] {
        fs::write(folder.path().join("turnd.toml"), toml).unwrap();
        let (code, error) = failure(&folder, "");
        assert_eq!(code, Some(2), "{toml}: {error}");
        assert!(error.contains(expected), "{toml}: {error}");
    }
    let (code, error) = failure(&folder, "-c missing.toml");
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("missing.toml"), "{error}");
    let (code, error) = failure(&folder, "--listening-port many");
    assert_eq!(code, Some(2), "{error}");
}

#[test]
fn term_and_int_end_it_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut turnd = Turnd::start("");
        let (client, relayed) = StunClient::allocated(turnd.address());
        turnd.signal(signal);
        assert_eq!(turnd.exit_code(LIMIT), Some(0), "{}", turnd.log());
        assert!(turnd.log().contains("shutdown"), "{}", turnd.log());
        assert!(UdpSocket::bind(relayed).is_ok(), "its ports are free again");
        drop(client);
    }
}

#[test]
fn hup_reopens_a_log_that_was_moved_away() {
    let folder = Scratch::new();
    let log = folder.path().join("turnd.log");
    let mut turnd = Turnd::start(&format!("log-file = '{}'", log.display()));
    let read = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    let (client, _) = StunClient::allocated(turnd.address());
    wait_until("no line of the allocation", || {
        read(&log).contains("allocation created")
    });
    let moved = folder.path().join("turnd.log.1");
    fs::rename(&log, &moved).unwrap();
    turnd.signal(Signal::HUP);
    wait_until("no new log", || read(&log).contains("log reopened"));
    client.deallocate();
    wait_until("no line of the end", || {
        read(&log).contains("allocation ended")
    });
    assert!(!read(&moved).contains("allocation ended"));
    turnd.expect_alive();
}

#[test]
fn a_full_disk_under_the_log_stops_nobody() {
    let mut turnd = Turnd::start("log-file = '/dev/full'\nverbose = true");
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    for _ in 0..10 {
        let (client, _) = StunClient::allocated(turnd.address());
        assert!(client.echoes(&echo));
        client.deallocate();
    }
    turnd.signal(Signal::HUP);
    assert!(StunClient::new(turnd.address()).binding().is_some());
    turnd.expect_alive();
}

#[test]
fn serve_without_a_file_prints_servers_that_a_client_can_use() {
    let folder = Scratch::new();
    let ports = Ports::claim(8);
    let running = serve(&folder, &listen_on(&ports));
    let json = || {
        let output = running.stdout();
        let json = &output[output.find("\n{")?..];
        // Text follows.
        serde_json::Deserializer::from_str(json)
            .into_iter::<Value>()
            .next()?
            .ok()
    };
    wait_until("no JSON", || json().is_some());
    let servers = &json().unwrap()["iceServers"][0];
    let urls: Vec<_> = servers["urls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|url| url.as_str().unwrap())
        .collect();
    let turn = urls.iter().find(|url| url.starts_with("turn:")).unwrap();
    let address: SocketAddr = turn["turn:".len()..]
        .split('?')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let mut client = StunClient::new(address);
    let text = |key: &str| servers[key].as_str().unwrap();
    client.log_in(text("username"), text("credential"));
    assert_eq!(
        status(&client.ask_signed(METHOD_ALLOCATE, vec![transport()])),
        200
    );
    client.deallocate();
    // DTLS is not among the ways in.
    assert_eq!(datagrams(address), (true, false));
    // Nobody else gets in.
    let mut guesser = StunClient::new(address);
    guesser.log_in(text("username"), "guess");
    let reply = guesser
        .ask(&guesser.signed(METHOD_ALLOCATE, vec![transport()]))
        .unwrap();
    assert_eq!(status(&reply), 401);
}

#[test]
fn user_names_break_no_log_line_and_no_secret_is_logged() {
    for format in ["text", "json"] {
        let turnd = Turnd::start(&format!(
            "log-format = '{format}'\nverbose = true\n\
             user = 'carol:hunter2'\nstatic-auth-secret = 'northern'"
        ));
        let mut client = StunClient::new(turnd.address());
        for name in [
            "eve\nINFO allocation created user=alice",
            "eve\r\n\u{1b}[2J\u{202e}",
            "a\"b\\c",
        ] {
            client.log_in(name, "guess");
            let reply = client
                .ask(&client.signed(METHOD_ALLOCATE, vec![transport()]))
                .unwrap();
            assert_eq!(status(&reply), 401);
        }
        client.log_in("carol", "hunter2");
        assert_eq!(status(&client.try_allocate()), 200);
        client.deallocate();
        let log = turnd.log_with("allocation ended");
        assert_eq!(log.matches("request refused").count(), 3, "{log}");
        for line in log.lines() {
            assert!(!line.contains(['\r', '\u{1b}', '\u{202e}']), "{line:?}");
            assert!(!line.starts_with("INFO allocation"), "{log}");
            assert!(
                !line.contains("hunter2") && !line.contains("northern"),
                "{line}"
            );
            if format == "json" {
                let value: Value = serde_json::from_str(line).unwrap();
                assert!(
                    value["message"].is_string() && value["level"].is_string(),
                    "{line}"
                );
            }
        }
        assert!(log.contains("127.0.0.1"), "the client's address\n{log}");
    }
}
