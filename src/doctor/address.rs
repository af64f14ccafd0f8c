//! Step `address`: connects to the first broker that answers, as other commands do, but without waiting for one.

use self::fix::fix;
use super::deadline::Deadline;
use super::finding::{Finding, StepResult};
use super::problem::Problem;
use super::settings::EffectiveSettings;
use super::users;
use crate::client::{Address, Client, ConnectError};

mod fix;
mod socket_access;

/// Another user's program could listen on loopback, so that commands that write for other programs need it to be named.
const NOT_FOR_ALL: &str = "sync and helpers use this address only if it is named, such as by address in client.toml";

/// Connects to the first address that answers. Without a configured address it also reports default sockets that do not exist.
pub(super) async fn check(effective: &EffectiveSettings, deadline: Deadline) -> StepResult<Client<'_>> {
    let settings = &effective.settings;
    let is_configured = settings.addresses_configured;
    let mut problems = Vec::new();
    for address in &settings.addresses {
        if !is_configured && !address.is_socket() && problems.iter().any(is_about_a_present_socket) {
            break;
        }
        let limit = settings.timeout.min(deadline.step_timeout());
        match Client::connect_to(settings, address, limit).await {
            Ok(client) => {
                let finding = Finding::ok(format!("{address} answers"));
                let finding = if is_configured || address.is_socket() { finding } else { finding.note(NOT_FOR_ALL) };
                return (problems.iter().fold(finding, note_skipped), Some(client));
            }
            Err(problem) => problems.push((address.clone(), problem)),
        }
    }
    (unreachable(is_configured, &problems), None)
}

/// Returns whether a default socket is there. Clients then do not use the default loopback address.
fn is_about_a_present_socket((_, problem): &(Address, ConnectError)) -> bool {
    *problem != ConnectError::SocketMissing
}

fn note(finding: Finding, (address, problem): &(Address, ConnectError)) -> Finding {
    finding.note(format!("{address}: {}", text(problem)))
}

/// Notes a failed address before the one that answers. The caller may have another principal at the broker that answers.
fn note_skipped(finding: Finding, failed: &(Address, ConnectError)) -> Finding {
    let finding = note(finding, failed);
    if has_listener(&failed.1) { finding.fix(fix(failed)) } else { finding }
}

fn unreachable(is_configured: bool, problems: &[(Address, ConnectError)]) -> Finding {
    let finding = problems.iter().fold(Finding::fail(Problem::BrokerUnreachable, ""), note);
    // A default address without a listener is normal and needs no fix.
    let to_fix: Vec<_> = problems.iter().filter(|(_, problem)| is_configured || has_listener(problem)).collect();
    match to_fix.as_slice() {
        [] => finding.fix("start a broker (ecr-broker serve), or set its address: --address, ECR_BROKER_ADDRESS, or address in client.toml"),
        [one] => finding.fix(fix(one)),
        several => several.iter().fold(finding, |finding, one| finding.fix(format!("{}: {}", one.0, fix(one)))),
    }
}

fn has_listener(problem: &ConnectError) -> bool {
    !matches!(problem, ConnectError::SocketMissing | ConnectError::Refused)
}

fn text(problem: &ConnectError) -> String {
    match problem {
        ConnectError::PermissionDenied { by } => {
            let owner = users::owner(by).map(|owner| format!(" ({owner})")).unwrap_or_default();
            format!("{problem}{owner}; this is {}", users::user_with_groups())
        }
        _ => problem.to_string(),
    }
}
