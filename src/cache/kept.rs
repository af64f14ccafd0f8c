//! A cached credential as it outlives the process.

use std::sync::Arc;

use crate::credential::{Credential, CredentialKey};
use crate::error::BrokerError;
use crate::moment::Moment;

/// A cached credential and the state of its refresh.
#[derive(Debug, Clone)]
pub struct KeptCredential {
    /// The key.
    pub key: CredentialKey,
    /// The credential.
    pub credential: Arc<Credential>,
    /// When its refresh is due.
    pub refresh_at: Moment,
    /// Whether its last refresh failed.
    pub is_stale: bool,
}

/// Why a credential was not put back.
#[derive(Debug)]
pub enum NotPutBack {
    /// It ends within the safety margin.
    TooShort,
    /// The share of its caller is used up.
    NoRoom(BrokerError),
}
