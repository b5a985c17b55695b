//! `turnd ctl` as a program: output, exit codes, errors.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{ctl, ctl_at, start, usual_session};
use crate::support::admin::turnd_with;
use crate::support::{Scratch, Turnd};

#[test]
fn people_and_programs_can_read_it() {
    let turnd = start("");
    let _clients = [0; 3].map(|_| usual_session(&turnd));
    let text = ctl(&turnd, &["status"]).ok();
    assert!(text.starts_with("turnd 0.1.0, serving, up "), "{text}");
    assert!(text.contains("3 live, 3 made, 0 ended"), "{text}");
    let json: Value = serde_json::from_str(&ctl(&turnd, &["status", "--json"]).ok()).unwrap();
    assert_eq!(json["allocations"], 3);

    let text = ctl(&turnd, &["sessions"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].starts_with("ID  USER   CLIENT"), "{text}");
    assert!(lines[1].starts_with("1   alice  127.0.0.1:"), "{text}");
    assert_eq!(lines[4], "3 in all");
    let text = ctl(&turnd, &["sessions", "--limit", "2"]).ok();
    assert!(text.ends_with("2 of 3; --all shows the rest\n"), "{text}");
    let all: Value =
        serde_json::from_str(&ctl(&turnd, &["sessions", "--all", "--json"]).ok()).unwrap();
    assert_eq!(all["sessions"].as_array().unwrap().len(), 3);
    assert!(all["next"].is_null());
    assert_eq!(
        ctl(&turnd, &["sessions", "--user", "bob"]).ok(),
        "no sessions\n"
    );
    assert_eq!(
        ctl(&turnd, &["sessions", "--client", "127.0.0.1", "--json"]).code,
        Some(0)
    );
}

#[test]
fn more_sessions_than_a_page_come_whole() {
    let extras = crate::support::Extras {
        admin: true,
        relays: 1100,
        ..Default::default()
    };
    let turnd = Turnd::start_with(
        "no-auth = true\nuser-quota = 0\nuser-allocate-rate = 0",
        extras,
    );
    let clients: Vec<_> = (0..1050)
        .map(|_| {
            let client = crate::support::StunClient::new(turnd.address());
            let transport = turn::proto::reqtrans::RequestedTransport {
                protocol: turn::proto::PROTO_UDP,
            };
            let request =
                crate::support::request(stun::message::METHOD_ALLOCATE, vec![Box::new(transport)]);
            let reply = client.ask(&request).unwrap();
            assert_eq!(crate::support::error_code(&reply), None);
            client
        })
        .collect();
    let all: Value =
        serde_json::from_str(&ctl(&turnd, &["sessions", "--all", "--json"]).ok()).unwrap();
    let sessions = all["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), clients.len());
    assert!(sessions.iter().all(|session| session["user"].is_null()));
    assert_eq!(
        ctl(&turnd, &["kill", "--client", "127.0.0.1"]).ok(),
        "1050 sessions ended\n"
    );
}

#[test]
fn exit_codes_tell_usage_from_failure() {
    let turnd = start("");
    for nobody in [
        ["--id", "77"],
        ["--user", "nobody"],
        ["--client", "192.0.2.1"],
    ] {
        let outcome = ctl(&turnd, &[&["kill"], &nobody[..]].concat());
        assert_eq!(outcome.code, Some(1), "{nobody:?}");
        assert_eq!(outcome.err, "error: no such session\n");
        assert_eq!(outcome.out, "");
    }
    for wrong in [
        &["kill"][..],
        &["kill", "--id", "1", "--user", "alice"],
        &["kill", "--client", "alice"],
        &["sessions", "--limit", "0"],
        &["sessions", "--limit", "5", "--all"],
        &["drain", "--off", "--wait"],
        &["log-level"],
        &["credentials", "--ttl", "0"],
        &["dance"],
        &[],
    ] {
        let outcome = ctl(&turnd, wrong);
        assert_eq!(outcome.code, Some(2), "{wrong:?}: {outcome:?}");
        assert_eq!(outcome.out, "");
    }
    for command in [
        "status",
        "sessions",
        "kill",
        "drain",
        "reload",
        "log-level",
        "credentials",
    ] {
        let help = turnd_with(&["ctl", command, "--help"]).ok();
        assert!(
            help.contains(&format!("Example:\n  turnd ctl {command}"))
                || help.contains(&format!("Examples:\n  turnd ctl {command}")),
            "{help}"
        );
    }
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let scratch = Scratch::new();
    let socket = scratch.path().join("none.sock");
    let outcome = ctl_at(&socket, &["status"]);
    assert_eq!(outcome.code, Some(1));
    let expected = format!(
        "error: turnd cannot be reached:\n  {}: there is no such socket\n\
         start it with `turnd serve`, or name its admin-listen with --admin\n",
        socket.display()
    );
    assert_eq!(outcome.err, expected);

    // A crash leaves a socket behind that nobody listens on.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let outcome = ctl_at(&socket, &["reload"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("nobody listens there"), "{outcome:?}");

    let outcome = ctl_at(Path::new("localhost"), &["status"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
}

#[test]
fn somebody_else_at_the_address_is_told() {
    let turnd = start("");
    // A listener that greets, as SMTP does.
    let other = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let place = other.local_addr().unwrap().to_string();
    let greeter = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"220 mail.example.org\r\n").unwrap();
    });
    let outcome = ctl_at(Path::new(&place), &["status"]);
    greeter.join().unwrap();
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("no answer in HTTP"), "{outcome:?}");
    drop(turnd);
}

#[test]
fn tokens_come_from_flags_and_files() {
    let turnd = start("admin-token = 'north'");
    let scratch = Scratch::new();
    let file = scratch.path().join("token");
    fs::write(&file, "north\n").unwrap();
    let file = file.to_str().unwrap();
    let place = turnd.admin().to_string();
    let place = Path::new(&place);
    for (words, code) in [
        (&["status"][..], 1),
        (&["status", "--token", "south"], 1),
        (&["status", "--token", "a\nb"], 2),
        (&["status", "--token", "north"], 0),
        (&["status", "--token-file", file], 0),
        (&["status", "--token-file", "/nonexistent"], 2),
        (&["status", "--token", "north", "--token-file", file], 2),
    ] {
        let outcome = ctl_at(place, words);
        assert_eq!(outcome.code, Some(code), "{words:?}: {outcome:?}");
        if code == 1 {
            assert!(
                outcome.err.contains("the token is missing or wrong"),
                "{outcome:?}"
            );
        }
    }
    // The server's own file says where it is and what it wants to hear, even when it is broken.
    let config = turnd.config();
    let config = config.to_str().unwrap();
    assert_eq!(turnd_with(&["ctl", "-c", config, "status"]).code, Some(0));
    let text = fs::read_to_string(config).unwrap();
    turnd.configure_raw(&format!("{text}\nmin-prot = 1\n"));
    assert_eq!(turnd_with(&["ctl", "-c", config, "status"]).code, Some(0));
    let outcome = turnd_with(&["ctl", "-c", "/nonexistent.toml", "status"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
}
