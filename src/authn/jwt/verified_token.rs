//! Verified tokens.

use std::sync::Arc;

use super::key::KeyFingerprint;
use crate::caller::TokenCaller;

/// The caller that a token names, and the key that signed it.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    /// The caller.
    pub caller: Arc<TokenCaller>,
    /// ID of the issuer, which no other one of this process has.
    pub(super) issuer: usize,
    pub(super) key: Arc<KeyFingerprint>,
}
