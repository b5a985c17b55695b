//! The command line as clap has it, and how its help reads.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, CommandFactory, ValueHint};

use super::Cli;
use crate::config;
use crate::config::file::FileConfig;

/// Commands by the time at which an operator wants them; the others are for packagers, and not shown.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Run", &["serve"]),
    ("Configure", &["check", "credentials", "key", "import"]),
    ("Operate", &["ctl"]),
    ("Diagnose", &["probe", "nat", "bench"]),
];

/// Flags of `serve` that `-h` shows.
const SHORT: [&str; 16] = [
    "config",
    "listening-ip",
    "listening-port",
    "tls-listening-port",
    "cert",
    "pkey",
    "relay-ip",
    "external-ip",
    "min-port",
    "max-port",
    "realm",
    "user",
    "static-auth-secret-file",
    "allowed-peer-ip",
    "log-file",
    "verbose",
];

/// Flags of `check` that `-h` shows.
const SHORT_CHECK: [&str; 5] = ["config", "all", "quiet", "as", "file-only"];

/// Keys that take one of a few words, which shells complete.
const WORDS: [(&str, &[&str]); 4] = [
    (
        "allocation-default-address-family",
        &["ipv4", "ipv6", "keep"],
    ),
    ("log-format", &["text", "json"]),
    (
        "log-min-level",
        &["error", "warning", "info", "debug", "trace", "warn"],
    ),
    ("rest-expiry", &["keep", "end"]),
];

/// The command line, with switches that take `=true` or `=false`, or nothing for true, a word on flags that hold secrets,
/// and the defaults of the configuration.
pub(super) fn command_line() -> Command {
    let defaults = Defaults::new();
    let command = Cli::command().mut_subcommands(|command| {
        let short: &[&str] = match command.get_name() {
            "serve" => &SHORT,
            "check" => &SHORT_CHECK,
            _ => return command.mut_args(switch).mut_args(complete),
        };
        command
            .mut_args(switch)
            .mut_args(complete)
            .mut_args(|arg| words(arg, &WORDS))
            .mut_args(open)
            .mut_args(|arg| defaults.tell(arg))
            .mut_args(|arg| shorten(arg, short))
    });
    let template = overview(&command);
    command.help_template(template)
}

fn switch(arg: Arg) -> Arg {
    let parser = arg.get_value_parser().type_id();
    let takes_value = matches!(arg.get_action(), ArgAction::Set);
    if !takes_value || parser != clap::value_parser!(bool).type_id() {
        return arg;
    }
    arg.value_name("true|false")
        .hide_possible_values(true)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
}

/// Tells shells what a value is; what is no file is not completed with files.
fn complete(arg: Arg) -> Arg {
    let name = arg.get_value_names().and_then(|names| names.first());
    let hint = match name.map(|name| name.as_str()) {
        Some("FILE") => ValueHint::FilePath,
        Some("HOST" | "SERVER" | "URI") => ValueHint::Hostname,
        _ if arg.get_value_hint() != ValueHint::Unknown => return arg,
        _ if !arg.get_action().takes_values() => return arg,
        _ => ValueHint::Other,
    };
    arg.value_hint(hint)
}

fn words(arg: Arg, words: &[(&str, &'static [&'static str])]) -> Arg {
    let name = arg.get_long().unwrap_or_default();
    match words.iter().find(|(key, _)| *key == name) {
        Some((_, words)) => arg.value_parser(PossibleValuesParser::new(*words)),
        None => arg,
    }
}

fn open(arg: Arg) -> Arg {
    match (arg.get_long(), arg.get_help()) {
        (Some(key), Some(help)) if config::SECRETS.contains(&key) => {
            let help =
                format!("{help}. Others on this machine can read it here; {key}-file hides it");
            arg.help(help)
        }
        _ => arg,
    }
}

/// Leaves the flags that are not among `shown` to `--help`.
fn shorten(arg: Arg, shown: &[&str]) -> Arg {
    let is_shown = arg.get_long().is_none_or(|name| shown.contains(&name));
    arg.hide_short_help(!is_shown)
}

/// Values of the keys that nobody gives.
struct Defaults(toml::Table);

impl Defaults {
    fn new() -> Self {
        // A table that cannot be made leaves the defaults unsaid.
        Self(toml::Table::try_from(FileConfig::defaults()).unwrap_or_default())
    }

    /// Adds the default to the help of a flag; false and an empty list go without saying.
    fn tell(&self, arg: Arg) -> Arg {
        let name = arg.get_long().unwrap_or_default();
        let default = match self.0.get(name) {
            None | Some(toml::Value::Boolean(false)) => return arg,
            Some(toml::Value::Array(list)) if list.is_empty() => return arg,
            Some(value) => value.to_string(),
        };
        let Some(help) = arg.get_help().map(ToString::to_string) else {
            return arg;
        };
        arg.help(format!("{help} [default: {default}]"))
    }
}

/// Template of `turnd --help`, with the commands in groups.
fn overview(command: &Command) -> String {
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (heading, names) in GROUPS {
        // A daemon may be built without some.
        let built = names
            .iter()
            .filter_map(|name| command.find_subcommand(name));
        let lines = built.map(|command| {
            let about = command.get_about().map(ToString::to_string);
            format!(
                "  {:<12} {}\n",
                command.get_name(),
                about.unwrap_or_default()
            )
        });
        let lines: String = lines.collect();
        if !lines.is_empty() {
            text += &format!("\n{heading}:\n{lines}");
        }
    }
    text + "\n`turnd COMMAND --help` says all about a command, `-h` the usual.\n\nOptions:\n{options}{after-help}"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(command: &str, long: bool) -> String {
        let mut all = command_line();
        let found = all.find_subcommand_mut(command).unwrap();
        let help = if long {
            found.render_long_help()
        } else {
            found.render_help()
        };
        help.to_string()
    }

    #[test]
    fn every_command_is_in_one_group_but_those_of_packagers() {
        let grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| *names).collect();
        for command in command_line().get_subcommands() {
            let name = command.get_name();
            let count = grouped.iter().filter(|grouped| **grouped == &name).count();
            let for_packagers = ["man", "completions"].contains(&name);
            assert_eq!(count, usize::from(!for_packagers), "{name}");
        }
        let shown = command_line().render_help().to_string();
        let at = [
            "Run:\n  serve ",
            "Configure:\n  check ",
            "Operate:\n  ctl ",
            #[cfg(feature = "tools")]
            "Diagnose:\n  probe ",
        ]
        .map(|place| shown.find(place).unwrap());
        assert!(at.is_sorted(), "{shown}");
        assert!(shown.contains("--version"), "{shown}");
    }

    #[test]
    fn shells_complete_words_and_files() {
        let all = command_line();
        let serve = all.find_subcommand("serve").unwrap();
        let flag = |name: &str| {
            let mut flags = serve.get_arguments();
            flags.find(|arg| arg.get_long() == Some(name)).unwrap()
        };
        for (name, words) in WORDS {
            let values = flag(name).get_possible_values();
            let values: Vec<_> = values.iter().map(|value| value.get_name()).collect();
            assert_eq!(values, words);
            for word in words {
                let text = format!("no-auth = true\n{name} = '{word}'");
                config::Config::from_toml(&text).unwrap();
            }
        }
        assert_eq!(flag("cert").get_value_hint(), ValueHint::FilePath);
        assert_eq!(flag("user-file").get_value_hint(), ValueHint::FilePath);
        assert_eq!(flag("min-port").get_value_hint(), ValueHint::Other);
    }

    #[cfg(feature = "tools")]
    #[test]
    fn tools_have_a_short_help() {
        for command in ["probe", "bench"] {
            let (short, long) = (help(command, false), help(command, true));
            assert!(long.lines().count() > short.lines().count() + 5, "{short}");
        }
    }

    #[test]
    fn help_is_long_with_defaults_or_short() {
        let long = help("serve", true);
        for default in ["[default: 3478]", "[default: 49152]", "[default: \"text\"]"] {
            assert!(long.contains(default), "{default}: {long}");
        }
        for (command, lines) in [("serve", 60), ("check", 40)] {
            let short = help(command, false);
            assert!(short.lines().count() < lines, "{short}");
            assert!(!short.contains("--max-channels"), "{short}");
            assert!(help(command, true).contains("--max-channels"));
        }
        let short = help("serve", false);
        for name in SHORT {
            assert!(short.contains(&format!("--{name}")), "{name}");
        }
    }
}
