//! Runs another helper with a request on its stdin.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::output::Output;
use crate::environment::{self, NESTED_HELPER};

/// Runs a program with `request` on its stdin. Its stderr is inherited.
pub(super) fn run(program: &str, arguments: &[&str], request: &str) -> std::io::Result<Output> {
    if environment::variable(NESTED_HELPER).is_some() {
        return Err(std::io::Error::other(
            "an ecr-broker helper runs it already, and it may be the same program; name another helper",
        ));
    }
    let mut command = Command::new(program);
    command.args(arguments).env(NESTED_HELPER, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    // Writing and reading run concurrently: a program may fill the stdout pipe before it has read its stdin.
    let output = std::thread::scope(|scope| {
        // A failed write is not an error: a program may exit without reading its stdin, and reports its own problem.
        scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(request.as_bytes())));
        child.wait_with_output()
    })?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Output { stdout, stderr: String::new(), success: output.status.success() })
}
