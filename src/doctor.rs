//! Diagnoses a failing pull: checks each step from this machine's settings to the registry, and suggests a fix.

use std::time::Duration;

use tokio::time::Instant;

use self::credential::Asked;
use self::deadline::Deadline;
use self::health::Health;
use self::registry::RegistryCheck;
use self::report::Report;
use self::settings::EffectiveSettings;
use crate::client::{Client, Query, RegistryCredentials, block_on};
use crate::exit_code::Exit;

mod address;
mod caller;
mod credential;
mod deadline;
mod files;
mod grant;
mod health;
mod listing;
mod origin;
mod reason;
mod registry;
mod report;
mod request;
mod settings;
mod time;
mod token;
mod tools;
mod users;

pub use self::origin::Origin;
pub use self::registry::{RegistryUrl, RegistryUrlError};
pub use self::request::Request;
pub use self::tools::ToolPaths;

/// The time for all checks together: the 5 s of other commands are too little for eight steps.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Prints one line for each step and returns the exit code of the first one that fails.
///
/// # Errors
/// Where stdout cannot be written to, or the system has no resources for the client.
pub fn run(request: &Request) -> anyhow::Result<Exit> {
    let mut report = Report::new(request.registry.is_some());
    block_on(check_steps(request, &mut report))??;
    report.skip_remaining()?;
    if let Some(registry) = &request.registry {
        report.record(tools::check(registry, &request.tools, &request.home))?;
    }
    Ok(report.exit())
}

/// Prints each step as it ends. A step that fails has nothing to give to the next one, and ends the walk.
async fn check_steps(request: &Request, report: &mut Report) -> anyhow::Result<()> {
    let deadline = Deadline::after(request.timeout.unwrap_or(TIMEOUT));
    let Some(mut effective) = report.record(settings::check(request))? else { return Ok(()) };
    // As long as any other command waits for a broker, and no longer: what they miss is no broker to them.
    effective.settings.timeout = deadline.step_timeout().min(effective.usual_timeout);
    let Some(mut client) = report.record(address::check(&effective, deadline).await)? else { return Ok(()) };
    client.set_timeout(deadline.step_timeout());
    let Some(health) = report.record(health::check(&client, &effective).await)? else { return Ok(()) };
    client.set_timeout(deadline.step_timeout());
    let Some(principal) = report.record(caller::check(&client, &effective).await)? else { return Ok(()) };
    client.set_timeout(deadline.step_timeout());
    match &request.registry {
        _ if health == Health::WithoutCredentials => Ok(()),
        None => report.record(listing::check(&client).await).map(drop),
        Some(registry) => {
            let Some(credentials) = ask(&client, &effective, (registry, &principal), report).await? else {
                return Ok(());
            };
            let query = query(registry, &effective);
            let url = request.registry_url.as_ref();
            let check = RegistryCheck { client: &mut client, query: &query, url, deadline };
            report.record(check.run(&credentials).await).map(drop)
        }
    }
}

/// One call answers three steps: whether it is granted, whether AWS gives it, and what it is.
async fn ask(
    client: &Client<'_>,
    effective: &EffectiveSettings,
    (registry, principal): (&str, &str),
    report: &mut Report,
) -> anyhow::Result<Option<RegistryCredentials>> {
    let started = Instant::now();
    let answer = client.credentials_once(&query(registry, effective), "").await;
    let asked = Asked { answer, took: started.elapsed(), registry, principal, effective };
    if report.record(asked.grant())?.is_none() || report.record(asked.aws())?.is_none() {
        return Ok(None);
    }
    report.record(asked.token())
}

fn query(registry: &str, effective: &EffectiveSettings) -> Query {
    Query { registry: registry.to_owned(), profile: effective.profile.clone(), min_validity: None }
}
