//! Hints for a command line that is another program's, or nearly turnd's own.

use std::ffi::OsString;

use clap::Args;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::coturn;
use crate::config::file::FileConfig;

/// Flags that people guess, and turnd's own.
const FLAGS: [(&str, &str); 12] = [
    ("--debug", "--verbose"),
    ("--external", "--external-ip"),
    ("--host", "--listening-ip"),
    ("--ip", "--listening-ip"),
    ("--listen", "--listening-ip"),
    ("--log", "--log-file"),
    ("--password", "--user NAME:PASSWORD"),
    ("--port", "--listening-port"),
    ("--public-ip", "--external-ip"),
    ("--secret", "--static-auth-secret"),
    ("--tls-port", "--tls-listening-port"),
    ("-v", "--verbose"),
];

/// Commands that people guess, and turnd's own.
const COMMANDS: [(&[&str], &str); 4] = [
    (
        &["start", "run", "server", "daemon", "up", "turnserver"],
        "turnd serve",
    ),
    (
        &["test", "validate", "verify", "configtest", "lint"],
        "turnd check",
    ),
    (
        &["status", "sessions", "kill", "drain", "reload", "stop"],
        "turnd ctl",
    ),
    (&["version"], "turnd --version"),
];

/// Hint on a command line that clap refuses.
pub(super) fn hint(args: &[OsString], error: &clap::Error) -> Option<String> {
    match error.kind() {
        ErrorKind::InvalidSubcommand => command(refused(error, ContextKind::InvalidSubcommand)?),
        ErrorKind::UnknownArgument => {
            let is_server = |arg: &OsString| ["serve", "check"].iter().any(|name| arg == name);
            // Without a command, too: that is how coturn is started.
            let starts = args.get(1).is_some_and(|arg| {
                is_server(arg) || arg.to_str().is_some_and(|arg| arg.starts_with('-'))
            });
            starts
                .then(|| flag(args, refused(error, ContextKind::InvalidArg)?))
                .flatten()
        }
        _ => None,
    }
}

fn refused(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

fn command(word: &str) -> Option<String> {
    if ["turn:", "turns:", "stun:", "stuns:"]
        .iter()
        .any(|scheme| word.starts_with(scheme))
    {
        return Some(format!("a server is tried with `turnd probe {word}`"));
    }
    if word.ends_with(".conf") {
        return Some(format!(
            "coturn's configuration is turned into turnd's with `turnd import {word} -o turnd.toml`"
        ));
    }
    if word.ends_with(".toml") {
        return Some(format!(
            "a configuration is served with `turnd serve -c {word}`"
        ));
    }
    let (_, own) = COMMANDS.iter().find(|(names, _)| names.contains(&word))?;
    Some(match *own {
        "turnd ctl" => format!(
            "the running server is told with `turnd ctl {word}`; `turnd ctl --help` lists what it is told"
        ),
        own => format!("did you mean `{own}`?"),
    })
}

fn flag(args: &[OsString], refused: &str) -> Option<String> {
    const IMPORT: &str =
        "coturn's command line is turned into a configuration with `turnd import -- turnserver …`";
    let name = refused.split(['=', ' ']).next().unwrap_or(refused);
    // Alone it is a habit; beside others the whole line is coturn's.
    let letters = args.iter().filter_map(letter).count();
    let known = name
        .strip_prefix("--")
        .map_or_else(|| letter(&name.into()).is_some(), coturn::is_option);
    let own = FLAGS
        .iter()
        .find(|(flag, _)| *flag == name)
        .map(|(_, own)| *own);
    let own = own.map(str::to_owned).or_else(|| own_name(name));
    match own {
        Some(own) if known && letters > 1 => Some(format!("{name} is {own} here; {IMPORT}")),
        Some(own) => Some(format!("{name} is {own} here")),
        None if known => Some(IMPORT.to_owned()),
        None => None,
    }
}

/// Letter of coturn's that an argument is.
fn letter(arg: &OsString) -> Option<char> {
    let mut letters = arg.to_str()?.strip_prefix('-')?.chars();
    letters
        .next()
        // Letters that turnd has itself.
        .filter(|letter| !['c', 'h', 'q'].contains(letter))
        .filter(|letter| coturn::letter_name(*letter).is_some())
}

/// turnd's flag for a letter of coturn's, where both have the same long name.
fn own_name(flag: &str) -> Option<String> {
    let mut letters = flag.strip_prefix('-')?.chars();
    let name = coturn::letter_name(letters.next()?)?;
    let keys = FileConfig::augment_args(clap::Command::new("keys"));
    let found = keys.get_arguments().any(|arg| arg.get_long() == Some(name));
    found.then(|| format!("--{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse;

    fn hint_on(line: &str) -> Option<String> {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let error = parse(args.clone()).map(drop).unwrap_err();
        hint(&args, &error)
    }

    #[test]
    fn coturns_command_line_points_to_the_import() {
        const IMPORT: &str = "coturn's command line is turned into a configuration with `turnd import -- turnserver …`";
        for (line, expected) in [
            (
                "turnd serve -a -u alice:secret -r example.org",
                format!("-a is --lt-cred-mech here; {IMPORT}"),
            ),
            (
                "turnd -a -u alice:secret",
                format!("-a is --lt-cred-mech here; {IMPORT}"),
            ),
            ("turnd serve --no-cli", IMPORT.to_owned()),
            (
                "turnd serve -p 3478",
                "-p is --listening-port here".to_owned(),
            ),
            (
                "turnd serve -L 127.0.0.1",
                "-L is --listening-ip here".to_owned(),
            ),
            ("turnd serve -v", "-v is --verbose here".to_owned()),
            (
                "turnd serve --port 3478",
                "--port is --listening-port here".to_owned(),
            ),
            (
                "turnd check --secret=x",
                "--secret is --static-auth-secret here".to_owned(),
            ),
        ] {
            assert_eq!(hint_on(line), Some(expected), "{line}");
        }
        assert_eq!(hint_on("turnd serve --zzz"), None);
        assert_eq!(hint_on("turnd probe -L x"), None);
    }

    #[test]
    fn commands_that_people_guess() {
        for (line, expected) in [
            ("turnd start", "did you mean `turnd serve`?"),
            ("turnd validate", "did you mean `turnd check`?"),
            (
                "turnd turn:foo",
                "a server is tried with `turnd probe turn:foo`",
            ),
            (
                "turnd /etc/turnserver.conf",
                "coturn's configuration is turned into turnd's with `turnd import /etc/turnserver.conf -o turnd.toml`",
            ),
            (
                "turnd a.toml",
                "a configuration is served with `turnd serve -c a.toml`",
            ),
        ] {
            assert_eq!(hint_on(line).as_deref(), Some(expected), "{line}");
        }
        assert!(
            hint_on("turnd reload")
                .unwrap()
                .contains("`turnd ctl reload`")
        );
        assert_eq!(hint_on("turnd dance"), None);
    }
}
