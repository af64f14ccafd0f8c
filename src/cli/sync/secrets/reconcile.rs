//! One Secret: reads it, decides, and applies what differs.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::held::Held;
use super::memory::Memory;
use super::template::{Layout, MANAGED_BY, stored_values};
use super::wanted::{Merged, Wanted};
use crate::cli::sync::target::{Problem, summary};
use crate::exit_code::Exit;
use crate::kubernetes::{Api, ApiError, Scope, Secret, SecretName};

/// Attempts if the Secret changes between read and write, as when another sync writes at the same time.
const ATTEMPTS: usize = 3;

/// What became of a Secret.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It has what it should have: the line about the change, if there was one, and the time until its next credential expires.
    Fresh(Option<String>, Option<Duration>),
    /// It stays as it is, because it is not sync's or cannot be changed.
    Kept(Problem),
}

/// Makes a Secret equal to the wanted credentials; `None`: empties it.
pub(super) async fn reconcile(
    api: &Api,
    name: &SecretName,
    layout: &Layout,
    wanted: Option<&Wanted<'_>>,
    memory: &mut Memory,
) -> Result<Outcome, ApiError> {
    for _ in 1..ATTEMPTS {
        match attempt(api, name, layout, wanted, memory).await {
            Err(error) if error.scope == Scope::Version => {}
            decided => return decided,
        }
    }
    attempt(api, name, layout, wanted, memory).await
}

async fn attempt(
    api: &Api,
    name: &SecretName,
    layout: &Layout,
    wanted: Option<&Wanted<'_>>,
    memory: &mut Memory,
) -> Result<Outcome, ApiError> {
    let stored = api.secret(name).await?;
    if stored.as_ref().is_some_and(|secret| !is_ours(secret)) {
        // It has nothing of sync's to remove.
        return Ok(wanted.map_or(Outcome::Fresh(None, None), |_| Outcome::Kept(foreign(name))));
    }
    let in_secret = stored.as_ref().map(|secret| layout.held(secret)).unwrap_or_default();
    let count = in_secret.len();
    let Merged { held, replaced } = wanted.map(|wanted| wanted.merged(in_secret, memory)).unwrap_or_default();
    let left = wanted.and_then(|wanted| left(&held, wanted.now.wall));
    // Without a credential from the watch there is only something to remove. Contents of others are not, and an empty Secret is never
    // created: readers wait for it to appear, and then expect its entries.
    let only_removes = wanted.is_none_or(|wanted| wanted.entries.is_empty());
    if only_removes && held.len() == count {
        return Ok(Outcome::Fresh(None, left));
    }
    let mut manifest = layout.manifest(&held);
    if let Some(secret) = &stored {
        if manifest.is_stored_in(secret, layout.keys()) {
            return Ok(Outcome::Fresh(None, left));
        }
        if let Some(problem) = unchangeable(name, secret, manifest.kind) {
            return Ok(Outcome::Kept(problem));
        }
        manifest.sensitive.extend(stored_values(secret));
    }
    match api.apply(name, &manifest, stored.as_ref()).await {
        Ok(()) => {
            if let Some(wanted) = wanted {
                memory.note_replaced(replaced, |id| wanted.known.has_superseded(id));
            }
            Ok(Outcome::Fresh(Some(summary(name, held.len(), left)), left))
        }
        Err(error) if error.scope == Scope::Fields => Ok(Outcome::Kept(problem(
            name,
            format_args!("another field manager owns the contents, which stay: {error}; delete the Secret"),
        ))),
        Err(error) => Err(error),
    }
}

/// Returns whether sync created a Secret.
pub(super) fn is_ours(secret: &Secret) -> bool {
    secret.label(MANAGED_BY.0) == Some(MANAGED_BY.1)
}

pub(super) fn foreign(name: &SecretName) -> Problem {
    problem(name, format_args!("the Secret is not sync's, and stays; delete it, or name another"))
}

fn unchangeable(name: &SecretName, secret: &Secret, kind: &str) -> Option<Problem> {
    let cause = if secret.kind() != kind {
        "has another type"
    } else if secret.is_immutable() {
        "is immutable"
    } else {
        return None;
    };
    Some(problem(name, format_args!("the Secret {cause}, and stays; delete it, and sync creates it again")))
}

fn problem(name: &SecretName, text: std::fmt::Arguments<'_>) -> Problem {
    Problem { subject: name.to_string(), text: format!("{name}: {text}"), exit: Exit::Failure }
}

/// Returns the time until the next credential expires.
fn left(held: &BTreeMap<String, Held>, now: SystemTime) -> Option<Duration> {
    held.values().map(|held| held.end().duration_since(now).unwrap_or_default()).min()
}
