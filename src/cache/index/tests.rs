use std::cell::Cell;
use std::time::{Duration, SystemTime};

use super::*;
use crate::cache::entry::Uses;
use crate::caller::ClaimsDigest;
use crate::credential::{Credential, Revision, SourceName};
use crate::moment::Moment;

fn entry(account: Option<&str>) -> Arc<Entry> {
    let now = Moment { wall: SystemTime::UNIX_EPOCH, steady: Duration::ZERO };
    let credential =
        Credential::new(SourceName::Aws, "AWS", "x", now.wall, now.wall + Duration::from_hours(12), now).unwrap();
    let account = account.map(|account| account.parse().unwrap());
    Arc::new(Entry::new(credential.for_account(account), Duration::from_hours(1), Uses::default()))
}

fn key(host: &str, profile: &str, caller: Option<u32>) -> CredentialKey {
    let caller = caller.map(Principal::Uid);
    CredentialKey {
        registry: host.parse().unwrap(),
        profile: profile.into(),
        revision: Revision::default(),
        caller,
        lifetime: None,
    }
}

fn of_uid(uid: u32) -> OwnKeys {
    OwnKeys::of_any_profile(Principal::Uid(uid))
}

fn host(account: usize, region: &str) -> String {
    format!("{account:012}.dkr.ecr.{region}.amazonaws.com")
}

/// Returns the hosts of a walk, and how many entries it looked at.
fn walk(index: &Index, scope: &Scope<'_>, limit: usize) -> (Vec<String>, usize) {
    let seen = Cell::new(0);
    let found = index.walk(scope, limit, |_, _, _| {
        seen.set(seen.get() + 1);
        true
    });
    (found.into_iter().map(|cached| cached.host).collect(), seen.get())
}

#[test]
fn walk_looks_only_at_entries_of_its_scope_up_to_the_limit() {
    let index = Index::default();
    for account in 0..2_000 {
        for region in ["eu-central-1", "eu-west-1", "us-east-1"] {
            index.insert(&key(&host(account, region), "default", None), &entry(None));
        }
    }
    let caller = of_uid(1);
    let accounts = [7, 5].map(|account| format!("{account:012}").parse().unwrap());
    let is_of = |wanted: &'static str| {
        move |_: &ProfileName, region: Option<&Region>| region.is_some_and(|one| one.as_str().starts_with(wanted))
    };
    let (europe, america) = (is_of("eu-"), is_of("us-"));
    let own = Scope { own: &caller, has_group: &europe, accounts: Some(&accounts), after: None };
    let expected: Vec<_> =
        [5, 7].into_iter().flat_map(|one| [host(one, "eu-central-1"), host(one, "eu-west-1")]).collect();
    assert_eq!(walk(&index, &own, 100), (expected, 4));
    let all = Scope { accounts: None, has_group: &america, ..own };
    let (hosts, seen) = walk(&index, &all, 10);
    assert_eq!((hosts, seen), ((0..10).map(|account| host(account, "us-east-1")).collect(), 10));
    assert_eq!(walk(&index, &Scope { has_group: &|_, _| false, ..all }, 10).1, 0);
}

#[test]
fn tokens_of_one_subject_with_different_claims_count_as_one_caller() {
    let index = Index::default();
    let token = |subject: &str| Principal::Token { issuer: "blue".into(), subject: subject.into() };
    let exact = |subject, claims: &str| Principal::exact(token(subject), ClaimsDigest::of([claims.as_bytes()]));
    let of = |caller| CredentialKey { caller: Some(caller), ..key(&host(1, "eu-central-1"), "default", None) };
    for claims in ["run=1", "run=2", "run=3"] {
        index.insert(&of(exact("ci", claims)), &entry(None));
    }
    index.insert(&of(exact("cd", "run=1")), &entry(None));
    assert_eq!((index.counts(&exact("ci", "run=4")), index.counts(&exact("cd", "run=4"))), ((3, 4), (1, 4)));
}

/// moka's eviction listener takes the lock of the index during hits.
#[test]
fn walk_decides_grants_without_the_lock_of_the_index() {
    let index = Index::default();
    for account in 0..3 * BATCH {
        index.insert(&key(&host(account, "eu-central-1"), "default", None), &entry(None));
    }
    let caller = of_uid(1);
    let all = Scope { own: &caller, has_group: &|_, _| true, accounts: None, after: None };
    let denied = 2 * BATCH + 3;
    let seen = Cell::new(0);
    let found = index.walk(&all, 5, |_, _, _| {
        assert!(index.0.try_lock().is_ok());
        seen.set(seen.get() + 1);
        seen.get() > denied
    });
    let expected: Vec<_> = (denied..denied + 5).map(|account| host(account, "eu-central-1")).collect();
    assert_eq!(found.into_iter().map(|cached| cached.host).collect::<Vec<_>>(), expected);
}

#[test]
fn walk_continues_after_a_host_and_a_profile() {
    let index = Index::default();
    for (account, profile) in [(1, "b"), (1, "a"), (2, "a"), (2, "c"), (3, "b")] {
        index.insert(&key(&host(account, "eu-west-1"), profile, None), &entry(None));
    }
    let (caller, first) = (of_uid(1), host(1, "eu-west-1"));
    let from = |name, profile: &str| {
        let profile = ProfileName::from(profile);
        let after = Some((name, &profile));
        let scope = Scope { own: &caller, has_group: &|_, _| true, accounts: None, after };
        let found = index.walk(&scope, 9, |_, _, _| true);
        found.into_iter().map(|one| format!("{}{}", &one.host[11..12], one.profile)).collect::<Vec<_>>()
    };
    assert_eq!(from("", ""), ["1a", "1b", "2a", "2c", "3b"]);
    assert_eq!(from(&first, "a"), ["1b", "2a", "2c", "3b"]);
    assert_eq!(from(&first, "b"), ["2a", "2c", "3b"]);
    assert_eq!(from("1", "x"), Vec::<String>::new());
}

#[test]
fn entries_of_single_callers_are_counted_and_hidden_from_others() {
    let index = Index::default();
    let (old, new) = (entry(None), entry(None));
    let own = key(&host(1, "eu-west-1"), "each", Some(1));
    index.insert(&own, &old);
    index.insert(&own, &new);
    index.insert(&key(&host(2, "eu-west-1"), "each", Some(2)), &new);
    assert_eq!((index.counts(&Principal::Uid(1)), index.counts(&Principal::Uid(3)), index.len()), ((1, 2), (0, 2), 2));
    let listed = |uid| {
        let caller = of_uid(uid);
        walk(&index, &Scope { own: &caller, has_group: &|_, _| true, accounts: None, after: None }, 9).0
    };
    assert_eq!((listed(1), listed(3)), (vec![host(1, "eu-west-1")], vec![]));
    index.remove(&own, &old);
    assert_eq!(listed(1).len(), 1, "a newer one has taken the place of the removed one");
    index.remove(&own, &new);
    assert_eq!((listed(1).len(), index.counts(&Principal::Uid(1))), (0, (0, 1)));
}

/// Two profiles make the same name of different claims.
#[test]
fn name_of_a_session_shows_the_credentials_of_its_profile_only() {
    let index = Index::default();
    let own = key(&host(1, "eu-west-1"), "each", Some(1));
    index.insert(&own, &entry(None));
    let listed = |profile: &str| {
        let mut caller = of_uid(2);
        caller.add(profile.into(), Principal::Uid(1));
        let scope = Scope { own: &caller, has_group: &|_, _| true, accounts: None, after: None };
        let expiries = index.expiries(&own.registry, &own.profile, &caller, |_| true);
        (walk(&index, &scope, 9).0.len(), !expiries.is_empty())
    };
    assert_eq!((listed("each"), listed("other")), ((1, true), (0, false)));
}

#[test]
fn entry_without_an_account_is_listed_by_the_account_that_aws_named() {
    let index = Index::default();
    let variant = crate::registry::EndpointVariant::default();
    let private = crate::registry::PrivateRegistry::new(None, "eu-west-1".parse().unwrap(), variant).unwrap();
    let own = CredentialKey { registry: Registry::Private(private), ..key(&host(1, "eu-west-1"), "default", None) };
    let caller = of_uid(1);
    let scope = Scope { own: &caller, has_group: &|_, _| true, accounts: None, after: None };
    index.insert(&own, &entry(Some("000000000009")));
    assert_eq!(walk(&index, &scope, 9).0, [host(9, "eu-west-1")]);
    index.insert(&CredentialKey { profile: "other".into(), ..own }, &entry(None));
    assert_eq!((walk(&index, &scope, 9).0.len(), index.len()), (1, 2), "no host is known");
}

#[test]
fn usable_credential_is_found_until_it_is_replaced_or_removed() {
    let (index, looked_at) = (Index::default(), Cell::new(0));
    let has = |wanted: &Arc<Entry>| {
        looked_at.set(0);
        index.has(|one| {
            looked_at.set(looked_at.get() + 1);
            std::ptr::eq(one, &raw const **wanted)
        })
    };
    let [shared, own, newer] = [None; 3].map(entry);
    let [shared_key, own_key] = [None, Some(1)].map(|uid| key(&host(1, "eu-west-1"), "default", uid));
    index.insert(&shared_key, &shared);
    index.insert(&own_key, &own);
    assert!(has(&shared) && has(&own));
    index.insert(&shared_key, &newer);
    assert!(!has(&shared) && has(&newer));
    // moka tells of the replaced one later.
    index.remove(&shared_key, &shared);
    assert!(has(&newer));
    index.remove(&shared_key, &newer);
    index.remove(&own_key, &own);
    assert!(!has(&newer) && looked_at.get() == 0);
    for account in 0..1_000 {
        index.insert(&key(&host(account, "eu-west-1"), "default", None), &entry(None));
    }
    assert!(!has(&own) && looked_at.get() == 64, "{}", looked_at.get());
}

#[test]
fn credentials_of_one_host_are_listed_by_their_lifetimes() {
    let (index, general) = (Index::default(), key(&host(1, "eu-west-1"), "default", None));
    let of = |minutes| CredentialKey { lifetime: Lifetime::from_minutes(minutes), ..general.clone() };
    let entries = [&general, &of(15), &of(30)].map(|key| {
        let one = entry(None);
        index.insert(key, &one);
        one
    });
    let caller = of_uid(1);
    let lifetimes = || {
        let found = index.expiries(&general.registry, &general.profile, &caller, |_| true);
        found.into_iter().map(|(lifetime, _)| lifetime.map(Lifetime::minutes)).collect::<Vec<_>>()
    };
    assert_eq!((lifetimes(), index.len()), (vec![None, Some(15), Some(30)], 3));
    let scope = Scope { own: &caller, has_group: &|_, _| true, accounts: None, after: None };
    let listed = |wanted| index.walk(&scope, 9, |_, (_, lifetime), _| lifetime == Lifetime::from_minutes(wanted)).len();
    assert_eq!([listed(15), listed(30), listed(45)], [1, 1, 0]);
    index.remove(&of(15), &entries[2]);
    assert_eq!(lifetimes(), [None, Some(15), Some(30)], "another credential has this place");
    index.remove(&of(15), &entries[1]);
    index.remove(&general, &entries[0]);
    assert_eq!((lifetimes(), index.len()), (vec![Some(30)], 1));
    index.remove(&of(30), &entries[2]);
    assert_eq!((lifetimes(), index.len()), (Vec::new(), 0));
}
