//! Flags of the target that is a set of Kubernetes Secrets.

use std::collections::BTreeSet;

use super::SecretsTarget;
use super::names::{Names, SecretArg};
use super::remove::remove;
use super::template::{Layout, Template};
use crate::cli::sync::auth_entries::AuthEntries;
use crate::cli::sync::target::Update;
use crate::cli::sync::updater::Updater;
use crate::client::{Query, Settings, registry_host};
use crate::clock::{Clock as _, SystemClock};
use crate::exit_code::Exit;
use crate::kubernetes::{Api, Selector};
use crate::terminal::print_error;

/// The other targets. One target is required, so these flags are refused without `--kubernetes-secret`.
const FILES: [&str; 2] = ["docker_config", "authfile"];

/// Flags that belong to `--kubernetes-secret`.
#[derive(Debug, clap::Args)]
pub(in crate::cli::sync) struct SecretsArgs {
    /// Label of the namespaces of Secrets that are named without one
    ///
    /// A namespace that gets the label gets the Secrets in about 30 s. One that loses it keeps them without credentials.
    #[arg(long, value_name = "LABEL=VALUE", conflicts_with_all = FILES)]
    namespace_selector: Option<Selector>,
    /// Reader of the Secrets; each but docker takes one registry
    #[arg(long, value_enum, default_value_t = Template::Docker, conflicts_with_all = FILES)]
    template: Template,
    /// Delete the Secrets that sync created, and exit
    ///
    /// Needs the permission to delete Secrets. Stop sync first: it would create them again.
    #[arg(long, conflicts_with_all = FILES, conflicts_with_all = ["registries", "once"])]
    remove: bool,
}

/// Runs sync with Secrets as its target.
pub(in crate::cli::sync) async fn run(
    args: &SecretsArgs,
    secrets: &[SecretArg],
    is_once: bool,
    settings: &Settings,
    queries: &[Query],
) -> anyhow::Result<Exit> {
    let names = match Names::new(secrets, args.namespace_selector.as_ref()) {
        Ok(names) if args.remove || !args.template.is_for_one_registry() || queries.len() == 1 => names,
        Ok(_) => return Ok(usage("--template has one registry in each Secret; name one registry")),
        Err(problem) => return Ok(usage(problem)),
    };
    let api = Api::load().await.map_err(anyhow::Error::msg)?;
    if args.remove {
        return remove(&api, &names).await;
    }
    let registry = queries.first().map(|query| query.registry.as_str()).unwrap_or_default();
    let requested: BTreeSet<_> = queries.iter().filter_map(|query| registry_host(&query.registry)).collect();
    let layout = Layout::new(args.template, registry);
    let target = SecretsTarget::new(api, layout, names, requested, SystemClock::new().now());
    let mut updater = Updater::new(target, AuthEntries::default(), Update::default());
    if is_once { updater.update_once(settings, queries).await } else { updater.follow(settings, queries).await }
}

fn usage(problem: &str) -> Exit {
    print_error(problem);
    Exit::Usage
}
