//! Errors that show the place: file, line, column, the line itself and a caret below.

use serde::de::DeserializeOwned;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("{}: no such configuration file", .0.display())]
    Missing(PathBuf),
    /// This process may not read the file.
    #[error("{}: permission denied: run as a user who may read the configuration", .0.display())]
    Denied(PathBuf),
    /// Reading failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file says something that cannot be.
    #[error("{0}")]
    Invalid(Box<Fault>),
}

impl ConfigError {
    /// The exit status for this error (sysexits: 66 no input, 77 permission, 78 configuration).
    pub const fn exit_code(&self) -> u8 {
        match self {
            ConfigError::Missing(_) => 66,
            ConfigError::Denied(_) => 77,
            ConfigError::Io { .. } => 1,
            ConfigError::Invalid(_) => 78,
        }
    }

    /// The fault in the text, if that is what is wrong.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            ConfigError::Invalid(fault) => Some(fault),
            _ => None,
        }
    }

    pub(super) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => ConfigError::Missing(path),
            io::ErrorKind::PermissionDenied => ConfigError::Denied(path),
            _ => ConfigError::Io { path, source },
        }
    }
}

/// A configuration's text, and the file that it stands in.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// The value that the text spells.
    pub(super) fn parse<T: DeserializeOwned>(self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|mut error| {
            let span = error.span().unwrap_or_default();
            error.set_input(None); // without its text, the error names the key, not the place
            self.fault(span, error.to_string().trim_end().replace('\n', " "))
        })
    }

    /// An error about what stands at the bytes `span` of the text.
    pub(super) fn fault(self, span: Range<usize>, message: String) -> ConfigError {
        ConfigError::Invalid(Box::new(Fault::at(self.path, self.text, span, message)))
    }

    /// `path`, which the text names, as seen from the folder of its file.
    pub(super) fn beside(self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// What is wrong in a configuration file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// The line, the first being 1.
    pub line: usize,
    /// The character in the line, the first being 1.
    pub column: usize,
    /// What is wrong, with the key and the remedy.
    pub message: String,
    /// The line's text.
    source: String,
    /// Characters to point at, at least one.
    width: usize,
}

impl Fault {
    fn at(path: &Path, text: &str, span: Range<usize>, message: String) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let source = text[line_start..].lines().next().unwrap_or("");
        let column = before[line_start..].chars().count();
        let marked = text.get(span).unwrap_or("").lines().next().unwrap_or("");
        Fault {
            path: path.to_path_buf(),
            line: before.matches('\n').count() + 1,
            column: column + 1,
            message,
            source: source.into(),
            width: marked.chars().count().max(1),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { path, line, column, message, source, width } = self;
        let gutter = " ".repeat(line.to_string().len());
        // Tabs stay tabs, so that the caret stands below its character in every terminal.
        let indent = source.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' });
        let indent: String = indent.collect();
        writeln!(out, "{}:{line}:{column}: {message}", path.display())?;
        writeln!(out, "{gutter} |")?;
        writeln!(out, "{line} | {source}")?;
        write!(out, "{gutter} | {indent}{}", "^".repeat(*width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str, span: Range<usize>) -> Fault {
        Fault::at(Path::new("f"), text, span, "wrong".into())
    }

    #[test]
    fn the_caret_stands_below_the_first_wrong_character() {
        let shown = fault("a = 1\nbb = \"é\" # x\n", 11..15).to_string();
        assert_eq!(shown, "f:2:6: wrong\n  |\n2 | bb = \"é\" # x\n  |      ^^^");
        let tabbed = fault("\ta = 1", 5..6).to_string();
        assert!(tabbed.ends_with("\n  | \t    ^"), "{tabbed:?}");
    }

    #[test]
    fn a_span_outside_the_text_or_inside_a_character_still_has_a_place() {
        assert_eq!(fault("", 0..0).line, 1);
        assert_eq!(fault("a\n", 2..2).line, 2);
        assert_eq!(fault("a", 7..9).column, 2);
        assert_eq!(fault("é", 1..2).column, 2);
    }
}
