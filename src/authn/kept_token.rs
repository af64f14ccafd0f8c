//! Bearer tokens that outlive their verification.

use std::sync::Arc;

use crate::bearer_token::BearerToken;
use crate::caller::ClaimsDigest;

/// A verified token, kept for the parent broker that verifies it again. A clone shares it.
#[derive(Debug, Clone)]
pub struct KeptToken {
    /// The token.
    pub token: Arc<BearerToken>,
    /// The digest of its lasting claims.
    pub digest: ClaimsDigest,
}
