//! `list`: prints what the caller may request.

use std::process::ExitCode;

use serde_json::json;

use super::connection_args::ConnectionArgs;
use crate::client::{Access, Client, block_on};
use crate::exit_code::Exit;
use crate::quoted::Visible;
use crate::terminal::{Format, print_error, print_line};
use crate::time_text::rfc3339_millis;

const EXAMPLES: &str = "\
Examples:
  ecr-broker list
  ecr-broker list -o json | jq -r 'select(.expire_time) | .registry'

Exit codes: 0 listed, 4 not authenticated, 5 no answer";

const HEADINGS: [&str; 3] = ["REGISTRY", "PROFILE", "CACHED UNTIL"];
const NOTHING: &str = "you may request nothing: no grant allows this caller anything; see ecr-broker doctor REGISTRY";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (settings, _) = args.connection.settings()?;
    match block_on(async { Client::connect(&settings).await?.all_access().await })? {
        Ok(all) if all.is_empty() => print_error(NOTHING),
        Ok(all) => match args.output {
            Format::Text => print_line(table(&all))?,
            Format::Json => all.iter().map(json_line).try_for_each(print_line)?,
        },
        Err(failure) => {
            print_error(&failure);
            return Ok(Exit::from(&failure).into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns a line of JSON with the names of the protobuf message. A pattern and a registry have different keys.
fn json_line(access: &Access) -> String {
    let target = if access.is_pattern { "registry_pattern" } else { "registry" };
    let expires = access.expires.and_then(rfc3339_millis);
    json!({ target: access.name, "profile": access.profile, "expire_time": expires }).to_string()
}

/// Returns columns with headings.
fn table(all: &[Access]) -> String {
    let cells = |access: &Access| {
        let expires = access.expires.and_then(rfc3339_millis).unwrap_or_else(|| "-".to_owned());
        [Visible(&access.name).to_string(), Visible(&access.profile).to_string(), expires]
    };
    let rows: Vec<_> = std::iter::once(HEADINGS.map(str::to_owned)).chain(all.iter().map(cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (first, second) = (width(0), width(1));
    let lines = rows.iter().map(|[name, profile, expires]| format!("{name:first$}  {profile:second$}  {expires}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_aligns_its_columns_and_escapes_names() {
        let access = |name: &str, is_pattern| Access {
            name: name.to_owned(),
            is_pattern,
            profile: "default".to_owned(),
            expires: None,
        };
        let all = [access("a\u{1b}[2J", false), access("*.example", true)];
        assert_eq!(table(&all), "REGISTRY    PROFILE  CACHED UNTIL\na\\u{1b}[2J  default  -\n*.example   default  -");
        assert!(json_line(&all[0]).starts_with(r#"{"registry":"a\u001b[2J""#));
        assert!(json_line(&all[1]).starts_with(r#"{"registry_pattern":"*.example""#));
    }
}
