//! Access to the admin listener, and clients of it that send too slowly or too much.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use super::{Http, start, tcp, usual_session};
use crate::support::Turnd;

/// Kilobytes of memory, and open files.
fn usage(turnd: &Turnd) -> (u64, usize) {
    let pid = turnd.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:"));
    let memory = line.unwrap().split_whitespace().nth(1).unwrap();
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    (memory.parse().unwrap(), files)
}

#[test]
fn clients_that_only_hold_connections_keep_nobody_out() {
    let turnd = start("admin-token = 'north'");
    let http = tcp(&turnd).with_token("north");
    assert_eq!(http.get("/healthz").status, 200);
    let (memory, files) = usage(&turnd);
    let head = format!("GET /page.js HTTP/1.1\r\nHost: {}\r\n", turnd.admin());
    let full = format!("{head}\r\n");
    let endless_body = format!(
        "POST /api/v1/kill HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer north\r\nContent-Type: application/json\r\nContent-Length: 15000\r\n\r\n{{",
        turnd.admin()
    );
    let mut held = Vec::new();
    for round in 0..400 {
        let mut stream = http.connect();
        let text = match round % 4 {
            // Nothing, half a head, half a body, and many requests whose answers are never read.
            0 => String::new(),
            1 => head.clone(),
            2 => endless_body.clone(),
            _ => full.repeat(60),
        };
        let _ = stream.write_all(text.as_bytes());
        held.push(stream);
        if round % 20 == 0 {
            let asked = Instant::now();
            assert_eq!(http.get("/healthz").status, 200);
            assert_eq!(http.get("/api/v1/status").json()["draining"], false);
            assert!(asked.elapsed() < Duration::from_secs(5));
        }
    }
    assert_eq!(Http::unix(&turnd.admin_socket()).get("/readyz").status, 200);
    let _session = usual_session(&turnd);
    let (memory_now, files_now) = usage(&turnd);
    assert!(files_now < files + 80, "{files} files became {files_now}");
    assert!(
        memory_now < memory + 30_000,
        "{memory} kB became {memory_now} kB"
    );
}
