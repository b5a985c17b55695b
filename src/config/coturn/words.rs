//! Words of a command line, and the options of coturn in them.

use shlex::Shlex;

use super::options;
use super::rule::{Given, Place, Takes};

/// A word of a command line with its place.
pub(super) type Word = (String, Place);

/// Words as a shell splits them, but for commands within, which stay whole.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in Shlex::new(line) {
        let is_open = |before: &String| {
            before
                .rfind("$(")
                .is_some_and(|at| !before[at..].contains(')'))
                || before.matches('`').count() % 2 == 1
        };
        match words.last_mut().filter(|before| is_open(before)) {
            Some(before) => {
                before.push(' ');
                before.push_str(&word);
            }
            None => words.push(word),
        }
    }
    words
}

/// The words after the program's name. Words that begin with an option have none: it would be a value.
pub(super) fn own(words: &[Word]) -> Option<&[Word]> {
    if words.first().is_some_and(|(word, _)| word.starts_with('-')) {
        return None;
    }
    let at = words.iter().position(|(word, _)| is_program(word))?;
    Some(&words[at + 1..])
}

/// The command line that a shell is given in one word.
pub(super) fn nested(all: &[Word]) -> Option<Vec<Word>> {
    let lines = all
        .iter()
        .filter(|(word, _)| word.contains("turnserver") && word.contains(char::is_whitespace));
    lines
        .map(|(line, place)| -> Vec<Word> {
            let inner = words(line).into_iter();
            inner.map(|word| (word, *place)).collect()
        })
        .find(|words| own(words).is_some())
}

/// The options in the words of a container or service: after the program, in a shell's word, or all.
pub(super) fn options_in(words: &[Word]) -> Option<Vec<Given>> {
    if let Some(own) = own(words) {
        return Some(given(own));
    }
    let nested = nested(words)?;
    own(&nested).map(given)
}

/// `turnserver`, with or without a path, or coturn's container image.
pub(super) fn is_program(word: &str) -> bool {
    let name = word.rsplit(['/', '=']).next().unwrap_or_default();
    let image = name.split([':', '@']).next().unwrap_or_default();
    !word.starts_with('-') && (name == "turnserver" || image == "coturn")
}

/// Path after `-c`.
pub(super) fn named_file(given: &[Given]) -> Option<&str> {
    let file = given.iter().find(|option| option.name == "-c")?;
    file.value.as_deref()
}

/// The options in coturn's own words.
pub(super) fn given(words: &[Word]) -> Vec<Given> {
    let mut given = Vec::new();
    let mut words = words.iter();
    while let Some((word, place)) = words.next() {
        let place = *place;
        let mut add = |name: &str, value: Option<&str>| given.push(Given::new(name, value, place));
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let option = options::by_prefix(name);
            let name = option.map_or(name, |option| option.name);
            if value.is_none() && option.is_some_and(|o| o.takes == Takes::Value) {
                add(name, words.next().map(|(word, _)| word.as_str()));
            } else if !long.is_empty() {
                add(name, value);
            }
        } else if let Some(cluster) = word.strip_prefix('-').filter(|c| !c.is_empty()) {
            for (at, letter) in cluster.char_indices() {
                let option = options::by_letter(letter);
                let after = &cluster[at + letter.len_utf8()..];
                match option {
                    Some(option) if option.letter_takes() == Takes::Value => {
                        let next = || words.next().map(|(word, _)| word.as_str());
                        let value = Some(after).filter(|text| !text.is_empty());
                        add(option.name, value.or_else(next));
                        break;
                    }
                    Some(option) => add(option.name, None),
                    None => add(&format!("-{letter}"), None),
                }
            }
        } else {
            add(word, None);
        }
    }
    given
}
