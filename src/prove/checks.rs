//! The checks, in their order. Each has a control: a refusal proves nothing if the same request is refused anyway.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::kit::{End, Kit, Steps, code};
use super::manual;
use super::report::{Outcome, Verdict};
use super::sandbox::{PREFIX, SESSION};
use crate::credential::{Credential, CredentialKey, Lifetime, ProfileName, Revision};
use crate::profile::{Access, Profile};
use crate::registry::{EndpointVariant, PrivateRegistry, Registry};
use crate::source::aws::account::Session;

/// Time after the end of a session before its token is tried: clocks differ.
const AFTER_END: Duration = Duration::from_mins(1);
/// Lifetime of a bearer token, the shortest that AWS makes.
const BEARER: Duration = Duration::from_mins(5);
/// Pause between two questions whether a policy has taken effect, and how many pauses there are.
const POLICY_PAUSE: Duration = Duration::from_secs(10);
const POLICY_PAUSES: u32 = 12;
/// Status of a registry that lets the caller look for an image that does not exist.
const PULL_ALLOWED: u16 = 404;
const PUSH_ALLOWED: u16 = 202;
const UNAUTHENTICATED: u16 = 401;
const DENIED: u16 = 403;

const KINDS: [(&str, EndpointVariant); 4] = [
    ("plain", EndpointVariant { fips: false, dual_stack: false }),
    ("fips", EndpointVariant { fips: true, dual_stack: false }),
    ("dual-stack", EndpointVariant { fips: false, dual_stack: true }),
    ("fips-dual-stack", EndpointVariant { fips: true, dual_stack: true }),
];

/// Runs all checks.
pub(super) async fn run(kit: &Kit, emit: &mut impl FnMut(&Outcome) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for (name, variant) in KINDS {
        emit(&endpoint(kit, name, variant).await.unwrap_or_else(|end| end))?;
    }
    emit(&narrowed_push(kit, TokenKind::Ecr).await.unwrap_or_else(|end| end))?;
    emit(&session_end(kit).await.unwrap_or_else(|end| end))?;
    emit(&revocation(kit).await.unwrap_or_else(|end| end))?;
    emit(&bearer_token(kit).await.unwrap_or_else(|end| end))?;
    emit(&narrowed_push(kit, TokenKind::Bearer).await.unwrap_or_else(|end| end))?;
    manual::all(kit.aws.region()).iter().try_for_each(emit)
}

async fn endpoint(kit: &Kit, name: &str, variant: EndpointVariant) -> Result<End, End> {
    let mut steps =
        Steps::new(format!("endpoint-{name}"), "FIPS and dual-stack hosts take tokens of their API endpoint");
    let account = kit.account(&mut steps).await?;
    let Ok(registry) = PrivateRegistry::new(Some(account), kit.aws.region().clone(), variant) else {
        return Err(steps.end(Verdict::Skipped, "the region has no such hosts"));
    };
    let token = kit.aws.token(None, &registry).await;
    let token = steps.token("request a token", token)?;
    let host = registry.host(account);
    let status = kit.ask(&mut steps, (&host, &format!("GET {host}/v2/")), (Method::GET, "/v2/"), &token).await?;
    Ok(verdict(&mut steps, status == 200, "the host takes the token", "the host refuses the token"))
}

async fn narrowed_push(kit: &Kit, kind: TokenKind) -> Result<End, End> {
    let (check, proves) = match kind {
        TokenKind::Ecr => ("narrowed-push", "a profile's session policy narrows its tokens (docs/authorization.md)"),
        TokenKind::Bearer => {
            ("bearer-narrowed", "a profile's session policy narrows its bearer tokens (docs/authorization.md)")
        }
    };
    let mut steps = Steps::new(check, proves);
    let role = role(kit, &mut steps)?;
    let place = Place::new(kit, &mut steps).await?;
    let wide = kit.aws.assume(role, None, SESSION).await;
    let wide = steps.call("assume the role", wide)?;
    let token = place.token(kit, &mut steps, (&wide, kind)).await?;
    if place.push(kit, &mut steps, &token).await? != PUSH_ALLOWED {
        return Err(steps.end(Verdict::Skipped, "the role may not push, so that a refusal proves nothing"));
    }
    let narrow = kit.aws.assume(role, narrowed(&place, kind), SESSION).await;
    let narrow = steps.call("assume the role with a session policy for pulls", narrow)?;
    let token = place.token(kit, &mut steps, (&narrow, kind)).await?;
    if place.pull(kit, &mut steps, &token).await? != PULL_ALLOWED {
        return Err(steps.end(Verdict::Skipped, "the narrowed token may not pull, so that a refusal proves nothing"));
    }
    let status = place.push(kit, &mut steps, &token).await?;
    Ok(verdict(&mut steps, status == DENIED, "the narrowed token pulls and cannot push", "the narrowed token pushes"))
}

async fn session_end(kit: &Kit) -> Result<End, End> {
    let mut steps = Steps::new("session-end", "a token outlives the session that made it: P5's 10.8 h need that");
    if !kit.request.session_end {
        return Err(steps.end(Verdict::Skipped, "needs --session-end: it takes 16 minutes"));
    }
    let role = role(kit, &mut steps)?;
    let place = Place::new(kit, &mut steps).await?;
    let session = kit.aws.assume(role, None, SESSION).await;
    let session = steps.call("assume the role for 900 s", session)?;
    let token = place.token(kit, &mut steps, (&session, TokenKind::Ecr)).await?;
    if place.pull(kit, &mut steps, &token).await? != PULL_ALLOWED {
        return Err(steps.end(Verdict::Skipped, "the role may not pull, so that a refusal proves nothing"));
    }
    (kit.pause)(SESSION + AFTER_END).await;
    match kit.aws.caller(Some(&session)).await {
        Err(error) if error.code.as_deref().is_some_and(|code| code.starts_with("ExpiredToken")) => {
            steps.add("ask STS who calls, by the session", code(&error), error.request_id);
        }
        called => {
            steps.call("ask STS who calls, by the session", called)?;
            return Err(steps.end(Verdict::Skipped, "the session has not ended, so that its token proves nothing"));
        }
    }
    let status = place.pull(kit, &mut steps, &token).await?;
    Ok(verdict(
        &mut steps,
        status == PULL_ALLOWED,
        "the token pulls after its session",
        "the token ended with its session",
    ))
}

async fn revocation(kit: &Kit) -> Result<End, End> {
    let mut steps = Steps::new("revocation", "a denial by aws:TokenIssueTime ends tokens (docs/security.md)");
    let role = role(kit, &mut steps)?;
    let place = Place::new(kit, &mut steps).await?;
    let session = kit.aws.assume(role, None, SESSION).await;
    let session = steps.call("assume the role", session)?;
    let token = place.token(kit, &mut steps, (&session, TokenKind::Ecr)).await?;
    if place.pull(kit, &mut steps, &token).await? != PULL_ALLOWED {
        return Err(steps.end(Verdict::Skipped, "the role may not pull, so that a refusal proves nothing"));
    }
    let set = kit.aws.set_repository_policy(&place.repository, denial(kit)).await;
    steps.call("deny older sessions by the repository's policy", set)?;
    for question in 0..=POLICY_PAUSES {
        if question > 0 {
            (kit.pause)(POLICY_PAUSE).await;
        }
        if place.pull(kit, &mut steps, &token).await? == DENIED {
            return Ok(steps.end(Verdict::Proven, "the registry refuses the token"));
        }
    }
    Ok(steps.end(Verdict::Refuted, "the registry accepts the token 2 minutes after the denial"))
}

/// The control is the same pull by a token of ECR.
async fn bearer_token(kit: &Kit) -> Result<End, End> {
    let mut steps = Steps::new("bearer-token", "ECR takes tokens of signin:CreateBearerToken (docs/authorization.md)");
    let place = Place::new(kit, &mut steps).await?;
    let token = kit.aws.token(None, &place.registry).await;
    let token = steps.token("request a token", token)?;
    if place.pull(kit, &mut steps, &token).await? != PULL_ALLOWED {
        return Err(steps.end(Verdict::Skipped, "the identity may not pull, so that a refusal proves nothing"));
    }
    let token = kit.aws.short_lived_token(None, (&place.registry, BEARER)).await;
    let token = steps.token("request a bearer token of 300 s", token)?;
    match place.pull(kit, &mut steps, &token).await? {
        PULL_ALLOWED => {}
        UNAUTHENTICATED | DENIED => return Err(steps.end(Verdict::Refuted, "the registry refuses the bearer token")),
        _ => return Err(steps.end(Verdict::Skipped, "the registry neither takes nor refuses the bearer token")),
    }
    if !kit.request.session_end {
        return Ok(steps.end(Verdict::Proven, "the registry takes the bearer token (its end: --session-end)"));
    }
    (kit.pause)(BEARER + AFTER_END).await;
    Ok(match place.pull(kit, &mut steps, &token).await? {
        UNAUTHENTICATED | DENIED => steps.end(Verdict::Proven, "the registry takes the bearer token until its end"),
        PULL_ALLOWED => steps.end(Verdict::Refuted, "the registry takes the bearer token after its end"),
        _ => steps.end(Verdict::Skipped, "the registry neither takes nor refuses the bearer token after its end"),
    })
}

/// Which service makes the tokens of a check.
#[derive(Debug, Clone, Copy)]
enum TokenKind {
    /// `GetAuthorizationToken` of ECR.
    Ecr,
    /// `CreateBearerToken` of AWS Sign-In.
    Bearer,
}

/// A repository at its registry.
struct Place {
    registry: PrivateRegistry,
    host: String,
    repository: String,
}

impl Place {
    async fn new(kit: &Kit, steps: &mut Steps) -> Result<Self, End> {
        let account = kit.account(steps).await?;
        let registry = PrivateRegistry::new(Some(account), kit.aws.region().clone(), EndpointVariant::default());
        let Ok(registry) = registry else { return Err(steps.end(Verdict::Skipped, "the region has no registries")) };
        let repository = kit.repository(steps).await?;
        Ok(Self { host: registry.host(account), registry, repository })
    }

    async fn token(
        &self,
        kit: &Kit,
        steps: &mut Steps,
        (session, kind): (&Session, TokenKind),
    ) -> Result<Credential, End> {
        match kind {
            TokenKind::Ecr => {
                let token = kit.aws.token(Some(session), &self.registry).await;
                steps.token("request a token by the session", token)
            }
            TokenKind::Bearer => {
                let token = kit.aws.short_lived_token(Some(session), (&self.registry, BEARER)).await;
                steps.token("request a bearer token of 300 s by the session", token)
            }
        }
    }

    async fn pull(&self, kit: &Kit, steps: &mut Steps, token: &Credential) -> Result<u16, End> {
        let path = format!("/v2/{}/manifests/none", self.repository);
        kit.ask(steps, (&self.host, "ask for an image that does not exist"), (Method::GET, &path), token).await
    }

    async fn push(&self, kit: &Kit, steps: &mut Steps, token: &Credential) -> Result<u16, End> {
        let path = format!("/v2/{}/blobs/uploads/", self.repository);
        kit.ask(steps, (&self.host, "start an upload"), (Method::POST, &path), token).await
    }
}

fn role<'a>(kit: &'a Kit, steps: &mut Steps) -> Result<&'a str, End> {
    kit.request
        .role
        .as_deref()
        .ok_or_else(|| steps.end(Verdict::Skipped, "needs --role: a role that may pull and push"))
}

/// Returns the session policy of a profile for pulls.
fn narrowed(place: &Place, kind: TokenKind) -> Option<String> {
    let pattern = format!("{PREFIX}*").parse().ok()?;
    let name = ProfileName::default_profile();
    let profile = Profile { access: Access::Pull, repositories: vec![pattern], ..Profile::of_parent(name.clone()) };
    let lifetime = if matches!(kind, TokenKind::Bearer) { Lifetime::new(Lifetime::LEAST) } else { None };
    let (registry, revision) = (Registry::Private(place.registry.clone()), Revision::default());
    profile.session_policy_of(&CredentialKey { registry, profile: name, revision, caller: None, lifetime })
}

/// Returns the repository policy that denies pulls to every session from before the next second.
fn denial(kit: &Kit) -> String {
    let before = humantime::format_rfc3339_seconds(kit.clock.now().wall + Duration::from_secs(1)).to_string();
    let statement = json!({
        "Sid": "revoke", "Effect": "Deny", "Principal": "*", "Action": ["ecr:BatchGetImage"],
        "Condition": { "DateLessThan": { "aws:TokenIssueTime": before } },
    });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

#[allow(clippy::unnecessary_box_returns, reason = "it ends a check as its error does, and errors are small")]
fn verdict(steps: &mut Steps, holds: bool, proven: &str, refuted: &str) -> End {
    if holds { steps.end(Verdict::Proven, proven) } else { steps.end(Verdict::Refuted, refuted) }
}
