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
use super::transports::InUse;
use super::{ClearTable, Config, LogFormat, Tls, expand, syntax};
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
    /// Every key as it is written, or with its default: nothing follows from other keys yet.
    written: FileConfig,
    origins: Origins,
}

impl Loaded {
    /// The configuration that a server which runs with `running` can go on with: the running values
    /// of the keys that it does not follow, and of those that would be wrong beside them, and this
    /// one's of all others; `None`: all of this one. `tls` is what the server has of certificates.
    ///
    /// # Errors
    /// Everything that is wrong even so.
    pub fn in_force(
        &self,
        running: &Self,
        tls: &Tls,
        follows: impl Fn(&str) -> bool,
    ) -> Result<Option<Self>, Vec<ConfigError>> {
        let changed = running.written.differing(&self.written);
        let (mut free, mut kept): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|key| follows(key));
        if kept.is_empty() {
            return Ok(None);
        }
        loop {
            let errors = match self.keeping(&kept, running, tls) {
                Ok(loaded) => return Ok(Some(loaded)),
                Err(errors) => errors,
            };
            // An error names the keys that do not fit each other.
            let named = |(_, key): &(usize, &String)| errors.iter().any(|e| e.names(key));
            let errors_without = |key: &String| {
                let kept = [&kept[..], std::slice::from_ref(key)].concat();
                let checked = self.keeping(&kept, running, tls);
                checked.map_or_else(|errors| errors.len(), |_| 0)
            };
            let candidates = free.iter().enumerate().filter(named);
            let Some((next, _)) = candidates.min_by_key(|(_, key)| errors_without(key)) else {
                return Err(errors);
            };
            kept.push(free.remove(next));
        }
    }

    /// This configuration with the running values of some keys.
    fn keeping(
        &self,
        kept: &[String],
        running: &Self,
        tls: &Tls,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut layers = Layers {
            origins: self.origins.clone(),
            ..Layers::default()
        };
        let mut old = Layers::default();
        layers.lay(&self.written, None);
        old.lay(&running.written, None);
        for key in kept {
            layers.replace(key, old.table.remove(key), running.origins.keys.get(key));
        }
        let kept = |key: &str| kept.iter().any(|kept| kept == key);
        let in_use = if kept("cert") || kept("pkey") {
            InUse::Always(tls)
        } else {
            InUse::IfUnusable(tls)
        };
        layers.check(Vec::new(), in_use)
    }
}

/// Reads the file at `path`, or the first of [`SEARCH`] that exists, lays the flags over it and checks the whole.
///
/// # Errors
/// Everything that is wrong, as far as one mistake does not hide another.
pub fn load(path: Option<&Path>, flags: &FileConfig) -> Result<Loaded, Vec<ConfigError>> {
    let file = find(path).map_err(|error| vec![error])?;
    assemble(file, flags, &|name| std::env::var_os(name), InUse::Nothing)
}

/// As [`load`], for a server that has certificates: they stay where those of the same files cannot
/// be used now.
///
/// # Errors
/// Everything that is wrong, as far as one mistake does not hide another.
pub fn load_again(
    path: Option<&Path>,
    flags: &FileConfig,
    tls: &Tls,
) -> Result<Loaded, Vec<ConfigError>> {
    let file = find(path).map_err(|error| vec![error])?;
    let in_use = InUse::IfUnusable(tls);
    assemble(file, flags, &|name| std::env::var_os(name), in_use)
}

/// Checks flags alone, without looking for a file.
pub fn from_flags(flags: &FileConfig) -> Result<Loaded, Vec<ConfigError>> {
    assemble(None, flags, &|name| std::env::var_os(name), InUse::Nothing)
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
    assemble(Some(source), &FileConfig::default(), env, InUse::Nothing)
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
    in_use: InUse<'_>,
) -> Result<Loaded, Vec<ConfigError>> {
    let mut warnings = Vec::new();
    let mut layers = Layers::default();
    layers.lay(&FileConfig::defaults(), None);
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
    layers.lay(flags, Some(&Origin::Flag));
    layers.check(warnings, in_use)
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

    /// Lays values over what is there; without an origin the keys do not count as given.
    fn lay(&mut self, layer: &FileConfig, origin: Option<&Origin>) {
        match layer.to_table() {
            Ok(mut table) => {
                for (key, value) in std::mem::take(&mut *table) {
                    if let Some(origin) = origin {
                        self.origins.keys.insert(key.clone(), origin.clone());
                    }
                    self.table.put(key, value);
                }
            }
            Err(error) => self.failed(&error.to_string(), "write paths as UTF-8"),
        }
    }

    /// Puts another value, or none, in the place of a key's own.
    fn replace(&mut self, key: &str, value: Option<Value>, origin: Option<&Origin>) {
        // Overwrites the own one.
        self.table.put(key.to_owned(), Value::Boolean(false));
        self.table.remove(key);
        if let Some(value) = value {
            self.table.put(key.to_owned(), value);
        }
        self.origins.keys.remove(key);
        if let Some(origin) = origin {
            self.origins.keys.insert(key.to_owned(), origin.clone());
        }
    }

    /// Checks the values together.
    fn check(
        mut self,
        mut warnings: Vec<String>,
        in_use: InUse<'_>,
    ) -> Result<Loaded, Vec<ConfigError>> {
        let written = self.together();
        let Self {
            origins, errors, ..
        } = self;
        let mut resolved = written.clone();
        let checked = check(&mut resolved, &origins, errors, &mut warnings, in_use);
        let config = checked.map_err(|mut errors| {
            errors.sort_by_key(|error| (error.file != origins.file, error.line));
            errors
        })?;
        Ok(Loaded {
            config,
            given: origins.keys.keys().cloned().collect(),
            file: origins.file.clone(),
            resolved,
            warnings,
            written,
            origins,
        })
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
