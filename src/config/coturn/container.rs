//! A container that coturn runs in.

use std::collections::HashMap;

use super::images::{self, Variable};
use super::rule::Given;
use super::source::{ConfigFile, Source};
use super::variables::expand;
use super::words::{self, Word, named_file};

/// Image, variables, volumes and command line of a container.
pub(super) struct Container {
    pub(super) image: String,
    pub(super) variables: HashMap<String, Variable>,
    /// Paths on the host, each with the path in the container.
    pub(super) volumes: Vec<(String, String)>,
    pub(super) command: Vec<Word>,
}

impl Container {
    /// Options from command line and variables, and the configuration file.
    pub(super) fn source(self) -> Source {
        let Self {
            image,
            variables,
            volumes,
            command,
        } = self;
        let values = variables
            .iter()
            .map(|(name, (value, _))| (name.clone(), value.clone()))
            .collect();
        let words: Vec<Word> = command
            .iter()
            .map(|(word, place)| (expand(word, &values), *place))
            .collect();
        let is_bare = words.first().is_some_and(|(word, _)| word.starts_with('-'));
        let mut own = match words::options_in(&words) {
            Some(given) => given,
            // The image puts the program before them.
            None if is_bare => words::given(&words),
            None => Vec::new(),
        };
        for option in &mut own {
            if option.name == "cert" || option.name == "pkey" {
                on_the_host(option, &volumes);
            }
        }
        // A variable in the command line has done its work there.
        let is_free = |name: &str| !command.iter().any(|(word, _)| word.contains(name));
        let mut given = images::options(&image, &variables, is_free);
        let file = file(&own, &volumes);
        given.extend(own);
        let mut notes = Vec::new();
        let file = match file {
            Some(path) => match host_path(&path, &volumes) {
                Some(path) => Some(path),
                None => {
                    notes.push(format!(
                        "{path} is a file inside of the container, and its options are missing here: copy it out and import it"
                    ));
                    None
                }
            },
            None => None,
        };
        Source { given, file, notes }
    }
}

/// Configuration file in the container: the one that is named, or else one that a volume brings.
fn file(given: &[Given], volumes: &[(String, String)]) -> Option<String> {
    if given.iter().any(|option| option.name == "-n") {
        return None;
    }
    if let Some(path) = named_file(given) {
        return Some(path.to_owned());
    }
    let mut inside = volumes.iter().map(|(_, there)| there);
    inside
        .find(|there| there.ends_with("/turnserver.conf"))
        .cloned()
}

/// Path on the host of one in the container, if a volume that is a folder or file brings it.
fn host_path(path: &str, volumes: &[(String, String)]) -> Option<ConfigFile> {
    let (here, rest) = volumes.iter().find_map(|(here, there)| {
        let rest = path.strip_prefix(there.trim_end_matches('/'))?;
        let fits = rest.is_empty() || rest.starts_with('/');
        fits.then_some((here, rest))
    })?;
    let mut here = here.as_str();
    for folder in ["$(pwd)", "${PWD}", "$PWD"] {
        if let Some(rest) = here.strip_prefix(folder) {
            return Some(ConfigFile::Beside(format!(".{rest}")));
        }
    }
    here = here.trim_end_matches('/');
    match here.chars().next() {
        Some('/') => Some(ConfigFile::Here(format!("{here}{rest}"))),
        Some('.') => Some(ConfigFile::Beside(format!("{here}{rest}"))),
        // The name of a volume.
        _ => None,
    }
}

/// Makes the path of a certificate or key the one that it has on the host.
fn on_the_host(option: &mut Given, volumes: &[(String, String)]) {
    let Some(path) = &option.value else { return };
    match host_path(path, volumes) {
        Some(ConfigFile::Here(host)) => {
            option.remarks.push("the path on the host".to_owned());
            option.value = Some(host);
        }
        _ => {
            let remark = "a path in the container: name the file as this machine has it";
            option.remarks.push(remark.to_owned());
        }
    }
}

/// Path here and path in the container of `here:there`.
pub(super) fn volume(text: &str) -> Option<(String, String)> {
    let mut parts = text.split(':');
    let (here, there) = (parts.next()?, parts.next()?);
    Some((here.to_owned(), there.to_owned()))
}
