//! One Secret: reads it, decides, and applies what differs.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::held::Held;
use super::memory::Memory;
use super::template::{Layout, MANAGED_BY, stored_values};
use super::wanted::{Merged, Wanted};
use crate::cli::sync::target::{Problem, summary};
use crate::exit_code::Exit;
use crate::kubernetes::{Api, ApiError, Manifest, Scope, Secret, SecretName};

/// Attempts if the Secret changes between read and write, as when another sync writes at the same time.
const ATTEMPTS: usize = 3;
/// The problem of a Secret in which a write changed nothing. It is written again when it or the credentials change.
const REVERTED: &str =
    "another field manager or an admission webhook keeps other contents; exempt or delete the Secret";

/// What became of a Secret.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It has what it should have: the line about the change, if there was one, and the time until its next credential expires.
    Fresh(Option<String>, Option<Duration>),
    /// It stays as it is, because it is not sync's or cannot be changed.
    Kept(Problem),
}

/// A Secret that is due.
pub(super) struct Due<'a> {
    pub(super) api: &'a Api,
    pub(super) name: &'a SecretName,
    pub(super) layout: &'a Layout,
    /// The wanted credentials; `None`: the Secret is emptied.
    pub(super) wanted: Option<&'a Wanted<'a>>,
    pub(super) memory: &'a mut Memory,
}

impl Due<'_> {
    /// Makes the Secret equal to the wanted credentials.
    pub(super) async fn reconcile(mut self) -> Result<Outcome, ApiError> {
        for _ in 1..ATTEMPTS {
            match self.attempt().await {
                Err(error) if error.scope == Scope::Version => {}
                decided => return decided,
            }
        }
        self.attempt().await
    }

    async fn attempt(&mut self) -> Result<Outcome, ApiError> {
        let stored = self.api.secret(self.name).await?;
        if let Some(secret) = stored.as_ref().filter(|secret| !is_ours(secret)) {
            give_up(self.api, self.name, secret).await?;
            return Ok(self.wanted.map_or(Outcome::Fresh(None, None), |_| Outcome::Kept(foreign(self.name))));
        }
        let in_secret = stored.as_ref().map(|secret| self.layout.held(secret)).unwrap_or_default();
        let count = in_secret.len();
        let merged = self.wanted.map(|wanted| wanted.merged(in_secret, self.memory)).unwrap_or_default();
        // Without a credential from the watch there is only something to remove. Contents of others are not, and an empty Secret is
        // never created: readers wait for it to appear, and then expect its entries.
        let only_removes = self.wanted.is_none_or(|wanted| wanted.entries.is_empty());
        if only_removes && merged.held.len() == count {
            return Ok(Outcome::Fresh(None, self.left(&merged.held)));
        }
        self.write(merged, stored.as_ref()).await
    }

    /// Writes the credentials, unless the Secret has them already or would not take them.
    async fn write(&mut self, merged: Merged, stored: Option<&Secret>) -> Result<Outcome, ApiError> {
        let left = self.left(&merged.held);
        let mut manifest = self.layout.manifest(&merged.held);
        if let Some(secret) = stored {
            if manifest.is_stored_in(secret, self.layout.keys()) {
                return Ok(Outcome::Fresh(None, left));
            }
            if let Some(cause) = self.unchangeable(secret, &manifest) {
                return Ok(Outcome::Kept(problem(self.name, cause)));
            }
            manifest.sensitive.extend(stored_values(secret));
        }
        match (self.api.apply(self.name, &manifest, stored).await, stored) {
            (Ok(false), Some(secret)) => {
                self.memory.note_futile(secret, &manifest);
                Ok(Outcome::Kept(problem(self.name, REVERTED)))
            }
            (Ok(_), _) => {
                self.note_replaced(merged.replaced);
                Ok(Outcome::Fresh(Some(summary(self.name, merged.held.len(), left)), left))
            }
            (Err(error), _) if error.scope == Scope::Fields => Ok(Outcome::Kept(problem(
                self.name,
                format_args!("another field manager owns the contents, which stay: {error}; delete the Secret"),
            ))),
            (Err(error), _) => Err(error),
        }
    }

    fn unchangeable(&self, secret: &Secret, manifest: &Manifest) -> Option<&'static str> {
        if secret.kind() != manifest.kind {
            Some("the Secret has another type, and stays; delete it, and sync creates it again")
        } else if secret.is_immutable() {
            Some("the Secret is immutable, and stays; delete it, and sync creates it again")
        } else {
            self.memory.is_futile(secret, manifest).then_some(REVERTED)
        }
    }

    fn note_replaced(&mut self, ids: Vec<String>) {
        if let Some(wanted) = self.wanted {
            self.memory.note_replaced(ids, |id| wanted.known.has_superseded(id));
        }
    }

    /// Returns the time until the next credential expires.
    fn left(&self, held: &BTreeMap<String, Held>) -> Option<Duration> {
        let now = self.wanted?.now.wall;
        held.values().map(|held| held.end().duration_since(now).unwrap_or_default()).min()
    }
}

/// Returns whether a Secret is sync's: it has the label, and not only from an apply to a Secret that appeared between read and write.
pub(super) fn is_ours(secret: &Secret) -> bool {
    is_labelled(secret) && !secret.is_only_labelled(MANAGED_BY.0)
}

fn is_labelled(secret: &Secret) -> bool {
    secret.label(MANAGED_BY.0) == Some(MANAGED_BY.1)
}

/// Gives up what an earlier apply left in a Secret of others, because giving it up then failed or was cut short.
pub(super) async fn give_up(api: &Api, name: &SecretName, secret: &Secret) -> Result<(), ApiError> {
    if is_labelled(secret) {
        api.give_up(name, secret, &stored_values(secret).into_iter().collect()).await?;
    }
    Ok(())
}

pub(super) fn foreign(name: &SecretName) -> Problem {
    problem(name, "the Secret is not sync's, and stays; delete it, or name another")
}

fn problem(name: &SecretName, text: impl Display) -> Problem {
    Problem { subject: name.to_string(), text: format!("{name}: {text}"), exit: Exit::Failure }
}
