//! Which address answers, and what is wrong with those before it.

use std::path::Path;

use tokio::time::timeout;

use super::deadline::Deadline;
use super::report::{Finding, Outcome};
use super::settings::EffectiveSettings;
use super::users::{self, WayIn};
use crate::client::{Address, Client, ConnectError, TlsProblem};
use crate::exit_code::Exit;

const NOT_THE_BROKER: &str = "correct the address: it is the broker's server.listen, and not its ops_listen or a web proxy; a proxy before a broker has to speak HTTP/2";

/// A client is told in words, or just cut off.
pub(super) const CERTIFICATE_REFUSED: &str = "where the broker does not take the client's certificate (its log says why), have that signed by an authority of the broker's authentication.client_ca or client_dns, or say who you are with --token-file and without --tls-cert";

/// The first that answers, as other commands take it. Where nobody named one, the usual places that are not there are told too.
pub(super) async fn check(effective: &EffectiveSettings, deadline: Deadline) -> Outcome<Client<'_>> {
    let settings = &effective.settings;
    let addresses =
        if settings.addresses_configured { settings.addresses.clone() } else { effective.home.default_addresses() };
    let mut problems = Vec::new();
    for address in addresses {
        match timeout(deadline.step_timeout(), Client::connect_to(settings, &address))
            .await
            .unwrap_or(Err(ConnectError::ConnectTimeout))
        {
            Ok(client) => {
                let good = Finding::ok(format!("{address} answers"));
                return (problems.iter().fold(good, passed_over), Some(client));
            }
            Err(problem) => problems.push((address, problem)),
        }
    }
    (unreached(settings.addresses_configured, &problems), None)
}

fn note(finding: Finding, (address, problem): &(Address, ConnectError)) -> Finding {
    finding.note(format!("{address}: {}", in_words(problem)))
}

/// What answers in its place may take the caller for somebody else.
fn passed_over(finding: Finding, failed: &(Address, ConnectError)) -> Finding {
    let finding = note(finding, failed);
    if is_of_note(&failed.1) { finding.fix(fix(failed)) } else { finding }
}

fn unreached(given: bool, problems: &[(Address, ConnectError)]) -> Finding {
    let finding = problems.iter().fold(Finding::fail(Exit::Unavailable, "no broker answers"), note);
    // Of a place that nobody named it is no news that nothing is there.
    let told: Vec<_> = problems.iter().filter(|(_, problem)| given || is_of_note(problem)).collect();
    match told.as_slice() {
        [] => finding.fix("start a broker (ecr-broker serve), or name where one is: --address, ECR_BROKER_ADDRESS, or address in client.toml"),
        [one] => finding.fix(fix(one)),
        several => several.iter().fold(finding, |finding, one| finding.fix(format!("{}: {}", one.0, fix(one)))),
    }
}

fn is_of_note(problem: &ConnectError) -> bool {
    !matches!(problem, ConnectError::SocketMissing | ConnectError::Refused)
}

fn in_words(problem: &ConnectError) -> String {
    match problem {
        ConnectError::PermissionDenied { by } => {
            let owner = users::owner(by).map(|owner| format!(" ({owner})")).unwrap_or_default();
            format!("{problem}{owner}; this is {}", users::user_with_groups())
        }
        _ => problem.to_string(),
    }
}

fn fix((address, problem): &(Address, ConnectError)) -> String {
    let (Address::Plain(place) | Address::Tls(place)) = address else { return of_socket(problem) };
    match problem {
        ConnectError::Refused => {
            format!("start the broker there (ecr-broker serve --listen {place}), or correct the address and its port")
        }
        ConnectError::UnknownHost(_) => "correct the address, or have this machine's DNS know the name".to_owned(),
        ConnectError::DnsTimeout => {
            "see why this machine's DNS does not answer: resolv.conf, and the way to the servers in it; or name the broker by its IP address"
                .to_owned()
        }
        ConnectError::ConnectTimeout => {
            "see that the way is open: the address and port, firewalls and security groups, and whether the broker's host is up"
                .to_owned()
        }
        ConnectError::Silent => {
            "where the broker listens there, see its log, its load, and what stands between; where it does not, correct the address"
                .to_owned()
        }
        ConnectError::TlsOnly => format!("write the address as https://{place}"),
        ConnectError::NotGrpc => NOT_THE_BROKER.to_owned(),
        ConnectError::Tls(problem) => of_tls(problem, place),
        ConnectError::Other(_) if matches!(address, Address::Tls(_)) => {
            format!("see the broker's log; {CERTIFICATE_REFUSED}")
        }
        ConnectError::SocketMissing | ConnectError::PermissionDenied { .. } | ConnectError::Other(_) => {
            "correct the address, or the way to it".to_owned()
        }
    }
}

fn of_socket(problem: &ConnectError) -> String {
    match problem {
        ConnectError::SocketMissing => {
            "start the broker (systemctl start ecr-broker, or ecr-broker serve), or correct the address".to_owned()
        }
        ConnectError::Refused => {
            "the broker that made the socket is gone: start it again (systemctl start ecr-broker, or ecr-broker serve)"
                .to_owned()
        }
        ConnectError::PermissionDenied { by } => open(by),
        ConnectError::ConnectTimeout | ConnectError::Silent => {
            "the broker does not take connections: see its log, or start it again".to_owned()
        }
        ConnectError::NotGrpc | ConnectError::TlsOnly | ConnectError::Tls(_) => {
            "correct the address: something else listens on this socket".to_owned()
        }
        ConnectError::UnknownHost(_) | ConnectError::DnsTimeout | ConnectError::Other(_) => {
            "correct the address".to_owned()
        }
    }
}

/// How this user comes to be let in.
fn open(by: &Path) -> String {
    match users::way_in(by) {
        WayIn::Group(group) => format!("sudo usermod -aG {group} {}, and log in again", users::user()),
        WayIn::ByNumber(gid) => format!(
            "have whoever starts this container give it the group {gid}: docker run --group-add {gid}, or supplementalGroups: [{gid}] in the pod's securityContext; where no container is, have your directory service put you into it"
        ),
        WayIn::OfRoot(group) => format!(
            "have those who run the broker give {} a group of its own, of those who may call it (chgrp, chmod g+rwx): whoever is in {group} may do far more",
            by.display()
        ),
        WayIn::Elsewhere => format!(
            "its mode lets you in, and something else does not: SELinux or AppArmor (ausearch -m avc, journalctl -k), an access list (getfacl {by}), or a directory above (namei -l {by})",
            by = by.display()
        ),
        WayIn::NextLogin(group) => format!("log in again: this login is older than your being in group {group}"),
        WayIn::None => format!(
            "have those who run the broker give {} a group that you are in, and let the group in (chgrp, chmod g+rwx)",
            by.display()
        ),
    }
}

fn of_tls(problem: &TlsProblem, place: &str) -> String {
    match problem {
        TlsProblem::UnknownAuthority => {
            "name the file with the certificate of the authority that signed the broker's: --tls-ca, ECR_BROKER_TLS_CA, or tls_ca in client.toml"
                .to_owned()
        }
        TlsProblem::Expired => {
            "have those who run the broker renew its certificate (server.tls.certificate); where it is good, set this machine's clock"
                .to_owned()
        }
        TlsProblem::NotYetValid => "set this machine's clock".to_owned(),
        TlsProblem::NameMismatch => {
            "name the broker in the address as its certificate does (its subject alternative names)".to_owned()
        }
        TlsProblem::NotTls => format!("write the address as http://{place}, or have the broker speak TLS ([server.tls])"),
        TlsProblem::NoHttp2 => NOT_THE_BROKER.to_owned(),
        TlsProblem::Incompatible(_) => {
            "have what listens there speak TLS 1.3, as the broker does; or correct the address, where it is another program".to_owned()
        }
        TlsProblem::ClientCertificateRejected(_) => CERTIFICATE_REFUSED.to_owned(),
        TlsProblem::Other(_) => "see the broker's log, and the certificates of both sides".to_owned(),
    }
}
