//! The question to a registry.

use std::fmt::Debug;

use super::super::SourceFuture;
use crate::credential::Credential;

/// Asks registries whether they accept a credential.
pub trait RegistryProbe: Debug + Send + Sync {
    /// Sends the credential to `/v2/` of `host`, and returns the status of the answer.
    fn ask<'a>(&'a self, host: &'a str, credential: &'a Credential) -> SourceFuture<'a, Result<u16, NoAnswer>>;
}

/// Why a registry did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);
