//! The operations: tokens of private registries and of the public registry.

use std::sync::Arc;

use data_encoding::BASE64;
use http::header::AUTHORIZATION;
use opentelemetry::trace::TraceId;
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::error::to_aws_error;
use super::trace::record_release;
use crate::api::request::{self, default_region};
use crate::aws_wire::{AwsError, AwsRequest, CredentialScope, ecr};
use crate::broker::{Broker, CredentialRequest, Released, RequestContext};
use crate::caller::Caller;
use crate::credential::USERNAME;
use crate::error::BrokerError;
use crate::hops::Hops;
use crate::limits::{Admission, Limits};
use crate::registry::{AccountId, EndpointVariant, PrivateRegistry, Region, Registry};
use crate::rejections::RejectionRecorder;
use crate::request_id::RequestId;

/// A request, as its tokens need it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) id: RequestId,
    /// The client's trace, recorded or not.
    pub(super) trace: Option<TraceId>,
    /// Time at which the request gets the cause of its wait, if that is known.
    pub(super) answer_by: Instant,
    pub(super) deadline: Instant,
}

/// `GetAuthorizationToken` of both services. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    broker: Arc<Broker>,
    limits: Limits,
    rejections: RejectionRecorder,
}

impl Tokens {
    pub(super) fn new(broker: Arc<Broker>, limits: Limits, rejections: RejectionRecorder) -> Self {
        Self { broker, limits, rejections }
    }

    /// Returns the tokens of the accounts that a request names, in their order; without any, the token of the registry that AWS
    /// returns for the broker's own account.
    ///
    /// One failed token fails the request, as at AWS. All are awaited, so that every denial is recorded. The audit log then has
    /// more releases than the caller received, never fewer.
    pub(super) async fn private(&self, request: &AwsRequest, call: Call) -> Result<Value, AwsError> {
        let accounts = ecr::registry_ids(request)?;
        let region = self.region(request, call.id)?;
        let accounts = accounts.map_or_else(|| vec![None], |accounts| accounts.into_iter().map(Some).collect());
        let _admission = self.admit(accounts.len(), call.id)?;
        let registries = accounts.into_iter().map(|account| self.plain(account, region.clone(), call.id));
        let registries = registries.collect::<Result<Vec<_>, _>>()?;
        let requests: Vec<_> = registries.iter().map(|registry| Self::request(registry.clone(), call)).collect();
        let released = self.broker.registry_credentials_of_each(&requests, call.deadline).await;
        if let [Ok(released)] = &*released {
            record_release(released);
        }
        let tokens = registries.iter().zip(released).map(|(registry, released)| {
            let released = released.map_err(|error| self.error(&error, registry.host().as_deref(), call.id))?;
            Ok(ecr::private_authorization(&token(&released), released.found.credential.expires(), &released.host))
        });
        // Each failure is recorded, also after the first.
        Ok(ecr::output(tokens.collect::<Vec<_>>().into_iter().collect::<Result<Vec<_>, _>>()?))
    }

    /// Returns the token of the public registry.
    pub(super) async fn public(&self, request: &AwsRequest, call: Call) -> Result<Value, AwsError> {
        request.json::<Value>()?;
        let _admission = self.admit(1, call.id)?;
        let released = self.broker.registry_credentials(Self::request(Registry::PUBLIC, call)).await;
        let released = released.map_err(|error| self.error(&error, Registry::PUBLIC.host().as_deref(), call.id))?;
        record_release(&released);
        Ok(ecr::output(ecr::public_authorization(&token(&released), released.found.credential.expires())))
    }

    /// Returns a private registry with a plain host: ECR's response names no other.
    fn plain(&self, account: Option<AccountId>, region: Region, id: RequestId) -> Result<Registry, AwsError> {
        let registry = PrivateRegistry::new(account, region, EndpointVariant::default());
        let invalid = |error| self.error(&BrokerError::registry("registryIds", &error), None, id);
        registry.map(Registry::Private).map_err(invalid)
    }

    /// Returns the region that a request is signed for, else the broker's own.
    fn region(&self, request: &AwsRequest, id: RequestId) -> Result<Region, AwsError> {
        if request.head.headers.contains_key(AUTHORIZATION) {
            let region = CredentialScope::of(request)?.region;
            let invalid = |error| self.error(&BrokerError::registry("region", &error), None, id);
            return self.broker.check_region(&region).map(|()| region).map_err(invalid);
        }
        default_region(&self.broker, "region", "sign the request").map_err(|error| self.error(&error, None, id))
    }

    /// Admits a request until its response is assembled. A response that a client does not read is bounded by the connection limit.
    fn admit(&self, count: usize, id: RequestId) -> Result<Admission, AwsError> {
        request::admit(&self.limits, &Caller::AwsApi, count).map_err(|error| self.error(&error, None, id))
    }

    fn request(registry: Registry, call: Call) -> CredentialRequest {
        let context = RequestContext {
            caller: Caller::AwsApi,
            token: None,
            id: call.id,
            trace_id: call.trace.map(|trace| trace.to_string()),
            hops: Hops::default(),
        };
        CredentialRequest { answer_by: Some(call.answer_by), ..CredentialRequest::new(context, registry.into()) }
    }

    fn error(&self, error: &BrokerError, registry: Option<&str>, id: RequestId) -> AwsError {
        to_aws_error(error, registry, id, &self.rejections)
    }
}

/// Returns the token in AWS's form: base64 of username and password.
fn token(released: &Released) -> Zeroizing<String> {
    let password = released.found.credential.password().expose();
    let clear = Zeroizing::new(format!("{USERNAME}:{}", &*password));
    Zeroizing::new(BASE64.encode(clear.as_bytes()))
}
