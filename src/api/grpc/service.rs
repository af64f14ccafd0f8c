//! The handlers of `ecrbroker.v1.RegistryCredentialsService`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};
use tracing::Span;

use super::admitted::AdmittedCall;
use super::fast_path::Remember;
use super::status::{ErrorContext, to_status};
use super::{decode, encode, listing, watch};
use crate::api::request::shortly_before;
use crate::broker::{Broker, CredentialRequest, Released};
use crate::error::BrokerError;
use crate::limits::Limits;
use crate::pb;
use crate::pb::registry_credentials_service_server::RegistryCredentialsService;
use crate::protocol::MAX_REQUESTS;

/// The service over a [`Broker`].
#[derive(Debug)]
pub(super) struct RegistryCredentials {
    broker: Arc<Broker>,
    limits: Limits,
    watch_age: Duration,
}

impl RegistryCredentials {
    pub(super) fn new(broker: Arc<Broker>, limits: Limits, watch_age: Duration) -> Self {
        Self { broker, limits, watch_age }
    }

    /// Takes the call, which asks for `count` credentials; more than a batch may hold count as one full batch.
    fn take<T>(&self, request: &mut Request<T>, count: usize) -> Result<AdmittedCall, Status> {
        AdmittedCall::take(&self.limits, request, count.min(MAX_REQUESTS))
    }

    /// Reads a request, which must be answered before `deadline`. Its error is logged.
    fn decode(
        &self,
        request: &pb::GetRegistryCredentialsRequest,
        admitted: &AdmittedCall,
        deadline: Instant,
    ) -> Result<(CredentialRequest, ErrorContext), Status> {
        let request = decode::credential_request(&self.broker, &admitted.context, request);
        let (request, context) = request.map_err(|error| admitted.fail(&error))?;
        Ok((CredentialRequest { answer_by: Some(shortly_before(deadline)), ..request }, context))
    }

    /// Returns the credentials of one registry, or the logged error as a status.
    async fn credentials(
        &self,
        request: &pb::GetRegistryCredentialsRequest,
        admitted: &AdmittedCall,
        remember: Option<Remember>,
    ) -> Result<pb::RegistryCredentials, Status> {
        let deadline = admitted.call.deadline;
        let (request, context) = self.decode(request, admitted, deadline)?;
        let Some(remember) = remember else {
            let released = timeout_at(deadline, self.broker.registry_credentials(request)).await;
            return respond(released.unwrap_or(Err(BrokerError::Deadline)), &context, admitted);
        };
        // Boxed: it is needed seldom, and the future of every call would have room for it.
        let released = timeout_at(deadline, Box::pin(self.broker.repeatable_credentials(request))).await;
        let (released, hit) = match released.unwrap_or(Err(BrokerError::Deadline)) {
            Ok((released, hit)) => (Ok(released), hit),
            Err(error) => (Err(error), None),
        };
        let answer = respond(released, &context, admitted)?;
        if let Some(hit) = hit {
            remember.note(admitted.context.caller.clone(), hit, &answer);
        }
        Ok(answer)
    }

    /// Returns the results of a batch, in its order.
    async fn batch(
        &self,
        requests: &[pb::GetRegistryCredentialsRequest],
        admitted: &AdmittedCall,
    ) -> Vec<pb::BatchResult> {
        let deadline = admitted.part_deadline();
        let decoded = requests.iter().map(|request| self.decode(request, admitted, deadline));
        let mut requests = Vec::new();
        let contexts: Vec<_> = decoded
            .map(|decoded| {
                decoded.map(|(request, context)| {
                    requests.push(request);
                    context
                })
            })
            .collect();
        let mut released = self.broker.registry_credentials_of_each(&requests, deadline).await.into_iter();
        let result = |context: Result<ErrorContext, Status>| {
            let mut released = || released.next().unwrap_or(Err(BrokerError::Internal));
            encode::batch_result(context.and_then(|context| respond(released(), &context, admitted)))
        };
        contexts.into_iter().map(result).collect()
    }
}

/// Returns the message of a released credential, or the logged error as a status.
fn respond(
    released: Result<Released, BrokerError>,
    context: &ErrorContext,
    admitted: &AdmittedCall,
) -> Result<pb::RegistryCredentials, Status> {
    let released = released.map_err(|error| to_status(&error, context, &admitted.call))?;
    let span = Span::current();
    tracing::record_all!(span, registry = released.host, cache_status = ?released.found.status);
    Ok(encode::credentials(released))
}

#[tonic::async_trait]
impl RegistryCredentialsService for RegistryCredentials {
    async fn get_registry_credentials(
        &self,
        mut request: Request<pb::GetRegistryCredentialsRequest>,
    ) -> Result<Response<pb::GetRegistryCredentialsResponse>, Status> {
        let admitted = self.take(&mut request, 1)?;
        let remember = request.extensions_mut().remove();
        let credentials = self.credentials(request.get_ref(), &admitted, remember).await?;
        Ok(admitted.respond(pb::GetRegistryCredentialsResponse { credentials: Some(credentials) }))
    }

    async fn batch_get_registry_credentials(
        &self,
        mut request: Request<pb::BatchGetRegistryCredentialsRequest>,
    ) -> Result<Response<pb::BatchGetRegistryCredentialsResponse>, Status> {
        let count = request.get_ref().requests.len();
        let admitted = self.take(&mut request, count)?;
        let requests = &request.get_ref().requests;
        if requests.is_empty() || requests.len() > MAX_REQUESTS {
            // The codec does not read requests beyond one too many.
            let number = if requests.is_empty() { "none" } else { "more" };
            let problem = format!("a batch holds 1 to {MAX_REQUESTS} requests, this one {number}");
            return Err(admitted.fail(&BrokerError::RequestInvalid { field: "requests", problem }));
        }
        let results = self.batch(requests, &admitted).await;
        Ok(admitted.respond(pb::BatchGetRegistryCredentialsResponse { results }))
    }

    type WatchRegistryCredentialsStream = watch::Events;

    async fn watch_registry_credentials(
        &self,
        mut request: Request<pb::WatchRegistryCredentialsRequest>,
    ) -> Result<Response<watch::Events>, Status> {
        let count = request.get_ref().requests.len();
        let admitted = self.take(&mut request, count)?;
        let call = Arc::clone(&admitted.call);
        let front = (&self.broker, &self.limits);
        let events = watch::events(front, admitted, request.get_ref(), self.watch_age);
        events.map(Response::new).map_err(|error| to_status(&error, &ErrorContext::default(), &call))
    }

    async fn list_registries(
        &self,
        mut request: Request<pb::ListRegistriesRequest>,
    ) -> Result<Response<pb::ListRegistriesResponse>, Status> {
        let weight = listing::weight(request.get_ref());
        let admitted = self.take(&mut request, weight)?;
        let page = listing::page(&self.broker, &admitted.context.caller, request.get_ref());
        page.map(|page| admitted.respond(page)).map_err(|error| admitted.fail(&error))
    }

    async fn get_caller_identity(
        &self,
        mut request: Request<pb::GetCallerIdentityRequest>,
    ) -> Result<Response<pb::GetCallerIdentityResponse>, Status> {
        let admitted = self.take(&mut request, 1)?;
        let caller = &admitted.context.caller;
        Ok(admitted.respond(pb::GetCallerIdentityResponse {
            principal: caller.to_string(),
            proof: caller.proof().to_owned(),
            grant_ids: self.broker.grants_of(caller),
            grants_configured: !self.broker.is_open(),
            aws_credential_problems: self.broker.identity_problems(caller),
        }))
    }
}
