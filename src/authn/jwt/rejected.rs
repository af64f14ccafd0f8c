//! Reasons to reject a token.

/// Why a token is rejected. No text contains any part of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRejected {
    /// Not three parts in base64url, or too large.
    Malformed,
    /// A header that is not a JSON object, or has a field that is not allowed.
    Header,
    /// An algorithm that is not allowed.
    Algorithm,
    /// No key ID.
    NoKeyId,
    /// Claims that are not a JSON object, have a wrong type, or are duplicated.
    Claims,
    /// Claims that are too large once the names of nested ones are written in full.
    ClaimsSize,
    /// An issuer that is not configured.
    Issuer,
    /// A key that the issuer does not have.
    KeyUnknown,
    /// The issuer's keys are not available.
    KeysUnavailable,
    /// A key for another algorithm.
    KeyMismatch,
    /// A signature by another key.
    Signature,
    /// Another audience, or a second one.
    Audience,
    /// Expired.
    Expired,
    /// Issued, or valid, in the future only.
    NotYet,
    /// A longer lifetime than the issuer may give.
    Lifetime,
    /// A subject that cannot be logged or compared safely.
    Subject,
}

impl TokenRejected {
    /// Returns what is wrong, and how to fix it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => {
                "bearer token is not a JSON Web Token of at most 8 KiB; send it exactly as it was issued"
            }
            Self::Header => {
                "bearer token header is not allowed: expected an object with alg, kid, typ (JWT) and x5t only"
            }
            Self::Algorithm => "bearer token algorithm is not allowed; sign with RS256, PS256, ES256, ES384 or EdDSA",
            Self::NoKeyId => "bearer token header has no key ID (kid) of 1 to 256 bytes; have the issuer add one",
            Self::Claims => {
                "bearer token claims are malformed; iss, sub, aud, exp and iat must each occur once, well-typed"
            }
            Self::ClaimsSize => {
                "bearer token claims exceed 16 KiB with the full names of nested ones; request a token with fewer"
            }
            Self::Issuer => {
                "bearer token issuer (iss) is not configured on the broker; get a token of a configured issuer"
            }
            Self::KeyUnknown => "bearer token key (kid) is not one of its issuer's keys; get a new token",
            Self::KeysUnavailable => {
                "bearer token cannot be verified: its issuer's keys are not available; retry later"
            }
            Self::KeyMismatch => "bearer token algorithm is not the algorithm of its key; get a new token",
            Self::Signature => "bearer token signature is invalid; get a new token from its issuer",
            Self::Audience => {
                "bearer token audience (aud) is not the broker's alone; request a token with that audience"
            }
            Self::Expired => "bearer token has expired; get a new token from its issuer",
            Self::NotYet => "bearer token is not valid yet; check the clocks",
            Self::Lifetime => {
                "bearer token lifetime is above the broker's max_lifetime for its issuer (default 1h); request a shorter one"
            }
            Self::Subject => "bearer token subject (sub) is empty, above 512 bytes or not printable ASCII; use another",
        }
    }
}
