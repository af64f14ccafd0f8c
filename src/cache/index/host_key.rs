//! The place of a host in its group, in the order of the hosts' texts. A text for each cached key would take more memory.

use crate::registry::{AccountId, EndpointVariant, PrivateRegistry, Region, Registry};

/// The account and the kind of endpoint: what the hosts of one region, and those of ECR Public, differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostKey {
    /// `None` for ECR Public, and while only AWS knows the account.
    account: Option<AccountId>,
    /// `dkr-ecr` comes before `dkr.ecr`, and `ecr-public` before `public`.
    is_single_stack: bool,
    /// `-fips` comes before the dot.
    is_plain: bool,
}

impl HostKey {
    /// Returns the key of a registry's host; `account` is that which AWS named.
    pub(super) fn of(registry: &Registry, account: Option<AccountId>) -> Self {
        let EndpointVariant { fips, dual_stack } = variant(registry);
        Self { account: registry.account().or(account), is_single_stack: !dual_stack, is_plain: !fips }
    }

    /// Returns the first and the last key of an account's hosts.
    pub(super) fn all_of(account: AccountId) -> (Self, Self) {
        let key = |is_last| Self { account: Some(account), is_single_stack: is_last, is_plain: is_last };
        (key(false), key(true))
    }

    /// Returns the first key of a private registry whose host may come after `host`; `None`: each comes before it.
    pub(super) fn not_before(host: &str) -> Option<Self> {
        let account = host.get(..12).and_then(|account| account.parse().ok());
        let is_before = host.bytes().next().is_none_or(|first| first <= b'9');
        is_before.then_some(Self { account, is_single_stack: false, is_plain: false })
    }

    /// Returns the registry of a request for the host in a region; ECR Public has none. `None`: the host is not known.
    pub(super) fn registry(self, region: Option<&Region>) -> Option<Registry> {
        let Self { account, is_single_stack, is_plain } = self;
        let Some(region) = region else { return Some(Registry::Public { dual_stack: !is_single_stack }) };
        let variant = EndpointVariant { fips: !is_plain, dual_stack: !is_single_stack };
        account
            .and_then(|account| PrivateRegistry::new(Some(account), region.clone(), variant).ok())
            .map(Registry::Private)
    }
}

fn variant(registry: &Registry) -> EndpointVariant {
    match registry {
        Registry::Private(private) => private.variant(),
        Registry::Public { dual_stack } => EndpointVariant { fips: false, dual_stack: *dual_stack },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_keys_are_in_the_order_of_the_hosts() {
        let region: Region = "eu-central-1".parse().unwrap();
        let mut hosts = Vec::new();
        for account in ["000000000009", "100000000000", "100000000001"] {
            for (fips, dual_stack) in [(false, false), (false, true), (true, false), (true, true)] {
                let variant = EndpointVariant { fips, dual_stack };
                let private = PrivateRegistry::new(account.parse().ok(), region.clone(), variant).unwrap();
                let (registry, host) = (Registry::Private(private.clone()), private.host(account.parse().unwrap()));
                let key = HostKey::of(&registry, None);
                assert_eq!(key.registry(Some(&region)), Some(registry));
                assert_eq!(HostKey::of(&Registry::Private(private.without_account()), account.parse().ok()), key);
                let (first, last) = HostKey::all_of(account.parse().unwrap());
                assert!(first <= key && key <= last && HostKey::not_before(&host) <= Some(key));
                hosts.push((host, key));
            }
        }
        hosts.sort();
        assert!(hosts.is_sorted_by_key(|(_, key)| *key), "{hosts:?}");
    }

    #[test]
    fn public_registries_are_in_the_order_of_their_hosts() {
        let [plain, dual_stack] = [false, true].map(|dual_stack| Registry::Public { dual_stack });
        assert!(dual_stack.host() < plain.host());
        assert!(HostKey::of(&dual_stack, None) < HostKey::of(&plain, None));
        assert_eq!(HostKey::of(&plain, None).registry(None), Some(plain));
        assert_eq!(HostKey::not_before("public.ecr.aws"), None, "each private host comes before it");
    }

    #[test]
    fn host_of_an_unknown_account_is_not_known() {
        let region: Region = "eu-central-1".parse().unwrap();
        let private = PrivateRegistry::new(None, region.clone(), EndpointVariant::default()).unwrap();
        assert_eq!(HostKey::of(&Registry::Private(private), None).registry(Some(&region)), None);
    }
}
