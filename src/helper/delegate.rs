//! Delegate for registries that the broker does not serve: another credential helper, or an auth file of docker or podman.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use self::auth_file::Listing;
use super::auth_entry::{AuthEntry, is_same_registry};
use super::output::Output;
use crate::json_file::read;

mod auth_file;
mod program;

/// Delegate, `next` in `client.toml`: a helper's name, or a file if the text contains a slash.
#[derive(Debug)]
pub(super) enum Delegate {
    Helper(String),
    File(PathBuf),
    /// A text that is neither: the error.
    Invalid(String),
}

impl Delegate {
    /// Parses `next` of a configuration file. `~/` is the home directory; another relative path starts at the file's directory.
    pub(super) fn named_in(file: &Path, text: &str, home: Option<&Path>) -> Self {
        let directory = file.parent().unwrap_or_else(|| Path::new("/"));
        match (text.strip_prefix("~/"), home) {
            _ if !text.contains('/') => Self::helper(text, &format!("next in {}", file.display())),
            (Some(rest), Some(home)) => Self::File(home.join(rest)),
            (Some(_), None) => {
                Self::Invalid(format!("next: {text} needs HOME, which is not set; write the whole path"))
            }
            (None, _) if text.starts_with('~') => {
                Self::Invalid(format!("next: {text} names the home of another user; write the whole path"))
            }
            (None, _) => Self::File(directory.join(text)),
        }
    }

    /// Parses a flag or variable. The shell has expanded `~/`; a relative path starts at the working directory.
    pub(super) fn named_by(origin: &str, text: &str) -> Self {
        if !text.contains('/') {
            return Self::helper(text, origin);
        }
        std::path::absolute(text).map_or_else(|error| Self::Invalid(format!("{origin} {text}: {error}")), Self::File)
    }

    fn helper(name: &str, origin: &str) -> Self {
        if name.trim().is_empty() || name.starts_with('~') {
            let problem = "not a helper's name; name a helper (secretservice) or a file (/path/auth.json)";
            return Self::Invalid(format!("{origin}: {name:?} is {problem}"));
        }
        Self::Helper(name.to_owned())
    }

    /// Returns the helper protocol's answer, or `None` if the delegate has no entry.
    pub(super) fn get(&self, server: &str, limit: Duration) -> Result<Option<String>, String> {
        match self {
            Self::Helper(name) => program::get(name, server, limit),
            Self::File(file) => {
                let config = read(file)?;
                match auth_file::helper_in(&config, server) {
                    Some(name) => program::get(name, server, limit),
                    None => Ok(auth_file::get(file, &config, server)?.map(|entry| entry.message() + "\n")),
                }
            }
            Self::Invalid(problem) => Err(problem.clone()),
        }
    }

    pub(super) fn store(&self, entry: &AuthEntry, limit: Duration) -> Output {
        self.change(&entry.server, ("store", &entry.message()), limit, |auths| {
            auths.insert(entry.server.clone(), entry.file_value());
        })
    }

    pub(super) fn erase(&self, server: &str, limit: Duration) -> Output {
        self.change(server, ("erase", server), limit, |auths| auths.retain(|name, _| !is_same_registry(name, server)))
    }

    /// Sends the action and its request to the helper of a server, or changes the file's entries.
    fn change(
        &self,
        server: &str,
        (action, request): (&str, &str),
        limit: Duration,
        change: impl FnOnce(&mut Map<String, Value>),
    ) -> Output {
        match self {
            Self::Helper(name) => program::change(name, action, request, limit),
            Self::File(file) => match read(file) {
                Ok(config) => match auth_file::helper_in(&config, server) {
                    Some(name) => program::change(name, action, request, limit),
                    None => auth_file::change(file, change),
                },
                Err(problem) => Output::failed(problem + "\n"),
            },
            Self::Invalid(problem) => Output::failed(format!("{problem}\n")),
        }
    }

    /// Returns the username of each registry. It is empty for a registry that the file leaves to another helper.
    pub(super) fn list(&self, limit: Duration) -> Result<Listing, String> {
        match self {
            Self::Helper(name) => {
                program::list(name, limit).map(|usernames| Listing { usernames, problems: Vec::new() })
            }
            Self::File(file) => read(file).map(|config| auth_file::list(file, &config)),
            Self::Invalid(problem) => Err(problem.clone()),
        }
    }
}
