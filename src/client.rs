//! The client of a broker: one connection at a time, one deadline for everything.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use zeroize::Zeroizing;

use crate::pb;
use crate::pb::batch_result::Result as Outcome;
use crate::pb::registry_access::Target;
use crate::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;

mod address;
mod config;
mod diagnose;
mod failure;
mod once;
mod query;
mod tls_problem;
mod watch;

pub use self::address::{Address, AddressError};
pub use self::config::{Addresses, ConfigError, Home, PartialConfig};
pub use self::diagnose::ConnectError;
pub use self::failure::{Failure, chain};
pub use self::once::Access;
pub use self::query::Query;
pub use self::tls_problem::TlsProblem;
pub use self::watch::{Watch, WatchEvent};
pub use crate::pb::{AuthScheme, CacheStatus, GetCallerIdentityResponse, RegistryCredentials, RegistryType};

/// How long one address may take to be connected to, where there is another or it is on another host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// No call is made again sooner, nor with less time left.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// A broker that has gone without a word is found out after these two, which only a watch is long enough for.
const ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Entries of a list in one answer.
const LARGEST_PAGE: i32 = 1_000;
/// A batch of the largest credentials fits.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Which broker, and how to speak to it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Tried in this order.
    pub addresses: Vec<Address>,
    /// Whether the user named the addresses; a token goes over plaintext TCP to no other.
    pub addresses_given: bool,
    /// Holds a bearer token; read anew at every call.
    pub token_file: Option<PathBuf>,
    /// A bearer token, instead of the one of the file.
    pub token: Option<BearerToken>,
    /// Certificates to trust instead of the system's.
    pub tls_ca: Option<PathBuf>,
    /// The client's own certificate and key.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// For everything: connection and answer.
    pub timeout: Duration,
}

/// A bearer token. It cannot be printed, and is wiped when it goes.
#[derive(Clone)]
pub struct BearerToken(Zeroizing<String>);

impl From<String> for BearerToken {
    fn from(token: String) -> Self {
        Self(Zeroizing::new(token))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

/// A connection to a broker.
#[derive(Debug)]
pub struct Client<'a> {
    settings: &'a Settings,
    link: Link,
    deadline: Instant,
}

/// A channel to one of the addresses.
#[derive(Debug, Clone)]
struct Link {
    channel: Channel,
    address: Address,
}

/// Runs a client's work, and waits for nothing else: looking up a name may take longer than anybody has time.
///
/// # Errors
/// Where the system has no resources for it.
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
    /// Where none does; the error says why, address by address.
    pub async fn connect(settings: &'a Settings) -> Result<Self, Failure> {
        let deadline = Instant::now() + settings.timeout;
        Ok(Self { settings, link: Link::make(settings, deadline).await?, deadline })
    }

    /// Asks for credentials; several queries go as one batch. The results are in the order of the queries. What a broker says may work later
    /// is asked for again, as long as there is time, and a call that its connection broke under once more.
    ///
    /// # Errors
    /// Where the call as a whole fails.
    pub async fn credentials(
        &mut self,
        queries: &[Query],
    ) -> Result<Vec<Result<pb::RegistryCredentials, Failure>>, Failure> {
        let all: Vec<_> = (0..queries.len()).collect();
        let mut results = self.ask_again(&all, queries).await?;
        loop {
            let waits = results.iter().enumerate().filter_map(|(at, result)| Some((at, self.wait(result)?)));
            let (again, waits): (Vec<_>, Vec<_>) = waits.unzip();
            let Some(wait) = waits.into_iter().max() else { return Ok(results) };
            sleep(wait).await;
            // What is known stands, whatever becomes of asking again.
            let Ok(answers) = self.ask_again(&again, queries).await else { return Ok(results) };
            let mut nothing_new = false;
            for (at, answer) in again.into_iter().zip(answers) {
                if answer.as_ref().is_err_and(|failure| failure.reason.is_none()) {
                    nothing_new = true;
                } else {
                    results[at] = answer;
                }
            }
            if nothing_new {
                return Ok(results);
            }
        }
    }

    /// Who the broker takes this client for.
    ///
    /// # Errors
    /// Where it cannot be asked, or does not know.
    pub async fn caller_identity(&self) -> Result<GetCallerIdentityResponse, Failure> {
        let mut client = RegistryCredentialsServiceClient::new(self.link.channel.clone());
        self.within(client.get_caller_identity(self.request(pb::GetCallerIdentityRequest {})?)).await
    }

    /// The registries whose credentials are held for this client now.
    ///
    /// # Errors
    /// Where they cannot be listed.
    pub async fn held_registries(&self) -> Result<Vec<String>, Failure> {
        let mut client = RegistryCredentialsServiceClient::new(self.link.channel.clone());
        let (mut held, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListRegistriesRequest { page_size: LARGEST_PAGE, page_token };
            let page = self.within(client.list_registries(self.request(request)?)).await?;
            held.extend(page.registries.into_iter().filter_map(|listed| match listed.target? {
                Target::Registry(host) => listed.expire_time.map(|_| host),
                Target::RegistryPattern(_) => None,
            }));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(held);
            }
        }
    }

    /// Whether the broker says that it serves; `service` is empty for the process as such.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub async fn is_serving(&self, service: &str) -> Result<bool, Failure> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut client = HealthClient::new(self.link.channel.clone());
        let answer = self.within(client.check(self.request(request)?)).await?;
        Ok(answer.status() == ServingStatus::Serving)
    }

    /// How long to wait before asking again, where that may help and there is time; a little longer than was asked, and not all the same.
    fn wait(&self, result: &Result<pb::RegistryCredentials, Failure>) -> Option<Duration> {
        let wait = result.as_ref().err()?.retry_after?.max(SHORTEST_WAIT);
        let wait = wait.mul_f64(1.0 + 0.25 * fastrand::f64());
        (Instant::now() + wait + SHORTEST_WAIT < self.deadline).then_some(wait)
    }

    /// tonic's own time limit ends with the head of an answer.
    async fn within<T>(&self, call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Failure> {
        let answer = timeout_at(self.deadline, call).await.map_err(|_| Failure::late())?;
        Ok(answer?.into_inner())
    }

    /// Asks for some of them; a second time over a new connection, where the one that there was broke.
    async fn ask_again(
        &mut self,
        some: &[usize],
        queries: &[Query],
    ) -> Result<Vec<Result<pb::RegistryCredentials, Failure>>, Failure> {
        match self.ask(some, queries).await {
            Err(failure) if failure.broke => {
                self.link = Link::make(self.settings, self.deadline).await?;
                self.ask(some, queries).await
            }
            outcome => outcome,
        }
    }

    /// A failure of the call that passes is each one's own, and that of a call for one is that one's.
    async fn ask(
        &self,
        some: &[usize],
        queries: &[Query],
    ) -> Result<Vec<Result<pb::RegistryCredentials, Failure>>, Failure> {
        let mut client =
            RegistryCredentialsServiceClient::new(self.link.channel.clone()).max_decoding_message_size(LARGEST_ANSWER);
        if let [at] = some {
            let request = self.request(pb::GetRegistryCredentialsRequest::from(&queries[*at]))?;
            let answer = self.within(client.get_registry_credentials(request)).await;
            if let Err(failure) = &answer
                && failure.broke
            {
                return Err(failure.clone());
            }
            return Ok(vec![answer.and_then(|answer| answer.credentials.ok_or_else(Failure::empty))]);
        }
        let requests = some.iter().map(|at| pb::GetRegistryCredentialsRequest::from(&queries[*at])).collect();
        let request = self.request(pb::BatchGetRegistryCredentialsRequest { requests })?;
        let answer = match self.within(client.batch_get_registry_credentials(request)).await {
            Ok(answer) => answer,
            Err(failure) if failure.retry_after.is_some() => return Ok(vec![Err(failure); some.len()]),
            Err(failure) => return Err(failure),
        };
        let results: Vec<_> = answer.results.into_iter().map(result).collect();
        if results.len() == some.len() {
            Ok(results)
        } else {
            Err(Failure::broken("the broker's answer has not as many results as were asked for"))
        }
    }

    /// With the token as its file has it now.
    fn request<T>(&self, message: T) -> Result<Request<T>, Failure> {
        let mut request = authorized(message, &self.link.address, self.settings)?;
        request.set_timeout(self.deadline.saturating_duration_since(Instant::now()));
        Ok(request)
    }
}

fn authorized<T>(message: T, address: &Address, settings: &Settings) -> Result<Request<T>, Failure> {
    let mut request = Request::new(message);
    if let Some(token) = token(address, settings)? {
        request.metadata_mut().insert("authorization", token);
    }
    Ok(request)
}

impl Link {
    /// To the first address that answers.
    async fn make(settings: &Settings, deadline: Instant) -> Result<Self, Failure> {
        let mut problems = Vec::new();
        for address in &settings.addresses {
            let endpoint = endpoint(address, settings).map_err(Failure::local)?;
            let in_time = deadline.min(Instant::now() + patience(settings, address));
            match timeout_at(in_time, endpoint.connect()).await {
                Ok(Ok(channel)) => return Ok(Self { channel, address: address.clone() }),
                Ok(Err(error)) => problems.push(format!("{address}: {}", chain(&error))),
                Err(_) => problems.push(format!("{address}: no answer in time")),
            }
        }
        Err(Failure::unreachable(&problems))
    }
}

fn result(result: pb::BatchResult) -> Result<pb::RegistryCredentials, Failure> {
    match result.result {
        Some(Outcome::Credentials(credentials)) => Ok(credentials),
        Some(Outcome::Error(error)) => Err(Failure::from(error)),
        None => Err(Failure::broken("a result in the broker's answer is empty")),
    }
}

/// How long to wait for it before going on to the next. Of this host, with no other to go to, it is worth waiting for.
fn patience(settings: &Settings, address: &Address) -> Duration {
    let is_last = settings.addresses.last() == Some(address);
    if is_last && address.is_local() { settings.timeout } else { CONNECT_TIMEOUT.min(settings.timeout) }
}

fn endpoint(address: &Address, settings: &Settings) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(address.uri()).map_err(|error| chain(&error))?;
    let endpoint = endpoint.http2_keep_alive_interval(ALIVE_INTERVAL).keep_alive_timeout(ALIVE_TIMEOUT);
    if !address.is_tls() {
        return Ok(endpoint);
    }
    endpoint.tls_config(tls(settings)?).map_err(|error| chain(&error))
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

/// The token, where it may be sent: over TLS, over a Unix socket, or in the clear to an address that the user named.
fn token(address: &Address, settings: &Settings) -> Result<Option<MetadataValue<tonic::metadata::Ascii>>, Failure> {
    if address.is_plaintext() && !settings.addresses_given {
        return match settings.token {
            // Without it the broker would take the caller for somebody else.
            Some(_) => Err(Failure::local(format!(
                "the token is not sent in the clear to {address}, which nobody named; set ECR_BROKER_ADDRESS, or address in client.toml"
            ))),
            None => Ok(None),
        };
    }
    let (text, name) = match (&settings.token, &settings.token_file) {
        (Some(BearerToken(token)), _) => (token.clone(), "the token".to_owned()),
        (None, Some(path)) => {
            let name = format!("the token file {}", path.display());
            let unreadable = |error| Failure::local(format!("{name} cannot be read: {error}"));
            (Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?), name)
        }
        (None, None) => return Ok(None),
    };
    if text.trim().is_empty() {
        return Err(Failure::local(format!("{name} is empty")));
    }
    let value = Zeroizing::new(format!("Bearer {}", text.trim()));
    let mut value: MetadataValue<_> =
        value.parse().map_err(|_| Failure::local(format!("{name} holds characters that no token has")))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::from_status(&status)
    }
}
