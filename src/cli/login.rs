//! Credentials that a command logs in with.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use turnd_proto::auth::rest;

use super::Failure;
use super::secret::{SECRET, SecretArgs, ask, given, variable};
use crate::config::Secret;

/// Variable in place of `--password`.
const PASSWORD: &str = "TURND_PASSWORD";

/// Flags with a user and a password, or with a secret to make them of.
#[derive(clap::Args)]
pub(super) struct LoginArgs {
    /// User name; the password is asked for unless something else says it.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["secret", "secret_file"])]
    user: Option<String>,
    /// Password, or - to read it from standard input. Others on this machine can read it here; --password-file or the
    /// variable TURND_PASSWORD hides it.
    #[arg(long, value_name = "TEXT", requires = "user")]
    password: Option<Secret>,
    /// File with the password on its first line, or - for standard input.
    #[arg(
        long,
        value_name = "FILE",
        requires = "user",
        conflicts_with = "password"
    )]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    secret: SecretArgs,
}

impl LoginArgs {
    /// User name and password. Without flags, `or_variable` says whether the variable may stand for a secret; credentials
    /// made of one are for `name` and as long as `valid`.
    pub(super) fn read(
        &self,
        name: &str,
        valid: Duration,
        or_variable: bool,
    ) -> Result<Option<(String, Secret)>, Failure> {
        if let Some(user) = &self.user {
            let prompt = format!("Password of {}", user.escape_debug());
            let given = given(
                "password",
                self.password.as_ref(),
                self.password_file.as_deref(),
                &prompt,
            )?;
            let password = match (given, variable(PASSWORD)?) {
                (Some(password), _) | (None, Some(password)) => password,
                (None, None) if io::stdin().is_terminal() => ask(&prompt)?,
                (None, None) => {
                    return Err(Failure::usage(format!(
                        "--user: there is no password; give --password-file, --password - for standard input, or {PASSWORD}"
                    )));
                }
            };
            return Ok(Some((user.clone(), password)));
        }
        let secret = match self.secret.read()? {
            None if or_variable => variable(SECRET)?,
            given => given,
        };
        Ok(secret.map(|secret| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let expiry = now.unwrap_or_default() + valid;
            let user = rest::username(expiry.as_secs(), Some(name), ':');
            let password = Secret::new(rest::password(secret.reveal(), &user));
            (user, password)
        }))
    }
}
