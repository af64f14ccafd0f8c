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
use self::host_key::HostKey;
use super::entry::Entry;
use super::scope::{Cached, OwnKeys, Scope};
use crate::caller::Principal;
use crate::credential::{CredentialKey, Lifetime, ProfileName};
use crate::registry::{AccountId, Region, Registry};
use crate::sync::lock;

mod by_end;
mod host_key;

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

/// Credentials that a caller may see.
#[derive(Clone, Copy)]
struct Visible<'a> {
    part: &'a Part,
    /// The caller's names, and the one that these credentials have; `None`: all callers share them.
    own: Option<(&'a OwnKeys, &'a Principal)>,
}

/// The profile and the lifetime that a credential was minted by.
type Minted<'a> = (&'a ProfileName, Option<Lifetime>);

/// The profile, and the region; ECR Public has none.
type GroupKey = (ProfileName, Option<Region>);

/// Credentials by host.
type Group = BTreeMap<HostKey, OfHost>;

/// The credentials of one host and profile.
#[derive(Debug, Clone, Default)]
struct OfHost {
    /// That of requests which name the account, or of ECR Public.
    named: Option<Arc<Entry>>,
    /// That of requests for the registry of the identity that calls AWS.
    unnamed: Option<Arc<Entry>>,
    /// Those with a lifetime of their grant. Boxed, because few hosts have one.
    short_lived: Option<Box<ShortLived>>,
}

/// Credentials of one host and profile by their lifetimes, and whether their requests named the account.
#[derive(Debug, Clone, Default)]
struct ShortLived(BTreeMap<(Lifetime, bool), Arc<Entry>>);

/// The credentials of a host that is listed.
#[derive(Debug)]
struct Found {
    host: String,
    registry: Registry,
    profile: ProfileName,
    entries: OfHost,
}

impl OfHost {
    /// Returns the entry that is replaced.
    fn insert(&mut self, key: &CredentialKey, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let (is_named, entry) = (is_named(&key.registry), Arc::clone(entry));
        match key.lifetime {
            Some(lifetime) => self.short_lived.get_or_insert_default().0.insert((lifetime, is_named), entry),
            None => self.place(is_named).replace(entry),
        }
    }

    /// Returns whether the entry was there.
    fn remove(&mut self, key: &CredentialKey, entry: &Arc<Entry>) -> bool {
        let (is_named, is_same) = (is_named(&key.registry), |old: &Arc<Entry>| Arc::ptr_eq(old, entry));
        let Some(lifetime) = key.lifetime else {
            return self.place(is_named).take_if(|old| is_same(old)).is_some();
        };
        let Some(ShortLived(entries)) = self.short_lived.as_deref_mut() else { return false };
        let is_there = entries.get(&(lifetime, is_named)).is_some_and(is_same);
        if is_there {
            entries.remove(&(lifetime, is_named));
        }
        if entries.is_empty() {
            self.short_lived = None;
        }
        is_there
    }

    fn place(&mut self, is_named: bool) -> &mut Option<Arc<Entry>> {
        if is_named { &mut self.named } else { &mut self.unnamed }
    }

    fn is_empty(&self) -> bool {
        self.named.is_none() && self.unnamed.is_none() && self.short_lived.is_none()
    }

    /// Returns the credentials of requests that named the account or did not, with their lifetimes.
    fn entries(&self, is_named: bool) -> impl Iterator<Item = (Option<Lifetime>, &Arc<Entry>)> {
        let general = if is_named { &self.named } else { &self.unnamed };
        let short_lived = self.short_lived.iter().flat_map(|one| &one.0).filter(move |((_, of), _)| *of == is_named);
        general.iter().map(|entry| (None, entry)).chain(short_lived.map(|((of, _), entry)| (Some(*of), entry)))
    }
}

impl Found {
    /// Returns the credential that lasts longest of those that `may_list` accepts.
    fn listed(&self, may_list: impl Fn(&Registry, Minted<'_>, &Entry) -> bool) -> Option<Cached> {
        let Self { host, registry, profile, entries } = self;
        let of = |registry: &Registry, is_named| {
            let listed = entries.entries(is_named).filter(|(of, entry)| may_list(registry, (profile, *of), entry));
            listed.map(|(_, entry)| entry.credential.expires()).max()
        };
        let expires = of(registry, true).max(of(&registry.without_account(), false))?;
        Some(Cached { host: host.clone(), profile: profile.clone(), expires })
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
        may_list: impl Fn(&Registry, Minted<'_>, &Entry) -> bool,
    ) -> Vec<Cached> {
        let accounts = scope.accounts.map_or_else(|| vec![None], in_host_order);
        let mut listed = Vec::new();
        let mut last: Option<Found> = None;
        loop {
            let after = last.as_ref().map(|last| (&*last.host, &last.profile)).or(scope.after);
            let mut batch = self.batch(&Scope { after, ..*scope }, &accounts);
            let is_last = batch.len() < BATCH;
            listed.extend(batch.iter().filter_map(|found| found.listed(&may_list)).take(limit - listed.len()));
            last = batch.pop();
            if is_last || listed.len() == limit {
                return listed;
            }
        }
    }

    /// Returns the first credentials of a scope.
    fn batch(&self, scope: &Scope<'_>, accounts: &[Option<AccountId>]) -> Vec<Found> {
        let state = lock(&self.0);
        let groups: Vec<_> = state.parts(scope.own).flat_map(|part| part.groups_of(scope)).collect();
        accounts.iter().flat_map(|account| in_order(&groups, *account, scope)).take(BATCH).collect()
    }

    /// Returns the lifetimes and expiries of the credentials that are cached for a caller and that `may_list` accepts.
    pub(super) fn expiries(
        &self,
        registry: &Registry,
        profile: &ProfileName,
        own: &OwnKeys,
        may_list: impl Fn(&Entry) -> bool,
    ) -> Vec<(Option<Lifetime>, SystemTime)> {
        if !is_named(registry) {
            return Vec::new();
        }
        let (host, group) = (HostKey::of(registry, None), (profile.clone(), registry.region().cloned()));
        let state = lock(&self.0);
        let parts = state.parts(own).filter(|visible| visible.has(profile));
        let of_host = parts.filter_map(|visible| visible.part.groups.get(&group)?.get(&host));
        let usable = of_host.flat_map(|entries| entries.entries(true)).filter(|(_, entry)| may_list(entry));
        usable.map(|(lifetime, entry)| (lifetime, entry.credential.expires())).collect()
    }
}

impl State {
    /// Returns the shared credentials, and those under a caller's own names.
    fn parts<'a>(&'a self, own: &'a OwnKeys) -> impl Iterator<Item = Visible<'a>> {
        let of_caller = own.principals().filter_map(move |principal| {
            let part = self.of_callers.get(principal)?;
            Some(Visible { part, own: Some((own, principal)) })
        });
        std::iter::once(Visible { part: &self.shared, own: None }).chain(of_caller)
    }
}

impl<'a> Visible<'a> {
    fn has(&self, profile: &ProfileName) -> bool {
        self.own.is_none_or(|(own, principal)| own.has(principal, profile))
    }

    fn groups_of(self, scope: &Scope<'_>) -> impl Iterator<Item = (&'a GroupKey, &'a Group)> {
        let groups = self.part.groups.iter();
        groups.filter(move |((profile, region), _)| self.has(profile) && (scope.has_group)(profile, region.as_ref()))
    }
}

impl Part {
    /// Returns the entry that is replaced; `None`: the key is new.
    fn insert(&mut self, key: &CredentialKey, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let group = self.groups.entry((key.profile.clone(), key.registry.region().cloned())).or_default();
        let replaced = group.entry(host(key, entry)).or_default().insert(key, entry);
        self.count += usize::from(replaced.is_none());
        replaced
    }

    /// Returns whether the entry was there.
    fn remove(&mut self, key: &CredentialKey, entry: &Arc<Entry>) -> bool {
        let (group_key, host) = ((key.profile.clone(), key.registry.region().cloned()), host(key, entry));
        let Some(group) = self.groups.get_mut(&group_key) else { return false };
        let Some(entries) = group.get_mut(&host) else { return false };
        let removed = entries.remove(key, entry);
        if entries.is_empty() {
            group.remove(&host);
        }
        if group.is_empty() {
            self.groups.remove(&group_key);
        }
        self.count -= usize::from(removed);
        removed
    }
}

/// Returns what is cached for an account in groups, or for all accounts, in the order of hosts and profiles.
fn in_order<'a>(
    groups: &[(&'a GroupKey, &'a Group)],
    account: Option<AccountId>,
    scope: &Scope<'a>,
) -> impl Iterator<Item = Found> + use<'a> {
    let hosts =
        groups.iter().filter_map(|(group, hosts)| Some(of_group(group, hosts, range(group, account, scope)?, scope)));
    let mut hosts: Vec<_> = hosts.map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let heads = hosts.iter_mut().enumerate().filter_map(|(index, hosts)| {
            let found = hosts.peek()?;
            Some((&found.host, &found.profile, index))
        });
        let (_, _, next) = heads.min()?;
        hosts[next].next()
    })
}

/// Returns where the hosts of a group begin and end that may be listed; `None`: it has none.
fn range(
    (_, region): &GroupKey,
    account: Option<AccountId>,
    scope: &Scope<'_>,
) -> Option<(Bound<HostKey>, Bound<HostKey>)> {
    if let Some(account) = account {
        let (first, last) = HostKey::all_of(account);
        return Some((Bound::Included(first), Bound::Included(last)));
    }
    let start = match scope.after {
        Some((host, _)) if region.is_some() => Bound::Included(HostKey::not_before(host)?),
        _ => Bound::Unbounded,
    };
    Some((start, Bound::Unbounded))
}

/// Returns the hosts of a group that follow the last one of the page before. Without an account no host is known, and such an entry
/// is not listed.
fn of_group<'a>(
    (profile, region): &'a GroupKey,
    hosts: &'a Group,
    range: (Bound<HostKey>, Bound<HostKey>),
    scope: &Scope<'a>,
) -> impl Iterator<Item = Found> + use<'a> {
    let after = scope.after;
    let known = hosts.range(range).filter_map(move |(host, entries)| {
        let registry = host.registry(region.as_ref())?;
        let host = registry.host().filter(|host| after.is_none_or(|after| (host.as_str(), profile) > after))?;
        Some((host, registry, entries))
    });
    known.map(|(host, registry, entries)| Found { host, registry, profile: profile.clone(), entries: entries.clone() })
}

/// Returns accounts in the order of their hosts.
fn in_host_order(accounts: &[AccountId]) -> Vec<Option<AccountId>> {
    let mut accounts: Vec<_> = accounts.iter().copied().map(Some).collect();
    accounts.sort();
    accounts.dedup();
    accounts
}

fn host(key: &CredentialKey, entry: &Entry) -> HostKey {
    HostKey::of(&key.registry, entry.credential.account())
}

/// Returns whether a request names the host of its registry.
fn is_named(registry: &Registry) -> bool {
    registry.region().is_none() || registry.account().is_some()
}

#[cfg(test)]
mod tests;
