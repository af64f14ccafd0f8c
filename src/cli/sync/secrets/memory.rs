//! What earlier writes of a Secret have shown.

use std::collections::{BTreeMap, BTreeSet};

use crate::kubernetes::{Manifest, Secret};

/// What earlier writes of a Secret have shown.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// IDs of superseded credentials that this sync has replaced. One that returns is that of a sync whose broker has not replaced it,
    /// and stays: otherwise the two would replace each other's without end.
    replaced: BTreeSet<String>,
    /// The last write that changed nothing.
    futile: Option<Futile>,
}

/// A write that changed nothing: another field manager or an admission webhook keeps the contents as they are.
#[derive(Debug, PartialEq, Eq)]
struct Futile {
    /// The version of the Secret.
    version: String,
    /// The annotations, which have the hash of each credential.
    annotations: BTreeMap<&'static str, String>,
}

impl Futile {
    fn of(stored: &Secret, manifest: &Manifest) -> Self {
        Self { version: stored.resource_version().to_owned(), annotations: manifest.annotations.clone() }
    }
}

impl Memory {
    pub(super) fn has_replaced(&self, id: &str) -> bool {
        self.replaced.contains(id)
    }

    /// Notes a write that replaced these. Forgets those that are no longer superseded.
    pub(super) fn note_replaced(&mut self, ids: Vec<String>, is_superseded: impl Fn(&str) -> bool) {
        self.replaced.extend(ids);
        self.replaced.retain(|id| is_superseded(id));
    }

    /// Returns whether the same write to the same version has changed nothing.
    pub(super) fn is_futile(&self, stored: &Secret, manifest: &Manifest) -> bool {
        self.futile.as_ref() == Some(&Futile::of(stored, manifest))
    }

    pub(super) fn note_futile(&mut self, stored: &Secret, manifest: &Manifest) {
        self.futile = Some(Futile::of(stored, manifest));
    }
}
