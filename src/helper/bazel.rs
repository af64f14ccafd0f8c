//! Protocol of Bazel's credential helpers: `get` as the argument, a URI as JSON on stdin, headers as JSON on stdout.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::json;

use super::output::Output;
use super::registry_auth::authorization;
use super::resolve::{RegistryOwner, Request, Resolution, resolve};
use super::setup::Setup;
use super::stdin;
use crate::client::RegistryCredentials;
use crate::client::adoption::Protocol;
use crate::json_file::error_position;

/// Help under the program's name as Bazel's helper.
pub const HELP: &str = "\
usage: bazel-credential-ecr-broker get <REQUEST.json

Bazel runs it as .bazelrc says: ecr-broker configure bazel REGISTRY prints the lines.
It reads a request on stdin. By hand:
  echo '{\"uri\":\"https://public.ecr.aws/v2/\"}' | bazel-credential-ecr-broker get
It finds the broker as other clients do: ECR_BROKER_ADDRESS, client.toml or the default sockets.
Flags: ecr-broker helper bazel --help
";

#[derive(Deserialize)]
struct GetRequest {
    uri: String,
}

/// Answers the request on stdin; `action` is the first argument.
#[must_use]
pub fn run(setup: impl FnOnce() -> Setup, action: &str) -> Output {
    match stdin::read() {
        Ok(request) => answer(&setup(), action, &request),
        Err(error) => failed(format!("cannot read stdin: {error}")),
    }
}

fn answer(setup: &Setup, action: &str, stdin: &str) -> Output {
    if action != "get" {
        return failed(format!("unknown action {action:?}; use get"));
    }
    let uri = match serde_json::from_str(stdin) {
        Ok(GetRequest { uri }) => uri,
        Err(error) => {
            return failed(format!("malformed request ({}); expected {{\"uri\":…}}", error_position(&error)));
        }
    };
    let owner = RegistryOwner::of(&uri);
    if !uri.starts_with("https://") && !matches!(owner, RegistryOwner::Malformed(_)) {
        // A password must not travel in plaintext.
        return no_headers();
    }
    let request = Request {
        protocol: Protocol::Bazel,
        server: &uri,
        fallback_arguments: &["get"],
        stdin,
        fallback_for_aliases: false,
    };
    let output = match resolve(setup, owner, &request) {
        Resolution::Credentials(credentials) => headers(&credentials),
        Resolution::Fallback(output) => output,
        // Includes the layers' storage, which rejects requests with an Authorization header.
        Resolution::NotServed => no_headers(),
        Resolution::AliasUnknown(problem) => no_headers().with_note(problem),
        Resolution::AliasRefused(problem) | Resolution::PublicFailed(problem) | Resolution::Failed(problem) => {
            failed(problem)
        }
    };
    setup.note_mistake(output)
}

fn headers(credentials: &RegistryCredentials) -> Output {
    let mut answer = json!({ "headers": { "Authorization": [authorization(credentials)] } });
    if let Some(expires) = expires(credentials) {
        answer["expires"] = humantime::format_rfc3339_seconds(expires).to_string().into();
    }
    Output::ok(format!("{answer}\n"))
}

fn no_headers() -> Output {
    Output::ok("{}\n")
}

fn failed(problem: impl Into<String>) -> Output {
    Output::failed("").with_note(problem)
}

/// Returns when Bazel should ask again. The broker's `refresh_after` counts from now, because this host's clock may be wrong.
fn expires(credentials: &RegistryCredentials) -> Option<SystemTime> {
    let end: SystemTime = credentials.expire_time?.try_into().ok()?;
    let after: Duration = credentials.refresh_after?.try_into().ok()?;
    #[expect(clippy::disallowed_methods, reason = "Bazel compares the time with this clock")]
    let now = SystemTime::now();
    Some(end.min(now + after))
}
