//! The broker's name in AWS, for the log and the audit log: whether a role is the right one shows before the first denial.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tracing::info;

use super::error::class_of;
use super::signer::Signer;
use super::sts;
use crate::clock::Clock;
use crate::error::FailureClass;
use crate::registry::AccountId;

/// Longest ARN in the log.
const MAX_ARN: usize = 512;
/// Time after a failure without another call. STS may be out of reach for good, and everything else works without it.
const RETRY_AFTER: Duration = Duration::from_mins(10);

/// Names the broker's own identities: asks STS in the background, with one call at a time. The lock is held during the call.
#[derive(Debug, Default)]
pub(super) struct CallerIdentity(Arc<Mutex<Named>>);

#[derive(Debug, Default)]
struct Named {
    /// The last ARN in the log.
    arn: Option<Box<str>>,
    /// The end of the time after a failure, on the monotonic clock.
    retry_at: Duration,
}

impl CallerIdentity {
    /// Starts to ask for the name of an identity, unless it is known.
    pub(super) fn ask(&self, signer: &Arc<Signer>, sts_endpoint: Option<String>, clock: &Arc<dyn Clock>) {
        if signer.minter.arn().is_some() {
            return;
        }
        let Ok(mut named) = Arc::clone(&self.0).try_lock_owned() else { return };
        if clock.now().steady < named.retry_at {
            return;
        }
        let (signer, clock) = (Arc::clone(signer), Arc::clone(clock));
        tokio::spawn(async move {
            if let Err(class) = named.name(&signer, sts_endpoint.as_deref()).await {
                named.retry_at = clock.now().steady + RETRY_AFTER;
                info!(?class, "AWS identity found; STS did not tell its account and role");
            }
        });
    }
}

impl Named {
    async fn name(&mut self, signer: &Signer, sts_endpoint: Option<&str>) -> Result<(), FailureClass> {
        let call = sts::client(&signer.sdk, sts_endpoint).get_caller_identity().send();
        let identity = call.await.map_err(|error| class_of(&error))?;
        let account = identity.account().and_then(|text| text.parse::<AccountId>().ok()).map(tracing::field::display);
        let arn = identity.arn().filter(|arn| is_plain(arn));
        if let Some(arn) = arn {
            signer.minter.name(&role_of(arn));
            signer.minter.identify(identity.user_id().filter(|id| is_plain(id)).unwrap_or_default());
        }
        if arn.is_none() || self.arn.as_deref() != arn {
            info!(account, arn, "AWS identity found");
            self.arn = arn.map(Into::into);
        }
        Ok(())
    }
}

fn is_plain(arn: &str) -> bool {
    arn.len() <= MAX_ARN && arn.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns the role's ARN of a session's, and any other ARN as it is. A session's ARN lacks the path of its role.
fn role_of(arn: &str) -> String {
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let ["arn", partition, "sts", "", account, resource] = parts[..] else { return arn.to_owned() };
    let role = resource.strip_prefix("assumed-role/").and_then(|rest| rest.split('/').next());
    role.map_or_else(|| arn.to_owned(), |role| format!("arn:{partition}:iam::{account}:role/{role}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_is_named_by_its_role() {
        for (arn, role) in [
            ("arn:aws-cn:sts::123456789012:assumed-role/node/i-0abc", "arn:aws-cn:iam::123456789012:role/node"),
            ("arn:aws:iam::123456789012:user/team/ci", "arn:aws:iam::123456789012:user/team/ci"),
            ("arn:aws:sts::123456789012:federated-user/ci", "arn:aws:sts::123456789012:federated-user/ci"),
            ("arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:root"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(role_of(arn), role);
        }
    }
}
