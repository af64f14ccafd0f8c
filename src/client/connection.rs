//! A connection to a broker: its settings, TLS and the deadline of its calls.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

use super::address::Address;
use super::authorization::authorization;
use super::error_chain::error_chain;
use super::failure::Failure;
use super::settings::Settings;
use super::tls_problem::connection_error;
use super::x509_svid;
use crate::pb::operator_service_client::OperatorServiceClient;
use crate::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use crate::pb::{GetRegistryCredentialsRequest, RegistryCredentials};

/// HTTP/2 keepalive. Only a watch lives long enough to need it: it detects a broker that vanished without closing the connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Size limit of a response; a batch of the largest credentials fits.
const MAX_RESPONSE_SIZE: usize = 16 * 1024 * 1024;

/// A channel to one of the addresses, and the deadline of its calls.
#[derive(Debug, Clone)]
pub(super) struct Connection<'a> {
    pub(super) settings: &'a Settings,
    pub(super) channel: Channel,
    pub(super) address: Address,
    pub(super) deadline: Instant,
}

impl Connection<'_> {
    /// Makes a call with the caller's token and the time that is left.
    pub(super) async fn unary<M: Clone, T, F>(&self, message: M, call: impl Fn(Request<M>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let call = |mut request: Request<M>| {
            request.set_timeout(self.deadline.saturating_duration_since(Instant::now()));
            call(request)
        };
        self.stream(message, call).await
    }

    /// Makes a call with the caller's token; it has no time limit once it is answered. A call whose cached token the broker refuses is
    /// made once more with another token: the issuer's keys may be new, or this host's clock wrong.
    pub(super) async fn stream<M: Clone, T, F>(&self, message: M, call: impl Fn(Request<M>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let authorization = authorization(&self.address, self.settings, self.deadline).await?;
        let failure = match self.finish(call(authorization.request(message.clone()))).await {
            Err(failure) if failure.code == Code::Unauthenticated => failure,
            outcome => return outcome,
        };
        if !authorization.may_be_replaced(self.settings).await {
            return Err(failure);
        }
        let next = self::authorization(&self.address, self.settings, self.deadline).await?;
        self.finish(call(next.request(message))).await
    }

    /// Waits for a call until the deadline. tonic's own timeout ends with the response headers and leaves the body without one.
    async fn finish<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Failure> {
        let response = timeout_at(self.deadline, call).await.map_err(|_| Failure::timed_out())?;
        Ok(response?.into_inner())
    }

    pub(super) async fn get_credentials(
        &self,
        message: GetRegistryCredentialsRequest,
    ) -> Result<RegistryCredentials, Failure> {
        let call = |request| async move { self.service().get_registry_credentials(request).await };
        let response = self.unary(message, call).await?;
        response.credentials.ok_or_else(Failure::empty_response)
    }

    pub(super) fn operator(&self) -> OperatorServiceClient<Channel> {
        OperatorServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_RESPONSE_SIZE)
    }

    pub(super) fn service(&self) -> RegistryCredentialsServiceClient<Channel> {
        RegistryCredentialsServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_RESPONSE_SIZE)
    }
}

/// Returns how to connect to an address, with a client's certificate and key that a source issued.
pub(super) fn endpoint(address: &Address, settings: &Settings, issued: Option<Identity>) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(address.uri()).map_err(|error| error_chain(&error))?;
    let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE_INTERVAL).keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    if !address.is_tls() {
        return Ok(endpoint);
    }
    endpoint.tls_config(tls(settings, issued)?).map_err(|error| connection_error(&error))
}

/// Returns the certificate and key that the SPIFFE agent issues for a connection now, if the settings name it.
pub(super) async fn issued_identity(settings: &Settings) -> Result<Option<Identity>, String> {
    let is_asked = settings.has_x509_svid && settings.addresses.iter().any(Address::is_tls);
    if is_asked { Box::pin(x509_svid::request()).await.map(Some) } else { Ok(None) }
}

fn tls(settings: &Settings, issued: Option<Identity>) -> Result<ClientTlsConfig, String> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    let mut tls = match &settings.tls_ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some((certificate, key)) = &settings.tls_identity {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(issued.into_iter().fold(tls, ClientTlsConfig::identity))
}
