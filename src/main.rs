//! The `ecr-broker` program.

use std::process::ExitCode;

#[cfg(not(target_os = "linux"))]
compile_error!("ecr-broker runs on Linux; build docker-credential-ecr-broker: --bin docker-credential-ecr-broker");

/// glibc keeps the memory of connections that have left. `serve` sets how soon this allocator returns it.
#[cfg(feature = "server")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ecr_broker::cli::main()
}
