//! The sources of configuration values: files, environment, flags and activated sockets.

use super::files::Files;
use crate::address::ListenAddress;

/// The sources of configuration values.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The configuration file, if one was named, and the files that it includes.
    pub files: Files,
    /// Addresses of activated sockets, which the service manager opened.
    pub activated: Vec<ListenAddress>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// Flags of the command line: the setting's name, the flag and the value.
    pub flags: Vec<(&'static str, &'static str, toml::Value)>,
}

/// Returns the environment; variables that are not UTF-8 are left out.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment for the broker")]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
