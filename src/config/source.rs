//! Files of the configuration: the TOML itself, credentials, certificates and keys.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};
use zeroize::Zeroizing;

use super::Secret;
use super::error::ConfigError;
use crate::problem::Problem;

/// No configuration or credentials file is larger; `/dev/zero` is.
const LARGEST: u64 = 16 << 20;

/// A file and its contents.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// May hold secrets in clear.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Everyone on the machine may read it.
    pub(super) public: bool,
}

impl Source {
    /// The text, or where it stops being text.
    pub(super) fn text(&self) -> Result<&str, ConfigError> {
        std::str::from_utf8(&self.bytes).map_err(|error| {
            let (good, _) = self.bytes.split_at(error.valid_up_to());
            ConfigError::of_file(
                &self.path,
                Some(line_at(good, good.len())),
                Problem::new("is not UTF-8 text", "save the file as UTF-8"),
            )
        })
    }

    /// The lines that hold something, numbered from 1; lines that begin with `#` are comments.
    pub(super) fn entries(&self) -> Result<Vec<(usize, &str)>, ConfigError> {
        let lines = self.text()?.lines().map(str::trim).enumerate();
        Ok(lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(n, line)| (n + 1, line))
            .collect())
    }

    /// Warning for a file of secrets that everyone may read.
    pub(super) fn exposure(&self) -> Option<String> {
        let path = self.path.display();
        self.public.then(|| {
            format!("{path}: holds secrets and every user of this machine can read it; run `chmod o= {path}`")
        })
    }
}

/// The secret on the first line of a file of secrets. The error names the file.
pub(crate) fn first_secret(path: &Path) -> Result<Secret, Problem> {
    let shown = path.display();
    let source =
        read(path, "name a file that this user may read").map_err(|problem| problem.of(&shown))?;
    let lines = source
        .entries()
        .map_err(|error| Problem::new(error.place() + &error.problem.what, error.problem.remedy))?;
    match lines.first() {
        Some((_, text)) => Ok(Secret::new(*text)),
        None => Err(Problem::new("is empty", "write one secret").of(shown)),
    }
}

/// Reads a whole file of a sane size. The error does not name the file, and ends with `remedy`.
pub(super) fn read(path: &Path, remedy: &str) -> Result<Source, Problem> {
    let problem = |error: std::io::Error| {
        let what = match error.kind() {
            ErrorKind::PermissionDenied => forbidden(path, &error),
            _ => format!("cannot be read: {error}"),
        };
        Problem::new(what, remedy)
    };
    let file = File::open(path).map_err(problem)?;
    let about = file.metadata().map_err(problem)?;
    if about.is_dir() {
        return Err(Problem::new("is a folder", remedy));
    }
    // A vector that grows leaves a copy behind.
    let size = usize::try_from(about.len().min(LARGEST)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 64));
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(problem)?;
    if bytes.len() as u64 > LARGEST {
        let what = format!("is larger than {} MiB", LARGEST >> 20);
        return Err(Problem::new(what, remedy));
    }
    Ok(Source {
        path: path.to_owned(),
        bytes,
        public: about.is_file() && about.mode() & 0o004 != 0,
    })
}

/// Says who may not read a file, for a process that changed its user, and how its group could.
fn forbidden(path: &Path, error: &std::io::Error) -> String {
    let user = nix::unistd::geteuid();
    let group = nix::unistd::getegid();
    let user = match User::from_uid(user) {
        Ok(Some(user)) => user.name,
        _ => user.to_string(),
    };
    let group = match Group::from_gid(group) {
        Ok(Some(group)) => group.name,
        _ => group.to_string(),
    };
    let path = path.display();
    format!(
        "cannot be read by user {user}: {error}; `chgrp {group} {path}` and `chmod g+r {path}` let it, as far as its folders do"
    )
}

/// The number of the line that holds the byte `at`, from 1.
fn line_at(text: &[u8], at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}
