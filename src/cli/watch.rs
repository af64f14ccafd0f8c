//! `watch`: prints a line for each event of a watch.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::connection_args::ConnectionArgs;
use super::output;
use super::watch_args::WatchArgs;
use crate::client::{Failure, Watch, WatchEvent, block_on};
use crate::exit_code::Exit;
use crate::quoted::Visible;
use crate::signal::Signals;
use crate::terminal::{Format, print_error, try_print_line};

const EXAMPLES: &str = "\
Examples:
  ecr-broker watch -o text
  ecr-broker watch 123456789012.dkr.ecr.eu-central-1.amazonaws.com | jq -r .event

Exit codes: 0 stopped by a signal, 4 not authenticated or not allowed, 5 no answer at the start";

#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    watch: WatchArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Json)]
    output: Format,
    /// Print passwords too, in JSON
    #[arg(long)]
    show_secrets: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(problem) = args.watch.usage_error() {
        print_error(problem);
        return Ok(Exit::Usage.into());
    }
    let (settings, profile) = args.connection.settings()?;
    let queries = args.watch.queries(&profile);
    Ok(block_on(print_events(Watch::new(&settings, &queries), args))??.into())
}

/// Prints events until a signal, the end of the reader, or a failure before the first snapshot.
async fn print_events(mut watch: Watch<'_>, args: &Args) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let mut has_snapshot = false;
    loop {
        let event = tokio::select! {
            event = watch.next() => event,
            () = signals.received() => return Ok(Exit::Success),
        };
        match event {
            WatchEvent::WatchFailed(failure) if !has_snapshot => {
                print_error(&failure);
                return Ok(Exit::from(&failure));
            }
            WatchEvent::WatchFailed(failure) => print_error(format_args!("{failure}; reconnecting")),
            // A reconnected watch begins with another snapshot.
            WatchEvent::SnapshotComplete | WatchEvent::Ended if has_snapshot => {}
            WatchEvent::Unknown => {}
            event => {
                has_snapshot |= matches!(event, WatchEvent::SnapshotComplete);
                let line = match args.output {
                    Format::Json => json_line(&event, args.show_secrets).to_string(),
                    Format::Text => text_line(&event),
                };
                let has_reader = try_print_line(line)?;
                if !has_reader {
                    return Ok(Exit::Success);
                }
            }
        }
    }
}

fn json_line(event: &WatchEvent, show_secrets: bool) -> Value {
    match event {
        WatchEvent::Credentials(credentials) => {
            let mut line = output::json_object(credentials);
            if !show_secrets {
                line.remove("password");
            }
            line.insert("event".to_owned(), "CREDENTIALS".into());
            Value::Object(line)
        }
        WatchEvent::Unchanged(registry, id) => {
            json!({ "event": "UNCHANGED", "registry": registry, "credential_id": id })
        }
        WatchEvent::RegistryFailed(registry, failure) => {
            let Failure { reason, message, request_id, retry_after, .. } = failure;
            let retry_after = retry_after.map(|wait| format!("{:.1}s", wait.as_secs_f64()));
            json!({
                "event": "ERROR", "registry": registry, "reason": reason, "message": message, "request_id": request_id,
                "retry_after": retry_after,
            })
        }
        WatchEvent::SnapshotComplete => json!({ "event": "SNAPSHOT_COMPLETE" }),
        WatchEvent::Ended | WatchEvent::WatchFailed(_) | WatchEvent::Unknown => json!({ "event": "ENDED" }),
    }
}

/// Returns a line for people: the registry, and what happened to it.
fn text_line(event: &WatchEvent) -> String {
    let line = match event {
        WatchEvent::Credentials(credentials) => {
            let fields = output::json_object(credentials);
            let field = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            let [registry, until, cache] = ["registry", "expire_time", "cache_status"].map(field);
            format!("{registry}: credentials until {until} (cache {cache}, profile {})", field("profile"))
        }
        WatchEvent::Unchanged(registry, _) => format!("{registry}: unchanged"),
        WatchEvent::RegistryFailed(registry, failure) => format!("{registry}: {failure}"),
        WatchEvent::SnapshotComplete => "snapshot complete; waiting for refreshes".to_owned(),
        WatchEvent::Ended | WatchEvent::WatchFailed(_) | WatchEvent::Unknown => "ended; reconnecting".to_owned(),
    };
    Visible(&line).to_string()
}
