//! The issuers that are in effect together, and the tasks that keep their keys up to date.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::task::AbortOnDropHandle;

use super::issuer_keys::IssuerKeys;
use super::key_set::KeySetError;
use super::settings::{KeyLocation, Settings};
use super::token_cache::TokenCaches;
use crate::clock::Clock;
use crate::follow_file::FilesInEffect;
use crate::supervise;

/// The ID of the next issuer. A changed issuer is another one.
static NEXT_ID: AtomicUsize = AtomicUsize::new(0);

/// An issuer of tokens and its keys.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) id: usize,
    pub(super) settings: Settings,
    pub(super) keys: Arc<IssuerKeys>,
}

/// Issuers that are in effect together, and the tokens that were verified for them.
#[derive(Debug)]
pub(super) struct IssuerSet {
    pub(super) known: Vec<Arc<Issuer>>,
    pub(super) verified: TokenCaches,
}

/// The tasks that keep keys up to date, by the IDs of their issuers. Dropping them ends the tasks.
#[derive(Debug)]
pub(super) struct KeyTasks {
    tasks: HashMap<usize, (Arc<Issuer>, AbortOnDropHandle<()>)>,
    in_effect: FilesInEffect,
}

impl Default for IssuerSet {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl IssuerSet {
    fn of(known: Vec<Arc<Issuer>>) -> Self {
        let verified = TokenCaches::new(known.iter().map(|issuer| issuer.id));
        Self { known, verified }
    }

    /// Returns the issuers of other settings. Those that have not changed stay, with their keys.
    pub(super) fn reloaded(&self, settings: Vec<Settings>, clock: &Arc<dyn Clock>) -> Result<Self, KeySetError> {
        let load = |settings: Settings| {
            if let Some(same) = self.known.iter().find(|issuer| issuer.settings == settings) {
                return Ok(Arc::clone(same));
            }
            let keys = Arc::new(IssuerKeys::load(&settings, Arc::clone(clock))?);
            let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
            Ok(Arc::new(Issuer { id, settings, keys }))
        };
        settings.into_iter().map(load).collect::<Result<_, _>>().map(Self::of)
    }

    /// Returns whether both have the same issuers.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.ids() == other.ids()
    }

    pub(super) fn ids(&self) -> Vec<usize> {
        self.known.iter().map(|issuer| issuer.id).collect()
    }
}

impl KeyTasks {
    pub(super) fn new(in_effect: FilesInEffect) -> Self {
        Self { tasks: HashMap::new(), in_effect }
    }

    /// Starts the tasks of new issuers, and ends those of others. Each issuer has a task, so that one failure affects no other issuer.
    pub(super) fn update(&mut self, issuers: &[Arc<Issuer>]) {
        let is_known = |id: usize| issuers.iter().any(|issuer| issuer.id == id);
        let ended: Vec<_> = self.tasks.extract_if(|id, _| !is_known(*id)).collect();
        for (_, (issuer, task)) in ended {
            drop(task);
            // A broken file that is not used any more is not a problem.
            if let KeyLocation::File(path) = &issuer.settings.keys {
                self.in_effect.report(&path.to_string_lossy(), true);
            }
        }
        for issuer in issuers {
            self.tasks.entry(issuer.id).or_insert_with(|| {
                let (keys, in_effect) = (Arc::clone(&issuer.keys), self.in_effect.clone());
                let follow = async move {
                    supervise::run("issuer key refresh", || Arc::clone(&keys).follow(in_effect.clone())).await;
                };
                (Arc::clone(issuer), AbortOnDropHandle::new(tokio::spawn(follow)))
            });
        }
    }
}
