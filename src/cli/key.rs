//! `turnd key`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use turnd_proto::auth::Keys;
use turnd_proto::auth::algorithm::PasswordAlgorithm;
use turnd_proto::auth::key::Key;

use super::secret::{ask, given};
use super::{Failure, say};
use crate::config::Secret;

/// Print the key to store in place of a password: user = "USER:0x…".
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  turnd key alice turn.example.org\n  turnd key alice turn.example.org <password-file
  turnd key --algorithm both alice turn.example.org"
)]
pub(super) struct MakeKey {
    /// Name of the user.
    user: String,
    /// Realm of the server; a key is good for this realm only.
    realm: String,
    /// Password of the user; absent or -: asked for on a terminal, read from standard input otherwise. Others on this
    /// machine can read it here.
    password: Option<Secret>,
    /// File with the password on its first line, or - for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "password")]
    password_file: Option<PathBuf>,
    /// Hash of the key. Clients of RFC 8489 use SHA-256 where password-algorithms is on, all others MD5.
    #[arg(long, value_name = "HASH", default_value = "md5")]
    algorithm: Algorithm,
}

/// Hash of a key.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Algorithm {
    /// For every client.
    Md5,
    /// For clients of RFC 8489.
    Sha256,
    /// One key of each, with a comma between them.
    Both,
}

impl MakeKey {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { user, realm, .. } = &self;
        let password = self.password()?;
        let keys = Keys::from_password(user, realm, password.reveal())
            .map_err(|error| Failure::usage(format!("no key can be made: {error}")))?;
        let of = |algorithm| keys.get(algorithm).map(Key::to_hex).unwrap_or_default();
        say(match self.algorithm {
            Algorithm::Md5 => of(PasswordAlgorithm::Md5),
            Algorithm::Sha256 => of(PasswordAlgorithm::Sha256),
            Algorithm::Both => keys.to_hex(),
        })
    }

    fn password(&self) -> Result<Secret, Failure> {
        let file = self.password_file.as_deref();
        if let Some(password) = given("password", None, file, "Password")? {
            return Ok(password);
        }
        match &self.password {
            Some(password) if password.reveal() != "-" => Ok(password.clone()),
            _ => {
                let prompt = format!("Password of {}", self.user.escape_debug());
                let password = ask(&prompt)?;
                // The password was typed unseen, and the key does not show it either.
                if io::stdin().is_terminal() && ask("Once more")? != password {
                    return Err(Failure::usage("the two passwords differ; type them again"));
                }
                Ok(password)
            }
        }
    }
}
