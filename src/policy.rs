//! Authorization: grants, and the decision over them.
//!
//! A request that no grant allows is denied. The first allow, in the order of the file, that covers the whole request decides,
//! and its profile mints the credential. The rights of several grants are never added up. A matching deny wins over any allow.

mod decide;
mod grant;
mod grant_toml;
mod indexed;
pub mod lint;
mod listing;
mod near;
mod pattern;
pub mod suggest;
pub mod tighten;

pub use self::decide::Decision;
pub use self::grant::{Effect, Grant, Policy};
pub use self::grant_toml::grants_as_toml;
pub use self::indexed::IndexedPolicy;
pub use self::listing::{Allowed, CallerGrants, Listing};
pub use self::near::NearMiss;
pub use self::pattern::{
    Accounts, BrokerPattern, BrokerPatternError, CallerPattern, ClaimPattern, ClaimPatternError, LabelPattern,
    LabelPatternError, RegistryPattern, SpiffePattern, SpiffePatternError, TokenPattern, ViaPattern,
};

#[cfg(test)]
mod tests;
