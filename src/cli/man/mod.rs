//! `turnd man` and `turnd completions`.

mod configuration;
mod pages;

use std::io;
use std::path::{Path, PathBuf};

use clap_complete::Shell;

use super::{Failure, command_line, say};

/// Write the manual pages, one for each command and turnd.toml(5), into the folders man1 and man5 of a folder.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  turnd man /usr/local/share/man")]
pub(super) struct Man {
    /// Folder to write to; it is made if there is none.
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut command = command_line().disable_help_subcommand(true);
        command.build();
        let mut all = Vec::new();
        pages::of_commands(&command, &mut all);
        for (name, text) in all {
            write(&self.folder.join("man1").join(name), &text)?;
        }
        let page = configuration::page();
        write(&self.folder.join("man5/turnd.toml.5"), &page)
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, text));
    written.map_err(|error: io::Error| {
        Failure::Run(format!("{}: cannot be written: {error}", path.display()))
    })
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
