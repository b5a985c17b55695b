//! A certificate authority of the test's own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{Scratch, run};

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Authority(Scratch);

impl Authority {
    pub(crate) fn new() -> Self {
        let authority = Self(Scratch::new());
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem \
             -subj /CN=turnd-test-authority -days 2 -addext basicConstraints=critical,CA:TRUE",
        );
        authority
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The authority's own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace());
        run(command.current_dir(self.0.path()), LIMIT);
    }

    /// Makes NAME.pem and NAME.key for a host; `key` as in `openssl req -newkey`.
    pub(crate) fn issue(&self, name: &str, host: &str, key: &str, days: u32) {
        self.openssl(&format!(
            "req -newkey {key} -nodes -keyout {name}.key -out {name}.csr -subj /CN={host} \
             -addext subjectAltName=DNS:{host},IP:127.0.0.1,IP:::1"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy \
             -out {name}.pem -days {days}"
        ));
    }

    /// The keys of the configuration for these certificates.
    pub(crate) fn toml(&self, names: &[&str]) -> String {
        let list = |ending: &str| {
            let paths = names
                .iter()
                .map(|name| self.path(&format!("{name}.{ending}")));
            paths
                .map(|path| format!("'{}'", path.display()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        format!("cert = [{}]\npkey = [{}]\n", list("pem"), list("key"))
    }
}
