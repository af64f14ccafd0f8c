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

use self::failure::chain;

mod address;
mod failure;
mod given;
mod query;

pub use self::address::{Address, AddressError};
pub use self::failure::Failure;
pub use self::given::{Addresses, Given, GivenError, Home};
pub use self::query::Query;
pub use crate::pb::{AuthScheme, GetCallerIdentityResponse, RegistryCredentials};

/// How long one address may take to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
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

/// A channel to one of the addresses, and the token that goes with it.
#[derive(Debug, Clone)]
struct Link {
    channel: Channel,
    token: Option<MetadataValue<tonic::metadata::Ascii>>,
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
            let again: Vec<_> = (0..queries.len()).filter(|at| self.wait(&results[*at]).is_some()).collect();
            let Some(wait) = again.iter().filter_map(|at| self.wait(&results[*at])).max() else { return Ok(results) };
            sleep(wait).await;
            // What is known stands, whatever becomes of asking again.
            let Ok(answers) = self.ask_again(&again, queries).await else { return Ok(results) };
            for (at, answer) in again.into_iter().zip(answers) {
                results[at] = answer;
            }
        }
    }

    /// Who the broker takes this client for.
    ///
    /// # Errors
    /// Where it cannot be asked, or does not know.
    pub async fn caller_identity(&self) -> Result<GetCallerIdentityResponse, Failure> {
        let mut client = RegistryCredentialsServiceClient::new(self.link.channel.clone());
        let answer = client.get_caller_identity(self.request(pb::GetCallerIdentityRequest {})).await?;
        Ok(answer.into_inner())
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
            let page = client.list_registries(self.request(request)).await?.into_inner();
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
        let answer = HealthClient::new(self.link.channel.clone()).check(self.request(request)).await?;
        Ok(answer.into_inner().status() == ServingStatus::Serving)
    }

    /// How long to wait before asking again, where that may help and there is time.
    fn wait(&self, result: &Result<pb::RegistryCredentials, Failure>) -> Option<Duration> {
        let wait = result.as_ref().err()?.retry_after?;
        (Instant::now() + wait < self.deadline).then_some(wait)
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

    /// Where one alone is asked for, the call's failure is its own.
    async fn ask(
        &self,
        some: &[usize],
        queries: &[Query],
    ) -> Result<Vec<Result<pb::RegistryCredentials, Failure>>, Failure> {
        let mut client =
            RegistryCredentialsServiceClient::new(self.link.channel.clone()).max_decoding_message_size(LARGEST_ANSWER);
        if let [at] = some {
            let request = pb::GetRegistryCredentialsRequest::from(&queries[*at]);
            let answer = client.get_registry_credentials(self.request(request)).await.map_err(Failure::from);
            if let Err(failure) = &answer
                && failure.broke
            {
                return Err(failure.clone());
            }
            let empty = || Failure::broken("the broker's answer is empty");
            return Ok(vec![answer.and_then(|answer| answer.into_inner().credentials.ok_or_else(empty))]);
        }
        let requests = some.iter().map(|at| pb::GetRegistryCredentialsRequest::from(&queries[*at])).collect();
        let batch = pb::BatchGetRegistryCredentialsRequest { requests };
        let answer = client.batch_get_registry_credentials(self.request(batch)).await?;
        let results: Vec<_> = answer.into_inner().results.into_iter().map(result).collect();
        if results.len() == some.len() {
            Ok(results)
        } else {
            Err(Failure::broken("the broker's answer has not as many results as were asked for"))
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline.saturating_duration_since(Instant::now()));
        if let Some(token) = &self.link.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }
}

impl Link {
    /// To the first address that answers. The token file is read anew.
    async fn make(settings: &Settings, deadline: Instant) -> Result<Self, Failure> {
        let mut problems = Vec::new();
        for address in &settings.addresses {
            match connect(address, settings, deadline).await {
                Ok(channel) => return Ok(Self { channel, token: token(address, settings)? }),
                Err(problem) => problems.push(format!("{address}: {problem}")),
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

async fn connect(address: &Address, settings: &Settings, deadline: Instant) -> Result<Channel, String> {
    let mut endpoint = Endpoint::from_shared(address.uri()).map_err(|error| error.to_string())?;
    if address.is_tls() {
        endpoint = endpoint.tls_config(tls(settings)?).map_err(|error| chain(&error))?;
    }
    // The deadline of the call is the broker's to keep; this one is for a broker that keeps none.
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(settings.timeout);
    match timeout_at(deadline, endpoint.connect()).await {
        Ok(connected) => connected.map_err(|error| chain(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
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
        return Ok(None);
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
