//! `configure`: configures docker, podman, kubelet and Bazel to use the credential helper.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use crate::doctor::{HELPER_PROGRAM, ToolPaths};
use crate::environment;
use crate::exit_code::Exit;
use crate::helper::registry_auth::HELPER_NAME;
use crate::json_file::{self, FileMode, Target};
use crate::registry::{DOCKER_HUB, Registry, RegistryError};
use crate::terminal::{print_error, print_line};

const EXAMPLES: &str = "\
Examples:
  ecr-broker configure docker 123456789012.dkr.ecr.eu-central-1.amazonaws.com public.ecr.aws
  ecr-broker configure podman --dry-run 123456789012.dkr.ecr.eu-central-1.amazonaws.com
  ecr-broker configure kubelet >/etc/kubernetes/credential-providers.yaml
  ecr-broker configure kubelet --service-account-tokens ecr-broker >credential-providers.yaml
  ecr-broker configure bazel public.ecr.aws >>.bazelrc

Exit codes: 0 changed, printed or nothing to change, 1 the file cannot be changed, 2 wrong flags, 3 not an ECR \
registry";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, clap::Subcommand)]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
enum Tool {
    /// Configure docker to use the credential helper
    ///
    /// Adds the registries to credHelpers in docker's config.json, which other programs read too. docker then runs
    /// docker-credential-ecr-broker for them. Everything else in the file stays.
    Docker {
        #[command(flatten)]
        file: FileArgs,
        /// Directory of docker's configuration
        #[arg(long, env = "DOCKER_CONFIG", hide = true)]
        docker_config: Option<PathBuf>,
        /// Home directory; .docker below it is the default
        #[arg(long, env = "HOME", hide = true)]
        home: Option<PathBuf>,
    },
    /// Configure podman, buildah and skopeo to use the helper
    ///
    /// Adds the registries to credHelpers in podman's auth.json. Everything else in the file stays.
    Podman {
        #[command(flatten)]
        file: FileArgs,
        /// Auth file of podman
        #[arg(long, env = "REGISTRY_AUTH_FILE", hide = true)]
        auth_file: Option<PathBuf>,
        /// Directory of containers/auth.json, which survives a restart
        #[arg(long, env = "XDG_CONFIG_HOME", hide = true)]
        config_home: Option<PathBuf>,
        /// Home directory; .config below it is the default
        #[arg(long, env = "HOME", hide = true)]
        home: Option<PathBuf>,
    },
    /// Print a CredentialProviderConfig for kubelet
    Kubelet {
        /// Registry hosts, URLs or image references; default: all ECR hosts
        #[arg(value_name = "REGISTRY")]
        registries: Vec<String>,
        /// Send the token of the pod's service account, for this audience
        ///
        /// The broker then sees the pod's service account instead of the node. It needs kubelet 1.34 or later, and a ClusterRole
        /// that lets nodes request tokens for the audience. Pods without a service account, such as static pods, get no credentials.
        #[arg(long, value_name = "AUDIENCE", value_parser = audience)]
        service_account_tokens: Option<String>,
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
    /// File to change, instead of the tool's own
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the changes without writing them
    #[arg(long)]
    dry_run: bool,
}

impl Tool {
    fn registries(&self) -> &[String] {
        match self {
            Self::Docker { file, .. } | Self::Podman { file, .. } => &file.registries,
            Self::Kubelet { registries, .. } | Self::Bazel { registries } => registries,
        }
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let hosts = match hosts(args.tool.registries()) {
        Ok(hosts) => hosts,
        Err(problem) => {
            print_error(problem);
            return Ok(Exit::NotRegistry.into());
        }
    };
    match args.tool {
        Tool::Docker { file, docker_config, home } => {
            let default = docker_config.or_else(|| Some(home?.join(".docker")));
            patch(&file, &hosts, default.map(|directory| directory.join("config.json")))?;
        }
        Tool::Podman { file, auth_file, config_home, home } => {
            let config = config_home.or_else(|| Some(home?.join(".config")));
            patch(&file, &hosts, auth_file.or_else(|| Some(config?.join("containers/auth.json"))))?;
        }
        Tool::Kubelet { service_account_tokens, .. } => {
            print_line(kubelet(&hosts, service_account_tokens.as_deref()))?;
        }
        Tool::Bazel { .. } => {
            let line = |host: &String| format!("common --credential_helper={host}=%workspace%/tools/ecr-credentials");
            let lines: Vec<_> = hosts.iter().map(line).collect();
            print_line(format_args!(
                "# tools/ecr-credentials: exec ecr-broker helper bazel \"$@\"\n{}",
                lines.join("\n")
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the hosts without duplicates, in the order of the arguments.
fn hosts(registries: &[String]) -> Result<Vec<String>, String> {
    let mut hosts = Vec::new();
    for registry in registries {
        let host = match registry.parse::<Registry>() {
            Ok(parsed) => parsed.host().ok_or_else(|| format!("{registry} has no account; write the full host"))?,
            Err(RegistryError::NotEcr { host }) if DOCKER_HUB.contains(&host.as_str()) => {
                return Err(format!("{host} is Docker Hub; the broker serves ECR registries and their aliases"));
            }
            Err(RegistryError::NotEcr { host }) => {
                print_error(format_args!("{host} is not an ECR host; make sure that the broker's [aliases] name it"));
                host
            }
            Err(error) => return Err(error.to_string()),
        };
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}

/// Warns if the tool would not find the helper that its configuration names.
fn warn_of_missing_helper() {
    let paths = ToolPaths { path: environment::variable("PATH"), ..ToolPaths::default() };
    if paths.find(HELPER_PROGRAM).is_none() {
        print_error(format_args!(
            "warning: {HELPER_PROGRAM} is not in the PATH, where the tool looks for it; install it there, or link ecr-broker under this name"
        ));
    }
}

/// Names the helper for each host in `credHelpers` and keeps everything else.
fn patch(args: &FileArgs, hosts: &[String], default: Option<PathBuf>) -> anyhow::Result<()> {
    let file = args.file.clone().or(default).context("no default file: HOME is not set; set --file")?;
    let file = std::path::absolute(file)?;
    let target = Target::of(&file).map_err(anyhow::Error::msg)?;
    let changes = changes(&json_file::read_target(&target).map_err(anyhow::Error::msg)?, hosts, &file)?;
    if changes.is_empty() {
        return print_line(format_args!("{} already names the helper for these registries", file.display()));
    }
    if !args.dry_run {
        json_file::update_target(&target, FileMode::Keep, |config| {
            let helpers = json_file::object_mut(config, "credHelpers", &file)?;
            helpers.extend(hosts.iter().map(|host| (host.clone(), HELPER_NAME.into())));
            Ok(())
        })
        .map_err(anyhow::Error::msg)?;
        warn_of_missing_helper();
    }
    print_line(format_args!(
        "{}{}\n{}",
        file.display(),
        if args.dry_run { " would change:" } else { ":" },
        changes.join("\n")
    ))
}

/// Returns the changes, each as lines of a diff.
fn changes(config: &Map<String, Value>, hosts: &[String], file: &Path) -> anyhow::Result<Vec<String>> {
    let none = Map::new();
    let helpers = match config.get("credHelpers") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(helpers)) => helpers,
        Some(_) => bail!("{}: credHelpers is not an object; correct the file", file.display()),
    };
    let change = |host: &String| match helpers.get(host) {
        Some(old) if old == HELPER_NAME => None,
        Some(old) => Some(format!("- credHelpers[\"{host}\"] = {old}\n+ credHelpers[\"{host}\"] = \"{HELPER_NAME}\"")),
        None => Some(format!("+ credHelpers[\"{host}\"] = \"{HELPER_NAME}\"")),
    };
    Ok(hosts.iter().filter_map(change).collect())
}

/// Reads an audience that needs no escapes in YAML.
fn audience(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    if text.is_empty() || !text.bytes().all(is_plain) {
        return Err("expected the audience of authentication.jwt, without spaces and quotes".to_owned());
    }
    Ok(text.to_owned())
}

/// Returns the attributes of the tokens of service accounts. What the broker releases depends on the service account, not on the pod.
fn token_attributes(audience: &str) -> String {
    format!(
        "\n    tokenAttributes:\n      serviceAccountTokenAudience: \"{audience}\"\n      cacheType: ServiceAccount\n      \
         requireServiceAccount: true"
    )
}

fn kubelet(hosts: &[String], audience: Option<&str>) -> String {
    // In matchImages each "*" matches one label of a host.
    let every_host = || Registry::host_patterns("*", "*").into_iter().chain(Registry::PUBLIC_HOSTS.map(str::to_owned));
    let images: Vec<_> = if hosts.is_empty() { every_host().collect() } else { hosts.to_vec() };
    let images: Vec<_> = images.into_iter().map(|host| format!("      - \"{host}\"")).collect();
    format!(
        "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n  - name: ecr-broker\n    \
         apiVersion: credentialprovider.kubelet.k8s.io/v1\n    args: [helper, kubelet]\n    defaultCacheDuration: \"0s\"\n    matchImages:\n{}{}",
        images.join("\n"),
        audience.map(token_attributes).unwrap_or_default()
    )
}
