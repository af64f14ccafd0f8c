//! Suggestions: grants for exactly the requested access.

use std::collections::{BTreeMap, BTreeSet};

use super::grant::{Effect, Grant};
use super::pattern::{Accounts, CallerPattern, RegistryPattern};
use crate::caller::{Principal, Via};
use crate::credential::ProfileName;
use crate::registry::{AccountId, Region, Registry};

/// A registry that a caller requested.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestedAccess {
    /// The caller.
    pub caller: Principal,
    /// The brokers that forwarded it; `None`: it is a direct caller.
    pub via: Option<Via>,
    /// The registry.
    pub registry: Registry,
    /// The profile that minted the credential, or would mint it.
    pub profile: ProfileName,
}

/// The registries that one caller requested by one profile.
#[derive(Debug, Default)]
pub(super) struct RequestedRegistries {
    public: bool,
    regions: BTreeMap<AccountId, BTreeSet<Region>>,
}

/// Returns the fewest grants that allow the requested access and nothing else. Callers with the same requests share a grant. Also
/// returns the requests for which no grant can be written.
#[must_use]
pub fn suggest(requests: impl IntoIterator<Item = RequestedAccess>) -> (Vec<Grant>, Vec<RequestedAccess>) {
    let (requested, rejected) = by_caller(requests);
    let mut grants: Vec<Grant> = Vec::new();
    // The broker's own identity comes first: a request without a profile gets the profile of the first grant that allows it.
    let (own, others): (Vec<_>, Vec<_>) =
        requested.into_iter().partition(|((_, _, profile), _)| *profile == ProfileName::default_profile());
    for ((caller, via, profile), requested) in own.into_iter().chain(others) {
        let (Some(caller), registries) = (CallerPattern::only(&caller, via.as_ref()), requested.patterns()) else {
            continue;
        };
        if registries.is_empty() {
            continue;
        }
        let same = |grant: &&mut Grant| grant.registries == registries && grant.profile.as_ref() == Some(&profile);
        if let Some(grant) = grants.iter_mut().find(same) {
            grant.callers.push(caller);
            continue;
        }
        let id = format!("suggested-{}", grants.len() + 1);
        grants.push(Grant {
            id,
            callers: vec![caller],
            registries,
            profile: Some(profile),
            effect: Effect::Allow,
            max_lifetime: None,
        });
    }
    (grants, rejected)
}

/// Who requests, the brokers that forward it, and the profile.
type Requester = (Principal, Option<Via>, ProfileName);

/// Groups the requests for which a grant can be written, and returns the others apart.
fn by_caller(
    requests: impl IntoIterator<Item = RequestedAccess>,
) -> (BTreeMap<Requester, RequestedRegistries>, Vec<RequestedAccess>) {
    let mut requested: BTreeMap<_, RequestedRegistries> = BTreeMap::new();
    let mut rejected = Vec::new();
    for request in requests {
        let key = (request.caller.clone(), request.via.clone(), request.profile.clone());
        if CallerPattern::only(&request.caller, request.via.as_ref()).is_none()
            || !requested.entry(key).or_default().add(&request.registry)
        {
            rejected.push(request);
        }
    }
    (requested, rejected)
}

impl RequestedRegistries {
    /// Adds a registry; returns false if its account is unknown, so that it could be any.
    pub(super) fn add(&mut self, registry: &Registry) -> bool {
        match registry {
            Registry::Public { .. } => self.public = true,
            Registry::Private(private) => {
                let Some(account) = private.account() else { return false };
                self.regions.entry(account).or_default().insert(private.region().clone());
            }
        }
        true
    }

    /// Returns the patterns. Accounts with the same regions share one, so that no account gets another's region.
    pub(super) fn patterns(&self) -> Vec<RegistryPattern> {
        let mut accounts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (account, regions) in &self.regions {
            accounts.entry(regions).or_default().push(*account);
        }
        let private = accounts.into_iter().map(|(regions, accounts)| RegistryPattern::Private {
            accounts: Accounts::Of(accounts),
            regions: regions.iter().filter_map(|region| region.as_str().parse().ok()).collect(),
        });
        private.chain(self.public.then_some(RegistryPattern::Public)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Caller;
    use crate::policy::{Decision, Policy};

    const CALLERS: [&str; 9] = [
        "uid:1,gid:1",
        "uid:2,gid:1",
        "loopback",
        "aws-api",
        "spiffe://a.example/ci/runner",
        "dns:b.example",
        "jwt:blue:system:serviceaccount:ci:runner",
        "via spiffe://a.example/node/1 jwt:blue:system:serviceaccount:ci:runner",
        "via spiffe://a.example/node/1,dns:b.example uid:1,gid:1",
    ];

    fn access(caller: &str, registry: &str, profile: &str) -> RequestedAccess {
        let caller: Caller = caller.parse().unwrap();
        let (registry, profile) = (registry.parse().unwrap(), profile.into());
        RequestedAccess { caller: caller.job().principal(), via: caller.via().cloned(), registry, profile }
    }

    #[test]
    fn callers_with_the_same_requests_share_a_grant() {
        let host = |account: &str, region: &str| format!("{account}.dkr.ecr.{region}.amazonaws.com");
        let (one, two) = (host("111111111111", "eu-west-1"), host("222222222222", "us-east-1"));
        let requests = [
            access(CALLERS[0], &one, "default"),
            access(CALLERS[1], &one, "default"),
            access(CALLERS[1], &one, "default"),
            access(CALLERS[3], &one, "default"),
            access(CALLERS[3], &two, "default"),
            access(CALLERS[3], "public.ecr.aws", "ci"),
            access("jwt:blue:any*body", &one, "default"),
        ];
        let (grants, rejected) = suggest(requests);
        assert_eq!(grants.len(), 3, "{grants:#?}");
        assert_eq!(grants[0].callers, [CallerPattern::Uid(1), CallerPattern::Uid(2)]);
        assert_eq!(grants[1].registries.len(), 2);
        assert_eq!(grants[2].profile, Some("ci".into()));
        assert_eq!(rejected.len(), 1, "{rejected:?}");
    }

    /// Over many random logs the grants allow the requested access and deny everything else.
    #[test]
    fn suggested_grants_allow_the_requests_and_nothing_else() {
        let mut random = fastrand::Rng::with_seed(7);
        let registries = ["1", "2", "3"].map(|digit| digit.repeat(12)).into_iter().flat_map(|account| {
            ["eu-west-1", "us-east-1"].map(|region| format!("{account}.dkr.ecr.{region}.amazonaws.com"))
        });
        let registries: Vec<_> = registries.chain(["public.ecr.aws".to_owned()]).collect();
        for _ in 0..200 {
            let asked: Vec<_> = (0..random.usize(0..30))
                .map(|_| {
                    (
                        random.choice(CALLERS).unwrap(),
                        random.choice(&registries).unwrap(),
                        random.choice(["a", "b"]).unwrap(),
                    )
                })
                .collect();
            let (grants, rejected) =
                suggest(asked.iter().map(|(caller, registry, profile)| access(caller, registry, profile)));
            assert!(rejected.is_empty());
            let policy = Policy::Grants(grants);
            for caller in CALLERS {
                for registry in &registries {
                    for profile in ["a", "b"] {
                        let decision = policy.decide(&caller.parse().unwrap(), &registry.parse().unwrap(), profile);
                        let allowed = matches!(decision, Decision::Allow { .. });
                        assert_eq!(
                            allowed,
                            asked.contains(&(caller, registry, profile)),
                            "{caller} {registry} {profile}"
                        );
                    }
                }
            }
        }
    }
}
