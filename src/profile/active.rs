//! Profiles in effect, which a reload replaces while fetches by the replaced ones are in flight.
//!
//! The key of a credential names the definition of its profile by a revision. A fetch that began before a reload ends under its own
//! key, and by the old definition: what it fetched never serves a request that the new definition decides.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::Profile;
use crate::credential::{CredentialKey, ProfileName, Revision};

/// Number of replaced definitions that are kept, for fetches in flight: those of several whole reloads.
const KEPT: usize = 4_096;

/// A definition and its revision.
type Revised = (Arc<Profile>, Revision);

/// Profiles that are in effect together, each with its revision.
#[derive(Debug, Clone, Default)]
pub struct ProfileSet(Vec<Revised>);

/// The profiles in effect. A clone is a handle of the same.
#[derive(Debug, Clone, Default)]
pub struct ActiveProfiles(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    set: ArcSwap<ProfileSet>,
    history: Mutex<History>,
    generation: AtomicU64,
}

/// What is known of earlier definitions.
#[derive(Debug, Default)]
struct History {
    /// The last revision of each name.
    last: HashMap<ProfileName, Revision>,
    /// The definitions that are no longer in effect, the latest last.
    replaced: Vec<Revised>,
}

impl ProfileSet {
    /// Returns the profiles.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> + Clone {
        self.0.iter().map(|(profile, _)| &**profile)
    }

    /// Returns a profile by its name; `None` for the broker's own identity.
    #[must_use]
    pub fn find(&self, name: &ProfileName) -> Option<&Profile> {
        self.entry(name).map(|(profile, _)| &**profile)
    }

    /// Returns the revision of a name: that of the first definition, if the name has none.
    #[must_use]
    pub fn revision(&self, name: &ProfileName) -> Revision {
        self.entry(name).map(|(_, revision)| *revision).unwrap_or_default()
    }

    fn entry(&self, name: &ProfileName) -> Option<&Revised> {
        self.0.iter().find(|(profile, _)| profile.name == *name)
    }

    /// Returns whether both have the same definitions in the same order.
    fn is_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&Revised, &Revised)| Arc::ptr_eq(&one.0, &other.0);
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }
}

impl ActiveProfiles {
    /// Puts `profiles` into effect at the start.
    #[must_use]
    pub fn new(profiles: Vec<Profile>) -> Self {
        let active = Self::default();
        active.replace(profiles);
        active
    }

    /// Returns the profiles in effect: the same allocation as long as none of them changes.
    #[must_use]
    pub fn set(&self) -> Arc<ProfileSet> {
        self.0.set.load_full()
    }

    /// Puts `profiles` into effect. Equal definitions keep their revisions, so their sessions and credentials stay.
    pub fn replace(&self, profiles: Vec<Profile>) {
        let mut history = self.history();
        let old = self.set();
        let new = ProfileSet(profiles.into_iter().map(|profile| history.revised(&old, profile)).collect());
        if new.is_same(&old) {
            return;
        }
        let is_replaced = |(profile, _): &&Revised| !new.0.iter().any(|(one, _)| Arc::ptr_eq(one, profile));
        history.replaced.extend(old.0.iter().filter(is_replaced).cloned());
        let beyond = history.replaced.len().saturating_sub(KEPT);
        history.replaced.drain(..beyond);
        self.0.set.store(Arc::new(new));
        self.0.generation.fetch_add(1, Ordering::Release);
    }

    /// Returns the definition that a key names, also one that is no longer in effect. `None` for the broker's own identity.
    #[must_use]
    pub fn find(&self, key: &CredentialKey) -> Option<Arc<Profile>> {
        let is_of_key = |profile: &Profile, revision: Revision| profile.name == key.profile && revision == key.revision;
        let set = self.0.set.load();
        if let Some((profile, _)) = set.0.iter().find(|(profile, revision)| is_of_key(profile, *revision)) {
            return Some(Arc::clone(profile));
        }
        let history = self.history();
        let replaced = history.replaced.iter().find(|(profile, revision)| is_of_key(profile, *revision));
        replaced.map(|(profile, _)| Arc::clone(profile))
    }

    /// Returns whether a key names a definition that is no longer in effect.
    #[must_use]
    pub fn is_retired(&self, key: &CredentialKey) -> bool {
        match self.0.set.load().entry(&key.profile) {
            Some((_, revision)) => *revision != key.revision,
            None => self.history().last.contains_key(&key.profile),
        }
    }

    /// Locks the history, even if a panic has poisoned it: it is consistent after each statement.
    fn history(&self) -> MutexGuard<'_, History> {
        self.0.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of changes, by which a cache finds out that it may have keys of retired definitions.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }
}

impl From<Vec<Profile>> for ActiveProfiles {
    fn from(profiles: Vec<Profile>) -> Self {
        Self::new(profiles)
    }
}

impl History {
    /// Returns the definition with its revision: the one that it had before, else the next of its name.
    fn revised(&mut self, old: &ProfileSet, profile: Profile) -> Revised {
        if let Some(same) = old.entry(&profile.name).filter(|(one, _)| **one == profile) {
            return same.clone();
        }
        if let Some(index) = self.replaced.iter().position(|(one, _)| **one == profile) {
            return self.replaced.remove(index);
        }
        let revision = self.last.get(&profile.name).map(|last| last.next()).unwrap_or_default();
        self.last.insert(profile.name.clone(), revision);
        (Arc::new(profile), revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Access;

    fn profile(name: &str, access: Access) -> Profile {
        Profile { access, ..Profile::of_parent(name.into()) }
    }

    fn key(name: &str, revision: Revision) -> CredentialKey {
        let registry = "123456789012.dkr.ecr.eu-central-1.amazonaws.com".parse().unwrap();
        CredentialKey { registry, profile: name.into(), revision, caller: None, lifetime: None }
    }

    fn replaced(active: &ActiveProfiles, profiles: Vec<Profile>) -> Arc<ProfileSet> {
        active.replace(profiles);
        active.set()
    }

    #[test]
    fn changed_profile_gets_a_revision_and_others_keep_theirs() {
        let active = ActiveProfiles::new(vec![profile("a", Access::Pull), profile("b", Access::Pull)]);
        let [first, second] = [Revision::default(), Revision::default().next()];
        let set = active.set();
        let same = replaced(&active, vec![profile("a", Access::Pull), profile("b", Access::Pull)]);
        assert!(Arc::ptr_eq(&set, &same) && active.generation() == 1);
        let set = replaced(&active, vec![profile("b", Access::Pull), profile("a", Access::Push)]);
        assert_eq!((set.revision(&"a".into()), set.revision(&"b".into())), (second, first));
        assert_eq!(active.find(&key("a", first)).unwrap().access, Access::Pull, "for fetches in flight");
        assert_eq!(active.find(&key("a", second)).unwrap().access, Access::Push);
        let retired = |name, revision| active.is_retired(&key(name, revision));
        assert!(retired("a", first) && !retired("a", second) && !retired("b", first) && retired("b", second));
        assert!(!retired("default", first) && !retired("unknown", first));
    }

    #[test]
    fn removed_profile_is_retired_and_comes_back_as_it_was() {
        let active = ActiveProfiles::new(vec![profile("a", Access::Pull)]);
        let [first, second] = [Revision::default(), Revision::default().next()];
        active.replace(Vec::new());
        assert!(active.is_retired(&key("a", first)) && active.find(&key("a", first)).is_some());
        assert_eq!(replaced(&active, vec![profile("a", Access::Full)]).revision(&"a".into()), second);
        assert_eq!(replaced(&active, vec![profile("a", Access::Pull)]).revision(&"a".into()), first);
        assert!(active.is_retired(&key("a", second)));
        assert_eq!(replaced(&active, vec![profile("a", Access::Push)]).revision(&"a".into()), second.next());
    }
}
