//! `CreateBearerToken` of AWS Sign-In: short-lived tokens for private registries (experimental).
//!
//! The SDK's crate has no such operation yet, so this module writes its requests and reads its answers. All else is the SDK's: the
//! signature, the HTTP client with its proxies and certificates, and the timeouts. The model is that of botocore 1.44.8. How ECR
//! takes the token is an assumption; see `docs/aws-evidence.md`.

use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::static_resolver::{
    StaticAuthSchemeOptionResolver, StaticAuthSchemeOptionResolverParams,
};
use aws_smithy_runtime_api::client::auth::{AuthSchemeOptionResolverParams, SharedAuthSchemeOptionResolver};
use aws_smithy_runtime_api::client::identity::SharedIdentityResolver;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError, SensitiveOutput};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::SigningName;
use aws_types::region::{Region, SigningRegion};
use aws_types::request_id::RequestId as _;
use serde_json::json;
use tracing::warn;

use self::answer::{BearerToken, read, read_error};
use super::endpoints::Override;
use super::error::{
    CallContext, Refusal, invalid_response, misconfigured, record_request_id, safe_name, upstream_error,
};
use super::http::ResponseLimit;
use crate::clock::Clock;
use crate::credential::{Credential, SourceName, USERNAME};
use crate::error::{AwsRefusal, FailureClass, Stage, UpstreamError};
use crate::moment::Moment;
use crate::registry::{Partition, PrivateRegistry};

mod answer;

const SERVICE: &str = "signin";
const OPERATION: &str = "CreateBearerToken";
const TARGET: &str = "/v1/token?x-amz-token-request-type=bearer";
/// The service that takes the tokens.
const RESOURCE: &str = "ecr.amazonaws.com";

const NO_HOST: &str = "AWS Sign-In has no known endpoint in the registry's partition; remove max_lifetime from the \
                       grant, or set aws.signin_endpoint";
const NO_FIPS: &str = "AWS Sign-In has no FIPS endpoint for tokens; remove max_lifetime from the grant, or set \
                       aws.signin_endpoint to a FIPS endpoint";

/// Requests a token of a lifetime for the registry. AWS may issue a shorter one.
pub(super) async fn fetch(
    sdk: &SdkConfig,
    endpoint: Option<Override>,
    (registry, lifetime): (&PrivateRegistry, Duration),
    clock: &dyn Clock,
) -> Result<Credential, UpstreamError> {
    let region = registry.region().as_str();
    let url = url(sdk, endpoint, registry)?;
    let context = CallContext { clock, region, sts_region: sdk.region().map(AsRef::as_ref) };
    let asked = clock.now();
    let answer = operation(sdk, &url, region).invoke(lifetime).await;
    let Answer { token, request_id } = answer.map_err(|error| explained(upstream_error(&error, context)))?;
    record_request_id(request_id.as_deref());
    let BearerToken { secret, expires_in } = token.map_err(invalid_response)?;
    if expires_in > lifetime {
        return Err(invalid_response("the token lasts longer than requested"));
    }
    let received = clock.now();
    let issued = issued(asked, received);
    let credential = Credential::new(SourceName::Aws, USERNAME, &secret, issued, issued + expires_in, received);
    let credential = credential.map_err(|error| invalid_response(&error.to_string()))?;
    Ok(credential.for_account(registry.account()).with_upstream_request_id(request_id))
}

/// Returns the earliest time at which the token may have been issued. Its life begins at AWS, before the answer arrives. The wall clock
/// may be set back meanwhile, and the other stands still while the machine sleeps: the longer time counts.
fn issued(asked: Moment, received: Moment) -> SystemTime {
    received.before(received.since(asked)).wall
}

/// Returns the URL of the service; makes no call where the service is not.
fn url(sdk: &SdkConfig, endpoint: Option<Override>, registry: &PrivateRegistry) -> Result<String, UpstreamError> {
    let needs_fips = registry.variant().fips || sdk.use_fips() == Some(true);
    match endpoint {
        Some(endpoint) if needs_fips && !endpoint.is_fips => Err(misconfigured(NO_FIPS)),
        Some(endpoint) => Ok(endpoint.url),
        None if needs_fips => Err(misconfigured(NO_FIPS)),
        None => {
            let region = registry.region();
            let host = host(region.as_str(), region.partition()).ok_or_else(|| misconfigured(NO_HOST))?;
            Ok(format!("https://{host}"))
        }
    }
}

/// Returns the host of a region; `None`: the model has a host there, and nothing says that it makes tokens.
fn host(region: &str, partition: Partition) -> Option<String> {
    let domain = match partition {
        Partition::Aws => "oauth.signin.aws",
        Partition::AwsUsGov => "signin.amazonaws-us-gov.com",
        Partition::AwsCn => "signin.amazonaws.cn",
        Partition::AwsEusc => "signin.amazonaws-eusc.eu",
        Partition::AwsIso | Partition::AwsIsoB | Partition::AwsIsoE | Partition::AwsIsoF => return None,
    };
    Some(format!("{region}.{domain}"))
}

/// Adds what an operator can do about a refusal. A validation error is one of the settings: each part of the request is fixed or
/// checked before the call. Failures of the identity are not of this service.
fn explained(failure: UpstreamError) -> UpstreamError {
    let (class, refusal) = match (failure.stage, failure.code.as_deref()) {
        (Stage::Credential, Some("AccessDeniedException" | "AccessDenied")) => {
            (failure.class, AwsRefusal::CreateBearerToken)
        }
        (Stage::Credential, Some("ValidationException")) => (FailureClass::Misconfigured, AwsRefusal::ShortLivedToken),
        _ => return failure,
    };
    warn!(code = failure.code, fix = Refusal::from(refusal).fix(), "short-lived token not minted");
    UpstreamError { class, refusal: Some(refusal), ..failure }
}

/// The answer to a call. Its token cannot be printed.
struct Answer {
    token: Result<BearerToken, &'static str>,
    request_id: Option<Box<str>>,
}

/// An error of the service.
#[derive(Debug)]
struct SigninError(ErrorMetadata);

fn operation(sdk: &SdkConfig, url: &str, region: &str) -> Operation<Duration, Answer, SigninError> {
    let mut operation = Operation::builder()
        .service_name(SERVICE)
        .operation_name(OPERATION)
        .endpoint_url(url)
        // As of all calls, `AdmissionControl` is the only retry layer.
        .no_retry()
        .interceptor(ResponseLimit)
        .runtime_plugin(signing(sdk, region));
    if let Some(client) = sdk.http_client() {
        operation = operation.http_client(client);
    }
    if let Some(sleep) = sdk.sleep_impl() {
        operation = operation.sleep_impl(sleep);
    }
    if let Some(time) = sdk.time_source() {
        operation = operation.time_source(time);
    }
    if let Some(timeouts) = sdk.timeout_config() {
        operation = operation.timeout_config(timeouts.clone());
    }
    operation.serializer(request).deserializer(response).build()
}

/// Returns the settings of the signature, by the identity of `sdk`. The answer is not logged at any level.
fn signing(sdk: &SdkConfig, region: &str) -> StaticRuntimePlugin {
    let mut config = Layer::new("signing");
    config.store_put(SensitiveOutput);
    config.store_put(AuthSchemeOptionResolverParams::from(StaticAuthSchemeOptionResolverParams::new()));
    config.store_put(SigV4OperationSigningConfig {
        region: Some(SigningRegion::from(Region::new(region.to_owned()))),
        name: Some(SigningName::from_static(SERVICE)),
        ..SigV4OperationSigningConfig::default()
    });
    let scheme = SharedAuthSchemeOptionResolver::new(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]));
    let mut components = RuntimeComponentsBuilder::new("signing")
        .with_auth_scheme_option_resolver(Some(scheme))
        .with_auth_scheme(SigV4AuthScheme::new())
        .with_identity_cache(sdk.identity_cache());
    if let Some(provider) = sdk.credentials_provider() {
        components.set_identity_resolver(SCHEME_ID, SharedIdentityResolver::new(provider));
    }
    StaticRuntimePlugin::new().with_config(config.freeze()).with_runtime_components(components)
}

fn request(lifetime: Duration) -> Result<HttpRequest, BoxError> {
    let body = json!({ "grant_type": "client_credentials", "resource": RESOURCE, "duration": lifetime.as_secs() });
    let request = http::Request::post(TARGET).header(http::header::CONTENT_TYPE, "application/json");
    Ok(request.body(SdkBody::from(body.to_string()))?.try_into()?)
}

fn response(response: &HttpResponse) -> Result<Answer, OrchestratorError<SigninError>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        let request_id = response.request_id().and_then(safe_name);
        return Ok(Answer { token: read(body), request_id });
    }
    let header = response.headers().get("x-amzn-errortype");
    Err(OrchestratorError::operation(SigninError(read_error(header, body))))
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

impl fmt::Display for SigninError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code().unwrap_or("an error without a code"))
    }
}

impl Error for SigninError {}

impl ProvideErrorMetadata for SigninError {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_of_a_token_begins_before_the_answer_whatever_the_clocks_do() {
        let hours = |hours| Duration::from_hours(hours);
        let start = Moment { wall: SystemTime::UNIX_EPOCH + hours(1_000), steady: hours(10) };
        let second = Duration::from_secs(1);
        assert_eq!(issued(start, start.after(second)), start.wall);
        let set_back = Moment { wall: start.wall - hours(6), steady: start.steady + second };
        assert_eq!(issued(start, set_back), set_back.wall - second);
        let slept = Moment { wall: start.wall + hours(6), steady: start.steady + second };
        assert_eq!(issued(start, slept), start.wall);
    }

    #[test]
    fn host_follows_the_partition() {
        for (region, expected) in [
            ("eu-west-1", Some("eu-west-1.oauth.signin.aws")),
            ("us-gov-west-1", Some("us-gov-west-1.signin.amazonaws-us-gov.com")),
            ("cn-north-1", Some("cn-north-1.signin.amazonaws.cn")),
            ("eusc-de-east-1", Some("eusc-de-east-1.signin.amazonaws-eusc.eu")),
            ("us-iso-east-1", None),
            ("us-isob-east-1", None),
            ("eu-isoe-west-1", None),
            ("us-isof-south-1", None),
        ] {
            let parsed: crate::registry::Region = region.parse().unwrap();
            assert_eq!(host(region, parsed.partition()).as_deref(), expected, "{region}");
        }
    }

    #[test]
    fn refusals_say_what_an_operator_can_do() {
        let of = |class, code: &str| {
            let failure = UpstreamError { code: Some(code.into()), ..UpstreamError::aws(class) };
            let failure = explained(failure);
            (failure.class, failure.to_string())
        };
        let (class, text) = of(FailureClass::InvalidResponse, "ValidationException");
        assert_eq!(class, FailureClass::Misconfigured);
        assert!(text.starts_with("AWS refuses short-lived tokens of the registry (ValidationException); "), "{text}");
        let (class, text) = of(FailureClass::Denied, "AccessDeniedException");
        assert_eq!(class, FailureClass::Denied);
        assert!(text.ends_with("allow signin:CreateBearerToken in the policy of the broker or of its role"), "{text}");
        assert_eq!(of(FailureClass::Throttled, "TooManyRequestsError").0, FailureClass::Throttled);
        let of_role = UpstreamError {
            stage: Stage::Identity,
            code: Some("AccessDenied".into()),
            ..UpstreamError::aws(FailureClass::Denied)
        };
        assert_eq!(explained(of_role.clone()), of_role, "STS denied the role");
    }
}
