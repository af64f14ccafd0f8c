//! `config diff`: what a new configuration changes for whom.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::broker_user::{self, BrokerUser};
use crate::config::{self, Change, ChangeKind, Config, Diagnostic, SettingChange, Sources};
use crate::terminal::{Format, print_line};

/// Most callers or registries of a line of text; JSON has all.
const MAX_SHOWN: usize = 20;

const EXAMPLES: &str = "\
Examples:
  ecr-broker config diff /etc/ecr-broker/config.toml new.toml
  git show HEAD:broker.toml >old.toml; ecr-broker config diff old.toml broker.toml
  ecr-broker config diff old.toml new.toml -o json | jq -r 'select(.needs_restart) | .name'

Exit codes: 0 both valid, 1 problems, 2 wrong flags";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Old configuration file
    old: PathBuf,
    /// New configuration file
    new: PathBuf,
    /// Read the configurations as serve --allow-loopback does
    #[arg(long)]
    allow_loopback: bool,
    /// Broker's user; judge the owners of files as it does
    #[arg(long, value_name = "USER", value_parser = broker_user::parse)]
    user: Option<BrokerUser>,
    /// Output format; JSON has a line per change
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Prints the changes, or returns the problems of a configuration that is not valid. `read` reads a file, and whether loopback is
/// allowed.
pub(super) fn run(args: &Args, read: impl Fn(&Path, bool) -> Sources) -> anyhow::Result<Result<(), Vec<Diagnostic>>> {
    broker_user::judge_files_as(args.user);
    let [old, new] = [&args.old, &args.new].map(|file| read(file, args.allow_loopback));
    let (of_old, of_new) = match (Config::load(&old), Config::load(&new)) {
        (Ok(of_old), Ok(of_new)) => (of_old, of_new),
        (of_old, of_new) => {
            return Ok(Err([of_old, of_new].into_iter().filter_map(Result::err).flatten().collect()));
        }
    };
    let changes = config::diff((&old, &of_old), (&new, &of_new));
    match args.output {
        Format::Text => print_line(text(&changes).trim_end())?,
        Format::Json => {
            for change in &changes {
                print_line(serde_json::to_string(change)?)?;
            }
        }
    }
    Ok(Ok(()))
}

/// Returns the changes for people.
fn text(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no changes".to_owned();
    }
    let mut text: String = changes.iter().map(of_change).collect();
    let (all, restarts) = (changes.len(), changes.iter().filter(|change| change.needs_restart).count());
    let plural = if all == 1 { "" } else { "s" };
    let what = if restarts == 0 { "a reload applies all".to_owned() } else { format!("{restarts} after a restart") };
    _ = write!(text, "{all} change{plural}; {what}");
    if changes.iter().any(|change| change.refused.is_some()) {
        text += "; a reload keeps the old file";
    }
    text
}

fn of_change(change: &Change) -> String {
    let how = match change.change {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Changed => "changed",
    };
    let restart = if change.needs_restart { " (needs a restart)" } else { "" };
    let mut text = format!("{} {}: {how}{restart}\n", change.kind, change.name);
    // What was removed is said by its name.
    let settings = if change.change == ChangeKind::Removed { &[] } else { &change.settings[..] };
    for SettingChange { setting, old, new } in settings {
        _ = match old {
            Value::Null => writeln!(text, "  {setting}: {new}"),
            old => writeln!(text, "  {setting}: {old} -> {}", shown(new)),
        };
    }
    for (name, items) in [("grants", &change.grants), ("callers", &change.callers), ("registries", &change.registries)]
    {
        if !items.is_empty() {
            _ = writeln!(text, "  {name}: {}", joined(items));
        }
    }
    if let Some(dropped) = change.drops {
        _ = writeln!(text, "  drops: {dropped}");
    }
    if let Some(problem) = &change.refused {
        _ = writeln!(text, "  refused by a reload: {problem}");
    }
    text
}

fn shown(value: &Value) -> String {
    if value.is_null() { "not set".to_owned() } else { value.to_string() }
}

fn joined(items: &BTreeSet<String>) -> String {
    let more = items.len().saturating_sub(MAX_SHOWN);
    let more = (more > 0).then(|| format!("and {more} more"));
    items.iter().take(MAX_SHOWN).cloned().chain(more).collect::<Vec<_>>().join(", ")
}
