//! `configure`: what docker, podman, kubelet and Bazel have to be told.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Map, Value, json};

use crate::json_file::{self, FileMode};
use crate::registry::{DOCKER_HUB, Registry, RegistryError};
use crate::terminal::{print_error, print_line};

/// As docker looks for it: docker-credential-ecr-broker.
const HELPER: &str = "ecr-broker";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, clap::Subcommand)]
enum Tool {
    /// Have docker, and what reads its configuration, ask docker-credential-ecr-broker for registries
    Docker {
        #[command(flatten)]
        file: FileArgs,
        /// $DOCKER_CONFIG, docker's directory
        #[arg(long, env = "DOCKER_CONFIG", hide = true)]
        docker_config: Option<PathBuf>,
        /// $HOME, below which it is otherwise
        #[arg(long, env = "HOME", hide = true)]
        home: Option<PathBuf>,
    },
    /// The same for podman, buildah and skopeo
    Podman {
        #[command(flatten)]
        file: FileArgs,
        /// $REGISTRY_AUTH_FILE, podman's file
        #[arg(long, env = "REGISTRY_AUTH_FILE", hide = true)]
        auth_file: Option<PathBuf>,
        /// $XDG_CONFIG_HOME, below which one is that stays
        #[arg(long, env = "XDG_CONFIG_HOME", hide = true)]
        config_home: Option<PathBuf>,
        /// $HOME, below which that is otherwise
        #[arg(long, env = "HOME", hide = true)]
        home: Option<PathBuf>,
    },
    /// Print a CredentialProviderConfig for kubelet
    Kubelet {
        /// Registry hosts, URLs or image references; none: all of ECR's
        #[arg(value_name = "REGISTRY")]
        registries: Vec<String>,
    },
    /// Print lines for .bazelrc
    Bazel {
        /// Registry hosts, URLs or image references
        #[arg(required = true, value_name = "REGISTRY")]
        registries: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// Registry hosts, URLs or image references
    #[arg(required = true, value_name = "REGISTRY")]
    registries: Vec<String>,
    /// The file to change, instead of the tool's own
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.tool {
        Tool::Docker { file, docker_config, home } => {
            let own = given(docker_config).or_else(|| Some(given(home)?.join(".docker")));
            patch(&file, own.map(|directory| directory.join("config.json")))?;
        }
        Tool::Podman { file, auth_file, config_home, home } => {
            let stays = given(config_home).or_else(|| Some(given(home)?.join(".config")));
            patch(&file, given(auth_file).or_else(|| Some(stays?.join("containers/auth.json"))))?;
        }
        Tool::Kubelet { registries } => print_line(kubelet(&hosts(&registries)?))?,
        Tool::Bazel { registries } => {
            let line = |host: &String| format!("common --credential_helper={host}=%workspace%/tools/ecr-credentials");
            let lines: Vec<_> = hosts(&registries)?.iter().map(line).collect();
            print_line(format_args!(
                "# tools/ecr-credentials: exec ecr-broker helper bazel \"$@\"\n{}",
                lines.join("\n")
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A variable that is empty says nothing.
fn given(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// Each once, in the order that they were given in.
fn hosts(registries: &[String]) -> anyhow::Result<Vec<String>> {
    let mut hosts = Vec::new();
    for registry in registries {
        let host = match registry.parse::<Registry>() {
            Ok(parsed) => parsed.host().ok_or_else(|| anyhow!("{registry} names no account"))?,
            Err(RegistryError::NotEcr { host }) if DOCKER_HUB.contains(&host.as_str()) => {
                bail!("{host} is Docker Hub's, and nothing of the broker's");
            }
            Err(RegistryError::NotEcr { host }) => {
                print_error(format_args!("{host} is no host of ECR's; the broker must have it among its aliases"));
                host
            }
            Err(error) => return Err(error.into()),
        };
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}

/// Names the helper for each host in `credHelpers`, and leaves everything else as it is.
fn patch(args: &FileArgs, own: Option<PathBuf>) -> anyhow::Result<()> {
    let file = args.file.clone().or(own).context("it is not known where the file is; name it with --file")?;
    let file = std::path::absolute(file)?;
    let hosts = hosts(&args.registries)?;
    let changes = changes(&json_file::read(&file).map_err(anyhow::Error::msg)?, &hosts, &file)?;
    if changes.is_empty() {
        return print_line(format_args!("{} names the helper for these registries already", file.display()));
    }
    if !args.dry_run {
        json_file::update(&file, FileMode::Keep, |config| {
            if let Value::Object(helpers) = config.entry("credHelpers").or_insert_with(|| json!({})) {
                helpers.extend(hosts.iter().map(|host| (host.clone(), HELPER.into())));
            }
            Ok(())
        })
        .map_err(anyhow::Error::msg)?;
    }
    print_line(format_args!(
        "{}{}\n{}",
        file.display(),
        if args.dry_run { " would change:" } else { ":" },
        changes.join("\n")
    ))
}

/// What would be another, a line each.
fn changes(config: &Map<String, Value>, hosts: &[String], file: &Path) -> anyhow::Result<Vec<String>> {
    let none = Map::new();
    let helpers = match config.get("credHelpers") {
        None => &none,
        Some(Value::Object(helpers)) => helpers,
        Some(_) => bail!("{}: credHelpers is no object", file.display()),
    };
    let change = |host: &String| match helpers.get(host) {
        Some(old) if old == HELPER => None,
        Some(old) => Some(format!("- credHelpers[\"{host}\"] = {old}\n+ credHelpers[\"{host}\"] = \"{HELPER}\"")),
        None => Some(format!("+ credHelpers[\"{host}\"] = \"{HELPER}\"")),
    };
    Ok(hosts.iter().filter_map(change).collect())
}

fn kubelet(hosts: &[String]) -> String {
    // Each "*" is one label of a host.
    let every_host = || Registry::host_patterns("*", "*").into_iter().chain(Registry::PUBLIC_HOSTS.map(str::to_owned));
    let images: Vec<_> = if hosts.is_empty() { every_host().collect() } else { hosts.to_vec() };
    let images: Vec<_> = images.into_iter().map(|host| format!("      - \"{host}\"")).collect();
    format!(
        "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n  - name: ecr-broker\n    \
         apiVersion: credentialprovider.kubelet.k8s.io/v1\n    args: [helper, kubelet]\n    defaultCacheDuration: \"0s\"\n    matchImages:\n{}",
        images.join("\n")
    )
}
