//! Verified tokens.

use std::sync::Arc;

use super::key::KeyFingerprint;
use crate::caller::TokenCaller;

/// The caller that a token names, and the key that signed it.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    /// The caller.
    pub caller: Arc<TokenCaller>,
    /// Index of the issuer.
    pub(super) issuer: usize,
    pub(super) key: Arc<KeyFingerprint>,
}
