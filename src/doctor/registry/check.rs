//! Shows the registry its credential.

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

use super::super::deadline::Deadline;
use super::super::reason;
use super::super::report::{Finding, Outcome};
use super::transport::unreachable;
use super::url::RegistryUrl;
use crate::client::{Client, Query, RegistryCredentials};
use crate::exit_code::Exit;
use crate::helper::registry_auth::authorization;

/// A visit to a registry.
#[derive(Debug)]
pub(in crate::doctor) struct RegistryCheck<'a, 'b> {
    pub(in crate::doctor) client: &'a mut Client<'b>,
    pub(in crate::doctor) query: &'a Query,
    /// The URL to ask instead of the registry's own.
    pub(in crate::doctor) url: Option<&'a RegistryUrl>,
    pub(in crate::doctor) deadline: Deadline,
}

/// What a registry answers, without what it says.
struct Answer {
    status: StatusCode,
    /// Where it would send us.
    elsewhere: Option<String>,
}

impl RegistryCheck<'_, '_> {
    /// Shows the credential; where the registry itself refuses it, the broker is told, and what it gives instead is shown.
    pub(in crate::doctor) async fn run(self, credentials: &RegistryCredentials) -> Outcome<()> {
        let url = match self.url(credentials) {
            Ok(url) => url,
            Err(problem) => return (Finding::fail(Exit::Failure, problem).fix("see the registry's name"), None),
        };
        match self.show(credentials, &url).await {
            Ok(answer) if is_refusal(answer.status) && !is_own(credentials, &url) => {
                let note = format!(
                    "the broker was not told, for this is not https://{}: what is refused here may be good there",
                    credentials.registry
                );
                (refused(&url, answer.status).note(note).fix(why_refused(credentials, answer.status)), None)
            }
            Ok(answer) if is_refusal(answer.status) => self.again(credentials, &url, answer.status).await,
            Ok(answer) => judge(&answer, &url),
            Err(error) => (unreachable(&error, &url), None),
        }
    }

    /// The broker fetches another one, at most once a minute.
    async fn again(self, first: &RegistryCredentials, url: &Url, status: StatusCode) -> Outcome<()> {
        self.client.set_timeout(self.deadline.step_timeout());
        let other = match self.client.credentials_once(self.query, &first.credential_id).await {
            Ok(other) => other,
            Err(failure) => {
                let note = format!("the broker was told, and has no other: {failure}");
                let fix = reason::fix(&failure, reason::registry_of(first).as_ref());
                return (refused(url, status).note(note).fix(fix).fix(why_refused(first, status)), None);
            }
        };
        match self.show(&other, url).await {
            Ok(answer) if is_refusal(answer.status) => {
                let note = format!("the broker was told, and gave {}: it is refused too", other.credential_id);
                (refused(url, status).note(note).fix(why_refused(first, status)), None)
            }
            Ok(answer) => {
                let (finding, given) = judge(&answer, url);
                let note = format!(
                    "it refused {} ({status}); the broker was told, and gave {} instead, to everybody from now on",
                    first.credential_id, other.credential_id
                );
                (finding.note(note), given)
            }
            Err(error) => (unreachable(&error, url), None),
        }
    }

    fn url(&self, credentials: &RegistryCredentials) -> Result<Url, String> {
        let base = match self.url {
            Some(base) => base.url().clone(),
            None => format!("https://{}", credentials.registry).parse().map_err(|error| format!("{error}"))?,
        };
        base.join("/v2/").map_err(|error| error.to_string())
    }

    /// No redirect is followed: the credential is for this host.
    async fn show(&self, credentials: &RegistryCredentials, url: &Url) -> reqwest::Result<Answer> {
        let mut builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .timeout(self.deadline.step_timeout())
            .connect_timeout(self.deadline.step_timeout());
        if url.scheme() == "http" {
            // In the clear it stays on this host.
            builder = builder.no_proxy();
        }
        let mut request = builder.build()?.get(url.clone());
        if let Ok(mut value) = HeaderValue::from_str(&authorization(credentials)) {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let answer = request.send().await?;
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let elsewhere = location.and_then(|location| url.join(location).ok()?.host_str().map(str::to_owned));
        Ok(Answer { status: answer.status(), elsewhere })
    }
}

/// Another host's refusal would cost everybody a credential that is good.
fn is_own(credentials: &RegistryCredentials, url: &Url) -> bool {
    let own: Result<Url, _> = format!("https://{}", credentials.registry).parse();
    own.is_ok_and(|own| own.origin() == url.origin())
}

fn refused(url: &Url, status: StatusCode) -> Finding {
    Finding::fail(Exit::Denied, format!("{url} refuses the credential ({status})"))
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn judge(Answer { status, elsewhere }: &Answer, url: &Url) -> Outcome<()> {
    if status.is_success() {
        return (Finding::ok(format!("{url} takes the credential ({})", status.as_u16())), Some(()));
    }
    if let Some(host) = elsewhere.as_ref().filter(|_| status.is_redirection()) {
        let found = format!("{url} leads to {host} ({status}); the credential was not sent on");
        return (
            Finding::fail(Exit::Failure, found)
                .fix("see who answers in the registry's place: a proxy, or a login page"),
            None,
        );
    }
    let exit = if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS {
        Exit::Unavailable
    } else {
        Exit::Failure
    };
    let fix = if exit == Exit::Unavailable {
        "try again; where it stays so, see AWS's health page for that region"
    } else {
        "see who answers in the registry's place: a proxy, or a host that is no registry"
    };
    (Finding::fail(exit, format!("{url} answers {status}")).fix(fix), None)
}

fn why_refused(credentials: &RegistryCredentials, status: StatusCode) -> String {
    let account = if credentials.account_id.is_empty() { "the registry" } else { &credentials.account_id };
    let policy =
        if status == StatusCode::FORBIDDEN { ", and the policy of the VPC endpoint, if there is one" } else { "" };
    format!(
        "see that the identity behind profile {} still exists and may use {account} (repository policies, SCPs){policy}; a broker with a simulated AWS (--simulate) gives what no registry takes",
        credentials.profile
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_is_told_of_the_registry_s_own_refusal_and_of_no_other_s() {
        let credentials = RegistryCredentials { registry: "public.ecr.aws".into(), ..RegistryCredentials::default() };
        for (url, own) in [
            ("https://public.ecr.aws/v2/", true),
            ("https://PUBLIC.ecr.aws:443/v2/", true),
            ("https://public.ecr.aws:8443/v2/", false),
            ("http://public.ecr.aws/v2/", false),
            ("https://vpce-1.dkr.ecr.eu-central-1.vpce.amazonaws.com/v2/", false),
        ] {
            assert_eq!(is_own(&credentials, &url.parse().unwrap()), own, "{url}");
        }
    }
}
