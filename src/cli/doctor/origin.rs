//! Where a setting comes from.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::super::connection::Connection;

/// The settings that may be typed: each has a flag of this name, and a variable.
const NAMES: [&str; 7] = ["address", "token_file", "profile", "tls_ca", "tls_cert", "tls_key", "timeout"];

/// Which settings came as flags, and which as variables. It has no flags of its own.
#[derive(Debug, Clone)]
pub(super) struct Typed(Vec<(&'static str, ValueSource)>);

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A flag, by its setting's name.
    Flag(&'static str),
    /// A variable, by its setting's name.
    Variable(&'static str),
    /// A `client.toml`.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl Typed {
    /// How a setting was typed that was.
    pub(super) fn origin(&self, name: &'static str) -> Origin {
        match self.0.iter().find(|(typed, _)| *typed == name) {
            Some((_, ValueSource::EnvVariable)) => Origin::Variable(name),
            Some(_) => Origin::Flag(name),
            None => Origin::Default,
        }
    }

    /// What the flag says, and nothing else: the variable and the file are about commands of one call.
    pub(super) fn timeout(&self, connection: &Connection) -> Option<Duration> {
        let (given, _) = connection.given();
        given.timeout.filter(|_| self.origin("timeout") == Origin::Flag("timeout"))
    }
}

impl clap::FromArgMatches for Typed {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(NAMES.iter().filter_map(|name| Some((*name, matches.value_source(name)?))).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Typed {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
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
