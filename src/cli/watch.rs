//! `watch`: what becomes of registries' credentials, a line of JSON each time.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::connection::Connection;
use super::output;
use super::watch_args::Followed;
use crate::client::{Failure, Watch, WatchEvent, block_on};
use crate::exit_code::Exit;
use crate::signal::Signals;
use crate::terminal::{print_error, try_print_line};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    followed: Followed,
    /// Print passwords too
    #[arg(long)]
    show_secrets: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (settings, profile) = args.connection.settings()?;
    let queries = args.followed.queries(&profile);
    block_on(async {
        let mut signals = Signals::listen()?;
        let mut watch = Watch::new(&settings, &queries);
        let mut began = false;
        loop {
            let happening = tokio::select! {
                happening = watch.next() => happening,
                () = signals.received() => return Ok(ExitCode::SUCCESS),
            };
            match happening {
                WatchEvent::WatchFailed(failure) if !began => {
                    print_error(&failure);
                    return Ok(Exit::from(&failure).into());
                }
                WatchEvent::WatchFailed(failure) => print_error(format_args!("{failure}; the watch begins anew")),
                WatchEvent::SnapshotComplete | WatchEvent::Ended if began => {}
                WatchEvent::Unknown => {}
                happening => {
                    began |= matches!(happening, WatchEvent::SnapshotComplete);
                    // Nobody reads on.
                    if !try_print_line(line(&happening, args.show_secrets))? {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
        }
    })?
}

fn line(happening: &WatchEvent, show_secrets: bool) -> Value {
    match happening {
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
