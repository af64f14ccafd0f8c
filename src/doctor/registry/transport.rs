//! A registry that cannot be reached: why, and what to do.

use std::error::Error;

use reqwest::Url;

use super::super::report::Finding;
use crate::client::{TlsProblem, error_chain};
use crate::exit_code::Exit;

const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

pub(super) fn unreachable(error: &reqwest::Error, url: &Url) -> Finding {
    // The URL is told already.
    let cause = error.source().map_or_else(|| error.to_string(), error_chain);
    let cause = cause.trim_start_matches("client error (Connect): ");
    let broken = |what: &str| Finding::fail(Exit::Unavailable, format!("{url}: {what}"));
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
