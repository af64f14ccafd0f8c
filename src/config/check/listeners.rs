//! Checks of who can reach the listeners (P13). Remote callers must be identified, and their traffic encrypted.

use std::path::Path;

use crate::address::{self, ListenAddress};
use crate::authn::tls;
use crate::config::model::Config;
use crate::config::reader::Reader;
use crate::config::setting::Setting;
use crate::config::settings::Server;
use crate::trusted_file;

pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    check_issuers(config, reader);
    check_activated_sockets(config, reader);
    check_socket_mode(config, reader);
    check_aws_api(config, reader);
    check_ops(config, reader);
    check_json(config, reader);
    check_tcp(config, reader);
}

/// A public issuer signs tokens for anyone.
fn check_issuers(config: &Config, reader: &mut Reader<'_>) {
    if !config.server.issuers.is_empty() && config.policy.allows_everything() {
        reader.report_file("authentication.jwt: every token of these issuers would have full access; write grants and enforce them (policy.mode)");
    }
}

/// A socket of the service manager can have any mode. The broker creates its own with mode 0660.
fn check_activated_sockets(config: &Config, reader: &mut Reader<'_>) {
    if !config.policy.allows_everything() {
        return;
    }
    for address in reader.activated() {
        let ListenAddress::Unix(path) = address else { continue };
        if trusted_file::is_open_to_all(path) {
            let problem =
                "is world-writable, so every user would have full access; set SocketMode=0660 or enforce grants";
            reader.report_activated(&format!("{address} {problem}"));
        }
    }
}

/// Without grants, every user who can open the socket has full access.
fn check_socket_mode(config: &Config, reader: &mut Reader<'_>) {
    if config.server.socket.is_open_to_others() && config.policy.allows_everything() {
        let problem = "lets every user connect, so every user would have full access; enforce grants, or use \"0660\"";
        reader.report(&Server::socket_mode(), problem);
    }
}

/// A port has one protocol.
fn check_aws_api(config: &Config, reader: &mut Reader<'_>) {
    let Some(api) = &config.server.aws_api else { return };
    if api.listen.port() != 0 && config.server.listen.contains(&ListenAddress::Tcp(api.listen)) {
        let problem = format!("{} is also in server.listen; give each listener its own port", api.listen);
        reader.report(&Server::aws_api_listen(), &problem);
    }
}

/// The ops listener shares no address, and beyond loopback it is encrypted unless the operator says otherwise.
fn check_ops(config: &Config, reader: &mut Reader<'_>) {
    let Some(ops) = &config.server.ops else { return };
    check_address(&ops.listen, &Server::ops_listen(), &of_callers(config, reader), reader);
    if !ops.listen.is_local() && !ops.allow_plaintext && config.server.tls.is_none() {
        let problem = format!(
            "{} is reachable from other hosts without encryption; set server.tls, or server.ops_allow_plaintext = true",
            plain(&ops.listen)
        );
        reader.report(&Server::ops_listen(), &problem);
    }
}

/// The JSON API shares no address. It releases credentials, so it has the rules of the gRPC listeners, but loopback is not a proof.
fn check_json(config: &Config, reader: &mut Reader<'_>) {
    let Some(json) = &config.server.json else { return };
    let mut others = of_callers(config, reader);
    others.extend(config.server.ops.iter().map(|ops| ("server.ops_listen", ops.listen.clone())));
    check_address(&json.listen, &Server::json_listen(), &others, reader);
    if matches!(json.listen, ListenAddress::Tcp(_))
        && let Some(problem) = problem_of(&json.listen, config, false)
    {
        reader.report(&Server::json_listen(), &format!("{} {problem}", plain(&json.listen)));
    }
}

/// Returns the addresses of the gRPC API and of the ECR-compatible API, with their settings.
fn of_callers(config: &Config, reader: &Reader<'_>) -> Vec<(&'static str, ListenAddress)> {
    let api = config.server.aws_api.iter().map(|api| ("server.aws_api_listen", ListenAddress::Tcp(api.listen)));
    let grpc = config.server.listen.iter().map(|address| ("server.listen", address.clone()));
    if !config.server.listen.is_empty() {
        return grpc.chain(api).collect();
    }
    // Which of them can be created shows at the start only.
    let defaults = address::default_sockets(reader.variable("XDG_RUNTIME_DIR").map(Path::new));
    let defaults = defaults.into_iter().map(|socket| ("a default of server.listen", ListenAddress::Unix(socket)));
    defaults.chain(api).collect()
}

/// Reports a listener at the address of another one. Port 0 becomes another port each time.
fn check_address(
    own: &ListenAddress,
    setting: &Setting<Option<ListenAddress>>,
    others: &[(&'static str, ListenAddress)],
    reader: &mut Reader<'_>,
) {
    let is_fixed = !matches!(own, ListenAddress::Tcp(address) if address.port() == 0);
    if let Some((other, address)) = others.iter().find(|(_, address)| is_fixed && address == own) {
        let problem = format!("{} is also {other}; give each listener its own address", plain(address));
        reader.report(setting, &problem);
    }
}

/// Returns an address without the scheme of the gRPC API.
fn plain(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => address.to_string(),
        unix @ ListenAddress::Unix(_) => unix.to_string(),
    }
}

fn check_tcp(config: &Config, reader: &mut Reader<'_>) {
    for address in config.server.listen.iter().filter(|address| matches!(address, ListenAddress::Tcp(_))) {
        let Some(problem) = problem_of(address, config, true) else { continue };
        let problem = format!("{address} {problem}");
        if reader.activated().contains(address) {
            reader.report_activated(&problem);
        } else {
            reader.report(&Server::listen(), &problem);
        }
    }
}

/// Returns the problem of a TCP address; `serves_loopback`: `authentication.loopback` counts for it.
fn problem_of(address: &ListenAddress, config: &Config, serves_loopback: bool) -> Option<&'static str> {
    let has_tls = config.server.tls.is_some();
    let certificates = config.server.tls.as_ref().is_some_and(tls::Settings::knows_clients);
    let identifies_callers = certificates || !config.server.issuers.is_empty();
    match (address.is_local(), has_tls, identifies_callers) {
        (false, true, true) if config.policy.allows_everything() => {
            Some("would give every identified remote caller full access; write grants and enforce them (policy.mode)")
        }
        (_, true, true) | (true, _, true) => None,
        (true, ..) if !serves_loopback => {
            Some("cannot identify its callers; add [[authentication.jwt]], or use a Unix socket")
        }
        (true, ..) if config.server.loopback => None,
        (true, ..) => Some(
            "admits every process of this host; set authentication.loopback = true (--allow-loopback) or use a Unix socket",
        ),
        (false, false, _) => Some(
            "is reachable from other hosts without encryption; set server.tls and identify callers, or use a Unix socket",
        ),
        (false, true, false) => Some(
            "is reachable from other hosts without authentication; set authentication.client_ca, client_dns or jwt",
        ),
    }
}
