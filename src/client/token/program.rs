//! Runs a program that prints a token.

use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use super::redact::redact;
use crate::bearer_token::BearerToken;
use crate::process_tree::{ProcessTree, Separation};
use crate::quoted::Visible;

/// Longest output, far above what a header can have.
const MAX_TOKEN: u64 = 64 << 10;
/// Longest part of stderr in an error.
const MAX_ERROR: u64 = 500;

/// Kills a program with those that it started, unless it ended: the caller's time limit drops it.
struct Running(Option<ProcessTree>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(tree) = self.0 {
            tree.kill();
        }
    }
}

/// Runs a program and returns its stdout. The caller sets the time limit: a dropped run is killed with the programs it started.
///
/// An error has the end of its stderr, without anything that looks like a token.
pub(super) async fn run<'a>(
    program: &str,
    arguments: impl IntoIterator<Item = &'a str>,
    variables: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<BearerToken, String> {
    let mut command = Command::new(program);
    command.args(arguments).envs(variables).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    let separation = Separation::of(command.as_std_mut());
    let mut child = command.spawn().map_err(|error| not_started(program, &error))?;
    let mut running = Running(child.id().and_then(|id| separation.group(id)));
    let (status, stdout, stderr) = output(&mut child).await.map_err(|error| format!("{program} failed: {error}"))?;
    running.0 = None;
    let token = String::from_utf8_lossy(&stdout);
    if status.success() {
        return Ok(token.into_owned().into());
    }
    let stderr = redact(&String::from_utf8_lossy(&stderr), &token);
    let separator = if stderr.is_empty() { "" } else { ": " };
    Err(format!("{program} failed ({status}){separator}{}", Visible(&stderr)))
}

fn not_started(program: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{program} does not exist"),
        _ => format!("{program} cannot be run: {error}"),
    }
}

/// Reads both streams to their ends, and waits for the program.
async fn output(child: &mut Child) -> io::Result<(ExitStatus, Zeroizing<Vec<u8>>, Vec<u8>)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut error = Vec::new();
    let mut token = Zeroizing::new(Vec::with_capacity(8 << 10));
    let (read, (), status) = tokio::join!(first(stdout, &mut token), last(stderr, &mut error), child.wait());
    read?;
    Ok((status?, token, error))
}

/// Reads a stream that must not be longer than a token.
async fn first(stream: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) -> io::Result<()> {
    let Some(stream) = stream else { return Ok(()) };
    stream.take(MAX_TOKEN + 1).read_to_end(into).await?;
    if into.len() as u64 > MAX_TOKEN {
        return Err(io::Error::other("it prints more than 64 KiB"));
    }
    Ok(())
}

/// Reads a stream to its end and keeps the last part.
async fn last(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let limit = usize::try_from(MAX_ERROR).unwrap_or(usize::MAX);
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(buffer.get(..length).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(limit));
    }
}
