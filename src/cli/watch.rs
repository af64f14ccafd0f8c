//! `watch`: what becomes of registries' credentials, a line of JSON each time.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::connection::Connection;
use super::watch_args::Followed;
use super::{complain, exit_code, output};
use crate::app::signal::Signals;
use crate::client::{Failure, Watch, WatchEvent, block_on};

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
        let mut signals = Signals::catch()?;
        let mut watch = Watch::new(&settings, &queries);
        let mut began = false;
        loop {
            let happening = tokio::select! {
                happening = watch.next() => happening,
                () = signals.received() => return Ok(ExitCode::SUCCESS),
            };
            match happening {
                WatchEvent::Broken(failure) if !began => {
                    complain(&failure);
                    return Ok(exit_code(&failure));
                }
                WatchEvent::Broken(failure) => complain(format_args!("{failure}; the watch begins anew")),
                WatchEvent::Complete | WatchEvent::Ended if began => {}
                WatchEvent::Unknown => {}
                happening => {
                    began |= matches!(happening, WatchEvent::Complete);
                    // Nobody reads on.
                    if !said(&line(&happening, args.show_secrets))? {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
        }
    })?
}

/// Whether anybody reads it.
fn said(line: &Value) -> anyhow::Result<bool> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
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
        WatchEvent::Failed(registry, failure) => {
            let Failure { reason, message, request_id, retry_after, .. } = failure;
            let retry_after = retry_after.map(|wait| format!("{:.1}s", wait.as_secs_f64()));
            json!({
                "event": "ERROR", "registry": registry, "reason": reason, "message": message, "request_id": request_id,
                "retry_after": retry_after,
            })
        }
        WatchEvent::Complete => json!({ "event": "SNAPSHOT_COMPLETE" }),
        WatchEvent::Ended | WatchEvent::Broken(_) | WatchEvent::Unknown => json!({ "event": "ENDED" }),
    }
}
