//! Workers that end or stall: what is told of them, and what comes of the process.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use super::{api, eventually};
use crate::support::{Extras, Scratch, StunClient, Turnd};

const LEAVES: Duration = Duration::from_secs(15);

/// Two workers that do what a file says.
struct Faulty {
    turnd: Turnd,
    order: PathBuf,
    _scratch: Scratch,
}

impl Faulty {
    fn start(toml: &str, more: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new();
        let order = scratch.path().join("fault");
        let mut env = vec![("TURND_TEST_FAULT", order.to_str().unwrap())];
        env.extend(more);
        let extras = Extras {
            admin: true,
            env: &env,
            ..Extras::default()
        };
        let turnd = Turnd::start_with(&format!("relay-threads = 2\n{toml}"), extras);
        Self {
            turnd,
            order,
            _scratch: scratch,
        }
    }

    /// Has a worker do this from now on: `panic 0`, `error 1`.
    fn order(&self, what: &str) {
        let new = self.order.with_extension("new");
        fs::write(&new, what).unwrap();
        fs::rename(new, &self.order).unwrap();
    }
}

#[test]
fn a_worker_that_ends_unasked_ends_the_process_and_says_why() {
    for (order, reason) in [
        ("panic 1", "it panicked: a test asked for it"),
        ("error 1", "a test asked for it"),
    ] {
        let scratch = Scratch::new();
        let file = scratch.path().join("turnd.log");
        for log_file in [None, Some(&file)] {
            let toml = log_file.map(|path| format!("log-file = '{}'", path.display()));
            let mut faulty = Faulty::start(&toml.unwrap_or_default(), &[]);
            let (_client, _) = StunClient::allocated(faulty.turnd.address());
            assert_eq!(api(&faulty.turnd).get("/healthz").status, 200);
            faulty.order(order);
            // 2 would keep systemd from starting it again.
            assert_eq!(faulty.turnd.exit_code(LEAVES), Some(1));
            let stderr = faulty.turnd.log();
            let line = format!("a worker ended, so turnd ends worker=1 reason=\"{reason}\"");
            let log = match log_file {
                Some(path) => {
                    let line = format!("turnd: worker 1 ended: {reason}\n");
                    assert!(stderr.contains(&line), "{stderr}");
                    fs::read_to_string(path).unwrap()
                }
                None => stderr.clone(),
            };
            assert!(log.contains(&line), "{log}");
            if order == "panic 1" {
                assert!(
                    log.contains("a thread panicked thread=\"worker-1\""),
                    "{log}"
                );
                assert!(stderr.contains("src/net/fault.rs"), "{stderr}");
            }
        }
    }
}

#[test]
fn a_worker_that_does_not_answer_is_told_by_health_metrics_and_watchdog() {
    let scratch = Scratch::new();
    let path = scratch.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let heard = || {
        let mut buffer = [0; 256];
        let mut heard = Vec::new();
        while let Ok(len) = manager.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
        }
        heard
    };
    let env = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "100000"),
    ];
    let mut faulty = Faulty::start("", &env);
    let http = || api(&faulty.turnd);
    let watchdog = || heard().iter().any(|text| text == "WATCHDOG=1");
    eventually("a watchdog", watchdog);
    faulty.order("stall 1");
    let silent = "worker 1 does not answer";
    eventually("a stall", || http().get("/healthz").status == 503);
    heard();
    // Each of these takes as long as many of the watchdog's intervals.
    for path in ["/healthz", "/readyz"] {
        let answer = http().get(path);
        assert_eq!((answer.status, answer.body), (503, format!("{silent}\n")));
    }
    for path in ["/metrics", "/api/v1/status", "/api/v1/sessions"] {
        let answer = http().get(path);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.any_json()["error"], silent);
    }
    assert!(!watchdog());
    faulty.order("none");
    eventually("health", || http().get("/healthz").status == 200);
    assert_eq!(http().get("/readyz").status, 200);
    eventually("a watchdog", watchdog);
    faulty.turnd.expect_alive();
}
