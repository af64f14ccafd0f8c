//! The answer of the audit log, before it is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde_json::Value;

use crate::audit::live::{Holding, Releases};
use crate::audit::reader::Extent;

/// The credentials that are valid at a time, and the records that say so.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) at: SystemTime,
    pub(super) read: Extent,
    pub(super) held: BTreeMap<Holding, Releases>,
}

impl Found {
    /// Returns what was read, as a sentence.
    pub(super) fn extent(&self) -> String {
        let damaged = match self.read.damaged {
            0 => String::new(),
            damaged => format!(", and {damaged} damaged ones"),
        };
        format!("Read {}{damaged}.", self.read.in_words())
    }

    /// Returns the numbers of credentials and callers, as a sentence.
    pub(super) fn summary(&self) -> String {
        let at = time(self.at);
        let ids: BTreeSet<_> = self.held.keys().map(|one| &one.credential_id).collect();
        let callers: BTreeSet<_> = self.held.keys().map(|one| &one.caller).collect();
        match (ids.len(), callers.len()) {
            (0, _) => format!("No such credential is valid at {at}."),
            (ids, callers) => format!("{} of {} valid at {at}.", count(ids, "credential"), of_callers(ids, callers)),
        }
    }
}

fn of_callers(ids: usize, callers: usize) -> String {
    format!("{} {}", count(callers, "caller"), if ids == 1 { "is" } else { "are" })
}

/// Returns a number and its noun.
pub(in crate::cli::audit) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Returns a time in whole seconds.
pub(in crate::cli::audit) fn time(time: SystemTime) -> String {
    crate::time_text::rfc3339_seconds(time).unwrap_or_default()
}

/// Returns the command that attaches a policy to a role. The name of the role needs no quotes in a shell.
pub(in crate::cli::audit) fn put_role_policy(role: &str, name: &str, policy: &Value) -> String {
    format!("aws iam put-role-policy --role-name {role} --policy-name {name} --policy-document '{policy}'")
}
