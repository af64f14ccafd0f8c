//! The `ecr-broker` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ecr_broker::cli::main()
}
