//! turnd.toml(5), of the keys as they are declared.

use clap::{Arg, Args, Command};
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::pages::{FILES, entries};
use crate::config::file::FileConfig;

const DESCRIPTION: [&str; 6] = [
    "turnd.toml is read by turnd serve and, for what they need, by turnd check, credentials, probe and ctl. It is TOML with one key on a line and no sections; texts stand in quotes. The keys are coturn's where coturn has the option, and each is a flag of turnd serve too, which goes before the file.",
    "A key that takes several values takes a list of texts, or one text alone.",
    "${NAME} within a text stands for the environment variable NAME.",
    "Times are seconds, or texts such as \"90s\", \"10m\" and \"1h\"; amounts are bytes, or texts such as \"64 MiB\" and \"10 Mbit\".",
    "turnd check says what is wrong with a file, and what to do. A key that is not known is an error.",
    "What a reload (HUP, or turnd ctl reload) applies is said with each key.",
];

const EXAMPLE: &str = include_str!("../../../config/minimal.toml");

/// The page.
pub(super) fn page() -> String {
    let mut roff = Roff::new();
    let version = concat!("turnd ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["turnd.toml", "5", "", version, "turnd manual"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("turnd.toml - configuration of turnd")]);
    roff.control("SH", ["DESCRIPTION"]);
    for (index, paragraph) in DESCRIPTION.into_iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph)]);
    }
    keys(&mut roff);
    entries(&mut roff, "FILES", FILES);
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(
        "turnd(1), turnd-check(1), turnd-import(1), turnd-serve(1)",
    )]);
    roff.to_roff()
}

fn keys(roff: &mut Roff) {
    let command = FileConfig::augment_args(Command::new("keys"));
    // A table that cannot be made leaves the defaults unsaid.
    let defaults = toml::Table::try_from(FileConfig::defaults()).unwrap_or_default();
    let mut heading = None;
    for key in command.get_arguments() {
        let Some(name) = key.get_long() else { continue };
        if key.get_help_heading() != heading {
            heading = key.get_help_heading();
            roff.control("SH", [heading.unwrap_or_default().to_uppercase().as_str()]);
        }
        roff.control("TP", []);
        roff.text([bold(name), roman(" = "), italic(value(key))]);
        let help = key.get_help().map(ToString::to_string);
        roff.text([roman(format!("{}.", help.unwrap_or_default()))]);
        if let Some(default) = defaults.get(name) {
            roff.text([roman(format!("Default: {default}."))]);
        }
        roff.text([roman(if FileConfig::needs_restart(name) {
            "A change needs a restart."
        } else {
            "A reload applies a change."
        })]);
    }
}

/// The values that a key takes, in a word.
fn value(key: &Arg) -> String {
    let is_switch = key.get_value_parser().type_id() == clap::value_parser!(bool).type_id();
    if is_switch {
        return "true|false".to_owned();
    }
    let names = key.get_value_names().unwrap_or_default();
    names
        .first()
        .map_or_else(|| "VALUE".to_owned(), ToString::to_string)
}
