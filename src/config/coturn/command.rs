//! Command lines of coturn, as they are or within a line that starts a container.

use std::collections::HashMap;

use shlex::Shlex;

use super::container::Container;
use super::images;
use super::options;
use super::read::{ConfigFile, Source};
use super::rule::{Given, Place, Takes};

/// A word of a command line with its place.
pub(super) type Word = (String, Place);

/// Switches of `docker run` that take no value; all other options take the next word.
const DOCKER_SWITCHES: [&str; 20] = [
    "--detach",
    "--disable-content-trust",
    "--init",
    "--interactive",
    "--no-healthcheck",
    "--no-hosts",
    "--oom-kill-disable",
    "--privileged",
    "--publish-all",
    "--quiet",
    "--read-only",
    "--replace",
    "--rm",
    "--rmi",
    "--sig-proxy",
    "--systemd",
    "--tls-verify",
    "--tty",
    "--unsetenv-all",
    "--use-api-socket",
];

/// Letters of `docker run` that take no value.
const DOCKER_LETTERS: &str = "ditPq";

/// Reads a command line; what comes before coturn's own words is skipped.
pub fn command_line(words: &[String]) -> Source {
    let words = words.iter().zip(1..);
    source(
        words
            .map(|(word, n)| (word.clone(), Place::Word(n)))
            .collect(),
    )
}

/// The options of a command line, and the file that it names.
pub(super) fn source(words: Vec<Word>) -> Source {
    if let Some(container) = container(&words) {
        return container.source();
    }
    let given = options_in(&words).unwrap_or_else(|| given(&words));
    let file = named_file(&given).map(|path| ConfigFile::Here(path.to_owned()));
    Source {
        given,
        file,
        notes: Vec::new(),
    }
}

/// Path after `-c`.
pub(super) fn named_file(given: &[Given]) -> Option<&str> {
    let file = given.iter().find(|option| option.name == "-c")?;
    file.value.as_deref()
}

/// Whether the words start coturn, in a container or not.
pub(super) fn is_coturns(words: &[Word]) -> bool {
    // Other commands of docker name containers and images too.
    match words.iter().any(|(word, _)| is_docker(word)) {
        true => container(words).is_some(),
        false => own(words).is_some() || nested(words).is_some(),
    }
}

/// The command line of coturn that a script, or a file with nothing else in it, holds.
pub(super) fn of_text(text: &str) -> Option<Vec<Word>> {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut bare = Vec::new();
    for line in joined.lines() {
        let words: Vec<Word> = words(line).into_iter().zip(1..).map(place).collect();
        let Some((first, _)) = words.first() else {
            continue;
        };
        let name = first.split('=').next().unwrap_or_default();
        if options::find(name).is_none() && is_coturns(&words) {
            // Commands before it, such as `cd /etc &&`, end earlier.
            let start = words
                .iter()
                .position(|(word, _)| is_program(word) || is_docker(word));
            let mut after = words.iter().skip(start.unwrap_or_default());
            let end = after.position(|(word, _)| ends_command(word));
            let end = end.map_or(words.len(), |end| start.unwrap_or_default() + end);
            return Some(words[..end].to_vec());
        }
        bare.extend(words.into_iter().map(|(word, _)| word));
    }
    // A command line without the program, as in a list of arguments.
    bare.first()
        .is_some_and(|word| word.starts_with('-'))
        .then(|| bare.into_iter().zip(1..).map(place).collect())
}

fn place((word, number): (String, usize)) -> Word {
    (word, Place::Word(number))
}

/// Whether a word of a shell ends a command.
fn ends_command(word: &str) -> bool {
    let target = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '&');
    matches!(word, "&" | "&&" | "|" | "||" | ";") || target.starts_with('>')
}

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
fn own(words: &[Word]) -> Option<&[Word]> {
    if words.first().is_some_and(|(word, _)| word.starts_with('-')) {
        return None;
    }
    let at = words.iter().position(|(word, _)| is_program(word))?;
    Some(&words[at + 1..])
}

/// The command line that a shell is given in one word.
fn nested(all: &[Word]) -> Option<Vec<Word>> {
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
fn is_program(word: &str) -> bool {
    let name = word.rsplit(['/', '=']).next().unwrap_or_default();
    let image = name.split([':', '@']).next().unwrap_or_default();
    !word.starts_with('-') && (name == "turnserver" || image == "coturn")
}

/// Docker, or a program that takes its command lines.
fn is_docker(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    matches!(name, "docker" | "podman" | "nerdctl")
}

/// The container that `docker run`, or a program like it, starts with coturn in it.
fn container(words: &[Word]) -> Option<Container> {
    let docker = words.iter().position(|(word, _)| is_docker(word))?;
    let verb = words[docker..]
        .iter()
        .position(|(word, _)| word == "run" || word == "create")?;
    let mut rest = words[docker + verb + 1..].iter();
    let mut variables = HashMap::new();
    let mut volumes = Vec::new();
    let image = loop {
        let (word, place) = rest.next()?;
        if !word.starts_with('-') {
            break word;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let mut value = || value.clone().or_else(|| Some(rest.next()?.0.clone()));
        let letters = name.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        match name {
            "-e" | "--env" => {
                let set = value()?;
                let (name, value) = set.split_once('=').unwrap_or((&set, ""));
                variables.insert(name.to_owned(), (value.to_owned(), *place));
            }
            "-v" | "--volume" => volumes.extend(volume(&value()?)),
            _ if DOCKER_SWITCHES.contains(&name) => {}
            _ if letters.is_some_and(|letters| {
                letters.len() > 1 || letters.chars().all(|c| DOCKER_LETTERS.contains(c))
            }) => {}
            _ => drop(value()?),
        }
    };
    let command: Vec<_> = rest.cloned().collect();
    let container = Container {
        image: image.clone(),
        variables,
        volumes,
        command,
    };
    let is_coturns = images::is_coturns(image) || options_in(&container.command).is_some();
    is_coturns.then_some(container)
}

/// Path here and path in the container of `here:there`.
pub(super) fn volume(text: &str) -> Option<(String, String)> {
    let mut parts = text.split(':');
    let (here, there) = (parts.next()?, parts.next()?);
    Some((here.to_owned(), there.to_owned()))
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
