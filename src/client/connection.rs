//! Connections to a broker: order of the addresses, connect timeouts and TLS.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Response, Status};

use super::address::Address;
use super::failure::{Failure, error_chain};
use super::settings::Settings;
use crate::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;

/// Connect timeout of an address that is remote or not the last one.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// HTTP/2 keepalive. Only a watch lives long enough to need it: it detects a broker that vanished without closing the connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Size limit of a response; a batch of the largest credentials fits.
const MAX_RESPONSE_SIZE: usize = 16 * 1024 * 1024;

/// A channel to one of the addresses.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) channel: Channel,
    pub(super) address: Address,
}

impl Connection {
    /// Connects to the first address that answers.
    pub(super) async fn open(settings: &Settings, deadline: Instant) -> Result<Self, Failure> {
        let mut problems = Vec::new();
        for address in &settings.addresses {
            let endpoint = endpoint(address, settings).map_err(Failure::local)?;
            let limit = deadline.min(Instant::now() + connect_timeout(settings, address));
            match timeout_at(limit, endpoint.connect()).await {
                Ok(Ok(channel)) => return Ok(Self { channel, address: address.clone() }),
                Ok(Err(error)) => problems.push(format!("{address}: {}", error_chain(&error))),
                Err(_) => problems.push(format!("{address}: connection timed out")),
            }
        }
        Err(Failure::unreachable(&problems))
    }

    pub(super) fn service(&self) -> RegistryCredentialsServiceClient<Channel> {
        RegistryCredentialsServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_RESPONSE_SIZE)
    }
}

/// Waits for a call until the deadline. tonic's own timeout ends with the response headers and leaves the body without one.
pub(super) async fn within<T>(
    deadline: Instant,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    let response = timeout_at(deadline, call).await.map_err(|_| Failure::timed_out())?;
    Ok(response?.into_inner())
}

/// Returns how long to try an address before the next one. A local broker without an alternative gets the whole timeout.
pub(super) fn connect_timeout(settings: &Settings, address: &Address) -> Duration {
    let is_last = settings.addresses.last() == Some(address);
    if is_last && address.is_local() { settings.timeout } else { CONNECT_TIMEOUT.min(settings.timeout) }
}

pub(super) fn endpoint(address: &Address, settings: &Settings) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(address.uri()).map_err(|error| error_chain(&error))?;
    let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE_INTERVAL).keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    if !address.is_tls() {
        return Ok(endpoint);
    }
    endpoint.tls_config(tls(settings)?).map_err(|error| error_chain(&error))
}

fn tls(settings: &Settings) -> Result<ClientTlsConfig, String> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    let mut tls = match &settings.tls_ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some((certificate, key)) = &settings.tls_identity {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{PartialConfig, Paths};

    #[test]
    fn connect_timeout_of_a_last_local_address_is_the_whole_timeout() {
        let settings_of = |addresses: &str| {
            let address = Some(addresses.parse().unwrap());
            let config = PartialConfig { address, ..PartialConfig::default() };
            config.settings(&Paths::default()).unwrap().0
        };
        let settings = settings_of("http://127.0.0.1:1,http://127.0.0.1:2");
        let limits: Vec<_> = settings.addresses.iter().map(|address| connect_timeout(&settings, address)).collect();
        assert_eq!(limits, [CONNECT_TIMEOUT, settings.timeout]);
        let remote = settings_of("https://broker.example:443");
        assert_eq!(connect_timeout(&remote, &remote.addresses[0]), CONNECT_TIMEOUT);
    }
}
