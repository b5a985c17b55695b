//! `turnd check`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::unistd::{User, geteuid};
use tokio::runtime::Builder;

use super::{Failure, Settings, complain, open_files, preflight, say};
use crate::config::certificate::Certificate;
use crate::config::file::FileConfig;
use crate::config::summary::Summary;
use crate::config::{Config, Loaded, ProcUser, SEARCH};
use crate::daemon::privileges;
use crate::daemon::public_address::{AT_START, Look};
use crate::net::host;

/// User that the package's unit starts the server as.
const UNIT_USER: &str = "turnd";

/// Seconds before the end of a certificate at which it is warned of.
const NOTICE: u64 = 14 * 86400;

/// Check the configuration, and whether this machine has what it needs.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  turnd check -c turnd.toml
  turnd check --as turnd
  turnd check -q && systemctl reload turnd")]
pub(super) struct Check {
    /// Print every key with its value, and not only those that differ from the defaults.
    #[arg(long, help_heading = "Check")]
    all: bool,
    /// Print errors and warnings only.
    #[arg(short, long, help_heading = "Check")]
    quiet: bool,
    /// User who will serve, whose rights are tried; root only. Otherwise, for /etc/turnd/turnd.toml, the user turnd if there
    /// is one.
    #[arg(long = "as", value_name = "USER", help_heading = "Check")]
    as_user: Option<String>,
    /// Check the file alone, and nothing of this machine: for another one's configuration.
    #[arg(long, conflicts_with = "as_user", help_heading = "Check")]
    file_only: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut loaded = self.settings.load_quietly()?;
        let mut errors = Vec::new();
        let mut warnings = ended(&loaded.config);
        let mut look = Look::default();
        if !self.file_only {
            let packaged = loaded.file.as_deref() == Some(Path::new(SEARCH[1]));
            // Before this process is another user's: the unit lets that user have low ports.
            let found = preflight::addresses(&loaded.config, packaged);
            errors.extend(found.errors);
            warnings.extend(found.warnings);
            // The unit has a limit of its own.
            if !packaged {
                warnings.extend(open_files::raise(&loaded.config));
            }
            if let Some(user) = self.other_user(&loaded)? {
                become_user(&user)?;
                let again = self.settings.load_quietly();
                loaded = again.map_err(|failure| as_user(failure, &user))?;
                warnings.extend(preflight::low_port(&loaded.config).map(|port| {
                    let user = &user.name;
                    format!(
                        "port {port}: user {user} needs CAP_NET_BIND_SERVICE for it, which turnd's unit gives (AmbientCapabilities)"
                    )
                }));
            }
            if packaged && loaded.config.user.is_none() {
                let found = preflight::files_of_unit(&loaded.config);
                errors.extend(found.errors);
                warnings.extend(found.warnings);
            } else {
                errors.extend(preflight::files(&loaded.config));
            }
            warnings.extend(unreadable_later(&loaded)?);
            look = look_for_public_address(&loaded.config)?;
            warnings.extend(look.warnings());
        }
        if !errors.is_empty() {
            loaded.warnings.iter().chain(&warnings).for_each(warn);
            return Err(Failure::Usage(
                errors.iter().map(ToString::to_string).collect(),
            ));
        }
        if !self.quiet {
            good(&loaded, &look)?;
        }
        loaded.warnings.iter().chain(&warnings).for_each(warn);
        if !self.quiet {
            let shown = if self.all {
                loaded.resolved.masked()
            } else {
                changed(&loaded)?
            };
            say(shown.to_toml().map_err(Failure::run)?.trim_end())?;
        }
        Ok(())
    }

    /// User whose rights are to be tried in place of this process's.
    fn other_user(&self, loaded: &Loaded) -> Result<Option<ProcUser>, Failure> {
        let packaged = || {
            // With proc-user root opens the files.
            geteuid().is_root()
                && loaded.config.user.is_none()
                && loaded.file.as_deref() == Some(Path::new(SEARCH[1]))
        };
        let name = match &self.as_user {
            Some(name) => name,
            None if packaged() => UNIT_USER,
            None => return Ok(None),
        };
        match User::from_name(name) {
            Ok(Some(user)) => Ok(Some(ProcUser {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })),
            Ok(None) if self.as_user.is_none() => Ok(None),
            Ok(None) => Err(Failure::usage(format!(
                "--as: there is no user {name:?}; name one that `getent passwd` lists"
            ))),
            Err(error) => Err(Failure::usage(format!(
                "--as: user {name:?} cannot be looked up: {error}; see that `getent passwd` works"
            ))),
        }
    }
}

/// Warnings about certificates that are good no longer, or for less than two weeks.
fn ended(config: &Config) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let warning = |certificate: &Certificate| {
        let names = certificate.names.join(", ");
        let end = u64::try_from(certificate.not_after).unwrap_or_default();
        let what = if end <= now {
            "clients refuse it"
        } else if end < now + NOTICE {
            "it ends soon"
        } else {
            return None;
        };
        Some(format!(
            "cert: the certificate for {names} is good until {}: {what}; renew it",
            certificate.last_day()
        ))
    };
    config.tls.certificates.iter().filter_map(warning).collect()
}

/// Becomes `user` for good.
fn become_user(user: &ProcUser) -> Result<(), Failure> {
    if geteuid().as_raw() == user.uid {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(Failure::usage(format!(
            "--as: only root can try the rights of user {}; run it with sudo, or as that user",
            user.name
        )));
    }
    privileges::become_user(user).map_err(|error| {
        Failure::run(format!(
            "--as: this process cannot become user {}: {error}",
            user.name
        ))
    })
}

fn as_user(failure: Failure, user: &ProcUser) -> Failure {
    match failure {
        Failure::Usage(mut lines) => {
            lines.insert(0, format!("as user {}, which serves:", user.name));
            Failure::Usage(lines)
        }
        other => other,
    }
}

/// Warnings about files that a reload cannot read, as root has become `proc-user` by then.
fn unreadable_later(loaded: &Loaded) -> Result<Vec<String>, Failure> {
    let Some(user) = loaded.config.user.clone().filter(|_| geteuid().is_root()) else {
        return Ok(Vec::new());
    };
    become_user(&user)?;
    let files = loaded.file.as_deref().into_iter();
    let unreadable = privileges::unreadable(files.chain(loaded.resolved.files()));
    let warning = |(path, error): (&Path, std::io::Error)| {
        format!(
            "{}: a reload will fail, as user {} may not read it: {error}; have its group ({}) read it: chgrp, chmod g+r",
            path.display(),
            user.name,
            user.gid
        )
    };
    Ok(unreadable.map(warning).collect())
}

fn warn(warning: &String) {
    complain(format_args!("warning: {warning}"));
}

/// Prints the verdict and the summary, as comments: all of standard output is TOML.
fn good(loaded: &Loaded, look: &Look) -> Result<(), Failure> {
    match &loaded.file {
        Some(file) => say(format_args!("# {} is good", file.display()))?,
        None => say(format_args!(
            "# no configuration file ({}); the flags are good",
            SEARCH.join(", ")
        ))?,
    }
    for line in Summary::new(&look.applied(loaded.config.clone())).lines() {
        say(format_args!("# {line}"))?;
    }
    for finding in look.findings() {
        say(format_args!("# external-ip:  {finding}"))?;
    }
    Ok(())
}

/// Looks for public addresses as `serve` will.
fn look_for_public_address(config: &Config) -> Result<Look, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::run)?;
    let host = host::addresses().unwrap_or_default();
    let before = Look::default();
    let look = runtime.block_on(Look::once(config, &host, AT_START, &before));
    // A name server that does not answer is not waited for.
    runtime.shutdown_background();
    Ok(look)
}

/// The given keys whose values differ from the defaults, masked.
fn changed(loaded: &Loaded) -> Result<FileConfig, Failure> {
    let defaults = FileConfig::defaults().to_table().map_err(Failure::run)?;
    let mut table = loaded.resolved.masked().to_table().map_err(Failure::run)?;
    table.retain(|key, value| {
        loaded.given.iter().any(|given| given == key) && defaults.get(key) != Some(&*value)
    });
    std::mem::take(&mut *table).try_into().map_err(Failure::run)
}
