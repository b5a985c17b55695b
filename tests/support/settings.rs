//! Settings of a server in a test: plain values, which no configuration file has been through.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};

use turnd_proto::auth::secret::Secret;
use turnd_proto::auth::{self, Credential, Keys, User};
use turnd_proto::policy::ip_range::IpRange;
use turnd_proto::server::{self, settings::ExternalIp};

use super::{PASSWORD, REALM, USER};

/// Defaults, with `USER` of `REALM`.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) auth: auth::Settings,
    pub(crate) server: server::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Self {
            auth: auth::Settings {
                realm: REALM.to_owned(),
                ..auth::Settings::default()
            },
            server: server::Settings::default(),
        };
        settings.users(&[&format!("{USER}:{PASSWORD}")]);
        settings
    }
}

impl Deref for Settings {
    type Target = server::Settings;

    fn deref(&self) -> &Self::Target {
        &self.server
    }
}

impl DerefMut for Settings {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.server
    }
}

/// A change of the usual settings.
pub(crate) type Change = fn(&mut Settings);

impl Settings {
    /// These users alone: "name:password", or "name:0x" and a stored key.
    pub(crate) fn users(&mut self, users: &[&str]) {
        let user = |text: &&str| {
            let (name, proof) = text.split_once(':').expect("a name and a password");
            User {
                name: name.to_owned(),
                credential: match Keys::from_hex(proof) {
                    Some(keys) => Credential::Keys(keys),
                    None => Credential::Password(Secret::new(proof)),
                },
            }
        };
        self.auth.users = users.iter().map(user).collect();
    }

    /// REST secrets, newest first, in place of users.
    pub(crate) fn secrets(&mut self, secrets: &[&str]) {
        self.auth.secrets = secrets.iter().map(|text| Secret::new(*text)).collect();
        self.auth.users.clear();
    }

    pub(crate) fn ports(&mut self, min: u16, max: u16) {
        (self.relay.min_port, self.relay.max_port) = (min, max);
    }

    pub(crate) fn relay_ips(&mut self, ips: &[&str]) {
        self.relay.ips = ips.iter().map(|text| ip(text)).collect();
    }

    /// Each "public" or "public/private".
    pub(crate) fn external(&mut self, texts: &[&str]) {
        let external = |text: &&str| match text.split_once('/') {
            Some((public, private)) => ExternalIp {
                public: ip(public),
                private: Some(ip(private)),
            },
            None => ExternalIp {
                public: ip(text),
                private: None,
            },
        };
        self.relay.external = texts.iter().map(external).collect();
    }

    pub(crate) fn allow(&mut self, peers: &[&str]) {
        self.peers.allowed = ranges(peers);
    }

    pub(crate) fn deny(&mut self, peers: &[&str]) {
        self.peers.denied = ranges(peers);
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn ranges(texts: &[&str]) -> Vec<IpRange> {
    let range = |text: &&str| text.parse().expect("a range");
    texts.iter().map(range).collect()
}
