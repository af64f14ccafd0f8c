//! The Security Token Service: caller identity, the two ways to assume a role, and web identity tokens.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::assume_role::AssumeRole;
use super::call::AuthenticatedCall;
use super::fault;
use super::parameter::required;
use super::principal::{Principal, SessionTerms};
use super::query::{self, Form, Xml};
use super::service::Service;
use super::simulated_aws::SimulatedAws;
use super::web_identity::{self, WebIdentityToken};
use crate::aws_wire::{AwsError, AwsRequest, AwsResponse, CredentialScope};

const VERSION: &str = "2011-06-15";

const ACTIONS: [Action; 4] = [
    Action { name: "GetCallerIdentity", signed: true, perform: get_caller_identity },
    Action { name: "AssumeRole", signed: true, perform: assume_role },
    Action { name: "AssumeRoleWithWebIdentity", signed: false, perform: assume_role_with_web_identity },
    Action { name: "GetWebIdentityToken", signed: true, perform: get_web_identity_token },
];

/// Malformed bodies.
const GARBAGE: [&[u8]; 6] = [
    b"",
    b"{}",
    b"\xff\xfe\x00\x01",
    b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    b"<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Creden",
    b"<NoSuchResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><NoSuchResult/></NoSuchResponse>",
];

struct Action {
    name: &'static str,
    signed: bool,
    perform: fn(&SimulatedAws, &AuthenticatedCall, &Form) -> Result<Xml, AwsError>,
}

pub(super) async fn respond(aws: &SimulatedAws, request: &AwsRequest) -> AwsResponse {
    serve(aws, request).await.unwrap_or_else(|error| query::error(&error, &request.id))
}

async fn serve(aws: &SimulatedAws, request: &AwsRequest) -> Result<AwsResponse, AwsError> {
    let form = Form::of(request);
    let action = action(&form)?;
    let scope = if action.signed { Some(scope(request, &form)?) } else { None };
    let call = AuthenticatedCall {
        service: Service::Sts,
        operation: action.name,
        principal: aws.principal(scope.as_ref()),
        region: scope.map(|scope| scope.region),
        endpoint: request.endpoint(),
    };
    aws.record(&call);
    if let Some(fault) = fault::inject(aws, &call, &GARBAGE).await? {
        return Ok(fault);
    }
    let result = (action.perform)(aws, &call, &form)?;
    Ok(query::success(action.name, &result, &request.id))
}

fn action(form: &Form) -> Result<&'static Action, AwsError> {
    let name = form.get("Action").unwrap_or_default();
    let version = form.get("Version").unwrap_or("NO_VERSION_SPECIFIED");
    let action = ACTIONS.iter().find(|action| action.name == name && version == VERSION);
    action.ok_or_else(|| {
        AwsError::bad_request("InvalidAction", format!("Could not find operation {name} for version {version}"))
    })
}

/// Returns the scope of the signature. A presigned request has it among its parameters.
fn scope(request: &AwsRequest, form: &Form) -> Result<CredentialScope, AwsError> {
    let scope = match form.get("X-Amz-Credential") {
        Some(credential) => CredentialScope::parse(credential),
        None => CredentialScope::of(request),
    };
    scope?.expect(Service::Sts.name())
}

/// Rejects the keys of a session that has ended. Other actions accept them: tests step the clock here and not that of the SDK.
fn get_caller_identity(aws: &SimulatedAws, call: &AuthenticatedCall, _: &Form) -> Result<Xml, AwsError> {
    let Principal { account, arn, id, session, .. } = &call.principal;
    if session.as_ref().is_some_and(|session| aws.now() >= session.ends) {
        return Err(AwsError::forbidden("ExpiredToken", "The security token included in the request is expired"));
    }
    Ok(Xml::default().text("Arn", arn).text("UserId", id).text("Account", account.as_str()))
}

fn assume_role(aws: &SimulatedAws, call: &AuthenticatedCall, form: &Form) -> Result<Xml, AwsError> {
    let assume = AssumeRole::parse(form, &call.principal, |role| aws.may_tag(role))?;
    Ok(open_session(aws, &assume).optional_text("SourceIdentity", assume.source_identity.as_deref()))
}

fn assume_role_with_web_identity(aws: &SimulatedAws, call: &AuthenticatedCall, form: &Form) -> Result<Xml, AwsError> {
    let assume = AssumeRole::parse(form, &call.principal, |role| aws.may_tag(role))?;
    let claims = claims(required(form, "WebIdentityToken")?)?;
    let claim = |name: &str| claims.get(name).and_then(Value::as_str);
    Ok(open_session(aws, &assume)
        .optional_text("SubjectFromWebIdentityToken", claim("sub"))
        .optional_text("Audience", claim("aud"))
        .optional_text("Provider", claim("iss")))
}

fn get_web_identity_token(aws: &SimulatedAws, call: &AuthenticatedCall, form: &Form) -> Result<Xml, AwsError> {
    let WebIdentityToken { text, end } = web_identity::token(aws, call, form)?;
    let expiration = humantime::format_rfc3339_seconds(end).to_string();
    Ok(Xml::default().text("WebIdentityToken", &text).text("Expiration", &expiration))
}

/// Returns the claims of a web identity token; none if its middle part is not JSON. The issuer is not verified either.
fn claims(token: &str) -> Result<Value, AwsError> {
    let parts: Vec<&str> = token.split('.').collect();
    let [_header, claims, _signature] = parts[..] else {
        return Err(AwsError::bad_request("InvalidIdentityToken", "The ID Token provided is not a valid JWT."));
    };
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap_or_default();
    Ok(serde_json::from_slice(&claims).unwrap_or_default())
}

fn open_session(aws: &SimulatedAws, assume: &AssumeRole) -> Xml {
    let (name, source_identity) = (&assume.session_name, assume.source_identity.clone());
    let mut principal = Principal::session(&assume.role, name, source_identity, assume.tags.clone());
    let (issued, policy) = (aws.now(), assume.policy.clone());
    let ends = issued + assume.duration;
    principal.session = Some(SessionTerms { policy, issued, ends });
    let user = Xml::default().text("AssumedRoleId", &principal.id).text("Arn", &principal.arn);
    let credentials = aws.sessions().open(principal);
    let expiration = humantime::format_rfc3339_seconds(ends).to_string();
    let credentials = Xml::default()
        .text("AccessKeyId", &credentials.access_key)
        .text("SecretAccessKey", &credentials.secret_key)
        .text("SessionToken", &credentials.session_token)
        .text("Expiration", &expiration);
    let size = assume.packed_policy_size.map(|percent| percent.to_string());
    Xml::default()
        .element("AssumedRoleUser", &user)
        .element("Credentials", &credentials)
        .optional_text("PackedPolicySize", size.as_deref())
}
