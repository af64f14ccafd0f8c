//! `keygen`: prints keys of a shared cache, and checks the file that has them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;

use super::broker_user::{self, BrokerUser};
use crate::source::shared_cache::keys::{Keys, new_seal_line};
use crate::terminal::print_line;

const EXAMPLES: &str = "\
Examples:
  ecr-broker keygen | install -m 0640 -g ecr-broker /dev/stdin /etc/ecr-broker/cache-keys
  ecr-broker keygen --seal-only >>/etc/ecr-broker/cache-keys
  ecr-broker keygen --check /etc/ecr-broker/cache-keys --user ecr-broker

Rotation:
  1. Add one new seal line at the end of the file of every broker.
  2. Move this line before the other seal lines in every file. The names line stays.
  3. After 12 hours, the lifetime of a token, remove the old seal line.

Exit codes: 0 printed or valid, 1 the file is not valid, 2 wrong flags";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Print only a seal line, to rotate the keys of a file
    #[arg(long)]
    seal_only: bool,
    /// Check a keys file and print the ID of each key
    ///
    /// An ID is the first 4 bytes of the key's SHA-256. Brokers share a cache if their names keys have the same ID.
    #[arg(long, value_name = "FILE", conflicts_with = "seal_only")]
    check: Option<PathBuf>,
    /// Broker's user; judge the owners of the file as it does
    ///
    /// A name or ID of /etc/passwd. Without it every owner is accepted, with a warning.
    #[arg(long, value_name = "USER", requires = "check", value_parser = broker_user::parse)]
    user: Option<BrokerUser>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.check {
        Some(file) => check(file, args.user)?,
        None if args.seal_only => print_line(&*new_seal_line()?)?,
        None => Keys::random()?.to_lines().iter().try_for_each(|line| print_line(&**line))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(file: &Path, user: Option<BrokerUser>) -> anyhow::Result<()> {
    broker_user::judge_files_as(user);
    let keys = Keys::read(file).map_err(|error| anyhow!("keys file {} {error}", file.display()))?;
    broker_user::warn_of_owners();
    keys.summary().iter().try_for_each(print_line)
}
