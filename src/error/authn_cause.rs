//! Causes of a failed authentication, for programs. The text of the error is for people.

/// A cause for which clients print a specific fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthnCause {
    /// The broker accepts no bearer tokens.
    TokensNotAccepted,
    /// A bearer token that has expired.
    TokenExpired,
    /// A bearer token from the future: a clock is wrong.
    TokenNotYetValid,
}

impl AuthnCause {
    /// Returns the value of `cause` in the error's metadata.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokensNotAccepted => "TOKENS_NOT_ACCEPTED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::TokenNotYetValid => "TOKEN_NOT_YET_VALID",
        }
    }
}
