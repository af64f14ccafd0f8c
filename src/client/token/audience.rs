//! Audience of tokens that the platform writes without being asked.

use super::claims::Claims;
use crate::bearer_token::BearerToken;
use crate::quoted::Quoted;

/// Checks that a token is for the broker. A token for another service must not be shown to the broker.
pub(super) fn check(token: &BearerToken, expected: &str) -> Result<(), String> {
    let Some(claims) = Claims::of(token.expose().trim()) else {
        return Err("is not a JSON Web Token; correct what writes it".to_owned());
    };
    if claims.audience.iter().any(|audience| audience == expected) {
        return Ok(());
    }
    let actual = claims.audience.first().map_or("", String::as_str);
    Err(format!("is for the audience {}, not {expected}; correct it, or the setting audience", Quoted(actual)))
}
