//! The report on an import, by weight.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use crate::cli::complain;
use crate::config::coturn::{Entry, Import, Verdict};

/// Most places that are named of options with which the same has become.
const PLACES: usize = 4;

/// Codes of a terminal.
const BOLD: &str = "1";
const RED: &str = "31";
const YELLOW: &str = "33";
const DIM: &str = "2";

/// Groups in the order of the report: verdict, title, colour.
const GROUPS: [(Verdict, &str, &str); 5] = [
    (Verdict::NotSupported, "Not supported", RED),
    (Verdict::Unknown, "Unknown", RED),
    (Verdict::Mapped, "Changed", YELLOW),
    (Verdict::WithoutEffect, "No effect here", DIM),
    (Verdict::Kept, "Kept", BOLD),
];

/// Writes to standard error what became of each option; `verbose` lists those that are kept too.
pub(super) fn report(import: &Import, verbose: bool) {
    let terminal =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    lines(import, verbose, terminal).iter().for_each(complain);
}

fn lines(import: &Import, verbose: bool, colours: bool) -> Vec<String> {
    let paint = |colour: &str, text: String| match colours {
        true => format!("\x1b[{colour}m{text}\x1b[0m"),
        false => text,
    };
    let mut lines = Vec::new();
    let mut counts = Vec::new();
    for (verdict, title, colour) in GROUPS {
        let group: Vec<_> = import
            .entries
            .iter()
            .filter(|entry| entry.verdict == verdict)
            .collect();
        if group.is_empty() {
            continue;
        }
        counts.push(format!("{} {verdict}", group.len()));
        if verdict == Verdict::Kept && !verbose {
            let count = counted(group.len());
            lines.push(paint(colour, format!("{title}: {count}; -v lists them")));
            continue;
        }
        lines.push(paint(colour, format!("{title}:")));
        lines.extend(listed(&group));
    }
    if !import.notes.is_empty() {
        lines.push(paint(YELLOW, "Before you serve:".to_owned()));
        lines.extend(import.notes.iter().map(|note| format!("  - {note}")));
    }
    let total = counted(import.entries.len());
    lines.push(paint(BOLD, format!("{total}: {}", counts.join(", "))));
    lines
}

fn counted(options: usize) -> String {
    match options {
        1 => "1 option".to_owned(),
        count => format!("{count} options"),
    }
}

/// One line for each option; those with which the same has become share one.
fn listed(group: &[&Entry]) -> Vec<String> {
    let mut same: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut rows: Vec<(Vec<String>, &Entry)> = Vec::new();
    for entry in group {
        let key = (entry.name.as_str(), entry.text.as_str());
        let row = *same.entry(key).or_insert(rows.len());
        match rows.get_mut(row) {
            Some((places, _)) => places.push(entry.place.to_string()),
            None => rows.push((vec![entry.place.to_string()], entry)),
        }
    }
    rows.iter()
        .map(|(places, entry)| {
            let more = match places.len().saturating_sub(PLACES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let places = places[..places.len().min(PLACES)].join(", ");
            let name = entry.name.escape_debug();
            match entry.text.as_str() {
                "" => format!("  {places}{more}: {name}"),
                text => format!("  {places}{more}: {name}: {text}"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::coturn::Place;

    fn entry(line: usize, name: &str, verdict: Verdict, text: &str) -> Entry {
        Entry {
            place: Place::Line(line),
            name: name.to_owned(),
            verdict,
            text: text.to_owned(),
        }
    }

    fn import() -> Import {
        Import {
            toml: String::new(),
            entries: vec![
                entry(1, "realm", Verdict::Kept, ""),
                entry(2, "no-cli", Verdict::WithoutEffect, "no console"),
                entry(3, "mobility", Verdict::NotSupported, "not yet"),
                entry(4, "no-cli", Verdict::WithoutEffect, "no console"),
                entry(5, "relay-threads", Verdict::Mapped, "0"),
            ],
            notes: vec!["look".to_owned()],
        }
    }

    #[test]
    fn the_weightiest_comes_first_and_advice_last() {
        let expected = [
            "Not supported:",
            "  line 3: mobility: not yet",
            "Changed:",
            "  line 5: relay-threads: 0",
            "No effect here:",
            "  line 2, line 4: no-cli: no console",
            "Kept: 1 option; -v lists them",
            "Before you serve:",
            "  - look",
            "5 options: 1 not supported, 1 changed, 2 without effect, 1 kept",
        ];
        assert_eq!(lines(&import(), false, false), expected);
        let all = lines(&import(), true, false);
        assert!(all.contains(&"  line 1: realm".to_owned()), "{all:?}");
    }

    #[test]
    fn colours_are_for_headings_of_a_terminal() {
        let coloured = lines(&import(), false, true);
        assert_eq!(coloured[0], "\x1b[31mNot supported:\x1b[0m");
        assert_eq!(coloured[1], "  line 3: mobility: not yet");
    }
}
