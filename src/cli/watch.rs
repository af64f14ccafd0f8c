//! `watch`: prints a line of JSON for each event of a watch.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::connection_args::ConnectionArgs;
use super::output;
use super::watch_args::WatchArgs;
use crate::client::{Failure, Watch, WatchEvent, block_on};
use crate::exit_code::Exit;
use crate::signal::Signals;
use crate::terminal::{print_error, try_print_line};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    watch: WatchArgs,
    /// Print passwords too
    #[arg(long)]
    show_secrets: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (settings, profile) = args.connection.settings()?;
    let queries = args.watch.queries(&profile);
    Ok(block_on(print_events(Watch::new(&settings, &queries), args.show_secrets))??.into())
}

/// Prints events until a signal, the end of the reader, or a failure before the first snapshot.
async fn print_events(mut watch: Watch<'_>, show_secrets: bool) -> anyhow::Result<Exit> {
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
                let has_reader = try_print_line(line(&event, show_secrets))?;
                if !has_reader {
                    return Ok(Exit::Success);
                }
            }
        }
    }
}

fn line(event: &WatchEvent, show_secrets: bool) -> Value {
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
