//! Origins of the settings on the command line: flag or variable.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::doctor::Origin;
use crate::environment::CLIENT_SETTINGS;

/// Origins of the settings from flags and variables. Reads them from clap, and adds no flag.
#[derive(Debug, Clone)]
pub(super) struct SettingOrigins(pub(super) Vec<(&'static str, Origin)>);

impl clap::FromArgMatches for SettingOrigins {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let origin = |name: &'static str| match matches.value_source(name)? {
            ValueSource::EnvVariable => Some((name, Origin::Variable(name))),
            _ => Some((name, Origin::Flag(name))),
        };
        Ok(Self(CLIENT_SETTINGS.into_iter().filter_map(origin).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for SettingOrigins {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}
