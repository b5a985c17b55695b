//! `turnd man` and `turnd completions`.

use std::io;
use std::path::PathBuf;

use clap_complete::Shell;

use super::{Failure, command_line, say};

/// Write the manual pages, one for each command, into a folder.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  turnd man /usr/local/share/man/man1")]
pub(super) struct Man {
    /// Folder to write to; it is made if there is none.
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let cannot = |error: io::Error| {
            Failure::Run(format!(
                "{}: cannot be written: {error}",
                self.folder.display()
            ))
        };
        std::fs::create_dir_all(&self.folder).map_err(cannot)?;
        clap_mangen::generate_to(command_line(), &self.folder).map_err(cannot)
    }
}

/// Print what a shell needs to complete turnd's commands and options.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  turnd completions bash >/usr/share/bash-completion/completions/turnd"
)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command_line(), "turnd", &mut script);
        say(String::from_utf8_lossy(&script).trim_end())
    }
}
