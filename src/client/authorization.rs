//! Bearer token of a call, and the addresses that may receive it.

use std::sync::Once;

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tracing::{debug, warn};
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
        return without_token(address, settings);
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
    debug!(%address, %origin, "bearer token sent");
    Ok(Some(value))
}

/// Returns no token for a default address in plaintext, where any user may listen.
fn without_token(address: &Address, settings: &Settings) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    static WARNED: Once = Once::new();
    if settings.token.is_some() {
        // Without its token the call would run as another caller.
        return Err(Failure::local(format!(
            "the token is not sent in plaintext to the default address {address}; set ECR_BROKER_ADDRESS, or address in client.toml"
        )));
    }
    if let Some(file) = &settings.token_file {
        let file = file.display();
        WARNED.call_once(|| {
            warn!(%address, token_file = %file, "token not sent in plaintext to a default address; set --address");
        });
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::client::{Addresses, PartialConfig, Paths};

    /// Collects what a log writes.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn unsent_token_is_said_once_and_a_configured_address_gets_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "token\n").unwrap();
        let settings = |address: Option<Addresses>| {
            let config = PartialConfig { address, token_file: Some(file.clone()), ..PartialConfig::default() };
            config.settings(&Paths::default()).unwrap().0
        };
        let address: Address = "http://127.0.0.1:50051".parse().unwrap();
        let written = Written::default();
        let log = written.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || log.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..2 {
                assert!(token(&address, &settings(None)).unwrap().is_none());
            }
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text.matches("token not sent in plaintext to a default address; set --address").count(),
            1,
            "{text}"
        );
        let configured = settings(Some("http://127.0.0.1:50051".parse().unwrap()));
        assert_eq!(token(&address, &configured).unwrap().unwrap(), "Bearer token");
    }
}
