//! `helper`: the protocols of docker, kubelet and Bazel, for those who have no program of their own name for them.

use std::process::ExitCode;

use super::connection::Connection;
use crate::helper::{self, Setup, bazel, docker, kubelet};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, clap::Subcommand)]
enum Protocol {
    /// docker's credential helpers; the program docker-credential-ecr-broker speaks it too
    Docker {
        /// get, store, erase, list or version
        action: String,
        #[command(flatten)]
        options: Options,
    },
    /// kubelet's image credential providers
    Kubelet {
        #[command(flatten)]
        options: Options,
    },
    /// Bazel's credential helpers
    Bazel {
        /// get
        action: String,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Debug, clap::Args)]
struct Options {
    /// The profile to mint credentials with
    #[arg(long, env = "ECR_BROKER_PROFILE")]
    profile: Option<String>,
    /// Who has the logins of other registries: a helper's name (secretservice), or a file (/path/auth.json)
    #[arg(long, value_name = "NAME|FILE")]
    next: Option<String>,
    /// A program of the same protocol to ask where no broker answers, with its arguments
    #[arg(long, value_name = "COMMAND")]
    fallback_exec: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

impl Options {
    fn setup(self) -> Result<Setup, String> {
        let (mut given, home) = self.connection.given();
        (given.profile, given.delegate) = (self.profile, self.next);
        let setup = Setup::new(given, &home).map_err(|error| error.to_string())?;
        Ok(setup.falling_back_on(self.fallback_exec))
    }
}

/// What the program is under another name, as a link to it: tools look for helpers by names, and give them no argument of ours.
pub(super) fn under_another_name() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next()?;
    let name = std::path::Path::new(&program).file_name()?.to_str()?;
    let setup = || Setup::from_environment().map_err(|error| error.to_string());
    let action = arguments.next().unwrap_or_default();
    let action = action.to_string_lossy();
    let question = || helper::question().unwrap_or_default();
    let reply = match name {
        // With whatever argument: Amazon's takes get-credentials.
        "ecr-credential-provider" => kubelet::answer(setup(), &question()),
        "bazel-credential-ecr-broker" => bazel::answer(setup(), &action, &question()),
        _ if name.starts_with("docker-credential-") => docker::run(setup, &action),
        _ => return None,
    };
    Some(reply.say())
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let reply = match args.protocol {
        Protocol::Docker { action, options } => docker::run(|| options.setup(), &action),
        Protocol::Kubelet { options } => kubelet::answer(options.setup(), &helper::question()?),
        Protocol::Bazel { action, options } => bazel::answer(options.setup(), &action, &helper::question()?),
    };
    Ok(reply.say())
}
