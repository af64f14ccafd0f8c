//! `doctor`: the flags and variables of a diagnosis.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use tracing_subscriber::filter::LevelFilter;

use self::setting_origins::SettingOrigins;
use super::connection_args::ConnectionArgs;
use crate::client::PartialConfig;
use crate::doctor::{self, Origin, RegistryUrl, Request, ToolPaths};
use crate::terminal::Format;

mod setting_origins;

const EXAMPLES: &str = "\
Examples:
  ecr-broker doctor
  ecr-broker doctor 123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/app:v1
  ecr-broker doctor -o json public.ecr.aws | jq -r 'select(.result == \"FAIL\") | .fixes[]'

Exit codes: 0 every step is ok, else that of the first step that fails: 3 not an ECR registry, 4 not allowed, 5 \
unavailable, 1 any other failure";

const TIMEOUT_HELP: &str = "Time limit of the whole diagnosis; only this flag sets it [default: 30s]";

#[derive(Debug, clap::Args)]
#[command(mut_arg("timeout", |timeout| timeout.help(TIMEOUT_HELP).hide_env(true)), after_long_help = EXAMPLES)]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
pub(super) struct Args {
    // First: clap removes each argument that it has read.
    #[command(flatten)]
    origins: SettingOrigins,
    /// Registry host, URL or image reference; without it, list what you may request
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
    /// Profile to request
    #[arg(long, env = "ECR_BROKER_PROFILE")]
    profile: Option<String>,
    /// URL to check instead of https://REGISTRY, such as a VPC endpoint
    ///
    /// It receives the credential: use https, or http with a loopback address.
    #[arg(long, value_name = "URL", requires = "registry")]
    registry_url: Option<RegistryUrl>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    tools: ToolArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// The environment of docker and podman.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "help texts, not Markdown")]
struct ToolArgs {
    /// $DOCKER_CONFIG, docker's directory
    #[arg(long, env = "DOCKER_CONFIG", hide = true)]
    docker_config: Option<PathBuf>,
    /// $REGISTRY_AUTH_FILE, podman's file
    #[arg(long, env = "REGISTRY_AUTH_FILE", hide = true)]
    auth_file: Option<PathBuf>,
    /// $PATH, which they search for helpers
    #[arg(long, env = "PATH", hide = true)]
    path: Option<OsString>,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    // The diagnosis itself tells what the log would warn of.
    args.connection.start_log(LevelFilter::ERROR);
    Ok(doctor::run(&args.into())?.into())
}

impl From<Args> for Request {
    fn from(args: Args) -> Self {
        let (settings, paths) = args.connection.partial_config();
        let SettingOrigins(origins) = args.origins;
        // The variable and client.toml limit single calls, and are too short for a diagnosis.
        let by_flag = origins.contains(&("timeout", Origin::Flag("timeout")));
        let ToolArgs { docker_config, auth_file, path } = args.tools;
        Self {
            registry: args.registry,
            registry_url: args.registry_url,
            timeout: settings.timeout.filter(|_| by_flag),
            settings: PartialConfig { profile: args.profile, ..settings },
            origins,
            paths,
            tools: ToolPaths { docker_config, auth_file, path },
            format: args.output,
        }
    }
}
