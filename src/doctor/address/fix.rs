//! Fixes for an address without an answer.

use super::super::shared_fixes::CLIENT_CERTIFICATE_REJECTED;
use super::socket_access;
use crate::client::{Address, ConnectError, TlsProblem};

const NOT_THE_BROKER: &str = "correct the address: use the broker's server.listen, not a web proxy; a proxy in front of a broker must speak HTTP/2";

const CLOSED: &str =
    "check the broker's log: it may be at a connection limit; if another program listens there, correct the address";

pub(super) fn fix((address, problem): &(Address, ConnectError)) -> String {
    match address {
        Address::Plain(host) | Address::Tls(host) => tcp_fix(problem, host, matches!(address, Address::Tls(_))),
        Address::Unix(_) => socket_fix(problem),
    }
}

fn tcp_fix(problem: &ConnectError, host: &str, is_tls: bool) -> String {
    let fix = match problem {
        ConnectError::Refused => {
            return format!(
                "start the broker there (ecr-broker serve --listen {host}), or correct the address and port"
            );
        }
        ConnectError::TlsOnly => return format!("write the address as https://{host}"),
        ConnectError::Tls(problem) => return tls_fix(problem, host),
        ConnectError::Other(_) if is_tls => return format!("check the broker's log; {CLIENT_CERTIFICATE_REJECTED}"),
        ConnectError::UnknownHost(_) => "correct the address, or add the name to this machine's DNS",
        ConnectError::DnsTimeout => {
            "check this machine's DNS: resolv.conf and the route to its servers; or use the broker's IP address"
        }
        ConnectError::ConnectTimeout => {
            "check the address and port, firewalls and security groups, and whether the broker's host is up"
        }
        ConnectError::Silent => {
            "check the broker's log and load, and any proxy in between; if no broker listens there, correct the address"
        }
        ConnectError::Closed => CLOSED,
        ConnectError::NotGrpc => NOT_THE_BROKER,
        ConnectError::SocketMissing
        | ConnectError::PermissionDenied { .. }
        | ConnectError::ForeignListener(_)
        | ConnectError::Other(_) => "correct the address, or the route to it",
    };
    fix.to_owned()
}

fn socket_fix(problem: &ConnectError) -> String {
    let fix = match problem {
        ConnectError::PermissionDenied { by } => return socket_access::fix(by),
        ConnectError::ForeignListener(_) => {
            "remove the socket if it is false; else chown its directory to the user that runs the broker"
        }
        ConnectError::SocketMissing => {
            "start the broker (systemctl start ecr-broker, or ecr-broker serve), or correct the address"
        }
        ConnectError::Refused => {
            "restart the broker that created the socket (systemctl start ecr-broker, or ecr-broker serve)"
        }
        ConnectError::ConnectTimeout | ConnectError::Silent => {
            "check the broker's log, or restart it: it does not accept connections"
        }
        ConnectError::Closed => CLOSED,
        ConnectError::NotGrpc | ConnectError::TlsOnly | ConnectError::Tls(_) => {
            "correct the address: another program listens on this socket"
        }
        ConnectError::UnknownHost(_) | ConnectError::DnsTimeout | ConnectError::Other(_) => "correct the address",
    };
    fix.to_owned()
}

fn tls_fix(problem: &TlsProblem, host: &str) -> String {
    let fix = match problem {
        TlsProblem::NotTls => {
            return format!("write the address as http://{host}, or enable TLS on the broker ([server.tls])");
        }
        TlsProblem::HandshakeCut => CLOSED,
        TlsProblem::UnknownAuthority => {
            "name the broker's certificate authority: --tls-ca, ECR_BROKER_TLS_CA, or tls_ca in client.toml"
        }
        TlsProblem::Expired => {
            "ask the operator to renew the broker's certificate (server.tls.certificate); if it is valid, set this machine's clock"
        }
        TlsProblem::NotYetValid => "set this machine's clock",
        TlsProblem::NameMismatch => {
            "use a name of the broker's certificate in the address (one of its subject alternative names)"
        }
        TlsProblem::Nameless => {
            "ask the operator to reissue the broker's certificate with its host name (openssl: -addext subjectAltName=DNS:HOST)"
        }
        TlsProblem::Authority => {
            "ask the operator to reissue the broker's certificate without CA:TRUE (openssl req -x509: -addext basicConstraints=critical,CA:FALSE)"
        }
        TlsProblem::NotForServers => {
            "ask the operator to reissue the broker's certificate for servers (openssl: -addext extendedKeyUsage=serverAuth)"
        }
        TlsProblem::NoHttp2 => NOT_THE_BROKER,
        TlsProblem::Incompatible(_) => {
            "enable TLS 1.3 on the listener, as on a broker; if another program listens there, correct the address"
        }
        TlsProblem::ClientCertificateRejected(_) => CLIENT_CERTIFICATE_REJECTED,
        TlsProblem::KeyMismatch => "set tls_cert and tls_key to a certificate and its own key",
        TlsProblem::Other(_) => "check the broker's log, and the certificates of both sides",
    };
    fix.to_owned()
}
