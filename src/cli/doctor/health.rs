//! Whether the broker says that it serves.

use tonic::Code;

use super::super::exit_code;
use super::reason;
use super::report::{Finding, Outcome};
use crate::client::{Client, Failure};

/// As health knows the credentials themselves.
const SERVICE: &str = "ecrbroker.v1.RegistryCredentialsService";
/// As other commands end for what may work later.
const LATER: u8 = 5;

/// How a broker is that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Serving,
    /// It can say who asks, and no more.
    WithoutCredentials,
}

pub(super) async fn ask(client: &Client<'_>) -> Outcome<Health> {
    match (client.is_serving("").await, client.is_serving(SERVICE).await) {
        (Err(failure), _) | (_, Err(failure)) => (unknown(client, &failure), None),
        (Ok(true), Ok(true)) => (Finding::good("the broker serves"), Some(Health::Serving)),
        (Ok(false), _) => {
            let finding = Finding::broken(LATER, "NOT_SERVING: the broker is shutting down");
            let fix = "wait until it is started again, or name another broker behind it in the address, with a comma";
            (finding.fix(fix), None)
        }
        (_, Ok(false)) => {
            let finding = Finding::broken(LATER, "NOT_SERVING: the broker has no AWS credentials, and nothing is held");
            (finding.fix(reason::NO_AWS_CREDENTIALS), Some(Health::WithoutCredentials))
        }
    }
}

fn unknown(client: &Client<'_>, failure: &Failure) -> Finding {
    let finding = Finding::broken(exit_code(failure), failure.to_string());
    if failure.message.contains("fatal alert") {
        let fix = "the broker does not take the client's certificate: have it signed by an authority of the broker's authentication.client_ca, or call without --tls-cert and with --token-file";
        return finding.fix(fix);
    }
    match failure.code {
        Code::Unimplemented | Code::NotFound | Code::Internal => finding.fix(format!(
            "correct the address: what listens at {} is another program, and no ecr-broker",
            client.address()
        )),
        Code::Unknown => finding.fix("see the file that is named"),
        _ => finding.fix(reason::fix(failure, None)),
    }
}
