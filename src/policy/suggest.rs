//! Grants for what was asked for and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::grant::{Effect, Grant};
use super::pattern::{Accounts, CallerPattern, RegistryPattern};
use crate::caller::Principal;
use crate::credential::ProfileName;
use crate::registry::{AccountId, Region, Registry};

/// Something that a caller asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Who asked.
    pub caller: Principal,
    /// For which registry.
    pub registry: Registry,
    /// By which profile it was minted, or would be.
    pub profile: ProfileName,
}

/// What one caller asked for by one profile.
#[derive(Debug, Default)]
struct Wanted {
    public: bool,
    regions: BTreeMap<AccountId, BTreeSet<Region>>,
}

/// The fewest grants that allow the wishes and nothing else: callers that want the same share one. Wishes that no grant can be
/// written for come back.
#[must_use]
pub fn suggest(wishes: impl IntoIterator<Item = Wish>) -> (Vec<Grant>, Vec<Wish>) {
    let mut wanted: BTreeMap<(Principal, ProfileName), Wanted> = BTreeMap::new();
    let mut left = Vec::new();
    for wish in wishes {
        if CallerPattern::only(&wish.caller).is_none()
            || !wanted.entry((wish.caller.clone(), wish.profile.clone())).or_default().add(&wish.registry)
        {
            left.push(wish);
        }
    }
    let mut grants: Vec<Grant> = Vec::new();
    // First what is minted by the broker's own identity: whoever names no profile gets that of the first grant.
    let (own, others): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|((_, profile), _)| *profile == ProfileName::default_profile());
    for ((caller, profile), wanted) in own.into_iter().chain(others) {
        let (Some(caller), registries) = (CallerPattern::only(&caller), wanted.registries()) else { continue };
        if registries.is_empty() {
            continue;
        }
        let same = |grant: &&mut Grant| grant.registries == registries && grant.profile.as_ref() == Some(&profile);
        if let Some(grant) = grants.iter_mut().find(same) {
            grant.callers.push(caller);
            continue;
        }
        let id = format!("suggested-{}", grants.len() + 1);
        grants.push(Grant { id, callers: vec![caller], registries, profile: Some(profile), effect: Effect::Allow });
    }
    (grants, left)
}

impl Wanted {
    /// False: the account is not known, so that it could be any.
    fn add(&mut self, registry: &Registry) -> bool {
        match registry {
            Registry::Public { .. } => self.public = true,
            Registry::Private(private) => {
                let Some(account) = private.account() else { return false };
                self.regions.entry(account).or_default().insert(private.region().clone());
            }
        }
        true
    }

    /// Accounts stand together where their regions are the same: never an account with another's region.
    fn registries(&self) -> Vec<RegistryPattern> {
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

    const CALLERS: [&str; 7] = [
        "uid:1,gid:1",
        "uid:2,gid:1",
        "loopback",
        "aws-api",
        "spiffe://a.example/ci/runner",
        "dns:b.example",
        "jwt:blue:system:serviceaccount:ci:runner",
    ];

    fn wish(caller: &str, registry: &str, profile: &str) -> Wish {
        let caller: Caller = caller.parse().unwrap();
        Wish { caller: caller.principal(), registry: registry.parse().unwrap(), profile: profile.into() }
    }

    #[test]
    fn callers_that_want_the_same_share_a_grant_and_no_account_gets_another_s_region() {
        let host = |account: &str, region: &str| format!("{account}.dkr.ecr.{region}.amazonaws.com");
        let (one, two) = (host("111111111111", "eu-west-1"), host("222222222222", "us-east-1"));
        let wishes = [
            wish(CALLERS[0], &one, "default"),
            wish(CALLERS[1], &one, "default"),
            wish(CALLERS[1], &one, "default"),
            wish(CALLERS[3], &one, "default"),
            wish(CALLERS[3], &two, "default"),
            wish(CALLERS[3], "public.ecr.aws", "ci"),
            wish("jwt:blue:any*body", &one, "default"),
        ];
        let (grants, left) = suggest(wishes);
        assert_eq!(grants.len(), 3, "{grants:#?}");
        assert_eq!(grants[0].callers, [CallerPattern::Uid(1), CallerPattern::Uid(2)]);
        assert_eq!(grants[1].registries.len(), 2);
        assert_eq!(grants[2].profile, Some("ci".into()));
        assert_eq!(left.len(), 1, "{left:?}");
    }

    /// Over many random logs: what was asked for is allowed, and whatever else is denied.
    #[test]
    fn what_was_asked_for_is_allowed_and_nothing_else() {
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
            let (grants, left) =
                suggest(asked.iter().map(|(caller, registry, profile)| wish(caller, registry, profile)));
            assert!(left.is_empty());
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
