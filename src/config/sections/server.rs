//! `[server]`, `[server.tls]` and `[authentication]`: listeners, connections and who may call.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::issuers;
use crate::address::ListenAddress;
use crate::authn::tls;
use crate::config::model::{AwsApi, Json, Ops, Server};
use crate::config::reader::Reader;
use crate::config::settings::{self, Authentication, Tls};
use crate::environment::{WORKER_THREADS, worker_threads_problem};
use crate::quoted::Quoted;
use crate::server::{self, SocketAccess};

pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Server {
    let settings::Server {
        listen,
        socket_group,
        socket_mode,
        drain_timeout,
        drain_delay,
        max_connection_age,
        max_connections,
        max_connections_per_address,
        max_connections_per_uid,
        fast_path,
        proxy_protocol_from,
        ops_listen,
        ops_hosts,
        ops_allow_plaintext,
        json_listen,
        json_hosts,
        aws_api_listen,
        aws_api_secret_file,
        ops_max_keys,
    } = settings::Server::read(reader);
    check_worker_threads(reader);
    let tls = Tls::read(reader);
    let authentication = Authentication::read(reader);
    let aws_api = aws_api(aws_api_listen, aws_api_secret_file, reader);
    let ops = ops_listen.map(|listen| Ops { listen, hosts: ops_hosts, allow_plaintext: ops_allow_plaintext });
    let json = json_listen.map(|listen| Json { listen, hosts: json_hosts });
    let others = [
        aws_api.as_ref().map(|api| ListenAddress::Tcp(api.listen)),
        ops.as_ref().map(|ops| ops.listen.clone()),
        json.as_ref().map(|json| json.listen.clone()),
    ];
    Server {
        listen: with_activated(listen, &others, reader),
        socket: SocketAccess { mode: socket_mode, group: socket_group },
        loopback: authentication.loopback,
        fast_path,
        ops_max_keys,
        connections: server::Settings {
            drain_timeout,
            drain_delay,
            max_connection_age,
            max_connections,
            max_connections_per_address,
            max_connections_per_uid,
            proxy_protocol_from,
        },
        ops,
        json,
        aws_api,
        tls: tls_settings(tls, authentication, reader),
        issuers: issuers::read(reader),
    }
}

/// Reports a value over which tokio would panic.
fn check_worker_threads(reader: &mut Reader<'_>) {
    if let Some(problem) = reader.variable(WORKER_THREADS).and_then(worker_threads_problem) {
        reader.report_at(WORKER_THREADS.to_owned(), problem);
    }
}

/// Adds activated sockets, except those at the addresses of `others`, to the configured addresses; without configured addresses they
/// replace the default sockets.
///
/// systemd may pass several sockets with one address (`ReusePort=`); each is an endpoint.
fn with_activated(
    mut listen: Vec<ListenAddress>,
    others: &[Option<ListenAddress>],
    reader: &Reader<'_>,
) -> Vec<ListenAddress> {
    let is_further =
        |address: &&ListenAddress| !others.iter().flatten().any(|other| other == *address) && !listen.contains(address);
    let further: Vec<_> = reader.activated().iter().filter(is_further).cloned().collect();
    listen.extend(further);
    listen
}

/// Its callers show a secret. A value that was misread is reported already, and does not count as missing.
fn aws_api(listen: Option<SocketAddr>, secret_file: Option<PathBuf>, reader: &mut Reader<'_>) -> Option<AwsApi> {
    let (listen_setting, file_setting) = (settings::Server::aws_api_listen(), settings::Server::aws_api_secret_file());
    match (listen, secret_file) {
        (Some(listen), Some(secret_file)) => return Some(AwsApi { listen, secret_file }),
        (Some(_), None) if reader.find(&file_setting.meta).is_none() => {
            let problem =
                "needs a secret; set server.aws_api_secret_file (--aws-api-secret-file), which is created if missing";
            reader.report(&listen_setting, problem);
        }
        (None, Some(_)) if reader.find(&listen_setting.meta).is_none() => {
            reader.report(&file_setting, "has no API to protect; set server.aws_api_listen or remove the file");
        }
        _ => {}
    }
    None
}

fn tls_settings(tls: Tls, authentication: Authentication, reader: &mut Reader<'_>) -> Option<tls::Settings> {
    check_revocations(&authentication, reader);
    let Authentication { client_ca: trust_domains, client_dns: dns_names, client_crl: revocations, loopback: _ } =
        authentication;
    match tls {
        Tls { certificate: Some(certificate), key: Some(key) } => {
            return Some(tls::Settings { certificate, key, trust_domains, dns_names, revocations });
        }
        Tls { certificate: None, key: Some(_) } => {
            reader.report(&Tls::key(), "has no certificate; set server.tls.certificate");
        }
        Tls { certificate: Some(_), key: None } => {
            reader.report(&Tls::certificate(), "has no key; set server.tls.key");
        }
        Tls { certificate: None, key: None } => {
            let problem = "client certificates need TLS; set server.tls.certificate and server.tls.key";
            if !trust_domains.is_empty() {
                reader.report(&Authentication::client_ca(), problem);
            }
            if !dns_names.is_empty() {
                reader.report(&Authentication::client_dns(), problem);
            }
        }
    }
    None
}

/// Reports a revocation list that would never be used: its name is misspelt, or has no roots.
fn check_revocations(authentication: &Authentication, reader: &mut Reader<'_>) {
    let Authentication { client_ca, client_dns, client_crl, .. } = authentication;
    let has_roots = |name: &str| {
        client_ca.keys().any(|domain| domain.as_str() == name) || client_dns.keys().any(|dns| dns.to_string() == name)
    };
    for name in client_crl.keys().filter(|name| !has_roots(name)) {
        let problem = format!("{} is neither in client_ca nor in client_dns; correct it or remove it", Quoted(name));
        reader.report(&Authentication::client_crl(), &problem);
    }
}
