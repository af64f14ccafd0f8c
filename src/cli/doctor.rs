//! `doctor`: the way from this machine's settings to the registry, step by step, until it ends.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use self::credential::Asked;
use self::health::Health;
use self::origin::Typed;
use self::registry::Visit;
use self::report::Report;
use self::settings::ActivePolicy;
use super::connection::Connection;
use crate::client::{Client, Query, RegistryCredentials, block_on};

mod address;
mod caller;
mod credential;
mod files;
mod grant;
mod health;
mod listing;
mod origin;
mod reason;
mod registry;
mod report;
mod settings;
mod time;
mod token;
mod tools;
mod users;

/// For everything, where the flag says nothing: what other commands are given is too little for so many steps.
const IN_ALL: Duration = Duration::from_secs(30);
/// For one step.
const ONE_STEP: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(mut_arg("timeout", |timeout| timeout.help("How long to take in all; the variable and client.toml say it for other commands [default: 30s]")))]
pub(super) struct Args {
    // Before the others: what they read is gone.
    #[command(flatten)]
    typed: Typed,
    /// A registry host, URL or image reference; without one the way ends with what may be asked for
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
    /// The profile to ask for
    #[arg(long, env = "ECR_BROKER_PROFILE")]
    profile: Option<String>,
    /// Where the registry is asked instead of https://REGISTRY, such as a VPC endpoint or a registry for tests; it is sent the
    /// credential. https, or http to a loopback address
    #[arg(long, value_name = "URL", value_parser = registry::base, requires = "registry")]
    registry_url: Option<reqwest::Url>,
    #[command(flatten)]
    tools: tools::Places,
    #[command(flatten)]
    connection: Connection,
}

/// What is left of the time.
#[derive(Debug, Clone, Copy)]
struct Time {
    end: Instant,
}

impl Time {
    fn of_step(self) -> Duration {
        self.end.saturating_duration_since(Instant::now()).min(ONE_STEP)
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(args.registry.is_some());
    block_on(walk(args, &mut report))??;
    report.skip_the_rest()?;
    if let Some(registry) = &args.registry {
        report.settle(tools::look(registry, &args.tools, &args.connection))?;
    }
    Ok(report.code())
}

/// Each step is told as it ends. Without what a step has to give there is no next one.
async fn walk(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let time = Time { end: Instant::now() + args.typed.timeout(&args.connection).unwrap_or(IN_ALL) };
    let Some(mut in_force) = report.settle(settings::examine(args))? else { return Ok(()) };
    // As long as any other command waits for a broker, and no longer: what they miss is no broker to them.
    in_force.settings.timeout = time.of_step().min(in_force.usual_timeout);
    let Some(mut client) = report.settle(address::reach(&in_force, time).await)? else { return Ok(()) };
    client.set_timeout(time.of_step());
    let Some(health) = report.settle(health::ask(&client, &in_force).await)? else { return Ok(()) };
    client.set_timeout(time.of_step());
    let Some(principal) = report.settle(caller::ask(&client, &in_force).await)? else { return Ok(()) };
    client.set_timeout(time.of_step());
    match &args.registry {
        _ if health == Health::WithoutCredentials => Ok(()),
        None => report.settle(listing::ask(&client).await).map(drop),
        Some(registry) => {
            let Some(credentials) = ask(&client, &in_force, (registry, &principal), report).await? else {
                return Ok(());
            };
            let query = query(registry, &in_force);
            let visit = Visit { client: &mut client, query: &query, base: args.registry_url.as_ref(), time };
            report.settle(visit.pay(&credentials).await).map(drop)
        }
    }
}

/// One call answers three steps: whether it is granted, whether AWS gives it, and what it is.
async fn ask(
    client: &Client<'_>,
    in_force: &ActivePolicy,
    (registry, principal): (&str, &str),
    report: &mut Report,
) -> anyhow::Result<Option<RegistryCredentials>> {
    let began = Instant::now();
    let answer = client.credentials_once(&query(registry, in_force), "").await;
    let asked = Asked { answer, took: began.elapsed(), registry, principal, in_force };
    if report.settle(asked.grant())?.is_none() || report.settle(asked.aws())?.is_none() {
        return Ok(None);
    }
    report.settle(asked.token())
}

fn query(registry: &str, in_force: &ActivePolicy) -> Query {
    Query { registry: registry.to_owned(), profile: in_force.profile.clone(), min_validity: None }
}
