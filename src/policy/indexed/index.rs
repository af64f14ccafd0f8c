//! The index: the places of grants by what their patterns name exactly.

use std::collections::HashMap;
use std::hash::Hash;

use super::key::{CallerKey, RegistryKey};
use super::posting::{Intersection, Posting, Union};
use crate::caller::Caller;
use crate::policy::grant::Grant;
use crate::registry::Registry;

/// Places of grants by callers and by registries. It is linear in the size of the policy: it has no pair of both.
#[derive(Debug, Default)]
pub(super) struct Index {
    callers: HashMap<CallerKey<'static>, Posting>,
    registries: HashMap<RegistryKey, Posting>,
    /// The length of the longest start of a name.
    longest: usize,
}

impl Index {
    pub(super) fn new(grants: &[Grant]) -> Self {
        let mut index = Self::default();
        for (place, grant) in (0..).zip(grants) {
            for key in grant.callers.iter().map(CallerKey::of_pattern) {
                index.longest = index.longest.max(key.start_len());
                post(&mut index.callers, key, place);
            }
            for key in grant.registries.iter().flat_map(RegistryKey::of_pattern) {
                post(&mut index.registries, key, place);
            }
        }
        index
    }

    /// Returns the places of all grants that may apply to a caller, in order.
    pub(super) fn of_caller<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = usize> + use<'a> {
        self.naming(caller).map(as_index)
    }

    /// Returns the places of all grants that may apply to a caller and may cover a registry, in order.
    pub(super) fn of_request<'a>(
        &'a self,
        caller: &'a Caller,
        registry: &Registry,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let mut registries = Union::default();
        RegistryKey::of(registry).for_each(|key| registries.add(self.registries.get(&key)));
        Intersection { one: self.naming(caller), other: registries }.map(as_index)
    }

    fn naming<'a>(&'a self, caller: &'a Caller) -> Union<'a> {
        // A key of the caller is looked up in a map whose keys live longer.
        let callers: &'a HashMap<CallerKey<'a>, Posting> = &self.callers;
        let mut union = Union::default();
        CallerKey::each_of(caller, self.longest, &mut |key| union.add(callers.get(&key)));
        union
    }
}

/// Adds a place once, whatever number of patterns have the key. Places come in order.
fn post<K: Eq + Hash>(postings: &mut HashMap<K, Posting>, key: K, place: u32) {
    let posting = postings.entry(key).or_default();
    if posting.last() != Some(&place) {
        posting.push(place);
    }
}

fn as_index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}
