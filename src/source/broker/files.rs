//! Certificates, key and token of this broker, read from their files again for every use: they are rotated.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use zeroize::Zeroizing;

use super::settings::Settings;
use crate::client::{Address, error_chain};
use crate::trusted_file::{self, TrustedFileError};

/// HTTP/2 keepalive of connections with a call in flight: it finds a parent that vanished or hangs.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Size limit of a response's headers and trailers. The broker's errors have at most 8 KiB.
const MAX_HEADERS: u32 = 32 * 1024;
/// Longest token file, far above what a header can have.
const MAX_TOKEN_FILE: u64 = 64 << 10;

/// The files of one parent.
#[derive(Debug, Clone)]
pub(super) struct Files {
    tls_ca: Option<PathBuf>,
    tls_identity: Option<(PathBuf, PathBuf)>,
    token: Option<PathBuf>,
}

impl Files {
    pub(super) fn of(settings: &Settings) -> Self {
        let Settings { tls_ca, tls_identity, token_file, .. } = settings;
        Self { tls_ca: tls_ca.clone(), tls_identity: tls_identity.clone(), token: token_file.clone() }
    }

    /// Returns the endpoint of an address, with the certificates as they are now.
    pub(super) async fn endpoint(&self, address: &Address) -> Result<Endpoint, String> {
        let endpoint = Endpoint::from_shared(address.uri()).map_err(|error| error_chain(&error))?;
        let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE_INTERVAL).keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        let endpoint = endpoint.http2_max_header_list_size(MAX_HEADERS);
        if !address.is_tls() {
            return Ok(endpoint);
        }
        let files = self.clone();
        let tls = blocking(move || files.tls()).await?;
        endpoint.tls_config(tls).map_err(|error| error_chain(&error))
    }

    fn tls(&self) -> Result<ClientTlsConfig, String> {
        let read = |path| trusted_file::read(path).map_err(|error| problem(path, &error));
        let mut tls = match &self.tls_ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some((certificate, key)) = &self.tls_identity {
            let secret = trusted_file::read_secret(key).map_err(|error| problem(key, &error))?;
            tls = tls.identity(Identity::from_pem(read(certificate)?, Zeroizing::new(secret)));
        }
        Ok(tls)
    }

    /// Returns the value of the header that carries the token, if there is one.
    pub(super) async fn authorization(&self) -> Result<Option<MetadataValue<Ascii>>, String> {
        match self.token.clone() {
            Some(path) => blocking(move || read_token(&path)).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns why the files cannot be used now, one line for each.
    pub(super) async fn problems(&self) -> Vec<String> {
        let files = self.clone();
        let tls = blocking(move || files.tls().map(drop)).await;
        [tls, self.authorization().await.map(drop)].into_iter().filter_map(Result::err).collect()
    }
}

fn read_token(path: &Path) -> Result<MetadataValue<Ascii>, String> {
    let text = trusted_file::read_text_up_to(path, MAX_TOKEN_FILE).map_err(|error| problem(path, &error))?;
    let text = Zeroizing::new(text);
    let shown = path.display();
    if text.trim().is_empty() {
        return Err(format!("{shown} is empty; write a bearer token into it"));
    }
    let value = Zeroizing::new(format!("Bearer {}", text.trim()));
    let value = value.parse::<MetadataValue<Ascii>>();
    let mut value = value.map_err(|_| format!("{shown} holds control or non-ASCII characters; renew the token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn problem(path: &Path, error: &TrustedFileError) -> String {
    format!("{} {error}", path.display())
}

/// Reads files on a thread that may wait for them.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.to_string()))
}
