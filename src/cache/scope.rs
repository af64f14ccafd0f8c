//! Part of the cached credentials that a list may show one caller.

use std::fmt;
use std::time::SystemTime;

use crate::caller::Principal;
use crate::credential::ProfileName;
use crate::registry::{AccountId, Region};

/// Credentials that a caller may see: those of some profiles, regions and accounts. Others are not even looked at.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The caller. Another caller's own credentials are not part of the scope.
    pub caller: &'a Principal,
    /// Returns whether the scope has the credentials of a profile in a region; ECR Public has no region.
    pub has_group: &'a dyn Fn(&ProfileName, Option<&Region>) -> bool,
    /// The accounts; `None`: all.
    pub accounts: Option<&'a [AccountId]>,
    /// The host and profile after which the scope begins.
    pub after: Option<(&'a str, &'a ProfileName)>,
}

/// A cached credential, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// The registry's host.
    pub host: String,
    /// The profile that minted the credential.
    pub profile: ProfileName,
    /// The expiry.
    pub expires: SystemTime,
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("accounts", &self.accounts).field("after", &self.after).finish_non_exhaustive()
    }
}
