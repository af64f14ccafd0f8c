//! What a parent broker needs to know about the caller of a fetch.

use std::sync::Arc;

use crate::bearer_token::BearerToken;
use crate::caller::Caller;

/// A caller, and the token by which a parent can verify it. It lives as long as the requests that wait for the fetch.
#[derive(Debug, Clone)]
pub struct CallerProof {
    /// The caller, as this broker authenticated it.
    pub caller: Caller,
    /// The caller's bearer token; `None`: a parent has only this broker's word.
    pub token: Option<Arc<BearerToken>>,
}
