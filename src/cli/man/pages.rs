//! Manual pages of the commands.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// A page: its file name and its text.
pub(super) type Page = (String, String);

/// Entries under a heading: a name, and what it is for.
pub(super) type Entries = [(&'static str, &'static str)];

pub(super) const FILES: &Entries = &[
    (
        "./turnd.toml",
        "Configuration that is taken first, without -c.",
    ),
    (
        "/etc/turnd/turnd.toml",
        "Configuration that is taken next; the packages' own.",
    ),
    (
        "/run/turnd/turnd.sock",
        "Unix socket of the admin listener, which turnd ctl uses, unless admin-listen says otherwise.",
    ),
];

const SIGNALS: &Entries = &[
    (
        "HUP",
        "Reads configuration, secrets and certificates anew, and opens the log file anew. Live calls go on; a configuration that is wrong changes nothing.",
    ),
    (
        "USR1",
        "Drains: takes no new calls, and leaves when the last one has ended, or after drain-timeout.",
    ),
    ("USR2", "Reads the certificates anew at once."),
    (
        "TERM, INT",
        "Drains where drain-timeout is set, stops at once otherwise. A second INT waits no longer.",
    ),
];

const SERVER_VARIABLES: &Entries = &[
    (
        "NAME",
        "Any variable that the configuration names as ${NAME} stands for its value there.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
        "Set by systemd: readiness, state and watchdog are told there.",
    ),
    (
        "JOURNAL_STREAM",
        "Set by systemd: lines for the journal have their priority, and no time.",
    ),
    ("NO_COLOR", "Leaves colours out of the log on a terminal."),
];

const SECRET: (&str, &str) = (
    "TURND_SECRET",
    "Secret (static-auth-secret) to make credentials of, where neither a flag nor a configuration gives it.",
);
const PASSWORD: (&str, &str) = (
    "TURND_PASSWORD",
    "Password of --user, where no flag gives it.",
);
const TOKEN: (&str, &str) = (
    "TURND_TOKEN",
    "Token of the admin listener (admin-token), where no flag gives it.",
);

/// Variables that a command reads.
fn variables(name: &str) -> &'static Entries {
    match name {
        "turnd" | "turnd-serve" | "turnd-check" => SERVER_VARIABLES,
        "turnd-probe" | "turnd-bench" => &[PASSWORD, SECRET],
        "turnd-credentials" => &[SECRET],
        _ if name.starts_with("turnd-ctl") => &[TOKEN],
        _ => &[],
    }
}

/// Adds the pages of a command and of those below it.
pub(super) fn of_commands(command: &Command, pages: &mut Vec<Page>) {
    for command in command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        of_commands(command, pages);
    }
    let man = Man::new(command.clone()).manual("turnd manual");
    let name = man.get_filename();
    let name = name.trim_end_matches(".1").to_owned();
    pages.push((format!("{name}.1"), page(&man, command, &name)));
}

fn page(man: &Man, command: &Command, name: &str) -> String {
    let mut text = Vec::new();
    let rendered = [
        man.render_title(&mut text),
        man.render_name_section(&mut text),
        man.render_synopsis_section(&mut text),
        man.render_description_section(&mut text),
        man.render_options_section(&mut text),
    ];
    debug_assert!(
        rendered.iter().all(Result::is_ok),
        "a vector takes everything"
    );
    if command
        .get_subcommands()
        .any(|command| !command.is_hide_set())
    {
        let rendered = man.render_subcommands_section(&mut text);
        debug_assert!(rendered.is_ok(), "a vector takes everything");
    }
    let mut roff = Roff::new();
    let more = command
        .get_after_long_help()
        .or_else(|| command.get_after_help());
    if let Some(more) = more {
        after_help(&mut roff, &more.to_string());
    }
    let is_server = ["turnd", "turnd-serve", "turnd-check"].contains(&name);
    if is_server {
        entries(&mut roff, "FILES", FILES);
    }
    if is_server && name != "turnd-check" {
        entries(&mut roff, "SIGNALS", SIGNALS);
    }
    entries(&mut roff, "ENVIRONMENT", variables(name));
    see_also(&mut roff, name);
    format!("{}{}", String::from_utf8_lossy(&text), roff.to_roff())
}

/// Text behind the options: its headings are headings, and what is indented stays as it is.
fn after_help(roff: &mut Roff, text: &str) {
    let (mut section, mut as_it_is, mut blank) = (String::new(), false, false);
    for line in text.lines() {
        let indented = line.starts_with(' ');
        if as_it_is != indented && !line.is_empty() {
            roff.control(if indented { "nf" } else { "fi" }, []);
            as_it_is = indented;
        }
        let heading = match line.strip_suffix(':') {
            _ if indented || line.is_empty() => None,
            Some(heading) if heading.starts_with("Example") => Some("EXAMPLES".to_owned()),
            Some(heading) if !heading.contains(' ') => Some(heading.to_uppercase()),
            _ if line.starts_with("Exit code") => Some("EXIT STATUS".to_owned()),
            _ if section == "EXIT STATUS" && !blank => None,
            _ => Some("NOTES".to_owned()),
        };
        match heading {
            Some(heading) if heading != section => {
                roff.control("SH", [heading.as_str()]);
                section = heading;
            }
            Some(_) if blank => drop(roff.control("PP", [])),
            _ => {}
        }
        blank = line.is_empty();
        let is_text = !line.ends_with(':') || line.contains(' ');
        if is_text && !blank {
            roff.text([roman(line.trim_start())]);
        }
    }
    if as_it_is {
        roff.control("fi", []);
    }
}

/// A heading with what stands under it, if anything does.
pub(super) fn entries(roff: &mut Roff, heading: &str, entries: &Entries) {
    if entries.is_empty() {
        return;
    }
    roff.control("SH", [heading]);
    for (name, text) in entries {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*text)]);
    }
}

fn see_also(roff: &mut Roff, name: &str) {
    let own = ["turnd(1)", "turnd.toml(5)"].into_iter();
    let others = own.filter(|page| page.strip_suffix("(1)") != Some(name));
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(others.collect::<Vec<_>>().join(", "))]);
}
