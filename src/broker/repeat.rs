//! Plain hits: released from the cache to a caller whose grants allow it, without anything that the next one may not have.
//!
//! What was decided, found and recorded for one plain hit is the same for the next one of the same caller and request, while the
//! policy is the same and the cache has the same credential.

use std::sync::{Arc, Weak};

use super::Broker;
use super::active_policy::ActivePolicy;
use super::authorization::Authorization;
use super::metrics::Attempt;
use super::request::CredentialRequest;
use crate::audit::{Outcome, RecordTemplate};
use crate::cache::{CacheStatus, CachedHit, Found, Repeat};

/// A plain hit, for later ones of the same caller and request. It keeps neither a policy nor a credential in memory.
#[derive(Debug)]
pub(crate) struct PlainHit {
    policy: Weak<ActivePolicy>,
    cached: Arc<CachedHit>,
    /// Whether the minter of the credential had a name, which becomes known later and is in the record.
    minter_is_named: bool,
    /// The audit record of the release; `None` without an audit log.
    pub(crate) record: Option<RecordTemplate>,
}

impl Broker {
    /// Returns what later hits of the same request need. `None`: they may end in another way.
    ///
    /// A parent that decides about each caller may change its mind, and an observed denial has a log line.
    pub(super) async fn plain_hit(
        &self,
        request: &CredentialRequest,
        authorization: &Authorization,
        found: &Found,
    ) -> Option<PlainHit> {
        let context = &request.context;
        let is_plain = found.status == CacheStatus::Hit
            && authorization.outcome == Outcome::Released
            && request.min_validity.is_zero()
            && request.rejected.is_none()
            && context.hops.is_direct()
            && context.token.is_none()
            && !self.authorizer.forwarding().is_by_caller(&authorization.key);
        if !is_plain {
            return None;
        }
        let cached = Arc::new(self.cache.cached_hit(&authorization.key, found).await?);
        // While a refresh is due, no hit is plain.
        self.cache.repeat(&cached)?;
        // Before the record: with a name that becomes known meanwhile, the hit is not repeated.
        let minter_is_named = found.credential.minter().arn().is_some();
        let record = self.releaser.template(request, authorization, found).ok()?;
        Some(PlainHit { policy: Arc::downgrade(&authorization.policy), cached, minter_is_named, record })
    }

    /// Returns what a plain hit would release now, and counts nothing. `None`: the request must be decided.
    pub(crate) fn repeat(&self, hit: &PlainHit) -> Option<Repeat> {
        let repeat = self.authorizer.is_active(&hit.policy).then(|| self.cache.repeat(&hit.cached))??;
        let minter_is_named = repeat.found.credential.minter().arn().is_some();
        (minter_is_named == hit.minter_is_named).then_some(repeat)
    }

    /// Counts a repeated hit as a lookup would, and begins its release, which fails unless it is released.
    pub(crate) fn begin_repeat(&self, hit: &PlainHit, repeat: &Repeat) -> Attempt {
        let attempt = self.metrics.begin();
        self.cache.count_repeat(&hit.cached, repeat);
        attempt
    }
}
