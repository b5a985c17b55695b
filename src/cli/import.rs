//! `turnd import`.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Failure, complain, say};
use crate::config::coturn::{self, Given, Source, Verdict};

/// Largest file that is read, in bytes; `/dev/zero` is larger.
const LARGEST: u64 = 16 << 20;

/// Turn coturn's configuration into a turnd.toml, and say what became of each option.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  turnd import /etc/turnserver.conf -o turnd.toml
  turnd import - <turnserver.conf >turnd.toml
  turnd import -- turnserver -a -u alice:secret -r example.org"
)]
pub(super) struct Import {
    /// turnserver.conf, or a file with coturn's command line in it; - for standard input.
    #[arg(required_unless_present = "command", conflicts_with = "command")]
    file: Option<PathBuf>,
    /// New file for the TOML; otherwise standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Command line of coturn.
    #[arg(last = true, value_name = "COMMAND LINE")]
    command: Vec<String>,
}

impl Import {
    pub(super) fn run(self) -> Result<(), Failure> {
        let given = match &self.file {
            Some(path) => {
                let given = from_file(path, true)?;
                let none_known = coturn::translate(&given)
                    .entries
                    .iter()
                    .all(|entry| entry.verdict == Verdict::Unknown);
                if !given.is_empty() && none_known {
                    let message = format!(
                        "{}: holds no option of coturn's; name its turnserver.conf",
                        path.display()
                    );
                    return Err(Failure::usage(message));
                }
                given
            }
            None => from_words(&self.command)?,
        };
        let import = coturn::translate(&given);
        match &self.output {
            Some(path) => write(path, &import.toml)?,
            None => say(import.toml.trim_end())?,
        }
        report(&import);
        Ok(())
    }
}

/// The options of a file, and of the file that a command line in it names.
fn from_file(path: &Path, follow: bool) -> Result<Vec<Given>, Failure> {
    let text = read(path).map_err(|error| {
        Failure::usage(format!(
            "{}: cannot be read: {error}; name coturn's configuration file",
            path.display()
        ))
    })?;
    match coturn::read(&text) {
        Source::File(given) => Ok(given),
        Source::CommandLine(words) if follow => from_words(&words),
        Source::CommandLine(_) => Err(Failure::usage(format!(
            "{}: holds a command line and not a configuration; import it by itself",
            path.display()
        ))),
    }
}

/// The options of a command line, after those of the file that it names.
fn from_words(words: &[String]) -> Result<Vec<Given>, Failure> {
    let given = coturn::command_line(words);
    let file = given.iter().find(|option| option.name == "-c");
    let mut all = match file.and_then(|option| option.value.as_ref()) {
        Some(path) => from_file(Path::new(path), false)?,
        None => Vec::new(),
    };
    all.extend(given);
    Ok(all)
}

fn read(path: &Path) -> io::Result<String> {
    let source: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path)?)
    };
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!(
            "is larger than {} MiB",
            LARGEST >> 20
        )));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("is not UTF-8 text"))
}

fn write(path: &Path, toml: &str) -> Result<(), Failure> {
    // The file holds secrets.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path);
    file.and_then(|mut file| file.write_all(toml.as_bytes()))
        .map_err(|error| {
            let remedy = match error.kind() {
                ErrorKind::AlreadyExists => "; remove it, or choose another name",
                _ => "",
            };
            Failure::Run(format!(
                "{}: cannot be written: {error}{remedy}",
                path.display()
            ))
        })
}

fn report(import: &coturn::Import) {
    for entry in &import.entries {
        let line = format!(
            "{:<9} {:<14} {}",
            entry.place,
            entry.verdict,
            entry.name.escape_debug()
        );
        if entry.text.is_empty() {
            complain(line);
        } else {
            complain(format_args!("{line}: {}", entry.text));
        }
    }
    for note in &import.notes {
        complain(format_args!("note: {note}"));
    }
    let counts = Verdict::ALL.map(|verdict| {
        let count = import
            .entries
            .iter()
            .filter(|entry| entry.verdict == verdict)
            .count();
        (count > 0).then(|| format!("{count} {verdict}"))
    });
    let counts: Vec<_> = counts.into_iter().flatten().collect();
    complain(format_args!(
        "{} options: {}",
        import.entries.len(),
        counts.join(", ")
    ));
}
