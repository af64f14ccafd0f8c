//! The gRPC services: what is on the wire in, what is on the wire out, and nothing decided in between.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};
use tonic::service::{Routes, RoutesBuilder};
use tonic::{Request, Response, Status};
use tracing::Span;

use crate::broker::{Broker, CredentialRequest, Released};
use crate::cache::CacheStatus;
use crate::caller::Caller;
use crate::credential::{self, CredentialId};
use crate::error::BrokerError;
use crate::limits::{Admission, Limits};
use crate::pb;
use crate::pb::get_registry_credentials_request::Target;
use crate::pb::registry_credentials_service_server::{RegistryCredentialsService, RegistryCredentialsServiceServer};
use crate::registry::{EndpointVariant, Named, PrivateRegistry, Registry};

use self::middleware::Call;
use self::status::{Subject, refuse};

mod listing;
pub(crate) mod methods;
pub mod middleware;
mod reflection;
mod status;
pub mod trace;
mod watch;

/// The largest request that is read, whichever service it is for.
pub const LARGEST_REQUEST: usize = 64 * 1024;
/// The most requests in a batch.
const LARGEST_BATCH: usize = 100;
const NO_EDGE: &str = "the call did not come through the edge";

/// The service over a broker, within limits, and reflection of it. A watch lasts about `watch_age`.
#[must_use]
pub fn routes(broker: Arc<Broker>, limits: Limits, watch_age: Duration) -> RoutesBuilder {
    let mut routes = Routes::builder();
    let service = RegistryCredentialsServiceServer::new(RegistryCredentials { broker, limits, watch_age });
    routes.add_service(service.max_decoding_message_size(LARGEST_REQUEST));
    reflection::add_to(&mut routes);
    routes
}

/// `ecrbroker.v1.RegistryCredentialsService` over a [`Broker`].
#[derive(Debug)]
struct RegistryCredentials {
    broker: Arc<Broker>,
    limits: Limits,
    watch_age: Duration,
}

/// A call that may be answered, and for whom.
struct Admitted {
    call: Call,
    caller: Caller,
    /// Held until the caller has the answer.
    admission: Arc<Admission>,
}

impl Admitted {
    /// The answer, which is under way until its last byte is sent.
    fn answer<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        response.extensions_mut().insert(Arc::clone(&self.admission));
        response
    }
}

impl RegistryCredentials {
    /// What the edge knows of a call, if its caller may ask for so many things more.
    fn admit<T>(&self, request: &Request<T>, asked: usize) -> Result<Admitted, Status> {
        let call: Call = request.extensions().get().cloned().ok_or_else(|| Status::internal(NO_EDGE))?;
        let caller = call.caller.clone().map_err(|error| refuse(&error, &Subject::default(), &call))?;
        let asked = u32::try_from(asked).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let admission = self.limits.admit(&caller.principal(), asked);
        let admission = admission.map_err(|excess| refuse(&excess.into(), &Subject::default(), &call))?;
        Ok(Admitted { call, caller, admission: Arc::new(admission) })
    }

    /// One request's answer, or its error as it goes out; the error is logged on the way.
    async fn credentials(
        &self,
        request: &pb::GetRegistryCredentialsRequest,
        admitted: &Admitted,
        deadline: Instant,
    ) -> Result<pb::RegistryCredentials, Status> {
        let mut subject = Subject::default();
        let outcome = timeout_at(deadline, self.look_up(request, admitted, &mut subject)).await;
        outcome.unwrap_or(Err(BrokerError::Deadline)).map_err(|error| refuse(&error, &subject, &admitted.call))
    }

    async fn look_up(
        &self,
        request: &pb::GetRegistryCredentialsRequest,
        Admitted { call, caller, .. }: &Admitted,
        subject: &mut Subject,
    ) -> Result<pb::RegistryCredentials, BrokerError> {
        let request = self.understand(request, call, caller, subject)?;
        let released = self.broker.registry_credentials(request).await?;
        let span = Span::current();
        span.record("registry", &released.host);
        span.record("cache_status", tracing::field::debug(released.found.status));
        Ok(message(released))
    }

    /// What a request means, and what it is about.
    fn understand(
        &self,
        request: &pb::GetRegistryCredentialsRequest,
        call: &Call,
        caller: &Caller,
        subject: &mut Subject,
    ) -> Result<CredentialRequest, BrokerError> {
        let no_region = matches!(&request.target, Some(Target::PrivateRegistry(parts)) if parts.region.is_empty());
        let Named { registry, alias } = self.target(request.target.as_ref())?;
        let request = CredentialRequest {
            caller: caller.clone(),
            registry,
            alias,
            profile: request.profile.clone(),
            min_validity: min_validity(request.min_validity.as_ref())?,
            rejected: rejected(&request.rejected_credential_id)?,
            request: call.id,
            trace: call.trace.map(|trace| trace.to_string()),
        };
        *subject = Subject::of(&request.registry, &request.profile);
        if let Some(alias) = &request.alias {
            *subject = std::mem::take(subject).known_as(alias);
        }
        if no_region {
            *subject = std::mem::take(subject).without_region();
        }
        Ok(request)
    }

    fn target(&self, target: Option<&Target>) -> Result<Named, BrokerError> {
        match target {
            Some(Target::Registry(text)) => {
                self.broker.aliases().find(text).map_err(|error| BrokerError::registry("registry", &error))
            }
            Some(Target::PrivateRegistry(parts)) => {
                self.private_registry(parts).map(Registry::Private).map(Named::from)
            }
            Some(Target::PublicRegistry(pb::PublicRegistry {})) => Ok(Registry::PUBLIC.into()),
            None => Err(BrokerError::RequestInvalid {
                field: "target",
                problem: "set registry, private_registry or public_registry".to_owned(),
            }),
        }
    }

    fn private_registry(&self, parts: &pb::PrivateRegistry) -> Result<PrivateRegistry, BrokerError> {
        let account = match parts.account_id.as_str() {
            "" => None,
            account => {
                let account = account.parse();
                Some(account.map_err(|error| BrokerError::registry("private_registry.account_id", &error))?)
            }
        };
        let in_region = |error| BrokerError::registry("private_registry.region", &error);
        let region = match parts.region.as_str() {
            "" => self.broker.region().cloned().ok_or_else(|| BrokerError::RequestInvalid {
                field: "private_registry.region",
                problem: "name a region, for the broker is configured with none (aws.region)".to_owned(),
            })?,
            region => region.parse().map_err(in_region)?,
        };
        let variant = EndpointVariant { fips: parts.fips, dual_stack: parts.dual_stack };
        PrivateRegistry::new(account, region, variant)
            .map_err(|error| BrokerError::registry("private_registry.dual_stack", &error))
    }
}

#[tonic::async_trait]
impl RegistryCredentialsService for RegistryCredentials {
    async fn get_registry_credentials(
        &self,
        request: Request<pb::GetRegistryCredentialsRequest>,
    ) -> Result<Response<pb::GetRegistryCredentialsResponse>, Status> {
        let admitted = self.admit(&request, 1)?;
        let credentials = self.credentials(request.get_ref(), &admitted, admitted.call.deadline).await?;
        Ok(admitted.answer(pb::GetRegistryCredentialsResponse { credentials: Some(credentials) }))
    }

    async fn batch_get_registry_credentials(
        &self,
        request: Request<pb::BatchGetRegistryCredentialsRequest>,
    ) -> Result<Response<pb::BatchGetRegistryCredentialsResponse>, Status> {
        let requests = &request.get_ref().requests;
        let admitted = self.admit(&request, requests.len().min(LARGEST_BATCH))?;
        if requests.is_empty() || requests.len() > LARGEST_BATCH {
            let problem = format!("a batch holds 1 to {LARGEST_BATCH} requests, this one {}", requests.len());
            let error = BrokerError::RequestInvalid { field: "requests", problem };
            return Err(refuse(&error, &Subject::default(), &admitted.call));
        }
        let deadline = admitted.call.deadline_of_a_part();
        let results = join_all(requests.iter().map(|request| self.credentials(request, &admitted, deadline))).await;
        let results = results.into_iter().map(batch_result).collect();
        Ok(admitted.answer(pb::BatchGetRegistryCredentialsResponse { results }))
    }

    type WatchRegistryCredentialsStream = watch::Events;

    async fn watch_registry_credentials(
        &self,
        request: Request<pb::WatchRegistryCredentialsRequest>,
    ) -> Result<Response<watch::Events>, Status> {
        let admitted = self.admit(&request, request.get_ref().requests.len().min(LARGEST_BATCH))?;
        let call = admitted.call.clone();
        let watched = self.watched(admitted, request.get_ref());
        watched.map(Response::new).map_err(|error| refuse(&error, &Subject::default(), &call))
    }

    async fn list_registries(
        &self,
        request: Request<pb::ListRegistriesRequest>,
    ) -> Result<Response<pb::ListRegistriesResponse>, Status> {
        let admitted = self.admit(&request, 1)?;
        let page = listing::page(&self.broker.registries(&admitted.caller), request.get_ref());
        let page = page.map_err(|error| refuse(&error, &Subject::default(), &admitted.call))?;
        Ok(admitted.answer(page))
    }

    async fn get_caller_identity(
        &self,
        request: Request<pb::GetCallerIdentityRequest>,
    ) -> Result<Response<pb::GetCallerIdentityResponse>, Status> {
        let admitted = self.admit(&request, 1)?;
        let caller = &admitted.caller;
        Ok(admitted.answer(pb::GetCallerIdentityResponse {
            principal: caller.to_string(),
            proof: caller.proof().to_owned(),
            grant_ids: self.broker.grants_of(caller),
            grants_configured: !self.broker.is_open(),
        }))
    }
}

fn batch_result(result: Result<pb::RegistryCredentials, Status>) -> pb::BatchResult {
    use pb::batch_result::Result as Outcome;
    let outcome = match result {
        Ok(credentials) => Outcome::Credentials(credentials),
        Err(status) => Outcome::Error(status::message(&status)),
    };
    pb::BatchResult { result: Some(outcome) }
}

fn min_validity(asked: Option<&prost_types::Duration>) -> Result<Duration, BrokerError> {
    let Some(asked) = asked else { return Ok(Duration::ZERO) };
    Duration::try_from(*asked).map_err(|_| BrokerError::RequestInvalid {
        field: "min_validity",
        problem: "it is negative or out of range; leave it out, or give a positive duration".to_owned(),
    })
}

fn rejected(id: &str) -> Result<Option<CredentialId>, BrokerError> {
    if id.is_empty() {
        return Ok(None);
    }
    CredentialId::parse(id).map(Some).ok_or_else(|| BrokerError::RequestInvalid {
        field: "rejected_credential_id",
        problem: "it is not the credential_id of a credential: those are 32 hexadecimal digits".to_owned(),
    })
}

fn message(released: Released) -> pb::RegistryCredentials {
    let Released { found, key, host, account } = released;
    let credential = &found.credential;
    let (registry_type, auth_scheme) = match key.registry {
        Registry::Private(_) => (pb::RegistryType::Private, pb::AuthScheme::Basic),
        Registry::Public { .. } => (pb::RegistryType::Public, pb::AuthScheme::Bearer),
    };
    pb::RegistryCredentials {
        endpoint: format!("https://{host}"),
        registry: host,
        username: credential::USERNAME.to_owned(),
        password: credential.password().expose().to_owned(),
        issue_time: Some(credential.issued().wall.into()),
        expire_time: Some(credential.expires().into()),
        refresh_after: prost_types::Duration::try_from(found.refresh_after).ok(),
        registry_type: registry_type.into(),
        auth_scheme: auth_scheme.into(),
        credential_id: credential.id().to_string(),
        cache_status: cache_status(found.status).into(),
        account_id: account.map(|account| account.to_string()).unwrap_or_default(),
        region: key.registry.region().map_or_else(|| "us-east-1".to_owned(), ToString::to_string),
        profile: key.profile.to_string(),
    }
}

fn cache_status(status: CacheStatus) -> pb::CacheStatus {
    match status {
        CacheStatus::Hit => pb::CacheStatus::Hit,
        CacheStatus::Miss => pb::CacheStatus::Miss,
        CacheStatus::Coalesced => pb::CacheStatus::Coalesced,
        CacheStatus::Stale => pb::CacheStatus::Stale,
    }
}
