//! Options of coturn's, and their counterparts here.

use std::fmt;

/// An option as it was given.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    /// Long name, or the word or letter in place of one.
    pub name: String,
    /// Value; `None` for a flag.
    pub value: Option<String>,
    /// Line or word that it was found at.
    pub place: Place,
    /// Comments on it in coturn's file, one line each, without `#`.
    pub comments: Vec<String>,
    /// Notes on how it was read, for its line in the report. Never hold a secret.
    pub remarks: Vec<String>,
    /// Reason why it cannot be used, found when it was read. Never holds a secret.
    pub unusable: Option<String>,
}

impl Given {
    /// An option without comments and remarks.
    pub(super) fn new(name: &str, value: Option<&str>, place: Place) -> Self {
        Self {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            place,
            comments: Vec::new(),
            remarks: Vec::new(),
            unusable: None,
        }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value may be a password.
        f.debug_struct("Given")
            .field("name", &self.name)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// Place that an option was found at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of the file, from 1.
    Line(usize),
    /// A line of the file that starts coturn with that one, from 1.
    Start(usize),
    /// A word of the command line, from 1.
    Word(usize),
    /// A row of a table, by its id.
    Row(i64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Line(n) => format!("line {n}"),
            Self::Start(n) => format!("start line {n}"),
            Self::Word(n) => format!("word {n}"),
            Self::Row(n) => format!("row {n}"),
        })
    }
}

/// An option of coturn.
pub(super) struct CoturnOption {
    /// Name in the file, and after `--`.
    pub(super) name: &'static str,
    /// Letter after `-`.
    pub(super) letter: Option<char>,
    pub(super) takes: Takes,
    pub(super) rule: Rule,
}

impl CoturnOption {
    /// Whether the word after the letter belongs to it, which is not as with the name for `-K`.
    pub(super) fn letter_takes(&self) -> Takes {
        match self.letter {
            Some('K') => Takes::Value,
            _ => self.takes,
        }
    }

    pub(super) const fn or(self, letter: char) -> Self {
        Self {
            letter: Some(letter),
            ..self
        }
    }
}

/// Whether the word after an option belongs to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// The next word is the value.
    Value,
    /// A value follows `=`, if any.
    Flag,
}

/// Counterpart of an option in turnd.
pub(super) enum Rule {
    /// The key of the same name.
    Keep,
    /// Another key of the same meaning.
    As(&'static str),
    /// A switch of the opposite meaning.
    Opposite(&'static str),
    /// Key or none, decided by the value.
    By(fn(&Given) -> Outcome),
    /// No counterpart, and nothing is lost; the text says why.
    Nothing(&'static str),
    /// No counterpart; the text says what to do instead.
    Refused(&'static str),
    /// No key, but a counterpart that works differently; the text says how.
    Differs(&'static str),
    /// No counterpart so far.
    Missing,
}

/// Fate of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same key with the same value.
    Kept,
    /// The same effect, written differently.
    Mapped,
    /// Left out, and nothing is lost.
    WithoutEffect,
    /// Left out, and its effect is missing.
    NotSupported,
    /// No option of coturn's.
    Unknown,
}

impl Verdict {
    /// All verdicts, in the order of the summary.
    pub const ALL: [Self; 5] = [
        Self::Kept,
        Self::Mapped,
        Self::WithoutEffect,
        Self::NotSupported,
        Self::Unknown,
    ];
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kept => "kept",
            Self::Mapped => "changed",
            Self::WithoutEffect => "without effect",
            Self::NotSupported => "not supported",
            Self::Unknown => "unknown",
        })
    }
}

/// Result of translating one option.
pub(super) enum Outcome {
    /// A key. The text is empty when there is nothing to say.
    Set(&'static str, Value, Verdict, String),
    /// No key, with the reason.
    Drop(Verdict, String),
}

/// A value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Switch(bool),
    Number(u64),
    Text(String),
}

/// One value of a key, as it will be written.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) list: bool,
    pub(super) value: Value,
    /// Index of the option in the list of entries.
    pub(super) entry: usize,
    /// Comments that it had in coturn's file.
    pub(super) comments: Vec<String>,
}
