//! docker's credential helper. As `docker-credential-ecr-login` it replaces Amazon's helper.

use std::process::ExitCode;

use ecr_broker::environment;
use ecr_broker::helper::{Setup, docker};
use ecr_broker::memory_guard;

fn main() -> ExitCode {
    // First: until then, other processes of the user can read the environment.
    let _ = memory_guard::hide();
    // Before the request is read: the new process reads it.
    let restarted = environment::restart_without_blank_variables();
    let setup = || Setup::from_environment().with_mistake(restarted.err().map(|error| error.to_string()));
    let Some(action) = std::env::args_os().nth(1) else {
        return docker::usage();
    };
    docker::run(setup, &action.to_string_lossy()).print()
}
