//! An option of coturn's, and what it is here.

use std::fmt;

use super::report::Verdict;

/// An option as it was given.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    /// Its long name, or what stands in place of one.
    pub name: String,
    /// Its value; `None` for a flag.
    pub value: Option<String>,
    /// Where it stands.
    pub place: Place,
    /// It was followed by a comment, which coturn would read as part of the value.
    pub commented: bool,
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

/// Where an option stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, from 1.
    Line(usize),
    /// A word of the command line, from 1.
    Word(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Line(n) => format!("line {n}"),
            Self::Word(n) => format!("word {n}"),
        })
    }
}

/// An option of coturn.
pub(super) struct CoturnOption {
    /// Its name in the file, and after `--`.
    pub(super) name: &'static str,
    /// Its letter after `-`.
    pub(super) letter: Option<char>,
    pub(super) takes: Takes,
    pub(super) rule: Rule,
}

impl CoturnOption {
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
    /// It does.
    Value,
    /// It does not; a value follows `=`, if any.
    Flag,
}

/// What an option is here. Keys are named whether turnd has them yet or not.
pub(super) enum Rule {
    /// The key of that name.
    Keep(Else),
    /// Another key of the same meaning.
    As(&'static str, Else),
    /// A switch of the opposite meaning.
    Opposite(&'static str, Else),
    /// More than a name.
    By(fn(&Given) -> Outcome),
    /// Nothing is lost without it; why.
    Nothing(&'static str),
    /// It has no counterpart; what to do instead.
    Refused(&'static str),
}

/// What to say while turnd does not have the key.
pub(super) enum Else {
    /// It is missed.
    NotYet,
    /// It is missed, but there is something else.
    Instead(&'static str),
    /// It is not missed; why.
    Nothing(&'static str),
}

/// What an option turns into.
pub(super) enum Outcome {
    /// A key. The text is empty when there is nothing to say.
    Set(&'static str, Value, Verdict, String),
    /// Nothing; why.
    Drop(Verdict, String),
}

/// A value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Switch(bool),
    Number(u64),
    Text(String),
}

/// One value of a key.
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) list: bool,
    pub(super) value: Value,
    /// Where it comes from, in the list of entries.
    pub(super) entry: usize,
}
