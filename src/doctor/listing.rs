//! What may be asked for, where no registry was named.

use super::reason;
use super::report::{Finding, Outcome};
use super::time::rfc3339;
use crate::client::{Access, Client};
use crate::exit_code::Exit;

/// A few lines.
const MOST: i32 = 10;

pub(super) async fn check(client: &Client<'_>) -> Outcome<()> {
    match client.list_access(MOST).await {
        Ok((accesses, _)) if accesses.is_empty() => {
            let finding = Finding::fail(Exit::Denied, "no grant lets you have anything");
            (
                finding.fix("name a registry, as in ecr-broker doctor REGISTRY: it prints the grant that is missing"),
                None,
            )
        }
        Ok((accesses, more)) => {
            let more = if more { ", among others" } else { "" };
            let finding = Finding::ok(format!("you may ask for these{more}:"));
            (accesses.iter().map(line).fold(finding, Finding::note), Some(()))
        }
        Err(failure) => {
            (Finding::fail(Exit::from(&failure), failure.to_string()).fix(reason::fix(&failure, None)), None)
        }
    }
}

fn line(access: &Access) -> String {
    let held = access.expires.map(|end| format!(", held until {}", rfc3339(end))).unwrap_or_default();
    format!("{} (profile {}{held})", access.name, access.profile)
}
