//! The grants of a caller as text.

use crate::pb::GetCallerIdentityResponse;

/// Returns the IDs of the grants that name the caller, or what their absence means.
#[must_use]
pub fn grants_text(identity: &GetCallerIdentityResponse) -> String {
    match identity.grant_ids.as_slice() {
        [] if !identity.grants_configured => "none configured: every caller may request every registry".to_owned(),
        [] => "none for this caller: every request is denied".to_owned(),
        ids => ids.join(", "),
    }
}
