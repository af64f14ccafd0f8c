//! Endpoints: binds the configured listeners and puts the protocols on them.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};

use super::auth_material::AuthMaterial;
use crate::address::ListenAddress;
use crate::api::ecr::{EcrApi, Secret};
use crate::api::json::JsonApi;
use crate::authn::TcpAuthn;
use crate::config::{self, Config};
use crate::limits::Limits;
use crate::ops::Ops;
use crate::rejections::RejectionRecorder;
use crate::server::{
    ActivatedSockets, Drain, EcrApiProtocol, Endpoint, GrpcProtocol, GrpcService, JsonProtocol, Listener,
    MAX_OBSERVERS_OPEN, OpsProtocol, SocketAccess, TlsHandshake,
};

/// Returns how many connections may be open: those of TCP, of Unix sockets, of the ECR API and of the ops listener have a limit each.
pub(super) fn max_connections(config: &Config) -> usize {
    let server = &config.server;
    let is_tcp = |address: &ListenAddress| matches!(address, ListenAddress::Tcp(_));
    let json = server.json.as_ref().map(|json| &json.listen);
    let mut callers = server.listen.iter().chain(json);
    let (tcp, unix) = (callers.clone().any(is_tcp), !callers.all(is_tcp) || server.listen.is_empty());
    let kinds = [tcp, unix, server.aws_api.is_some()].into_iter().filter(|served| *served).count();
    let observers = if server.ops.is_some() { MAX_OBSERVERS_OPEN } else { 0 };
    server.connections.max_connections.saturating_mul(kinds).saturating_add(observers)
}

/// Binds every configured address. If none is configured, binds the first default socket that can be bound.
pub(super) fn bind(
    config: &Config,
    default_sockets: &[PathBuf],
    sockets: &mut ActivatedSockets,
) -> anyhow::Result<Vec<Listener>> {
    let (addresses, access) = (&config.server.listen, config.server.socket);
    if addresses.is_empty() {
        return bind_default(default_sockets, access).map(|listener| vec![listener]);
    }
    addresses.iter().map(|address| Listener::bind_for(access, address, sockets)).collect()
}

fn bind_default(default_sockets: &[PathBuf], access: SocketAccess) -> anyhow::Result<Listener> {
    let mut problems = Vec::new();
    for socket in default_sockets {
        match Listener::bind_for(access, &ListenAddress::Unix(socket.clone()), &mut ActivatedSockets::default()) {
            Ok(listener) => return Ok(listener),
            Err(problem) => problems.push(format!("{problem:#}")),
        }
    }
    bail!("{}; name an address with --listen", problems.join("; "))
}

/// Serves the gRPC API on each listener.
pub(super) fn grpc(
    listeners: Vec<Listener>,
    config: &Config,
    auth: &AuthMaterial,
    service: GrpcService,
    (limits, rejections): (&Limits, &RejectionRecorder),
) -> Vec<Endpoint> {
    let authn = TcpAuthn { tls: auth.tls.clone(), loopback: config.server.loopback, tokens: auth.issuers.is_some() };
    let protocol = Arc::new(GrpcProtocol { service, authn, limits: limits.clone(), rejections: rejections.clone() });
    let endpoint = |listener| Endpoint { listener, protocol: protocol.clone(), drain: Drain::First };
    listeners.into_iter().map(endpoint).collect()
}

/// Serves the JSON API on its listener, if there is one. Loopback proves nothing to it: a page in a browser on this host could call, too.
pub(super) fn json(
    config: &Config,
    auth: &AuthMaterial,
    service: GrpcService,
    (limits, rejections): (&Limits, &RejectionRecorder),
    sockets: &mut ActivatedSockets,
) -> anyhow::Result<Option<Endpoint>> {
    let Some(json) = &config.server.json else { return Ok(None) };
    let is_tcp = matches!(json.listen, ListenAddress::Tcp(_));
    ensure!(
        !is_tcp || json.listen.is_local() || auth.tls.is_some(),
        "server.json_listen: the address is reachable from other hosts; set server.tls"
    );
    let listener = Listener::bind_for(config.server.socket, &json.listen, sockets).context("server.json_listen")?;
    let protocol = Arc::new(JsonProtocol {
        api: JsonApi::new(&json.hosts),
        service,
        authn: TcpAuthn { tls: auth.tls.clone(), loopback: false, tokens: auth.issuers.is_some() },
        limits: limits.clone(),
        rejections: rejections.clone(),
    });
    Ok(Some(Endpoint { listener, protocol, drain: Drain::First }))
}

/// Serves the ECR API on its listener. Creates a missing secret file only here, after the whole configuration was found valid.
pub(super) fn ecr_api(
    config: &config::AwsApi,
    secret: Option<Arc<Secret>>,
    sockets: &mut ActivatedSockets,
    api: impl FnOnce(Arc<Secret>) -> EcrApi,
) -> anyhow::Result<Endpoint> {
    let address = ListenAddress::Tcp(config.listen);
    // Callers send the secret in clear text.
    ensure!(
        address.is_local(),
        "server.aws_api_listen: {address} is reachable from other hosts; use a loopback address"
    );
    let secret = match secret {
        Some(secret) => Ok(secret),
        None => Secret::read_or_create(&config.secret_file).map(Arc::new),
    };
    let secret = secret.with_context(|| format!("server.aws_api_secret_file: {}", config.secret_file.display()))?;
    let listener = Listener::bind(&address, sockets).context("server.aws_api_listen")?;
    let protocol = Arc::new(EcrApiProtocol::new(api(secret)));
    Ok(Endpoint { listener, protocol, drain: Drain::First })
}

/// Serves the ops pages on their listener. Beyond loopback it speaks TLS, unless plaintext is allowed.
pub(super) fn ops(
    config: &config::Ops,
    ops: Ops,
    auth: &AuthMaterial,
    rejections: RejectionRecorder,
    sockets: &mut ActivatedSockets,
) -> anyhow::Result<Endpoint> {
    let is_local = config.listen.is_local();
    let tls = if is_local || config.allow_plaintext { None } else { auth.tls.clone() };
    ensure!(
        is_local || config.allow_plaintext || tls.is_some(),
        "server.ops_listen: the address is reachable from other hosts; set server.tls or server.ops_allow_plaintext"
    );
    let listener = Listener::bind(&config.listen, sockets).context("server.ops_listen")?;
    let protocol = Arc::new(OpsProtocol { ops, tls, handshake: TlsHandshake { rejections }, is_local });
    Ok(Endpoint { listener, protocol, drain: Drain::Last })
}
