//! The Security Token Service: who am I, the two ways to assume a role, and a token that proves to others who one is.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::query::{self, Form, Xml};
use super::role::{self, required};
use super::session::Principal;
use super::simulated_aws::{AuthenticatedCall, Service, SimulatedAws};
use super::trouble;
use super::web_identity::{self, Token};
use crate::aws_wire::{Answer, Call, Refusal, Scope};

const VERSION: &str = "2011-06-15";

const ACTIONS: [Action; 4] = [
    Action { name: "GetCallerIdentity", signed: true, perform: get_caller_identity },
    Action { name: "AssumeRole", signed: true, perform: assume_role },
    Action { name: "AssumeRoleWithWebIdentity", signed: false, perform: assume_role_with_web_identity },
    Action { name: "GetWebIdentityToken", signed: true, perform: get_web_identity_token },
];

/// Bodies that are no answer.
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
    perform: fn(&SimulatedAws, &AuthenticatedCall, &Form) -> Result<Xml, Refusal>,
}

pub(super) async fn answer(world: &SimulatedAws, call: &Call) -> Answer {
    match serve(world, call).await {
        Ok(answer) => answer,
        Err(refusal) => query::refuse(&refusal, &call.id),
    }
}

async fn serve(world: &SimulatedAws, call: &Call) -> Result<Answer, Refusal> {
    let form = Form::of(call);
    let action = action(&form)?;
    let scope = if action.signed { Some(scope(call, &form)?) } else { None };
    let arrival = AuthenticatedCall {
        service: Service::Sts,
        operation: action.name,
        principal: world.principal(scope.as_ref()),
        region: scope.map(|scope| scope.region),
        endpoint: call.endpoint(),
    };
    world.record(&arrival);
    if let Some(fault) = trouble::strike(world, &arrival, &GARBAGE).await? {
        return Ok(fault);
    }
    let result = (action.perform)(world, &arrival, &form)?;
    Ok(query::answer(action.name, &result, &call.id))
}

fn action(form: &Form) -> Result<&'static Action, Refusal> {
    let name = form.get("Action").unwrap_or_default();
    let version = form.get("Version").unwrap_or("NO_VERSION_SPECIFIED");
    let action = ACTIONS.iter().find(|action| action.name == name && version == VERSION);
    action.ok_or_else(|| {
        Refusal::bad_request("InvalidAction", format!("Could not find operation {name} for version {version}"))
    })
}

/// The scope of the signature, which a presigned call has among its parameters.
fn scope(call: &Call, form: &Form) -> Result<Scope, Refusal> {
    let scope = match form.get("X-Amz-Credential") {
        Some(credential) => Scope::parse(credential),
        None => Scope::of(call),
    };
    scope?.expect(Service::Sts.name())
}

// The signature is that of every action, of which others can fail.
#[expect(clippy::unnecessary_wraps, reason = "other actions can fail")]
fn get_caller_identity(_: &SimulatedAws, arrival: &AuthenticatedCall, _: &Form) -> Result<Xml, Refusal> {
    let Principal { account, arn, id, .. } = &arrival.principal;
    Ok(Xml::default().text("Arn", arn).text("UserId", id).text("Account", account.as_str()))
}

fn assume_role(world: &SimulatedAws, arrival: &AuthenticatedCall, form: &Form) -> Result<Xml, Refusal> {
    let request = role::Request::of(form, &arrival.principal)?;
    Ok(open_session(world, &request).optional_text("SourceIdentity", request.source_identity.as_deref()))
}

fn assume_role_with_web_identity(
    world: &SimulatedAws,
    arrival: &AuthenticatedCall,
    form: &Form,
) -> Result<Xml, Refusal> {
    let request = role::Request::of(form, &arrival.principal)?;
    let claims = claims(required(form, "WebIdentityToken")?)?;
    let claim = |name: &str| claims.get(name).and_then(Value::as_str);
    Ok(open_session(world, &request)
        .optional_text("SubjectFromWebIdentityToken", claim("sub"))
        .optional_text("Audience", claim("aud"))
        .optional_text("Provider", claim("iss")))
}

fn get_web_identity_token(world: &SimulatedAws, arrival: &AuthenticatedCall, form: &Form) -> Result<Xml, Refusal> {
    let Token { text, end } = web_identity::token(world, arrival, form)?;
    let expiration = humantime::format_rfc3339_seconds(end).to_string();
    Ok(Xml::default().text("WebIdentityToken", &text).text("Expiration", &expiration))
}

/// What a web identity token claims; nothing where its middle part is not JSON, for its issuer is not asked either.
fn claims(token: &str) -> Result<Value, Refusal> {
    let parts: Vec<&str> = token.split('.').collect();
    let [_header, claims, _signature] = parts[..] else {
        return Err(Refusal::bad_request("InvalidIdentityToken", "The ID Token provided is not a valid JWT."));
    };
    let claims = BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap_or_default();
    Ok(serde_json::from_slice(&claims).unwrap_or_default())
}

fn open_session(world: &SimulatedAws, request: &role::Request) -> Xml {
    let principal = Principal::session(&request.role, &request.session_name, request.source_identity.clone());
    let user = Xml::default().text("AssumedRoleId", &principal.id).text("Arn", &principal.arn);
    let credentials = world.sessions().open(principal);
    let expiration = humantime::format_rfc3339_seconds(world.now() + request.duration).to_string();
    let credentials = Xml::default()
        .text("AccessKeyId", &credentials.access_key)
        .text("SecretAccessKey", &credentials.secret_key)
        .text("SessionToken", &credentials.session_token)
        .text("Expiration", &expiration);
    let size = request.packed_policy_size.map(|percent| percent.to_string());
    Xml::default()
        .element("AssumedRoleUser", &user)
        .element("Credentials", &credentials)
        .optional_text("PackedPolicySize", size.as_deref())
}
