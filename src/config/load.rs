//! Finds and reads the configuration, and lays the file over the defaults and the flags over the file.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::Value;
use toml::de::{DeTable, DeValue, Deserializer};
use zeroize::Zeroize;

use super::check::check;
use super::error::{ConfigError, Origin, Origins};
use super::file::FileConfig;
use super::keys::{Keys, SECRETS, example, expected, found};
use super::source::{Source, read};
use super::{ClearTable, Config, LogFormat, expand, syntax};
use crate::problem::Problem;

/// Places of a configuration file when none is named.
pub const SEARCH: [&str; 2] = ["turnd.toml", "/etc/turnd/turnd.toml"];

/// A configuration with its source and warnings.
#[derive(Debug)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    /// File that was read; `None`: there is none.
    pub file: Option<PathBuf>,
    /// Every key with its value, defaults filled in. Holds the secrets, its `Debug` does not.
    pub resolved: FileConfig,
    /// Keys that the file or a flag gives.
    pub given: Vec<String>,
    /// Warnings about values that work but should be looked at, one line each.
    pub warnings: Vec<String>,
}

/// Reads the file at `path`, or the first of [`SEARCH`] that exists, lays the flags over it and checks the whole.
///
/// # Errors
/// Everything that is wrong, as far as one mistake does not hide another.
pub fn load(path: Option<&Path>, flags: &FileConfig) -> Result<Loaded, Vec<ConfigError>> {
    let file = find(path).map_err(|error| vec![error])?;
    assemble(file, flags, &|name| std::env::var_os(name))
}

/// Checks flags alone, without looking for a file.
pub fn from_flags(flags: &FileConfig) -> Result<Loaded, Vec<ConfigError>> {
    assemble(None, flags, &|name| std::env::var_os(name))
}

/// The file that [`load`] takes when none is named: the first of [`SEARCH`] that exists, readable or not.
pub fn search() -> Option<&'static Path> {
    // A broken link counts: serving without the file would hide that.
    let exists = |path: &&Path| match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    };
    SEARCH.map(Path::new).into_iter().find(exists)
}

/// The `log-format` of flags and file, whatever else is wrong with them.
pub fn log_format(path: Option<&Path>, flags: &FileConfig) -> LogFormat {
    let in_file = || {
        let source = find(path).ok().flatten()?;
        let text = source.text().ok()?;
        let document = DeTable::parse(text).ok()?;
        let value = document.get_ref().get("log-format")?.get_ref().as_str()?;
        Some(value.to_owned())
    };
    match flags.log_format.clone().or_else(in_file).as_deref() {
        Some("json") => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

/// Checks the text of a file, with the variables of `env`; errors call it `turnd.toml`.
pub(super) fn from_text(
    text: &str,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Loaded, Vec<ConfigError>> {
    let source = Source {
        path: SEARCH[0].into(),
        bytes: text.as_bytes().to_vec().into(),
        public: false,
    };
    assemble(Some(source), &FileConfig::default(), env)
}

fn find(path: Option<&Path>) -> Result<Option<Source>, ConfigError> {
    let path = match path {
        Some(path) => path,
        None => match search() {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    let remedy = "name a TOML file that this user may read with -c";
    read(path, remedy)
        .map(Some)
        .map_err(|problem| ConfigError::of_file(path, None, problem))
}

pub(super) fn assemble(
    file: Option<Source>,
    flags: &FileConfig,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Loaded, Vec<ConfigError>> {
    let mut warnings = Vec::new();
    let mut layers = Layers::default();
    layers.lay(&FileConfig::defaults(), false);
    if let Some(source) = &file {
        layers.origins.file = Some(source.path.clone());
        layers.add_file(source, env)?;
        if SECRETS
            .iter()
            .any(|key| layers.in_clear.iter().any(|k| k == key))
        {
            warnings.extend(source.exposure());
        }
    }
    layers.lay(flags, true);
    let mut resolved = layers.together();
    let Layers {
        origins, errors, ..
    } = layers;
    let config = check(&mut resolved, &origins, errors, &mut warnings).map_err(|mut errors| {
        errors.sort_by_key(|error| (error.file != origins.file, error.line));
        errors
    })?;
    Ok(Loaded {
        config,
        given: origins.keys.into_keys().collect(),
        file: origins.file,
        resolved,
        warnings,
    })
}

/// Values and errors so far.
#[derive(Default)]
struct Layers {
    table: ClearTable,
    origins: Origins,
    errors: Vec<ConfigError>,
    /// Keys of the file whose text stands there itself, not as `${ENV}`.
    in_clear: Vec<String>,
}

impl Layers {
    /// Adds what the file says, key by key; only a file that is no TOML at all ends it.
    fn add_file(
        &mut self,
        source: &Source,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(), Vec<ConfigError>> {
        let text = source.text().map_err(|error| vec![error])?;
        // A list may have as many elements as a file has lines.
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |at: usize| 1 + ends.partition_point(|end| *end < at);
        let document = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let (number, problem) = syntax::explain(&source.path, text, line(at), error.message());
            vec![ConfigError::of_file(&source.path, number, problem)]
        })?;
        let keys = Keys::new();
        for (key, value) in document.into_inner() {
            let name = key.get_ref().clone().into_owned();
            let elements = match value.get_ref() {
                DeValue::Array(items) => items.iter().map(|i| line(i.span().start)).collect(),
                _ => Vec::new(),
            };
            let origin = Origin::File {
                line: line(key.span().start),
                elements,
            };
            self.origins.keys.insert(name.clone(), origin);
            let error = match keys.find(&name) {
                Some(_) => self.add_value(&keys, &name, key, value, env).err(),
                None => {
                    let problem = keys.unknown(&name, value.get_ref());
                    let mut error = self.origins.error(&name, None, problem);
                    error.key = None;
                    Some(error)
                }
            };
            if let Some(error) = error {
                // The key has no value now; it must not look as if it were given.
                self.origins.keys.remove(&name);
                self.errors.push(error);
            }
        }
        Ok(())
    }

    fn add_value<'i>(
        &mut self,
        keys: &Keys,
        name: &str,
        key: Spanned<std::borrow::Cow<'i, str>>,
        value: Spanned<DeValue<'i>>,
        env: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(), ConfigError> {
        let found = found(value.get_ref(), SECRETS.contains(&name));
        let mut alone = DeTable::new();
        alone.insert(key, value);
        let mut table = FileConfig::deserialize(Deserializer::from(Spanned::new(0..0, alone)))
            .ok()
            .and_then(|config| config.to_table().ok())
            .ok_or_else(|| {
                let expected = keys.find(name).map_or("a value", expected);
                let problem = format!("{found} is not {expected}");
                let example = format!("write it as {name} = {}", example(name, expected));
                self.origins
                    .error(name, None, Problem::new(problem, example))
            })?;
        for (_, mut value) in std::mem::take(&mut *table) {
            let mut texts = match &mut value {
                Value::String(text) => vec![text],
                Value::Array(items) => items.iter_mut().filter_map(as_text).collect(),
                _ => Vec::new(),
            };
            for (n, text) in texts.iter_mut().enumerate() {
                let (full, used) = expand::expand(text, env)
                    .map_err(|problem| self.origins.error(name, Some(n), problem))?;
                if !used {
                    self.in_clear.push(name.to_owned());
                }
                text.zeroize();
                **text = full;
            }
            self.table.put(name.to_owned(), value);
        }
        Ok(())
    }

    /// Lays defaults or flags over what is there.
    fn lay(&mut self, layer: &FileConfig, flags: bool) {
        match layer.to_table() {
            Ok(mut table) => {
                for (key, value) in std::mem::take(&mut *table) {
                    if flags {
                        self.origins.keys.insert(key.clone(), Origin::Flag);
                    }
                    self.table.put(key, value);
                }
            }
            Err(error) => self.failed(&error.to_string(), "write paths as UTF-8"),
        }
    }

    /// The values together. Each was checked when it was added, so that they fit is certain but for a bug.
    fn together(&mut self) -> FileConfig {
        let table = std::mem::take(&mut *self.table);
        table.try_into().unwrap_or_else(|error| {
            self.failed(error.message(), "report this as a bug of turnd");
            FileConfig::defaults()
        })
    }

    fn failed(&mut self, problem: &str, remedy: &str) {
        self.errors.push(ConfigError {
            file: None,
            line: None,
            key: None,
            problem: Problem::new(problem, remedy),
        });
    }
}

fn as_text(value: &mut Value) -> Option<&mut String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
