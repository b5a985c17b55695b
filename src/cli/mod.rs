//! The commands of the `turnd` program.

#[cfg(feature = "tools")]
mod bench;
mod check;
mod credentials;
mod ctl;
mod help;
mod hint;
mod import;
mod key;
#[cfg(feature = "tools")]
mod login;
mod man;
#[cfg(feature = "tools")]
mod nat;
mod open_files;
mod pidfile;
mod preflight;
#[cfg(feature = "tools")]
mod probe;
#[cfg(feature = "tools")]
mod progress;
mod secret;
mod serve;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{FromArgMatches, Parser, Subcommand};

use self::help::command_line;
use crate::config::file::FileConfig;
use crate::config::{self, ConfigError, Loaded, LogFormat, SEARCH};
use crate::daemon::log::tell_end;

/// A STUN and TURN relay daemon.
#[derive(Parser)]
#[command(name = "turnd", version, arg_required_else_help = true)]
#[command(after_help = "Example, a demonstration with random credentials:\n  turnd serve")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Credentials(credentials::Credentials),
    Key(key::MakeKey),
    #[cfg(feature = "tools")]
    Bench(bench::Bench),
    Import(import::Import),
    #[cfg(feature = "tools")]
    Nat(nat::Nat),
    Man(man::Man),
    Completions(man::Completions),
    Ctl(ctl::Ctl),
    #[cfg(feature = "tools")]
    Probe(probe::Probe),
}

/// A configuration file, and flags that override it.
#[derive(clap::Args)]
struct Settings {
    /// Configuration file; otherwise turnd.toml here, then /etc/turnd/turnd.toml.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: FileConfig,
}

impl Settings {
    /// Form of the lines about a start that fails, before the configuration is known to be right.
    fn log_format(&self) -> LogFormat {
        config::log_format(self.config.as_deref(), &self.flags)
    }

    /// Reads and checks, and says nothing of the warnings.
    fn load_quietly(&self) -> Result<Loaded, Failure> {
        let none = self.config.is_none() && config::search().is_none();
        config::load(self.config.as_deref(), &self.flags).map_err(|errors| {
            let mut lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
            if none {
                let places = SEARCH.join(", ");
                lines.insert(
                    0,
                    format!("no configuration file ({places}); name one with -c"),
                );
            }
            Failure::Usage(lines)
        })
    }
}

/// Why a command ended without doing its job.
#[derive(Debug)]
enum Failure {
    /// Bad usage or configuration: exit code 2.
    Usage(Vec<String>),
    /// Failed at run time: exit code 1.
    Run(String),
    /// Failed at run time, after lines of the log: exit code 1.
    Logged(String),
    /// Failed, and said so: this exit code.
    #[cfg(feature = "tools")]
    Told(u8),
}

impl Failure {
    fn usage(message: impl Display) -> Self {
        Self::Usage(vec![message.to_string()])
    }

    fn run(message: impl Display) -> Self {
        Self::Run(message.to_string())
    }

    /// The reason, in one line.
    #[cfg(feature = "tools")]
    fn text(&self) -> String {
        match self {
            Self::Usage(lines) => lines.join("; "),
            Self::Run(message) | Self::Logged(message) => message.clone(),
            Self::Told(code) => format!("exit code {code}"),
        }
    }
}

impl From<Vec<ConfigError>> for Failure {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self::Usage(errors.iter().map(ToString::to_string).collect())
    }
}

impl From<getrandom::Error> for Failure {
    fn from(error: getrandom::Error) -> Self {
        Self::Run(format!("the system gives no random numbers: {error}"))
    }
}

/// Reads a command line.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = command_line().try_get_matches_from(args)?;
    Cli::from_arg_matches(&matches)
}

/// Without the flag in `turnd help --help`, which clap does not know there.
fn without_help_of_help(args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_none_or(|arg| arg != "help") {
        return args;
    }
    let asks = |arg: &OsString| arg == "--help" || arg == "-h";
    args.into_iter().filter(|arg| !asks(arg)).collect()
}

/// Runs the command that `args` (program name first) ask for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = without_help_of_help(args.into_iter().collect());
    let cli = match parse(args.iter().cloned()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody reads is no failure.
            let _ = error.print();
            if let Some(hint) = hint::hint(&args, &error) {
                complain(format_args!("\n  tip: {hint}"));
            }
            #[cfg(feature = "tools")]
            if let Some((line, code)) = probe::wrong_usage(&args).filter(|_| error.use_stderr()) {
                let _ = say(line);
                return ExitCode::from(code);
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // Known to be JSON only once the configuration is read, which may be what fails.
    let format = match &cli.command {
        Command::Serve(command) => command.settings.log_format(),
        _ => LogFormat::Text,
    };
    let outcome = match cli.command {
        Command::Serve(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Credentials(command) => command.run(),
        Command::Key(command) => command.run(),
        #[cfg(feature = "tools")]
        Command::Bench(command) => command.run(),
        Command::Import(command) => command.run(),
        #[cfg(feature = "tools")]
        Command::Nat(command) => command.run(),
        Command::Man(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Ctl(command) => command.run(),
        #[cfg(feature = "tools")]
        Command::Probe(command) => command.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(lines)) => {
            for line in lines {
                tell_end(&line, format, false);
            }
            ExitCode::from(2)
        }
        Err(Failure::Run(message)) => {
            tell_end(&message, format, false);
            ExitCode::from(1)
        }
        Err(Failure::Logged(message)) => {
            tell_end(&message, format, true);
            ExitCode::from(1)
        }
        #[cfg(feature = "tools")]
        Err(Failure::Told(code)) => ExitCode::from(code),
    }
}

/// Writes to standard output; a reader that has left (`| head`) is no failure.
fn say(text: impl Display) -> Result<(), Failure> {
    say_more(text).map(drop)
}

/// As [`say`], and tells whether there still is a reader.
fn say_more(text: impl Display) -> Result<ControlFlow<()>, Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Failure::Run(format!(
            "cannot write to standard output: {error}"
        ))),
    }
}

/// Writes a line to standard error, if it can be written to.
fn complain(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn the_command_line_is_consistent() {
        command_line().debug_assert();
    }

    fn expect_examples(command: &clap::Command, name: &str) {
        for command in command.get_subcommands() {
            let name = format!("{name} {}", command.get_name());
            let help = command.get_after_help().unwrap().to_string();
            assert!(help.starts_with("Example"), "{help}");
            assert!(help.contains(&format!("  {name}")), "{help}");
            assert!(command.get_about().is_some(), "{name}");
            expect_examples(command, &name);
        }
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        expect_examples(&command_line(), "turnd");
    }

    #[test]
    fn serve_has_exactly_the_keys_as_flags() {
        use clap::Args;
        let keys = FileConfig::augment_args(clap::Command::new("keys"));
        let mut keys: Vec<_> = keys.get_arguments().map(|a| a.get_id().clone()).collect();
        let command = command_line();
        let serve = command.find_subcommand("serve").unwrap();
        let mut flags: Vec<_> = serve.get_arguments().map(|a| a.get_id().clone()).collect();
        flags.retain(|id| id != "config");
        keys.sort();
        flags.sort();
        assert_eq!(keys, flags);
    }

    #[test]
    fn switches_take_an_optional_value() {
        let flags = |args: &[&str]| {
            let args = ["turnd", "serve"].iter().chain(args);
            match parse(args.map(OsString::from)).unwrap().command {
                Command::Serve(serve) => serve.settings.flags,
                _ => unreachable!(),
            }
        };
        assert_eq!(flags(&[]).fingerprint, None);
        assert_eq!(flags(&["--fingerprint"]).fingerprint, Some(true));
        assert_eq!(flags(&["--fingerprint=false"]).fingerprint, Some(false));
        let two = flags(&["--user", "a:b,c", "--user", "d:e"]);
        assert_eq!(two.user.unwrap(), ["a:b,c", "d:e"].map(Secret::new));
    }

    #[test]
    fn wrong_usage_ends_with_2() {
        let code = |args: &[&str]| {
            let args = args.iter().map(OsString::from);
            format!("{:?}", run(args))
        };
        let two = format!("{:?}", ExitCode::from(2));
        assert_eq!(code(&["turnd"]), two);
        assert_eq!(code(&["turnd", "dance"]), two);
        assert_eq!(code(&["turnd", "serve", "--min-port", "70000"]), two);
        assert_eq!(code(&["turnd", "check", "-c", "/nonexistent"]), two);
    }
}
