//! Whether the broker says that it serves.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::Code;

use super::address::CERTIFICATE_REFUSED;
use super::reason;
use super::report::{Finding, Outcome};
use super::settings::EffectiveSettings;
use crate::client::{Address, Client, Failure};
use crate::exit_code::Exit;

/// As health knows the credentials themselves.
const SERVICE: &str = "ecrbroker.v1.RegistryCredentialsService";
/// A broker that has begun a moment ago does not serve until it has looked for its AWS credentials.
const START: Duration = Duration::from_secs(2);

/// How a broker is that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Serving,
    /// It can say who asks, and no more.
    WithoutCredentials,
}

pub(super) async fn check(client: &Client<'_>, effective: &EffectiveSettings) -> Outcome<Health> {
    match (client.is_serving("").await, is_serving(client).await) {
        (Err(failure), _) | (_, Err(failure)) => (unknown(client, effective, &failure), None),
        (Ok(true), Ok(true)) => (Finding::ok("the broker serves"), Some(Health::Serving)),
        (Ok(false), _) => {
            let finding = Finding::fail(Exit::Unavailable, "NOT_SERVING: the broker is shutting down");
            let fix = "wait until it is started again, or name another broker behind it in the address, with a comma";
            (finding.fix(fix), None)
        }
        (_, Ok(false)) => {
            let finding =
                Finding::fail(Exit::Unavailable, "NOT_SERVING: the broker has no AWS credentials, and nothing is held");
            (finding.fix(reason::NO_AWS_CREDENTIALS), Some(Health::WithoutCredentials))
        }
    }
}

async fn is_serving(client: &Client<'_>) -> Result<bool, Failure> {
    let end = Instant::now() + START;
    loop {
        let serving = client.is_serving(SERVICE).await;
        if serving != Ok(false) || Instant::now() > end {
            return serving;
        }
        sleep(START / 8).await;
    }
}

fn unknown(client: &Client<'_>, effective: &EffectiveSettings, failure: &Failure) -> Finding {
    let finding = Finding::fail(Exit::from(failure), failure.to_string());
    // In TLS 1.3 a client learns of it when it has begun to speak, and may be cut off before.
    if failure.connection_lost
        && effective.settings.tls_identity.is_some()
        && matches!(client.address(), Address::Tls(_))
    {
        return finding.fix(CERTIFICATE_REFUSED);
    }
    match failure.code {
        Code::Unknown if failure.message.starts_with("the token") => {
            finding.fix("have whoever writes token_file write a token into it, and nothing else; it has to be a file that every call can read, and no pipe")
        }
        Code::Unimplemented | Code::NotFound | Code::Internal | Code::Unknown => finding.fix(format!(
            "correct the address: what listens at {} is another program, and no ecr-broker",
            client.address()
        )),
        _ => finding.fix(reason::fix(failure, None)),
    }
}
