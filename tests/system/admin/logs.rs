//! The log under strain: nobody reads it, its disk is full, clients fill it, its daemon comes and goes.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use stun::message::METHOD_ALLOCATE;

use super::{api, eventually};
use crate::support::messages::status;
use crate::support::{Extras, PASSWORD, Peer, Scratch, StunClient, Turnd, USER, run};

const LIMIT: Duration = Duration::from_secs(20);

/// A pipe by name. What is written into it waits for whoever reads it.
struct Pipe {
    path: PathBuf,
    reader: File,
    _scratch: Scratch,
}

impl Pipe {
    fn new() -> Self {
        let scratch = Scratch::new();
        let path = scratch.path().join("pipe");
        run(Command::new("mkfifo").arg(&path), LIMIT);
        let mut open = OpenOptions::new();
        let reader = open.read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        Self {
            reader: reader.unwrap(),
            path,
            _scratch: scratch,
        }
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut open = OpenOptions::new();
        open.write(true).custom_flags(libc::O_NONBLOCK);
        let mut writer = open.open(&self.path).unwrap();
        for len in [4096, 1] {
            while writer.write(&b"\n".repeat(len)).is_ok() {}
        }
    }

    /// Reads until this has come; all that was read.
    fn read_until(&mut self, text: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        let mut read = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.reader.read(&mut buffer) {
                Ok(count) => read.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if String::from_utf8_lossy(&read).contains(text) {
                        return String::from_utf8(read).unwrap();
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("{error}"),
            }
            assert!(Instant::now() < deadline, "nobody wrote {text}");
        }
    }

    /// A server that writes its log there.
    fn turnd(&self, toml: &str, env: &[(&str, &str)]) -> Turnd {
        let extras = Extras {
            admin: true,
            stderr: Some(&self.path),
            env,
            ..Extras::default()
        };
        Turnd::start_with(toml, extras)
    }
}

/// Has the server log lines of half a megabyte each and more, until it has lost some.
fn overflow(turnd: &Turnd, toml: &str) {
    let lists = ["x", "y"].map(|letter| {
        let user = |n: u32| format!("'{n}{}:{PASSWORD}'", letter.repeat(500));
        let users: Vec<_> = (0..1000).map(user).collect();
        format!("{toml}\nuser = ['{USER}:{PASSWORD}', {}]", users.join(", "))
    });
    for list in lists.iter().cycle().take(20) {
        if dropped(turnd) > 0 {
            return;
        }
        turnd.configure(list);
        let answer = api(turnd).post("/api/v1/reload", &json!({}));
        assert_eq!(answer.status, 200);
    }
    panic!("no line was lost");
}

#[test]
fn a_log_that_nobody_reads_costs_lines_and_no_packet() {
    let mut pipe = Pipe::new();
    let toml = "relay-threads = 1\nunauthenticated-rate = 0";
    let mut turnd = pipe.turnd(toml, &[]);
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let (client, _) = StunClient::allocated(turnd.address());
    let serves = || client.echoes(&echo) && client.binding().is_some();
    pipe.fill();
    for _ in 0..4 {
        guess(turnd.address(), 500);
        assert!(serves());
    }
    overflow(&turnd, toml);
    guess(turnd.address(), 100);
    assert!(serves());
    assert_eq!(api(&turnd).get("/healthz").status, 200);
    let log = pipe.read_until("log lines were dropped");
    let told = sum(&log, "log lines were dropped", "lines=");
    assert_eq!(told, dropped(&turnd));
    assert!(log.contains("request refused"));
    client.deallocate();
    pipe.read_until("allocation ended");
    turnd.expect_alive();
}

#[test]
fn a_log_that_nobody_reads_keeps_no_process() {
    let scratch = Scratch::new();
    let order = scratch.path().join("fault");
    for expected in [0, 1] {
        let pipe = Pipe::new();
        let env = [("TURND_TEST_FAULT", order.to_str().unwrap())];
        let mut turnd = pipe.turnd("relay-threads = 1", &env);
        let (_client, _) = StunClient::allocated(turnd.address());
        pipe.fill();
        guess(turnd.address(), 10);
        if expected == 0 {
            turnd.signal(Signal::TERM);
        } else {
            fs::write(&order, "panic 0").unwrap();
        }
        assert_eq!(turnd.exit_code(LIMIT), Some(expected));
    }
}

#[test]
fn at_a_normal_end_every_line_is_written() {
    let scratch = Scratch::new();
    let path = scratch.path().join("turnd.log");
    let mut turnd = Turnd::start(&format!("log-file = '{}'", path.display()));
    let clients: Vec<_> = (0..40)
        .map(|_| StunClient::allocated(turnd.address()))
        .collect();
    turnd.signal(Signal::TERM);
    assert_eq!(turnd.exit_code(LIMIT), Some(0));
    let log = fs::read_to_string(&path).unwrap();
    for text in ["allocation created", "reason=\"shutdown\""] {
        assert_eq!(log.matches(text).count(), clients.len(), "{text}");
    }
    assert!(log.ends_with("stopped\n"), "{log}");
}

#[test]
fn a_client_that_makes_allocations_without_end_fills_no_disk() {
    const WORKERS: u64 = 8;
    // Lines that one worker may write: at once, and per second.
    let (burst, rate) = (1000, 400 / WORKERS);
    // No user makes many.
    let users: Vec<_> = (0..100).map(|n| format!("u{n}")).collect();
    let list: Vec<_> = users.iter().map(|u| format!("'{u}:{PASSWORD}'")).collect();
    let scratch = Scratch::new();
    let path = scratch.path().join("turnd.log");
    let turnd = Turnd::start(&format!(
        "relay-threads = {WORKERS}\nunauthenticated-rate = 0\nuser = [{}]\nlog-file = '{}'",
        list.join(", "),
        path.display()
    ));
    let mut client = StunClient::new(turnd.address());
    let begin = Instant::now();
    let allowed = || burst + rate * (begin.elapsed().as_secs() + 1);
    let mut made = 0;
    for user in users.iter().cycle() {
        if made > allowed() + 500 {
            break;
        }
        assert!(begin.elapsed() < LIMIT * 2, "too slow: {made}");
        client.log_in(user, PASSWORD);
        assert_eq!(status(&client.try_allocate()), 200);
        client.deallocate();
        made += 2;
    }
    let most = allowed();
    let read = || fs::read_to_string(&path).unwrap();
    let written = |log: &str| {
        let about = |line: &&str| line.contains(" allocation ");
        log.lines().filter(about).count() as u64
    };
    let suppressed = |log: &str| sum(log, "of=\"allocations\"", "log lines suppressed lines=");
    eventually("the number of those that are missing", || {
        let log = read();
        written(&log) + suppressed(&log) == made
    });
    let log = read();
    assert!(written(&log) <= most, "{} of {made}", written(&log));
    assert!(suppressed(&log) >= 500 - rate, "{}", suppressed(&log));
}

/// The file as the server sees it, in a mount namespace of its own.
fn seen_by(turnd: &Turnd, path: &Path) -> PathBuf {
    let root = format!("/proc/{}/root", turnd.pid());
    Path::new(&root).join(path.strip_prefix("/").unwrap())
}

#[test]
fn a_full_disk_costs_lines_and_the_log_goes_on_when_there_is_room() {
    let scratch = Scratch::new();
    let disk = scratch.path().to_str().unwrap().to_owned();
    let path = scratch.path().join("turnd.log");
    let extras = Extras {
        admin: true,
        before: &format!("mount -t tmpfs -o size=16k none {disk}"),
        ..Extras::default()
    };
    let toml = format!("unauthenticated-rate = 0\nlog-file = '{}'", path.display());
    let mut turnd = Turnd::start_with(&toml, extras);
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let (client, _) = StunClient::allocated(turnd.address());
    guess(turnd.address(), 150);
    eventually("the disk is full", || dropped(&turnd) > 0);
    assert!(client.echoes(&echo));
    let log = seen_by(&turnd, &path);
    let full = fs::read_to_string(&log).unwrap();
    assert!(full.len() <= 16 << 10, "{}", full.len());

    let pid = turnd.pid().to_string();
    let mut enlarge = Command::new("nsenter");
    enlarge.args([
        "--target",
        &pid,
        "--mount",
        "mount",
        "-o",
        "remount,size=1m",
        &disk,
    ]);
    run(&mut enlarge, LIMIT);
    client.deallocate();
    let read = || fs::read_to_string(&log).unwrap();
    eventually("a line that tells", || {
        read().contains("log lines were dropped")
    });
    let lines = read();
    assert_eq!(
        sum(&lines, "log lines were dropped", "lines="),
        dropped(&turnd)
    );
    // A line that did not fit is cut, and spoils none after it.
    for line in lines.lines() {
        assert!(line.matches(" INFO ").count() <= 1, "{line}");
    }
    turnd.expect_alive();
}

/// A server in a mount namespace whose /dev holds nothing but `null` and a link to this socket.
fn with_syslog(socket: &Path) -> Turnd {
    let scratch = socket.parent().unwrap().display();
    let before = format!(
        "touch {scratch}/null && mount --bind /dev/null {scratch}/null && mount -t tmpfs none /dev && touch /dev/null && \
         mount --bind {scratch}/null /dev/null && ln -s {} /dev/log",
        socket.display()
    );
    let extras = Extras {
        before: &before,
        ..Extras::default()
    };
    Turnd::start_with("syslog = true", extras)
}

/// The messages of a syslog daemon's socket, until one has this text.
fn messages_with(daemon: &UnixDatagram, text: &str) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    while !messages.last().is_some_and(|last| last.contains(text)) {
        let mut bytes = vec![0; 1 << 14];
        let received = daemon.recv(&mut bytes);
        let len = received.unwrap_or_else(|error| panic!("{error}: no {text} in {messages:#?}"));
        messages.push(String::from_utf8(bytes[..len].to_vec()).unwrap());
    }
    messages
}

#[test]
fn the_syslog_daemon_gets_each_line_with_its_priority_and_may_come_and_go() {
    let scratch = Scratch::new();
    let socket = scratch.path().join("log");
    let bind = || {
        let daemon = UnixDatagram::bind(&socket).unwrap();
        daemon.set_read_timeout(Some(LIMIT)).unwrap();
        daemon
    };
    let daemon = bind();
    let mut turnd = with_syslog(&socket);
    let pid = turnd.pid();
    let messages = messages_with(&daemon, "serving version=");
    for message in &messages {
        let head = [28, 30].map(|number| format!("<{number}>turnd[{pid}]: "));
        let level = if message.starts_with(&head[0]) {
            "WARN "
        } else {
            "INFO "
        };
        let head = head.iter().find_map(|head| message.strip_prefix(head));
        let said = head.unwrap_or_else(|| panic!("{message}"));
        assert!(said.starts_with(level), "{message}");
        assert!(!message.ends_with('\n'), "{message:?}");
    }
    assert_eq!(turnd.log(), "");

    drop(daemon);
    fs::remove_file(&socket).unwrap();
    let (client, _) = StunClient::allocated(turnd.address());
    let log = turnd.log_with("INFO allocation created");
    let told = "WARN syslog: /dev/log cannot be reached: ";
    turnd.log_with(told);
    client.deallocate();
    turnd.log_with("INFO allocation ended");
    assert_eq!(turnd.log().matches(told).count(), 1, "{log}");

    let daemon = bind();
    let (_client, _) = StunClient::allocated(turnd.address());
    messages_with(&daemon, "the syslog daemon is back");
    turnd.signal(Signal::TERM);
    messages_with(&daemon, "INFO stopped");
    assert_eq!(turnd.exit_code(LIMIT), Some(0));
}

/// Lines that the server says it has lost.
fn dropped(turnd: &Turnd) -> u64 {
    let metrics = api(turnd).get("/metrics").body;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("turnd_log_lines_dropped_total "));
    line.unwrap().parse().unwrap()
}

/// The sum of the numbers that follow `label` in the lines that contain `text`.
fn sum(log: &str, text: &str, label: &str) -> u64 {
    let lines = log.lines().filter(|line| line.contains(text));
    let number = |line: &str| {
        let rest = line.split(label).nth(1)?;
        rest.split(' ').next()?.parse::<u64>().ok()
    };
    lines.map(|line| number(line).unwrap()).sum()
}

/// Gives wrong passwords, each of which is refused.
fn guess(server: std::net::SocketAddr, times: usize) {
    let mut client = StunClient::new(server);
    client.log_in(USER, "wrong");
    for _ in 0..times {
        let reply = client.ask(&client.signed(METHOD_ALLOCATE, vec![]));
        assert_eq!(status(&reply.expect("no answer to a wrong password")), 401);
    }
}
