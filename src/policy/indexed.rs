//! A policy with an index of its grants, for a broker that decides each request: grants about other callers cost nothing.
//!
//! The index decides nothing. It finds the grants that may be about a request, in the order of the file, and the decision looks at
//! each of them as it does without an index. `tests/oracle.rs` compares both.

use std::ops::Deref;

use super::decide::{Decision, decide};
use super::grant::{Effect, Grant, Policy};
use super::listing::CallerGrants;
use crate::caller::Caller;
use crate::registry::Registry;

use self::index::Index;

mod index;
mod key;
mod posting;

/// So few grants are looked at in less time than the index. An open policy has none.
const FEW: usize = 16;

/// A policy with an index of its grants. What the index does not speed up is the policy's own.
#[derive(Debug)]
pub struct IndexedPolicy {
    policy: Policy,
    index: Index,
}

impl IndexedPolicy {
    /// Decides as [`Policy::decide`] does.
    #[must_use]
    pub fn decide(&self, caller: &Caller, registry: &Registry, profile: &str) -> Decision<'_> {
        if self.policy.grants().len() <= FEW {
            return self.policy.decide(caller, registry, profile);
        }
        let grants: Vec<_> = self.applying(self.index.of_request(caller, registry), caller).collect();
        decide(|effect| grants.iter().copied().filter(move |grant| grant.effect == effect), registry, profile)
    }

    /// Returns the grants that apply to a caller, in their order.
    pub fn grants_of<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = &'a Grant> {
        self.applying(self.index.of_caller(caller), caller)
    }

    /// Returns the grants that apply to a caller, for lists.
    #[must_use]
    pub fn of_caller<'a>(&'a self, caller: &'a Caller) -> CallerGrants<'a> {
        CallerGrants::new(&self.policy, self.grants_of(caller).collect())
    }

    /// Returns the grant that makes a caller an operator, as [`Policy::operator_grant`] does.
    #[must_use]
    pub fn operator_grant(&self, caller: &Caller) -> Option<&Grant> {
        self.applying(self.index.of_caller(caller), caller).find(|grant| grant.effect == Effect::Operate)
    }

    fn applying(&self, places: impl Iterator<Item = usize>, caller: &Caller) -> impl Iterator<Item = &Grant> {
        places.filter_map(|place| self.policy.grants().get(place)).filter(move |grant| grant.applies_to(caller))
    }
}

impl From<Policy> for IndexedPolicy {
    fn from(policy: Policy) -> Self {
        Self { index: Index::new(policy.grants()), policy }
    }
}

impl Deref for IndexedPolicy {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}
