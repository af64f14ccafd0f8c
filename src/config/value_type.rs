//! Types of setting values: the accepted values in words, and how a value is read.

use std::fmt;
use std::time::Duration;

use toml::Value;

use super::size;

/// Reads a value, or returns the problem.
pub(super) type Read<T> = fn(&Value, Expected) -> Result<T, String>;

/// A type of values.
#[derive(Clone, Copy)]
pub(super) struct ValueType<T: 'static> {
    pub(super) env_format: EnvFormat,
    pub(super) expected: Expected,
    pub(super) read: Read<T>,
}

/// Format of a value in an environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnvFormat {
    /// The text is the value.
    Text,
    /// Comma-separated texts.
    List,
    /// TOML: a number, a boolean or a table.
    Toml,
}

/// The accepted values.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// Described by a noun phrase.
    Words(&'static str),
    /// Described by a noun phrase. Another value may hold a password or a token, so no error shows it.
    Hidden(&'static str),
    OneOf(&'static [&'static str]),
    Count {
        least: u64,
        most: u64,
    },
    Bytes {
        least: u64,
        most: u64,
    },
    Duration {
        least: Duration,
        most: Duration,
    },
}

impl<T> ValueType<T> {
    /// Reads a value, or returns the problem.
    pub(super) fn read(&self, value: &Value) -> Result<T, String> {
        (self.read)(value, self.expected)
    }
}

impl EnvFormat {
    /// Returns the value of an environment variable's text.
    pub(super) fn value(self, text: &str) -> Value {
        let string = |text: &str| Value::String(text.to_owned());
        match self {
            Self::Text => string(text),
            Self::List => Value::Array(text.split(',').map(|item| string(item.trim())).collect()),
            Self::Toml => text.parse().unwrap_or_else(|_| string(text)),
        }
    }
}

impl Expected {
    /// Returns the accepted values in words, if the type has a range or a list of them.
    pub(super) fn range(self) -> Option<String> {
        match self {
            Self::Words(_) | Self::Hidden(_) => None,
            Self::OneOf(_) | Self::Count { .. } | Self::Bytes { .. } | Self::Duration { .. } => Some(self.to_string()),
        }
    }

    /// Returns the error for another value.
    pub(super) fn but_got(self, value: &Value) -> String {
        match self {
            Self::Duration { .. } => format!("expected {self}, got {value}; write it like \"90s\" or \"1h30m\""),
            Self::Bytes { .. } => format!("expected {self}, got {value}; write it like \"64MiB\" or \"1GiB\""),
            Self::Hidden(_) => format!("expected {self}, got another value, which is not shown; correct it"),
            _ => format!("expected {self}, got {value}"),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) | Self::Hidden(words) => f.write_str(words),
            Self::OneOf(choices) => f.write_str(&in_words(choices)),
            Self::Count { least, most } => write!(f, "a whole number from {least} to {most}"),
            Self::Bytes { least, most } => {
                write!(f, "a size from {} to {}", size::format(*least), size::format(*most))
            }
            Self::Duration { least, most } => {
                let [least, most] = [least, most].map(|limit| humantime::format_duration(*limit));
                write!(f, "a duration from {least} to {most}")
            }
        }
    }
}

/// Joins choices as in `"a", "b" or "c"`.
fn in_words(choices: &[&str]) -> String {
    let quoted: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
