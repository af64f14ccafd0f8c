//! `sync`: keeps a credential file of docker or podman, or Secrets of Kubernetes, up to date from a watch.
//!
//! Their readers do not call the broker. So `sync` must remove an expired entry, and must keep a valid one while no broker answers.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use self::file_target::FileTarget;
use self::updater::Updater;
use super::connection_args::ConnectionArgs;
use super::watch_args::WatchArgs;
use crate::client::{Query, Settings, block_on, registry_host};
use crate::clock::{Clock as _, SystemClock};
use crate::exit_code::Exit;
use crate::terminal::print_error;

mod auth_entries;
mod auth_file;
mod expiry_notes;
mod failure_notes;
mod file_lock;
mod file_target;
mod hook;
#[cfg(feature = "kubernetes")]
mod secrets;
mod target;
mod updater;

const EXAMPLES: &str = "\
Examples:
  ecr-broker sync --docker-config /run/docker 123456789012.dkr.ecr.eu-central-1.amazonaws.com
  ecr-broker sync --authfile /run/containers/0/auth.json --merge
  ecr-broker sync --once --authfile auth.json public.ecr.aws
  ecr-broker sync --kubernetes-secret ecr-pull --namespace-selector ecr-pull=true
  ecr-broker sync --remove --kubernetes-secret team-a/ecr-pull

stdout has a line for each change of the file or a Secret. A failure that repeats is printed every ten minutes.

Exit codes: 0 stopped by a signal or, with --once, written, 1 the file or a Secret cannot be written, 2 wrong flags, \
3 not an ECR registry, 4 not allowed, 5 retry later";

/// docker's configuration file, in its directory.
const DOCKER_FILE: &str = "config.json";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
pub(super) struct Args {
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    secrets: secrets::SecretsArgs,
    /// Keep content that sync did not write; without it, such content is an error
    #[arg(long)]
    merge: bool,
    /// Write once and exit, for example in an init container
    #[arg(long)]
    once: bool,
    /// Shell command to run after each change of the file
    ///
    /// sh runs it, with the file's path in ECR_SYNC_FILE. It also runs once at the start if the file exists. With --once it
    /// runs only if the file has changed.
    #[arg(long, value_name = "COMMAND")]
    on_change: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What to update.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
struct TargetArgs {
    /// Directory of docker's config.json; pull with DOCKER_CONFIG=DIR
    #[arg(long, value_name = "DIR")]
    docker_config: Option<PathBuf>,
    /// File for podman, buildah and skopeo; pull with REGISTRY_AUTH_FILE=FILE
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Secrets of Kubernetes, as NAMESPACE/NAME; several with several flags
    ///
    /// NAME without a namespace is the Secret of that name in each namespace of --namespace-selector. sync creates a Secret, and
    /// changes only Secrets that it created. The connection is that of KUBECONFIG or of the pod's service account.
    #[cfg(feature = "kubernetes")]
    #[arg(long, value_name = "[NAMESPACE/]NAME", conflicts_with_all = ["merge", "on_change"])]
    kubernetes_secret: Vec<secrets::SecretArg>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(problem) = args.watch.usage_error().filter(|_| !args.once) {
        print_error(problem);
        return Ok(Exit::Usage.into());
    }
    let (settings, profile) = args.connection.settings()?;
    let settings = settings.without_default_loopback();
    let queries = args.watch.queries(&profile);
    #[cfg(feature = "kubernetes")]
    if !args.target.kubernetes_secret.is_empty() {
        let work = secrets::run(&args.secrets, &args.target.kubernetes_secret, args.once, &settings, &queries);
        return Ok(block_on(work)??.into());
    }
    sync_file(args, &settings, &queries)
}

fn sync_file(args: &Args, settings: &Settings, queries: &[Query]) -> anyhow::Result<ExitCode> {
    let path = args.target.path()?;
    let hosts = queries.iter().filter_map(|query| registry_host(&query.registry)).collect();
    let opened = FileTarget::open(path, hosts, args.merge, SystemClock::new().now());
    let (mut target, entries, removal) = opened.map_err(anyhow::Error::msg)?;
    if args.once {
        let mut updater = Updater::new(target, entries, removal);
        let exit = block_on(updater.update_once(settings, queries))??;
        return Ok(after_change(args, &updater, exit).into());
    }
    if let Some(command) = &args.on_change {
        target.start_hook(command.clone())?;
    }
    Ok(block_on(Updater::new(target, entries, removal).follow(settings, queries))??.into())
}

/// Runs the command of `--on-change` if the file has changed. Returns the exit code of sync.
fn after_change(args: &Args, updater: &Updater<FileTarget>, exit: Exit) -> Exit {
    let Some(command) = args.on_change.as_ref().filter(|_| updater.has_changed()) else { return exit };
    match hook::run(command, updater.target().path()) {
        Ok(()) => exit,
        Err(problem) => {
            print_error(format_args!("{problem:#}"));
            if exit == Exit::Success { Exit::Failure } else { exit }
        }
    }
}

impl TargetArgs {
    fn path(&self) -> anyhow::Result<PathBuf> {
        let path = match (&self.docker_config, &self.authfile) {
            // docker's file instead of its directory.
            (Some(file), _) if file.ends_with(DOCKER_FILE) && !file.is_dir() => file.clone(),
            (Some(directory), _) => directory.join(DOCKER_FILE),
            (None, Some(file)) => file.clone(),
            (None, None) => bail!("name the file with --docker-config or --authfile"),
        };
        Ok(std::path::absolute(path)?)
    }
}
