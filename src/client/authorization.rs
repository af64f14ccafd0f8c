//! Bearer token of a call, and the addresses that may receive it.

use std::sync::Once;

use tokio::time::Instant;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tracing::{debug, warn};
use zeroize::Zeroizing;

use super::address::Address;
use super::failure::Failure;
use super::settings::Settings;
use super::token::Issued;
use crate::bearer_token::BearerToken;

/// The proof that a call carries, if it needs one.
#[derive(Debug, Default)]
pub(super) struct Authorization {
    value: Option<MetadataValue<Ascii>>,
    /// The token, if a source issued it.
    issued: Option<Issued>,
}

impl Authorization {
    /// Returns a request that carries the token.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(value) = &self.value {
            request.metadata_mut().insert("authorization", value.clone());
        }
        request
    }

    /// Drops the token after the broker refused it. Returns whether another one may be accepted.
    pub(super) async fn may_be_replaced(&self, settings: &Settings) -> bool {
        match (&self.issued, &settings.tokens) {
            (Some(issued), Some(tokens)) => tokens.refused(issued).await,
            _ => false,
        }
    }
}

/// Returns the token over TLS, over a Unix socket, and in plaintext only to an address that the user configured.
pub(super) async fn authorization(
    address: &Address,
    settings: &Settings,
    deadline: Instant,
) -> Result<Authorization, Failure> {
    if address.is_plaintext() && !settings.addresses_configured {
        return without_token(address, settings);
    }
    if let Some(token) = &settings.token {
        return Ok(Authorization { value: Some(value(token, "the token", address)?), issued: None });
    }
    let Some(tokens) = &settings.tokens else { return Ok(Authorization::default()) };
    let Some(issued) = Box::pin(tokens.get(deadline)).await? else { return Ok(Authorization::default()) };
    Ok(Authorization { value: Some(value(&issued.token, &issued.origin, address)?), issued: Some(issued) })
}

fn value(token: &BearerToken, origin: &str, address: &Address) -> Result<MetadataValue<Ascii>, Failure> {
    let text = token.expose().trim();
    if text.is_empty() {
        return Err(Failure::without_token(format!("{origin} is empty; write a bearer token into it")));
    }
    let value = Zeroizing::new(format!("Bearer {text}"));
    let mut value: MetadataValue<_> = value.parse().map_err(|_| {
        Failure::without_token(format!(
            "{origin} is malformed: it holds control or non-ASCII characters; renew the token"
        ))
    })?;
    value.set_sensitive(true);
    debug!(%address, %origin, "bearer token sent");
    Ok(value)
}

/// Returns no token for a default address in plaintext, where any user may listen.
fn without_token(address: &Address, settings: &Settings) -> Result<Authorization, Failure> {
    static WARNED: Once = Once::new();
    if settings.token.is_some() {
        // Without its token the call would run as another caller.
        return Err(Failure::local(format!(
            "the token is not sent in plaintext to the default address {address}; set ECR_BROKER_ADDRESS, or address in client.toml"
        )));
    }
    if let Some(tokens) = &settings.tokens {
        let source = tokens.source();
        WARNED.call_once(|| {
            warn!(%address, %source, "token not sent in plaintext to a default address; set --address");
        });
    }
    Ok(Authorization::default())
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
        let value = |settings: &Settings| {
            let deadline = Instant::now() + std::time::Duration::from_mins(1);
            crate::client::block_on(authorization(&address, settings, deadline)).unwrap().unwrap().value
        };
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..2 {
                assert!(value(&settings(None)).is_none());
            }
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text.matches("token not sent in plaintext to a default address; set --address").count(),
            1,
            "{text}"
        );
        let configured = settings(Some("http://127.0.0.1:50051".parse().unwrap()));
        assert_eq!(value(&configured).unwrap(), "Bearer token");
    }
}
