//! Parents that decide about each caller of this broker.

use super::request::RequestContext;
use crate::caller::{Caller, Principal};
use crate::credential::CredentialKey;
use crate::source::broker::Settings;

/// The parents, if one of them decides about each caller.
#[derive(Debug)]
pub(super) struct Forwarding(Vec<Settings>);

impl Forwarding {
    pub(super) fn new(parents: Vec<Settings>) -> Self {
        let any = parents.iter().any(|parent| parent.forward_callers);
        Self(if any { parents } else { Vec::new() })
    }

    /// Returns the principal by which credentials of a caller are cached that a parent decided about; `None`: no parent does.
    pub(super) fn principal(&self, caller: &Caller) -> Option<Principal> {
        (!self.0.is_empty()).then(|| caller.exact_principal(caller.claims_digest()))
    }

    /// Returns the key of the credential that a caller gets. Where a parent decides about each caller, the key holds all that it may
    /// decide by: what it gave one caller is not another's.
    pub(super) fn key(&self, key: CredentialKey, context: &RequestContext) -> CredentialKey {
        if !self.is_by_caller(&key) {
            return key;
        }
        CredentialKey { caller: Some(context.exact_principal()), ..key }
    }

    /// Returns whether a parent decides about each caller that asks for the key.
    pub(super) fn is_by_caller(&self, key: &CredentialKey) -> bool {
        self.0.iter().find(|parent| parent.covers(key)).is_some_and(|parent| parent.forward_callers)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::authn::KeptToken;
    use crate::bearer_token::BearerToken;
    use crate::caller::ClaimsDigest;
    use crate::credential::{ProfileName, Revision};
    use crate::policy::RegistryPattern;
    use crate::registry::Registry;
    use crate::request_id::RequestId;
    use crate::source::broker::Fallback;

    fn parent(name: &str, registry: RegistryPattern, forward_callers: bool) -> Settings {
        Settings {
            name: name.parse().unwrap(),
            addresses: Vec::new(),
            tls_ca: None,
            tls_identity: None,
            token_file: None,
            registries: vec![registry],
            profiles: vec![ProfileName::default_profile()],
            fallback: Fallback::None,
            forward_callers,
        }
    }

    fn context(caller: &str, claims: &str) -> RequestContext {
        let digest = ClaimsDigest::of([claims.as_bytes()]);
        let token = KeptToken { token: Arc::new(BearerToken::from("a.b.c".to_owned())), digest };
        RequestContext {
            caller: caller.parse().unwrap(),
            token: Some(token),
            id: RequestId::random(),
            trace_id: None,
            hops: crate::hops::Hops::default(),
        }
    }

    fn key(registry: Registry) -> CredentialKey {
        CredentialKey {
            registry,
            profile: ProfileName::default_profile(),
            revision: Revision::default(),
            caller: None,
            lifetime: None,
        }
    }

    #[test]
    fn key_holds_the_caller_where_the_first_covering_parent_decides_about_it() {
        let public = || key(Registry::PUBLIC);
        let private = || key("123456789012.dkr.ecr.eu-central-1.amazonaws.com".parse().unwrap());
        let forwarding = Forwarding::new(vec![
            parent("a", RegistryPattern::Public, true),
            parent("b", RegistryPattern::every_private(), false),
            parent("c", RegistryPattern::every_private(), true),
        ]);
        let own = |context: &RequestContext| forwarding.key(public(), context);
        let (one, other) = (context("jwt:blue:ci", "node=1"), context("jwt:blue:ci", "node=2"));
        assert_eq!(own(&one), own(&context("jwt:blue:ci", "node=1")), "a renewed token has the same claims");
        assert_ne!(own(&one), own(&other));
        assert_ne!(own(&one), own(&context("jwt:blue:cd", "node=1")));
        assert_ne!(own(&one), own(&context("via dns:a.example jwt:blue:ci", "node=1")));
        assert_eq!(forwarding.key(private(), &one), private(), "the first parent that covers it does not forward");
        assert!(forwarding.is_by_caller(&public()) && !forwarding.is_by_caller(&private()));
        let none = Forwarding::new(vec![parent("a", RegistryPattern::Public, false)]);
        assert_eq!((none.key(public(), &one), none.principal(&one.caller)), (public(), None));
    }
}
