//! Findings: a problem, its cause and its remedy.

use std::fmt;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Good to know.
    Note,
    /// Some are not served, or not for long.
    Warning,
    /// A browser is not served.
    Fault,
}

impl Level {
    /// The word before the finding.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Severity.
    pub level: Level,
    /// Error code that Trickle ICE shows, where it shows one.
    pub code: Option<u16>,
    /// Observation.
    pub what: String,
    /// Probable cause.
    pub why: String,
    /// Remedy.
    pub remedy: String,
}

impl Finding {
    fn new(
        level: Level,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            level,
            code: None,
            what: what.into(),
            why: why.into(),
            remedy: remedy.into(),
        }
    }

    /// A browser is not served.
    pub(super) fn fault(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Fault, what, why, remedy)
    }

    /// Some are not served.
    pub(super) fn warning(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Warning, what, why, remedy)
    }

    /// Good to know.
    pub(super) fn note(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Level::Note, what, why, remedy)
    }

    /// With the code that a browser shows.
    pub(super) fn with_code(self, code: u16) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.level.name(), self.what)?;
        if let Some(code) = self.code {
            write!(f, " [{code}]")?;
        }
        write!(f, ": {}; {}", self.why, self.remedy)
    }
}

/// The code to show for an error response: 600 where it has none.
pub(super) fn known(code: u16) -> u16 {
    if code == 0 { 600 } else { code }
}
