//! docker's credential helper. As `docker-credential-ecr-login` it replaces Amazon's helper.

use std::process::ExitCode;

use ecr_broker::helper::{Setup, docker};

fn main() -> ExitCode {
    let Some(action) = std::env::args_os().nth(1) else {
        return docker::usage();
    };
    docker::run(|| Setup::from_environment().map_err(|error| error.to_string()), &action.to_string_lossy()).print()
}
