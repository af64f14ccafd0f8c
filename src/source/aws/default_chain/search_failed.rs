//! The error of a search that found no credentials, with the error of each provider.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;

use super::super::error::causes;
use super::facts;
use super::reason::Reason;

/// The provider's name for credentials from another source than the default chain.
const CONFIGURED: &str = "WebIdentity";

/// A provider without credentials.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) provider: &'static str,
    pub(super) error: CredentialsError,
}

/// A search through the default chain that found no credentials.
#[derive(Debug)]
pub(super) struct SearchFailed {
    pub(super) reasons: Vec<Reason>,
    /// The error that ended the search; `None` if no provider is configured.
    end: Option<Attempt>,
}

impl SearchFailed {
    /// Collects the reasons of the attempts, with the facts that the SDK's errors omit.
    pub(super) async fn new(mut attempts: Vec<Attempt>) -> Self {
        let mut reasons = Vec::new();
        for Attempt { provider, error } in &attempts {
            reasons.push(Reason::new(provider, error).with_facts(&facts::about(provider).await));
        }
        let last = attempts.pop();
        Self { reasons, end: last.filter(|last| !matches!(last.error, CredentialsError::CredentialsNotLoaded(_))) }
    }
}

/// Returns the reason of each provider that a search has tried.
pub(in crate::source::aws) fn reasons(error: &CredentialsError) -> Vec<Reason> {
    match causes(error).find_map(|cause| cause.downcast_ref::<SearchFailed>()) {
        Some(search) => search.reasons.clone(),
        None => vec![Reason::new(CONFIGURED, error)],
    }
}

/// Writes no reasons: each failed call repeats this text, and the reasons are logged once.
impl fmt::Display for SearchFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            Some(Attempt { provider, .. }) => write!(f, "provider {provider} of the default chain failed"),
            None => f.write_str("no provider of the default chain is configured"),
        }
    }
}

impl Error for SearchFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.end.as_ref().map(|end| &end.error as &(dyn Error + 'static))
    }
}
