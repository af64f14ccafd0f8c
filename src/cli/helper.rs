//! `helper`: the credential helper protocols of docker, kubelet and Bazel.

use std::process::ExitCode;

pub(super) use self::options::Options;
use crate::helper::{Output, Setup, bazel, docker, kubelet};

mod options;

const EXAMPLES: &str = "\
Examples:
  ecr-broker helper docker list
  echo public.ecr.aws | ecr-broker helper docker get
  echo '{\"uri\":\"https://public.ecr.aws/v2/\"}' | ecr-broker helper bazel get

Exit codes: 0 answered, 1 no credentials, or what the tool's protocol says";

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

/// Runs as a helper under the name of a link to the program: tools find their helpers by name and pass no argument of ours.
pub(super) fn run_by_program_name() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next()?;
    let name = std::path::Path::new(&program).file_name()?.to_str()?;
    let action = arguments.next().unwrap_or_default();
    let action = action.to_string_lossy();
    let for_person = |help| Output::for_person(name, &action, help);
    let output = match name {
        // Amazon's provider is configured with the argument get-credentials; any argument is accepted.
        "ecr-credential-provider" => for_person(kubelet::HELP).unwrap_or_else(|| kubelet::run(Setup::from_environment)),
        "bazel-credential-ecr-broker" => {
            for_person(bazel::HELP).unwrap_or_else(|| bazel::run(Setup::from_environment, &action))
        }
        _ if name.starts_with("docker-credential-") => docker::run(Setup::from_environment, &action),
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
