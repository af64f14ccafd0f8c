//! Step `health`: asks the broker whether it is serving.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::Code;

use super::finding::{Finding, StepResult};
use super::problem::Problem;
use super::reason;
use super::settings::EffectiveSettings;
use super::shared_fixes::{CLIENT_CERTIFICATE_REJECTED, NO_AWS_CREDENTIALS, TOKEN_SOURCE_FAILED};
use crate::client::{Address, Client, Failure};

/// The broker's name for the health of its AWS credentials.
const SERVICE: &str = "ecrbroker.v1.RegistryCredentialsService";
/// Time for a broker that has just started to look for its AWS credentials. Until then it is `NOT_SERVING`.
const STARTUP: Duration = Duration::from_secs(2);

const REASONS_IN_LOG: &str = "the broker's log has the reasons, in the line \"AWS credentials not found\"; doctor prints them to root and the broker's user, on its Unix socket";

/// The health of a broker that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Serving,
    /// The broker can identify the caller, but cannot release credentials.
    WithoutCredentials,
}

pub(super) async fn check(client: &mut Client<'_>, effective: &EffectiveSettings) -> StepResult<Health> {
    match (client.is_serving("").await, is_serving(client).await) {
        (Err(failure), _) | (_, Err(failure)) => (failed(client, effective, &failure), None),
        (Ok(true), Ok(true)) => (Finding::ok("the broker is serving"), Some(Health::Serving)),
        (Ok(false), _) => {
            let finding = Finding::fail(Problem::BrokerShuttingDown, "NOT_SERVING");
            (finding.fix("wait for its restart, or add another broker to the address after a comma"), None)
        }
        (_, Ok(false)) => {
            let finding = Finding::fail(Problem::BrokerWithoutCredentials, "NOT_SERVING, and the cache is empty");
            let finding = problems(client).await.iter().fold(finding, Finding::note);
            (finding.fix(NO_AWS_CREDENTIALS), Some(Health::WithoutCredentials))
        }
    }
}

/// Returns where the broker looked for credentials. Only root and the broker's own user learn it.
async fn problems(client: &mut Client<'_>) -> Vec<String> {
    match client.caller_identity().await {
        Ok(identity) if !identity.aws_credential_problems.is_empty() => identity.aws_credential_problems,
        // The step `caller` reports a failure.
        _ => vec![REASONS_IN_LOG.to_owned()],
    }
}

async fn is_serving(client: &mut Client<'_>) -> Result<bool, Failure> {
    let end = Instant::now() + STARTUP;
    loop {
        let serving = client.is_serving(SERVICE).await;
        if serving != Ok(false) || Instant::now() > end {
            return serving;
        }
        sleep(STARTUP / 8).await;
    }
}

fn failed(client: &Client<'_>, effective: &EffectiveSettings, failure: &Failure) -> Finding {
    let finding = Finding::failed_call(failure);
    let has_certificate = effective.settings.tls_identity.is_some() || effective.settings.has_x509_svid;
    let sent_certificate = has_certificate && matches!(client.address(), Address::Tls(_));
    if failure.connection_lost && sent_certificate {
        return finding.fix(CLIENT_CERTIFICATE_REJECTED);
    }
    match failure.code {
        _ if failure.token_missing => finding.fix(token_fix(effective)),
        Code::Unimplemented | Code::NotFound | Code::Internal | Code::Unknown => {
            let address = client.address();
            finding.fix(format!("correct the address: {address} is another program, not an ecr-broker"))
        }
        _ => finding.fix(reason::fix(failure, None)),
    }
}

fn token_fix(effective: &EffectiveSettings) -> &'static str {
    let source = effective.settings.tokens.as_ref().and_then(|tokens| tokens.source().present());
    if source.is_some_and(|source| source.file().is_some()) {
        "put one token and nothing else into token_file; it must be a regular file, because every call reads it"
    } else {
        TOKEN_SOURCE_FAILED
    }
}
