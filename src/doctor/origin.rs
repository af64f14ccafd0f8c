//! The origin of a setting: flag, variable, file or default.

use std::fmt;
use std::path::PathBuf;

/// The origin of a setting, printed beside its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag, by the name of its setting.
    Flag(&'static str),
    /// A variable, by the name of its setting.
    Variable(&'static str),
    /// A `client.toml`.
    File(PathBuf),
    /// The default: neither flag, variable nor file sets it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{}", name.replace('_', "-")),
            Self::Variable(name) => write!(f, "ECR_BROKER_{}", name.to_uppercase()),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}
