//! Bearer token of a call, and the addresses that may receive it.

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use zeroize::Zeroizing;

use super::address::Address;
use super::failure::Failure;
use super::settings::Settings;
use crate::bounded_file;

/// Longest token file, far above what a header can have.
const MAX_TOKEN_FILE: u64 = 64 << 10;

/// Returns a request that carries the token, if there is one for this address.
pub(super) fn authorized<T>(message: T, address: &Address, settings: &Settings) -> Result<Request<T>, Failure> {
    let mut request = Request::new(message);
    if let Some(token) = token(address, settings)? {
        request.metadata_mut().insert("authorization", token);
    }
    Ok(request)
}

/// Returns the token over TLS, over a Unix socket, and in plaintext only to an address that the user configured.
fn token(address: &Address, settings: &Settings) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    if address.is_plaintext() && !settings.addresses_configured {
        return match settings.token {
            // Without its token the call would run as another caller.
            Some(_) => Err(Failure::local(format!(
                "the token is not sent in plaintext to the default address {address}; set ECR_BROKER_ADDRESS, or address in client.toml"
            ))),
            None => Ok(None),
        };
    }
    let Some((text, origin)) = read_token(settings)? else { return Ok(None) };
    if text.trim().is_empty() {
        return Err(Failure::local(format!("{origin} is empty; write a bearer token into it")));
    }
    let value = Zeroizing::new(format!("Bearer {}", text.trim()));
    let mut value: MetadataValue<_> = value.parse().map_err(|_| {
        Failure::local(format!("{origin} is malformed: it holds control or non-ASCII characters; renew the token"))
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Returns the token and its name in error messages. Every call reads the file again.
fn read_token(settings: &Settings) -> Result<Option<(Zeroizing<String>, String)>, Failure> {
    if let Some(token) = &settings.token {
        return Ok(Some((Zeroizing::new(token.expose().to_owned()), "the token".to_owned())));
    }
    let Some(path) = &settings.token_file else { return Ok(None) };
    let origin = format!("the token file {}", path.display());
    match bounded_file::read_text(path, MAX_TOKEN_FILE) {
        Ok(text) => Ok(Some((Zeroizing::new(text), origin))),
        Err(error) => Err(Failure::local(format!("{origin} cannot be read: {error}; check its path and mode"))),
    }
}
