//! The AWS API: `GetAuthorizationToken` of ECR and ECR Public, for programs that know how to ask AWS and nothing else.
//!
//! `AWS_ENDPOINT_URL_ECR` leads them here. Their signatures cannot be checked, for they are made with secrets of theirs, and so what
//! lets a caller in is a secret in the path of that URL. The listener is on loopback, so that it need not leave this host; a program that
//! goes by `HTTP_PROXY` sends it to the proxy all the same, unless `NO_PROXY` names 127.0.0.1 and localhost.

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::future::join_all;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use self::refusal::refuse;
use crate::api::request::{self, BODY_TIMEOUT, MAX_DURATION, default_region};
use crate::aws_wire::{self, AwsError, AwsRequest, AwsResponse, CredentialScope, JSON_CONTENT_TYPE, ecr};
use crate::broker::{Broker, CredentialRequest, Released, RequestContext};
use crate::caller::Caller;
use crate::credential::USERNAME;
use crate::error::BrokerError;
use crate::limits::{Admission, Limits, Origin, RetryAfter};
use crate::quoted::Quoted;
use crate::registry::{AccountId, EndpointVariant, PrivateRegistry, Region, Registry};
use crate::request_id::RequestId;

mod refusal;
mod secret;

pub use self::secret::Secret;

/// What stands before the secret in a path.
pub const PREFIX: &str = "/t/";
/// By this the broker's own calls to AWS are known.
const OWN_CALL: &str = "app/ecr-broker";

/// AWS's API over a broker. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct AwsApi {
    broker: Arc<Broker>,
    limits: Limits,
    secret: Arc<Secret>,
}

impl AwsApi {
    /// The API for whoever has the secret, within limits.
    #[must_use]
    pub fn new(broker: Arc<Broker>, limits: Limits, secret: Arc<Secret>) -> Self {
        Self { broker, limits, secret }
    }

    /// Answers one request. When `force_shutdown` is cancelled, one that is still waiting gets an error.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        force_shutdown: &CancellationToken,
    ) -> Response<Full<Bytes>> {
        let id = RequestId::random();
        let outcome =
            request::run(self.serve(request, id), Instant::now() + MAX_DURATION, force_shutdown.clone()).await;
        let outcome = outcome.unwrap_or_else(|error| Err(refuse(&error, None, id)));
        let answer = outcome.map_or_else(AwsResponse::json_error, |output| AwsResponse::json(&output));
        answer.into_http(&id.to_string())
    }

    async fn serve(&self, request: Request<Incoming>, id: RequestId) -> Result<Value, AwsError> {
        let (mut head, body) = request.into_parts();
        self.authenticate(&mut head, id)?;
        let body = timeout(BODY_TIMEOUT, aws_wire::read_body(body)).await.unwrap_or_else(|_| Err(late()))?;
        let call = AwsRequest { head, body, id: id.to_string() };
        refuse_own(&call)?;
        match call.target().filter(|_| is_json(&call)) {
            Some(ecr::PRIVATE_TOKEN) => self.private_tokens(&call, id).await,
            Some(ecr::PUBLIC_TOKEN) => self.public_token(&call, id).await,
            other => Err(unknown_operation(other)),
        }
    }

    /// Whether the call has the secret. Nothing behind this sees its path.
    ///
    /// Whoever has it is let in, however many have not: of these all have one address, and a secret that nobody guesses needs no limit.
    /// The limit is of what is said about them.
    fn authenticate(&self, head: &mut Parts, id: RequestId) -> Result<(), AwsError> {
        let address = std::mem::take(&mut head.uri);
        let shown = address.path().strip_prefix(PREFIX).unwrap_or_default();
        if self.secret.is(shown.strip_suffix('/').unwrap_or(shown)) {
            return Ok(());
        }
        let listened = self.limits.check_origin(Origin::AwsApi).map_err(|RetryAfter(retry_after)| {
            BrokerError::CallerRateLimited {
                what: "this call, and too many others, came with a wrong secret",
                retry_after,
            }
        });
        listened.map_err(|error| refuse(&error, None, id))?;
        self.limits.record_failure(Origin::AwsApi);
        tracing::info!(request_id = %id, "a call of the AWS API was refused: its path does not have the secret");
        Err(AwsError::forbidden("AccessDeniedException", format!("{NO_SECRET} (request id {id})")))
    }

    /// The tokens of the accounts that the call names, in their order; without any that of the registry that AWS gives the broker.
    /// One that cannot be had fails the call, as at AWS, but each is waited for, so that all that is denied is on record; what is on record
    /// as released is then more than was given, never less.
    async fn private_tokens(&self, call: &AwsRequest, id: RequestId) -> Result<Value, AwsError> {
        let accounts = ecr::registry_ids(call)?;
        let region = self.region(call, id)?;
        let accounts = accounts.map_or_else(|| vec![None], |accounts| accounts.into_iter().map(Some).collect());
        let _admission = self.admit(accounts.len(), id)?;
        let tokens = accounts.into_iter().map(|account| self.private_token(account, region.clone(), id));
        let tokens = join_all(tokens).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(ecr::output(tokens))
    }

    async fn private_token(
        &self,
        account: Option<AccountId>,
        region: Region,
        id: RequestId,
    ) -> Result<Value, AwsError> {
        // ECR names plain hosts only.
        let registry = PrivateRegistry::new(account, region, EndpointVariant::default());
        let registry = registry.map_err(|error| refuse(&BrokerError::registry("registryIds", &error), None, id))?;
        let released = self.release(Registry::Private(registry), id).await?;
        let end = released.found.credential.expires();
        Ok(ecr::private_authorization(&token(&released), end, &released.host))
    }

    async fn public_token(&self, call: &AwsRequest, id: RequestId) -> Result<Value, AwsError> {
        call.json::<Value>()?;
        let _admission = self.admit(1, id)?;
        let released = self.release(Registry::PUBLIC, id).await?;
        Ok(ecr::output(ecr::public_authorization(&token(&released), released.found.credential.expires())))
    }

    /// The region that the call is signed for, else the broker's own.
    fn region(&self, call: &AwsRequest, id: RequestId) -> Result<Region, AwsError> {
        if call.head.headers.contains_key(AUTHORIZATION) {
            return CredentialScope::of(call).map(|scope| scope.region);
        }
        default_region(&self.broker, "region", "sign the request").map_err(|error| refuse(&error, None, id))
    }

    /// For as long as it takes to put an answer together. One that is not taken is its connection's affair, of which there are so many.
    fn admit(&self, count: usize, id: RequestId) -> Result<Admission, AwsError> {
        request::admit(&self.limits, &Caller::AwsApi, count).map_err(|error| refuse(&error, None, id))
    }

    async fn release(&self, registry: Registry, id: RequestId) -> Result<Released, AwsError> {
        let host = registry.host();
        let context = RequestContext { caller: Caller::AwsApi, id, trace_id: None };
        let released = self.broker.registry_credentials(CredentialRequest::new(context, registry.into())).await;
        released.map_err(|error| refuse(&error, host.as_deref(), id))
    }
}

const NO_SECRET: &str = "the path of this endpoint does not have the secret of the broker's AWS API: AWS_ENDPOINT_URL_ECR has to be http://127.0.0.1:PORT/t/SECRET, with what is in the file that the broker's server.aws_api_secret_file names";

/// As AWS writes it.
fn token(released: &Released) -> Zeroizing<String> {
    let password = released.found.credential.password().expose();
    let clear = Zeroizing::new(format!("{USERNAME}:{password}"));
    Zeroizing::new(BASE64.encode(clear.as_bytes()))
}

/// A page in a browser cannot send this to another site without asking first.
fn is_json(call: &AwsRequest) -> bool {
    call.header(&CONTENT_TYPE).is_some_and(|content| content.starts_with(JSON_CONTENT_TYPE))
}

/// A broker that asks itself, or two that ask each other, would wait until all give up.
fn refuse_own(call: &AwsRequest) -> Result<(), AwsError> {
    if call.header(&USER_AGENT).is_some_and(|agent| agent.split(' ').any(|word| word == OWN_CALL)) {
        return Err(AwsError::bad_request(
            "AccessDeniedException",
            "this is the call of an ecr-broker, whose AWS endpoint (aws.ecr_endpoint, AWS_ENDPOINT_URL_ECR) leads to the AWS API of one; it has to lead to AWS",
        ));
    }
    Ok(())
}

fn unknown_operation(target: Option<&str>) -> AwsError {
    let asked = target.map_or_else(|| "this request".to_owned(), |target| Quoted(target).to_string());
    AwsError::bad_request(
        "UnknownOperationException",
        format!(
            "{asked} is not answered here: this is ecr-broker, which answers GetAuthorizationToken of ECR and ECR Public (JSON 1.1) and nothing else. For other operations unset AWS_ENDPOINT_URL_ECR and AWS_ENDPOINT_URL_ECR_PUBLIC (or the services section of the AWS profile), so that AWS is asked"
        ),
    )
}

fn late() -> AwsError {
    AwsError::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", "the request's body did not come in time")
}
