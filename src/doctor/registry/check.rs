//! Sends the credential to the registry, and reports a refusal to the broker.

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

use super::super::deadline::Deadline;
use super::super::finding::{Finding, StepResult};
use super::super::problem::Problem;
use super::super::{known_registry, reason};
use super::transport::unreachable;
use super::url::RegistryUrl;
use crate::client::{Client, Query, RegistryCredentials};
use crate::helper::registry_auth::authorization;
use crate::proxy::Proxies;

/// A check of one registry.
#[derive(Debug)]
pub(in crate::doctor) struct RegistryCheck<'a, 'b> {
    pub(in crate::doctor) client: &'a mut Client<'b>,
    pub(in crate::doctor) query: &'a Query,
    /// The URL to use instead of the registry's own.
    pub(in crate::doctor) url: Option<&'a RegistryUrl>,
    pub(in crate::doctor) deadline: Deadline,
}

/// A registry's answer, without its body.
struct RegistryAnswer {
    status: StatusCode,
    /// The host of a redirect.
    redirect: Option<String>,
}

impl RegistryCheck<'_, '_> {
    /// Sends the credential. If the registry itself refuses it, reports that to the broker and sends the replacement.
    pub(in crate::doctor) async fn run(self, credentials: &RegistryCredentials) -> StepResult<()> {
        let url = match self.v2_url(credentials) {
            Ok(url) => url,
            Err(error) => {
                let finding = Finding::fail(Problem::RegistryNameInvalid, error);
                return (finding.fix("correct the name of the registry"), None);
            }
        };
        match self.send(credentials, &url).await {
            Ok(RegistryAnswer { status, .. }) if is_refusal(status) && !is_own_url(credentials, &url) => {
                let note = format!(
                    "not reported to the broker: https://{} may accept the credential that this URL refuses",
                    credentials.registry
                );
                (with_refusal_fixes(refused(&url, status).note(note), credentials, status), None)
            }
            Ok(RegistryAnswer { status, .. }) if is_refusal(status) => self.replace(credentials, &url, status).await,
            Ok(answer) => answer_finding(&answer, &url),
            Err(error) => (unreachable(&error, &url), None),
        }
    }

    /// Reports the refusal to the broker, which fetches a replacement at most once a minute.
    async fn replace(self, refused_one: &RegistryCredentials, url: &Url, status: StatusCode) -> StepResult<()> {
        self.client.set_timeout(self.deadline.step_timeout());
        let first = &refused_one.credential_id;
        let replacement = match self.client.credentials_once(self.query, first).await {
            Ok(replacement) => replacement,
            Err(failure) => {
                let note = format!("reported to the broker, which has no other credential: {failure}");
                let fix = reason::fix(&failure, known_registry::of_credential(refused_one).as_ref());
                let finding = refused(url, status).note(note).fix(fix);
                return (with_refusal_fixes(finding, refused_one, status), None);
            }
        };
        let second = &replacement.credential_id;
        match self.send(&replacement, url).await {
            Ok(answer) if is_refusal(answer.status) => {
                let note = format!("reported to the broker; its new credential {second} is refused too");
                (with_refusal_fixes(refused(url, status).note(note), refused_one, status), None)
            }
            Ok(answer) => {
                let (finding, value) = answer_finding(&answer, url);
                let note = format!(
                    "{first} was refused ({status}) and reported to the broker, which replaced it for every caller with {second}"
                );
                (finding.note(note), value)
            }
            Err(error) => (unreachable(&error, url), None),
        }
    }

    fn v2_url(&self, credentials: &RegistryCredentials) -> Result<Url, String> {
        let base = match self.url {
            Some(base) => base.url().clone(),
            None => own_url(credentials)?,
        };
        base.join("/v2/").map_err(|error| error.to_string())
    }

    /// Follows no redirect: the credential belongs to this host.
    async fn send(&self, credentials: &RegistryCredentials, url: &Url) -> reqwest::Result<RegistryAnswer> {
        let limit = self.deadline.step_timeout();
        let mut builder = reqwest::Client::builder().redirect(Policy::none()).timeout(limit).connect_timeout(limit);
        // A proxy would receive the credential of an http URL unencrypted, on another host.
        builder = if url.scheme() == "http" {
            builder.no_proxy()
        } else {
            builder.proxy(Proxies::from_environment().0.for_reqwest())
        };
        let mut request = builder.build()?.get(url.clone());
        if let Ok(mut value) = HeaderValue::from_str(&authorization(credentials)) {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let answer = request.send().await?;
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let redirect = location.and_then(|location| url.join(location).ok()?.host_str().map(str::to_owned));
        Ok(RegistryAnswer { status: answer.status(), redirect })
    }
}

fn own_url(credentials: &RegistryCredentials) -> Result<Url, String> {
    format!("https://{}", credentials.registry).parse().map_err(|error| format!("{error}"))
}

/// Returns whether the URL is the registry's own. Only then is a refusal reported: a refusal by another host must not make the broker
/// drop a valid credential for every caller.
fn is_own_url(credentials: &RegistryCredentials, url: &Url) -> bool {
    own_url(credentials).is_ok_and(|own| own.origin() == url.origin())
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn refused(url: &Url, status: StatusCode) -> Finding {
    Finding::fail(Problem::CredentialRefused, format!("{url} ({status})"))
}

fn with_refusal_fixes(finding: Finding, credentials: &RegistryCredentials, status: StatusCode) -> Finding {
    let account = if credentials.account_id.is_empty() { "the registry" } else { &credentials.account_id };
    let profile = &credentials.profile;
    let fix =
        format!("check that the identity of profile {profile} exists and may use {account}: repository policies, SCPs");
    let policy = if status == StatusCode::FORBIDDEN { ", the policy of the VPC endpoint" } else { "" };
    let simulated = "or use a broker without --simulate: no real registry accepts simulated credentials";
    finding.fix(format!("{fix}{policy}")).fix(simulated)
}

fn answer_finding(RegistryAnswer { status, redirect }: &RegistryAnswer, url: &Url) -> StepResult<()> {
    if status.is_success() {
        return (Finding::ok(format!("{url} accepts the credential ({})", status.as_u16())), Some(()));
    }
    if let Some(host) = redirect.as_ref().filter(|_| status.is_redirection()) {
        let facts = format!("{url} to {host} ({status}); the credential was not sent there");
        let finding = Finding::fail(Problem::RegistryRedirects, facts);
        return (finding.fix("find out what answers in the registry's place: a proxy, or a login page"), None);
    }
    let (problem, fix) = if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS {
        (Problem::RegistryUnavailable, "retry; if it persists, check AWS's health page for that region")
    } else {
        let fix = "find out what answers in the registry's place: a proxy, or a host that is not a registry";
        (Problem::RegistryAnswerUnexpected, fix)
    };
    (Finding::fail(problem, format!("{url} answers {status}")).fix(fix), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_reported_for_the_own_url_of_the_registry_only() {
        let credentials = RegistryCredentials { registry: "public.ecr.aws".into(), ..RegistryCredentials::default() };
        for (url, own) in [
            ("https://public.ecr.aws/v2/", true),
            ("https://PUBLIC.ecr.aws:443/v2/", true),
            ("https://public.ecr.aws:8443/v2/", false),
            ("http://public.ecr.aws/v2/", false),
            ("https://vpce-1.dkr.ecr.eu-central-1.vpce.amazonaws.com/v2/", false),
        ] {
            assert_eq!(is_own_url(&credentials, &url.parse().unwrap()), own, "{url}");
        }
    }
}
