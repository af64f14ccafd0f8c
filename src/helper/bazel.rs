//! Bazel's credential helpers: `get`, a URI as JSON on stdin, headers on stdout.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::json;

use super::basic;
use super::docker::{AliasLookup, RegistryOwner, fetch, fetch_alias, whose};
use super::{Reply, Setup, place};
use crate::client::{AuthScheme, RegistryCredentials};

#[derive(Deserialize)]
struct Request {
    uri: String,
}

/// Answers one question; `action` is the first argument.
#[must_use]
pub fn answer(setup: Result<Setup, String>, action: &str, question: &str) -> Reply {
    if action != "get" {
        return Reply::bad("").noting(format!("{action:?} is nothing that a credential helper does; there is get"));
    }
    let request: Request = match serde_json::from_str(question) {
        Ok(request) => request,
        Err(error) => {
            return Reply::bad("").noting(format!("the request is not of the form {{\"uri\":…}} ({})", place(&error)));
        }
    };
    let nothing = || Reply::good("{}\n".to_owned());
    let host = match whose(&request.uri) {
        // Nothing in the clear.
        Ok(_) if !request.uri.starts_with("https://") => return nothing(),
        Ok(RegistryOwner::Ecrs(_)) => None,
        Ok(RegistryOwner::Anothers(Some(host))) => Some(host),
        Ok(RegistryOwner::Anothers(None)) => return nothing(),
        Err(problem) => return Reply::bad("").noting(problem),
    };
    let setup = match setup {
        Ok(setup) => setup,
        Err(problem) if host.is_some() => return nothing().noting(problem),
        Err(problem) => return Reply::bad("").noting(problem),
    };
    if let Some(host) = host {
        return match fetch_alias(&setup, &host) {
            Ok(credentials) => headers(&credentials),
            // Where layers lie too: a header there would have them refused.
            Err(AliasLookup::Not) => nothing(),
            Err(AliasLookup::Unknown(failure)) => nothing().noting(failure.to_string()),
            Err(AliasLookup::Refused(failure)) => Reply::bad("").noting(failure.to_string()),
        };
    }
    match fetch(&setup, &request.uri) {
        Ok(credentials) => headers(&credentials),
        Err(failure) => {
            let reply = setup.fall_back(&failure, &["get"], question);
            reply.unwrap_or_else(|problem| Reply::bad("").noting(problem))
        }
    }
}

fn headers(credentials: &RegistryCredentials) -> Reply {
    let mut answer = json!({ "headers": { "Authorization": [authorization(credentials)] } });
    if let Some(expires) = expires(credentials) {
        answer["expires"] = humantime::format_rfc3339_seconds(expires).to_string().into();
    }
    Reply::good(format!("{answer}\n"))
}

/// A direct request's header.
#[must_use]
pub fn authorization(credentials: &RegistryCredentials) -> String {
    let scheme = if credentials.auth_scheme() == AuthScheme::Bearer { "Bearer" } else { "Basic" };
    format!("{scheme} {}", basic(&credentials.username, &credentials.password))
}

/// When to ask again, by AWS's time: the broker says how long from now that is, and this host's clock may be off.
fn expires(credentials: &RegistryCredentials) -> Option<SystemTime> {
    let end: SystemTime = credentials.expire_time?.try_into().ok()?;
    let after: Duration = credentials.refresh_after?.try_into().ok()?;
    #[expect(clippy::disallowed_methods, reason = "Bazel compares it with this clock")]
    let now = SystemTime::now();
    Some(end.min(now + after))
}
