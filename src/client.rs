//! Client of a broker: one connection at a time, and one deadline for connecting and all calls.
//!
//! It is the library's API: what it needs is the feature `client`, which has nothing of the AWS SDK in it. A call takes the broker's
//! address, waits for a broker that restarts, and repeats what may be repeated until the deadline.
//!
//! ```no_run
//! use ecr_broker::client::{Client, Failure, Query, Settings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::for_addresses("unix:/run/ecr-broker/broker.sock")?;
//! let mut client = Client::connect(&settings).await?;
//! match client.credentials_of("public.ecr.aws").await {
//!     Ok(credentials) => println!("{} until {:?}", credentials.username, credentials.expire_time),
//!     Err(Failure { reason: Some(reason), .. }) => println!("refused by the broker: {reason}"),
//!     Err(failure) => println!("no answer: {failure}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Settings::from_environment`] finds the broker as the commands do. Its fields have token, certificates and timeout.
//! - [`Client::set_timeout`] gives the next calls their deadline; a client that lives longer sets it before each call.
//! - [`Client::credentials`] takes several queries in one call, [`Watch`] receives each refresh.
//! - [`Failure`] has the broker's reason, the request ID of its log, and the delay after which a retry may help.
//!
//! A password is in [`RegistryCredentials`] and nowhere else; its `Debug` does not print it. Types of `prost_types` convert:
//! `SystemTime::try_from(time)` and `Duration::try_from(duration)`.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use self::connection::Connection;
use self::dialer::{Dialer, Persistence};
use crate::pb::registry_access::Target;
use crate::pb::{GetCallerIdentityRequest, GetRegistryCredentialsRequest, ListRegistriesRequest, RegistryAccess};
use crate::protocol::MAX_PAGE_SIZE;

mod address;
pub mod adoption;
mod answer;
mod authorization;
mod backoff;
mod config;
mod connection;
mod connector;
mod diagnose;
mod dialer;
#[cfg(feature = "server")]
pub(crate) mod direct;
mod error_chain;
mod failure;
mod foreign_listener;
mod grants_text;
mod problem;
mod query;
mod reconnect;
mod retry;
mod settings;
mod settings_sources;
mod status;
mod tls_problem;
pub mod token;
mod transient;
mod unix_socket;
mod validity;
mod watch;
mod workload_api;
mod x509_svid;

pub use self::address::{Address, AddressError, Addresses};
pub use self::config::{ConfigError, DEFAULT_TIMEOUT, PartialConfig, Paths, TlsSource};
pub use self::diagnose::ConnectError;
pub use self::error_chain::error_chain;
pub use self::failure::Failure;
pub use self::grants_text::grants_text;
pub use self::query::{Query, registry_host};
pub use self::settings::Settings;
pub use self::tls_problem::TlsProblem;
pub use self::validity::{remaining, valid_for};
pub use self::watch::{Watch, WatchEvent};
pub use crate::pb::{AuthScheme, CacheStatus, GetCallerIdentityResponse, RegistryCredentials, RegistryType};

/// A connection to a broker, with the deadline of its calls.
///
/// All calls are idempotent: a call whose connection is lost is repeated over a new one until the deadline.
#[derive(Debug)]
pub struct Client<'a> {
    dialer: Dialer<'a>,
    connection: Connection<'a>,
}

/// A registry, or a pattern of registries, that the caller may request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Host of the registry, or pattern of hosts.
    pub name: String,
    /// Whether the name is a pattern.
    pub is_pattern: bool,
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
    /// Connects to the first address that answers, and waits for a broker that is not there yet.
    ///
    /// # Errors
    /// Returns why each address failed.
    pub async fn connect(settings: &'a Settings) -> Result<Self, Failure> {
        let mut dialer = Dialer::new(settings);
        let connection = dialer.open(Instant::now(), dialer.deadline(), Persistence::UntilDeadline).await?;
        Ok(Self { dialer, connection })
    }

    /// Connects to one address within the time limit, without a retry. The timeout of the settings starts after connecting.
    ///
    /// # Errors
    /// Returns the step that failed.
    pub async fn connect_to(settings: &'a Settings, address: &Address, limit: Duration) -> Result<Self, ConnectError> {
        let channel = diagnose::connect(settings, address, limit).await?;
        let dialer = Dialer::to(settings, address);
        let connection = Connection { settings, channel, address: address.clone(), deadline: dialer.deadline() };
        Ok(Self { dialer, connection })
    }

    /// Returns the address of the connection.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.connection.address
    }

    /// Moves the deadline of the next calls to this long from now.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.connection.deadline = Instant::now() + timeout;
    }
}

/// Calls that are repeated only if their connection is lost. `credentials` in `client/retry.rs` also retries errors of the broker.
impl Client<'_> {
    /// Returns one registry's credentials, other than the one with the ID `rejected`; an empty ID rejects none.
    ///
    /// # Errors
    /// Returns the broker's error, or why the call failed.
    pub async fn credentials_once(&mut self, query: &Query, rejected: &str) -> Result<RegistryCredentials, Failure> {
        let message = GetRegistryCredentialsRequest { rejected_credential_id: rejected.to_owned(), ..query.into() };
        let credentials = self.call(|connection| {
            let message = message.clone();
            async move { connection.get_credentials(message).await }
        });
        answer::for_query(query, credentials.await?)
    }

    /// Returns the caller as the broker authenticated it.
    ///
    /// # Errors
    /// Returns the broker's error, or why the call failed.
    pub async fn caller_identity(&mut self) -> Result<GetCallerIdentityResponse, Failure> {
        self.call(|connection| async move {
            let service = || connection.service();
            let call = |request| async move { service().get_caller_identity(request).await };
            connection.unary(GetCallerIdentityRequest {}, call).await
        })
        .await
    }

    /// Returns the first `limit` entries that the caller may request, and whether there are more.
    ///
    /// # Errors
    /// Returns the broker's error, or why the call failed.
    pub async fn list_access(&mut self, limit: i32) -> Result<(Vec<Access>, bool), Failure> {
        let (mut accesses, mut page_token) = (Vec::new(), String::new());
        loop {
            // A page may have fewer entries than it could, or none.
            let missing = limit.saturating_sub(i32::try_from(accesses.len()).unwrap_or(i32::MAX));
            if missing <= 0 {
                return Ok((accesses, true));
            }
            let (entries, next_page_token) = self.list_page(missing, page_token).await?;
            accesses.extend(entries.into_iter().filter_map(access));
            page_token = next_page_token;
            if page_token.is_empty() {
                return Ok((accesses, false));
            }
        }
    }

    /// Returns everything that the caller may request, from all pages.
    ///
    /// # Errors
    /// Returns the broker's error, or why the call failed.
    pub async fn all_access(&mut self) -> Result<Vec<Access>, Failure> {
        Ok(self.all_pages().await?.into_iter().filter_map(access).collect())
    }

    /// Returns the hosts of all registries whose credentials the broker has cached for this caller.
    ///
    /// # Errors
    /// Returns the broker's error, or why the call failed.
    pub async fn cached_registries(&mut self) -> Result<Vec<String>, Failure> {
        let cached = |listed: RegistryAccess| match listed.target? {
            Target::Registry(host) => listed.expire_time.map(|_| host).filter(|host| answer::is_registry(host)),
            Target::RegistryPattern(_) => None,
        };
        Ok(self.all_pages().await?.into_iter().filter_map(cached).collect())
    }

    async fn all_pages(&mut self) -> Result<Vec<RegistryAccess>, Failure> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let (entries, next_page_token) = self.list_page(MAX_PAGE_SIZE, page_token).await?;
            all.extend(entries);
            page_token = next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    async fn list_page(
        &mut self,
        page_size: i32,
        page_token: String,
    ) -> Result<(Vec<RegistryAccess>, String), Failure> {
        let page_token = &page_token;
        self.call(|connection| async move {
            let message = ListRegistriesRequest { page_size, page_token: page_token.clone() };
            let service = || connection.service();
            let page =
                connection.unary(message, |request| async move { service().list_registries(request).await }).await?;
            Ok((page.registries, page.next_page_token))
        })
        .await
    }

    /// Returns whether a health service is SERVING; the empty name is the broker as a whole.
    ///
    /// # Errors
    /// Returns why the call failed.
    pub async fn is_serving(&mut self, service: &str) -> Result<bool, Failure> {
        self.call(|connection| async move {
            let message = HealthCheckRequest { service: service.to_owned() };
            let health = || HealthClient::new(connection.channel.clone());
            let response = connection.unary(message, |request| async move { health().check(request).await }).await?;
            Ok(response.status() == ServingStatus::Serving)
        })
        .await
    }
}

fn access(listed: RegistryAccess) -> Option<Access> {
    let target = listed.target?;
    let is_pattern = matches!(target, Target::RegistryPattern(_));
    let (Target::Registry(name) | Target::RegistryPattern(name)) = target;
    let expires = listed.expire_time.and_then(|time| time.try_into().ok());
    Some(Access { name, is_pattern, profile: listed.profile, expires })
}
