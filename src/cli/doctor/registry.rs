//! The registry itself: whether it can be reached, and takes the credential.

use std::error::Error;
use std::net::IpAddr;
use std::process::ExitCode;

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

use super::report::{Finding, Outcome};
use super::{Time, reason};
use crate::client::{Client, Query, RegistryCredentials, TlsProblem, error_chain};
use crate::helper::bazel::authorization;

/// As other commands end where something is not allowed.
const REFUSED: u8 = 4;
/// As they end where nothing can be reached, or may work later.
const UNREACHABLE: u8 = 5;
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// A visit to a registry.
#[derive(Debug)]
pub(super) struct Visit<'a, 'b> {
    pub(super) client: &'a mut Client<'b>,
    pub(super) query: &'a Query,
    /// Instead of the registry's own.
    pub(super) base: Option<&'a Url>,
    pub(super) time: Time,
}

/// What a registry answers, without what it says.
struct Answer {
    status: StatusCode,
    /// Where it would send us.
    elsewhere: Option<String>,
}

/// Where a registry may be: a credential goes over TLS, or stays on this host.
pub(super) fn base(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("it is no URL: {error}"))?;
    let host = url.host_str().unwrap_or_default();
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a user or a password in it: the credential is the broker's".to_owned());
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("it has more than a host and a port: /v2/ is asked there".to_owned());
    }
    let own = host == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if own => Ok(url),
        _ => Err("a credential is sent there: it is https://HOST, or http:// and a loopback address".to_owned()),
    }
}

impl Visit<'_, '_> {
    /// Shows the credential; where the registry itself refuses it, the broker is told, and what it gives instead is shown.
    pub(super) async fn pay(self, credentials: &RegistryCredentials) -> Outcome<()> {
        let url = match self.url(credentials) {
            Ok(url) => url,
            Err(problem) => return (Finding::broken(1, problem).fix("see the registry's name"), None),
        };
        match self.show(credentials, &url).await {
            Ok(answer) if is_refusal(answer.status) && !is_own(credentials, &url) => {
                let note = format!(
                    "the broker was not told, for this is not https://{}: what is refused here may be good there",
                    credentials.registry
                );
                (refused(&url, answer.status).noting(note).fix(why_refused(credentials, answer.status)), None)
            }
            Ok(answer) if is_refusal(answer.status) => self.again(credentials, &url, answer.status).await,
            Ok(answer) => judge(&answer, &url),
            Err(error) => (unreached(&error, &url), None),
        }
    }

    /// The broker fetches another one, at most once a minute.
    async fn again(self, first: &RegistryCredentials, url: &Url, status: StatusCode) -> Outcome<()> {
        self.client.set_timeout(self.time.of_step());
        let other = match self.client.credentials_once(self.query, &first.credential_id).await {
            Ok(other) => other,
            Err(failure) => {
                let note = format!("the broker was told, and has no other: {failure}");
                let fix = reason::fix(&failure, reason::registry_of(first).as_ref());
                return (refused(url, status).noting(note).fix(fix).fix(why_refused(first, status)), None);
            }
        };
        match self.show(&other, url).await {
            Ok(answer) if is_refusal(answer.status) => {
                let note = format!("the broker was told, and gave {}: it is refused too", other.credential_id);
                (refused(url, status).noting(note).fix(why_refused(first, status)), None)
            }
            Ok(answer) => {
                let (finding, given) = judge(&answer, url);
                let note = format!(
                    "it refused {} ({status}); the broker was told, and gave {} instead, to everybody from now on",
                    first.credential_id, other.credential_id
                );
                (finding.noting(note), given)
            }
            Err(error) => (unreached(&error, url), None),
        }
    }

    fn url(&self, credentials: &RegistryCredentials) -> Result<Url, String> {
        let base = match self.base {
            Some(base) => base.clone(),
            None => format!("https://{}", credentials.registry).parse().map_err(|error| format!("{error}"))?,
        };
        base.join("/v2/").map_err(|error| error.to_string())
    }

    /// No redirect is followed: the credential is for this host.
    async fn show(&self, credentials: &RegistryCredentials, url: &Url) -> reqwest::Result<Answer> {
        let mut builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .timeout(self.time.of_step())
            .connect_timeout(self.time.of_step());
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
    Finding::broken(REFUSED, format!("{url} refuses the credential ({status})"))
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn judge(Answer { status, elsewhere }: &Answer, url: &Url) -> Outcome<()> {
    if status.is_success() {
        return (Finding::good(format!("{url} takes the credential ({})", status.as_u16())), Some(()));
    }
    if let Some(host) = elsewhere.as_ref().filter(|_| status.is_redirection()) {
        let found = format!("{url} leads to {host} ({status}); the credential was not sent on");
        return (
            Finding::broken(1, found).fix("see who answers in the registry's place: a proxy, or a login page"),
            None,
        );
    }
    let code = if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS { UNREACHABLE } else { 1 };
    let fix = if code == UNREACHABLE {
        "try again; where it stays so, see AWS's health page for that region"
    } else {
        "see who answers in the registry's place: a proxy, or a host that is no registry"
    };
    (Finding::broken(code, format!("{url} answers {status}")).fix(fix), None)
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

fn unreached(error: &reqwest::Error, url: &Url) -> Finding {
    // The URL is told already.
    let cause = error.source().map_or_else(|| error.to_string(), error_chain);
    let cause = cause.trim_start_matches("client error (Connect): ");
    let broken = |what: &str| Finding::broken(ExitCode::from(UNREACHABLE), format!("{url}: {what}"));
    if let Some(problem) = TlsProblem::find_in(error) {
        return of_tls(broken(&problem.to_string()), &problem);
    }
    if error.is_timeout() {
        return broken("no answer in time").fix(format!(
            "open the way to port 443: security groups and network ACLs, a route or NAT, or the VPC endpoints ecr.dkr and s3; or see why DNS does not answer{}",
            proxies()
        ));
    }
    if cause.contains("dns error") {
        return broken(cause).fix(format!(
            "have this machine's DNS know the host: resolv.conf, or private DNS of the VPC endpoint ecr.dkr{}",
            proxies()
        ));
    }
    broken(cause)
        .fix(format!("see that port 443 of it can be reached from here: firewalls, VPC endpoints{}", proxies()))
}

fn of_tls(finding: Finding, problem: &TlsProblem) -> Finding {
    finding.fix(match problem {
        TlsProblem::UnknownAuthority => {
            "where a proxy looks into TLS, put its authority's certificate into the system's, or name a file with it as SSL_CERT_FILE (docker has its own: /etc/docker/certs.d/HOST/ca.crt)"
        }
        TlsProblem::Expired | TlsProblem::NotYetValid => "set this machine's clock; where it is right, see who answers in the registry's place",
        TlsProblem::NameMismatch => "see who answers in the registry's place: DNS, a VPC endpoint, a proxy",
        TlsProblem::NotTls
        | TlsProblem::NoHttp2
        | TlsProblem::Incompatible(_)
        | TlsProblem::ClientCertificateRejected(_)
        | TlsProblem::Other(_) => {
            "see what stands between here and the registry: a proxy, or another program on that port"
        }
    })
}

/// Which variables have a part in it; their values may hold a password.
fn proxies() -> String {
    #[expect(clippy::disallowed_methods, reason = "reqwest reads them, and not clap")]
    let set = |name: &&&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let set: Vec<_> = PROXIES.iter().filter(set).copied().collect();
    if set.is_empty() {
        return "; where only a proxy leads out, set HTTPS_PROXY, for docker's daemon too".to_owned();
    }
    format!("; {} is set, so see that proxy, and NO_PROXY", set.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_over_tls_or_stays_on_this_host() {
        for (text, taken) in [
            ("https://vpce-1.dkr.ecr.eu-central-1.vpce.amazonaws.com", true),
            ("http://127.0.0.1:5000", true),
            ("http://[::1]:5000/", true),
            ("http://localhost:5000", true),
            ("http://10.0.0.1:5000", false),
            ("http://127.0.0.1.example", false),
            ("ftp://127.0.0.1", false),
            ("https://user:s3cret@registry.example", false),
            ("https://registry.example/proxy", false),
            ("https://registry.example/v2/", false),
            ("https://registry.example?x=1", false),
            ("https://registry.example#x", false),
            ("registry", false),
        ] {
            assert_eq!(base(text).is_ok(), taken, "{text}");
        }
    }

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
