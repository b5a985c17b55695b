//! Secrets in the memory of the server.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use rustix::process::Signal;
use stun::message::METHOD_ALLOCATE;

use super::wait_for;
use crate::support::{StunClient, Turnd, error_code};

/// How often each text is in the memory that the process may write to.
fn occurrences(pid: u32, texts: &[&str]) -> Vec<usize> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = vec![0; texts.len()];
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let range = line.split(' ').next().unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let address = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = (address(start), address(end));
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // The kernel's own pages cannot be read.
        if memory.read_exact_at(&mut bytes, start).is_err() {
            continue;
        }
        for (count, text) in found.iter_mut().zip(texts) {
            let (first, text) = (text.as_bytes()[0], text.as_bytes());
            let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
            *count += starts
                .filter(|(at, _)| bytes[*at..].starts_with(text))
                .count();
        }
    }
    found
}

/// End of a secret: an allocator writes over the beginning of what is freed.
fn end(name: &str) -> String {
    format!("{name}-q7Zrq7Zrq7Zrq7Zr")
}

fn secret(name: &str, n: usize) -> String {
    format!("{n:032}-{}", end(name))
}

/// More secrets than are overwritten by chance when their memory is used again.
fn secrets(name: &str) -> Vec<String> {
    (0..50).map(|n| secret(name, n)).collect()
}

#[test]
fn a_secret_that_a_reload_replaced_is_in_memory_no_more() {
    let quoted = |texts: Vec<String>| format!("['{}']", texts.join("', '"));
    let [passwords, shared] = ["password", "shared"].map(secrets);
    let users = passwords
        .iter()
        .enumerate()
        .map(|(n, p)| format!("user{n}:{p}"));
    let old = format!(
        "user = {}\nstatic-auth-secret = {}\nnonce-secret = '{}'\nadmin-token = '{}'",
        quoted(users.collect()),
        quoted(shared),
        secret("nonce", 0),
        secret("token", 0)
    );
    let olds = ["password", "shared", "nonce", "token"].map(end);
    let olds = olds.each_ref().map(String::as_str);
    let turnd = Turnd::start(&old);
    let address = turnd.address();
    let allocate = |user: &str, password: &str| {
        let mut client = StunClient::new(address);
        client.log_in(user, password);
        let reply = client.ask(&client.signed(METHOD_ALLOCATE, vec![])).unwrap();
        // A bad request, and no wrong password.
        assert_eq!(error_code(&reply), Some(400), "{reply}");
    };
    allocate("user0", &passwords[0]);
    let before = occurrences(turnd.pid(), &olds);
    assert!(before.iter().all(|count| *count > 0), "{before:?}");

    turnd.configure("user = 'bob:correct horse'");
    turnd.signal(Signal::HUP);
    wait_for("configuration reloaded", || turnd.log());
    allocate("bob", "correct horse");
    assert_eq!(occurrences(turnd.pid(), &olds), [0; 4]);
}
