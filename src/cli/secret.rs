//! Secrets for a command: from a file, standard input, a variable, or a prompt.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::Failure;
use crate::config::{self, Secret};

/// Longest line in bytes that is read as a secret.
const LONGEST: u64 = 64 << 10;

/// Variable in place of `--secret`.
pub(super) const SECRET: &str = "TURND_SECRET";

/// Flags with the secret that makes credentials.
#[derive(clap::Args)]
pub(super) struct SecretArgs {
    /// Secret (static-auth-secret) of the server, to make a credential of, or - to read it from standard input. Others on
    /// this machine can read it here; --secret-file or the variable TURND_SECRET hides it.
    #[arg(long, value_name = "TEXT")]
    secret: Option<Secret>,
    /// File with that secret on its first line, or - for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    secret_file: Option<PathBuf>,
}

impl SecretArgs {
    /// The secret, if one is given by a flag.
    pub(super) fn read(&self) -> Result<Option<Secret>, Failure> {
        given(
            "secret",
            self.secret.as_ref(),
            self.secret_file.as_deref(),
            "Secret",
        )
    }
}

/// Secret that `--FLAG` or `--FLAG-file` gives; `-` stands for standard input in both.
pub(super) fn given(
    flag: &str,
    text: Option<&Secret>,
    file: Option<&Path>,
    prompt: &str,
) -> Result<Option<Secret>, Failure> {
    let secret = match (text, file) {
        (Some(text), _) if text.reveal() == "-" => ask(prompt)?,
        (Some(text), _) => text.clone(),
        (None, Some(path)) if path.as_os_str() == "-" => ask(prompt)?,
        (None, Some(path)) => config::first_secret(path)
            .map_err(|problem| Failure::usage(format!("--{flag}-file: {problem}")))?,
        (None, None) => return Ok(None),
    };
    if secret.reveal().is_empty() {
        return Err(Failure::usage(format!(
            "--{flag}: is empty; give the one that the server knows"
        )));
    }
    Ok(Some(secret))
}

/// Secret in a variable of the environment; `None` when it is absent or empty.
pub(super) fn variable(name: &str) -> Result<Option<Secret>, Failure> {
    let Some(value) = std::env::var_os(name) else {
        return Ok(None);
    };
    let text = value.into_string().map_err(|_| {
        Failure::usage(format!(
            "the variable {name} is not UTF-8; set it to UTF-8 text"
        ))
    })?;
    Ok(Some(Secret::new(text)).filter(|secret| !secret.reveal().is_empty()))
}

/// Reads a line of standard input; on a terminal after a prompt and without echo.
pub(super) fn ask(prompt: &str) -> Result<Secret, Failure> {
    let failed = |error: io::Error| Failure::Run(format!("standard input cannot be read: {error}"));
    let _quiet = match io::stdin().is_terminal() {
        true => Some(Quiet::new(prompt).map_err(failed)?),
        false => None,
    };
    let mut line = Zeroizing::new(Vec::with_capacity(256));
    let input = io::stdin().lock();
    input
        .take(LONGEST)
        .read_until(b'\n', &mut line)
        .map_err(failed)?;
    while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        line.pop();
    }
    match std::str::from_utf8(&line) {
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => Err(Failure::usage("standard input: is not UTF-8 text")),
    }
}

/// A terminal that does not show what is typed until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn new(prompt: &str) -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // The end of the line is shown, or the next line would begin behind the prompt.
        quiet.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        let quiet = Self(before);
        write!(io::stderr(), "{prompt}: ")?;
        Ok(quiet)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing any more.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
