//! Calls whose caller is known.

use super::principal::Principal;
use super::service::Service;
use crate::registry::Region;

/// A call with its operation, region and caller.
#[derive(Debug)]
pub(super) struct AuthenticatedCall {
    pub(super) service: Service,
    pub(super) operation: &'static str,
    /// The region of the signature; `None` for a call that needs no signature.
    pub(super) region: Option<Region>,
    pub(super) principal: Principal,
    /// The URL of the service as the caller addressed it.
    pub(super) endpoint: String,
}

impl AuthenticatedCall {
    /// Returns the region's name; empty for a call without a region.
    pub(super) fn region_name(&self) -> &str {
        self.region.as_ref().map_or("", Region::as_str)
    }
}
