//! Step `registries`: lists what the caller may request, if the command names no registry.

use super::finding::{Finding, StepResult};
use super::problem::Problem;
use super::reason;
use super::time_text::rfc3339;
use crate::client::{Access, Client};

const MAX_LINES: i32 = 10;

pub(super) async fn check(client: &mut Client<'_>) -> StepResult<()> {
    match client.list_access(MAX_LINES).await {
        Ok((accesses, _)) if accesses.is_empty() => {
            let finding = Finding::fail(Problem::NothingGranted, "");
            (finding.fix("name a registry to print the grant that it needs: ecr-broker doctor REGISTRY"), None)
        }
        Ok((accesses, has_more)) => {
            let text = if has_more { "you may request, among others:" } else { "you may request:" };
            (accesses.iter().map(line).fold(Finding::ok(text), Finding::note), Some(()))
        }
        Err(failure) => (Finding::failed_call(&failure).fix(reason::fix(&failure, None)), None),
    }
}

fn line(access: &Access) -> String {
    let cached = access.expires.map(|end| format!(", cached until {}", rfc3339(end))).unwrap_or_default();
    format!("{} (profile {}{cached})", access.name, access.profile)
}
