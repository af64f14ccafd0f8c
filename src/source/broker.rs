//! A parent broker as a credential source: the broker's own API over a pool of long-lived connections.
//!
//! An address that does not answer is left aside for a while, and the next one is called at once. Only the parent decides about the
//! registry: its answer is final for this fetch, also if it is an error.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tracing::{Span, warn};

use self::answer::CallTimes;
use self::node::{Link, Node};
use self::pool::Pool;
use self::verdict::Verdict;
use self::watches::Watches;
use super::span::record_failure;
use super::{CredentialSource, FetchError, FetchRequest, RegionStatus, SourceFuture, SourceIdentity, SourceStatus};
use crate::client::Failure;
use crate::clock::Clock;
use crate::credential::{Credential, ParentName};
use crate::error::{BrokerError, FailureClass, SourceName, UpstreamError};
use crate::hops::{Hops, InstanceId};
use crate::log_throttle::LogThrottle;
use crate::pb::GetRegistryCredentialsResponse;
use crate::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use crate::quoted::{Quoted, Visible};
use crate::sync::lock;

mod answer;
mod files;
mod node;
mod pool;
mod request;
mod settings;
mod verdict;
mod watches;

pub use self::settings::{Fallback, Settings, profiles_of};
pub use self::watches::{Metrics as WatchMetrics, WatchDriver};

/// Delay until the next refresh after an answer of a parent that could not refresh the credential itself.
const STALE_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Time limit of a fetch over all addresses. It is below the 30 s of a broker's calls, so that a parent that hangs is found out.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time of a fetch beside its calls, so that this source reports its own timeout first.
const GRACE: Duration = Duration::from_secs(1);
/// Longest reason and request ID of a parent in a log line. A broker's own are shorter.
const MAX_LOGGED: usize = 64;
/// Size limit of a message: the largest password has 48 KiB.
const MAX_MESSAGE: usize = 256 * 1024;

/// A parent broker. A clone shares its connections.
#[derive(Debug, Clone)]
pub struct ParentBroker {
    name: ParentName,
    /// The ID by which this broker knows its own requests.
    own: InstanceId,
    pool: Arc<Pool>,
    clock: Arc<dyn Clock>,
    /// Why the last check found that the files of this broker's identity cannot be used.
    problems: Arc<std::sync::Mutex<Vec<String>>>,
    refused_updates: Arc<LogThrottle>,
    /// The watches of fetched keys, if there are any.
    watches: Option<Watches>,
}

/// A connection to one address of a parent, with the identity of this broker.
#[derive(Debug)]
pub struct ParentConnection {
    own: InstanceId,
    node: Arc<Node>,
    link: Link,
    pool: Arc<Pool>,
}

/// How a try at one node ended.
enum Try {
    Answered(Result<Credential, FetchError>),
    /// The node does not answer. Another one may.
    Unanswered(UpstreamError),
}

impl ParentBroker {
    /// Returns the parent. Opens no connection yet.
    #[must_use]
    pub fn new(settings: &Settings, own: InstanceId, clock: Arc<dyn Clock>) -> Self {
        let (name, pool) = (settings.name.clone(), Arc::new(Pool::new(settings)));
        Self { name, own, pool, clock, problems: Arc::default(), refused_updates: Arc::default(), watches: None }
    }

    /// Watches the keys that are fetched, up to `max_keys`, once the driver runs.
    #[must_use]
    pub fn watching(mut self, max_keys: usize, metrics: &WatchMetrics) -> (Self, WatchDriver) {
        let opener = Arc::new(self.clone());
        let (driver, watches) = WatchDriver::new(self.name.as_str(), opener, max_keys, metrics);
        self.watches = Some(watches);
        (self, driver)
    }

    /// Returns the parent's name.
    #[must_use]
    pub fn name(&self) -> &ParentName {
        &self.name
    }

    /// Returns the number of known addresses, and of those that are left aside because they did not answer.
    #[must_use]
    pub fn addresses(&self) -> (usize, usize) {
        self.pool.counts()
    }

    /// Returns a connection to an address that accepts one, for a stream. Each call begins at another address.
    ///
    /// # Errors
    /// No address accepts a connection.
    pub async fn connection(&self) -> Result<ParentConnection, UpstreamError> {
        for node in self.pool.nodes().await {
            match node.link().await {
                Ok((link, _)) => return Ok(self.connected(node, link)),
                Err(why) => node.failed(&why),
            }
        }
        Err(self.unanswered())
    }

    fn connected(&self, node: Arc<Node>, link: Link) -> ParentConnection {
        ParentConnection { own: self.own, node, link, pool: Arc::clone(&self.pool) }
    }

    /// Calls the nodes in turn until one answers. If none does, those that a name has got meanwhile.
    async fn fetch_from_any(&self, request: &FetchRequest) -> Result<Credential, FetchError> {
        let deadline = request.deadline.min(Instant::now() + CALL_TIMEOUT);
        let (mut tried, mut failure) = (Vec::new(), self.unanswered());
        let mut nodes = self.pool.nodes().await;
        for _ in 0..2 {
            for node in nodes {
                match self.fetch_from(&node, request, deadline).await {
                    Try::Answered(result) => return result,
                    Try::Unanswered(error) => failure = error,
                }
                tried.push(node);
                if Instant::now() >= deadline {
                    return Err(failure.into());
                }
            }
            nodes = timeout_at(deadline, self.pool.others_than(&tried)).await.unwrap_or_default();
        }
        Err(failure.into())
    }

    /// Calls one node; a second time if an open connection turns out to be lost. Most are lost at their maximum age.
    async fn fetch_from(&self, node: &Arc<Node>, request: &FetchRequest, deadline: Instant) -> Try {
        for _ in 0..2 {
            let (link, is_new) = match timeout_at(deadline, node.link()).await {
                Ok(Ok(link)) => link,
                Ok(Err(why)) => {
                    node.failed(&why);
                    return Try::Unanswered(self.unanswered());
                }
                Err(_) => return Try::Unanswered(self.unanswered()),
            };
            let connection = self.connected(Arc::clone(node), link);
            let failure = match self.call(&connection, request, deadline).await {
                Ok(credential) => {
                    node.answered();
                    return Try::Answered(Ok(credential));
                }
                Err(CallError::Local(error)) => return Try::Answered(Err(error)),
                Err(CallError::Of(failure)) => failure,
            };
            // A request with a proof carries no token of this broker.
            if let Some(error) = request.proof.as_ref().and_then(|_| verdict::of_expired_token(&failure)) {
                node.answered();
                self.log_answer(&failure);
                return Try::Answered(Err(error));
            }
            match verdict::of(&self.name, (request.min_validity, &request.hops), &failure) {
                Verdict::Answered(error) => {
                    node.answered();
                    self.log_answer(&failure);
                    return Try::Answered(Err(error));
                }
                Verdict::Lost(_) if !is_new => node.drop_link(&connection.link),
                Verdict::Lost(error) | Verdict::Elsewhere(error) => {
                    connection.failed(&failure.to_string());
                    return Try::Unanswered(error);
                }
            }
        }
        Try::Unanswered(self.unanswered())
    }

    async fn call(
        &self,
        connection: &ParentConnection,
        request: &FetchRequest,
        deadline: Instant,
    ) -> Result<Credential, CallError> {
        let sent = self.clock.now();
        let message = connection.request(request::message(request)).await;
        let mut message = message.map_err(|why| CallError::Local(self.misconfigured(&why).into()))?;
        message.set_timeout(deadline.saturating_duration_since(Instant::now()));
        if let Some(proof) = &request.proof {
            let added = request::add_caller(message.metadata_mut(), proof);
            added.map_err(|why| CallError::Local(self.misconfigured(&why).into()))?;
        }
        request::add_hops(message.metadata_mut(), &request.hops, self.own)
            .map_err(|problem| CallError::Local(FetchError::OfRequest(Box::new(BrokerError::Chain(problem)))))?;
        request::add_ids(message.metadata_mut(), request.request_id);
        let answer = finish(connection.service().get_registry_credentials(message), deadline).await;
        let answer = answer.map_err(CallError::Of)?;
        let times = CallTimes { sent, received: self.clock.now() };
        if answer::is_stale(&answer, request.replaces.as_ref().map(|one| one.id())) {
            // The parent's own refresh failed. It does not say why; most often AWS does not answer.
            // Nor would a retry at once help: the parent waits for its own backoff.
            let failure = UpstreamError::new(self.source(), FailureClass::Unavailable);
            return Err(CallError::Local(UpstreamError { retry_after: Some(STALE_RETRY_DELAY), ..failure }.into()));
        }
        answer::credential(self.source(), &request.key, answer, times).map_err(|why| {
            warn!(parent = %self.name, why, "parent's answer refused");
            CallError::Local(UpstreamError::new(self.source(), FailureClass::InvalidResponse).into())
        })
    }

    fn source(&self) -> SourceName {
        SourceName::Parent(self.name.clone())
    }

    fn unanswered(&self) -> UpstreamError {
        UpstreamError::unanswered(self.source())
    }

    /// Returns the failure of a file of this broker's own.
    fn misconfigured(&self, why: &str) -> UpstreamError {
        warn!(parent = %self.name, why, "parent not called");
        UpstreamError::new(self.source(), FailureClass::Misconfigured)
    }

    /// Logs an error of the parent with its request ID, by which the parent's log has the reason.
    fn log_answer(&self, failure: &Failure) {
        let Failure { code, reason, request_id, message, .. } = failure;
        let shown = |text: &Option<String>| {
            text.as_ref().filter(|text| text.len() <= MAX_LOGGED).map(|text| Visible(text).to_string())
        };
        let (reason, request_id) = (shown(reason), shown(request_id));
        warn!(parent = %self.name, ?code, reason, parent_request_id = request_id, message = %Quoted(message), "parent call failed");
    }
}

/// Why a call has no credential.
enum CallError {
    /// Before or after the call.
    Local(FetchError),
    Of(Failure),
}

/// Waits for a call until its deadline. tonic's own timeout ends with the response headers and leaves the body without one.
async fn finish(
    call: impl Future<Output = Result<Response<GetRegistryCredentialsResponse>, Status>>,
    deadline: Instant,
) -> Result<GetRegistryCredentialsResponse, Failure> {
    let response = timeout_at(deadline, call).await.map_err(|_| Failure::timed_out())?;
    Ok(response?.into_inner())
}

impl ParentConnection {
    /// Returns the parent's service.
    #[must_use]
    pub fn service(&self) -> RegistryCredentialsServiceClient<Channel> {
        RegistryCredentialsServiceClient::new(self.link.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Returns a request of this broker's own, with its token as the file has it now.
    ///
    /// # Errors
    /// The file cannot be used.
    pub async fn request<T>(&self, message: T) -> Result<Request<T>, String> {
        let mut request = Request::new(message);
        // A direct request passes no broker before, so it cannot pass too many.
        _ = request::add_hops(request.metadata_mut(), &Hops::default(), self.own);
        if let Some(token) = self.pool.files().authorization().await? {
            request.metadata_mut().insert("authorization", token);
        }
        Ok(request)
    }

    /// Records that the address does not answer any more: it is left aside for a while, and its next connection is a new one.
    pub fn failed(&self, why: &str) {
        self.node.drop_link(&self.link);
        self.node.failed(why);
    }

    /// Records that the address answers.
    pub fn answered(&self) {
        self.node.answered();
    }
}

impl CredentialSource for ParentBroker {
    fn identity(&self) -> &dyn SourceIdentity {
        self
    }

    fn fetch<'a>(&'a self, request: &'a FetchRequest) -> SourceFuture<'a, Result<Credential, FetchError>> {
        Box::pin(async {
            let result = self.fetch_from_any(request).await;
            if let (Ok(credential), Some(watches), None) = (&result, &self.watches, &request.proof) {
                watches.watch(&request.key, credential.id());
            }
            if let Err(FetchError::Upstream(failure)) = &result {
                Span::current().record("aws.error_code", failure.aws_code());
                record_failure(failure.class);
            }
            result
        })
    }

    /// Admission control counts the calls.
    fn regions(&self) -> Vec<RegionStatus> {
        Vec::new()
    }

    fn fetch_budget(&self) -> Duration {
        CALL_TIMEOUT + GRACE
    }
}

/// The identity by which this broker calls the parent: its certificate or token. An outage of the parent does not end it.
impl SourceIdentity for ParentBroker {
    fn name(&self) -> SourceName {
        self.source()
    }

    fn status(&self) -> SourceStatus {
        if lock(&self.problems).is_empty() { SourceStatus::Ready } else { SourceStatus::NoCredentials }
    }

    fn check(&self) -> SourceFuture<'_, SourceStatus> {
        Box::pin(async {
            let problems = self.pool.files().problems().await;
            *lock(&self.problems) = problems.into_iter().map(|why| format!("parent {}: {why}", self.name)).collect();
            self.status()
        })
    }

    fn problems(&self) -> Vec<String> {
        lock(&self.problems).clone()
    }

    /// The files say nothing that a fetch needs.
    fn expires(&self) -> Option<SystemTime> {
        None
    }
}
