//! Secrets in the memory of the server.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

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

/// A long text that occurs nowhere else.
fn secret(name: &str) -> String {
    format!("{name}-{}", "q7Zr".repeat(8))
}

#[test]
fn a_secret_that_a_reload_replaced_is_in_memory_no_more() {
    let [password, shared, nonce, token] = ["password", "shared", "nonce", "token"].map(secret);
    let new = secret("new");
    let toml = |[password, shared, nonce, token]: [&str; 4]| {
        format!(
            "user = 'alice:{password}'\nstatic-auth-secret = ['{shared}', 'another-{new}']\n\
             nonce-secret = '{nonce}'\nadmin-token = '{token}'"
        )
    };
    let olds = [&*password, &shared, &nonce, &token];
    let turnd = Turnd::start(&toml(olds));
    let address = turnd.address();
    let allocate = |password: &str| {
        let mut client = StunClient::new(address);
        client.log_in("alice", password);
        let reply = client.ask(&client.signed(METHOD_ALLOCATE, vec![])).unwrap();
        // A bad request, and no wrong password.
        assert_eq!(error_code(&reply), Some(400), "{reply}");
    };
    allocate(&password);
    let before = occurrences(turnd.pid(), &olds);
    assert!(before.iter().all(|count| *count > 0), "{before:?}");

    turnd.configure(&toml([&new; 4]));
    turnd.signal("HUP");
    wait_for("configuration reloaded", || turnd.log());
    allocate(&new);
    assert_eq!(occurrences(turnd.pid(), &olds), [0; 4]);
}
