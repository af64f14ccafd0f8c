//! Merges the sources of a list in its order, and ends each where the page ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::SystemTime;

use crate::policy::Listing;

/// A page of a list.
#[derive(Debug, Default)]
pub struct ListPage {
    /// The entries in their order, with the expiry of cached credentials.
    pub entries: Vec<(Listing, Option<SystemTime>)>,
    /// Where the next page begins: after this listing, which the caller's grants name. `None` on the last page.
    pub next: Option<Listing>,
}

/// Denied hosts that a page passes over, for each entry that it may have. Then the page ends, however few entries it has: grants can
/// name any number of hosts that a denial covers.
const DENIED_PER_ENTRY: usize = 10;
/// The same of a small page.
const MIN_DENIED: usize = 100;

/// Entries in the order of the list, each once.
pub(super) type Source<'a> = Box<dyn Iterator<Item = (Listing, Verdict)> + 'a>;

/// Whether a source allows its entry. Of an entry in several sources the greatest verdict counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It does not.
    Denied,
    /// A grant names it, and a denial may cover it.
    AsGranted,
    /// It is allowed, and its credential is cached until then.
    Allowed(Option<SystemTime>),
}

/// Sources, and the first entry of each.
struct Merged<'a> {
    sources: Vec<Source<'a>>,
    heads: BinaryHeap<Reverse<(Listing, Verdict, usize)>>,
}

/// Returns the first `size` entries of all sources that are allowed; fewer if too many are denied.
pub(super) fn page_of(sources: Vec<Source<'_>>, size: usize, is_allowed: impl Fn(&Listing) -> bool) -> ListPage {
    let (mut entries, mut denied) = (Vec::new(), 0);
    let max_denied = (size * DENIED_PER_ENTRY).max(MIN_DENIED);
    for (listing, verdict) in Merged::new(sources) {
        let expires = match verdict {
            Verdict::Allowed(expires) => expires,
            Verdict::AsGranted if is_allowed(&listing) => None,
            Verdict::AsGranted if denied == max_denied => return ListPage { entries, next: Some(listing) },
            Verdict::AsGranted => {
                denied += 1;
                continue;
            }
            // An alias, whose name the caller does not learn.
            Verdict::Denied => continue,
        };
        if entries.len() == size {
            let next = entries.last().map(|(last, _): &(Listing, _)| last.clone());
            return ListPage { entries, next };
        }
        entries.push((listing, expires));
    }
    ListPage { entries, next: None }
}

impl<'a> Merged<'a> {
    fn new(sources: Vec<Source<'a>>) -> Self {
        let mut merged = Self { heads: BinaryHeap::with_capacity(sources.len()), sources };
        (0..merged.sources.len()).for_each(|source| merged.advance(source));
        merged
    }

    fn advance(&mut self, source: usize) {
        if let Some((listing, verdict)) = self.sources[source].next() {
            self.heads.push(Reverse((listing, verdict, source)));
        }
    }

    fn take_first(&mut self) -> Option<(Listing, Verdict)> {
        let Reverse((listing, verdict, source)) = self.heads.pop()?;
        self.advance(source);
        Some((listing, verdict))
    }
}

impl Iterator for Merged<'_> {
    type Item = (Listing, Verdict);

    fn next(&mut self) -> Option<Self::Item> {
        let (listing, mut verdict) = self.take_first()?;
        while self.heads.peek().is_some_and(|Reverse((next, ..))| *next == listing) {
            verdict = verdict.max(self.take_first()?.1);
        }
        Some((listing, verdict))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::caller::Caller;
    use crate::policy::{Accounts, CallerPattern, Effect, Grant, Policy, RegistryPattern};

    const ACCOUNTS: usize = 2_000;

    fn grant(accounts: impl Iterator<Item = usize>, regions: &[&str], profile: &str) -> Grant {
        let accounts = accounts.map(|account| format!("{account:012}").parse().unwrap()).collect();
        let regions = regions.iter().map(|region| region.parse().unwrap()).collect();
        Grant {
            id: profile.into(),
            callers: vec![CallerPattern::Loopback],
            registries: vec![RegistryPattern::Private { accounts: Accounts::Of(accounts), regions }],
            profile: Some(profile.into()),
            effect: Effect::Allow,
            max_lifetime: None,
        }
    }

    /// Two grants name 32,000 hosts and 8,000 patterns together. A page of ten builds the hosts of two accounts.
    #[test]
    fn page_builds_only_the_hosts_that_it_reaches() {
        let regions = ["eu-west-1", "us-east-1", "ap-*"];
        let policy =
            Policy::Grants(vec![grant((0..ACCOUNTS).rev(), &regions, "a"), grant((0..ACCOUNTS).rev(), &regions, "b")]);
        let caller = Caller::Loopback;
        let allowed = policy.of_caller(&caller).allowed();
        let mut all: Vec<_> = allowed.iter().flat_map(|one| one.listings(None)).collect();
        all.sort();
        assert!(all.len() > 30_000, "{}", all.len());
        let built = Cell::new(0);
        let (mut after, mut most) = (None, 0);
        for start in [0, 9, 4_321, 16_000, 31_995, all.len() - 7] {
            after = start.checked_sub(1).map(|last| all[last].clone()).or(after);
            built.set(0);
            let source = |one| -> Source<'_> {
                let one: &crate::policy::Allowed<'_> = one;
                Box::new(
                    one.listings(after.as_ref())
                        .map(|listing| (listing, Verdict::AsGranted))
                        .inspect(|_| built.set(built.get() + 1)),
                )
            };
            let page = page_of(allowed.iter().map(source).collect(), 10, |_| true);
            let entries: Vec<_> = page.entries.into_iter().map(|(listing, _)| listing).collect();
            assert_eq!(entries, all[start..(start + 10).min(all.len())], "{start}");
            assert_eq!(page.next, (start + 10 < all.len()).then(|| all[start + 9].clone()));
            most = most.max(built.get());
        }
        assert!(most <= 13, "built {most}: the page, and the next entry of each grant");
    }

    #[test]
    fn entry_of_several_sources_is_listed_once_with_its_greatest_verdict() {
        let entry = |name: &str, verdict| {
            (Listing { is_pattern: false, name: name.to_owned(), profile: "default".into() }, verdict)
        };
        let later = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        let sources: Vec<Source<'_>> = vec![
            Box::new([entry("a", Verdict::AsGranted), entry("c", Verdict::AsGranted)].into_iter()),
            Box::new([entry("a", Verdict::Allowed(None)), entry("b", Verdict::Denied)].into_iter()),
            Box::new([entry("a", Verdict::Allowed(later)), entry("d", Verdict::AsGranted)].into_iter()),
        ];
        let page = page_of(sources, 9, |listing| listing.name != "c");
        let listed: Vec<_> = page.entries.iter().map(|(listing, expires)| (listing.name.as_str(), *expires)).collect();
        assert_eq!((listed, page.next), (vec![("a", later), ("d", None)], None));
    }

    /// A denial covers all of 10,000 named hosts but two. Each page decides a bounded number of them, and a client gets both.
    #[test]
    fn page_passes_over_a_bounded_number_of_denied_hosts() {
        const HOSTS: usize = 10_000;
        let listing = |number: usize| Listing { is_pattern: false, name: format!("{number:05}"), profile: "p".into() };
        let allowed = [listing(HOSTS / 2), listing(HOSTS - 1)];
        let decided = Cell::new(0);
        let is_allowed = |listing: &Listing| {
            decided.set(decided.get() + 1);
            allowed.contains(listing)
        };
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let rest = (0..HOSTS).map(listing).filter(|one| after.as_ref().is_none_or(|after| one > after));
            // Aliases of registries that the caller may not have are passed over, and never end a page.
            let alias = (Listing { name: "x".to_owned(), ..listing(0) }, Verdict::Denied);
            let source: Source<'_> = Box::new(rest.map(|one| (one, Verdict::AsGranted)).chain([alias]));
            decided.set(0);
            let page = page_of(vec![source], 1, is_allowed);
            assert!(decided.get() <= MIN_DENIED + 2, "decided {}", decided.get());
            found.extend(page.entries.into_iter().map(|(listing, _)| listing));
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, allowed);
        assert!((HOSTS / MIN_DENIED / 2..=HOSTS / MIN_DENIED + 2).contains(&pages), "{pages} pages");
    }
}
