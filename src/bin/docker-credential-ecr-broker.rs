//! docker's credential helper. Under the name `docker-credential-ecr-login` it takes the place of Amazon's.

use std::process::ExitCode;

use ecr_broker::helper::{Setup, docker};

fn main() -> ExitCode {
    let Some(action) = std::env::args_os().nth(1) else {
        return docker::usage();
    };
    docker::run(|| Setup::from_environment().map_err(|error| error.to_string()), &action.to_string_lossy()).say()
}
