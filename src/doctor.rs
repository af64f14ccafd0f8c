//! Diagnoses a failing pull: checks each step from this machine's settings to the registry, and suggests a fix.

use std::time::Duration;

use self::credential::CredentialAnswer;
use self::deadline::Deadline;
use self::health::Health;
use self::registry::RegistryCheck;
use self::report::Report;
use crate::client::{RegistryCredentials, block_on};
use crate::exit_code::Exit;

mod address;
mod caller;
mod credential;
mod deadline;
mod files;
mod finding;
mod grant_text;
mod health;
mod known_registry;
mod listing;
mod mode;
mod origin;
mod problem;
mod reason;
mod registry;
mod report;
mod request;
mod settings;
mod shared_fixes;
mod time_text;
mod token_file;
mod tools;
mod users;

pub use self::origin::Origin;
pub use self::problem::Problem;
pub use self::registry::{RegistryUrl, RegistryUrlError};
pub use self::request::Request;
pub(crate) use self::tools::HELPER_PROGRAM;
pub use self::tools::ToolPaths;

/// Time limit of the whole diagnosis. The 10 s of other commands are too short for eight steps.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Prints the finding of each step, and returns the exit code of the first step that fails.
///
/// # Errors
/// If stdout cannot be written, or the system has no resources for a client.
pub fn run(request: &Request) -> anyhow::Result<Exit> {
    let mut report = Report::new(request.registry.is_some(), request.format);
    block_on(check_steps(request, &mut report))??;
    report.skip_remaining()?;
    report.record_as("mode", mode::check(request))?;
    if let Some(registry) = &request.registry {
        report.record_as("tools", tools::check(registry, &request.tools, &request.paths))?;
    }
    Ok(report.exit())
}

/// Runs the steps in order. Each needs the value of the one before, so that the first failure ends the run.
async fn check_steps(request: &Request, report: &mut Report) -> anyhow::Result<()> {
    let deadline = Deadline::after(request.timeout.unwrap_or(TIMEOUT));
    let Some(mut effective) = report.record(settings::check(request))? else { return Ok(()) };
    // No longer than other commands wait: a broker that they miss must fail here too.
    effective.settings.timeout = deadline.step_timeout().min(effective.command_timeout);
    let Some(mut client) = report.record(address::check(&effective, deadline).await)? else { return Ok(()) };
    client.set_timeout(deadline.step_timeout());
    let Some(health) = report.record(health::check(&mut client, &effective).await)? else { return Ok(()) };
    client.set_timeout(deadline.step_timeout());
    let Some(principal) = report.record(caller::check(&mut client, &effective).await)? else { return Ok(()) };
    client.set_timeout(deadline.step_timeout());
    match &request.registry {
        None if health == Health::WithoutCredentials => Ok(()),
        None => report.record(listing::check(&mut client).await).map(drop),
        Some(registry) => {
            let answer = CredentialAnswer::request(&mut client, &effective, registry, &principal).await;
            let Some(credentials) = record_answer(&answer, report)? else { return Ok(()) };
            let query = effective.query(registry);
            let url = request.registry_url.as_ref();
            let check = RegistryCheck { client: &mut client, query: &query, url, deadline };
            report.record(check.run(&credentials).await).map(drop)
        }
    }
}

fn record_answer(answer: &CredentialAnswer<'_>, report: &mut Report) -> anyhow::Result<Option<RegistryCredentials>> {
    if report.record(answer.grant())?.is_none() || report.record(answer.aws())?.is_none() {
        return Ok(None);
    }
    report.record(answer.token())
}
