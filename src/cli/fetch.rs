//! Fetches credentials once, with an error line for each failure.

use crate::client::{Client, Query, RegistryCredentials, Settings, block_on};
use crate::exit_code::Exit;
use crate::terminal::print_error;

/// The result of a fetch.
pub(super) struct Fetched {
    /// The credentials of the registries that did not fail.
    pub(super) credentials: Vec<RegistryCredentials>,
    /// The exit code of the first failure.
    pub(super) exit: Exit,
}

/// Fetches the credentials of all queries in one call, and prints each failure.
pub(super) fn fetch(settings: &Settings, queries: &[Query]) -> anyhow::Result<Fetched> {
    let results = block_on(async { Client::connect(settings).await?.credentials(queries).await })?;
    let mut fetched = Fetched { credentials: Vec::new(), exit: Exit::Success };
    let results = match results {
        Ok(results) => results,
        Err(failure) => {
            print_error(&failure);
            return Ok(Fetched { exit: Exit::from(&failure), ..fetched });
        }
    };
    for (query, result) in queries.iter().zip(results) {
        match result {
            Ok(credentials) => fetched.credentials.push(credentials),
            Err(failure) => {
                print_error(format_args!("{}: {failure}", query.registry));
                if fetched.exit == Exit::Success {
                    fetched.exit = Exit::from(&failure);
                }
            }
        }
    }
    Ok(fetched)
}
