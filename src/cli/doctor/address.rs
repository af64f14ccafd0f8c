//! Which address answers, and what is wrong with those before it.

use super::report::{Finding, Outcome};
use super::settings::InForce;
use super::{Time, users};
use crate::client::{Address, Client, TlsProblem, Unreached};

/// As other commands end where no broker answers.
const UNREACHABLE: u8 = 5;

/// By the look of it.
pub(super) const CERTIFICATE_REFUSED: &str = "the broker does not seem to take the client's certificate (its log says why): have it signed by an authority of the broker's authentication.client_ca or client_dns, or say who you are with --token-file and without --tls-cert";

/// The first that answers, as other commands take it. Where nobody named one, the usual places that are not there are told too.
pub(super) async fn reach(in_force: &InForce, time: Time) -> Outcome<Client<'_>> {
    let settings = &in_force.settings;
    let addresses = if settings.addresses_given { settings.addresses.clone() } else { in_force.home.usual_places() };
    let mut problems = Vec::new();
    for address in addresses {
        if time.of_step().is_zero() {
            problems.push((address, Unreached::NoAnswer));
            continue;
        }
        match Client::reach(settings, &address).await {
            Ok(client) => {
                let good = Finding::good(format!("{address} answers"));
                return (problems.iter().fold(good, passed_over), Some(client));
            }
            Err(problem) => problems.push((address, problem)),
        }
    }
    (unreached(settings.addresses_given, &problems), None)
}

fn note(finding: Finding, (address, problem): &(Address, Unreached)) -> Finding {
    finding.noting(format!("{address}: {}", in_words(problem)))
}

/// What answers in its place may take the caller for somebody else.
fn passed_over(finding: Finding, failed: &(Address, Unreached)) -> Finding {
    let finding = note(finding, failed);
    match fix(&failed.0, &failed.1) {
        Some(fix) if is_of_note(&failed.1) => finding.fix(fix),
        _ => finding,
    }
}

fn unreached(given: bool, problems: &[(Address, Unreached)]) -> Finding {
    let finding = problems.iter().fold(Finding::broken(UNREACHABLE, "no broker answers"), note);
    let mut fixes: Vec<_> = problems.iter().filter_map(|(address, problem)| fix(address, problem)).collect();
    // Of a place that nobody named it is no news that nothing is there.
    if fixes.is_empty() || !given && !problems.iter().any(|(_, problem)| is_of_note(problem)) {
        let start = "start a broker (ecr-broker serve), or name where one is: --address, ECR_BROKER_ADDRESS, or address in client.toml";
        fixes = vec![start.to_owned()];
    }
    fixes.dedup();
    fixes.iter().fold(finding, Finding::fix)
}

fn is_of_note(problem: &Unreached) -> bool {
    !matches!(problem, Unreached::Missing | Unreached::Refused)
}

fn in_words(problem: &Unreached) -> String {
    match problem {
        Unreached::Closed { by } => {
            let owner = users::owner(by).map(|owner| format!(" ({owner})")).unwrap_or_default();
            format!("{problem}{owner}; this is {}", users::user_with_groups())
        }
        _ => problem.to_string(),
    }
}

fn fix(address: &Address, problem: &Unreached) -> Option<String> {
    let (Address::Plain(place) | Address::Tls(place)) = address else { return of_socket(problem) };
    Some(match problem {
        Unreached::Refused => {
            format!("start the broker there (ecr-broker serve --listen {place}), or correct the address and its port")
        }
        Unreached::UnknownName(_) => "correct the address, or have this machine's DNS know the name".to_owned(),
        Unreached::NoAnswer => {
            "see that the way is open: the address and port, firewalls and security groups, and whether the broker's host is up"
                .to_owned()
        }
        Unreached::TlsOnly => format!("write the address as https://{place}"),
        Unreached::NotGrpc => {
            "correct the address: it is the broker's server.listen, and not its ops_listen or a web proxy".to_owned()
        }
        Unreached::Tls(problem) => of_tls(problem, place),
        Unreached::Other(_) if matches!(address, Address::Tls(_)) => {
            format!("see the broker's log; perhaps {CERTIFICATE_REFUSED}")
        }
        Unreached::Missing | Unreached::Closed { .. } | Unreached::Other(_) => {
            "correct the address, or the way to it".to_owned()
        }
    })
}

fn of_socket(problem: &Unreached) -> Option<String> {
    Some(match problem {
        Unreached::Missing => {
            "start the broker (systemctl start ecr-broker, or ecr-broker serve), or correct the address".to_owned()
        }
        Unreached::Refused => {
            "the broker that made the socket is gone: start it again (systemctl start ecr-broker, or ecr-broker serve)"
                .to_owned()
        }
        Unreached::Closed { by } => users::way_in(by).map_or_else(
            || {
                format!(
                    "have those who run the broker give {} a group that you are in, and let the group in (chgrp, chmod g+rwx)",
                    by.display()
                )
            },
            |group| format!("sudo usermod -aG {group} {}, and log in again", users::user()),
        ),
        Unreached::NoAnswer => "the broker does not take connections: see its log, or start it again".to_owned(),
        Unreached::NotGrpc | Unreached::TlsOnly | Unreached::Tls(_) => {
            "correct the address: something else listens on this socket".to_owned()
        }
        Unreached::Other(_) => "correct the address".to_owned(),
        Unreached::UnknownName(_) => return None,
    })
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
        TlsProblem::NotYet => "set this machine's clock".to_owned(),
        TlsProblem::OtherName => {
            "name the broker in the address as its certificate does (its subject alternative names)".to_owned()
        }
        TlsProblem::NotSpoken => format!("write the address as http://{place}, or have the broker speak TLS ([server.tls])"),
        TlsProblem::Refused(_) => CERTIFICATE_REFUSED.to_owned(),
        TlsProblem::Other(_) => "see the broker's log, and the certificates of both sides".to_owned(),
    }
}
