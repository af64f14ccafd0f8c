//! Index of the cached credentials in the order of their hosts.
//!
//! moka can only walk all of its entries. A list must not cost more because other callers have many credentials cached, and a miss
//! must not count them one by one. A hit does not use the index, but moka may evict entries during one, which takes the index's lock.
//! So the lock is never held while grants are decided.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use self::by_end::ByEnd;
use super::entry::Entry;
use super::scope::{Cached, Scope};
use crate::caller::Principal;
use crate::credential::{CredentialKey, ProfileName};
use crate::registry::{AccountId, Region, Registry};
use crate::sync::lock;

mod by_end;

/// Hosts that a walk copies under the lock at once.
const BATCH: usize = 128;

/// Cached credentials, shared and of single callers.
#[derive(Debug, Default)]
pub(super) struct Index(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    shared: Part,
    of_callers: HashMap<Principal, Part>,
    /// Number of the credentials of all single callers.
    of_callers_count: usize,
    by_end: ByEnd,
}

/// The credentials that all callers share, or those of one caller.
#[derive(Debug, Default)]
struct Part {
    groups: BTreeMap<GroupKey, Group>,
    count: usize,
}

/// The profile, and the region; ECR Public has none.
type GroupKey = (ProfileName, Option<Region>);

/// Credentials by host, which is empty while only AWS knows the account. A request with the account and one without it may have
/// the same host.
type Group = BTreeMap<Box<str>, Vec<(Registry, Arc<Entry>)>>;

/// The credentials of one host and profile.
#[derive(Debug)]
struct Found {
    host: Box<str>,
    profile: ProfileName,
    entries: Vec<(Registry, Arc<Entry>)>,
}

impl Found {
    /// Returns the credential that lasts longest of those that `may_list` accepts.
    fn listed(&self, may_list: impl Fn(&Registry, &ProfileName, &Entry) -> bool) -> Option<Cached> {
        let listed = self.entries.iter().filter(|(registry, entry)| may_list(registry, &self.profile, entry));
        let expires = listed.map(|(_, entry)| entry.credential.expires()).max()?;
        Some(Cached { host: self.host.clone().into(), profile: self.profile.clone(), expires })
    }
}

impl Index {
    pub(super) fn insert(&self, key: &CredentialKey, entry: &Arc<Entry>) {
        let mut state = lock(&self.0);
        let State { shared, of_callers, of_callers_count, by_end } = &mut *state;
        let part = match &key.caller {
            None => shared,
            Some(caller) => of_callers.entry(caller.clone()).or_default(),
        };
        match part.insert(key, entry) {
            Some(replaced) => by_end.remove(&replaced),
            None => *of_callers_count += usize::from(key.caller.is_some()),
        }
        by_end.insert(entry);
    }

    /// Removes a credential that moka has removed, unless a newer one has taken its place.
    pub(super) fn remove(&self, key: &CredentialKey, entry: &Arc<Entry>) {
        let mut state = lock(&self.0);
        let State { shared, of_callers, of_callers_count, by_end } = &mut *state;
        let removed = match &key.caller {
            None => shared.remove(key, entry),
            Some(caller) => {
                let Some(part) = of_callers.get_mut(caller) else { return };
                let removed = part.remove(key, entry);
                *of_callers_count -= usize::from(removed);
                if part.count == 0 {
                    of_callers.remove(caller);
                }
                removed
            }
        };
        if removed {
            by_end.remove(entry);
        }
    }

    /// Returns whether one of the credentials that end last is usable.
    pub(super) fn has(&self, is_usable: impl Fn(&Entry) -> bool) -> bool {
        lock(&self.0).by_end.has(is_usable)
    }

    /// Returns the number of credentials of a single caller, and of all single callers. Tokens of one subject with different claims
    /// are one caller: a job could otherwise take the places of all others by new claims.
    pub(super) fn counts(&self, caller: &Principal) -> (usize, usize) {
        let state = lock(&self.0);
        let own = state.of_callers.iter().filter(|(other, _)| other.subject() == caller.subject());
        (own.map(|(_, part)| part.count).sum(), state.of_callers_count)
    }

    /// Returns the number of all credentials.
    pub(super) fn len(&self) -> usize {
        let state = lock(&self.0);
        state.shared.count + state.of_callers_count
    }

    /// Returns the first `limit` credentials of a scope that `may_list` accepts, in the order of their hosts and profiles.
    pub(super) fn walk(
        &self,
        scope: &Scope<'_>,
        limit: usize,
        may_list: impl Fn(&Registry, &ProfileName, &Entry) -> bool,
    ) -> Vec<Cached> {
        let prefixes = scope.accounts.map_or_else(|| vec![String::new()], prefixes);
        let mut listed = Vec::new();
        let mut last: Option<Found> = None;
        loop {
            let after = last.as_ref().map(|last| (&*last.host, &last.profile)).or(scope.after);
            let mut batch = self.batch(&Scope { after, ..*scope }, &prefixes);
            let is_last = batch.len() < BATCH;
            listed.extend(batch.iter().filter_map(|found| found.listed(&may_list)).take(limit - listed.len()));
            last = batch.pop();
            if is_last || listed.len() == limit {
                return listed;
            }
        }
    }

    /// Returns the first credentials of a scope.
    fn batch(&self, scope: &Scope<'_>, prefixes: &[String]) -> Vec<Found> {
        let state = lock(&self.0);
        let parts = [Some(&state.shared), state.of_callers.get(scope.caller)];
        let groups = parts.into_iter().flatten().flat_map(|part| part.groups_of(scope)).collect::<Vec<_>>();
        let found = prefixes.iter().flat_map(|prefix| in_order(&groups, prefix, scope));
        let found = found.map(|(host, profile, entries)| Found {
            host: host.into(),
            profile: profile.clone(),
            entries: entries.to_vec(),
        });
        found.take(BATCH).collect()
    }

    /// Returns the expiry of a credential that is cached for a caller, if `may_list` accepts it.
    pub(super) fn expiry(
        &self,
        registry: &Registry,
        profile: &ProfileName,
        caller: &Principal,
        may_list: impl Fn(&Entry) -> bool,
    ) -> Option<SystemTime> {
        let (host, group) = (registry.host()?, (profile.clone(), registry.region().cloned()));
        let state = lock(&self.0);
        let parts = [Some(&state.shared), state.of_callers.get(caller)];
        let entries = parts.into_iter().flatten().filter_map(|part| part.groups.get(&group)?.get(&*host)).flatten();
        let listed = entries.filter(|(of, entry)| of == registry && may_list(entry));
        listed.map(|(_, entry)| entry.credential.expires()).max()
    }
}

impl Part {
    /// Returns the entry that is replaced; `None`: the key is new.
    fn insert(&mut self, key: &CredentialKey, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let group = self.groups.entry((key.profile.clone(), key.registry.region().cloned())).or_default();
        // Nearly every host has one entry. A growing vector would start with room for four.
        let entries = group.entry(host(&key.registry, entry)).or_insert_with(|| Vec::with_capacity(1));
        if let Some((_, old)) = entries.iter_mut().find(|(registry, _)| *registry == key.registry) {
            return Some(std::mem::replace(old, Arc::clone(entry)));
        }
        entries.push((key.registry.clone(), Arc::clone(entry)));
        self.count += 1;
        None
    }

    /// Returns whether the entry was there.
    fn remove(&mut self, key: &CredentialKey, entry: &Arc<Entry>) -> bool {
        let (group_key, host) = ((key.profile.clone(), key.registry.region().cloned()), host(&key.registry, entry));
        let Some(group) = self.groups.get_mut(&group_key) else { return false };
        let Some(entries) = group.get_mut(&host) else { return false };
        let before = entries.len();
        entries.retain(|(_, old)| !Arc::ptr_eq(old, entry));
        let removed = before > entries.len();
        if entries.is_empty() {
            group.remove(&host);
        }
        if group.is_empty() {
            self.groups.remove(&group_key);
        }
        self.count -= usize::from(removed);
        removed
    }

    fn groups_of(&self, scope: &Scope<'_>) -> impl Iterator<Item = (&ProfileName, &Group)> {
        let covered = self.groups.iter().filter(|((profile, region), _)| (scope.has_group)(profile, region.as_ref()));
        covered.map(|((profile, _), group)| (profile, group))
    }
}

/// Returns the entries of groups whose hosts begin with `prefix`, in the order of hosts and profiles.
fn in_order<'a>(
    groups: &[(&'a ProfileName, &'a Group)],
    prefix: &str,
    scope: &Scope<'_>,
) -> impl Iterator<Item = (&'a str, &'a ProfileName, &'a [(Registry, Arc<Entry>)])> {
    let ranges = groups.iter().map(|(profile, group)| (*profile, group.range::<str, _>(start(prefix, profile, scope))));
    let mut ranges: Vec<_> = ranges.map(|(profile, range)| (profile, range.peekable())).collect();
    let prefix = prefix.to_owned();
    std::iter::from_fn(move || {
        let heads = ranges.iter_mut().enumerate().filter_map(|(index, (profile, range))| {
            let (host, _) = range.peek().filter(|(host, _)| host.starts_with(&*prefix))?;
            Some((&***host, *profile, index))
        });
        let (_, _, next) = heads.min()?;
        let (profile, range) = &mut ranges[next];
        range.next().map(|(host, entries)| (&**host, *profile, entries.as_slice()))
    })
}

/// Returns the start of a group's hosts: the prefix, or what follows the last host of the page before. Without an account no host
/// is known, and such an entry is not listed.
fn start<'a>(prefix: &'a str, profile: &ProfileName, scope: &Scope<'a>) -> (Bound<&'a str>, Bound<&'a str>) {
    let start = match scope.after {
        Some((host, last)) if host >= prefix && profile > last => Bound::Included(host),
        Some((host, _)) if host >= prefix => Bound::Excluded(host),
        _ if prefix.is_empty() => Bound::Excluded(prefix),
        _ => Bound::Included(prefix),
    };
    (start, Bound::Unbounded)
}

/// Returns what the hosts of each account begin with, in their order.
fn prefixes(accounts: &[AccountId]) -> Vec<String> {
    let mut prefixes: Vec<_> = accounts.iter().map(|account| format!("{account}.")).collect();
    prefixes.sort();
    prefixes.dedup();
    prefixes
}

fn host(registry: &Registry, entry: &Entry) -> Box<str> {
    registry.host_in(entry.credential.account()).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
