//! `turnd import`.

mod report;

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Failure, say};
use crate::config::coturn::{self, ConfigFile, Place, Source, Verdict};

/// Largest file that is read, in bytes; `/dev/zero` is larger.
const LARGEST: u64 = 16 << 20;

const NOTHING: &str = "holds no option of coturn's that is in force; name a turnserver.conf, a unit file, a script with a line that starts \
                       turnserver, YAML for docker-compose or Kubernetes, or give the command line after --";

/// Turn coturn's configuration into a turnd.toml, and say what became of each option.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  turnd import /etc/turnserver.conf -o turnd.toml
  turnd import /etc/turnserver.conf --db /var/lib/turn/turndb -o turnd.toml
  turnd import docker-compose.yml -v
  turnd import - <turnserver.conf >turnd.toml
  turnd import -- turnserver -a -u alice:secret -r example.org"
)]
pub(super) struct Import {
    /// turnserver.conf, or what starts coturn: a unit file, a script, or YAML for docker-compose or Kubernetes; - for
    /// standard input.
    #[cfg_attr(feature = "tools", arg(required_unless_present_any = ["command", "db"]))]
    #[cfg_attr(not(feature = "tools"), arg(required_unless_present = "command"))]
    #[arg(conflicts_with = "command")]
    file: Option<PathBuf>,
    /// New file for the TOML; otherwise standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// SQLite file with coturn's users and secrets, which is only read.
    #[cfg(feature = "tools")]
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// Realm to take from the database, where it holds several.
    #[cfg(feature = "tools")]
    #[arg(long, value_name = "TEXT", requires = "db")]
    realm: Option<String>,
    /// List the options that are kept too.
    #[arg(short, long)]
    verbose: bool,
    /// Command line of coturn.
    #[arg(last = true, value_name = "COMMAND LINE")]
    command: Vec<String>,
}

impl Import {
    pub(super) fn run(self) -> Result<(), Failure> {
        let source = match &self.file {
            Some(path) => from_file(path)?,
            None => followed(coturn::command_line(&self.command), Path::new(""))?,
        };
        #[cfg(feature = "tools")]
        let source = self.with_rows(source)?;
        let mut import = coturn::translate(&source.given);
        let all_unknown = || {
            let mut entries = import.entries.iter();
            entries.all(|entry| entry.verdict == Verdict::Unknown)
        };
        if all_unknown() {
            let name = match &self.file {
                Some(path) => format!("{}: ", path.display()),
                None => String::new(),
            };
            let why = source.notes.first().map_or("", String::as_str);
            let between = if why.is_empty() { "" } else { ". " };
            return Err(Failure::Run(format!("{name}{NOTHING}{between}{why}")));
        }
        import.notes.splice(0..0, source.notes);
        match &self.output {
            Some(path) => write(path, &import.toml)?,
            None => say(import.toml.trim_end())?,
        }
        report::report(&import, self.verbose);
        Ok(())
    }

    /// Adds the options that the rows of the database are.
    #[cfg(feature = "tools")]
    fn with_rows(&self, mut source: Source) -> Result<Source, Failure> {
        let Some(path) = &self.db else {
            return Ok(source);
        };
        let given = &source.given;
        let mut realms = given.iter().filter(|option| option.name == "realm");
        let realm = realms
            .next_back()
            .and_then(|option| option.value.as_deref());
        let realm = self.realm.as_deref().or(realm);
        let rows = coturn::database(path, realm)
            .map_err(|problem| Failure::Run(format!("{}: {problem}", path.display())))?;
        if let Some(realm) = &self.realm {
            let flag = format!("--realm={realm}");
            source.given.extend(coturn::command_line(&[flag]).given);
        }
        source.given.extend(rows);
        Ok(source)
    }
}

/// The options of a file, and of the configuration file that it names.
fn from_file(path: &Path) -> Result<Source, Failure> {
    let source = coturn::read(&text(path)?)
        .map_err(|problem| Failure::Run(format!("{}: {problem}", path.display())))?;
    followed(source, path)
}

/// Adds the options of the configuration file that is named in `path`.
fn followed(mut source: Source, path: &Path) -> Result<Source, Failure> {
    let file = match source.file.take() {
        None => return Ok(source),
        Some(ConfigFile::Here(file)) => PathBuf::from(file),
        Some(ConfigFile::Beside(file)) => path.with_file_name("").join(file),
    };
    for option in &mut source.given {
        if let Place::Line(n) = option.place {
            option.place = Place::Start(n);
        }
    }
    source.given.splice(0..0, coturn::read_conf(&text(&file)?));
    Ok(source)
}

fn text(path: &Path) -> Result<String, Failure> {
    read(path).map_err(|error| {
        Failure::usage(format!(
            "{}: cannot be read: {error}; name coturn's configuration file",
            path.display()
        ))
    })
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
