//! `turnd check`.

use super::{Failure, Settings, complain, say};
use crate::config::SEARCH;

/// Check the configuration and print it with its defaults, secrets masked.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  turnd check -c turnd.toml")]
pub(super) struct Check {
    #[command(flatten)]
    settings: Settings,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let loaded = self.settings.load()?;
        match &loaded.file {
            Some(file) => say(format_args!("# {}", file.display()))?,
            None => complain(format_args!(
                "no configuration file ({}): these are the flags and defaults",
                SEARCH.join(", ")
            )),
        }
        let text = loaded.resolved.masked().to_toml();
        let text = text.map_err(Failure::run)?;
        say(text.trim_end())
    }
}
