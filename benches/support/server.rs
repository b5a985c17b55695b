//! A turnd of this build, and what the kernel and its own metrics say of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const REALM: &str = "example.org";
pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "a password of alice";
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9641);
const START_LIMIT: Duration = Duration::from_secs(20);

/// Listens on every address, port 3478.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    /// Certificate that the server shows, in DER.
    pub(crate) certificate: Vec<u8>,
}

impl Server {
    /// Starts it with `toml` beside what every load needs, and waits until it answers.
    pub(crate) fn start(toml: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("turnd-load-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (cert, key) = (
            file("cert.pem", &made.cert.pem()),
            file("key.pem", &made.signing_key.serialize_pem()),
        );
        let config = format!(
            "realm = '{REALM}'\nuser = '{USER}:{PASSWORD}'\ncert = '{cert}'\npkey = '{key}'\nallow-loopback-peers = true
log-file = '{}'\nadmin-listen = ['{METRICS}', '{}']\n{toml}",
            folder.join("log").display(),
            folder.join("admin.sock").display(),
        );
        let config = file("turnd.toml", &config);
        let child = Command::new(env!("CARGO_BIN_EXE_turnd"))
            .args(["serve", "-c", &config])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            child,
            folder,
            certificate: made.cert.der().to_vec(),
        };
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(METRICS).is_err() {
            assert!(Instant::now() < deadline, "turnd does not start");
            thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Address on the loopback network.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 3478))
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.child.id().to_string())
            .join(name)
    }

    /// Nanoseconds that its threads have had a processor.
    pub(crate) fn cpu(&self) -> u64 {
        let tasks = fs::read_dir(self.proc("task")).unwrap();
        let stat = |task: PathBuf| fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        let first = |text: String| text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        tasks
            .filter_map(|task| first(stat(task.unwrap().path())))
            .sum()
    }

    /// Resident memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// File descriptors that are open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// All metrics, as text.
    pub(crate) fn metrics(&self) -> Metrics {
        let mut stream = TcpStream::connect(METRICS).unwrap();
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {METRICS}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        Metrics(text)
    }

    /// Runs `turnd ctl` against it.
    pub(crate) fn ctl(&self, words: &[&str]) {
        let status = Command::new(env!("CARGO_BIN_EXE_turnd"))
            .args(["ctl", "--admin"])
            .arg(self.folder.join("admin.sock"))
            .args(words)
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "turnd ctl {words:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One reading of the metrics.
pub(crate) struct Metrics(String);

impl Metrics {
    /// The sum of all samples whose name and labels begin so.
    pub(crate) fn sum(&self, start: &str) -> u64 {
        let value = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok());
        let lines = self.0.lines().filter(|line| {
            line.strip_prefix(start)
                .is_some_and(|rest| rest.starts_with(['{', ' ', ',']))
        });
        lines.filter_map(value).sum()
    }
}
