//! Another credential helper as a delegate.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::helper::auth_entry::NOT_FOUND;
use crate::helper::output::{Output, failure_message};
use crate::helper::subprocess::{self, TimeLimit};

/// Returns the answer to `get`, or `None` if the program has no entry.
pub(super) fn get(name: &str, server: &str, limit: Duration) -> Result<Option<String>, String> {
    let output = run(name, "get", server, limit)?;
    let is_entry = || serde_json::from_str::<Map<String, Value>>(&output.stdout).is_ok();
    match output.stdout.trim() {
        // The output of a successful program may hold a secret.
        _ if output.success => {
            let problem =
                format!("docker-credential-{name} (next in client.toml) answered without JSON; run it by hand");
            is_entry().then(|| Some(output.stdout.clone())).ok_or(problem)
        }
        not_found if not_found == NOT_FOUND.trim() => Ok(None),
        stdout => Err(failure_message(stdout).map_or_else(
            || silent_failure(name),
            |problem| format!("docker-credential-{name} (next in client.toml) failed: {problem}"),
        )),
    }
}

/// Runs the other helper and returns its output unchanged, because docker compares the texts.
pub(super) fn change(name: &str, action: &str, request: &str, limit: Duration) -> Output {
    match run(name, action, request, limit) {
        Ok(output) if output.success || failure_message(&output.stdout).is_some() => output,
        Ok(_) => Output::failed(silent_failure(name) + "\n"),
        Err(problem) => Output::failed(problem + "\n"),
    }
}

/// Returns the username of each registry.
pub(super) fn list(name: &str, limit: Duration) -> Result<Map<String, Value>, String> {
    let output = run(name, "list", "unused", limit)?;
    let usernames = serde_json::from_str(&output.stdout).ok().filter(|_| output.success);
    usernames.ok_or_else(|| {
        let problem =
            failure_message(&output.stdout).unwrap_or_else(|| "no readable answer; run it by hand".to_owned());
        format!("docker-credential-{name} list failed: {problem}")
    })
}

fn silent_failure(name: &str) -> String {
    format!("docker-credential-{name} (next in client.toml) failed without a message; run it by hand")
}

fn run(name: &str, action: &str, request: &str, limit: Duration) -> Result<Output, String> {
    let program = format!("docker-credential-{name}");
    subprocess::run(&program, &[action], request, TimeLimit { duration: limit, setting: "timeout" })
        .map_err(|error| format!("{program} (next in client.toml) failed: {error}"))
}
