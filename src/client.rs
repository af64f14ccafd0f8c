//! Client of a broker: one connection at a time, and one deadline for connecting and all calls.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use self::authorization::authorized;
use self::connection::{Connection, within};
use crate::pb::registry_access::Target;
use crate::pb::{GetCallerIdentityRequest, GetRegistryCredentialsRequest, ListRegistriesRequest, RegistryAccess};
use crate::protocol::MAX_PAGE_SIZE;

mod address;
mod authorization;
mod config;
mod connection;
mod diagnose;
mod failure;
mod grants_text;
mod query;
mod retry;
mod settings;
mod tls_problem;
mod watch;

pub use self::address::{Address, AddressError, Addresses};
pub use self::config::{ConfigError, DEFAULT_TIMEOUT, PartialConfig, Paths};
pub use self::diagnose::ConnectError;
pub use self::failure::{Failure, error_chain};
pub use self::grants_text::grants_text;
pub use self::query::{Query, registry_host};
pub use self::settings::Settings;
pub use self::tls_problem::TlsProblem;
pub use self::watch::{Watch, WatchEvent};
pub use crate::pb::{AuthScheme, CacheStatus, GetCallerIdentityResponse, RegistryCredentials, RegistryType};

/// A connection to a broker, with the deadline of its calls.
#[derive(Debug)]
pub struct Client<'a> {
    settings: &'a Settings,
    connection: Connection,
    deadline: Instant,
}

/// A registry, or a pattern of registries, that the caller may request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Host of the registry, or pattern of hosts.
    pub name: String,
    /// Profile whose credentials the caller would get.
    pub profile: String,
    /// Expiry of the credential in the broker's cache, if it has one.
    pub expires: Option<SystemTime>,
}

/// Runs a client's work to its end. Name resolution runs on a thread that may take longer; this does not wait for it.
///
/// # Errors
/// Returns an error if the system has no resources for the runtime.
pub fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

impl<'a> Client<'a> {
    /// Connects to the first address that answers.
    ///
    /// # Errors
    /// Returns why each address failed.
    pub async fn connect(settings: &'a Settings) -> Result<Self, Failure> {
        let deadline = Instant::now() + settings.timeout;
        Ok(Self { settings, connection: Connection::open(settings, deadline).await?, deadline })
    }

    /// Connects to one address. The timeout of the settings starts after connecting.
    ///
    /// Each step has the same time limit that [`Client::connect`] has for all steps together, so that the error names the slow step.
    ///
    /// # Errors
    /// Returns the step that failed.
    pub async fn connect_to(settings: &'a Settings, address: &Address) -> Result<Self, ConnectError> {
        let connection = diagnose::connect(settings, address).await?;
        Ok(Self { settings, connection, deadline: Instant::now() + settings.timeout })
    }

    /// Returns the address of the connection.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.connection.address
    }

    /// Moves the deadline of the next calls to this long from now.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.deadline = Instant::now() + timeout;
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, Failure> {
        let mut request = authorized(message, &self.connection.address, self.settings)?;
        request.set_timeout(self.deadline.saturating_duration_since(Instant::now()));
        Ok(request)
    }
}

/// Single calls without retry. `credentials`, which retries, is in `client/retry.rs`.
impl Client<'_> {
    /// Returns one registry's credentials, other than the one with the ID `rejected`; an empty ID rejects none.
    ///
    /// # Errors
    /// Returns the broker's error, or why the call failed.
    pub async fn credentials_once(&self, query: &Query, rejected: &str) -> Result<RegistryCredentials, Failure> {
        let message = GetRegistryCredentialsRequest { rejected_credential_id: rejected.to_owned(), ..query.into() };
        self.get_credentials(self.request(message)?).await
    }

    async fn get_credentials(
        &self,
        request: Request<GetRegistryCredentialsRequest>,
    ) -> Result<RegistryCredentials, Failure> {
        let response = within(self.deadline, self.connection.service().get_registry_credentials(request)).await?;
        response.credentials.ok_or_else(Failure::empty_response)
    }

    /// Returns the caller as the broker authenticated it.
    ///
    /// # Errors
    /// Returns the broker's error, or why the call failed.
    pub async fn caller_identity(&self) -> Result<GetCallerIdentityResponse, Failure> {
        let request = self.request(GetCallerIdentityRequest {})?;
        within(self.deadline, self.connection.service().get_caller_identity(request)).await
    }

    /// Returns the first `limit` entries that the caller may request, and whether there are more.
    ///
    /// # Errors
    /// Returns the broker's error, or why the call failed.
    pub async fn list_access(&self, limit: i32) -> Result<(Vec<Access>, bool), Failure> {
        let (entries, next_page_token) = self.list_page(limit, String::new()).await?;
        Ok((entries.into_iter().filter_map(access).collect(), !next_page_token.is_empty()))
    }

    /// Returns the hosts of all registries whose credentials the broker has cached for this caller.
    ///
    /// # Errors
    /// Returns the broker's error, or why the call failed.
    pub async fn cached_registries(&self) -> Result<Vec<String>, Failure> {
        let (mut cached, mut page_token) = (Vec::new(), String::new());
        loop {
            let (entries, next_page_token) = self.list_page(MAX_PAGE_SIZE, page_token).await?;
            cached.extend(entries.into_iter().filter_map(|listed| match listed.target? {
                Target::Registry(host) => listed.expire_time.map(|_| host),
                Target::RegistryPattern(_) => None,
            }));
            page_token = next_page_token;
            if page_token.is_empty() {
                return Ok(cached);
            }
        }
    }

    async fn list_page(&self, page_size: i32, page_token: String) -> Result<(Vec<RegistryAccess>, String), Failure> {
        let request = self.request(ListRegistriesRequest { page_size, page_token })?;
        let page = within(self.deadline, self.connection.service().list_registries(request)).await?;
        Ok((page.registries, page.next_page_token))
    }

    /// Returns whether a health service is SERVING; the empty name is the broker as a whole.
    ///
    /// # Errors
    /// Returns why the call failed.
    pub async fn is_serving(&self, service: &str) -> Result<bool, Failure> {
        let request = self.request(HealthCheckRequest { service: service.to_owned() })?;
        let mut client = HealthClient::new(self.connection.channel.clone());
        let response = within(self.deadline, client.check(request)).await?;
        Ok(response.status() == ServingStatus::Serving)
    }
}

fn access(listed: RegistryAccess) -> Option<Access> {
    let (Target::Registry(name) | Target::RegistryPattern(name)) = listed.target?;
    let expires = listed.expire_time.and_then(|time| time.try_into().ok());
    Some(Access { name, profile: listed.profile, expires })
}
