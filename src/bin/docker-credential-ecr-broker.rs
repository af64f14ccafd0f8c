//! docker's credential helper. Under the name `docker-credential-ecr-login` it takes the place of Amazon's.

use std::process::ExitCode;

use ecr_broker::helper::{self, Setup, docker};

fn main() -> ExitCode {
    let Some(action) = std::env::args().nth(1) else {
        return docker::usage();
    };
    // Whoever asks for the version by hand has nothing more to say.
    let question = if action == "version" { String::new() } else { helper::question().unwrap_or_default() };
    docker::answer(Setup::from_environment().map_err(|error| error.to_string()), &action, &question).say()
}
