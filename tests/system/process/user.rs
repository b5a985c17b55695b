//! The user that the process becomes, and what is left of its rights.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;

use super::{LIMIT, wait_for};
use crate::support::{Authority, Extras, Key, Namespace, Running, Scratch, StunClient, Turnd, run};

const TURND: &str = env!("CARGO_BIN_EXE_turnd");
const OTHER: &str = "nobody";

fn id(option: &str) -> String {
    let id = run(Command::new("id").args([option, OTHER]), LIMIT);
    id.trim().to_owned()
}

fn number(option: &str) -> u32 {
    id(option).parse().unwrap()
}

/// The value of a line of /proc/PID/status, for each thread.
fn status(pid: u32, name: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let value = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("status")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_else(|| panic!("no {name}"))
            .trim()
            .to_owned()
    };
    threads.map(|thread| value(thread.unwrap())).collect()
}

#[track_caller]
fn expect_status(pid: u32, name: &str, expected: &str) {
    let all = status(pid, name);
    assert!(
        all.len() > 1 && all.iter().all(|value| value == expected),
        "{name}: {all:?}"
    );
}

fn expect_other_user(pid: u32) {
    let four = |id: String| [&*id; 4].join("\t");
    expect_status(pid, "Uid", &four(id("-u")));
    expect_status(pid, "Gid", &four(id("-g")));
    expect_status(pid, "Groups", &id("-G"));
    expect_status(pid, "NoNewPrivs", "1");
    for set in ["CapEff", "CapPrm", "CapAmb"] {
        expect_status(pid, set, "0000000000000000");
    }
}

#[test]
fn root_becomes_proc_user_and_serves_on() {
    let scratch = Scratch::new();
    let log = scratch.path().join("turnd.log");
    let pidfile = scratch.path().join("turnd.pid");
    let toml = format!(
        "proc-user = '{OTHER}'\nrelay-threads = 2\nlog-file = '{}'\npidfile = '{}'",
        log.display(),
        pidfile.display()
    );
    let extras = Extras {
        admin: true,
        ..Extras::default()
    };
    let mut turnd = Turnd::start_with(&toml, extras);
    expect_other_user(turnd.pid());
    StunClient::allocated(turnd.address());
    // The user's own are what it opens anew; the pid file, by which root sends signals, is root's.
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    assert_eq!(owner(&log), number("-u"));
    assert_eq!(owner(&turnd.admin_socket()), number("-u"));
    assert_eq!(
        fs::metadata(turnd.admin_socket()).unwrap().gid(),
        number("-g")
    );
    assert_eq!(owner(&pidfile), 0);

    turnd.signal(Signal::HUP);
    let read = || fs::read_to_string(&log).unwrap();
    wait_for("configuration reloaded", read);
    let lines = read();
    assert!(lines.contains("log reopened"), "{lines}");
    assert!(
        !lines.contains("WARN") || lines.contains("holds secrets"),
        "{lines}"
    );
    StunClient::allocated(turnd.address());
    turnd.signal(Signal::TERM);
    assert_eq!(turnd.exit_code(LIMIT), Some(0));
}

#[test]
fn what_only_root_may_read_is_told_at_the_start_and_at_a_reload() {
    let scratch = Scratch::new();
    let log = scratch.path().join("turnd.log");
    // root's from before, in a folder that is root's.
    fs::write(&log, "").unwrap();
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let key = authority.path("server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let toml = format!(
        "proc-user = '{OTHER}'\nlog-file = '{}'\n{}",
        log.display(),
        authority.toml(&["server"])
    );
    let turnd = Turnd::start(&toml);
    expect_other_user(turnd.pid());
    let read = || fs::read_to_string(&log).unwrap();
    let key = key.display();
    let foretold = format!("{key}: a reload will fail, as user {OTHER} may not read it");
    assert!(read().contains(&foretold), "{}", read());
    assert!(read().contains("HUP will not open"), "{}", read());
    assert!(read().contains("chown it"), "{}", read());

    turnd.signal(Signal::HUP);
    let failed = format!("{key} cannot be read by user {OTHER}: Permission denied (os error 13)");
    wait_for(&failed, read);
    assert!(
        read().contains("log not reopened, the old one stays"),
        "{}",
        read()
    );
    assert!(read().contains(&format!("chmod g+r {key}")), "{}", read());
    assert!(StunClient::new(turnd.address()).binding().is_some());
}

/// Starts the server in a namespace with this configuration.
fn serve(namespace: &Namespace, toml: &str, before: &str) -> Running {
    let scratch = Scratch::new();
    let file = scratch.path().join("turnd.toml");
    fs::write(&file, toml).unwrap();
    let mut command = namespace.command("sh");
    let script = format!("{before}\nexec {TURND} serve -c {}", file.display());
    Running::start_with(command.args(["-ec", &script]), scratch)
}

const LOW_PORTS: &str = "listening-ip = '127.0.0.1'\nrelay-ip = '127.0.0.1'\nlistening-port = 443\nuser = 'alice:secret'\n\
                         allow-loopback-peers = true\nadmin-listen = []\nproc-user = 'nobody'\n";

#[test]
fn ports_below_1024_are_bound_before_root_is_left_and_none_afterwards() {
    let namespace = Namespace::new("low");
    let running = serve(&namespace, LOW_PORTS, "");
    wait_for("listening address=127.0.0.1:443", || running.stderr());
    expect_other_user(running.pid());
    let mut probe = namespace.command(TURND);
    probe.args([
        "probe",
        "turn:127.0.0.1:443",
        "--user",
        "alice",
        "--password",
        "secret",
    ]);
    let shown = run(&mut probe, LIMIT);
    assert!(shown.contains("a browser is served"), "{shown}");

    let file = running.folder().join("turnd.toml");
    fs::write(&file, LOW_PORTS.replace("443", "80")).unwrap();
    running.signal(Signal::HUP);
    wait_for("configuration not reloaded", || running.stderr());
    let log = running.stderr();
    assert!(log.contains("127.0.0.1:80/udp may not be bound"), "{log}");
    assert!(
        log.contains("a process that was root until it became proc-user needs a restart"),
        "{log}"
    );
}

/// `turnd serve` as this user, to its end.
fn ends(toml: &str, user: Option<u32>) -> Output {
    let scratch = Scratch::new();
    let binary = scratch.path().join("turnd");
    // Other users may have no way to where it was built.
    if fs::hard_link(TURND, &binary).is_err() {
        fs::copy(TURND, &binary).unwrap();
    }
    let file = scratch.path().join("turnd.toml");
    fs::write(&file, toml).unwrap();
    let mut serve = Command::new(binary);
    serve.args(["serve", "-c"]).arg(file);
    if let Some(user) = user {
        serve.uid(user).gid(user);
    }
    serve.output().unwrap()
}

#[test]
fn a_user_that_cannot_be_become_ends_with_2() {
    for (user, config, message) in [
        (
            None,
            "proc-user = 'nosuchuser'",
            "there is no user \"nosuchuser\"; make it with",
        ),
        (
            Some(1),
            "proc-user = 'nobody'",
            "only root can become user nobody of group 65534, and this process is user daemon of group 1; start it as root",
        ),
    ] {
        let output = ends(
            &format!("no-auth = true\nadmin-listen = []\n{config}"),
            user,
        );
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(message), "{told}");
    }
}

#[test]
fn a_process_that_is_the_user_already_serves() {
    let namespace = Namespace::new("same");
    let scratch = Scratch::new();
    let binary = scratch.path().join("turnd");
    fs::copy(TURND, &binary).unwrap();
    let mut serve = namespace.command("setpriv");
    serve.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    serve
        .arg(binary)
        .args(["serve", "--no-auth", "--proc-user", OTHER]);
    serve.args(["--listening-ip", "127.0.0.1"]);
    let running = Running::start(&mut serve);
    wait_for("listening address=127.0.0.1:3478", || running.stderr());
    assert!(
        !running.stderr().contains("root left"),
        "{}",
        running.stderr()
    );
}

#[test]
fn nothing_of_its_memory_gets_out() {
    let namespace = Namespace::new("core");
    let scratch = Scratch::new();
    // The kernel would write a core there, and as large as it likes.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let before = format!("ulimit -c unlimited\ncd {}", scratch.path().display());
    let mut running = serve(&namespace, LOW_PORTS, &before);
    wait_for("listening address=127.0.0.1:443", || running.stderr());
    let pid = running.pid();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // Another process of the same user sees neither environment nor memory.
    for file in ["environ", "mem"] {
        let mut read = Command::new("head");
        read.args(["-c", "1", &format!("/proc/{pid}/{file}")]);
        let output = read.uid(number("-u")).gid(number("-g")).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("Permission denied"), "{file}: {told}");
    }
    running.signal(Signal::ABORT);
    let ended = running.wait(LIMIT).expect("it was told to abort");
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false));
    let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
