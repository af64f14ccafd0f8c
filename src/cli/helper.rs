//! `helper`: the credential helper protocols of docker, kubelet and Bazel.

use std::process::ExitCode;

use super::connection_args::ConnectionArgs;
use crate::helper::{Setup, bazel, docker, kubelet};

const EXAMPLES: &str = "\
Examples:
  echo public.ecr.aws | ecr-broker helper docker get
  echo '{\"uri\":\"https://public.ecr.aws/v2/\"}' | ecr-broker helper bazel get";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, clap::Subcommand)]
enum Protocol {
    /// Speak docker's credential helper protocol
    ///
    /// The program docker-credential-ecr-broker speaks the same protocol and starts faster.
    Docker {
        /// Action: get, store, erase, list or version
        action: String,
        #[command(flatten)]
        options: Options,
    },
    /// Speak kubelet's credential provider protocol
    ///
    /// A link to this program named ecr-credential-provider does the same.
    Kubelet {
        #[command(flatten)]
        options: Options,
    },
    /// Speak Bazel's credential helper protocol
    ///
    /// A link to this program named bazel-credential-ecr-broker does the same.
    Bazel {
        /// Action: get
        action: String,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Profile to request
    #[arg(long, env = "ECR_BROKER_PROFILE")]
    profile: Option<String>,
    /// Credential helper (secretservice) or auth file (/path/auth.json) for other registries
    ///
    /// Only the docker protocol uses it. client.toml can set it with the key `next`.
    #[arg(long, value_name = "NAME|FILE")]
    next: Option<String>,
    /// Command of the same protocol to run when no broker answers
    ///
    /// The program and its arguments, separated by spaces. It does not run after an error from the broker, except while the broker shuts down.
    #[arg(long, value_name = "COMMAND")]
    fallback_exec: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl Options {
    fn setup(self) -> Result<Setup, String> {
        let (mut config, paths) = self.connection.partial_config();
        (config.profile, config.delegate) = (self.profile, self.next);
        let setup = Setup::new(config, &paths).map_err(|error| error.to_string())?;
        Ok(setup.with_fallback(self.fallback_exec))
    }
}

/// Runs as a helper under the name of a link to the program: tools find their helpers by name and pass no argument of ours.
pub(super) fn run_by_program_name() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next()?;
    let name = std::path::Path::new(&program).file_name()?.to_str()?;
    let setup = || Setup::from_environment().map_err(|error| error.to_string());
    let action = arguments.next().unwrap_or_default();
    let action = action.to_string_lossy();
    let output = match name {
        // Amazon's provider is configured with the argument get-credentials; any argument is accepted.
        "ecr-credential-provider" => kubelet::run(setup),
        "bazel-credential-ecr-broker" => bazel::run(setup, &action),
        _ if name.starts_with("docker-credential-") => docker::run(setup, &action),
        _ => return None,
    };
    Some(output.print())
}

pub(super) fn run(args: Args) -> ExitCode {
    let output = match args.protocol {
        Protocol::Docker { action, options } => docker::run(|| options.setup(), &action),
        Protocol::Kubelet { options } => kubelet::run(|| options.setup()),
        Protocol::Bazel { action, options } => bazel::run(|| options.setup(), &action),
    };
    output.print()
}
