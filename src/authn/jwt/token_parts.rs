//! The parts of a token, in JWS compact serialization.

use data_encoding::BASE64URL_NOPAD;

use super::rejected::TokenRejected;

/// The decoded header and claims of a token, and its signature.
pub(super) struct TokenParts<'a> {
    pub(super) header: Vec<u8>,
    pub(super) claims: Vec<u8>,
    /// The signature in base64url.
    pub(super) signature: &'a str,
    /// The text that the signature covers.
    pub(super) signed: &'a str,
}

impl<'a> TokenParts<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, TokenRejected> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenRejected::Malformed)?;
        // A fourth part fails to decode: base64url has no dot.
        let (header, claims) = signed.split_once('.').ok_or(TokenRejected::Malformed)?;
        decode(signature)?;
        Ok(Self { header: decode(header)?, claims: decode(claims)?, signature, signed })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenRejected> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| TokenRejected::Malformed)?;
    if bytes.is_empty() { Err(TokenRejected::Malformed) } else { Ok(bytes) }
}
