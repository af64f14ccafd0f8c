//! `doctor`: the flags and variables of a diagnosis.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use self::setting_origins::SettingOrigins;
use super::connection::Connection;
use crate::client::PartialConfig;
use crate::doctor::{self, Origin, RegistryUrl, Request};

mod setting_origins;

#[derive(Debug, clap::Args)]
#[command(mut_arg("timeout", |timeout| timeout.help("How long to take in all; the variable and client.toml say it for other commands [default: 30s]")))]
pub(super) struct Args {
    // First: clap removes the value of each argument that it has read.
    #[command(flatten)]
    origins: SettingOrigins,
    /// A registry host, URL or image reference; without one the way ends with what may be asked for
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
    /// The profile to ask for
    #[arg(long, env = "ECR_BROKER_PROFILE")]
    profile: Option<String>,
    /// Where the registry is asked instead of https://REGISTRY, such as a VPC endpoint or a registry for tests; it is sent the
    /// credential. https, or http to a loopback address
    #[arg(long, value_name = "URL", requires = "registry")]
    registry_url: Option<RegistryUrl>,
    #[command(flatten)]
    tools: ToolArgs,
    #[command(flatten)]
    connection: Connection,
}

/// The environment of docker and podman.
#[derive(Debug, clap::Args)]
struct ToolArgs {
    /// $DOCKER_CONFIG, docker's directory
    #[arg(long, env = "DOCKER_CONFIG", hide = true)]
    docker_config: Option<PathBuf>,
    /// $REGISTRY_AUTH_FILE, podman's file
    #[arg(long, env = "REGISTRY_AUTH_FILE", hide = true)]
    auth_file: Option<PathBuf>,
    /// $PATH, where they look for helpers
    #[arg(long, env = "PATH", hide = true)]
    path: Option<OsString>,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    Ok(doctor::run(&args.into())?.into())
}

impl From<Args> for Request {
    fn from(args: Args) -> Self {
        let (settings, paths) = args.connection.given();
        let Args { origins: SettingOrigins(origins), tools, .. } = args;
        // The variable and the file set the time of commands that make one call.
        let by_flag = origins.contains(&("timeout", Origin::Flag("timeout")));
        Self {
            registry: args.registry,
            registry_url: args.registry_url,
            timeout: settings.timeout.filter(|_| by_flag),
            settings: PartialConfig { profile: args.profile, ..settings },
            origins,
            paths,
            tools: doctor::ToolPaths {
                docker_config: tools.docker_config,
                auth_file: tools.auth_file,
                path: tools.path,
            },
        }
    }
}
