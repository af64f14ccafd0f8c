//! The question to the broker.

use super::setup::Setup;
use crate::client::{Client, Failure, Query, RegistryCredentials, Settings, block_on};

/// Asks the broker of a setup for a registry's credentials.
///
/// # Errors
/// Returns the broker's error, the mistake in the settings, or why the call failed.
pub(super) fn fetch(setup: &Setup, registry: &str) -> Result<RegistryCredentials, Failure> {
    let broker = setup.broker()?;
    ask(&broker.settings, &broker.profile, registry)
}

/// Asks a broker for a registry's credentials.
///
/// # Errors
/// Returns the broker's error, or why the call failed.
pub(super) fn ask(settings: &Settings, profile: &str, registry: &str) -> Result<RegistryCredentials, Failure> {
    let query = Query { registry: registry.to_owned(), profile: profile.to_owned(), ..Query::default() };
    let result = block_on(async {
        let mut client = Client::connect(settings).await?;
        client.credentials(&[query]).await?.pop().unwrap_or_else(|| Err(Failure::empty_response()))
    });
    result.unwrap_or_else(|error| Err(Failure::from_io(&error)))
}
