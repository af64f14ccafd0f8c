//! Checks of who can reach the listeners: remote callers must be identified and their traffic encrypted.

use crate::address::ListenAddress;
use crate::authn::tls;
use crate::config::model::Config;
use crate::config::reader::Reader;
use crate::config::settings::Server;
use crate::trusted_file;

/// Nobody may come in who does not say who they are, and nothing secret goes over a network in the clear.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    if !config.server.issuers.is_empty() && config.policy.allows_everything() {
        reader.report_file("authentication.jwt: whoever has any token of these issuers would have everything; write grants, and enforce them (policy.mode)");
    }
    check_handed_sockets(config, reader);
    check_aws_api(config, reader);
    check_tcp(config, reader);
}

/// One port speaks one protocol.
fn check_aws_api(config: &Config, reader: &mut Reader<'_>) {
    let Some(api) = &config.server.aws_api else { return };
    if api.listen.port() != 0 && config.server.listen.contains(&ListenAddress::Tcp(api.listen)) {
        reader.report(&Server::aws_api_listen(), "it is in server.listen, too; give each its own port");
    }
}

/// The mode of a socket that the broker makes itself is 0660.
fn check_handed_sockets(config: &Config, reader: &mut Reader<'_>) {
    if !config.policy.allows_everything() {
        return;
    }
    for address in reader.handed() {
        let ListenAddress::Unix(path) = address else { continue };
        if trusted_file::is_writable_by_all(path) {
            reader.report_handed(&format!(
                "{address} can be connected to by everybody, who would have everything; give it SocketMode=0660, or write grants and enforce them"
            ));
        }
    }
}

fn check_tcp(config: &Config, reader: &mut Reader<'_>) {
    for address in config.server.listen.iter().filter(|address| matches!(address, ListenAddress::Tcp(_))) {
        let Some(problem) = problem_of(address, config) else { continue };
        if reader.handed().contains(address) {
            reader.report_handed(&problem);
        } else {
            reader.report(&Server::listen(), &problem);
        }
    }
}

fn problem_of(address: &ListenAddress, config: &Config) -> Option<String> {
    let has_tls = config.server.tls.is_some();
    let certificates = config.server.tls.as_ref().is_some_and(tls::Settings::knows_clients);
    let knows_clients = certificates || !config.server.issuers.is_empty();
    match (address.is_local(), has_tls, knows_clients) {
        (false, true, true) if config.policy.allows_everything() => Some(format!(
            "{address} can be reached from other hosts, and whoever has a certificate or token would have everything; write grants, and enforce them (policy.mode)"
        )),
        (_, true, true) | (true, _, true) => None,
        (true, ..) if config.server.loopback => None,
        (true, ..) => Some(format!(
            "{address} lets any process of this host in; if that is meant, set authentication.loopback = true or give --allow-loopback, else listen on a Unix socket, or know callers by their certificates (server.tls, authentication.client_ca) or tokens ([[authentication.jwt]])"
        )),
        (false, false, _) => Some(format!(
            "{address} can be reached from other hosts, and without TLS anybody on the way reads what is sent; set server.tls, and authentication.client_ca or [[authentication.jwt]] to know callers by, or listen on a Unix socket"
        )),
        (false, true, false) => Some(format!(
            "{address} can be reached from other hosts, and nothing says who may call; set authentication.client_ca, authentication.client_dns or [[authentication.jwt]], or listen on a Unix socket"
        )),
    }
}
