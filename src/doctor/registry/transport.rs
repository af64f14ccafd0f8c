//! Findings for a registry that cannot be reached.

use std::error::Error;

use reqwest::Url;

use super::super::finding::Finding;
use super::super::problem::Problem;
use crate::client::{TlsProblem, error_chain};
use crate::environment;
use crate::proxy::{Proxies, ProxyError};

const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

pub(super) fn unreachable(error: &reqwest::Error, url: &Url) -> Finding {
    if let Some(problem) = TlsProblem::find_in(error) {
        return Finding::fail(Problem::RegistryTlsFailed, format!("{url}: {problem}")).fix(tls_fix(&problem));
    }
    if error.is_timeout() {
        return Finding::fail(Problem::RegistryTimeout, url.as_str())
            .fix("open the route to port 443: security groups, network ACLs, NAT, or the VPC endpoints ecr.dkr and s3; or check DNS")
            .fix(proxy_fix());
    }
    // The text of the error itself repeats the URL.
    let cause = error.source().map_or_else(|| error.to_string(), error_chain);
    let facts = format!("{url}: {}", cause.trim_start_matches("client error (Connect): "));
    let (problem, fix) = if cause.contains("dns error") {
        let fix = "add the host to this machine's DNS: resolv.conf, or private DNS of the VPC endpoint ecr.dkr";
        (Problem::RegistryNameUnresolved, fix)
    } else {
        (Problem::RegistryUnreachable, "open the route to its port 443: firewalls, VPC endpoints")
    };
    Finding::fail(problem, facts).fix(fix).fix(proxy_fix())
}

fn tls_fix(problem: &TlsProblem) -> &'static str {
    match problem {
        TlsProblem::UnknownAuthority => {
            "if a proxy inspects TLS, add its authority to the system's certificates or set SSL_CERT_FILE (docker: /etc/docker/certs.d/HOST/ca.crt)"
        }
        TlsProblem::Expired | TlsProblem::NotYetValid => {
            "set this machine's clock; if it is right, find out what answers in the registry's place"
        }
        TlsProblem::NameMismatch | TlsProblem::Nameless | TlsProblem::Authority | TlsProblem::NotForServers => {
            "find out what answers in the registry's place: DNS, a VPC endpoint, a proxy"
        }
        TlsProblem::NotTls
        | TlsProblem::HandshakeCut
        | TlsProblem::NoHttp2
        | TlsProblem::Incompatible(_)
        | TlsProblem::ClientCertificateRejected(_)
        | TlsProblem::KeyMismatch
        | TlsProblem::Other(_) => {
            "find out what is between here and the registry: a proxy, or another program on that port"
        }
    }
}

/// Names the proxy variables that are set, or the one that cannot be used. Their values can contain a password.
fn proxy_fix() -> String {
    if let Some(ProxyError { variable, problem }) = Proxies::from_environment().1.first() {
        return format!("or correct {variable}, which {problem}");
    }
    let is_set = |name: &&&str| environment::variable(name).is_some();
    let set: Vec<_> = PROXY_VARIABLES.iter().filter(is_set).copied().collect();
    if set.is_empty() {
        return "or, if only a proxy leads out, set HTTPS_PROXY, for docker's daemon too".to_owned();
    }
    format!("or check the proxy in {}, and NO_PROXY", set.join(" and "))
}
