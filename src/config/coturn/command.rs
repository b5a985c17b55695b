//! Command lines of coturn, as they are or within a line that starts a container.

use super::docker::{container, is_docker};
use super::options;
use super::rule::Place;
use super::source::{ConfigFile, Source};
use super::words::{Word, given, is_program, named_file, nested, options_in, own, words};

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
    let reads_none = given.iter().any(|option| option.name == "-n");
    let file = named_file(&given).filter(|_| !reads_none);
    let file = file.map(|path| ConfigFile::Here(path.to_owned()));
    Source {
        given,
        file,
        notes: Vec::new(),
    }
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
