//! Bearer tokens that a client sends.

use std::fmt;

use zeroize::Zeroizing;

/// A bearer token. It is never printed, and its memory is zeroed on drop.
#[derive(Clone)]
pub struct BearerToken(pub(super) Zeroizing<String>);

impl From<String> for BearerToken {
    fn from(token: String) -> Self {
        Self(Zeroizing::new(token))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}
